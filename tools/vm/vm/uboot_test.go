package vm

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/postern-nas/postern/images"
	"github.com/postern-nas/postern/tools/mkimage/mkimage"
)

// TestUBoot: the same system by U-Boot and its script. What was measured is what was foretold, an update is found good, and
// one that panics is left.
func TestUBoot(t *testing.T) {
	needsVM(t)
	t.Parallel()
	binary, err := mkimage.PackageFile(t.Context(), images.UBootPackage, images.UBootFile, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	firmware := filepath.Join(t.TempDir(), "u-boot.bin")
	if err := os.WriteFile(firmware, binary, 0o600); err != nil {
		t.Fatal(err)
	}
	board, _ := images.FindBoard("qemu-uboot")
	a, err := image(t).For(board)
	if err != nil {
		t.Fatal(err)
	}
	f := newFeed(t, a.Key())
	disk := filepath.Join(t.TempDir(), "disk")
	if err := a.WriteDisk(disk); err != nil {
		t.Fatal(err)
	}
	writeState(t, disk, f.lines(8*time.Second, 1))
	m := machineOn(t, disk)
	m.UBoot, m.Resets = firmware, true
	if err := m.Start(t.Output()); err != nil {
		t.Fatal(err)
	}
	measured := func(r *mkimage.Result) {
		t.Helper()
		for i, want := range r.PCRs {
			if got := hear(t, m, boot, fmt.Sprintf(` pcr%d=([0-9a-f]{64})`, i)); got != want {
				t.Errorf("PCR %d is %s; the image foretold %s", i, got, want)
			}
		}
	}
	measured(a)
	hear(t, m, boot, "msg=listening transport=quic")
	password, authority := hear(t, m, boot, `^  password +(\S+)`), hear(t, m, boot, authorityLine)

	b := variant(t, a, 2, nil)
	m.Forget()
	f.set(b.Release(), sign(t, b, b.Release(), a.Key()))
	hear(t, m, boot, `msg="the update is ready`)
	m.Forget()
	measured(b)
	hear(t, m, boot, regexp.QuoteMeta("update "+b.Release().String()+" was installed"))

	v := variant(t, a, 3, map[string][]byte{"init": badInit(t), "bad": []byte("panic")})
	m.Forget()
	f.set(v.Release(), sign(t, v, v.Release(), a.Key()))
	hear(t, m, boot, `msg="the update is ready`)
	m.Forget()
	hear(t, m, boot, "badinit: panic")
	hear(t, m, 2*boot, "update .* was rolled back: it did not start")
	hear(t, m, boot, "msg=listening transport=quic")
	if p, s := hear(t, m, boot, `^  password +(\S+)`), hear(t, m, boot, authorityLine); p != password || s != authority {
		t.Errorf("another server: %s %s, before %s %s", p, s, password, authority)
	}
	m.Cut() // the cloud kernel has no driver for a button that a device tree describes, and U-Boot gives it no ACPI
}
