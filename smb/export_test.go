package smb

import (
	"fmt"
	"maps"
	"slices"

	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/wire"
)

// Idle says what of the server's is still held when no connection is left: memory of the budgets, or an object in the
// table of open files.
func (s *Server) Idle() error {
	if !s.pool.budget.TryAcquire(s.pool.half) {
		return fmt.Errorf("part of the %d bytes for requests is held", s.pool.half)
	}
	s.pool.budget.Release(s.pool.half)
	if !s.pool.replies.TryAcquire(s.pool.half) {
		return fmt.Errorf("part of the %d bytes for replies is held", s.pool.half)
	}
	s.pool.replies.Release(s.pool.half)
	s.files.mu.Lock()
	defer s.files.mu.Unlock()
	if n := len(s.files.objects); n != 0 {
		return fmt.Errorf("%d objects are held open", n)
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

const MaxParkedUser = maxParkedUser
