package smb_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/postern-nas/postern/smb"
	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/smbtest"
	"github.com/postern-nas/postern/smb/wire"
)

// An operation is one row of the access matrix.
type operation struct {
	name string
	cmd  wire.Command
	body func(id wire.FileID) smbtest.Body
}

var oneEA, _ = fscc.AppendEAs(nil, 100, []fscc.EA{{Name: "NAME", Value: []byte("value")}})

// operations lists every command, every class that can be queried or set and every control code the server has.
func operations() (list []operation) {
	type id = wire.FileID
	add := func(cmd wire.Command, name string, body func(id) smbtest.Body) {
		list = append(list, operation{fmt.Sprint(cmd, name), cmd, body})
	}
	plain := map[wire.Command]func(id) smbtest.Body{
		wire.CmdNegotiate:      func(id) smbtest.Body { return &wire.NegotiateRequest{Dialects: []uint16{wire.Dialect210}} },
		wire.CmdSessionSetup:   func(id) smbtest.Body { return &wire.SessionSetupRequest{SecurityBuffer: []byte("no token")} },
		wire.CmdLogoff:         func(id) smbtest.Body { return &wire.LogoffRequest{} },
		wire.CmdTreeConnect:    func(id) smbtest.Body { return &wire.TreeConnectRequest{Path: `\\nas\private`} },
		wire.CmdTreeDisconnect: func(id) smbtest.Body { return &wire.TreeDisconnectRequest{} },
		wire.CmdCreate:         func(id) smbtest.Body { return smbtest.OpenAs("new", dtyp.FileRead, wire.FileCreate, 0) },
		wire.CmdClose:          func(i id) smbtest.Body { return &wire.CloseRequest{FileID: i} },
		wire.CmdFlush:          func(i id) smbtest.Body { return &wire.FlushRequest{FileID: i} },
		wire.CmdRead:           func(i id) smbtest.Body { return &wire.ReadRequest{FileID: i, Length: 8} },
		wire.CmdWrite:          func(i id) smbtest.Body { return &wire.WriteRequest{FileID: i, Data: []byte("xxxxxxxxxxxxxxxx")} },
		wire.CmdLock: func(i id) smbtest.Body {
			return &wire.LockRequest{FileID: i, Locks: []wire.LockElement{{Length: 1, Flags: 1}}}
		},
		wire.CmdEcho: func(id) smbtest.Body { return &wire.EchoRequest{} },
		wire.CmdQueryDirectory: func(i id) smbtest.Body {
			return &wire.QueryDirectoryRequest{FileID: i, InfoClass: 0x25, Pattern: "*", OutputBufferLength: 1000}
		},
		wire.CmdChangeNotify: func(i id) smbtest.Body { return &wire.ChangeNotifyRequest{FileID: i, OutputBufferLength: 100} },
		wire.CmdOplockBreak:  func(i id) smbtest.Body { return &wire.OplockBreak{FileID: i} },
	}
	for _, cmd := range smb.Commands() {
		if body := plain[cmd]; body != nil {
			add(cmd, "", body)
		} else if cmd != wire.CmdQueryInfo && cmd != wire.CmdSetInfo && cmd != wire.CmdIoctl {
			add(cmd, " has no test", nil)
		}
	}
	query := func(kind uint8, class uint8) func(id) smbtest.Body {
		return func(i id) smbtest.Body {
			return &wire.QueryInfoRequest{FileID: i, InfoType: kind, InfoClass: class, OutputBufferLength: 1000, AdditionalInfo: wire.SecurityDACL}
		}
	}
	bodies := map[fscc.FileClass][]byte{
		fscc.FileBasicInformation: fscc.BasicInfo{LastWrite: 1 << 56}.Append(nil), fscc.FileRenameInformation: fscc.RenameInfo{Name: "moved"}.Append(nil),
		fscc.FileRenameInformationEx: fscc.RenameInfo{Name: "moved"}.Append(nil), fscc.FileLinkInformation: fscc.RenameInfo{Name: "link"}.Append(nil),
		fscc.FileLinkInformationEx: fscc.RenameInfo{Name: "link"}.Append(nil), fscc.FileDispositionInformation: {1},
		fscc.FileDispositionInformationEx: {1, 0, 0, 0}, fscc.FileFullEaInformation: oneEA,
	}
	for class := range 256 {
		c := fscc.FileClass(class)
		if _, ok := c.QueryMin(); ok {
			add(wire.CmdQueryInfo, fmt.Sprintf(" file 0x%02X", class), query(wire.InfoFile, uint8(class)))
		}
		if _, ok := fscc.FSClass(class).QueryMin(); ok {
			add(wire.CmdQueryInfo, fmt.Sprintf(" filesystem 0x%02X", class), query(wire.InfoFileSystem, uint8(class)))
		}
		if least, ok := c.SetMin(); ok {
			add(wire.CmdSetInfo, fmt.Sprintf(" file 0x%02X", class), func(i id) smbtest.Body {
				b := bodies[c]
				if b == nil {
					b = make([]byte, max(least, 8))
				}
				return &wire.SetInfoRequest{FileID: i, InfoType: wire.InfoFile, InfoClass: uint8(class), Buffer: b}
			})
		}
	}
	nullDACL := append([]byte{1, 0, 0x04, 0x80}, make([]byte, 16)...)
	for _, kind := range []uint8{wire.InfoSecurity, wire.InfoQuota} {
		add(wire.CmdQueryInfo, fmt.Sprintf(" type %d", kind), query(kind, 0))
		add(wire.CmdSetInfo, fmt.Sprintf(" type %d", kind), func(i id) smbtest.Body {
			return &wire.SetInfoRequest{FileID: i, InfoType: kind, AdditionalInfo: wire.SecurityDACL, Buffer: nullDACL}
		})
	}
	add(wire.CmdCreate, " with ACCESS_SYSTEM_SECURITY", func(id) smbtest.Body {
		return smbtest.OpenAs("file", dtyp.SystemSecurity|dtyp.ReadControl, wire.FileOpen, 0)
	})
	add(wire.CmdQueryInfo, " SACL", func(i id) smbtest.Body {
		return &wire.QueryInfoRequest{FileID: i, InfoType: wire.InfoSecurity, OutputBufferLength: 1000, AdditionalInfo: wire.SecuritySACL}
	})
	add(wire.CmdSetInfo, " SACL", func(i id) smbtest.Body {
		return &wire.SetInfoRequest{FileID: i, InfoType: wire.InfoSecurity, AdditionalInfo: wire.SecuritySACL, Buffer: nullDACL}
	})
	add(wire.CmdSetInfo, " type 2", func(i id) smbtest.Body {
		return &wire.SetInfoRequest{FileID: i, InfoType: wire.InfoFileSystem, InfoClass: uint8(fscc.FileFsLabelInformation), Buffer: make([]byte, 20)}
	})
	inputs := map[uint32][]byte{
		uint32(fscc.FsctlSetZeroData): fscc.ZeroData{Beyond: 4}.Append(nil), uint32(fscc.FsctlQueryAllocatedRanges): fscc.Range{Length: 4}.Append(nil),
		wire.FsctlSrvCopychunk: make([]byte, 32), wire.FsctlSrvCopychunkWrite: make([]byte, 32), wire.FsctlPipeTransceive: bindRequest,
		wire.FsctlValidateNegotiateInfo: make([]byte, 24), wire.FsctlPipeWait: fscc.PipeWait{Name: "srvsvc"}.Append(nil),
		uint32(fscc.FsctlSetObjectID): fscc.ObjectID{ID: dtyp.GUID{1}}.Append(nil), uint32(fscc.FsctlSetObjectIDExtended): make([]byte, 48),
		uint32(fscc.FsctlSetCompression):   fscc.AppendCompression(nil, fscc.CompressionDefault),
		uint32(fscc.FsctlDuplicateExtents): fscc.DuplicateExtents{}.Append(nil), uint32(fscc.FsctlDuplicateExtentsEx): fscc.DuplicateExtents{}.AppendEx(nil),
		uint32(fscc.FsctlFileLevelTrim): fscc.Trim{Ranges: []fscc.Range{{Length: 4}}}.Append(nil),
	}
	ofNoFile := []uint32{
		wire.FsctlDFSGetReferrals, wire.FsctlDFSGetReferralsEx, wire.FsctlPipeWait, wire.FsctlValidateNegotiateInfo,
		wire.FsctlQueryNetworkInterfaceInfo,
	}
	for _, code := range append(smb.Controls(), 0x00090FFC) { // and one that nobody knows
		add(wire.CmdIoctl, fmt.Sprintf(" 0x%08X", code), func(i id) smbtest.Body {
			if slices.Contains(ofNoFile, code) {
				i = wire.NoFileID
			}
			return &wire.IoctlRequest{CtlCode: code, FileID: i, Input: inputs[code], MaxOutputResponse: 1000, Flags: wire.IoctlIsFsctl}
		})
	}
	return list
}

// look is all that a client can see of the share: the listing with sizes, times and attributes, and the file's contents.
func look(t *testing.T, p *smbtest.Peer) string {
	t.Helper()
	root := p.Open("", dtyp.FileRead, wire.FileOpen, wire.FileDirectoryFile)
	defer p.Close(root)
	var list wire.QueryDirectoryResponse
	req := &wire.QueryDirectoryRequest{FileID: root, InfoClass: uint8(fscc.FileIdBothDirectoryInformation), Pattern: "*", OutputBufferLength: 4096}
	if s := p.Do(wire.CmdQueryDirectory, req, &list); s != nt.Success {
		t.Fatal(s)
	}
	file := p.Open("file", dtyp.FileRead, wire.FileOpen, 0)
	defer p.Close(file)
	return string(list.Buffer) + string(read(t, p, file, 0, 100))
}

// matrix says what each operation answers: to a user who may only read, with a handle that he got as much as possible on;
// through a handle without any right that matters; on a directory; on a pipe; on a named stream.
const matrix = `
NEGOTIATE: dropped dropped dropped dropped dropped
SESSION_SETUP: INVALID_PARAMETER INVALID_PARAMETER INVALID_PARAMETER INVALID_PARAMETER INVALID_PARAMETER
LOGOFF: SUCCESS SUCCESS SUCCESS SUCCESS SUCCESS
TREE_CONNECT: SUCCESS SUCCESS SUCCESS SUCCESS SUCCESS
TREE_DISCONNECT: SUCCESS SUCCESS SUCCESS SUCCESS SUCCESS
CREATE: ACCESS_DENIED SUCCESS OBJECT_NAME_COLLISION OBJECT_NAME_NOT_FOUND OBJECT_NAME_COLLISION
CLOSE: SUCCESS SUCCESS SUCCESS SUCCESS SUCCESS
FLUSH: ACCESS_DENIED ACCESS_DENIED SUCCESS SUCCESS SUCCESS
READ: SUCCESS ACCESS_DENIED INVALID_DEVICE_REQUEST PENDING SUCCESS
WRITE: ACCESS_DENIED ACCESS_DENIED INVALID_DEVICE_REQUEST PIPE_DISCONNECTED SUCCESS
LOCK: SUCCESS ACCESS_DENIED INVALID_PARAMETER INVALID_DEVICE_REQUEST SUCCESS
ECHO: SUCCESS SUCCESS SUCCESS SUCCESS SUCCESS
QUERY_DIRECTORY: INVALID_PARAMETER INVALID_PARAMETER SUCCESS INVALID_DEVICE_REQUEST INVALID_PARAMETER
CHANGE_NOTIFY: INVALID_PARAMETER INVALID_PARAMETER PENDING INVALID_PARAMETER INVALID_PARAMETER
OPLOCK_BREAK: INVALID_OPLOCK_PROTOCOL INVALID_OPLOCK_PROTOCOL INVALID_OPLOCK_PROTOCOL INVALID_DEVICE_REQUEST INVALID_OPLOCK_PROTOCOL
QUERY_INFO filesystem 0x01: SUCCESS SUCCESS SUCCESS INVALID_INFO_CLASS SUCCESS
QUERY_INFO filesystem 0x03: SUCCESS SUCCESS SUCCESS INVALID_INFO_CLASS SUCCESS
QUERY_INFO file 0x04: SUCCESS ACCESS_DENIED SUCCESS NOT_SUPPORTED SUCCESS
QUERY_INFO filesystem 0x04: SUCCESS SUCCESS SUCCESS INVALID_INFO_CLASS SUCCESS
SET_INFO file 0x04: ACCESS_DENIED ACCESS_DENIED SUCCESS NOT_SUPPORTED SUCCESS
QUERY_INFO file 0x05: SUCCESS SUCCESS SUCCESS SUCCESS SUCCESS
QUERY_INFO filesystem 0x05: SUCCESS SUCCESS SUCCESS INVALID_INFO_CLASS SUCCESS
QUERY_INFO file 0x06: SUCCESS SUCCESS SUCCESS NOT_SUPPORTED SUCCESS
QUERY_INFO filesystem 0x06: SUCCESS SUCCESS SUCCESS INVALID_INFO_CLASS SUCCESS
QUERY_INFO file 0x07: SUCCESS SUCCESS SUCCESS NOT_SUPPORTED SUCCESS
QUERY_INFO filesystem 0x07: SUCCESS SUCCESS SUCCESS INVALID_INFO_CLASS SUCCESS
QUERY_INFO file 0x08: SUCCESS SUCCESS SUCCESS SUCCESS SUCCESS
QUERY_INFO filesystem 0x08: SUCCESS SUCCESS SUCCESS INVALID_INFO_CLASS SUCCESS
QUERY_INFO file 0x09: SUCCESS SUCCESS SUCCESS SUCCESS SUCCESS
SET_INFO file 0x0A: ACCESS_DENIED ACCESS_DENIED SUCCESS NOT_SUPPORTED SHARING_VIOLATION
QUERY_INFO filesystem 0x0B: SUCCESS SUCCESS SUCCESS INVALID_INFO_CLASS SUCCESS
QUERY_INFO filesystem 0x64: INVALID_INFO_CLASS INVALID_INFO_CLASS INVALID_INFO_CLASS INVALID_INFO_CLASS INVALID_INFO_CLASS
SET_INFO file 0x0B: ACCESS_DENIED SUCCESS FILE_IS_A_DIRECTORY NOT_SUPPORTED INVALID_PARAMETER
SET_INFO file 0x0D: ACCESS_DENIED ACCESS_DENIED SUCCESS NOT_SUPPORTED SUCCESS
QUERY_INFO file 0x0E: SUCCESS SUCCESS SUCCESS NOT_SUPPORTED SUCCESS
SET_INFO file 0x0E: SUCCESS SUCCESS SUCCESS NOT_SUPPORTED SUCCESS
QUERY_INFO file 0x0F: NO_EAS_ON_FILE ACCESS_DENIED NO_EAS_ON_FILE NOT_SUPPORTED NO_EAS_ON_FILE
SET_INFO file 0x0F: ACCESS_DENIED ACCESS_DENIED SUCCESS NOT_SUPPORTED INVALID_PARAMETER
QUERY_INFO file 0x10: SUCCESS SUCCESS SUCCESS NOT_SUPPORTED SUCCESS
SET_INFO file 0x10: SUCCESS SUCCESS SUCCESS NOT_SUPPORTED SUCCESS
QUERY_INFO file 0x11: SUCCESS SUCCESS SUCCESS NOT_SUPPORTED SUCCESS
QUERY_INFO file 0x12: SUCCESS ACCESS_DENIED SUCCESS NOT_SUPPORTED SUCCESS
SET_INFO file 0x13: ACCESS_DENIED ACCESS_DENIED INVALID_PARAMETER NOT_SUPPORTED SUCCESS
SET_INFO file 0x14: ACCESS_DENIED ACCESS_DENIED INVALID_PARAMETER NOT_SUPPORTED SUCCESS
QUERY_INFO file 0x15: SUCCESS SUCCESS SUCCESS NOT_SUPPORTED NOT_SUPPORTED
QUERY_INFO file 0x16: SUCCESS SUCCESS SUCCESS NOT_SUPPORTED SUCCESS
QUERY_INFO file 0x17: NOT_SUPPORTED NOT_SUPPORTED NOT_SUPPORTED NOT_SUPPORTED NOT_SUPPORTED
SET_INFO file 0x17: INVALID_INFO_CLASS INVALID_INFO_CLASS INVALID_INFO_CLASS NOT_SUPPORTED INVALID_INFO_CLASS
QUERY_INFO file 0x18: NOT_SUPPORTED NOT_SUPPORTED NOT_SUPPORTED NOT_SUPPORTED NOT_SUPPORTED
QUERY_INFO file 0x1C: SUCCESS SUCCESS SUCCESS NOT_SUPPORTED SUCCESS
QUERY_INFO file 0x22: SUCCESS ACCESS_DENIED SUCCESS NOT_SUPPORTED SUCCESS
QUERY_INFO file 0x23: SUCCESS ACCESS_DENIED SUCCESS NOT_SUPPORTED SUCCESS
SET_INFO file 0x27: ACCESS_DENIED ACCESS_DENIED PRIVILEGE_NOT_HELD NOT_SUPPORTED PRIVILEGE_NOT_HELD
SET_INFO file 0x28: ACCESS_DENIED ACCESS_DENIED PRIVILEGE_NOT_HELD NOT_SUPPORTED PRIVILEGE_NOT_HELD
QUERY_INFO file 0x30: SUCCESS SUCCESS SUCCESS NOT_SUPPORTED SUCCESS
QUERY_INFO file 0x36: SUCCESS SUCCESS SUCCESS NOT_SUPPORTED SUCCESS
QUERY_INFO file 0x3B: SUCCESS SUCCESS SUCCESS NOT_SUPPORTED SUCCESS
QUERY_INFO file 0x64: INVALID_INFO_CLASS INVALID_INFO_CLASS INVALID_INFO_CLASS NOT_SUPPORTED INVALID_INFO_CLASS
SET_INFO file 0x40: ACCESS_DENIED ACCESS_DENIED SUCCESS NOT_SUPPORTED SUCCESS
SET_INFO file 0x41: ACCESS_DENIED ACCESS_DENIED SUCCESS NOT_SUPPORTED SHARING_VIOLATION
SET_INFO file 0x48: ACCESS_DENIED SUCCESS FILE_IS_A_DIRECTORY NOT_SUPPORTED INVALID_PARAMETER
QUERY_INFO type 3: SUCCESS ACCESS_DENIED SUCCESS SUCCESS SUCCESS
SET_INFO type 3: ACCESS_DENIED ACCESS_DENIED SUCCESS NOT_SUPPORTED SUCCESS
CREATE with ACCESS_SYSTEM_SECURITY: PRIVILEGE_NOT_HELD PRIVILEGE_NOT_HELD PRIVILEGE_NOT_HELD OBJECT_NAME_NOT_FOUND PRIVILEGE_NOT_HELD
QUERY_INFO SACL: ACCESS_DENIED ACCESS_DENIED ACCESS_DENIED ACCESS_DENIED ACCESS_DENIED
SET_INFO SACL: ACCESS_DENIED ACCESS_DENIED ACCESS_DENIED NOT_SUPPORTED ACCESS_DENIED
QUERY_INFO type 4: NOT_SUPPORTED NOT_SUPPORTED NOT_SUPPORTED NOT_SUPPORTED NOT_SUPPORTED
SET_INFO type 4: NOT_SUPPORTED NOT_SUPPORTED NOT_SUPPORTED NOT_SUPPORTED NOT_SUPPORTED
SET_INFO type 2: NOT_SUPPORTED NOT_SUPPORTED NOT_SUPPORTED NOT_SUPPORTED NOT_SUPPORTED
IOCTL 0x00060194: FS_DRIVER_REQUIRED FS_DRIVER_REQUIRED FS_DRIVER_REQUIRED FS_DRIVER_REQUIRED FS_DRIVER_REQUIRED
IOCTL 0x000601B0: FS_DRIVER_REQUIRED FS_DRIVER_REQUIRED FS_DRIVER_REQUIRED FS_DRIVER_REQUIRED FS_DRIVER_REQUIRED
IOCTL 0x0009003C: SUCCESS SUCCESS SUCCESS INVALID_DEVICE_REQUEST SUCCESS
IOCTL 0x00090098: ACCESS_DENIED ACCESS_DENIED ACCESS_DENIED INVALID_DEVICE_REQUEST ACCESS_DENIED
IOCTL 0x0009009C: OBJECTID_NOT_FOUND OBJECTID_NOT_FOUND OBJECTID_NOT_FOUND INVALID_DEVICE_REQUEST OBJECTID_NOT_FOUND
IOCTL 0x000900A0: ACCESS_DENIED ACCESS_DENIED SUCCESS INVALID_DEVICE_REQUEST SUCCESS
IOCTL 0x000900A4: ACCESS_DENIED ACCESS_DENIED NOT_SUPPORTED INVALID_DEVICE_REQUEST NOT_SUPPORTED
IOCTL 0x000900A8: NOT_A_REPARSE_POINT NOT_A_REPARSE_POINT NOT_A_REPARSE_POINT NOT_A_REPARSE_POINT NOT_A_REPARSE_POINT
IOCTL 0x000900AC: ACCESS_DENIED ACCESS_DENIED NOT_SUPPORTED INVALID_DEVICE_REQUEST NOT_SUPPORTED
IOCTL 0x000900BC: ACCESS_DENIED ACCESS_DENIED OBJECTID_NOT_FOUND INVALID_DEVICE_REQUEST OBJECTID_NOT_FOUND
IOCTL 0x000900C0: MEDIA_WRITE_PROTECTED SUCCESS SUCCESS INVALID_DEVICE_REQUEST SUCCESS
IOCTL 0x000900C4: ACCESS_DENIED ACCESS_DENIED INVALID_PARAMETER INVALID_DEVICE_REQUEST SUCCESS
IOCTL 0x000940CF: SUCCESS ACCESS_DENIED INVALID_PARAMETER INVALID_DEVICE_REQUEST SUCCESS
IOCTL 0x000980C8: ACCESS_DENIED ACCESS_DENIED INVALID_PARAMETER INVALID_DEVICE_REQUEST SUCCESS
IOCTL 0x00098208: ACCESS_DENIED ACCESS_DENIED INVALID_PARAMETER INVALID_DEVICE_REQUEST SUCCESS
IOCTL 0x00098344: ACCESS_DENIED ACCESS_DENIED INVALID_DEVICE_REQUEST INVALID_DEVICE_REQUEST INVALID_HANDLE
IOCTL 0x000983E8: ACCESS_DENIED ACCESS_DENIED INVALID_DEVICE_REQUEST INVALID_DEVICE_REQUEST INVALID_HANDLE
IOCTL 0x0009C040: ACCESS_DENIED ACCESS_DENIED SUCCESS INVALID_DEVICE_REQUEST SUCCESS
IOCTL 0x00110018: INVALID_DEVICE_REQUEST INVALID_DEVICE_REQUEST INVALID_DEVICE_REQUEST SUCCESS INVALID_DEVICE_REQUEST
IOCTL 0x0011400C: INVALID_DEVICE_REQUEST INVALID_DEVICE_REQUEST INVALID_DEVICE_REQUEST SUCCESS INVALID_DEVICE_REQUEST
IOCTL 0x0011C017: INVALID_DEVICE_REQUEST INVALID_DEVICE_REQUEST INVALID_DEVICE_REQUEST SUCCESS INVALID_DEVICE_REQUEST
IOCTL 0x00140078: SUCCESS SUCCESS INVALID_DEVICE_REQUEST INVALID_DEVICE_REQUEST SUCCESS
IOCTL 0x001401FC: SUCCESS SUCCESS SUCCESS SUCCESS SUCCESS
IOCTL 0x00144064: NOT_SUPPORTED NOT_SUPPORTED NOT_SUPPORTED INVALID_DEVICE_REQUEST NOT_SUPPORTED
IOCTL 0x00140204: dropped dropped dropped dropped dropped
IOCTL 0x001440F2: ACCESS_DENIED ACCESS_DENIED INVALID_DEVICE_REQUEST INVALID_DEVICE_REQUEST OBJECT_NAME_NOT_FOUND
IOCTL 0x001480F2: ACCESS_DENIED ACCESS_DENIED INVALID_DEVICE_REQUEST INVALID_DEVICE_REQUEST OBJECT_NAME_NOT_FOUND
IOCTL 0x00090FFC: NOT_SUPPORTED NOT_SUPPORTED NOT_SUPPORTED NOT_SUPPORTED NOT_SUPPORTED
`

// Every operation on every kind of handle, and none without a row.
func TestSEC31AccessMatrix(t *testing.T) {
	rows := make(map[string][]string)
	for line := range strings.Lines(matrix) {
		if name, cells, ok := strings.Cut(line, ":"); ok {
			rows[name] = strings.Fields(cells)
		}
	}
	for _, op := range operations() {
		want, ok := rows[op.name]
		delete(rows, op.name)
		if !ok || op.body == nil {
			t.Errorf("%s: no row, or no test", op.name)
		}
		t.Run(op.name, func(t *testing.T) {
			if got := tryEverywhere(t, op); !slices.Equal(got, want) {
				t.Errorf("answers, wanted:\n%s: %s\n%s: %s", op.name, strings.Join(got, " "), op.name, strings.Join(want, " "))
			}
		})
	}
	for name := range rows {
		t.Errorf("%s: a row for nothing", name)
	}
}

// tryEverywhere does op in each of the matrix's columns.
func tryEverywhere(t *testing.T, op operation) (answers []string) {
	h := newHouse(t, nil)
	alice := h.logon("alice", "disk")
	file := alice.Open("file", all, wire.FileCreate, 0)
	write(t, alice, file, 0, []byte("contents"))
	alice.Close(file)
	stream := alice.Open("file:stream", all, wire.FileCreate, 0)
	write(t, alice, stream, 0, []byte("contents"))
	alice.Close(stream)
	alice.Close(alice.Open("dir", all, wire.FileCreate, wire.FileDirectoryFile))
	before := look(t, alice)
	for i, on := range []struct {
		user, share, name string
		access            dtyp.Access
	}{
		{"reader", "disk", "file", dtyp.MaximumAllowed},
		{"alice", "disk", "file", dtyp.Synchronize},
		{"alice", "disk", "dir", all},
		{"alice", "IPC$", "srvsvc", dtyp.FileRead | dtyp.FileWrite},
		{"alice", "disk", "file:stream", all},
	} {
		p := h.logon(on.user, on.share)
		id := p.Open(on.name, on.access, wire.FileOpen, 0)
		p.Send(smbtest.Element{Header: p.Request(op.cmd, 0), Body: op.body(id)})
		m, err := p.Recv()
		answer := strings.TrimPrefix(m.Status.String(), "STATUS_")
		if err != nil {
			answer = "dropped"
		}
		answers = append(answers, answer)
		p.Conn.Close()
		if i == 0 && look(t, alice) != before {
			t.Error("a user who may only read has changed something")
		}
	}
	return answers
}
