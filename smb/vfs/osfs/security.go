package osfs

import (
	"context"
	"errors"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/vfs"
)

// Security descriptors live where Samba's acl_xattr keeps them, so that a disk can go from one to the other; ntacl.go
// has the form. Only root may write that xattr. Without that privilege they go, in the same form, into one of ours,
// which whoever owns the file on the NAS itself can change, and the wire cannot. Each way of running believes its own
// xattr first and reads the other when there is none.
const (
	sambaNTACL = "security.NTACL"
	ownNTACL   = "user.postern.ntacl"
)

// xattrMax is what Linux takes as the value of an xattr.
const xattrMax = 64 << 10

// ntacls returns the xattrs that hold a descriptor, the one to be written first.
func (v *Volume) ntacls() [2]string {
	if v.unprivileged.Load() {
		return [2]string{ownNTACL, sambaNTACL}
	}
	return [2]string{sambaNTACL, ownNTACL}
}

// An xattrReader reads an object's xattr, as getxattr does.
type xattrReader func(name string, b []byte) (int, error)

// at reads xattrs by way of a path through /proc, following a link at its end.
func at(path string) xattrReader {
	return func(name string, b []byte) (int, error) { return unix.Getxattr(path, name, b) }
}

// descriptor returns the descriptor that is stored with the object that fd is, nil if none is: nt.NotSupported if none
// can be. Its caller must not change the bytes.
func (v *Volume) descriptor(fd int, get xattrReader) ([]byte, error) {
	return v.descriptorAt(fd, "", get)
}

// descriptorAt is descriptor for the entry name of a directory.
func (v *Volume) descriptorAt(dir int, name string, get xattrReader) ([]byte, error) {
	if v.cfg.noXattr {
		return nil, nt.NotSupported
	}
	var st unix.Statx_t
	if err := statxAt(dir, name, &st); err != nil {
		return nil, err
	}
	if b, known := v.descriptors.get(&st); known {
		return b, nil
	}
	b, err := v.settledDescriptor(get)
	if err == nil {
		v.descriptors.put(&st, b)
	}
	return b, err
}

// Protection implements vfs.Protector. What is found by path and not by openat2 is only looked up among what has been
// read through descriptors: a link that somebody puts in the way leads to nothing that is not beneath the root.
func (v *Volume) Protection(names []string) (b []byte, depth int, ok bool) {
	disk, _, err := components(vfs.Path{Names: names})
	if err != nil || v.cfg.noXattr {
		return nil, 0, false
	}
	rel := strings.Join(disk, "/")
	for depth = len(disk); ; depth-- {
		var st unix.Statx_t
		if len(rel) >= pathMax || statxAt(v.root, rel, &st) != nil || kindOf(&st) != unix.S_IFDIR {
			return nil, 0, false
		}
		b, known := v.descriptors.get(&st)
		if !known || b != nil || depth == 0 {
			return b, depth, known
		}
		rel = rel[:max(strings.LastIndexByte(rel, '/'), 0)]
	}
}

// settledDescriptor reads a descriptor. An object that lacks one may be about to get it from whoever makes it; so then it
// looks again when all that are making something are done.
func (v *Volume) settledDescriptor(get xattrReader) ([]byte, error) {
	making := v.bearing.Load() > 0 // if nobody is, whoever made what the caller has open has done so
	b, err := v.stored(get)
	if b == nil && err == nil && making {
		v.births.Lock()
		defer v.births.Unlock()
		b, err = v.stored(get)
	}
	return b, err
}

func (v *Volume) stored(get xattrReader) ([]byte, error) {
	can := false
	for _, name := range v.ntacls() {
		value, err := readXattr(get, name)
		switch {
		case err == unix.ENODATA:
			can = true
		case err == unix.EOPNOTSUPP:
		case err != nil:
			return nil, err
		default:
			return decodeNTACL(value), nil
		}
	}
	if !can {
		return nil, nt.NotSupported
	}
	return nil, nil
}

func readXattr(get xattrReader, name string) ([]byte, error) {
	var small [512]byte
	n, err := get(name, small[:])
	if err == unix.ERANGE {
		large := make([]byte, xattrMax)
		if n, err = get(name, large); err == nil {
			return large[:n], nil
		}
	}
	if err != nil {
		return nil, err
	}
	return append([]byte(nil), small[:n]...), nil
}

// describable reports whether Linux keeps user xattrs with objects of the kind.
func describable(kind uint16) bool { return kind == unix.S_IFREG || kind == unix.S_IFDIR }

// SecurityDescriptor implements vfs.Security.
func (f *File) SecurityDescriptor(ctx context.Context) ([]byte, error) {
	if err := f.use(ctx); err != nil {
		return nil, err
	}
	defer f.done()
	if !describable(f.kind) {
		return nil, nil
	}
	if f.opath {
		return f.v.descriptor(f.fd, at(proc(f.fd)))
	}
	return f.v.descriptor(f.fd, func(name string, b []byte) (int, error) { return unix.Fgetxattr(f.fd, name, b) })
}

// SetSecurityDescriptor implements vfs.Security.
func (f *File) SetSecurityDescriptor(ctx context.Context, b []byte) error {
	if err := f.useToChange(ctx); err != nil {
		return err
	}
	defer f.done()
	end := f.modifying()
	err := f.protect(b)
	end(kindIf(err == nil, vfs.ChangeSecurity))
	return err
}

// protect stores a descriptor with the object.
func (f *File) protect(b []byte) error {
	if f.v.cfg.noXattr || !describable(f.kind) {
		return nt.NotSupported
	}
	if len(b) < descriptorHead {
		return nt.InvalidSecurityDescr
	}
	hash, err := f.sysACLHash()
	if err != nil {
		return err
	}
	value := encodeNTACL(b, hash)
	if len(value) > xattrMax {
		return nt.InvalidSecurityDescr
	}
	path := proc(f.fd)
	names := f.v.ntacls()
	err = f.setXattr(names[0], value)
	if err == unix.EPERM && names[0] == sambaNTACL && f.setXattr(ownNTACL, value) == nil {
		// Root of a container: no file here will get the other xattr.
		f.v.unprivileged.Store(true)
		return nil
	}
	switch {
	case err == unix.EOPNOTSUPP:
		return nt.NotSupported
	case err == unix.E2BIG, err == unix.ERANGE:
		return &statusError{nt.InvalidSecurityDescr, err}
	case err != nil:
		return err
	case names[0] == sambaNTACL:
		// What an unprivileged run left is out of date now.
		if err := unix.Removexattr(path, ownNTACL); err != nil && err != unix.ENODATA && err != unix.EOPNOTSUPP {
			return err
		}
	}
	return nil
}

// admit asks whether an object may be made, and for its descriptor.
func (v *Volume) admit(p *place, how vfs.How) ([]byte, error) {
	if how.Admit == nil {
		return nil, nil
	}
	inside, err := v.descriptor(p.dir, at(proc(p.dir)))
	if err != nil && !errors.Is(err, nt.NotSupported) {
		return nil, err
	}
	return how.Admit(inside)
}
