package vfs

import (
	"strings"

	"github.com/postern-nas/postern/smb/cursor"
	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/nt"
)

// Bounds of a path, so that no name costs more than it should.
const (
	MaxDepth = 1024     // components
	MaxPath  = 32 << 10 // bytes of UTF-16; the wire's 16-bit length would allow 64 KiB
)

// ParsePath reads a path in the form [MS-SMB2] 2.2.13 gives it: UTF-8 here, relative to the share, components
// separated by backslashes, none for the root. One backslash at the end is allowed, as NTFS allows it.
//
// Clients send normalized names ([MS-SMB2] 2.2.13 has no "." or ".."), so dot components are not resolved but
// refused: ObjectPathSyntaxBad if they would leave the root, else ObjectNameInvalid. Everything else that is no
// name by [MS-FSCC] 2.1.5 is ObjectNameInvalid too: empty components and a leading backslash among them. A path too
// long or too deep is NameTooLong.
func ParsePath(s string) (Path, error) {
	if s == "" {
		return Path{}, nil
	}
	if len(s) > 3*MaxPath/2 || cursor.UTF16Len(s) > MaxPath || strings.Count(s, `\`) > MaxDepth {
		return Path{}, nt.NameTooLong
	}
	if len(s) > 1 {
		s = strings.TrimSuffix(s, `\`)
	}
	names := strings.Split(s, `\`)
	if len(names) > MaxDepth {
		return Path{}, nt.NameTooLong
	}
	if err := refuseDots(names); err != nil {
		return Path{}, err
	}
	var p Path
	last := len(names) - 1
	base, stream, hasStream := strings.Cut(names[last], ":")
	if hasStream {
		var err error
		if p.Stream, err = parseStream(stream); err != nil {
			return Path{}, err
		}
		names[last] = base
	}
	if last == 0 && base == "" && p.Stream != "" {
		return p, nil // a stream of the root itself
	}
	for _, n := range names {
		if err := fscc.CheckName(n); err != nil {
			return Path{}, err
		}
	}
	p.Names = names
	return p, nil
}

// refuseDots refuses "." and ".." and tells those that point above the root from the merely impossible.
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

// parseStream reads what follows a name's first colon: "stream", "stream:$DATA", or ":$DATA" for the object itself.
// $DATA is the one attribute type whose streams clients may name ([MS-FSCC] 2.1.5.3, 2.1.5.4).
func parseStream(s string) (string, error) {
	name, kind, typed := strings.Cut(s, ":")
	switch {
	case typed && !strings.EqualFold(kind, "$DATA"):
		return "", nt.ObjectNameInvalid
	case name == "" && typed:
		return "", nil
	}
	return name, fscc.CheckStream(name)
}
