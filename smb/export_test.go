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

// SessionIDs is how many ids are taken.
func (s *Server) SessionIDs() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sessionIDs)
}

const MaxParkedUser = maxParkedUser
const (
	MaxStrays     = maxStrays
	MaxStrayFrame = maxStrayFrame
)
