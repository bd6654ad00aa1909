package smb

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"

	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/vfs"
	"github.com/postern-nas/postern/smb/wire"
)

// Object ids, [MS-FSA] 2.1.5.10: names of files for link tracking, by which a shortcut's target is known again wherever it
// was moved to. Here they are kept with the file and told; no file is opened or listed by one, and so nobody looks
// whether a client that restores one has it unique.

// objectIDBuffer is how long FILE_OBJECTID_BUFFER is, [MS-FSCC] 2.1.3; the part that is extended is what follows the id.
const (
	objectIDBuffer   = 64
	objectIDExtended = 48
)

// objectIDs is the storage of the file's object id, and what is stored there.
func (c *control) objectIDs() (vfs.ObjectIDs, *fscc.ObjectID, error) {
	if c.o.file == nil {
		return nil, nil, because(nt.InvalidDeviceRequest, "object id of a pipe")
	}
	k, ok := c.o.file.(vfs.ObjectIDs)
	if !ok {
		return nil, nil, because(nt.VolumeNotUpgraded, "the volume keeps no object ids")
	}
	id, err := k.ObjectID(c.ctx)
	if errors.Is(err, nt.NotSupported) {
		err = because(nt.VolumeNotUpgraded, "the storage keeps no object ids")
	}
	return k, id, err
}

// keepsObjectIDs tells whether the storage of an open file keeps object ids.
func keepsObjectIDs(ctx context.Context, f vfs.File) bool {
	k, ok := f.(vfs.ObjectIDs)
	if !ok {
		return false
	}
	_, err := k.ObjectID(ctx)
	return !errors.Is(err, nt.NotSupported)
}

// volumeGUID is Volume.VolumeId of [MS-FSA] 2.1.1.1. It is the same as long as the server and the filesystem are.
func (r *request) volumeGUID(id vfs.ID) dtyp.GUID {
	server := r.conn.srv.cfg.GUID
	sum := sha256.Sum256(binary.LittleEndian.AppendUint64(server[:], volumeID(r.volume(), id)))
	return dtyp.GUID(sum[:16])
}

func (c *control) objectIDFits() error {
	if c.req.MaxOutputResponse < objectIDBuffer {
		return because(nt.InvalidParameter, "object id into %d bytes", c.req.MaxOutputResponse)
	}
	return nil
}

// getObjectID is [MS-FSA] 2.1.5.10.13.
func (c *control) getObjectID() ([]byte, error) {
	_, id, err := c.objectIDs()
	switch {
	case err != nil:
		return nil, err
	case c.objectIDFits() != nil:
		return nil, c.objectIDFits()
	case id == nil:
		return nil, because(nt.ObjectIDNotFound, "the file has none")
	}
	return id.Append(nil), nil
}

// createOrGetObjectID is [MS-FSA] 2.1.5.10.1. The handle needs no right, since who makes a shortcut opens its target for
// next to nothing; but to the user who may not change the file's attributes it is as on a volume that is read-only.
func (c *control) createOrGetObjectID() ([]byte, error) {
	if c.o.object == nil {
		_, _, err := c.objectIDs()
		return nil, err
	}
	whole := c.o.object.whole()
	whole.securing.Lock()
	defer whole.securing.Unlock()
	k, id, err := c.objectIDs()
	if err == nil {
		err = c.objectIDFits()
	}
	if err != nil {
		return nil, err
	}
	fresh := id == nil
	if fresh {
		id = &fscc.ObjectID{ID: dtyp.NewGUID()}
	}
	if volume, object := id.Birth(); fresh || volume == (dtyp.GUID{}) && object == (dtyp.GUID{}) {
		if err := c.mayIdentify(); err != nil {
			return nil, err
		}
		id.SetBirth(c.volumeGUID(c.o.file.ID()), id.ID)
		if err := k.SetObjectID(c.ctx, id); err != nil {
			return nil, err
		}
	}
	return id.Append(nil), nil
}

// mayIdentify checks that the user could change the file.
func (c *control) mayIdentify() error {
	if err := c.o.unchangeable(); err != nil {
		return err
	}
	sd, err := c.protection(c.o)
	if err != nil {
		return err
	}
	if allowed(sd, c.session.identity.Load())&c.tree.rights&dtyp.WriteAttributes == 0 {
		return because(nt.MediaWriteProtected, "the user may not change the file's attributes")
	}
	return nil
}

// changeObjectID replaces the object id by what change makes of it. Changes take turns.
func (c *control) changeObjectID(change func(was *fscc.ObjectID) (*fscc.ObjectID, error)) error {
	if c.o.object == nil {
		_, _, err := c.objectIDs()
		return err
	}
	whole := c.o.object.whole()
	whole.securing.Lock()
	defer whole.securing.Unlock()
	k, was, err := c.objectIDs()
	if err != nil {
		return err
	}
	id, err := change(was)
	if err != nil || id == nil && was == nil {
		return err
	}
	return k.SetObjectID(c.ctx, id)
}

// setObjectID is [MS-FSA] 2.1.5.10.35: for those who restore a backup, through handles that say so.
func (c *control) setObjectID() ([]byte, error) {
	return nil, c.changeObjectID(func(was *fscc.ObjectID) (*fscc.ObjectID, error) {
		var id fscc.ObjectID
		switch {
		case len(c.req.Input) != objectIDBuffer || id.Decode(c.req.Input) != nil || id.ID == (dtyp.GUID{}):
			return nil, because(nt.InvalidParameter, "object id of %d bytes, or null", len(c.req.Input))
		case c.o.options&wire.FileOpenForBackupIntent == 0 || !isAdmin(c.session.identity.Load()):
			return nil, because(nt.AccessDenied, "object ids are restored by administrators, with backup intent")
		case was != nil:
			return nil, because(nt.ObjectNameCollision, "the file has one")
		}
		return &id, nil
	})
}

// setObjectIDExtended is [MS-FSA] 2.1.5.10.36.
func (c *control) setObjectIDExtended() ([]byte, error) {
	return nil, c.changeObjectID(func(was *fscc.ObjectID) (*fscc.ObjectID, error) {
		switch {
		case len(c.req.Input) != objectIDExtended:
			return nil, because(nt.InvalidParameter, "%d bytes of extended information", len(c.req.Input))
		case was == nil:
			return nil, because(nt.ObjectIDNotFound, "the file has none")
		}
		return &fscc.ObjectID{ID: was.ID, Extended: [objectIDExtended]byte(c.req.Input)}, nil
	})
}

// deleteObjectID is [MS-FSA] 2.1.5.10.2: that there is none is no error.
func (c *control) deleteObjectID() ([]byte, error) {
	return nil, c.changeObjectID(func(*fscc.ObjectID) (*fscc.ObjectID, error) { return nil, nil })
}
