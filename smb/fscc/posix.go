package fscc

import (
	"encoding/binary"

	"github.com/postern-nas/postern/smb/cursor"
	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/nt"
)

// The information classes of the SMB3 POSIX extensions, [POSIX-FSCC] ("POSIX Extensions to MS-FSCC", smb3posix.org).

// Types of objects in a mode on the wire, above the permission bits; they are not those of stat(2).
const (
	POSIXFile uint32 = iota << posixTypeShift
	POSIXDirectory
	POSIXSymlink
	POSIXCharDevice
	POSIXBlockDevice
	POSIXFIFO
	POSIXSocket

	posixTypeShift = 12
)

// POSIXPermissions are the permission bits of a mode, with set-user-ID, set-group-ID and sticky.
const POSIXPermissions uint32 = 0o7777

// A POSIXObject is what CREATE's POSIX context answers, and the end of FILE_POSIX_INFORMATION: 12 bytes and two SIDs.
type POSIXObject struct {
	Links      uint32
	ReparseTag uint32
	Mode       uint32 // a type and POSIXPermissions
	Owner      dtyp.SID
	Group      dtyp.SID
}

// Append encodes o. A SID that is none is the null SID, S-1-0-0.
func (o POSIXObject) Append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, o.Links)
	b = binary.LittleEndian.AppendUint32(b, o.ReparseTag)
	b = binary.LittleEndian.AppendUint32(b, o.Mode)
	for _, sid := range [...]dtyp.SID{o.Owner, o.Group} {
		if sid == "" {
			sid = nullSID
		}
		b = append(b, sid...)
	}
	return b
}

var nullSID = dtyp.NewSID(0, 0)

// Decode reads o.
func (o *POSIXObject) Decode(b []byte) error {
	*o = POSIXObject{}
	_, err := o.decode(b)
	return err
}

// decode reads o from the start of b and returns how long it was.
func (o *POSIXObject) decode(b []byte) (n int, err error) {
	r, err := fixed(b, 12)
	if err != nil {
		return 0, err
	}
	o.Links, o.ReparseTag, o.Mode = r.U32(), r.U32(), r.U32()
	n = 12
	for _, sid := range [...]*dtyp.SID{&o.Owner, &o.Group} {
		var size int
		if *sid, size, err = dtyp.DecodeSID(b[n:]); err != nil {
			return 0, nt.InvalidParameter
		}
		n += size
	}
	return n, nil
}

// POSIXInfo is FILE_POSIX_INFORMATION, [POSIX-FSCC]: queried, 68 bytes and a POSIXObject.
type POSIXInfo struct {
	Creation, LastAccess, LastWrite, Change dtyp.Filetime
	EndOfFile, AllocationSize               int64
	Attributes                              uint32
	Inode                                   uint64
	Device                                  uint32
	POSIXObject
}

const (
	posixHead = 68
	// posixLeast is POSIXInfo with the shortest SIDs that there are.
	posixLeast = posixHead + 12 + 2*8
)

// Append encodes i.
func (i POSIXInfo) Append(b []byte) []byte {
	for _, t := range [...]dtyp.Filetime{i.Creation, i.LastAccess, i.LastWrite, i.Change} {
		b = binary.LittleEndian.AppendUint64(b, uint64(t))
	}
	b = binary.LittleEndian.AppendUint64(b, uint64(i.EndOfFile))
	b = binary.LittleEndian.AppendUint64(b, uint64(i.AllocationSize))
	b = binary.LittleEndian.AppendUint32(b, i.Attributes)
	b = binary.LittleEndian.AppendUint64(b, i.Inode)
	b = binary.LittleEndian.AppendUint32(b, i.Device)
	return i.POSIXObject.Append(append(b, 0, 0, 0, 0))
}

// Decode reads i.
func (i *POSIXInfo) Decode(b []byte) error {
	_, err := i.decode(b)
	return err
}

func (i *POSIXInfo) decode(b []byte) (n int, err error) {
	*i = POSIXInfo{}
	r, err := fixed(b, posixLeast)
	if err != nil {
		return 0, err
	}
	for _, t := range [...]*dtyp.Filetime{&i.Creation, &i.LastAccess, &i.LastWrite, &i.Change} {
		*t = dtyp.Filetime(r.U64())
	}
	i.EndOfFile, i.AllocationSize, i.Attributes = int64(r.U64()), int64(r.U64()), r.U32()
	i.Inode, i.Device = r.U64(), r.U32()
	n, err = i.POSIXObject.decode(b[posixHead:])
	return posixHead + n, err
}

// A POSIXEntry is one name in a listing of the class FilePosixInformation: the distance to the next entry and 4 bytes
// unused, a POSIXInfo, the name's length and the name.
type POSIXEntry struct {
	Name string
	POSIXInfo
}

// posixEntryLeast is an entry without a name and with the shortest SIDs.
const posixEntryLeast = 8 + posixLeast + 4

// AddPOSIX appends e to a listing of the class FilePosixInformation; see DirWriter.Add.
func (w *DirWriter) AddPOSIX(e *POSIXEntry) bool {
	var room [256]byte // two SIDs of the longest kind fit: nothing is allocated
	info := e.POSIXInfo.Append(room[:0])
	n := cursor.UTF16Len(e.Name)
	if !w.begin(8 + len(info) + 4 + n) {
		return false
	}
	w.b = append(w.b, zeros[:8]...)
	w.b = append(w.b, info...)
	w.b = binary.LittleEndian.AppendUint32(w.b, uint32(n))
	w.b = cursor.AppendUTF16(w.b, e.Name)
	return true
}

// DecodePOSIXDir reads a QUERY_DIRECTORY answer of the class FilePosixInformation.
func DecodePOSIXDir(b []byte) (list []POSIXEntry, err error) {
	for f, err := range links(b, posixEntryLeast, 8) {
		if err != nil {
			return nil, err
		}
		var e POSIXEntry
		n, err := e.POSIXInfo.decode(f[8:])
		if err != nil {
			return nil, nt.InvalidParameter
		}
		size, ok := cursor.Slice(f, uint64(8+n), 4)
		if !ok {
			return nil, nt.InvalidParameter
		}
		if e.Name, err = name(f, 8+n+4, binary.LittleEndian.Uint32(size)); err != nil {
			return nil, err
		}
		list = append(list, e)
	}
	return list, nil
}

// FSPOSIXInfo is FILE_FS_POSIX_INFORMATION, [POSIX-FSCC]: 56 bytes. What is not known is all ones.
type FSPOSIXInfo struct {
	TransferSize, BlockSize uint32 // bytes
	Blocks, Free, Available uint64 // blocks: all, free ones, those that the user may have
	Nodes, FreeNodes        uint64
	ID                      uint64
}

// Append encodes i.
func (i FSPOSIXInfo) Append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, i.TransferSize)
	b = binary.LittleEndian.AppendUint32(b, i.BlockSize)
	for _, v := range [...]uint64{i.Blocks, i.Free, i.Available, i.Nodes, i.FreeNodes, i.ID} {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	return b
}

// Decode reads i.
func (i *FSPOSIXInfo) Decode(b []byte) error {
	*i = FSPOSIXInfo{}
	r, err := fixed(b, 56)
	if err != nil {
		return err
	}
	i.TransferSize, i.BlockSize = r.U32(), r.U32()
	for _, v := range [...]*uint64{&i.Blocks, &i.Free, &i.Available, &i.Nodes, &i.FreeNodes, &i.ID} {
		*v = r.U64()
	}
	return nil
}
