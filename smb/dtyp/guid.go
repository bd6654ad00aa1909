package dtyp

import (
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
)

// ErrGUID says that text is no GUID.
var ErrGUID = errors.New("malformed GUID")

// ParseGUID reads the form 12345678-9abc-def0-1234-56789abcdef0, in braces or not, [MS-DTYP] 2.3.4.3.
func ParseGUID(text string) (g GUID, err error) {
	t := text
	if len(t) == 38 && t[0] == '{' && t[37] == '}' {
		t = t[1:37]
	}
	if len(t) != 36 || t[8] != '-' || t[13] != '-' || t[18] != '-' || t[23] != '-' {
		return GUID{}, fmt.Errorf("%w: %q", ErrGUID, text)
	}
	b, err := hex.DecodeString(t[:8] + t[9:13] + t[14:18] + t[19:23] + t[24:])
	if err != nil {
		return GUID{}, fmt.Errorf("%w: %q", ErrGUID, text)
	}
	copy(g[:], b)
	slices.Reverse(g[0:4])
	slices.Reverse(g[4:6])
	slices.Reverse(g[6:8])
	return g, nil
}

// MustGUID is ParseGUID for those that stand in the source; it panics on what is none.
func MustGUID(text string) GUID {
	g, err := ParseGUID(text)
	if err != nil {
		panic(err)
	}
	return g
}
