package smb_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/smbtest"
	"github.com/postern-nas/postern/smb/wire"
)

const (
	shared    = wire.LockShared | wire.LockFailImmediately
	exclusive = wire.LockExclusive | wire.LockFailImmediately
)

func el(off, n uint64, flags uint32) wire.LockElement {
	return wire.LockElement{Offset: off, Length: n, Flags: flags}
}

func lock(p *smbtest.Peer, id wire.FileID, elements ...wire.LockElement) nt.Status {
	p.T.Helper()
	return p.Do(wire.CmdLock, &wire.LockRequest{FileID: id, Locks: elements}, &wire.LockResponse{})
}

// lockWait sends a LOCK that is to wait, and returns its interim reply.
func lockWait(p *smbtest.Peer, id wire.FileID, off, n uint64) smbtest.Message {
	p.T.Helper()
	h := p.Request(wire.CmdLock, 0)
	p.Send(smbtest.Element{Header: h, Body: &wire.LockRequest{FileID: id, Locks: []wire.LockElement{el(off, n, wire.LockExclusive)}}})
	m := p.MustRecv()
	if m.Status != nt.Pending || m.MessageID != h.MessageID || m.Flags&wire.FlagAsync == 0 {
		p.T.Fatalf("a LOCK that waits: %v of message %d, flags %#x", m.Status, m.MessageID, m.Flags)
	}
	return m
}

func cancel(p *smbtest.Peer, interim smbtest.Message) {
	p.T.Helper()
	h := p.Request(wire.CmdCancel, 0)
	p.MessageID--
	p.Credits++
	h.MessageID, h.CreditCharge, h.Credits = interim.MessageID, 0, 0
	h.Flags, h.AsyncID = wire.FlagAsync, interim.AsyncID
	p.Send(smbtest.Element{Header: h, Body: &wire.CancelRequest{}})
}

// TestLockRequests is [MS-SMB2] 3.3.5.14 line by line, on one handle.
func TestLockRequests(t *testing.T) {
	h := newHouse(t, nil)
	p := h.logon("alice", "disk")
	id := p.Open("file", all, wire.FileOpenIf, 0)
	for i, c := range []struct {
		want     nt.Status
		elements []wire.LockElement
	}{
		{nt.InvalidParameter, nil},
		{nt.InvalidParameter, []wire.LockElement{el(0, 1, 0)}},
		{nt.InvalidParameter, []wire.LockElement{el(0, 1, ^uint32(0x17))}},
		{nt.InvalidParameter, []wire.LockElement{el(0, 1, wire.LockShared|wire.LockExclusive)}},
		{nt.InvalidParameter, []wire.LockElement{el(0, 1, wire.LockUnlock|wire.LockShared)}},
		{nt.InvalidParameter, []wire.LockElement{el(0, 1, wire.LockUnlock|wire.LockExclusive)}},
		{nt.InvalidParameter, []wire.LockElement{el(0, 1, wire.LockUnlock|wire.LockFailImmediately)}},
		{nt.InvalidLockRange, []wire.LockElement{el(^uint64(0), ^uint64(0), exclusive)}},
		{nt.RangeNotLocked, []wire.LockElement{el(0, 1, wire.LockUnlock)}},
		// Several elements: none may wait, and what one locked goes when another fails.
		{nt.InvalidParameter, []wire.LockElement{el(0, 1, shared), el(5, 1, wire.LockShared)}},
		{nt.InvalidParameter, []wire.LockElement{el(0, 1, exclusive), el(5, 1, wire.LockUnlock)}},
		{nt.LockNotGranted, []wire.LockElement{el(0, 1, exclusive), el(0, 1, exclusive)}},
		{nt.Success, []wire.LockElement{el(0, 1, exclusive), el(5, 1, shared)}},
		{nt.Success, []wire.LockElement{el(0, 1, shared)}},
		// Unlocking: in order, and what was unlocked before the one that fails stays so.
		{nt.InvalidParameter, []wire.LockElement{el(0, 1, wire.LockUnlock), el(9, 1, exclusive)}},
		{nt.RangeNotLocked, []wire.LockElement{el(0, 1, wire.LockUnlock), el(9, 1, wire.LockUnlock), el(5, 1, wire.LockUnlock)}},
		{nt.RangeNotLocked, []wire.LockElement{el(0, 1, wire.LockUnlock)}},
		{nt.Success, []wire.LockElement{el(5, 1, wire.LockUnlock)}},
	} {
		if got := lock(p, id, c.elements...); got != c.want {
			t.Errorf("%d: %v, want %v", i, got, c.want)
		}
	}
	wrong := id
	wrong.Persistent++
	if got := lock(p, wrong, el(0, 1, 0)); got != nt.FileClosed {
		t.Errorf("handle that is none: %v", got)
	}
	dir := p.Open("dir", all, wire.FileOpenIf, wire.FileDirectoryFile)
	if got := lock(p, dir, el(0, 1, exclusive)); got != nt.InvalidParameter {
		t.Errorf("directory: %v", got)
	}
	attr := p.Open("file", 0x80, wire.FileOpen, 0)
	if got := lock(p, attr, el(0, 1, exclusive)); got != nt.AccessDenied {
		t.Errorf("handle for attributes alone: %v", got)
	}
}

// TestLockConflicts: everything that reads or writes contents respects the locks of others, and shared locks of all.
func TestLockConflicts(t *testing.T) {
	h := newHouse(t, nil)
	p, q := h.logon("alice", "disk"), h.logon("bob", "disk")
	mine, theirs := p.Open("file", all, wire.FileOpenIf, 0), q.Open("file", all, wire.FileOpenIf, 0)
	other := q.Open("other", all, wire.FileOpenIf, 0)
	data := make([]byte, 100)
	write(t, p, mine, 0, data)
	write(t, q, other, 0, data)
	if s := lock(p, mine, el(10, 10, exclusive), el(50, 10, shared)); s != nt.Success {
		t.Fatal(s)
	}
	reads := func(p *smbtest.Peer, id wire.FileID, off uint64, n int) nt.Status {
		return p.DoCharged(wire.CmdRead, n, &wire.ReadRequest{FileID: id, Offset: off, Length: uint32(n)}, nil)
	}
	writes := func(p *smbtest.Peer, id wire.FileID, off uint64, n int) nt.Status {
		return p.DoCharged(wire.CmdWrite, n, &wire.WriteRequest{FileID: id, Offset: off, Data: data[:n]}, nil)
	}
	control := func(code uint32, id wire.FileID, input []byte) nt.Status {
		return q.Do(wire.CmdIoctl, &wire.IoctlRequest{CtlCode: code, FileID: id, Input: input, Flags: wire.IoctlIsFsctl, MaxOutputResponse: 100}, nil)
	}
	zero := func(from, beyond int64) nt.Status {
		return control(uint32(fscc.FsctlSetZeroData), theirs, fscc.ZeroData{From: from, Beyond: beyond}.Append(nil))
	}
	key := func(id wire.FileID) (k wire.ResumeKeyResponse) {
		var resp wire.IoctlResponse
		if s := q.Do(wire.CmdIoctl, &wire.IoctlRequest{CtlCode: wire.FsctlSrvRequestResumeKey, FileID: id, Flags: wire.IoctlIsFsctl, MaxOutputResponse: 100}, &resp); s != nt.Success {
			t.Fatal(s)
		}
		if err := k.Decode(resp.Output); err != nil {
			t.Fatal(err)
		}
		return k
	}
	copies := func(from, to wire.FileID, off uint64, n uint32) nt.Status {
		req := wire.CopyChunkRequest{Source: key(from).Key, Chunks: []wire.CopyChunk{{SrcOffset: off, DstOffset: off, Length: n}}}
		return control(wire.FsctlSrvCopychunkWrite, to, req.Append(nil))
	}
	const conflict = nt.FileLockConflict
	for i, c := range []struct{ got, want nt.Status }{
		{reads(p, mine, 0, 100), nt.Success},
		{writes(p, mine, 10, 10), nt.Success},
		{writes(p, mine, 59, 1), conflict}, // not even its holder writes under a shared lock
		{reads(q, theirs, 0, 10), nt.Success},
		{reads(q, theirs, 0, 11), conflict},
		{reads(q, theirs, 15, 0), nt.Success},
		{reads(q, theirs, 20, 80), nt.Success},
		{writes(q, theirs, 19, 1), conflict},
		{writes(q, theirs, 20, 30), nt.Success},
		{writes(q, theirs, 49, 2), conflict},
		{zero(0, 10), nt.Success},
		{zero(0, 11), conflict},
		{zero(55, 56), conflict},
		{copies(other, theirs, 20, 10), nt.Success},
		{copies(other, theirs, 15, 10), conflict},
		{copies(other, theirs, 45, 10), conflict},
		{copies(theirs, other, 45, 20), nt.Success},
		{copies(theirs, other, 5, 6), conflict},
	} {
		if c.got != c.want {
			t.Errorf("%d: %v, want %v", i, c.got, c.want)
		}
	}
	// Whoever may replace contents as a whole, may under locks ([MS-FSA] 2.1.5.1.2 asks nothing of them).
	q.Close(q.Open("file", all, wire.FileOverwriteIf, 0))
	p.Close(mine)
	if s := writes(q, theirs, 0, 100); s != nt.Success {
		t.Errorf("after the holder closed: %v", s)
	}
}

// TestLockWaits: a LOCK that may wait does, until others unlock or close, or it is cancelled, or its own handle goes.
func TestLockWaits(t *testing.T) {
	for _, end := range []string{"unlock", "close", "disconnect", "cancel", "close waiting", "tree disconnect", "logoff"} {
		t.Run(end, func(t *testing.T) {
			h := newHouse(t, nil)
			p, q := h.logon("alice", "disk"), h.logon("bob", "disk")
			mine, theirs := p.Open("file", all, wire.FileOpenIf, 0), q.Open("file", all, wire.FileOpenIf, 0)
			if s := lock(p, mine, el(0, 10, exclusive)); s != nt.Success {
				t.Fatal(s)
			}
			interim := lockWait(q, theirs, 5, 10)
			want := nt.Success
			var also wire.Command
			switch end {
			case "unlock":
				if s := lock(p, mine, el(0, 10, wire.LockUnlock)); s != nt.Success {
					t.Fatal(s)
				}
			case "close":
				p.Close(mine)
			case "disconnect":
				p.Conn.Close()
			case "cancel":
				// What waits is not held yet.
				if s := lock(q, theirs, el(5, 10, wire.LockUnlock)); s != nt.RangeNotLocked {
					t.Errorf("unlocking what waits: %v", s)
				}
				cancel(q, interim)
				cancel(q, interim) // twice: the second finds nothing
				want = nt.Cancelled
			case "close waiting":
				want, also = nt.RangeNotLocked, wire.CmdClose
				q.Send(smbtest.Element{Header: q.Request(also, 0), Body: &wire.CloseRequest{FileID: theirs}})
			case "tree disconnect":
				want, also = nt.RangeNotLocked, wire.CmdTreeDisconnect
				q.Send(smbtest.Element{Header: q.Request(also, 0), Body: &wire.TreeDisconnectRequest{}})
			case "logoff":
				want, also = nt.RangeNotLocked, wire.CmdLogoff
				q.Send(smbtest.Element{Header: q.Request(also, 0), Body: &wire.LogoffRequest{}})
			}
			answers := 1
			if also != 0 {
				answers = 2
			}
			for range answers {
				m := q.Final()
				switch {
				case m.Command == also && m.Status != nt.Success:
					t.Errorf("%v: %v", also, m.Status)
				case m.Command == wire.CmdLock && (m.Status != want || m.AsyncID != interim.AsyncID):
					t.Errorf("the LOCK that waited: %v, want %v", m.Status, want)
				}
			}
			if end == "cancel" {
				if s := lock(q, theirs, el(5, 10, exclusive)); s != nt.LockNotGranted {
					t.Errorf("after CANCEL: %v", s)
				}
			}
		})
	}
}

// TestLockReplay is [MS-SMB2] 3.3.5.14's lock sequence: a LOCK sent twice is done once.
func TestLockReplay(t *testing.T) {
	h := newHouse(t, nil)
	p := h.logon("alice", "disk")
	id := p.Open("file", all, wire.FileOpenIf, 0)
	for i, c := range []struct {
		sequence, flags uint32
		want            nt.Status
	}{
		{0x001, exclusive, nt.Success}, // index 0: not verified
		{0x001, exclusive, nt.LockNotGranted},
		{0x001, wire.LockUnlock, nt.Success},
		{0x001, wire.LockUnlock, nt.RangeNotLocked},
		{0x011, exclusive, nt.Success},
		{0x011, exclusive, nt.Success},        // done already
		{0x011, wire.LockUnlock, nt.Success},  // it is not even looked at
		{0x012, exclusive, nt.LockNotGranted}, // a new number is a new request
		{0x011, exclusive, nt.LockNotGranted}, // and a failure leaves none
		{0x411, exclusive, nt.LockNotGranted}, // index 65: not verified
		{0x40F, wire.LockUnlock, nt.Success},  // index 64, the last
		{0x40F, exclusive, nt.Success},
		{0x400, wire.LockUnlock, nt.RangeNotLocked},
	} {
		req := &wire.LockRequest{FileID: id, Sequence: c.sequence, Locks: []wire.LockElement{el(100, 100, c.flags)}}
		if got := p.Do(wire.CmdLock, req, nil); got != c.want {
			t.Errorf("%d: %v, want %v", i, got, c.want)
		}
	}
}

// Class 35: a LOCK that waits meets CANCELs, CLOSE, others' UNLOCK and the end of its connection, in every order and at
// once. Nothing waits for ever, nothing stays behind (newHouse checks), and no lock outlives its handle.
func TestSEC35LockRaces(t *testing.T) {
	h := newHouse(t, nil)
	rounds := 400
	if testing.Short() {
		rounds = 40
	}
	if *soak {
		rounds = 100_000
	}
	holder := h.logon("alice", "disk")
	id := holder.Open("file", all, wire.FileOpenIf, 0)
	var done atomic.Int64
	var wg sync.WaitGroup
	stop := make(chan struct{})
	wg.Go(func() { // locks and unlocks all the time
		for {
			select {
			case <-stop:
				return
			default:
			}
			lock(holder, id, el(0, 1, exclusive))
			if s := lock(holder, id, el(0, 1, wire.LockUnlock)); s != nt.Success && s != nt.RangeNotLocked {
				t.Errorf("unlock: %v", s)
			}
		}
	})
	var workers sync.WaitGroup
	for w := range 4 {
		workers.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(w), 35))
			p := h.logon("bob", "disk")
			for range rounds / 4 {
				o := p.Open("file", all, wire.FileOpenIf, 0)
				var waiting []smbtest.Element
				for range 1 + rng.IntN(4) {
					e := smbtest.Element{Header: p.Request(wire.CmdLock, 0), Body: &wire.LockRequest{FileID: o, Locks: []wire.LockElement{el(0, 1, wire.LockExclusive)}}}
					waiting = append(waiting, e)
					p.Send(e)
				}
				acts := []int{0, 0, 1}
				rng.Shuffle(len(acts), func(i, j int) { acts[i], acts[j] = acts[j], acts[i] })
				for _, act := range acts {
					if act == 0 { // by MessageId, whether it went async or not
						c := waiting[rng.IntN(len(waiting))].Header
						p.Send(smbtest.Element{Header: wire.Header{Command: wire.CmdCancel, MessageID: c.MessageID, SessionID: c.SessionID, TreeID: c.TreeID}, Body: &wire.CancelRequest{}})
						continue
					}
					p.Send(smbtest.Element{Header: p.Request(wire.CmdClose, 0), Body: &wire.CloseRequest{FileID: o}})
				}
				if rng.IntN(10) == 0 { // and then it is gone
					p.Conn.Close()
					p = h.logon("bob", "disk")
					done.Add(1)
					continue
				}
				for range len(waiting) + 1 {
					switch m := p.Final(); m.Status {
					case nt.Success, nt.Cancelled, nt.RangeNotLocked, nt.FileClosed:
					default:
						t.Errorf("%v: %v", m.Command, m.Status)
					}
				}
				done.Add(1)
			}
		})
	}
	workers.Wait()
	close(stop)
	wg.Wait()
	if int(done.Load()) != rounds/4*4 {
		t.Errorf("%d of %d rounds", done.Load(), rounds)
	}
	p := h.logon("bob", "disk")
	o := p.Open("file", all, wire.FileOpenIf, 0)
	deadline := time.Now().Add(smbtest.Patience)
	for lock(p, o, el(0, 1, exclusive)) != nt.Success { // a connection that was cut may take a moment to end
		if time.Now().After(deadline) {
			t.Fatal("a lock outlived its handle")
		}
		time.Sleep(time.Millisecond)
	}
}

// Class 35, bounds: no handle holds more than 10,000 locks, no session more than 131,072.
func TestSEC35LockBounds(t *testing.T) {
	h := newHouse(t, nil)
	p := h.logon("alice", "disk")
	p.Do(wire.CmdEcho, &wire.EchoRequest{}, nil) // for credits
	granted := 0
	take := func(id wire.FileID, n int) nt.Status {
		many := make([]wire.LockElement, n)
		for i := range many {
			many[i] = el(uint64(granted+i), 1, shared)
		}
		s := p.DoCharged(wire.CmdLock, 24*n, &wire.LockRequest{FileID: id, Locks: many}, nil)
		if s == nt.Success {
			granted += n
		}
		return s
	}
	full := p.Open("file", all, wire.FileOpenIf, 0)
	for granted < 10_000 {
		if s := take(full, 2500); s != nt.Success {
			t.Fatal(s)
		}
	}
	if s := take(full, 1); s != nt.InsufficientResources {
		t.Fatalf("more than 10,000 locks on a handle: %v", s)
	}
	for file := 0; ; file++ {
		id := p.Open(fmt.Sprint("file", file), all, wire.FileOpenIf, 0)
		if s := take(id, 1000); s != nt.Success {
			if s != nt.InsufficientResources || granted != 131_000 {
				t.Fatalf("%v after %d", s, granted)
			}
			p.Close(full) // and its locks are free for others
			if s := take(id, 1000); s != nt.Success {
				t.Fatalf("after a handle with locks was closed: %v", s)
			}
			return
		}
	}
}
