package smb

import (
	"context"
	"errors"
	"strings"

	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/rpc"
	"github.com/postern-nas/postern/smb/vfs"
)

// A Sharing makes what an administrator changes of the shares outlive a restart. Only when a method has returned nil is
// the change made; what it returns otherwise the administrator is told as "access denied", and the log in full. Calls
// come one after the other.
type Sharing interface {
	// Add makes a share of the folder, which is there and lies in the share base, and returns what to serve. It is closed
	// if it cannot be served.
	Add(ctx context.Context, base, name, comment string, folder vfs.Path) (Share, error)
	SetComment(ctx context.Context, name, comment string) error
	Remove(ctx context.Context, name string) error
}

// AddShare makes a folder in one share another share. Where the folder is, an administrator says as it is shown to
// administrators, `C:\share\folder`: nobody can share over the network what was not shared before.
func (a administration) AddShare(ctx context.Context, name, path, comment string) rpc.Win32 {
	return a.change(ShareAdded, name, func() error {
		if a.s.shares.find(name) != nil {
			return errTaken
		}
		base, folder, err := a.folder(ctx, path)
		if err != nil {
			return err
		}
		sh, err := a.s.cfg.Sharing.Add(ctx, base.Name, name, comment, folder)
		if err != nil {
			return err
		}
		if err := a.s.addShare(sh, false); err != nil {
			err = errors.Join(err, a.s.cfg.Sharing.Remove(ctx, name))
			if sh.Close != nil {
				err = errors.Join(err, sh.Close())
			}
			return err
		}
		return nil
	})
}

var (
	errNoAdmin = errors.New("only administrators change shares over the network, and only where that is kept")
	errTaken   = errors.New("there is a share of that name")
	errUnknown = errors.New("there is no such share")
	errFolder  = errors.New("there is no such folder in a share that the user may write to")
)

// change has one change of shares made at a time.
func (a administration) change(kind AuditKind, name string, do func() error) rpc.Win32 {
	err := errNoAdmin
	if isAdmin(a.id) && a.s.cfg.Sharing != nil {
		a.s.changing.Lock()
		defer a.s.changing.Unlock()
		err = do()
	}
	what := map[AuditKind]string{ShareAdded: "share added", ShareChanged: "comment of a share changed", ShareRemoved: "share removed"}[kind]
	a.s.log.Info(what, "share", name, "by", a.id.User, "why", err)
	a.conn.audit(kind, a.id, name, err)
	switch {
	case err == nil:
		return rpc.Win32Success
	case errors.Is(err, errTaken):
		return rpc.NerrDuplicateShare
	case errors.Is(err, errUnknown):
		return rpc.NerrNetNameNotFound
	case errors.Is(err, errFolder):
		return rpc.Win32FileNotFound
	}
	return rpc.Win32AccessDenied
}

// folder finds the folder of a path as administrators see it. What it returns is not what the client wrote but what the
// storage calls the folder that it has opened.
func (a administration) folder(ctx context.Context, path string) (*share, vfs.Path, error) {
	const disk = `C:\`
	if len(path) < len(disk) || !strings.EqualFold(path[:len(disk)], disk) {
		return nil, vfs.Path{}, errFolder
	}
	name, inside, _ := strings.Cut(strings.TrimSuffix(path[len(disk):], `\`), `\`)
	base := a.s.shares.find(name)
	if base == nil || base.pipes || base.rights(a.id)&dtyp.WriteData == 0 {
		return nil, vfs.Path{}, errFolder
	}
	p, err := vfs.ParsePath(inside)
	if err != nil || p.Stream != "" {
		return nil, vfs.Path{}, errFolder
	}
	f, _, err := base.Volume.Open(ctx, p, vfs.How{Access: dtyp.ReadAttributes, Directory: true})
	if err != nil {
		return nil, vfs.Path{}, errors.Join(errFolder, err)
	}
	defer f.Close()
	real, err := f.Path(ctx)
	return base, real, err
}

// SetShareComment gives a share another comment.
func (a administration) SetShareComment(ctx context.Context, name, comment string) rpc.Win32 {
	return a.change(ShareChanged, name, func() error {
		sh := a.s.shares.find(name)
		if sh == nil || sh.pipes {
			return errUnknown
		}
		if err := a.s.cfg.Sharing.SetComment(ctx, sh.Name, comment); err != nil {
			return err
		}
		sh.comment.Store(&comment)
		return nil
	})
}

// RemoveShare takes a share away, and ends what is open in it, or waits for its client.
func (a administration) RemoveShare(ctx context.Context, name string) rpc.Win32 {
	return a.change(ShareRemoved, name, func() error {
		sh := a.s.shares.find(name)
		if sh == nil || sh.pipes {
			return errUnknown
		}
		if err := a.s.cfg.Sharing.Remove(ctx, sh.Name); err != nil {
			return err
		}
		a.s.shares.remove(sh)
		a.s.close(sh)
		return nil
	})
}
