package wire

import (
	"bytes"
	"encoding/hex"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/nt"
)

// A message is every request and response body.
type message interface {
	Decode(msg []byte) error
	Append(b []byte) []byte
}

func blank(m message) message {
	return reflect.New(reflect.TypeOf(m).Elem()).Interface().(message)
}

func name(m message) string { return reflect.TypeOf(m).Elem().Name() }

// encode puts a header before the body.
func encode(c Command, m message) []byte {
	h := Header{Command: c, CreditCharge: 1, Credits: 1, MessageID: 7, TreeID: 5, SessionID: 0x40000000015}
	if !strings.HasSuffix(name(m), "Request") {
		h.Flags |= FlagServerToRedir
	}
	return m.Append(h.Append(nil))
}

var (
	guid = dtyp.GUID{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}
	id   = FileID{0x1122334455667788, 0x99AABBCCDDEEFF00}
	key  = [16]byte{16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1}
)

type sample struct {
	cmd  Command
	body message
}

// samples has every message with every field set, so that each byte of its encoding means something.
func samples() []sample {
	contexts := []NegotiateContext{
		{ContextPreauthIntegrity, (&PreauthIntegrity{[]uint16{HashSHA512}, bytes.Repeat([]byte{0x5A}, 32)}).Append(nil)},
		{ContextNetName, (&NetName{"nas.example"}).Append(nil)},
		{ContextEncryption, (&Encryption{[]uint16{CipherAES128GCM}}).Append(nil)},
	}
	creates := []CreateContext{
		{Name: CreateMaximalAccess},
		{CreateAppInstanceID, (&AppInstanceID{guid}).Append(nil)},
		{CreateLease, (&Lease{V2: true, Key: key, State: 7, Epoch: 3}).Append(nil)},
	}
	data := []byte("seventeen bytes !")
	return []sample{
		{CmdNegotiate, &NegotiateRequest{
			SecurityMode: 1, Capabilities: 0x7F, ClientGUID: guid, ClientStartTime: 9,
			Dialects: []uint16{Dialect202, Dialect210, Dialect300},
		}},
		{CmdNegotiate, &NegotiateRequest{
			SecurityMode: 3, Capabilities: 0x7F, ClientGUID: guid,
			Dialects: []uint16{Dialect302, Dialect311}, Contexts: contexts,
		}},
		{CmdNegotiate, &NegotiateResponse{
			SecurityMode: 1, Dialect: Dialect210, ServerGUID: guid, Capabilities: 7, MaxTransact: 1 << 20,
			MaxRead: 1 << 21, MaxWrite: 1 << 22, SystemTime: 11, ServerStartTime: 12, SecurityBuffer: data,
		}},
		{CmdNegotiate, &NegotiateResponse{
			SecurityMode: 1, Dialect: Dialect311, ServerGUID: guid, Capabilities: 7, MaxTransact: 1 << 20,
			MaxRead: 1 << 21, MaxWrite: 1 << 22, SystemTime: 11, SecurityBuffer: data, Contexts: contexts,
		}},
		{CmdSessionSetup, &SessionSetupRequest{1, 2, 3, 4, 5, data}},
		{CmdSessionSetup, &SessionSetupResponse{SessionFlagEncryptData, data}},
		{CmdLogoff, &LogoffRequest{}},
		{CmdLogoff, &LogoffResponse{}},
		{CmdTreeConnect, &TreeConnectRequest{Path: `\\nas\disk`}},
		{CmdTreeConnect, &TreeConnectRequest{
			Flags: TreeConnectExtension, Path: `\\nas\disk`,
			Contexts: []TreeConnectContext{{1, []byte{1, 2, 3}}, {9, data}},
		}},
		{CmdTreeConnect, &TreeConnectResponse{ShareTypeDisk, ShareFlagEncryptData, ShareCapDFS, dtyp.FileAll}},
		{CmdTreeDisconnect, &TreeDisconnectRequest{}},
		{CmdTreeDisconnect, &TreeDisconnectResponse{}},
		{CmdCreate, &CreateRequest{
			OplockLease, ImpersonationImpersonation, dtyp.FileRead, 0x80, ShareRead, FileOpenIf, FileNonDirectoryFile,
			`a\ü.txt`, []byte("a\x00\\\x00\xfc\x00.\x00t\x00x\x00t\x00"), creates,
		}},
		{CmdCreate, &CreateResponse{
			OplockBatch, CreateFlagReparsePoint, FileCreated, 1, 2, 3, 4, 5, 6, 7, id, creates,
		}},
		{CmdClose, &CloseRequest{ClosePostQueryAttrib, id}},
		{CmdClose, &CloseResponse{ClosePostQueryAttrib, 1, 2, 3, 4, 5, 6, 7}},
		{CmdFlush, &FlushRequest{id}},
		{CmdFlush, &FlushResponse{}},
		{CmdRead, &ReadRequest{0x50, ReadUnbuffered, 65536, 1 << 40, id, 1, ChannelRDMAV1, 2, data}},
		{CmdRead, &ReadResponse{data, 3, 4}},
		{CmdWrite, &WriteRequest{1 << 40, id, 0, 9, nil, WriteThrough, data}},
		{CmdWrite, &WriteRequest{1 << 40, id, ChannelRDMAV1, 9, key[:], WriteThrough, data}},
		{CmdWrite, &WriteResponse{17, 1}},
		{CmdLock, &LockRequest{0x21, id, []LockElement{{1, 2, LockShared}, {1 << 63, 1 << 62, LockUnlock}}}},
		{CmdLock, &LockResponse{}},
		{CmdIoctl, &IoctlRequest{FsctlPipeTransceive, id, data, 5, data[:3], 1024, IoctlIsFsctl}},
		{CmdIoctl, &IoctlResponse{FsctlPipeTransceive, id, data, data[:5], 1}},
		{CmdCancel, &CancelRequest{}},
		{CmdEcho, &EchoRequest{}},
		{CmdEcho, &EchoResponse{}},
		{CmdQueryDirectory, &QueryDirectoryRequest{0x25, QueryReopen, 3, id, "*.txt", 65536}},
		{CmdQueryDirectory, &QueryDirectoryResponse{data}},
		{CmdChangeNotify, &ChangeNotifyRequest{NotifyWatchTree, 4096, id, NotifyFileName}},
		{CmdChangeNotify, &ChangeNotifyResponse{data}},
		{CmdQueryInfo, &QueryInfoRequest{InfoFile, 15, 4096, SecurityDACL, QueryInfoRestartScan, id, data}},
		{CmdQueryInfo, &QueryInfoResponse{data}},
		{CmdSetInfo, &SetInfoRequest{InfoFile, 20, data, SecurityDACL, id}},
		{CmdSetInfo, &SetInfoResponse{}},
		{CmdOplockBreak, &OplockBreak{OplockLevel2, id}},
		{CmdOplockBreak, &LeaseBreakNotification{4, LeaseAckRequired, key, 7, 1}},
		{CmdOplockBreak, &LeaseBreakAck{2, key, 1}},
		{CmdServerNotification, &ServerNotification{7}},
		{CmdCreate, &ErrorResponse{1, AppendErrorContexts(nil, ErrorContext{ErrorIDDefault, data})}},
	}
}

// structures has every structure that is part of a message.
func structures() []message {
	return []message{
		&PreauthIntegrity{[]uint16{HashSHA512}, []byte("salt")},
		&Encryption{[]uint16{CipherAES128GCM, CipherAES128CCM}},
		&Compression{CompressionChained, []uint16{CompressionPatternV1, CompressionLZ77}},
		&NetName{"nas.example"},
		&TransportCapabilities{TransportSecurity},
		&RDMATransform{[]uint16{RDMATransformEncryption, RDMATransformSigning}},
		&Signing{[]uint16{SigningAESGMAC, SigningAESCMAC}},
		&DurableRequest{},
		&DurableResponse{},
		&DurableReconnect{id},
		&AllocationSize{1 << 40},
		&MaximalAccessRequest{77},
		&MaximalAccessResponse{nt.AccessDenied, dtyp.FileRead},
		&Timewarp{99},
		&DiskIDResponse{1, 2},
		&Lease{Key: key, State: LeaseRead, Flags: LeaseBreakInProgress},
		&Lease{V2: true, Key: key, State: LeaseRead, Flags: LeaseParentKeySet, ParentKey: guid, Epoch: 7},
		&DurableV2Request{60000, DurablePersistent, guid},
		&DurableV2Response{60000, DurablePersistent},
		&DurableV2Reconnect{id, guid, DurablePersistent},
		&AppInstanceID{guid},
		&AppInstanceVersion{3, 4},
		&POSIXNegotiate{[]string{CreatePOSIX}},
		&POSIXRequest{0o640},
		&SymlinkError{14, SymlinkRelative, `..\there`, "there"},
		&ValidateNegotiateRequest{0x7F, guid, 3, []uint16{Dialect210, Dialect300}},
		&ValidateNegotiateResponse{0x7F, guid, 3, Dialect300},
		&QueryQuota{Single: true, Owners: []byte("some owners")},
		&QueryQuota{Restart: true, Start: []byte("a SID")},
		&ResumeKeyResponse{ResumeKey(bytes.Repeat([]byte{7}, 24))},
		&CopyChunkRequest{ResumeKey(bytes.Repeat([]byte{7}, 24)), []CopyChunk{{1, 2, 3}, {1 << 40, 1 << 41, 1 << 20}}},
		&CopyChunkResponse{256, 1 << 20, 1 << 24},
		&SnapshotArray{2, 102, []string{"@GMT-2026.11.22-01.02.03", "@GMT-2026.11.21-01.02.03"}},
		&SnapshotArray{Total: 2, Size: 102},
		&ResiliencyRequest{120000},
		&TransformHeader{key, guid, 1000, TransformEncrypted, 0x40000000015},
		&CompressionHeader{4096, CompressionLZ77, CompressionFlagNone, 0},
		&PatternV1{'x', 1 << 20},
	}
}

func TestRoundTrip(t *testing.T) {
	for _, s := range samples() {
		msg := encode(s.cmd, s.body)
		got := blank(s.body)
		if err := got.Decode(msg); err != nil {
			t.Errorf("%s: %v", name(s.body), err)
			continue
		}
		if !reflect.DeepEqual(got, s.body) {
			t.Errorf("got %+v\nwant %+v", got, s.body)
		}
		// Offsets count from this message's header wherever it lies in the buffer.
		before := []byte("whatever is before")
		var h Header
		if err := h.Decode(msg); err != nil {
			t.Errorf("%s: %v", name(s.body), err)
		}
		if moved := s.body.Append(h.Append(before)); !bytes.Equal(moved[len(before):], msg) {
			t.Errorf("%s: other bytes when other bytes are before it:\n%x\n%x", name(s.body), moved[len(before):], msg)
		}
	}
	for _, s := range structures() {
		got := blank(s)
		if err := got.Decode(s.Append(nil)); err != nil {
			t.Errorf("%s: %v", name(s), err)
		} else if !reflect.DeepEqual(got, s) {
			t.Errorf("got %+v\nwant %+v", got, s)
		}
	}
}

func TestHeader(t *testing.T) {
	sync := Header{2, 0x01020304, CmdRead, 31, FlagSigned | FlagDFS, 0x80, 9, 0, 7, 0x40000000015, key}
	async := Header{2, nt.Pending, CmdChangeNotify, 31, FlagAsync | FlagServerToRedir, 0, 9, 1 << 40, 0, 5, key}
	for _, want := range []Header{sync, async} {
		var got Header
		if err := got.Decode(want.Append(nil)); err != nil || got != want {
			t.Errorf("got %+v, %v\nwant %+v", got, err, want)
		}
	}
	if got := sync.ChannelSequence(); got != 0x0304 {
		t.Errorf("ChannelSequence %#x", got)
	}
	msg := (&Header{}).Append(nil)
	PutCreditCharge(msg, sync.CreditCharge)
	PutStatus(msg, sync.Status)
	PutCredits(msg, sync.Credits)
	PutFlags(msg, sync.Flags)
	PutNextCommand(msg, sync.NextCommand)
	PutMessageID(msg, sync.MessageID)
	PutTreeID(msg, sync.TreeID)
	PutSessionID(msg, sync.SessionID)
	PutSignature(msg, sync.Signature)
	sync.Command = CmdNegotiate
	if want := sync.Append(nil); !bytes.Equal(msg, want) {
		t.Errorf("patched\n%x\nwant\n%x", msg, want)
	}
	PutChannelSequence(msg, 9)
	if err := sync.Decode(msg); err != nil || sync.ChannelSequence() != 9 {
		t.Errorf("ChannelSequence %d, %v", sync.ChannelSequence(), err)
	}
	if CmdOplockBreak != 18 || CmdOplockBreak.String() != "OPLOCK_BREAK" || Command(999).String() != "command 999" {
		t.Error("commands are out of step")
	}
}

func TestReadResponseHead(t *testing.T) {
	want := encode(CmdRead, &ReadResponse{[]byte("data"), 0, 0})
	got := (&ReadResponse{}).AppendHead(want[:HeaderSize:HeaderSize], 4)
	if len(got) != HeaderSize+ReadResponseHead || !bytes.Equal(append(got, "data"...), want) {
		t.Errorf("got %x", got)
	}
}

// A request's odd byte is there even when nothing else is.
func TestOddByte(t *testing.T) {
	for _, m := range []message{
		&SessionSetupRequest{}, &CreateRequest{}, &ReadRequest{}, &WriteRequest{}, &QueryDirectoryRequest{},
		&QueryInfoRequest{}, &SetInfoRequest{}, &TreeConnectRequest{}, &ErrorResponse{},
	} {
		msg := encode(CmdCreate, m)
		if size := int(le.Uint16(msg[HeaderSize:])); size%2 == 0 || len(msg) != HeaderSize+size {
			t.Errorf("%s: %d bytes for StructureSize %d", name(m), len(msg)-HeaderSize, size)
		}
		if err := blank(m).Decode(msg[:len(msg)-1]); err != nil {
			t.Errorf("%s: without it: %v", name(m), err)
		}
	}
}

func TestNoAllocation(t *testing.T) {
	read, write := encode(CmdRead, &ReadRequest{}), encode(CmdWrite, &WriteRequest{Data: make([]byte, 4096)})
	var h Header
	var r ReadRequest
	var w WriteRequest
	buf := make([]byte, 0, 256)
	if n := testing.AllocsPerRun(100, func() {
		if h.Decode(read) != nil || r.Decode(read) != nil || w.Decode(write) != nil {
			t.Error("does not decode")
		}
		_ = (&ReadResponse{}).AppendHead(h.Append(buf), 4096)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestCreateName(t *testing.T) {
	bad := &CreateRequest{RawName: []byte{0x00, 0xD8}}
	var got CreateRequest
	if err := got.Decode(encode(CmdCreate, bad)); err != nil || !got.BadName() {
		t.Errorf("a lone surrogate: %v, %+v", err, got)
	}
	if err := got.Decode(encode(CmdCreate, &CreateRequest{})); err != nil || got.BadName() {
		t.Errorf("no name: %v, %+v", err, got)
	}
	if err := got.Decode(encode(CmdCreate, &CreateRequest{RawName: []byte{'a'}})); err == nil {
		t.Error("a name of one byte was taken")
	}
}

func TestNetworkInterfaces(t *testing.T) {
	want := []NetworkInterface{
		{7, InterfaceRSS, 10_000_000_000, netip.MustParseAddr("192.0.2.1")},
		{8, 0, 1_000_000_000, netip.MustParseAddr("2001:db8::1")},
	}
	b := AppendNetworkInterfaces(nil, want)
	if len(b) != 2*152 {
		t.Errorf("%d bytes", len(b))
	}
	got, err := DecodeNetworkInterfaces(b)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
	if got, err := DecodeNetworkInterfaces(nil); err != nil || got != nil {
		t.Errorf("of nothing: %v, %v", got, err)
	}
	for n := 1; n < len(b); n++ {
		if _, err := DecodeNetworkInterfaces(b[:n]); err == nil {
			t.Errorf("taken when cut at %d", n)
		}
	}
}

func TestErrorContexts(t *testing.T) {
	want := []ErrorContext{{ErrorIDShareRedirect, []byte("abc")}, {ErrorIDDefault, AppendBufferTooSmall(nil, 512)}}
	var r ErrorResponse
	if err := r.Decode(AppendErrorResponse((&Header{}).Append(nil), 2, AppendErrorContexts(nil, want...))); err != nil {
		t.Fatal(err)
	}
	got, err := r.Contexts()
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("got %+v, %v", got, err)
	}
	if n, err := BufferTooSmall(got[1].Data); n != 512 || err != nil {
		t.Errorf("buffer too small: %d, %v", n, err)
	}
	if _, err := BufferTooSmall(nil); err == nil {
		t.Error("buffer too small of nothing")
	}
}

func TestSMB1Negotiate(t *testing.T) {
	want := []string{"NT LM 0.12", SMB1Dialect202, SMB1DialectWild}
	msg := AppendSMB1Negotiate(nil, want...)
	got, err := DecodeSMB1Negotiate(msg)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, %v", got, err)
	}
	for n := range msg {
		if _, err := DecodeSMB1Negotiate(msg[:n]); err == nil {
			t.Errorf("taken when cut at %d", n)
		}
	}
	for at, v := range map[int]byte{0: 0xFE, 4: 0x73, 32: 1, 33: 0xFF, 35: 3, len(msg) - 1: 1} {
		bad := bytes.Clone(msg)
		bad[at] = v
		if got, err := DecodeSMB1Negotiate(bad); err == nil {
			t.Errorf("byte %d = %d: taken as %q", at, v, got)
		}
	}
	if _, err := DecodeSMB1Negotiate(AppendSMB1Negotiate(nil, make([]string, 10_000)...)); err == nil {
		t.Error("10,000 dialects were taken")
	}
}

func TestCompressionChain(t *testing.T) {
	want := []CompressionPayload{
		{CompressionNone, CompressionFlagChained, 0, []byte("plain")},
		{CompressionLZ77, CompressionFlagNone, 4096, []byte("packed")},
		{CompressionPatternV1, CompressionFlagNone, 0, (&PatternV1{'x', 99}).Append(nil)},
	}
	b := AppendCompressionChain(nil, 5000)
	for _, p := range want {
		b = p.Append(b)
	}
	var h CompressionHeader
	if err := h.Decode(b); err != nil || h.OriginalSize != 5000 || h.Flags != CompressionFlagChained {
		t.Fatalf("got %+v, %v", h, err)
	}
	rest := b[CompressionChainStart:]
	for _, p := range want {
		var got CompressionPayload
		var err error
		if rest, err = got.Decode(rest); err != nil || !reflect.DeepEqual(got, p) {
			t.Fatalf("got %+v, %v, want %+v", got, err, p)
		}
	}
	if len(rest) != 0 {
		t.Errorf("%d bytes are left", len(rest))
	}
	if Protocol(b) != ProtocolCompressed || Protocol(b[:3]) != 0 {
		t.Error("Protocol is wrong")
	}
}

func TestTransformAAD(t *testing.T) {
	h := (&TransformHeader{key, guid, 1, 1, 1}).Append(nil)
	if got := TransformAAD(append(h, "cipher text"...)); !bytes.Equal(got, h[20:]) || cap(got) != 32 {
		t.Errorf("got %x", got)
	}
}

func TestSnapshotNames(t *testing.T) {
	var a SnapshotArray
	a.SetNames([]string{"@GMT-2026.11.22-01.02.03", "@GMT-2026.11.21-01.02.03"})
	if a.Total != 2 || a.Size != 2*50+2 || len(a.Append(nil)) != 12+int(a.Size) {
		t.Errorf("got %+v, %d bytes", a, len(a.Append(nil)))
	}
	if a.SetNames(nil); a.Size != 0 {
		t.Errorf("got %+v", a)
	}
}

func TestIsLeaseBreak(t *testing.T) {
	for m, want := range map[message]bool{&OplockBreak{}: false, &LeaseBreakNotification{}: true, &LeaseBreakAck{}: true} {
		if msg := encode(CmdOplockBreak, m); IsLeaseBreak(msg) != want || IsLeaseBreak(msg[:HeaderSize+1]) {
			t.Errorf("%s: not %v", name(m), want)
		}
	}
}

func TestError(t *testing.T) {
	for want, err := range map[string]error{
		"READ request: StructureSize: wrong":        &Error{"READ request", "StructureSize", "wrong"},
		"READ request: shorter than its fixed part": new(ReadRequest).Decode(nil),
		"CREATE request: NameOffset: " + reasonOverlap: new(CreateRequest).Decode(func() []byte {
			msg := encode(CmdCreate, &CreateRequest{Name: "a"})
			put(msg, 44, 2, 64)
			return msg
		}()),
	} {
		if err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// mustRefuse wants an *Error that tells the peer STATUS_INVALID_PARAMETER.
func mustRefuse(t *testing.T, err error, format string, args ...any) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || !errors.Is(err, nt.InvalidParameter) || e.Struct == "" || e.Reason == "" {
		t.Errorf(format+": error %v", append(args, err)...)
	}
}

// readVector reads a file of testdata: hexadecimal, with comments from # to the end of the line.
func readVector(t testing.TB, path string) (source string, msg []byte) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var digits strings.Builder
	for i, line := range strings.Split(string(text), "\n") {
		code, comment, _ := strings.Cut(line, "#")
		if i == 0 {
			source = strings.TrimSpace(comment)
		}
		digits.WriteString(strings.Join(strings.Fields(code), ""))
	}
	if msg, err = hex.DecodeString(digits.String()); err != nil || source == "" || len(msg) == 0 {
		t.Fatalf("%s: source %q, %d bytes, %v", path, source, len(msg), err)
	}
	return source, msg
}

// vectors returns all messages of testdata by file name.
func vectors(t testing.TB) map[string][]byte {
	t.Helper()
	paths, err := filepath.Glob("testdata/*.hex")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no vectors: %v", err)
	}
	all := make(map[string][]byte)
	for _, p := range paths {
		_, msg := readVector(t, p)
		all[strings.TrimSuffix(filepath.Base(p), ".hex")] = msg
	}
	return all
}

func TestIsRename(t *testing.T) {
	message := func(kind uint8, class fscc.FileClass) []byte {
		h := Header{Command: CmdSetInfo}
		return (&SetInfoRequest{InfoType: kind, InfoClass: uint8(class)}).Append(h.Append(nil))
	}
	for _, c := range []struct {
		msg  []byte
		want bool
	}{
		{message(InfoFile, fscc.FileRenameInformation), true},
		{message(InfoFile, fscc.FileRenameInformationEx), true},
		{message(InfoFile, fscc.FileRenameInformation)[:HeaderSize+4], true},
		{message(InfoFile, fscc.FileRenameInformation)[:HeaderSize+3], false},
		{message(InfoFile, fscc.FileRenameInformation)[:10], false},
		{message(InfoFile, fscc.FileLinkInformation), false},
		{message(InfoFileSystem, fscc.FileRenameInformation), false},
		{nil, false},
	} {
		if got := IsRename(c.msg); got != c.want {
			t.Errorf("%x: %t", c.msg, got)
		}
	}
}
