// Package disklab gives tests disks of their own: files that the kernel shows as block devices. It needs root.
package disklab

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Missing skips a test for what this machine does not have. With CI=true that is a failure: nobody reads what was skipped.
func Missing(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(why)
	}
	t.Skip("skipped: " + why)
}

// Attach shows a file as a block device until the test ends, and returns the device's name in /dev.
func Attach(t testing.TB, file string) (name string) {
	t.Helper()
	if os.Geteuid() != 0 {
		Missing(t, "block devices need root")
	}
	out, err := exec.Command("losetup", "--find", "--show", file).CombinedOutput()
	if err != nil {
		Missing(t, "no loop device: "+err.Error()+": "+string(out))
	}
	device := strings.TrimSpace(string(out))
	t.Cleanup(func() {
		if out, err := exec.Command("losetup", "--detach", device).CombinedOutput(); err != nil {
			t.Errorf("losetup: %v: %s", err, out)
		}
	})
	return filepath.Base(device)
}
