package smb_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern-nas/postern/smb"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/smbtest"
	"github.com/postern-nas/postern/smb/vfs"
	"github.com/postern-nas/postern/smb/vfs/memfs"
	"github.com/postern-nas/postern/smb/vfs/osfs"
	"github.com/postern-nas/postern/smb/wire"
)

// A closable is a Volume that knows what is open in it, and is told when it is closed.
type closable struct {
	vfs.Volume
	open, early, closed atomic.Int64
}

type closableFile struct {
	vfs.File
	v *closable
}

func (c *closable) Open(ctx context.Context, p vfs.Path, how vfs.How) (vfs.File, vfs.Action, error) {
	if c.closed.Load() != 0 {
		c.early.Add(1)
	}
	f, action, err := c.Volume.Open(ctx, p, how)
	if err != nil {
		return nil, action, err
	}
	c.open.Add(1)
	return closableFile{f, c}, action, nil
}

func (f closableFile) Close() error {
	f.v.open.Add(-1)
	return f.File.Close()
}

func (c *closable) close() error {
	c.early.Add(c.open.Load())
	c.closed.Add(1)
	return nil
}

// closing is a ledger whose shares are closed.
type closing struct {
	ledger
	volumes chan *closable
}

func (l *closing) Add(ctx context.Context, base, name, comment string, folder vfs.Path) (smb.Share, error) {
	sh, err := l.ledger.Add(ctx, base, name, comment, folder)
	v := &closable{Volume: sh.Volume}
	sh.Volume, sh.Close = v, v.close
	l.volumes <- v
	return sh, err
}

// soon waits until something holds.
func soon(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

// A removed share is closed once, when the last that was open in it is closed, whatever clients are doing at that moment.
func TestRemovedShareIsClosed(t *testing.T) {
	l := &closing{volumes: make(chan *closable, 1)}
	h := sharingHouse(t, l)
	bob := h.srvsvc("bob")
	add := func(name string) *closable {
		t.Helper()
		if _, result := bob.call(shareAdd, addStub(name, `C:\disk`)); result != 0 {
			t.Fatalf("adding: error %d", result)
		}
		return <-l.volumes
	}
	remove := func(name string) {
		t.Helper()
		if _, result := bob.call(shareDel, removeStub(name)); result != 0 {
			t.Fatalf("removing: error %d", result)
		}
	}
	v := add("unused")
	if v.closed.Load() != 0 {
		t.Fatal("closed while it is there")
	}
	remove("unused")
	soon(t, "closed", func() bool { return v.closed.Load() == 1 })

	v = add("used")
	p, q := h.logon("alice", "used"), h.logon("alice", "used")
	id := p.Open("file", all, wire.FileCreate, 0)
	other := q.Open("file", all, wire.FileOpen, 0)
	wantStatus(t, "lock", p.Do(wire.CmdLock, locking(id, 0, lockNow), nil), nt.Success)
	send(q, wire.CmdLock, locking(other, 0, wire.LockExclusive))
	if m := q.MustRecv(); m.Status != nt.Pending {
		t.Fatal(m.Status)
	}
	remove("used")
	soon(t, "closed", func() bool { return v.closed.Load() == 1 })
	if n := v.early.Load(); n != 0 {
		t.Errorf("%d files were open when it was closed, or opened later", n)
	}
	wantStatus(t, "in what is gone", p.Do(wire.CmdCreate, smbtest.OpenAs("file", all, wire.FileOpen, 0), nil), nt.NetworkNameDeleted)

	// One that is added and not served after all is closed, too.
	v2 := &closable{Volume: memfs.New()}
	refused := sharingHouse(t, refusing{v2})
	if _, result := refused.srvsvc("bob").call(shareAdd, addStub("x", `C:\disk`)); result == 0 || v2.closed.Load() != 1 {
		t.Errorf("error %d, closed %d times", result, v2.closed.Load())
	}
}

// refusing adds what cannot be served.
type refusing struct{ v *closable }

func (r refusing) Add(context.Context, string, string, string, vfs.Path) (smb.Share, error) {
	return smb.Share{Name: "impossible:name", Volume: r.v, Close: r.v.close, Rights: rights("disk")}, nil
}

func (refusing) SetComment(context.Context, string, string) error { return errors.New("no") }
func (refusing) Remove(context.Context, string) error             { return nil }

// However clients and the removal meet, the share is closed once and nothing is opened in it later.
func TestRemovedShareRace(t *testing.T) {
	l := &closing{volumes: make(chan *closable, 1)}
	h := sharingHouse(t, l)
	bob := h.srvsvc("bob")
	peers := make([]*smbtest.Peer, 4)
	for i := range peers {
		peers[i] = h.logon("alice", "disk")
	}
	for round := range 20 {
		name := fmt.Sprint("r", round)
		if _, result := bob.call(shareAdd, addStub(name, `C:\disk`)); result != 0 {
			t.Fatalf("adding: error %d", result)
		}
		v := <-l.volumes
		var wg sync.WaitGroup
		for i, p := range peers {
			if s := p.Tree(name); s != nt.Success {
				t.Fatal(s)
			}
			wg.Go(func() {
				for n := 0; ; n++ {
					var resp wire.CreateResponse
					switch s := p.Do(wire.CmdCreate, smbtest.OpenAs(fmt.Sprint(i, n%3), all, wire.FileOpenIf, 0), &resp); s {
					case nt.Success:
						if n%2 == 0 { // the others stay open
							p.Do(wire.CmdClose, &wire.CloseRequest{FileID: resp.FileID}, nil)
						}
					case nt.NetworkNameDeleted:
						return
					default:
						t.Errorf("CREATE: %v", s)
						return
					}
				}
			})
		}
		time.Sleep(time.Duration(round%5) * time.Millisecond)
		if _, result := bob.call(shareDel, removeStub(name)); result != 0 {
			t.Fatalf("removing: error %d", result)
		}
		wg.Wait()
		soon(t, "closed", func() bool { return v.closed.Load() == 1 })
		if n := v.early.Load(); n != 0 {
			t.Fatalf("round %d: %d files were open when it was closed, or opened later", round, n)
		}
	}
}

// onDisk is a ledger whose shares are folders on disk.
type onDisk struct {
	ledger
	folder string
}

func (l *onDisk) Add(_ context.Context, _, name, comment string, _ vfs.Path) (smb.Share, error) {
	v, err := osfs.New(l.folder)
	if err != nil {
		return smb.Share{}, err
	}
	return smb.Share{Name: name, Comment: comment, Volume: v, Close: v.Close, Rights: rights("disk")}, nil
}

// holds counts the descriptors beneath folder, and the inotify watches of the process.
func holds(t *testing.T, folder string) (files, watches int) {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip(err)
	}
	for _, e := range list {
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && strings.HasPrefix(to, folder) {
			files++
		}
		if b, err := os.ReadFile("/proc/self/fdinfo/" + e.Name()); err == nil {
			watches += bytes.Count(b, []byte("inotify wd:"))
		}
	}
	return files, watches
}

// TestRemovedShareLeavesNothing: descriptors and watches are what they were before there was the share.
func TestRemovedShareLeavesNothing(t *testing.T) {
	l := &onDisk{folder: t.TempDir()}
	for _, dir := range []string{"a/b", "c"} {
		if err := os.MkdirAll(filepath.Join(l.folder, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	h := sharingHouse(t, l)
	bob := h.srvsvc("bob")
	_, before := holds(t, l.folder)
	for range 3 {
		if _, result := bob.call(shareAdd, addStub("new", `C:\disk`)); result != 0 {
			t.Fatalf("adding: error %d", result)
		}
		p := h.logon("alice", "new")
		p.Open(`A\B\file`, all, wire.FileOpenIf, 0) // in another case: the index reads the folders
		dir := p.Open("", all, wire.FileOpen, wire.FileDirectoryFile)
		send(p, wire.CmdChangeNotify, &wire.ChangeNotifyRequest{FileID: dir, OutputBufferLength: 100, CompletionFilter: 1, Flags: 1})
		if m := p.MustRecv(); m.Status != nt.Pending {
			t.Fatal(m.Status)
		}
		if files, watches := holds(t, l.folder); files < 4 || watches < before+4 {
			t.Fatalf("%d descriptors and %d watches while it is used", files, watches-before)
		}
		if _, result := bob.call(shareDel, removeStub("new")); result != 0 {
			t.Fatalf("removing: error %d", result)
		}
		soon(t, "nothing is left", func() bool {
			files, watches := holds(t, l.folder)
			return files == 0 && watches == before
		})
		p.Conn.Close()
	}
}
