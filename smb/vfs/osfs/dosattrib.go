package osfs

import (
	"bytes"
	"errors"
	"math"
	"runtime"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/postern-nas/postern/smb/cursor"
	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/vfs"
)

// DOS attributes and the time of creation live where Samba keeps them, so that a disk can go from one to the other.
// The value is an NDR structure (Samba's librpc/idl/xattr.idl, little-endian, each field aligned to its size but
// 64-bit ones to 4):
//
//	char   attrib_hex[]  NUL-terminated; empty since version 3, before "0x20" and the like
//	uint16 version
//	uint16 version       again: the discriminant of the union that follows
//	...                  by version, below
//
// We write version 5, as Samba 4.24 does: uint32 valid_flags, uint32 attrib, NTTIME create_time. Behind that, where Samba
// does not look, stand a time of change that a client has set and when it did, if one has; see changetime.go.
const dosAttrib = "user.DOSATTRIB"

// valid_flags.
const (
	dosHasAttrib = 0x01
	dosHasCreate = 0x10
)

// dosInfo is what the xattr says of an object, or what is said of one without it.
type dosInfo struct {
	attributes uint32
	birth      dtyp.Filetime
	// change is a time of change that was set, at the time noted; or 0.
	change, noted dtyp.Filetime
}

// dosMax bounds what is read: version 2 had a name in it.
const dosMax = 512

// decodeDOS reads the xattr's value. It changes in info what the value says, and reports whether it is well-formed.
func decodeDOS(b []byte, info *dosInfo) bool {
	text, _, terminated := bytes.Cut(b, []byte{0})
	if !terminated || len(b) == len(text)+1 && len(text) > 0 {
		// The oldest form is the text alone.
		digits, ok := strings.CutPrefix(string(text), "0x")
		n, err := strconv.ParseUint(digits, 16, 32)
		if !ok || err != nil {
			return false
		}
		info.attributes = kept(uint32(n))
		return true
	}
	r := cursor.New(b)
	r.Skip(len(text) + 1)
	r.Align(2)
	version := r.U16()
	if r.U16() != version {
		return false
	}
	r.Align(4)
	flags := uint32(dosHasAttrib | dosHasCreate)
	if version != 1 {
		flags = r.U32()
	}
	attributes := r.U32()
	switch version {
	case 1, 3:
		r.Skip(4 + 8 + 8) // ea_size, size, alloc_size
	case 2:
		r.Skip(4 + 8 + 8)
		flags = dosHasAttrib | dosHasCreate // its flags are others
	case 4:
		r.Skip(8) // itime
	case 5:
	default:
		return false
	}
	birth := dtyp.Filetime(r.U64())
	if r.Err() != nil {
		return false
	}
	if flags&dosHasAttrib != 0 {
		info.attributes = kept(attributes)
	}
	if flags&dosHasCreate != 0 && birth != 0 && birth <= math.MaxInt64 {
		info.birth = birth
	}
	if version == 5 && r.Len() == 2*8 {
		if change, noted := dtyp.Filetime(r.U64()), dtyp.Filetime(r.U64()); change > 0 && max(change, noted) <= math.MaxInt64 {
			info.change, info.noted = change, noted
		}
	}
	return true
}

// kept are the attributes that an xattr can give an object; others say what it is.
func kept(attributes uint32) uint32 { return attributes & (vfs.AttrSettable | vfs.AttrSparse) }

// encodeDOS returns the xattr's value.
func encodeDOS(info dosInfo, dir bool) []byte {
	if dir {
		info.attributes |= vfs.AttrDirectory // as Samba writes it
	}
	le := func(b []byte, v uint64, n int) []byte {
		for ; n > 0; n-- {
			b, v = append(b, byte(v)), v>>8
		}
		return b
	}
	b := make([]byte, 0, 40)
	b = append(b, 0, 0) // attrib_hex, padding
	b = le(b, 5, 2)     // version
	b = le(b, 5, 2)     // discriminant
	b = append(b, 0, 0) // padding
	b = le(b, dosHasAttrib|dosHasCreate, 4)
	b = le(b, uint64(info.attributes), 4)
	b = le(b, uint64(info.birth), 8)
	if info.change != 0 {
		b = le(b, uint64(info.change), 8)
		b = le(b, uint64(info.noted), 8)
	}
	return b
}

// undescribed is what holds for an object without the xattr: archive for files, the filesystem's time of birth or
// else the earliest it knows.
func undescribed(st *unix.Statx_t) (info dosInfo) {
	if kindOf(st) == unix.S_IFREG {
		info.attributes = vfs.AttrArchive
	}
	if st.Mask&unix.STATX_BTIME != 0 && (st.Btime.Sec != 0 || st.Btime.Nsec != 0) {
		info.birth = filetime(st.Btime)
	} else {
		info.birth = min(filetime(st.Mtime), filetime(st.Ctime), filetime(st.Atime))
	}
	return info
}

// hasXattr reports whether an object can have the xattr: Linux allows user xattrs on files and directories only.
func (v *Volume) hasXattr(kind uint16) bool {
	return !v.cfg.noXattr && (kind == unix.S_IFREG || kind == unix.S_IFDIR)
}

// learn changes in info what the object's xattr says, as a system call returned it. What is not well-formed is as if
// it were not there. On a filesystem without user xattrs read-only is the permission bits.
func learn(info *dosInfo, st *unix.Statx_t, value []byte, err error) {
	switch {
	case err == nil:
		decodeDOS(value, info)
	case errors.Is(err, unix.EOPNOTSUPP) && st.Mode&0o222 == 0:
		info.attributes |= vfs.AttrReadOnly
	}
}

// info returns what the File's xattr says. st is the File's.
func (f *File) info(st *unix.Statx_t) dosInfo {
	info := undescribed(st)
	before := f.v.noted(st)
	if before.has&noteDOS != 0 {
		before.tell(&info)
		return info
	}
	var b [dosMax]byte
	n, err := 0, error(unix.EOPNOTSUPP)
	switch {
	case !f.v.hasXattr(f.kind):
	case f.opath:
		n, err = unix.Getxattr(proc(f.fd), dosAttrib, b[:])
	default:
		n, err = unix.Fgetxattr(f.fd, dosAttrib, b[:])
	}
	value := b[:max(n, 0)]
	learn(&info, st, value, err)
	found := before
	found.takeDOS(value, err)
	f.v.note(st, before, found)
	return info
}

// entryDOS reads the xattr of an entry of a directory.
func (v *Volume) entryDOS(dir int, name string, st *unix.Statx_t, heap *[dosMax]byte) ([]byte, error) {
	if !v.hasXattr(kindOf(st)) {
		return nil, unix.EOPNOTSUPP
	}
	n, err := getxattrat(dir, name, heap)
	if err == unix.ENOSYS {
		n, err = unix.Lgetxattr(proc(dir)+"/"+name, dosAttrib, heap[:]) // follows proc's link and no other
	}
	return heap[:max(n, 0)], err
}

// xattrArgs is struct xattr_args of getxattrat(2).
type xattrArgs struct {
	value       uint64 // address
	size, flags uint32
}

var dosAttribZ = append([]byte(dosAttrib), 0)

// getxattrat reads an entry's xattr within its directory, in half the time of a path through proc. Linux has it
// since 6.13; ENOSYS before. value must lie on the heap: a goroutine's stack may move before the kernel is entered.
func getxattrat(dir int, name string, value *[dosMax]byte) (int, error) {
	path, err := unix.BytePtrFromString(name)
	if err != nil {
		return 0, err
	}
	args := xattrArgs{value: uint64(uintptr(unsafe.Pointer(value))), size: dosMax}
	n, _, errno := unix.Syscall6(unix.SYS_GETXATTRAT, uintptr(dir), uintptr(unsafe.Pointer(path)), unix.AT_SYMLINK_NOFOLLOW,
		uintptr(unsafe.Pointer(&dosAttribZ[0])), uintptr(unsafe.Pointer(&args)), unsafe.Sizeof(args))
	runtime.KeepAlive(value)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// describe changes the object's xattr.
func (f *File) describe(change func(*dosInfo)) error {
	if f.kind != unix.S_IFREG && f.kind != unix.S_IFDIR {
		return nil
	}
	mu := lock(&f.v.describing, f.id)
	mu.Lock()
	defer mu.Unlock()
	var st unix.Statx_t
	if err := statx(f.fd, &st); err != nil {
		return err
	}
	info := f.info(&st)
	info.change, info.noted = 0, 0 // this is a change
	change(&info)
	err := error(unix.EOPNOTSUPP)
	switch value := encodeDOS(info, f.kind == unix.S_IFDIR); {
	case !f.v.hasXattr(f.kind):
	default:
		err = f.setXattr(dosAttrib, value)
	}
	if errors.Is(err, unix.EOPNOTSUPP) {
		return f.permit(info.attributes, uint32(st.Mode))
	}
	return err
}

// permit keeps what permission bits can keep of the attributes: a file is read-only or not.
func (f *File) permit(attributes, mode uint32) error {
	writable := mode&0o222 != 0
	switch {
	case f.kind != unix.S_IFREG || writable == (attributes&vfs.AttrReadOnly == 0):
		return nil
	case writable:
		mode &^= 0o222
	default:
		mode |= f.v.cfg.fileMode & 0o222
	}
	return unix.Chmod(proc(f.fd), mode&0o7777)
}
