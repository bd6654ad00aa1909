package osfs

import (
	"context"
	"errors"

	"golang.org/x/sys/unix"

	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/nt"
)

// ownObjectID holds an object id as the wire has it, 64 bytes. It is one of privateEAs. A snapshot has the ids of its
// time; a file that cp copies gets one of its own.
const ownObjectID = "user.postern.objectid"

// ObjectID implements vfs.ObjectIDs. What cannot be read is none: the next one that is made takes its place.
func (f *File) ObjectID(ctx context.Context) (*fscc.ObjectID, error) {
	if err := f.use(ctx); err != nil {
		return nil, err
	}
	defer f.done()
	if f.v.cfg.noXattr || !describable(f.kind) {
		return nil, nt.NotSupported
	}
	b, err := readXattr(at(proc(f.fd)), ownObjectID)
	var id fscc.ObjectID
	switch {
	case errors.Is(err, unix.EOPNOTSUPP):
		return nil, nt.NotSupported
	case errors.Is(err, unix.ENODATA), err == nil && id.Decode(b) != nil:
		return nil, nil
	case err != nil:
		return nil, err
	}
	return &id, nil
}

// SetObjectID implements vfs.ObjectIDs.
func (f *File) SetObjectID(ctx context.Context, id *fscc.ObjectID) error {
	if err := f.useToChange(ctx); err != nil {
		return err
	}
	defer f.done()
	if f.v.cfg.noXattr || !describable(f.kind) {
		return nt.NotSupported
	}
	defer f.modifying()(0)
	var err error
	if id != nil {
		err = f.setXattr(ownObjectID, id.Append(nil))
	} else if err = unix.Removexattr(proc(f.fd), ownObjectID); err == unix.ENODATA {
		err = nil
	}
	if err == unix.EOPNOTSUPP {
		return nt.NotSupported
	}
	return err
}
