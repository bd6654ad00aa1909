package vfs

import (
	"strings"
	"unicode/utf8"

	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/nt"
)

// Linux takes any bytes but "/" and NUL in a name. What the wire cannot carry, or Win32 would trim, is shown as a
// character of the private use area, U+F000 plus the byte, as Cygwin, WSL and the cifs module do it: control
// characters and "*:<>?\| anywhere, a space or dot at the end, bytes that are not UTF-8. What stands on disk as
// such a character is shown as its three bytes, so that every name has one form on the wire and comes back.
const (
	private = 0xF000
	// NameMax is how long a name on disk may be.
	NameMax = 255 // bytes, limits.h; 255 UTF-16 units of Chinese are 765 bytes, and no Linux filesystem has them
)

// NameToWire returns how the wire sees a name on disk.
func NameToWire(disk string) string {
	if plain(disk) {
		return disk
	}
	var b strings.Builder
	for i := 0; i < len(disk); {
		r, n := utf8.DecodeRuneInString(disk[i:])
		last := i+n == len(disk)
		switch {
		case r == utf8.RuneError && n == 1, mapped(r, last):
			for _, c := range []byte(disk[i : i+n]) {
				b.WriteRune(private + rune(c))
			}
		case r < utf8.RuneSelf && mapped(private+r, last):
			b.WriteRune(private + r)
		default:
			b.WriteString(disk[i : i+n])
		}
		i += n
	}
	return b.String()
}

// plain reports whether a name is the same on disk and on the wire; nearly all are.
func plain(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c >= utf8.RuneSelf || mapped(private+rune(c), i == len(s)-1) {
			return c >= utf8.RuneSelf && utf8.ValidString(s) && !strings.ContainsFunc(s, unusual) && !unusualEnd(s)
		}
	}
	return true
}

func unusual(r rune) bool { return mapped(r, true) || r < utf8.RuneSelf && mapped(private+r, false) }

func unusualEnd(s string) bool { return s[len(s)-1] == '.' || s[len(s)-1] == ' ' }

// mapped reports whether r stands for a byte on disk; last, whether it is a name's last character.
func mapped(r rune, last bool) bool {
	switch c := r - private; {
	case r <= private || r > private+0xFF:
		return false
	case c < 0x20, c >= utf8.RuneSelf:
		return true
	case c == ' ', c == '.':
		return last
	default:
		return c != '/' && strings.IndexByte("\"*:<>?\\|", byte(c)) >= 0
	}
}

// NameToDisk returns the name on disk that the wire calls name, and the one form that the wire should call it. A name
// that is none, or that maps to none, is ObjectNameInvalid: "." and ".." reached through the map, and forms that
// NameToWire would not give, so that no object has two names.
func NameToDisk(name string) (disk, wire string, err error) {
	if err := fscc.CheckName(name); err != nil {
		return "", "", err
	}
	disk = name
	if strings.ContainsFunc(name, func(r rune) bool { return mapped(r, true) }) {
		var b strings.Builder
		for i, r := range name {
			if mapped(r, i+utf8.RuneLen(r) == len(name)) {
				b.WriteByte(byte(r - private))
			} else {
				b.WriteRune(r)
			}
		}
		disk = b.String()
	}
	if disk == "." || disk == ".." || len(disk) > NameMax {
		return "", "", nt.ObjectNameInvalid
	}
	wire = NameToWire(disk)
	if wire != name && !(unusualEnd(name) && wire == name[:len(name)-1]+string(private+rune(name[len(name)-1]))) {
		return "", "", nt.ObjectNameInvalid
	}
	return disk, wire, nil
}
