package fscc

import (
	"encoding/binary"

	"github.com/postern-nas/postern/smb/cursor"
	"github.com/postern-nas/postern/smb/nt"
)

// Flags of RenameInfo, [MS-FSCC] 2.4. The plain class can say only the first.
const (
	RenameReplace        uint32 = 0x01
	RenamePosix          uint32 = 0x02
	RenameIgnoreReadOnly uint32 = 0x40
	renameFixed                 = 20
)

// RenameInfo is FILE_RENAME_INFORMATION_TYPE_2 or FILE_LINK_INFORMATION_TYPE_2, [MS-FSCC] 2.4, and
// their Ex forms: 20 bytes and the name. A root directory, which cannot be in SMB2, is nt.InvalidParameter.
type RenameInfo struct {
	Flags uint32
	Name  string // path from the root of the share, or ":stream"
}

// Replace reports whether what has the name already is to be replaced.
func (i RenameInfo) Replace() bool { return i.Flags&RenameReplace != 0 }

// Append encodes i. Clients pad to the 24 bytes of the native structure; servers do not need that, so neither class
// does it here. The bytes are right for the plain classes if Flags is RenameReplace or 0, and for the Ex classes always.
func (i RenameInfo) Append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, i.Flags)
	b = append(b, zeros[:12]...)
	b = binary.LittleEndian.AppendUint32(b, uint32(cursor.UTF16Len(i.Name)))
	return cursor.AppendUTF16(b, i.Name)
}

// Decode reads i for FileRenameInformation and FileLinkInformation, whose first byte is a Boolean and the next seven
// whatever they happen to be.
func (i *RenameInfo) Decode(b []byte) error {
	if err := i.DecodeEx(b); err != nil {
		return err
	}
	i.Flags = 0
	if b[0] != 0 {
		i.Flags = RenameReplace
	}
	return nil
}

// DecodeEx reads i for FileRenameInformationEx and FileLinkInformationEx.
func (i *RenameInfo) DecodeEx(b []byte) (err error) {
	*i = RenameInfo{}
	if len(b) < renameFixed {
		return nt.InfoLengthMismatch
	}
	i.Flags = binary.LittleEndian.Uint32(b)
	n := binary.LittleEndian.Uint32(b[16:])
	if binary.LittleEndian.Uint64(b[8:]) != 0 || n == 0 {
		return nt.InvalidParameter
	}
	i.Name, err = name(b, renameFixed, n)
	return err
}

// DispositionInfo is FILE_DISPOSITION_INFORMATION, [MS-FSCC] 2.4: set, 1 byte.
type DispositionInfo struct{ Delete bool }

// Append encodes i.
func (i DispositionInfo) Append(b []byte) []byte { return append(b, boolByte(i.Delete)) }

// Decode reads i.
func (i *DispositionInfo) Decode(b []byte) error {
	*i = DispositionInfo{}
	if len(b) < 1 {
		return nt.InfoLengthMismatch
	}
	i.Delete = b[0] != 0
	return nil
}

// Flags of DispositionExInfo, [MS-FSCC] 2.4.
const (
	DispositionDelete         uint32 = 0x01 // absent: do not delete
	DispositionPosix          uint32 = 0x02
	DispositionForceCheck     uint32 = 0x04
	DispositionOnClose        uint32 = 0x08 // change the delete-on-close of the open, not of the file
	DispositionIgnoreReadOnly uint32 = 0x10
)

// DispositionExInfo is FILE_DISPOSITION_INFORMATION_EX: set, 4 bytes.
type DispositionExInfo struct{ Flags uint32 }

// Append encodes i.
func (i DispositionExInfo) Append(b []byte) []byte {
	return binary.LittleEndian.AppendUint32(b, i.Flags)
}

// Decode reads i.
func (i *DispositionExInfo) Decode(b []byte) error { return decode32(b, &i.Flags) }

// SizeInfo is FILE_ALLOCATION_INFORMATION, FILE_END_OF_FILE_INFORMATION or FILE_VALID_DATA_LENGTH_INFORMATION,
// [MS-FSCC] 2.4: set, 8 bytes. Negative is nt.InvalidParameter.
type SizeInfo struct{ Size int64 }

// Append encodes i.
func (i SizeInfo) Append(b []byte) []byte { return binary.LittleEndian.AppendUint64(b, uint64(i.Size)) }

// Decode reads i.
func (i *SizeInfo) Decode(b []byte) error { return decodeSize(b, &i.Size) }
