package smb_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/postern-nas/postern/smb"
	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/smbtest"
	"github.com/postern-nas/postern/smb/vfs"
	"github.com/postern-nas/postern/smb/vfs/memfs"
	"github.com/postern-nas/postern/smb/wire"
)

const names = wire.NotifyFileName | wire.NotifyDirName

// watchReq asks for what changes in a directory.
func watchReq(id wire.FileID, filter uint32, tree bool, size uint32) *wire.ChangeNotifyRequest {
	req := &wire.ChangeNotifyRequest{FileID: id, CompletionFilter: filter, OutputBufferLength: size}
	if tree {
		req.Flags = wire.NotifyWatchTree
	}
	return req
}

// notify sends a CHANGE_NOTIFY that is to wait, and returns its interim reply.
func notify(p *smbtest.Peer, req *wire.ChangeNotifyRequest) smbtest.Message {
	p.T.Helper()
	h := p.Request(wire.CmdChangeNotify, int(req.OutputBufferLength))
	p.Send(smbtest.Element{Header: h, Body: req})
	m := p.MustRecv()
	if m.Status != nt.Pending || m.MessageID != h.MessageID || m.Flags&wire.FlagAsync == 0 {
		p.T.Fatalf("a CHANGE_NOTIFY that waits: %v of message %d, flags %#x", m.Status, m.MessageID, m.Flags)
	}
	return m
}

// changes is a CHANGE_NOTIFY's answer in short: its status, or the changes.
func changes(p *smbtest.Peer, m smbtest.Message) string {
	p.T.Helper()
	if m.Command != wire.CmdChangeNotify {
		p.T.Fatalf("%v in place of a CHANGE_NOTIFY: %v", m.Command, m.Status)
	}
	if m.Status != nt.Success {
		return m.Status.Error()
	}
	var resp wire.ChangeNotifyResponse
	if err := resp.Decode(m.Raw); err != nil {
		p.T.Fatal(err)
	}
	list, err := fscc.DecodeChanges(resp.Buffer)
	if err != nil {
		p.T.Fatal(err)
	}
	var out []string
	for _, c := range list {
		out = append(out, fmt.Sprintf("%d:%s", c.Action, c.Name))
	}
	return strings.Join(out, " ")
}

func wantChanges(p *smbtest.Peer, want string) {
	p.T.Helper()
	if got := changes(p, p.Final()); got != want {
		p.T.Errorf("told %q, want %q", got, want)
	}
}

func mkdir(p *smbtest.Peer, name string) {
	p.T.Helper()
	p.Close(p.Open(name, all, wire.FileCreate, wire.FileDirectoryFile))
}

func rmdir(p *smbtest.Peer, name string) {
	p.T.Helper()
	p.Close(p.Open(name, all, wire.FileOpen, wire.FileDirectoryFile|wire.FileDeleteOnClose))
}

func setInfo(p *smbtest.Peer, id wire.FileID, class fscc.FileClass, b []byte) nt.Status {
	p.T.Helper()
	return p.Do(wire.CmdSetInfo, &wire.SetInfoRequest{InfoType: wire.InfoFile, InfoClass: uint8(class), FileID: id, Buffer: b}, nil)
}

// TestNotify is a conversation: what one client does, another is told.
func TestNotify(t *testing.T) {
	h := newHouse(t, nil)
	p, q := h.logon("alice", "disk"), h.logon("bob", "disk")
	mkdir(q, "dir")
	dir := p.Open("dir", all&^dtyp.Delete, wire.FileOpen, wire.FileDirectoryFile)
	notify(p, watchReq(dir, names, true, 1000))
	mkdir(q, `dir\sub`)
	wantChanges(p, "1:sub")
	// Between two requests changes are kept, in order.
	q.Close(q.Open(`dir\sub\file`, all, wire.FileCreate, 0))
	f := q.Open(`dir\sub\file`, all, wire.FileOpen, 0)
	if s := setInfo(q, f, fscc.FileRenameInformation, fscc.RenameInfo{Name: `dir\sub\other`}.Append(nil)); s != nt.Success {
		t.Fatal(s)
	}
	if s := setInfo(q, f, fscc.FileRenameInformation, fscc.RenameInfo{Name: `dir\moved`}.Append(nil)); s != nt.Success {
		t.Fatal(s)
	}
	write(t, q, f, 0, []byte("not asked for"))
	q.Close(f)
	rmdir(q, `dir\sub`)
	var resp wire.ChangeNotifyResponse
	got, err := "", error(nil)
	if s := p.DoCharged(wire.CmdChangeNotify, 1000, watchReq(dir, names, true, 1000), &resp); s != nt.Success {
		t.Fatal(s)
	}
	list, err := fscc.DecodeChanges(resp.Buffer)
	for _, c := range list {
		got += fmt.Sprintf("%d:%s ", c.Action, c.Name)
	}
	if want := `1:sub\file 4:sub\file 5:sub\other 2:sub\other 1:moved 2:sub `; got != want || err != nil {
		t.Errorf("told %q, want %q; %v", got, want, err)
	}
	// One change ends one wait, the one that came first; and several that belong together end one, too.
	first, second := notify(p, watchReq(dir, names, true, 1000)), notify(p, watchReq(dir, names, true, 1000))
	f = q.Open(`dir\moved`, all, wire.FileOpen, 0)
	if s := setInfo(q, f, fscc.FileRenameInformation, fscc.RenameInfo{Name: `dir\again`}.Append(nil)); s != nt.Success {
		t.Fatal(s)
	}
	m := p.Final()
	if got := changes(p, m); m.AsyncID != first.AsyncID || got != "4:moved 5:again" {
		t.Errorf("the first wait got %q", got)
	}
	mkdir(q, `dir\last`)
	m = p.Final()
	if got := changes(p, m); m.AsyncID != second.AsyncID || got != "1:last" {
		t.Errorf("the second wait got %q", got)
	}
	// CANCEL ends a wait, not the watch.
	cancel(p, notify(p, watchReq(dir, names, true, 1000)))
	wantChanges(p, "STATUS_CANCELLED")
	rmdir(q, `dir\last`)
	wait := p.Request(wire.CmdChangeNotify, 1000)
	p.Send(smbtest.Element{Header: wait, Body: watchReq(dir, names, true, 1000)})
	wantChanges(p, "2:last")
}

// TestNotifyFilter: the first request's filter holds, whatever later ones ask for; and a file that is renamed has new
// attributes for those who do not look at names, as on Windows.
func TestNotifyFilter(t *testing.T) {
	h := newHouse(t, nil)
	p := h.logon("alice", "disk")
	file := p.Open("file", all, wire.FileCreate, 0)
	for _, c := range []struct {
		filter uint32
		want   string
	}{
		{wire.NotifyFileName, "1:new 4:new 5:name 2:name"},
		{wire.NotifyDirName, "1:d 2:d"},
		{wire.NotifyAttributes, "3:name 3:file"},
		{wire.NotifyCreation, "3:name"},
		{wire.NotifySize, "3:file"},
		{wire.NotifyLastWrite, "3:file"},
		{wire.NotifySecurity, "STATUS_CANCELLED"},
	} {
		root := p.Open("", all&^dtyp.Delete, wire.FileOpen, wire.FileDirectoryFile)
		cancel(p, notify(p, watchReq(root, c.filter, false, 1000)))
		wantChanges(p, "STATUS_CANCELLED")
		n := p.Open("new", all, wire.FileCreate, wire.FileDeleteOnClose)
		if s := setInfo(p, n, fscc.FileRenameInformation, fscc.RenameInfo{Name: "name"}.Append(nil)); s != nt.Success {
			t.Fatal(s)
		}
		p.Close(n)
		mkdir(p, "d")
		rmdir(p, "d")
		if s := setInfo(p, file, fscc.FileBasicInformation, fscc.BasicInfo{Attributes: vfs.AttrHidden}.Append(nil)); s != nt.Success {
			t.Fatal(s)
		}
		write(t, p, file, 0, []byte("1"))
		write(t, p, file, 1, []byte("2"))
		req := p.Request(wire.CmdChangeNotify, 1000)
		p.Send(smbtest.Element{Header: req, Body: watchReq(root, ^uint32(0), false, 1000)}) // is not asked again
		m := p.MustRecv()
		if m.Status == nt.Pending {
			cancel(p, m)
			m = p.Final()
		}
		if got := changes(p, m); got != c.want {
			t.Errorf("filter %#x: told %q, want %q", c.filter, got, c.want)
		}
		p.Close(root)
	}
}

// TestNotifyOverflow: changes that do not fit are lost, and the client is told to list the directory.
func TestNotifyOverflow(t *testing.T) {
	h := newHouse(t, nil)
	p, q := h.logon("alice", "disk"), h.logon("bob", "disk")
	const enum = "STATUS_NOTIFY_ENUM_DIR"
	root := p.Open("", all, wire.FileOpen, wire.FileDirectoryFile)
	cancel(p, notify(p, watchReq(root, names, false, 100)))
	wantChanges(p, "STATUS_CANCELLED")
	ask := func(size uint32, want string) {
		t.Helper()
		h := p.Request(wire.CmdChangeNotify, int(size))
		p.Send(smbtest.Element{Header: h, Body: watchReq(root, names, false, size)})
		wantChanges(p, want)
	}
	for i := range 20 {
		mkdir(q, fmt.Sprint("many", i))
	}
	ask(100, enum)
	mkdir(q, "one") // and from then on anew
	ask(100, "1:one")
	mkdir(q, "two")
	ask(12, enum) // it fitted into the buffer, not into the request
	notify(p, watchReq(root, names, false, 0))
	mkdir(q, "three")
	wantChanges(p, enum)
	p.Close(root)
	// Who asks for nothing at first is only ever told that something was.
	root = p.Open("", all, wire.FileOpen, wire.FileDirectoryFile)
	notify(p, watchReq(root, names, false, 0))
	mkdir(q, "four")
	wantChanges(p, enum)
	notify(p, watchReq(root, names, false, 1000))
	mkdir(q, "five")
	wantChanges(p, enum)
	p.Close(root)
	// No more than 64 KiB is kept, whatever the client would take.
	root = p.Open("", all, wire.FileOpen, wire.FileDirectoryFile)
	cancel(p, notify(p, watchReq(root, names, false, 1<<20)))
	wantChanges(p, "STATUS_CANCELLED")
	long := strings.Repeat("x", 200)
	for i := range 200 { // of 12+406 bytes each
		mkdir(q, fmt.Sprint(long, i+100))
	}
	ask(1<<20, enum)
}

// TestNotifyEnds: what ends the handle or the directory ends the wait.
func TestNotifyEnds(t *testing.T) {
	for _, end := range []string{"close", "tree disconnect", "logoff", "delete on close", "disposition", "previous session", "reauthentication"} {
		t.Run(end, func(t *testing.T) {
			h := newHouse(t, nil)
			p, q := h.logon("alice", "disk"), h.logon("alice", "disk")
			mkdir(q, "dir")
			dir := p.Open("dir", all, wire.FileOpen, wire.FileDirectoryFile)
			interim := notify(p, watchReq(dir, names, true, 1000))
			want := nt.NotifyCleanup
			var also wire.Command
			switch end {
			case "close":
				also = wire.CmdClose
				p.Send(smbtest.Element{Header: p.Request(also, 0), Body: &wire.CloseRequest{FileID: dir}})
			case "tree disconnect":
				also = wire.CmdTreeDisconnect
				p.Send(smbtest.Element{Header: p.Request(also, 0), Body: &wire.TreeDisconnectRequest{}})
			case "logoff":
				also = wire.CmdLogoff
				p.Send(smbtest.Element{Header: p.Request(also, 0), Body: &wire.LogoffRequest{}})
			case "delete on close":
				want = nt.DeletePending
				rmdir(q, "dir")
			case "disposition":
				want = nt.DeletePending
				o := q.Open("dir", all, wire.FileOpen, wire.FileDirectoryFile)
				if s := setInfo(q, o, fscc.FileDispositionInformation, []byte{1}); s != nt.Success {
					t.Fatal(s)
				}
			case "previous session":
				r := h.dial()
				r.Negotiate(wire.Dialect311)
				if s := r.Logon("alice", "secret", p.SessionID); s != nt.Success {
					t.Fatal(s)
				}
			case "reauthentication":
				// One that fails ends the session, and is told so under the session's key: the peer checks that.
				also = wire.CmdSessionSetup
				p.Send(smbtest.Element{Header: p.Request(also, 0), Body: &wire.SessionSetupRequest{SecurityBuffer: []byte("nonsense")}})
			}
			answers := 1
			if also != 0 {
				answers = 2
			}
			for range answers {
				m := p.Final()
				switch {
				case also == wire.CmdSessionSetup && m.Command == also:
					if !m.Status.IsError() || m.Flags&wire.FlagSigned == 0 || p.Signer.Verify(m.Raw) == false {
						t.Errorf("%v: %v, flags %#x", also, m.Status, m.Flags)
					}
				case m.Command == also && m.Status != nt.Success:
					t.Errorf("%v: %v", also, m.Status)
				case m.Command == wire.CmdChangeNotify && (m.Status != want || m.AsyncID != interim.AsyncID):
					t.Errorf("the wait ended with %v, want %v", m.Status, want)
				}
			}
			if want == nt.DeletePending {
				if s := p.DoCharged(wire.CmdChangeNotify, 1000, watchReq(dir, names, true, 1000), nil); s != want {
					t.Errorf("another wait: %v", s)
				}
			}
		})
	}
}

// blind is a Volume whose directories tell nothing.
type blind struct{ vfs.Volume }

type blindFile struct{ vfs.File }

func (b blind) Open(ctx context.Context, p vfs.Path, how vfs.How) (vfs.File, vfs.Action, error) {
	f, a, err := b.Volume.Open(ctx, p, how)
	return blindFile{f}, a, err
}

func TestNotifyRefused(t *testing.T) {
	h := newHouse(t, func(c *smb.Config) {
		c.Shares = append(c.Shares, smb.Share{Name: "blind", Volume: blind{memfs.New()}, Rights: rights("blind")})
	})
	p := h.logon("alice", "disk")
	p.Do(wire.CmdEcho, &wire.EchoRequest{}, nil)
	dir := p.Open("dir", all, wire.FileCreate, wire.FileDirectoryFile)
	ask := func(p *smbtest.Peer, id wire.FileID, size int, want nt.Status) {
		t.Helper()
		if s := p.DoCharged(wire.CmdChangeNotify, size, watchReq(id, names, false, uint32(size)), nil); s != want {
			t.Errorf("%v, want %v", s, want)
		}
	}
	ask(p, p.Open("file", all, wire.FileCreate, 0), 1000, nt.InvalidParameter)
	ask(p, p.Open("dir", dtyp.ReadAttributes, wire.FileOpen, 0), 1000, nt.AccessDenied)
	ask(p, wire.FileID{Persistent: 1, Volatile: 2}, 1000, nt.FileClosed)
	ask(p, dir, 8<<20+1, nt.InvalidParameter)
	if s := p.Do(wire.CmdChangeNotify, watchReq(dir, names, false, 1<<20), nil); s != nt.InvalidParameter {
		t.Errorf("more than the credits pay for: %v", s)
	}
	b := h.logon("alice", "blind")
	ask(b, b.Open("", all, wire.FileOpen, wire.FileDirectoryFile), 1000, nt.NotSupported)
	ask(b, b.Open("", all, wire.FileOpen, wire.FileDirectoryFile), 1000, nt.NotSupported)
}

// TestNotifyOrder: requests that are sent in one go take effect in the order they were sent in.
func TestNotifyOrder(t *testing.T) {
	h := newHouse(t, nil)
	p, q := h.logon("alice", "disk"), h.logon("bob", "disk")
	for range 50 {
		root := p.Open("", all, wire.FileOpen, wire.FileDirectoryFile)
		var burst []byte
		frame := func(e smbtest.Element) {
			msg := p.Encode(e)
			burst = append(append(burst, 0, 0, byte(len(msg)>>8), byte(len(msg))), msg...)
		}
		var sent []uint64
		for range 5 {
			h := p.Request(wire.CmdChangeNotify, 0)
			sent = append(sent, h.MessageID)
			frame(smbtest.Element{Header: h, Body: watchReq(root, names, false, 1000)})
		}
		if _, err := p.Conn.Write(burst); err != nil {
			t.Fatal(err)
		}
		for interim := 0; interim < 5; {
			if m := p.MustRecv(); m.Status == nt.Pending {
				interim++
			}
		}
		mkdir(q, "x")
		rmdir(q, "x")
		got := map[uint64]string{}
		for range 2 { // answers may overtake each other
			m := p.Final()
			got[m.MessageID] = changes(p, m)
		}
		if got[sent[0]] != "1:x" || got[sent[1]] != "2:x" {
			t.Fatalf("of %d, these got changes: %v", sent, got)
		}
		// A CLOSE that follows at once does not overtake.
		burst = nil
		frame(smbtest.Element{Header: p.Request(wire.CmdChangeNotify, 0), Body: watchReq(root, names, false, 1000)})
		frame(smbtest.Element{Header: p.Request(wire.CmdClose, 0), Body: &wire.CloseRequest{FileID: root}})
		if _, err := p.Conn.Write(burst); err != nil {
			t.Fatal(err)
		}
		for range 5 {
			if m := p.Final(); m.Command == wire.CmdChangeNotify && m.Status != nt.NotifyCleanup {
				t.Fatalf("a wait that was closed: %v", m.Status)
			}
		}
	}
}

// TestNotifyCompound: a CHANGE_NOTIFY waits at the end of a compound, whose other answers do not wait for it; anywhere
// else it is refused.
func TestNotifyCompound(t *testing.T) {
	h := newHouse(t, nil)
	p := h.logon("alice", "disk")
	related := func(e smbtest.Element) smbtest.Element {
		e.Header.Flags |= wire.FlagRelated
		return e
	}
	create := smbtest.Element{Header: p.Request(wire.CmdCreate, 0), Body: smbtest.OpenAs("dir", all, wire.FileOpenIf, wire.FileDirectoryFile)}
	wait := related(smbtest.Element{Header: p.Request(wire.CmdChangeNotify, 0), Body: watchReq(wire.NoFileID, names, false, 1000)})
	p.Send(create, wait)
	if m := p.MustRecv(); m.Command != wire.CmdCreate || m.Status != nt.Success {
		t.Fatalf("%v: %v", m.Command, m.Status)
	}
	m := p.MustRecv()
	if m.Command != wire.CmdChangeNotify || m.Status != nt.Pending {
		t.Fatalf("%v: %v", m.Command, m.Status)
	}
	cancel(p, m)
	wantChanges(p, "STATUS_CANCELLED")

	create = smbtest.Element{Header: p.Request(wire.CmdCreate, 0), Body: smbtest.OpenAs("dir", all, wire.FileOpenIf, wire.FileDirectoryFile)}
	wait = related(smbtest.Element{Header: p.Request(wire.CmdChangeNotify, 0), Body: watchReq(wire.NoFileID, names, false, 1000)})
	end := related(smbtest.Element{Header: p.Request(wire.CmdClose, 0), Body: &wire.CloseRequest{FileID: wire.NoFileID}})
	p.Send(create, wait, end)
	for _, want := range []nt.Status{nt.Success, nt.InternalError, nt.Success} {
		if m := p.MustRecv(); m.Status != want {
			t.Errorf("%v: %v, want %v", m.Command, m.Status, want)
		}
	}
}

// Class 41: no more than 511 requests of a connection wait, and no session watches more than 1,024 directories.
func TestSEC41NotifyBounds(t *testing.T) {
	h := newHouse(t, nil)
	p := h.logon("alice", "disk")
	root := p.Open("", all, wire.FileOpen, wire.FileDirectoryFile)
	waiting := 0
	for ; ; waiting++ {
		h := p.Request(wire.CmdChangeNotify, 0)
		p.Send(smbtest.Element{Header: h, Body: watchReq(root, names, false, 1000)})
		if m := p.MustRecv(); m.Status == nt.InsufficientResources {
			break
		} else if m.Status != nt.Pending {
			t.Fatal(m.Status)
		}
	}
	if waiting != 511 {
		t.Errorf("%d requests wait", waiting)
	}
	p.Send(smbtest.Element{Header: p.Request(wire.CmdClose, 0), Body: &wire.CloseRequest{FileID: root}})
	for n := 0; n < waiting+1; n++ {
		if m := p.Final(); m.Command == wire.CmdChangeNotify && m.Status != nt.NotifyCleanup {
			t.Fatalf("after CLOSE: %v", m.Status)
		}
	}
	watched := 0
	for ; ; watched++ {
		id := p.Open("", all, wire.FileOpen, wire.FileDirectoryFile)
		h := p.Request(wire.CmdChangeNotify, 0)
		p.Send(smbtest.Element{Header: h, Body: watchReq(id, names, false, 1000)})
		m := p.MustRecv()
		if m.Status == nt.InsufficientResources {
			break
		}
		cancel(p, m)
		wantChanges(p, "STATUS_CANCELLED")
	}
	if watched != 1024 {
		t.Errorf("%d directories are watched", watched)
	}
}

// Class 35 for the other request that waits: CHANGE_NOTIFYs meet changes, CANCELs, CLOSE and the end of connections.
func TestSEC35NotifyRaces(t *testing.T) {
	h := newHouse(t, nil)
	rounds := 200
	if testing.Short() {
		rounds = 20
	}
	rng := rand.New(rand.NewPCG(3, 5))
	busy := h.logon("alice", "disk")
	mkdir(busy, "dir")
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				mkdir(busy, `dir\x`)
				rmdir(busy, `dir\x`)
			}
		}
	}()
	p := h.logon("bob", "disk")
	for range rounds {
		id := p.Open("dir", dtyp.FileRead, wire.FileOpen, wire.FileDirectoryFile)
		var waiting []wire.Header
		for range 1 + rng.IntN(4) {
			h := p.Request(wire.CmdChangeNotify, 0)
			waiting = append(waiting, h)
			p.Send(smbtest.Element{Header: h, Body: watchReq(id, names, true, 1000)})
		}
		for range rng.IntN(3) {
			c := waiting[rng.IntN(len(waiting))]
			p.Send(smbtest.Element{Header: wire.Header{Command: wire.CmdCancel, MessageID: c.MessageID, SessionID: c.SessionID, TreeID: c.TreeID}, Body: &wire.CancelRequest{}})
		}
		if rng.IntN(10) == 0 {
			p.Conn.Close()
			p = h.logon("bob", "disk")
			continue
		}
		p.Send(smbtest.Element{Header: p.Request(wire.CmdClose, 0), Body: &wire.CloseRequest{FileID: id}})
		for range len(waiting) + 1 {
			switch m := p.Final(); m.Status {
			case nt.Success, nt.Cancelled, nt.NotifyCleanup, nt.NotifyEnumDir, nt.FileClosed:
			default:
				t.Errorf("%v: %v", m.Command, m.Status)
			}
		}
	}
	close(stop)
	<-stopped
}

// In a share with access-based enumeration nobody hears a name that a listing would not show.
func TestSEC40NotifyByAccess(t *testing.T) {
	_, as := aclHouse(t)
	a, b := as("alice"), as("bob@hides")
	a.make("dir", wire.FileDirectoryFile)
	a.make(`dir\closed`, wire.FileDirectoryFile)
	a.protect(`dir\closed`, dacl(allow(alice, all, toAll)))
	dir := b.Open("dir", dtyp.FileRead, wire.FileOpen, wire.FileDirectoryFile)
	notify(b.Peer, watchReq(dir, names|wire.NotifySecurity, true, 1000))
	// What bob may not see does not even wake him.
	a.make(`dir\closed\secret`, 0)
	id := a.Open(`dir\closed\secret`, all, wire.FileOpen, 0)
	if s := setInfo(a.Peer, id, fscc.FileRenameInformation, fscc.RenameInfo{Name: `dir\closed\more secret`}.Append(nil)); s != nt.Success {
		t.Fatal(s)
	}
	a.Close(id)
	a.make(`dir\plain`, 0)
	wantChanges(b.Peer, "1:plain")
	// Of a rename both names are told or none.
	notify(b.Peer, watchReq(dir, names, true, 1000))
	id = a.Open(`dir\plain`, all, wire.FileOpen, 0)
	if s := setInfo(a.Peer, id, fscc.FileRenameInformation, fscc.RenameInfo{Name: `dir\other`}.Append(nil)); s != nt.Success {
		t.Fatal(s)
	}
	a.Close(id)
	wantChanges(b.Peer, "4:plain 5:other")
	// What is gone cannot be judged: bob looks for himself.
	notify(b.Peer, watchReq(dir, names, true, 1000))
	a.Close(a.Open(`dir\closed\more secret`, all, wire.FileOpen, wire.FileDeleteOnClose))
	wantChanges(b.Peer, nt.NotifyEnumDir.Error())
	// A share that hides nothing tells all there is.
	c := as("bob@disk")
	dir = c.Open("dir", dtyp.FileRead, wire.FileOpen, wire.FileDirectoryFile)
	notify(c.Peer, watchReq(dir, names, true, 1000))
	a.make(`dir\closed\third`, 0)
	wantChanges(c.Peer, `1:closed\third`)
}
