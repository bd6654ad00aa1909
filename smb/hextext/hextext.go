// Package hextext reads bytes that are written down as text, as the vectors of tests are.
package hextext

import (
	"encoding/hex"
	"strings"
)

// Bytes reads hex digits in groups and lines, with comments from # to the end of a line. It panics where they are none: a
// vector is part of the program.
func Bytes(s string) []byte {
	var digits strings.Builder
	for line := range strings.Lines(s) {
		line, _, _ = strings.Cut(line, "#")
		digits.WriteString(strings.Join(strings.Fields(line), ""))
	}
	b, err := hex.DecodeString(digits.String())
	if err != nil {
		panic(err)
	}
	return b
}
