package fscc

import (
	"encoding/binary"

	"github.com/postern-nas/postern/smb/dtyp"
)

// A MacInfo is what entries of FileIdBothDirectoryInformation carry instead of EaSize and ShortName for Macs that were
// told so (kAAPL_SUPPORTS_READ_DIR_ATTR), as Apple's open source SMB client describes it:
//
//	64 uint32  Access, or of a reparse point its tag
//	68 uint16  0
//	70 uint64  Fork
//	78 [16]    Finder
//	94 uint16  Mode
type MacInfo struct {
	Access dtyp.Access // what the user may do at most
	Fork   int64       // length of the resource fork, bytes
	Finder [16]byte    // of the FinderInfo what is in use, see CompressFinderInfo
	Mode   uint16      // st_mode, 0 if the storage has none
}

// macAt is where the fields begin.
const macAt = 64

func (m *MacInfo) put(f []byte, reparse bool) {
	le := binary.LittleEndian
	if !reparse {
		le.PutUint32(f[0:], uint32(m.Access))
	}
	clear(f[4:6])
	le.PutUint64(f[6:], uint64(m.Fork))
	copy(f[14:30], m.Finder[:])
	le.PutUint16(f[30:], m.Mode)
}

// CompressFinderInfo takes of the 32 bytes of a FinderInfo what is in use, in big-endian as there: type and creator (of a
// directory nothing), flags, extended flags and the date that it was added, in seconds from the year 2000.
func CompressFinderInfo(b *[32]byte, dir bool) (c [16]byte) {
	if !dir {
		copy(c[0:8], b[0:8])
	}
	copy(c[8:10], b[8:10])
	copy(c[10:12], b[24:26])
	copy(c[12:16], b[20:24])
	return c
}
