package vfs

import (
	"strings"
	"unicode/utf8"

	"github.com/postern-nas/postern/smb/cursor"
	"github.com/postern-nas/postern/smb/nt"
)

// ModeBits are the permission bits that clients may set. Set-user-ID and set-group-ID are not among them: a file on
// the NAS runs as its owner then, and that is who the server runs as.
const ModeBits uint32 = 0o1777

// Types of objects in Attr.Mode, as in st_mode of stat(2).
const (
	ModeType      uint32 = 0o170000
	ModeRegular   uint32 = 0o100000
	ModeDirectory uint32 = 0o040000
	ModeSymlink   uint32 = 0o120000
	ModeChar      uint32 = 0o020000
	ModeBlock     uint32 = 0o060000
	ModeFIFO      uint32 = 0o010000
	ModeSocket    uint32 = 0o140000
)

// ParsePOSIX reads a path as a client sends it that opens the POSIX way: components are separated by slashes and may
// have every character but a slash and NUL. In the Path they are called as other clients see them. Bounds and errors
// are those of ParsePath; dots are refused.
func ParsePOSIX(s string) (Path, error) {
	if s == "" {
		return Path{}, nil
	}
	if len(s) > 3*MaxPath/2 || cursor.UTF16Len(s) > MaxPath || strings.Count(s, "/") > MaxDepth {
		return Path{}, nt.NameTooLong
	}
	if len(s) > 1 {
		s = strings.TrimSuffix(s, "/")
	}
	names := strings.Split(s, "/")
	if len(names) > MaxDepth {
		return Path{}, nt.NameTooLong
	}
	if err := refuseDots(names); err != nil {
		return Path{}, err
	}
	for i, n := range names {
		if n == "" || strings.Contains(n, "\x00") || !utf8.ValidString(n) {
			return Path{}, nt.ObjectNameInvalid
		}
		names[i] = NameToWire(n)
		if _, _, err := NameToDisk(names[i]); err != nil {
			return Path{}, err
		}
	}
	return Path{Names: names}, nil
}

// POSIXName returns how a client that opens the POSIX way sees a name: as it is on disk, if that is Unicode.
func POSIXName(wire string) string {
	if disk, _, err := NameToDisk(wire); err == nil && utf8.ValidString(disk) {
		return disk
	}
	return wire
}

// A Filesystem is what FileFsPosixInformation says of a Volume's filesystem.
type Filesystem struct {
	BlockSize, TransferSize uint32 // bytes
	Blocks, Free, Available uint64 // blocks: all, free ones, those that a user may have
	Nodes, FreeNodes        uint64 // objects
	ID                      uint64
}

// refuseDots refuses "." and ".." and tells those that point above the root from the merely impossible: a client's own
// file system has resolved them.
func refuseDots(names []string) error {
	var bad error
	depth := 0
	for _, n := range names {
		switch n {
		case "..":
			if depth == 0 {
				return nt.ObjectPathSyntaxBad
			}
			depth, bad = depth-1, nt.ObjectNameInvalid
		case ".":
			bad = nt.ObjectNameInvalid
		default:
			depth++
		}
	}
	return bad
}
