package osfs

import (
	"strings"
	"testing"
)

// FuzzTarget: a target that is taken has no NUL, no empty component and no way up past the root in it, and is as short as
// the system takes.
func FuzzTarget(f *testing.F) {
	for _, s := range []string{`dir\file`, `..\x`, `.`, `a\..\..\b`, "", `\x`, `a\\b`, `C:\x`, "\uf03a", "a/b", "\xff", strings.Repeat(`a\`, 3000)} {
		f.Add(s, 1)
	}
	f.Fuzz(func(t *testing.T, target string, depth int) {
		depth &= 7
		disk, err := diskTarget(target, depth)
		if err != nil {
			return
		}
		at := depth
		for _, name := range strings.Split(disk, "/") {
			switch name {
			case "":
				t.Fatalf("%q: %q has an empty component", target, disk)
			case ".":
			case "..":
				at--
			default:
				at++
			}
			if at < 0 {
				t.Fatalf("%q from depth %d: %q leads out", target, depth, disk)
			}
		}
		if strings.ContainsRune(disk, 0) || len(disk) >= pathMax {
			t.Fatalf("%q: %q", target, disk)
		}
	})
}
