package fscc

import (
	"hash/fnv"
	"strings"
)

// Short names, [MS-FSCC] 2.1.5.2.1: up to eight characters, and up to three after a period. A name that is none has one
// made of it, always the same: its first character, six that are a hash of it in either case, the second to last of the
// eight being a tilde, and as much of its extension as there is room for. Nothing has to be stored for that, and nothing
// counted; of a thousand names in a directory one in four thousand times two have the same.

const (
	shortBase   = 8
	shortExt    = 3
	shortDigits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	shortTilde  = 6 // where it stands in a name that was made
)

// shortRune reports whether c may stand in a short name.
func shortRune(c rune) bool {
	return c > ' ' && c < 0x7F && !strings.ContainsRune("\"*+,./:;<=>?[\\]|", c)
}

func allShort(s string) bool {
	return !strings.ContainsFunc(s, func(c rune) bool { return !shortRune(c) })
}

// IsShortName reports whether name fits 8.3 as it is.
func IsShortName(name string) bool {
	base, ext, dot := strings.Cut(name, ".")
	return base != "" && len(base) <= shortBase && len(ext) <= shortExt && dot == (ext != "") && allShort(base) && allShort(ext)
}

// MadeShort reports whether name looks like one that ShortName made, in either case.
func MadeShort(name string) bool {
	base, _, _ := strings.Cut(name, ".")
	return len(base) == shortBase && base[shortTilde] == '~' && IsShortName(name)
}

// ShortName returns the short name of what is called name, upcased unless it is name itself.
func ShortName(name string) string {
	if IsShortName(name) {
		return name
	}
	h := fnv.New64a()
	h.Write([]byte(Fold(name)))
	sum := h.Sum64()
	b := make([]byte, 0, shortBase+1+shortExt)
	b = append(b, '_')
	stem, ext := name, ""
	if dot := strings.LastIndexByte(name, '.'); dot > 0 {
		stem, ext = name[:dot], name[dot+1:]
	}
	if c := strings.TrimLeft(stem, ". "); c != "" && shortRune(rune(c[0])) {
		b[0] = upper(c[0])
	}
	for len(b) < shortBase {
		if len(b) == shortTilde {
			b = append(b, '~')
			continue
		}
		b = append(b, shortDigits[sum%uint64(len(shortDigits))])
		sum /= uint64(len(shortDigits))
	}
	at := len(b)
	for _, c := range ext {
		if len(b) < at+1+shortExt && shortRune(c) {
			if len(b) == at {
				b = append(b, '.')
			}
			b = append(b, upper(byte(c)))
		}
	}
	return string(b)
}

func upper(c byte) byte {
	if c >= 'a' && c <= 'z' {
		c -= 'a' - 'A'
	}
	return c
}
