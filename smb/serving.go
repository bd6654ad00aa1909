package smb

import (
	"errors"
	"fmt"

	"github.com/postern-nas/postern/smb/auth"
	"github.com/postern-nas/postern/smb/dtyp"
)

// AddShare serves one more share. What is wrong with it is in the error, and nothing has changed then.
func (s *Server) AddShare(sh Share) error {
	s.changing.Lock()
	defer s.changing.Unlock()
	return s.addShare(sh, false)
}

// ReplaceShare serves a share in another way under the same name. Whoever is connected to it is disconnected, with all
// that is open in it, and connects again by itself.
func (s *Server) ReplaceShare(sh Share) error {
	s.changing.Lock()
	defer s.changing.Unlock()
	old := s.shares.find(sh.Name)
	if old == nil || old.pipes {
		return errUnknown
	}
	s.shares.remove(old)
	if err := s.addShare(sh, false); err != nil {
		if !s.shares.add(old) {
			return errors.Join(err, fmt.Errorf("share %s is not served any more", old.Name))
		}
		return err
	}
	s.close(old)
	return nil
}

// RemoveShare takes a share away, and ends what is open in it, or waits for its client.
func (s *Server) RemoveShare(name string) error {
	s.changing.Lock()
	defer s.changing.Unlock()
	sh := s.shares.find(name)
	if sh == nil || sh.pipes {
		return errUnknown
	}
	s.shares.remove(sh)
	s.close(sh)
	return nil
}

// SetRights says anew what users may do in a share. Those who may do something else than when they connected are
// disconnected from it, and connect again with what they may do now; the others notice nothing.
func (s *Server) SetRights(name string, rights func(*auth.Identity) dtyp.Access) error {
	s.changing.Lock()
	defer s.changing.Unlock()
	sh := s.shares.find(name)
	if sh == nil || sh.pipes || rights == nil {
		return errUnknown
	}
	if sh.namespace != nil {
		all := rights
		rights = func(id *auth.Identity) dtyp.Access { return all(id) & namespaceRights }
	}
	sh.judge.Store(&rights)
	for _, ses := range s.valid() {
		now := sh.rights(ses.identity.Load())
		for _, t := range ses.treeList() {
			if t.share == sh && t.rights != now {
				ses.disconnect(t)
			}
		}
	}
	s.endParked(func(o *open) bool { return o.tree.share == sh && o.tree.rights != sh.rights(&o.durable.Load().owner) }, false)
	return nil
}

// SetComment gives a share another comment.
func (s *Server) SetComment(name, comment string) error {
	s.changing.Lock()
	defer s.changing.Unlock()
	sh := s.shares.find(name)
	if sh == nil || sh.pipes {
		return errUnknown
	}
	sh.comment.Store(&comment)
	return nil
}

// close ends what is open in a share that is served no more. The caller holds s.changing.
func (s *Server) close(sh *share) {
	sh.gone.Store(true) // before the sessions are looked at: who connects now sees it
	for _, ses := range s.valid() {
		for _, t := range ses.treeList() {
			if t.share == sh {
				ses.disconnect(t)
			}
		}
	}
	s.endParked(func(o *open) bool { return o.tree.share == sh }, false)
	sh.release(s.log) // requests and opens that are under way keep it a moment longer
}
