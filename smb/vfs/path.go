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
	p, t, err := ParseTyped(s)
	if t == IndexType {
		return Path{}, nt.ObjectNameInvalid
	}
	return p, err
}

// A StreamType is the attribute type that a name insists on, [MS-FSCC] 2.1.5.4.
type StreamType int

// Stream types.
const (
	AnyType   StreamType = iota // the name says nothing
	DataType                    // $DATA
	IndexType                   // $INDEX_ALLOCATION: a directory
)

// ParseTyped is ParsePath for opens, which may say what they expect to find: "dir::$INDEX_ALLOCATION" and
// "dir:$I30:$INDEX_ALLOCATION" are the directory dir, and "name::$DATA" is no directory.
func ParseTyped(s string) (Path, StreamType, error) {
	if s == "" {
		return Path{}, AnyType, nil
	}
	if len(s) > 3*MaxPath/2 || cursor.UTF16Len(s) > MaxPath || strings.Count(s, `\`) > MaxDepth {
		return Path{}, AnyType, nt.NameTooLong
	}
	if len(s) > 1 {
		s = strings.TrimSuffix(s, `\`)
	}
	names := strings.Split(s, `\`)
	if len(names) > MaxDepth {
		return Path{}, AnyType, nt.NameTooLong
	}
	if err := refuseDots(names); err != nil {
		return Path{}, AnyType, err
	}
	var p Path
	var t StreamType
	last := len(names) - 1
	base, stream, hasStream := strings.Cut(names[last], ":")
	if hasStream {
		var err error
		if p.Stream, t, err = parseStream(stream); err != nil {
			return Path{}, AnyType, err
		}
		names[last] = base
	}
	if last == 0 && base == "" && (p.Stream != "" || t == IndexType) {
		return p, t, nil // of the root itself
	}
	for _, n := range names {
		if err := fscc.CheckName(n); err != nil {
			return Path{}, AnyType, err
		}
	}
	p.Names = names
	return p, t, nil
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
// $DATA is the one attribute type whose streams clients may name, and of the index of a directory they may say that
// it is one ([MS-FSCC] 2.1.5.3, 2.1.5.4).
func parseStream(s string) (string, StreamType, error) {
	name, kind, typed := strings.Cut(s, ":")
	switch {
	case !typed:
		return name, AnyType, fscc.CheckStream(name)
	case strings.EqualFold(kind, "$INDEX_ALLOCATION") && (name == "" || strings.EqualFold(name, "$I30")):
		return "", IndexType, nil
	case !strings.EqualFold(kind, "$DATA"):
		return "", AnyType, nt.ObjectNameInvalid
	case name == "":
		return "", DataType, nil
	}
	return name, DataType, fscc.CheckStream(name)
}
