package smb

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/wire"
)

// Idle says what of the server's is still held when no connection is left: memory of the budgets, or an object in the
// table of open files.
func (s *Server) Idle() error {
	if !s.pool.budget.TryAcquire(s.pool.most) {
		return fmt.Errorf("part of the %d bytes for requests is held", s.pool.most)
	}
	s.pool.budget.Release(s.pool.most)
	if s.pool.inflated != nil {
		if !s.pool.inflated.TryAcquire(s.pool.mostInflated) {
			return fmt.Errorf("part of the %d bytes for decompressed requests is held", s.pool.mostInflated)
		}
		s.pool.inflated.Release(s.pool.mostInflated)
	}
	if !s.pool.replies.TryAcquire(s.pool.half) {
		return fmt.Errorf("part of the %d bytes for replies is held", s.pool.half)
	}
	s.pool.replies.Release(s.pool.half)
	s.files.mu.Lock()
	defer s.files.mu.Unlock()
	if n := len(s.files.objects); n != 0 {
		return fmt.Errorf("%d objects are held open", n)
	}
	if n := s.SessionIDs(); n != 0 {
		return fmt.Errorf("%d session ids are taken", n)
	}
	return nil
}

// Commands, Controls and SetClasses are what the server's tables have rows for.

func Commands() (list []wire.Command) {
	for cmd, row := range commands {
		if row.run != nil {
			list = append(list, wire.Command(cmd))
		}
	}
	return list
}

func Controls() []uint32 { return slices.Sorted(maps.Keys(controls)) }

func SetClasses() []fscc.FileClass { return slices.Sorted(maps.Keys(setClasses)) }

// ReachableFrom is what a client is told that came to an address.
func (s *Server) ReachableFrom(here netip.Addr) []Interface { return s.reachableFrom(here) }

// Counted says what is counted that should have come back to nothing when all sessions are gone: opens that wait, CREATEs
// that may be replayed, leases, and what the sessions themselves count.
func (s *Server) Counted(sessions ...*session) error {
	t := &s.durables
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.parked)+len(t.users)+len(t.asked) != 0 || t.lasting.Load() != 0 {
		return fmt.Errorf("durable opens: %d wait, of %d users; %d may be replayed; %d are persistent", len(t.parked), len(t.users), len(t.asked), t.lasting.Load())
	}
	s.leases.mu.Lock()
	defer s.leases.mu.Unlock()
	if n := len(s.leases.leases); n != 0 {
		return fmt.Errorf("%d leases", n)
	}
	for _, ses := range sessions {
		if l, w, d := ses.locks.Load(), ses.watches.Load(), ses.durables.Load(); l != 0 || w != 0 || d != 0 {
			return fmt.Errorf("a session counts %d locks, %d watches, %d durable opens", l, w, d)
		}
	}
	if n := s.stats.opens.Load(); n != 0 {
		return fmt.Errorf("%d opens", n)
	}
	return nil
}

// Valid are the sessions that there are.
func (s *Server) Valid() []*session { return s.valid() }

// SessionIDs is how many ids are taken.
func (s *Server) SessionIDs() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sessionIDs)
}

const (
	MaxParkedUser = maxParkedUser
	MaxDurable    = maxDurable
	MaxStrays     = maxStrays
	MaxStrayFrame = maxStrayFrame
)
