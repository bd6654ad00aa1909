package fscc

import (
	"strings"
	"unicode/utf8"

	"github.com/postern-nas/postern/smb/cursor"
	"github.com/postern-nas/postern/smb/nt"
)

// MaxComponent bounds a pathname component, in UTF-16 code units: [MS-FSCC] 2.1.5.
const MaxComponent = 255

// CheckName reports whether component may name a file or directory, [MS-FSCC] 2.1.5.2: one to 255 characters, none of
// them a control character, a wildcard, a separator or a colon, and neither "." nor "..". Trailing dots and spaces
// are Win32's business, not the protocol's. The error is nt.ObjectNameInvalid.
func CheckName(component string) error {
	if component == "" || component == "." || component == ".." || tooLong(component) {
		return nt.ObjectNameInvalid
	}
	for i := 0; i < len(component); i++ {
		switch c := component[i]; {
		case c < 0x20:
			return nt.ObjectNameInvalid
		case c == '"', c == '*', c == '/', c == ':', c == '<', c == '>', c == '?', c == '\\', c == '|':
			return nt.ObjectNameInvalid
		}
	}
	return nil
}

// CheckStream reports whether name may name a stream, [MS-FSCC] 2.1.5.3: one to 255 characters, none of them a
// separator, a colon or NUL. The error is nt.ObjectNameInvalid.
func CheckStream(name string) error {
	if name == "" || tooLong(name) || strings.ContainsAny(name, "\x00/:\\") {
		return nt.ObjectNameInvalid
	}
	return nil
}

func tooLong(s string) bool {
	return len(s) > 3*MaxComponent || !utf8.ValidString(s) || cursor.UTF16Len(s) > 2*MaxComponent
}

// CheckPattern reports whether s may be a search expression: what CheckName allows and wildcards. It bounds what
// Match costs. The error is nt.ObjectNameInvalid.
func CheckPattern(s string) error {
	if s == "" || tooLong(s) {
		return nt.ObjectNameInvalid
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < 0x20 || c == '/' || c == ':' || c == '\\' || c == '|' {
			return nt.ObjectNameInvalid
		}
	}
	return nil
}

// HasWildcards reports whether s has any of the five wildcards of [MS-FSA] 2.1.4.4.
func HasWildcards(s string) bool { return strings.ContainsAny(s, `*?<>"`) }

// Match reports whether name is in the expression pattern, [MS-FSA] 2.1.4.4. To match many names make one Pattern.
func Match(pattern, name string) bool { return NewPattern(pattern).Match(name) }

// A Pattern is an expression that names are matched against without regard to case, [MS-FSA] 2.1.4.4. A character
// is a UTF-16 code unit, as it is to Windows. An asterisk stands for any number of characters, and
//
//	?  for one character
//	<  for any number of characters, but not the name's last period (DOS_STAR)
//	>  for one character; for none before a period or at the end (DOS_QM)
//	"  for a period; for nothing at the end (DOS_DOT)
type Pattern struct {
	all   bool
	units []uint16 // upcased; runs of * are one
}

// NewPattern makes a Pattern. The empty pattern matches nothing but the empty name.
func NewPattern(s string) Pattern {
	units := make([]uint16, 0, len(s))
	for _, u := range appendUnits(nil, s) {
		if u == '*' && len(units) > 0 && units[len(units)-1] == '*' {
			continue
		}
		units = append(units, u)
	}
	return Pattern{all: len(units) == 1 && units[0] == '*', units: units}
}

// All reports whether every name matches.
func (p Pattern) All() bool { return p.all }

// Match reports whether name is in the expression. Its time is at most the product of both lengths, whatever the
// pattern: all positions that the pattern can be at are followed at once.
func (p Pattern) Match(name string) bool {
	if p.all {
		return true
	}
	var nameBuf [MaxComponent + 1]uint16
	units := appendUnits(nameBuf[:0], name)
	lastDot := -1
	for i, u := range units {
		if u == '.' {
			lastDot = i
		}
	}
	// at holds the positions in the pattern, ascending and each once, that the name so far can lead to.
	var buf [2][64]int32
	at, next := append(buf[0][:0], 0), buf[1][:0]
	for i, u := range units {
		if next, _ = p.advance(next[:0], at, u, i == lastDot); len(next) == 0 {
			return false
		}
		at, next = next, at
	}
	for _, s := range at {
		if p.ends(int(s)) {
			return true
		}
	}
	return false
}

// advance follows all positions for one more character of the name, none more than once. It returns how many it looked at.
func (p Pattern) advance(next, at []int32, u uint16, lastDot bool) (_ []int32, looked int) {
	seen := 0 // every position before it has been followed for this u
	for _, s := range at {
		if int(s) >= seen {
			next, seen = p.step(next, int(s), u, lastDot)
			looked += seen - int(s)
		}
	}
	return next, looked
}

// step adds to next where the pattern can be after it was at s and the name went on with u. It returns how far it
// had to look.
func (p Pattern) step(next []int32, s int, u uint16, lastDot bool) ([]int32, int) {
	for skip := true; skip && s < len(p.units); s++ {
		to := -1
		switch c := p.units[s]; c {
		case '*':
			to = s
		case '<':
			if !lastDot {
				to = s
			}
		case '>':
			if u != '.' {
				to, skip = s+1, false
			}
		case '"':
			if u == '.' {
				to = s + 1
			}
			skip = false
		default:
			if c == u || c == '?' {
				to = s + 1
			}
			skip = false
		}
		if n := len(next); to >= 0 && (n == 0 || next[n-1] < int32(to)) {
			next = append(next, int32(to))
		}
	}
	return next, s
}

// ends reports whether the pattern may end at s with the name.
func (p Pattern) ends(s int) bool {
	for ; s < len(p.units); s++ {
		switch p.units[s] {
		case '*', '<', '>', '"':
		default:
			return false
		}
	}
	return true
}

// appendUnits appends s upcased, as UTF-16 code units.
func appendUnits(b []uint16, s string) []uint16 {
	for _, r := range s {
		if r >= 0x10000 {
			r -= 0x10000
			b = append(b, uint16(0xD800+r>>10), uint16(0xDC00+r&0x3FF))
			continue
		}
		b = append(b, upcase16(uint16(r)))
	}
	return b
}
