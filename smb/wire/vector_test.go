package wire

import (
	"bytes"
	"errors"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/nt"
)

// bodyOf returns the type of the message's body, nil if there is none.
func bodyOf(msg []byte) message {
	var h Header
	if h.Decode(msg) != nil || len(msg) < smallest {
		return nil
	}
	size := le.Uint16(msg[HeaderSize:])
	response := h.Flags&FlagServerToRedir != 0
	switch {
	case response && size == 9 && h.Status.IsError() && h.Status != nt.MoreProcessingRequired:
		return new(ErrorResponse)
	case h.Command == CmdOplockBreak && size == leaseNotificationSize:
		return new(LeaseBreakNotification)
	case h.Command == CmdOplockBreak && size == leaseAckSize:
		return new(LeaseBreakAck)
	}
	for _, s := range samples() {
		if s.cmd == h.Command && (response == !strings.HasSuffix(name(s.body), "Request") || h.Command == CmdOplockBreak) {
			return blank(s.body)
		}
	}
	return nil
}

// dataOf returns the type of a create context's or a control code's data, nil if it has none of its own.
func dataOf(what any, response bool) message {
	in := map[any]message{
		CreateDurable: &DurableRequest{}, CreateDurableReconnect: &DurableReconnect{}, CreateAllocationSize: &AllocationSize{},
		CreateMaximalAccess: &MaximalAccessRequest{}, CreateTimewarp: &Timewarp{}, CreateLease: &Lease{},
		CreateDurableV2: &DurableV2Request{}, CreateDurableV2Reconnect: &DurableV2Reconnect{},
		CreateAppInstanceID: &AppInstanceID{}, CreateAppInstanceVersion: &AppInstanceVersion{},
		ContextPreauthIntegrity: &PreauthIntegrity{}, ContextEncryption: &Encryption{}, ContextCompression: &Compression{},
		ContextNetName: &NetName{}, ContextTransportCapabilities: &TransportCapabilities{}, ContextSigning: &Signing{},
		ContextPOSIX: &POSIXNegotiate{}, CreatePOSIX: &POSIXRequest{},
		FsctlValidateNegotiateInfo: &ValidateNegotiateRequest{}, FsctlSrvCopychunk: &CopyChunkRequest{},
		FsctlSrvCopychunkWrite: &CopyChunkRequest{}, FsctlLMRRequestResiliency: &ResiliencyRequest{},
	}
	out := map[any]message{
		CreateDurable: &DurableResponse{}, CreateMaximalAccess: &MaximalAccessResponse{}, CreateLease: &Lease{},
		CreateDiskID: &DiskIDResponse{}, CreateDurableV2: &DurableV2Response{},
		ContextPreauthIntegrity: &PreauthIntegrity{}, ContextEncryption: &Encryption{}, ContextSigning: &Signing{}, ContextPOSIX: &POSIXNegotiate{},
		FsctlValidateNegotiateInfo: &ValidateNegotiateResponse{}, FsctlSrvCopychunk: &CopyChunkResponse{},
		FsctlSrvCopychunkWrite: &CopyChunkResponse{}, FsctlSrvRequestResumeKey: &ResumeKeyResponse{},
	}
	if response {
		return out[what]
	}
	return in[what]
}

// parts returns the typed data inside a message and the bytes of it.
func parts(m message) (into []message, data [][]byte) {
	add := func(what any, response bool, b []byte) {
		if d := dataOf(what, response); d != nil && len(b) > 0 {
			into, data = append(into, d), append(data, b)
		}
	}
	switch m := m.(type) {
	case *NegotiateRequest:
		for _, c := range m.Contexts {
			add(c.Type, false, c.Data)
		}
	case *NegotiateResponse:
		for _, c := range m.Contexts {
			add(c.Type, true, c.Data)
		}
	case *CreateRequest:
		for _, c := range m.Contexts {
			add(c.Name, false, c.Data)
		}
	case *CreateResponse:
		for _, c := range m.Contexts {
			add(c.Name, true, c.Data)
		}
	case *IoctlRequest:
		add(m.CtlCode, false, m.Input)
	case *IoctlResponse:
		add(m.CtlCode, true, m.Output)
	}
	return into, data
}

// Every recorded message decodes, and what was decoded makes the same bytes again.
func TestVectors(t *testing.T) {
	types, contexts := map[string]bool{}, map[string]bool{}
	for file, msg := range vectors(t) {
		if Protocol(msg) != ProtocolSMB2 || file == "compound" {
			continue
		}
		if _, rest, err := Cut(msg); rest != nil || err != nil {
			t.Errorf("%s: Cut: %d bytes, %v", file, len(rest), err)
		}
		var h Header
		if err := h.Decode(msg); err != nil {
			t.Errorf("%s: %v", file, err)
		}
		if got := h.Append(nil); !bytes.Equal(got, msg[:HeaderSize]) {
			t.Errorf("%s: header\n%x\nwant\n%x", file, got, msg[:HeaderSize])
		}
		m := bodyOf(msg)
		if err := m.Decode(msg); err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		types[name(m)] = true
		again := m.Append(msg[:HeaderSize:HeaderSize])
		if r, ok := m.(*IoctlRequest); ok && len(r.Output) == 0 {
			copy(again[HeaderSize+36:], msg[HeaderSize+36:HeaderSize+40]) // OutputOffset of nothing: clients differ
		}
		if !bytes.Equal(again, msg) {
			t.Errorf("%s:\n%x\nwant\n%x", file, again, msg)
		}
		into, data := parts(m)
		for i, d := range into {
			if err := d.Decode(data[i]); err != nil {
				t.Errorf("%s: %v", file, err)
			}
			contexts[name(d)] = true
			if again := d.Append(nil); !bytes.Equal(again, data[i]) {
				t.Errorf("%s: %s:\n%x\nwant\n%x", file, name(d), again, data[i])
			}
		}
	}
	if len(types) < 35 || len(contexts) < 12 {
		t.Errorf("only %d types and %d kinds of contexts in the vectors: %v, %v", len(types), len(contexts),
			slices.Sorted(maps.Keys(types)), slices.Sorted(maps.Keys(contexts)))
	}
}

// What some vectors mean, read off their annotations.
func TestVectorValues(t *testing.T) {
	for file, want := range map[string]message{
		"negotiate-request-example-4-3": &NegotiateRequest{SecurityMode: SigningEnabled, Dialects: []uint16{Dialect202}},
		"negotiate-request-example-4-8": &NegotiateRequest{
			SecurityMode: SigningEnabled, Capabilities: 0x7F, Dialects: []uint16{Dialect202, Dialect210, Dialect300},
			ClientGUID: dtyp.GUID{0x0B, 0x4D, 0x2E, 0xF6, 0x85, 0xC6, 0x8B, 0xE4, 0x40, 0xB6, 0xD8, 0x15, 0xCB, 0x56, 0xFF, 0x6E},
		},
		"create-request-example-4-4": &CreateRequest{
			OplockLevel: OplockBatch, ImpersonationLevel: ImpersonationImpersonation, DesiredAccess: 0x0012019F,
			ShareAccess: 7, Disposition: FileOpen, Options: FileNonDirectoryFile | FileOpenNoRecall,
			Name: "srvsvc", RawName: []byte("s\x00r\x00v\x00s\x00v\x00c\x00"),
		},
		"tree-connect-request":  &TreeConnectRequest{Path: `\\127.0.0.1\share`},
		"tree-connect-response": &TreeConnectResponse{ShareType: ShareTypeDisk, MaximalAccess: dtyp.FileAll},
		"create-response-rqls2": &CreateResponse{
			OplockLevel: OplockLease, Action: FileCreated, CreationTime: 0x1dd7aad0bec5f0e, LastAccessTime: 0x1dd7aad0bec5f0e,
			LastWriteTime: 0x1dd7aad0bec5f0e, ChangeTime: 0x1dd7aad0bec961d, AllocationSize: 0x1000, FileAttributes: 0x20,
			FileID: FileID{0x5aeada52, 0x499bb84f}, Contexts: []CreateContext{{CreateLease, (&Lease{
				V2: true, Epoch: 18, State: LeaseRead | LeaseHandle | LeaseWrite,
				Key: [16]byte{0x0d, 0xf0, 0xdd, 0xe0, 0xfe, 0x0f, 0xdc, 0xba, 0xf2, 0x0f, 0x22, 0x1f, 0x01, 0xf0, 0x23, 0x45},
			}).Append(nil)}},
		},
		"close-response": &CloseResponse{
			ClosePostQueryAttrib, 0x1dd7aad115fed4c, 0x1dd7aad1164de3d, 0x1dd7aad1162d48d, 0x1dd7aad1162d48d,
			0x11000, 0x10000, 0x20,
		},
		"read-request":  &ReadRequest{Length: 200000, FileID: FileID{0x56285316, 0x4d65d76d}},
		"read-response": &ReadResponse{Data: []byte("test MORE DATA ")},
		"write-request": &WriteRequest{FileID: FileID{0xcba79b7, 0x46989564}, Data: []byte("SECOND STREAM")},
		"lock-request": &LockRequest{
			FileID: FileID{0x85e8b90e, 0x1a2f0180}, Locks: []LockElement{{0, 10, LockUnlock}, {10, 10, LockUnlock}},
		},
		"ioctl-request-copychunk": &IoctlRequest{
			CtlCode: FsctlSrvCopychunk, FileID: FileID{0xee151437, 0x286851d3}, MaxOutputResponse: 12, Flags: IoctlIsFsctl,
			Input: (&CopyChunkRequest{
				ResumeKey([]byte("w\x1b\x05H\x00\x00\x00\x00\xefd*\x1f\x00\x00\x00\x00\x78\x00\x14\x00\x00\x00\x00\x00")),
				[]CopyChunk{{0, 0, 4096}},
			}).Append(nil),
		},
		"query-directory-request": &QueryDirectoryRequest{
			InfoClass: 0x25, FileID: FileID{0x3ad26608, 0x6a07c26b}, OutputBufferLength: 1 << 23, Pattern: "up2.conf",
		},
		"change-notify-request": &ChangeNotifyRequest{NotifyWatchTree, 1000, FileID{0x723848c3, 0x3e4f8fdd}, 0xFFF},
		"query-info-request": &QueryInfoRequest{
			InfoType: InfoFileSystem, InfoClass: 3, OutputBufferLength: 0xFFFF, FileID: FileID{0xde7cd8e4, 0x5bb03da8},
		},
		"oplock-break-response": &OplockBreak{OplockLevel2, FileID{0x83daa5e9, 0x4c0cbeb}},
		"lease-break-notification": &LeaseBreakNotification{
			19, LeaseAckRequired,
			[16]byte{0x0d, 0xf0, 0xdd, 0xe0, 0xfe, 0x0f, 0xdc, 0xba, 0xf2, 0x0f, 0x22, 0x1f, 0x01, 0xf0, 0x23, 0x45},
			7, 3,
		},
		"error-response": &ErrorResponse{Data: AppendBufferTooSmall(nil, 20)},
	} {
		_, msg := readVector(t, "testdata/"+file+".hex")
		if got := bodyOf(msg); got.Decode(msg) != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v\nwant %+v", file, got, want)
		}
	}

	_, msg := readVector(t, "testdata/negotiate-request-311.hex")
	var n NegotiateRequest
	if err := n.Decode(msg); err != nil || len(n.Contexts) != 4 || len(n.Dialects) != 5 {
		t.Fatalf("got %+v, %v", n, err)
	}
	var p PreauthIntegrity
	var e Encryption
	var s Signing
	var host NetName
	if err := errors.Join(p.Decode(n.Contexts[0].Data), e.Decode(n.Contexts[1].Data), s.Decode(n.Contexts[2].Data),
		host.Decode(n.Contexts[3].Data)); err != nil {
		t.Fatal(err)
	}
	if len(p.Salt) != 32 || p.HashAlgorithms[0] != HashSHA512 ||
		!slices.Equal(e.Ciphers, []uint16{CipherAES128GCM, CipherAES128CCM, CipherAES256GCM, CipherAES256CCM}) ||
		!slices.Equal(s.Algorithms, []uint16{SigningAESGMAC, SigningAESCMAC, SigningHMACSHA256}) || host.Name != "127.0.0.1" {
		t.Errorf("got %+v %+v %+v %+v", p, e, s, host)
	}

	_, msg = readVector(t, "testdata/ioctl-response-interfaces.hex")
	var r IoctlResponse
	if err := r.Decode(msg); err != nil {
		t.Fatal(err)
	}
	if list, err := DecodeNetworkInterfaces(r.Output); err != nil || len(list) != 1 ||
		list[0] != (NetworkInterface{0xFFFFFFFF, 0, 1_000_000_000, netip.MustParseAddr("127.0.0.1")}) ||
		!bytes.Equal(AppendNetworkInterfaces(nil, list), r.Output) {
		t.Errorf("got %+v, %v", list, err)
	}

	_, msg = readVector(t, "testdata/smb1-negotiate-request.hex")
	if got, err := DecodeSMB1Negotiate(msg); err != nil ||
		!slices.Equal(got, []string{"NT LANMAN 1.0", "NT LM 0.12", SMB1Dialect202, SMB1DialectWild}) {
		t.Errorf("got %q, %v", got, err)
	}

	_, msg = readVector(t, "testdata/transform.hex")
	var h TransformHeader
	if err := h.Decode(msg); err != nil || int(h.OriginalSize) != len(msg)-TransformHeaderSize ||
		h.Flags != TransformEncrypted || h.SessionID != 0xcd1169cf || h.Nonce[0] != 1 || h.Signature[0] != 0x78 {
		t.Errorf("got %+v, %v", h, err)
	}
	if got := h.Append(nil); !bytes.Equal(got, msg[:TransformHeaderSize]) {
		t.Errorf("got %x", got)
	}

	_, msg = readVector(t, "testdata/compound.hex")
	var commands []Command
	for len(msg) > 0 {
		first, rest, err := Cut(msg)
		if err != nil {
			t.Fatal(err)
		}
		var h Header
		if err := errors.Join(h.Decode(first), bodyOf(first).Decode(first)); err != nil {
			t.Error(err)
		}
		if h.Command == CmdClose {
			var c CloseRequest
			if c.Decode(first) != nil || c.FileID != NoFileID || h.Flags&FlagRelated == 0 {
				t.Errorf("got %+v %+v", h, c)
			}
		}
		commands = append(commands, h.Command)
		msg = rest
	}
	if !slices.Equal(commands, []Command{CmdCreate, CmdClose}) {
		t.Errorf("got %v", commands)
	}
}
