package smb

import (
	"fmt"
	"testing"
)

func FuzzBandSize(f *testing.F) {
	for _, s := range []string{"", "<key>band-size</key><integer>8388608</integer>", "<key>band-size</key>\n\t<integer>9999999999999999999</integer>", "<key>band-size</key><integer>"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		n := bandSizeIn(b)
		if n < 0 {
			t.Fatalf("%d", n)
		}
		if got := bandSizeIn(fmt.Appendf(nil, "<key>band-size</key> <integer>%d</integer>", n)); got != n {
			t.Fatalf("%d came back as %d", n, got)
		}
	})
}
