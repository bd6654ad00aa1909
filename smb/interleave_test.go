package smb_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern-nas/postern/smb/auth"
	"github.com/postern-nas/postern/smb/crypt"
	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/smbtest"
	"github.com/postern-nas/postern/smb/wire"
)

// TestInterleaved: clients open, lock, watch, lose connections, come back, log off and disconnect; beside them an
// administrator removes and adds shares and ends sessions. Whatever meets whatever: in the end nothing is counted, kept or
// open, and no session that has ended counts anything.
func TestInterleaved(t *testing.T) {
	const clients, rounds = 8, 60
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	s := &safeShelf{shelf: shelf{records: make(map[uint64][]byte)}}
	h := removableOn(t, s)
	var mu sync.Mutex
	ended := h.server.Valid()[:0]
	note := func() {
		mu.Lock()
		defer mu.Unlock()
		ended = append(ended, h.server.Valid()...)
	}
	over := make(chan struct{})
	var made, taken atomic.Int64
	var working, beside sync.WaitGroup
	for i := range clients {
		working.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(i)))
			w := &wanderer{h: h, r: r, guid: dtyp.GUID{byte(i + 1)}, name: fmt.Sprint("of", i), made: &made, taken: &taken}
			for range rounds {
				w.visit()
				note()
			}
		})
	}
	beside.Go(func() {
		r := rand.New(rand.NewPCG(seed, clients))
		for {
			select {
			case <-over:
				return
			case <-time.After(time.Duration(r.IntN(20)) * time.Millisecond): // something else each time
			}
			if r.IntN(4) == 0 {
				h.server.EndSessions(func(id *auth.Identity) bool { return id.User == "alice" && r.IntN(2) == 0 })
				continue
			}
			bob := h.srvsvc("bob")
			bob.call(shareDel, removeStub("disk"))
			bob.call(shareAdd, addStub("disk", `C:\sealed`))
			bob.Peer.Do(wire.CmdLogoff, &wire.LogoffRequest{}, nil)
			bob.Conn.Close()
		}
	})
	working.Wait()
	close(over)
	beside.Wait()
	t.Logf("%d made, %d taken up", made.Load(), taken.Load())
	if made.Load() < clients || taken.Load() == 0 {
		t.Errorf("%d durable opens were made and %d taken up: that shows nothing", made.Load(), taken.Load())
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	h.server.EndSessions(func(*auth.Identity) bool { return true })
	if err := h.server.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	if err := h.server.Counted(ended...); err != nil {
		t.Error(err)
	}
	if err := h.server.Idle(); err != nil {
		t.Error(err)
	}
	if n := len(s.records); n != 0 {
		t.Errorf("%d records are left", n)
	}
}

// A safeShelf is a shelf for several goroutines.
type safeShelf struct {
	mu sync.Mutex
	shelf
}

func (s *safeShelf) Put(id uint64, record []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.shelf.Put(id, record)
}

func (s *safeShelf) Delete(id uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.shelf.Delete(id)
}

// A wanderer is a client that remembers what it had open.
type wanderer struct {
	h    *house
	r    *rand.Rand
	guid dtyp.GUID
	name string
	had  []held
	n    byte

	made, taken *atomic.Int64 // opens, over all clients
}

type held struct {
	id      wire.FileID
	create  byte
	forever bool
}

// visit is one connection: it takes up what it had, and does as chance has it. What is refused is refused: the share or
// the session may be gone.
func (w *wanderer) visit() {
	h := w.h
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		h.t.Error(err)
		return
	}
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		h.t.Error(err)
		return
	}
	server, err := l.Accept()
	l.Close()
	if err != nil {
		h.t.Error(err)
		return
	}
	defer client.Close()
	gone := make(chan struct{})
	go func() {
		h.server.ServeConn(context.Background(), server, h.info)
		close(gone)
	}()
	p := smbtest.New(h.t, client)
	p.Signing, p.Client, p.Capabilities = crypt.AESGMAC, w.guid, wire.CapPersistentHandles
	p.Negotiate(wire.Dialect311)
	if s := p.Logon("alice", "secret", 0); s != nt.Success {
		return
	}
	p.Blind = true // the session may end under us
	if p.Tree("disk") != nt.Success {
		return
	}
	file := func(create byte) *wire.CreateRequest { return asking(fmt.Sprint(w.name, create), wire.OplockBatch) }
	for _, o := range w.had {
		req := again(file(o.create), o.create, o.id)
		if o.forever {
			req = foreverAgain(file(o.create), o.create, o.id)
		}
		if p.Do(wire.CmdCreate, req, nil) == nt.Success {
			w.taken.Add(1)
		}
	}
	var opens []held
	for range 2 + w.r.IntN(6) {
		switch w.r.IntN(6) {
		case 0, 1:
			w.n++
			o := held{create: w.n, forever: w.r.IntN(2) == 0}
			req := lasting(file(o.create), o.create)
			if o.forever {
				req = forever(file(o.create), o.create)
			}
			var resp wire.CreateResponse
			if p.Do(wire.CmdCreate, req, &resp) == nt.Success {
				o.id = resp.FileID
				w.made.Add(1)
				opens = append(opens, o)
			}
		case 2:
			if len(opens) > 0 {
				p.Do(wire.CmdLock, locking(opens[w.r.IntN(len(opens))].id, uint64(w.r.IntN(1000)), lockNow), nil)
			}
		case 3:
			var resp wire.CreateResponse
			if p.Do(wire.CmdCreate, smbtest.OpenAs("", all, wire.FileOpen, wire.FileDirectoryFile), &resp) == nt.Success {
				p.Send(smbtest.Element{Header: p.Request(wire.CmdChangeNotify, 4096), Body: &wire.ChangeNotifyRequest{
					FileID: resp.FileID, OutputBufferLength: 4096, CompletionFilter: 1,
				}})
				p.Send(smbtest.Element{Header: p.Request(wire.CmdClose, 0), Body: &wire.CloseRequest{FileID: resp.FileID}})
				for answers := 0; answers < 2; answers++ {
					p.Final()
				}
			}
		case 4:
			if n := len(opens); n > 0 {
				p.Do(wire.CmdClose, &wire.CloseRequest{FileID: opens[n-1].id}, nil)
				opens = opens[:n-1]
			}
		case 5:
			if n := len(opens); n > 0 { // unlocked and lost in the same moment
				p.Send(smbtest.Element{Header: p.Request(wire.CmdLock, 0), Body: locking(opens[n-1].id, uint64(w.r.IntN(1000)), lockNow)})
				p.Final()
			}
		}
	}
	switch w.r.IntN(4) {
	case 0:
		p.Do(wire.CmdLogoff, &wire.LogoffRequest{}, nil)
	case 1:
		p.Do(wire.CmdTreeDisconnect, &wire.TreeDisconnectRequest{}, nil)
	}
	w.had = opens
	if client.Close(); w.r.IntN(2) == 0 {
		<-gone // else the next visit meets the end of this one
	}
}
