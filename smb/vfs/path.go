package vfs

import (
	"slices"
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
// separated by backslashes, none for the root. One backslash at the end is allowed, as NTFS allows it. A slash, which no
// name may have in it, is taken for a backslash: there are clients that send it, and Samba takes it so.
//
// Clients are to send names without "." and ".." ([MS-FSCC] 2.1.5.1). Where ".." comes all the same it takes away the
// component before it, here and by the letter, as Samba does: what a Volume sees has none, and no directory or link has
// a say in where it leads. One that would leave the root is ObjectPathSyntaxBad. Everything else that is no name by
// [MS-FSCC] 2.1.5 is ObjectNameInvalid, also where ".." takes it away: empty components, "." and a leading backslash
// among them. A path too long or too deep is NameTooLong.
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
	s = strings.ReplaceAll(s, "/", `\`)
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
	names, err := resolveDots(names)
	if err != nil || len(names) == 0 {
		return Path{}, AnyType, err
	}
	var p Path
	var t StreamType
	last := len(names) - 1
	base, stream, hasStream := strings.Cut(names[last], ":")
	if hasStream {
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

// resolveDots takes "..", and what it takes away, out of names.
func resolveDots(names []string) ([]string, error) {
	if !slices.Contains(names, "..") {
		return names, nil
	}
	kept := make([]string, 0, len(names))
	for _, n := range names {
		if n != ".." {
			kept = append(kept, n)
			continue
		}
		up := len(kept) - 1
		if up < 0 {
			return nil, nt.ObjectPathSyntaxBad
		}
		if err := fscc.CheckName(kept[up]); err != nil {
			return nil, err
		}
		kept = kept[:up]
	}
	return kept, nil
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
