package vfs

import "testing"

// macOS stands characters that SMB does not take in names into the private use area, U+F001 to U+F029, as Services for
// Macintosh did. Those that are other characters to us come back as the same ones all the same.
func TestMacNames(t *testing.T) {
	for r := rune(0xF001); r <= 0xF029; r++ {
		for _, name := range []string{string(r) + "x", "x" + string(r) + "y", "x" + string(r), "x" + string(r) + string(r)} {
			disk, wire, err := NameToDisk(name)
			if err != nil {
				t.Errorf("%+q is no name: %v", name, err)
				continue
			}
			if wire != name || NameToWire(disk) != name {
				t.Errorf("%+q is %q on disk, and %+q when it comes back", name, disk, NameToWire(disk))
			}
		}
	}
}
