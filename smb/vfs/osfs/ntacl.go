package osfs

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"

	"golang.org/x/sys/unix"

	"github.com/postern-nas/postern/smb/cursor"
)

// The value of the xattr is an NDR structure (xattr_NTACL of Samba's librpc/idl/xattr.idl, little-endian):
//
//	uint16 version
//	uint16 version        again: the discriminant of the union
//	uint32                a pointer, not null
//	...                   by version, below
//	SECURITY_DESCRIPTOR   aligned to 4, its offsets counted from the start of the value
//
//	1  nothing between
//	2  uint32 pointer, byte hash[16]
//	3  uint32 pointer, uint16 hash_type, byte hash[64]
//	4  uint32 pointer, uint16 hash_type, byte hash[64], char description[] NUL-terminated,
//	   NTTIME time (aligned to 4, always 0), byte sys_acl_hash[64]
//
// We write version 4, as Samba 4.24 does. Samba believes a descriptor of its own as long as sys_acl_hash is the hash of
// the file's owner, mode and POSIX ACLs: a chmod behind its back makes the descriptor void. (hash, of the descriptor
// that Samba would make of these, is only looked at when that has failed, and is left 0 here.) We believe it in any
// case: the wire sees no modes, and here nobody but the owner of the box changes them.
const (
	ntaclVersion   = 4
	hashSHA256     = 1
	sysDescription = "posix_acl" // how sys_acl_hash was made
)

// ntaclHead is how much of a value of version 4 precedes the descriptor.
const ntaclHead = 160

// broken stands for a value that cannot be read: no descriptor, so that whoever judges by it refuses.
var broken = []byte{}

// decodeNTACL returns the descriptor in its own self-relative form.
func decodeNTACL(b []byte) []byte {
	r := cursor.New(b)
	version := r.U16()
	if r.U16() != version || r.U32() == 0 {
		return broken
	}
	if version > 1 && r.U32() == 0 {
		return broken
	}
	switch version {
	case 1:
	case 2:
		r.Skip(16)
	case 3:
		r.Skip(2 + 64)
	case 4:
		r.Skip(2 + 64)
		for r.Err() == nil && r.U8() != 0 {
		}
		r.Align(4)
		r.Skip(8 + 64)
	default:
		return broken
	}
	r.Align(4)
	start := uint32(r.Offset())
	sd := append([]byte{}, r.Rest()...)
	if r.Err() != nil || len(sd) < descriptorHead {
		return broken
	}
	for i := 4; i < descriptorHead; i += 4 {
		if off := binary.LittleEndian.Uint32(sd[i:]); off != 0 {
			if off < start {
				return broken
			}
			binary.LittleEndian.PutUint32(sd[i:], off-start)
		}
	}
	return sd
}

// descriptorHead is how long the shortest descriptor is, in its self-relative form.
const descriptorHead = 20

// encodeNTACL wraps a descriptor, which is at least a header.
func encodeNTACL(sd []byte, sysACL [32]byte) []byte {
	le := binary.LittleEndian
	b := make([]byte, 0, ntaclHead+len(sd))
	b = le.AppendUint16(le.AppendUint16(b, ntaclVersion), ntaclVersion)
	b = le.AppendUint32(le.AppendUint32(b, 0x00020000), 0x00020004) // as Samba numbers pointers
	b = le.AppendUint16(b, hashSHA256)
	b = append(b, make([]byte, 64)...)
	b = append(append(b, sysDescription...), 0)
	b = append(b, make([]byte, 8)...)
	b = append(b, sysACL[:]...)
	b = append(b, make([]byte, 32)...)
	b = append(b, sd...)
	for i := ntaclHead + 4; i < ntaclHead+descriptorHead; i += 4 {
		if off := le.Uint32(b[i:]); off != 0 {
			le.PutUint32(b[i:], off+ntaclHead)
		}
	}
	return b
}

// The POSIX ACLs of an object: an xattr of a version and entries of tag, permissions and id.
const (
	posixAccess  = "system.posix_acl_access"
	posixDefault = "system.posix_acl_default"

	aclUserObj, aclUser, aclGroupObj, aclGroup, aclMask, aclOther = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
)

type posixEntry struct {
	tag, perm uint16
	id        uint32
}

// posixACL reads one of an object's POSIX ACLs. One that has none has what its mode says.
func posixACL(path, name string, mode uint16) ([]posixEntry, error) {
	b, err := readXattr(at(path), name)
	switch {
	case err == nil:
	case !errors.Is(err, unix.ENODATA) && !errors.Is(err, unix.EOPNOTSUPP):
		return nil, err
	case name == posixDefault:
		return nil, nil
	default:
		return []posixEntry{{aclUserObj, mode >> 6 & 7, 0}, {aclGroupObj, mode >> 3 & 7, 0}, {aclOther, mode & 7, 0}}, nil
	}
	r := cursor.New(b)
	r.Skip(4) // the version: the kernel has checked it
	var list []posixEntry
	for r.Len() >= 8 {
		list = append(list, posixEntry{r.U16(), r.U16(), r.U32()})
	}
	return list, nil
}

// sysACLHash hashes what Samba hashes: smb_acl_wrapper of its librpc/idl/smb_acl.idl, in NDR.
func (f *File) sysACLHash() (sum [32]byte, err error) {
	var st unix.Statx_t
	if err := statx(f.fd, &st); err != nil {
		return sum, err
	}
	path := proc(f.fd)
	access, err := posixACL(path, posixAccess, st.Mode)
	if err != nil {
		return sum, err
	}
	var inherited []posixEntry
	dir := f.kind == unix.S_IFDIR
	if dir {
		if inherited, err = posixACL(path, posixDefault, 0); err != nil {
			return sum, err
		}
	}
	return sha256.Sum256(appendSysACL(nil, &st, access, inherited, dir)), nil
}

// appendSysACL appends pointers to two ACLs, the second only for directories; owner and group, 64 bits; the mode; and
// the ACLs.
func appendSysACL(b []byte, st *unix.Statx_t, access, inherited []posixEntry, dir bool) []byte {
	le := binary.LittleEndian
	second := uint32(0)
	if dir {
		second = 0x00020004
	}
	b = le.AppendUint32(le.AppendUint32(b, 0x00020000), second)
	b = le.AppendUint64(le.AppendUint64(b, uint64(st.Uid)), uint64(st.Gid))
	b = le.AppendUint32(b, uint32(st.Mode))
	b = appendSMBACL(b, access)
	if dir {
		b = appendSMBACL(b, inherited)
	}
	return b
}

// smbTag is smb_acl_tag_t for the kernel's tag.
func smbTag(tag uint16) uint16 {
	switch tag {
	case aclUser:
		return 1
	case aclUserObj:
		return 2
	case aclGroup:
		return 3
	case aclGroupObj:
		return 4
	case aclOther:
		return 5
	case aclMask:
		return 6
	}
	return 0
}

// appendSMBACL appends smb_acl_t: the number of entries twice, as the array's size and as a field; a 0; the entries.
func appendSMBACL(b []byte, list []posixEntry) []byte {
	le := binary.LittleEndian
	align := func(n int) {
		for len(b)%n != 0 {
			b = append(b, 0)
		}
	}
	align(4)
	b = le.AppendUint32(b, uint32(len(list)))
	align(8)
	b = le.AppendUint32(b, uint32(len(list)))
	b = le.AppendUint32(b, 0)
	for _, e := range list {
		align(8)
		tag := smbTag(e.tag)
		b = le.AppendUint16(le.AppendUint16(b, tag), tag)
		if e.tag == aclUser || e.tag == aclGroup {
			align(8)
			b = le.AppendUint64(b, uint64(e.id))
		}
		b = le.AppendUint32(b, uint32(e.perm))
	}
	return b
}
