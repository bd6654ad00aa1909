package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/postern-nas/postern/firmware/config"
	"github.com/postern-nas/postern/smb"
	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/vfs"
)

// sharing keeps what administrators change of the shares over the network where the owner keeps the shares, too: in
// postern.toml, as text, so that there is one place to look and the owner's comments stay. What else the owner has
// changed there since the start waits for the next one, as always.
type sharing struct {
	dir    string
	served []config.Share // as they are served now, which the file may not say yet
}

func (s *sharing) find(name string) int {
	return slices.IndexFunc(s.served, func(sh config.Share) bool { return fscc.Fold(sh.Name) == fscc.Fold(name) })
}

// Add makes a folder in the share base a share of its own: for the same users, and with the same protection. What is kept
// is where in base it lies, and not a path: clients may put a link in its place before the next start.
func (s *sharing) Add(_ context.Context, base, name, comment string, folder vfs.Path) (smb.Share, error) {
	i := s.find(base)
	if i < 0 {
		return smb.Share{}, fmt.Errorf("there is no share %s", base)
	}
	sh := s.served[i]
	sh.Name, sh.Comment, sh.Folder = name, comment, slices.Concat(sh.Folder, folder.Names)
	made, err := openShare(sh)
	if err != nil {
		return smb.Share{}, err
	}
	if err := config.AddShare(s.dir, sh); err != nil {
		if made.Close != nil {
			err = errors.Join(err, made.Close())
		}
		return smb.Share{}, err
	}
	s.served = append(s.served, sh)
	return made, nil
}

func (s *sharing) SetComment(_ context.Context, name, comment string) error {
	i := s.find(name)
	if i < 0 {
		return fmt.Errorf("there is no share %s", name)
	}
	if err := config.SetShareComment(s.dir, name, comment); err != nil {
		return err
	}
	s.served[i].Comment = comment
	return nil
}

func (s *sharing) Remove(_ context.Context, name string) error {
	if err := config.RemoveShare(s.dir, name); err != nil {
		return err
	}
	if i := s.find(name); i >= 0 {
		s.served = slices.Delete(s.served, i, i+1)
	}
	return nil
}
