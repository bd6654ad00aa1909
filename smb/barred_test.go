package smb_test

import (
	"crypto/sha256"
	"crypto/x509"
	"sync/atomic"
	"testing"

	"github.com/postern-nas/postern/smb"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/smbtest"
	"github.com/postern-nas/postern/smb/wire"
)

// A client whose certificate is barred loses its session, and what it has left open is kept for it no longer; another
// device of the same user notices nothing.
func TestBarred(t *testing.T) {
	lost, other := &x509.Certificate{Raw: []byte("lost")}, &x509.Certificate{Raw: []byte("other")}
	for name, leave := range map[string]func(*smbtest.Peer){
		"working": func(*smbtest.Peer) {},
		"away":    func(p *smbtest.Peer) { p.Do(wire.CmdLogoff, &wire.LogoffRequest{}, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			var barred atomic.Bool
			s := newSite(t)
			judge := func(c *smb.Config) {
				c.Barred = func(sum [sha256.Size]byte) bool { return barred.Load() && sum == sha256.Sum256(lost.Raw) }
			}
			h := s.start(judge)
			h.info.Peer = other
			q := h.persistent("alice")
			theirs := create(t, q, lasting(asking("other", wire.OplockBatch), 3)).FileID
			h.info.Peer = lost
			p := h.persistent("alice")
			durable := create(t, p, lasting(asking("durable", wire.OplockBatch), 1)).FileID
			persistent := create(t, p, forever(asking("persistent", 0), 2)).FileID
			leave(p)
			if n := h.server.EndBarred(); n != 0 || h.server.Stats().Opens != 3 || len(s.shelf.records) != 1 {
				t.Fatalf("nobody is barred: %d sessions, %d opens, %d records", n, h.server.Stats().Opens, len(s.shelf.records))
			}
			barred.Store(true)
			h.server.EndBarred()
			if n := h.server.Stats().Opens; n != 1 || len(s.shelf.records) != 0 {
				t.Errorf("%d opens, %d records stay", n, len(s.shelf.records))
			}
			q.Do(wire.CmdLogoff, &wire.LogoffRequest{}, nil)
			h.info.Peer = other
			q = h.persistent("alice")
			for _, c := range []struct {
				req  *wire.CreateRequest
				want nt.Status
			}{
				{again(asking("durable", 0), 1, durable), nt.ObjectNameNotFound},
				{foreverAgain(asking("persistent", 0), 2, persistent), nt.ObjectNameNotFound},
				{again(asking("other", 0), 3, theirs), nt.Success},
			} {
				if s := q.Do(wire.CmdCreate, c.req, nil); s != c.want {
					t.Errorf("%s: %v, want %v", c.req.Name, s, c.want)
				}
			}
		})
	}
}

// Whose client is barred while its connection breaks off is not waited for, whoever of the two comes first; and whose
// client is barred while the server restarts is not, either.
func TestBarredLater(t *testing.T) {
	lost := &x509.Certificate{Raw: []byte("lost")}
	var barred atomic.Bool
	s := newSite(t)
	judge := func(c *smb.Config) {
		c.Barred = func([sha256.Size]byte) bool { return barred.Load() }
	}
	h := s.start(judge)
	h.info.Peer = lost
	p := h.persistent("alice")
	create(t, p, lasting(asking("durable", wire.OplockBatch), 1))
	create(t, p, forever(asking("persistent", 0), 2))
	barred.Store(true)
	p.Do(wire.CmdLogoff, &wire.LogoffRequest{}, nil)
	if n := h.server.Stats().Opens; n != 0 {
		t.Errorf("%d opens wait for a client that was barred before it left", n)
	}

	barred.Store(false)
	p = h.persistent("alice")
	create(t, p, forever(asking("persistent", 0), 3))
	s.crash(h)
	h = s.start(judge)
	if n := h.server.Stats().Opens; n != 1 {
		t.Fatalf("%d opens after a restart", n)
	}
	barred.Store(true)
	h.server.EndBarred()
	if n := h.server.Stats().Opens; n != 0 || len(s.shelf.records) != 0 {
		t.Errorf("restored: %d opens, %d records", n, len(s.shelf.records))
	}

	barred.Store(false)
	h.info.Peer = lost
	p = h.persistent("alice")
	create(t, p, forever(asking("persistent", 0), 4))
	s.crash(h)
	barred.Store(true)
	if h = s.start(judge); h.server.Stats().Opens != 0 || len(s.shelf.records) != 0 {
		t.Errorf("barred during the restart: %d opens, %d records", h.server.Stats().Opens, len(s.shelf.records))
	}
}
