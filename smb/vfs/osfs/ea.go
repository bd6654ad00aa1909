package osfs

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/vfs"
)

// Extended attributes are user xattrs, as Samba has them; but not those that are ours or Samba's own.
const eaPrefix = "user."

// privateEAs are names, and beginnings of names, that the wire neither sees nor sets: SEC-38.
var privateEAs = struct{ names, prefixes []string }{
	names:    []string{"DOSATTRIB", "SAMBA_STREAMS", "SAMBA_PAI", "SmbReparse"},
	prefixes: []string{"DosStream", "postern.", "org.netatalk."},
}

func privateEA(name string) bool {
	for _, n := range privateEAs.names {
		if strings.EqualFold(n, name) {
			return true
		}
	}
	for _, p := range privateEAs.prefixes {
		if len(name) >= len(p) && strings.EqualFold(p, name[:len(p)]) {
			return true
		}
	}
	return false
}

// eaName returns the attribute that an xattr is, "" for one that the wire does not see.
func eaName(xattr string) string {
	name, ok := strings.CutPrefix(xattr, eaPrefix)
	if !ok || privateEA(name) || !fscc.ValidEAName(name) {
		return ""
	}
	return name
}

// easAt reads the attributes of the object at path. One that cannot be an attribute for its size is left out, and so is
// all beyond what a file may have.
func easAt(path string) (list []fscc.EA, err error) {
	names, err := xattrNames(path)
	if err != nil {
		return nil, err
	}
	for _, x := range names {
		name := eaName(x)
		if name == "" {
			continue
		}
		value, err := readXattr(at(path), x)
		switch {
		case err == unix.ENODATA: // gone meanwhile
			continue
		case err != nil:
			return nil, err
		case len(value) == 0 || len(value) > 0xFFFF:
			continue
		}
		list = append(list, fscc.EA{Name: name, Value: value})
		if fscc.EASize(list) > fscc.MaxEATotal {
			return list[:len(list)-1], nil
		}
	}
	return list, nil
}

// EAs implements vfs.EAs.
func (f *File) EAs(ctx context.Context) ([]fscc.EA, error) {
	if err := f.use(ctx); err != nil {
		return nil, err
	}
	defer f.done()
	if !f.keepsStreams() {
		return nil, nt.NotSupported
	}
	list, err := easAt(proc(f.fd))
	if errors.Is(err, unix.EOPNOTSUPP) {
		err = nt.NotSupported
	}
	return list, err
}

// SetEAs implements vfs.EAs.
func (f *File) SetEAs(ctx context.Context, list []fscc.EA) (err error) {
	if err := f.useToChange(ctx); err != nil {
		return err
	}
	defer f.done()
	if !f.keepsStreams() {
		return nt.NotSupported
	}
	for _, e := range list {
		switch {
		case privateEA(e.Name):
			return nt.AccessDenied
		case !fscc.ValidEAName(e.Name), len(eaPrefix)+len(e.Name) > xattrNameMax:
			return nt.InvalidEAName
		}
	}
	mu := lock(&f.v.describing, f.id)
	mu.Lock()
	defer mu.Unlock()
	path := proc(f.fd)
	have, err := easAt(path)
	if err != nil {
		if errors.Is(err, unix.EOPNOTSUPP) {
			err = nt.NotSupported
		}
		return err
	}
	if list, err = fit(have, list); err != nil {
		return err
	}
	end := f.modifying()
	defer func() { end(kindIf(err == nil, vfs.ChangeEA)) }()
	for _, e := range list {
		if len(e.Value) == 0 {
			if err := unix.Removexattr(path, eaPrefix+e.Name); err != nil && err != unix.ENODATA {
				return err
			}
			continue
		}
		if err := roomForName(path, eaPrefix+e.Name); err != nil && !slices.ContainsFunc(have, func(h fscc.EA) bool { return h.Name == e.Name }) {
			return &statusError{nt.EATooLarge, err}
		}
		if err := f.setXattr(eaPrefix+e.Name, e.Value); err != nil {
			if full(err) {
				err = &statusError{nt.EATooLarge, err}
			}
			return err
		}
	}
	return nil
}

// fit gives the attributes of list that are there already the names that they have, and refuses them all if that would
// make too many.
func fit(have, list []fscc.EA) (out []fscc.EA, err error) {
	for _, e := range list {
		found := false
		for i := range have {
			if strings.EqualFold(have[i].Name, e.Name) {
				e.Name, have[i].Value, found = have[i].Name, e.Value, true
			}
		}
		if !found {
			have = append(have, e)
		}
		out = append(out, e)
	}
	var rest []fscc.EA
	for _, e := range have {
		if len(e.Value) > 0 {
			rest = append(rest, e)
		}
	}
	if fscc.EASize(rest) > fscc.MaxEATotal {
		return nil, nt.EATooLarge
	}
	return out, nil
}

// removeEAs removes all of an object that is overwritten.
func (f *File) removeEAs() error {
	if !f.keepsStreams() {
		return nil
	}
	names, err := xattrNames(proc(f.fd))
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil
	}
	for _, x := range names {
		if eaName(x) == "" {
			continue
		}
		if err := unix.Removexattr(proc(f.fd), x); err != nil && err != unix.ENODATA {
			return err
		}
	}
	return err
}

// eaSizeAt returns how much the attributes of the object at path take. What cannot be read takes nothing.
func eaSizeAt(path string) uint32 {
	list, err := easAt(path)
	if err != nil {
		return 0
	}
	return fscc.EASize(list)
}

// xattrNamed says which xattrs an entry has, as far as it was seen.
type xattrNamed uint8

const (
	namedAll xattrNamed = 1 << iota // all names were seen
	namedEA                         // extended attributes are among them
	namedDOS                        // dosAttrib is
)

// entryEASize is eaSizeAt for an entry of a directory. Nearly none has any: one system call says so. list is room for
// names, on the heap like all that the kernel is told the address of.
func (v *Volume) entryEASize(dir int, name string, list *[xattrList]byte) (size uint32, named xattrNamed) {
	if v.cfg.noXattr {
		return 0, 0
	}
	n, err := listxattrat(dir, name, list)
	if err == unix.ENOSYS {
		n, err = unix.Llistxattr(proc(dir)+"/"+name, list[:]) // follows proc's link and no other
	}
	if err == nil {
		named = namedAll
		for _, x := range userNames(list[:n]) {
			if x == dosAttrib {
				named |= namedDOS
			} else if eaName(x) != "" {
				named |= namedEA
			}
		}
		if named&namedEA == 0 {
			return 0, named
		}
	} else if err != unix.ERANGE {
		return 0, 0
	}
	fd, err := v.openat(dir, name, unix.O_PATH|unix.O_NOFOLLOW, 0, unix.RESOLVE_NO_SYMLINKS)
	if err != nil {
		return 0, named
	}
	defer unix.Close(fd)
	return eaSizeAt(proc(fd)), named
}

// xattrList is room for the names of an entry's xattrs; who has more is asked once more.
const xattrList = 512

// listxattrat lists an entry's xattrs within its directory, as getxattrat reads one.
func listxattrat(dir int, name string, list *[xattrList]byte) (int, error) {
	path, err := unix.BytePtrFromString(name)
	if err != nil {
		return 0, err
	}
	n, _, errno := unix.Syscall6(unix.SYS_LISTXATTRAT, uintptr(dir), uintptr(unsafe.Pointer(path)), unix.AT_SYMLINK_NOFOLLOW,
		uintptr(unsafe.Pointer(list)), xattrList, 0)
	runtime.KeepAlive(list)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}
