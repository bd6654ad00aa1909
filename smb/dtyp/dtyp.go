// Package dtyp holds the data types of [MS-DTYP]: GUID, FILETIME, SID, access masks, security descriptors.
package dtyp

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// A GUID in wire order: the first three fields little-endian, [MS-DTYP] 2.3.4.2.
type GUID [16]byte

// NewGUID returns a random GUID.
func NewGUID() (g GUID) {
	rand.Read(g[:]) // never fails: it aborts the program instead
	g[7] = g[7]&0x0F | 0x40
	g[8] = g[8]&0x3F | 0x80
	return g
}

func (g GUID) String() string {
	return fmt.Sprintf("%08x-%04x-%04x-%x-%x", binary.LittleEndian.Uint32(g[0:]), binary.LittleEndian.Uint16(g[4:]),
		binary.LittleEndian.Uint16(g[6:]), g[8:10], g[10:16])
}

// A Filetime counts 100 ns intervals since 1601-01-01 UTC, [MS-DTYP] 2.3.3. Zero means "no time".
type Filetime uint64

// epochDelta is the Unix epoch as a Filetime.
const epochDelta = 116444736000000000

// FiletimeOf converts t. The zero Time and times before 1601 are 0; times past the range are its end.
func FiletimeOf(t time.Time) Filetime {
	if t = t.UTC(); t.Year() < 1601 {
		return 0
	}
	if t.Year() > 30827 {
		return 1<<63 - 1
	}
	return Filetime(t.Unix()*10_000_000 + int64(t.Nanosecond()/100) + epochDelta)
}

// Time converts f to UTC; 0 is the zero Time.
func (f Filetime) Time() time.Time {
	if f == 0 {
		return time.Time{}
	}
	n := int64(f) - epochDelta
	sec, rest := n/10_000_000, n%10_000_000
	if rest < 0 {
		sec, rest = sec-1, rest+10_000_000
	}
	return time.Unix(sec, rest*100).UTC()
}

// MaxSubAuthorities bounds a SID, [MS-DTYP] 2.4.2.
const MaxSubAuthorities = 15

// A SID is a security identifier in its binary form, [MS-DTYP] 2.4.2.2, kept as a string so that it can be
// compared and be a map key. The zero SID is no one.
type SID string

// ErrSID says that bytes or text are no SID.
var ErrSID = errors.New("malformed SID")

// NewSID builds a SID from its authority and sub-authorities. It panics on more than MaxSubAuthorities: those are
// literals of our own.
func NewSID(authority uint64, sub ...uint32) SID {
	if len(sub) > MaxSubAuthorities || authority >= 1<<48 {
		panic("dtyp: impossible SID")
	}
	b := []byte{1, byte(len(sub)), byte(authority >> 40), byte(authority >> 32), byte(authority >> 24), byte(authority >> 16), byte(authority >> 8), byte(authority)}
	for _, s := range sub {
		b = binary.LittleEndian.AppendUint32(b, s)
	}
	return SID(b)
}

// Child returns s with one more sub-authority.
func (s SID) Child(rid uint32) SID {
	b := binary.LittleEndian.AppendUint32([]byte(s), rid)
	b[1]++
	if b[1] > MaxSubAuthorities {
		panic("dtyp: impossible SID")
	}
	return SID(b)
}

// Split returns the SID that s is a child of, and the last sub-authority. Of a SID without sub-authorities, and of no
// SID, nothing is left.
func (s SID) Split() (parent SID, rid uint32) {
	if !s.valid() || s[1] == 0 {
		return "", 0
	}
	b := []byte(s)
	rid = binary.LittleEndian.Uint32(b[len(b)-4:])
	b[1]--
	return SID(b[:len(b)-4]), rid
}

// DecodeSID reads a SID from the start of b and returns how long it was.
func DecodeSID(b []byte) (SID, int, error) {
	if len(b) < 8 || b[0] != 1 || b[1] > MaxSubAuthorities {
		return "", 0, ErrSID
	}
	n := 8 + 4*int(b[1])
	if len(b) < n {
		return "", 0, ErrSID
	}
	return SID(b[:n]), n, nil
}

// ParseSID reads the S-1-5-21-... form, [MS-DTYP] 2.4.2.1.
func ParseSID(text string) (SID, error) {
	f := strings.Split(text, "-")
	if len(f) < 3 || len(f) > 3+MaxSubAuthorities || f[0] != "S" || f[1] != "1" {
		return "", fmt.Errorf("%w: %q", ErrSID, text)
	}
	digits, base := f[2], 10
	if hex, ok := strings.CutPrefix(digits, "0x"); ok {
		digits, base = hex, 16
	}
	auth, err := strconv.ParseUint(digits, base, 48)
	if err != nil {
		return "", fmt.Errorf("%w: %q", ErrSID, text)
	}
	sub := make([]uint32, 0, MaxSubAuthorities)
	for _, p := range f[3:] {
		v, err := strconv.ParseUint(p, 10, 32)
		if err != nil {
			return "", fmt.Errorf("%w: %q", ErrSID, text)
		}
		sub = append(sub, uint32(v))
	}
	return NewSID(auth, sub...), nil
}

func (s SID) String() string {
	if _, n, err := DecodeSID([]byte(s)); err != nil || n != len(s) {
		return "(no SID)"
	}
	auth := uint64(binary.BigEndian.Uint16([]byte(s[2:4])))<<32 | uint64(binary.BigEndian.Uint32([]byte(s[4:8])))
	out := "S-1-" + strconv.FormatUint(auth, 10)
	if auth >= 1<<32 {
		out = fmt.Sprintf("S-1-0x%012X", auth)
	}
	for b := []byte(s[8:]); len(b) > 0; b = b[4:] {
		out += "-" + strconv.FormatUint(uint64(binary.LittleEndian.Uint32(b)), 10)
	}
	return out
}

// Well-known SIDs, [MS-DTYP] 2.4.2.4.
var (
	Everyone           = NewSID(1, 0)
	CreatorOwner       = NewSID(3, 0)
	CreatorGroup       = NewSID(3, 1)
	Anonymous          = NewSID(5, 7)
	AuthenticatedUsers = NewSID(5, 11)
	LocalSystem        = NewSID(5, 18)
	Administrators     = NewSID(5, 32, 544)
	BuiltinUsers       = NewSID(5, 32, 545)
)

// An Access is an access mask, [MS-DTYP] 2.4.3; the lower bits mean what [MS-SMB2] 2.2.13.1 says.
type Access uint32

// Rights to a file (first name) or directory (second name).
const (
	ReadData        Access = 0x00000001 // list a directory
	WriteData       Access = 0x00000002 // add a file
	AppendData      Access = 0x00000004 // add a subdirectory
	ReadEA          Access = 0x00000008
	WriteEA         Access = 0x00000010
	Execute         Access = 0x00000020 // traverse a directory
	DeleteChild     Access = 0x00000040
	ReadAttributes  Access = 0x00000080
	WriteAttributes Access = 0x00000100
	Delete          Access = 0x00010000
	ReadControl     Access = 0x00020000
	WriteDAC        Access = 0x00040000
	WriteOwner      Access = 0x00080000
	Synchronize     Access = 0x00100000
	SystemSecurity  Access = 0x01000000
	MaximumAllowed  Access = 0x02000000
	GenericAll      Access = 0x10000000
	GenericExecute  Access = 0x20000000
	GenericWrite    Access = 0x40000000
	GenericRead     Access = 0x80000000
)

// What the generic rights mean for files, [MS-SMB2] 2.2.13.1.
const (
	FileAll     Access = 0x001F01FF
	FileRead    Access = 0x00120089
	FileWrite   Access = 0x00120116
	FileExecute Access = 0x001200A0
)

// Expand replaces generic bits by what they mean for files. MaximumAllowed stays as it is.
func (a Access) Expand() Access {
	for _, g := range [...]struct{ generic, means Access }{
		{GenericAll, FileAll}, {GenericRead, FileRead}, {GenericWrite, FileWrite}, {GenericExecute, FileExecute},
	} {
		if a&g.generic != 0 {
			a = a&^g.generic | g.means
		}
	}
	return a
}
