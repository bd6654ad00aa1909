package vfstest

import (
	"errors"

	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/vfs"
)

// hasObjectID checks what is stored, and skips the question where nothing can be. The null id stands for none.
func (p *paper) hasObjectID(f vfs.File, want fscc.ObjectID) {
	p.Helper()
	k, ok := f.(vfs.ObjectIDs)
	if !ok {
		p.Skip("the volume keeps no object ids")
	}
	id, err := k.ObjectID(p.ctx)
	if errors.Is(err, nt.NotSupported) {
		p.refused(k.SetObjectID(p.ctx, &fscc.ObjectID{ID: dtyp.GUID{1}}), nt.NotSupported)
		p.Skip("the storage keeps no object ids")
	}
	p.ok(err)
	if id == nil {
		id = &fscc.ObjectID{}
	}
	if *id != want {
		p.Fatalf("object id %x; want %x", *id, want)
	}
}

func (p *paper) setObjectID(f vfs.File, id *fscc.ObjectID) {
	p.Helper()
	p.ok(f.(vfs.ObjectIDs).SetObjectID(p.ctx, id))
}

// keepObjectID: it comes back as it was, of files and directories, through every name and stream and overwriting; it is
// no extended attribute, and a copy of the name alone does not have it.
func keepObjectID(p *paper) {
	f, dir := p.make("f", "text"), p.mkdir("dir")
	p.hasObjectID(f, fscc.ObjectID{})
	one := fscc.ObjectID{ID: dtyp.GUID{1, 15: 9}, Extended: [48]byte{0: 7, 47: 8}}
	two := fscc.ObjectID{ID: dtyp.GUID{2}}
	p.setObjectID(f, nil) // there is none to remove
	p.setObjectID(f, &one)
	p.setObjectID(dir, &two)
	p.hasObjectID(f, one)
	p.hasObjectID(dir, two)
	if e, ok := f.(vfs.EAs); ok {
		if list, err := e.EAs(p.ctx); err == nil && len(list) != 0 {
			p.Errorf("listed as %+v", list)
		}
		if e.SetEAs(p.ctx, []fscc.EA{{Name: "POSTERN.OBJECTID", Value: []byte("x")}}) == nil {
			p.setEA(f, "POSTERN.OBJECTID", "") // then it is another's name, and nothing was changed
		}
		p.hasObjectID(f, one)
	}
	if _, ok := f.(vfs.Streams); ok {
		s := p.attach("f", "s", "x")
		p.hasObjectID(s, one)
		p.setObjectID(s, &two)
		p.hasObjectID(f, two)
		p.setObjectID(f, &one)
	}
	p.ok(f.Rename(p.ctx, at("g"), false))
	p.hasObjectID(p.get("g"), one)
	p.ok(f.Overwrite(p.ctx, 0))
	p.hasObjectID(f, one)
	p.hasObjectID(p.make("f", ""), fscc.ObjectID{})
	p.setObjectID(f, nil)
	p.hasObjectID(p.get("g"), fscc.ObjectID{})
}
