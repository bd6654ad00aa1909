package smb_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/postern-nas/postern/smb"
	"github.com/postern-nas/postern/smb/auth"
	"github.com/postern-nas/postern/smb/auth/ntlm"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/rpc"
	"github.com/postern-nas/postern/smb/smbtest"
	"github.com/postern-nas/postern/smb/vfs"
	"github.com/postern-nas/postern/smb/vfs/memfs"
	"github.com/postern-nas/postern/smb/wire"
)

// A ledger notes what changes, or fails.
type ledger struct {
	done []string
	fail error
}

func (l *ledger) Add(_ context.Context, base, name, comment string, folder vfs.Path) (smb.Share, error) {
	l.done = append(l.done, fmt.Sprintf("%s: %s in %s is %s", name, folder, base, comment))
	return smb.Share{Name: name, Comment: comment, Volume: memfs.New(), Rights: rights(base)}, l.fail
}

func (l *ledger) SetComment(_ context.Context, name, comment string) error {
	l.done = append(l.done, name+" is "+comment)
	return l.fail
}

func (l *ledger) Remove(_ context.Context, name string) error {
	l.done = append(l.done, name+" goes")
	return l.fail
}

func sharingHouse(t *testing.T, l smb.Sharing, more ...func(*smb.Config)) *house {
	t.Helper()
	return newHouse(t, func(c *smb.Config) {
		for _, f := range more {
			f(c)
		}
		c.Mechanisms = []auth.Mechanism{ntlm.New(ntlm.Config{Computer: "NAS", DNSName: "nas.test", Accounts: withAdmin{}})}
		c.Sharing = l
	})
}

func addStub(name, path string) []byte {
	var w rpc.Writer
	w.Pointer(false)
	w.U32(2)
	w.U32(2)
	w.Pointer(true)
	w.Row(rpc.Row{name, uint32(0), "new", uint32(0), uint32(0xFFFFFFFF), uint32(0), path, nil})
	w.Pointer(false)
	return w.Bytes()
}

func removeStub(name string) []byte {
	var w rpc.Writer
	w.Pointer(false)
	w.String(name)
	w.U32(0)
	return w.Bytes()
}

func commentStub(name, comment string) []byte {
	var w rpc.Writer
	w.Pointer(false)
	w.String(name)
	w.U32(1004)
	w.U32(1004)
	w.Pointer(true)
	w.Row(rpc.Row{comment})
	w.Pointer(false)
	return w.Bytes()
}

const (
	shareAdd     = 14
	shareSetInfo = 17
	shareDel     = 18
)

// Shares come, are called otherwise, and go, while clients use them.
func TestSharing(t *testing.T) {
	l := &ledger{}
	var audits []string // in the order of what one client does after the other
	var mu sync.Mutex
	h := sharingHouse(t, l, func(c *smb.Config) {
		c.Audit = func(a smb.Audit) {
			mu.Lock()
			defer mu.Unlock()
			if a.Kind >= smb.ShareAdded {
				audits = append(audits, fmt.Sprintf("%d %s by %s from %t: %t", a.Kind-smb.ShareAdded, a.Share, a.User, a.Remote != "", a.Err == nil))
			}
		}
	})
	alice, bob := h.logon("alice", "disk"), h.srvsvc("bob")
	alice.Close(alice.Open("Folder", all, wire.FileCreate, wire.FileDirectoryFile))
	file := alice.Open("file", all, wire.FileCreate, 0)
	before := alice.TreeID

	for _, c := range []struct {
		op   uint16
		stub []byte
		want uint32
		done string
	}{
		{shareAdd, addStub("new", `c:\DISK\folder`), 0, "new: Folder in disk is new"}, // as the storage writes it
		{shareAdd, addStub("NEW", `C:\disk\Folder`), 2118, ""},
		{shareAdd, addStub("ipc$", `C:\disk\Folder`), 2118, ""},
		{shareAdd, addStub("root", `C:\disk\`), 0, "root:  in disk is new"},
		{shareAdd, addStub("x", `C:\disk\file`), 2, ""},
		{shareAdd, addStub("x", `C:\disk\nothing`), 2, ""},
		{shareAdd, addStub("x", `C:\disk\..\private`), 2, ""},
		{shareAdd, addStub("x", `C:\disk\Folder\..\..`), 2, ""},
		{shareAdd, addStub("x", `C:\disk\Folder:stream`), 2, ""},
		{shareAdd, addStub("x", `C:\private`), 2, ""}, // bob has no rights there
		{shareAdd, addStub("x", `C:\IPC$`), 2, ""},
		{shareAdd, addStub("x", `C:\etc`), 2, ""},
		{shareAdd, addStub("x", `/etc`), 2, ""},
		{shareAdd, addStub("x", `D:\disk`), 2, ""},
		{shareAdd, addStub("x", `C:\`), 2, ""},
		{shareAdd, addStub("x", ``), 2, ""},
		{shareAdd, addStub("x", "ııı"), 2, ""},
		{shareSetInfo, commentStub("NEW", "newer"), 0, "new is newer"},
		{shareSetInfo, commentStub("nothing", "newer"), 2310, ""},
		{shareSetInfo, commentStub("IPC$", "newer"), 2310, ""},
		{shareDel, removeStub("IPC$"), 2310, ""},
		{shareDel, removeStub("nothing"), 2310, ""},
	} {
		l.done, audits = nil, nil
		if _, result := bob.call(c.op, c.stub); result != c.want || strings.Join(l.done, "; ") != c.done {
			t.Errorf("operation %d, %q: error %d, %q; want %d, %q", c.op, c.stub, result, l.done, c.want, c.done)
		}
		// Of all of that an audit log hears, once.
		if end := fmt.Sprintf(" by bob from true: %t", c.want == 0); len(audits) != 1 || !strings.HasSuffix(audits[0], end) ||
			!strings.HasPrefix(audits[0], map[uint16]string{shareAdd: "0 ", shareSetInfo: "1 ", shareDel: "2 "}[c.op]) {
			t.Errorf("operation %d: heard %q", c.op, audits)
		}
	}
	if text, _ := bob.enumerate(shareEnumOp, 2); !strings.Contains(text, "newer") || !strings.Contains(text, `C:\new`) {
		t.Errorf("shares: %q", text)
	}
	if s := alice.Tree("new"); s != nt.Success {
		t.Errorf("connecting to the new share: %v", s)
	}
	alice.Close(alice.Open("inside", all, wire.FileCreate, 0))

	// What is removed is gone for those who use it, and for nobody else.
	if _, result := bob.call(shareDel, removeStub("DISK")); result != 0 {
		t.Errorf("removing: error %d", result)
	}
	alice.Close(alice.Open("inside", all, wire.FileOpen, 0))
	alice.TreeID = before
	if s := alice.Do(wire.CmdWrite, &wire.WriteRequest{FileID: file, Data: []byte("x")}, nil); s != nt.NetworkNameDeleted {
		t.Errorf("writing in it: %v", s)
	}
	if s := alice.Tree("disk"); s != nt.BadNetworkName {
		t.Errorf("connecting to it: %v", s)
	}
}

// Without an administrator, without a place to keep it, or when that fails, nothing changes.
func TestSharingRefused(t *testing.T) {
	calls := map[uint16][]byte{shareAdd: addStub("new", `C:\disk`), shareSetInfo: commentStub("disk", "other"), shareDel: removeStub("disk")}
	for name, c := range map[string]struct {
		user string
		keep *ledger
	}{"a user": {"alice", &ledger{}}, "nowhere to keep it": {"bob", nil}, "a full disk": {"bob", &ledger{fail: errors.New("no space")}}} {
		var keep smb.Sharing
		if c.keep != nil {
			keep = c.keep
		}
		h := sharingHouse(t, keep)
		who := h.srvsvc(c.user)
		was, _ := who.enumerate(shareEnumOp, 1)
		for op, stub := range calls {
			out, result := who.call(op, stub)
			if result != 5 || op != shareDel && binary.LittleEndian.Uint32(out) != 0 {
				t.Errorf("%s: operation %d: error %d, % x", name, op, result, out)
			}
		}
		if is, _ := who.enumerate(shareEnumOp, 1); is != was {
			t.Errorf("%s: shares %q became %q", name, was, is)
		}
		if c.user == "alice" && c.keep.done != nil {
			t.Errorf("%s: %q", name, c.keep.done)
		}
	}
}

// A share that goes while clients connect to it leaves no tree connect behind.
func TestSharingRace(t *testing.T) {
	h := sharingHouse(t, &ledger{})
	bob := h.srvsvc("bob")
	peers := make([]*smbtest.Peer, 4)
	for i := range peers {
		peers[i] = h.logon("alice", "IPC$")
	}
	for round := range 20 {
		name := fmt.Sprintf("s%d", round)
		if _, result := bob.call(shareAdd, addStub(name, `C:\disk`)); result != 0 {
			t.Fatalf("error %d", result)
		}
		var late []*smbtest.Peer
		for _, p := range peers {
			p.Send(smbtest.Element{Header: p.Request(wire.CmdTreeConnect, 0), Body: &wire.TreeConnectRequest{Path: `\\nas\` + name}})
		}
		if _, result := bob.call(shareDel, removeStub(name)); result != 0 {
			t.Fatalf("error %d", result)
		}
		for _, p := range peers {
			if m := p.MustRecv(); m.Status == nt.Success {
				p.TreeID = m.TreeID
				late = append(late, p)
			} else if m.Status != nt.BadNetworkName {
				t.Errorf("tree connect: %v", m.Status)
			}
		}
		for _, p := range late {
			if s := p.Do(wire.CmdCreate, smbtest.OpenAs("x", all, wire.FileOpenIf, 0), nil); s != nt.NetworkNameDeleted {
				t.Errorf("CREATE in what is gone: %v", s)
			}
		}
	}
	if !bytes.Contains([]byte(name(bob)), []byte("disk")) {
		t.Error("the others are gone, too")
	}
}

func name(c *caller) string {
	text, _ := c.enumerate(shareEnumOp, 1)
	return text
}
