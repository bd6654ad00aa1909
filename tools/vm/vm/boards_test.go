package vm

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/postern-nas/postern/images"
	"github.com/postern-nas/postern/tools/mkimage/mkimage"
)

// TestRaspberryImage boots the image for Raspberry Pi as far as another machine can: without Raspberry's own firmware,
// but by the same U-Boot, off the same MBR and FAT, through the same script, with the same kernel, which finds its
// drivers by the index, and its state on a disk whose table has no names.
func TestRaspberryImage(t *testing.T) {
	needsVM(t)
	t.Parallel()
	board, ok := images.FindBoard("rpi")
	if !ok {
		t.Fatal("no board rpi")
	}
	dir := t.TempDir()
	built, err := mkimage.Build(t.Context(), mkimage.Options{Board: board, Out: dir, Quick: true}, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	uboot, err := mkimage.PackageFile(t.Context(), images.UBootPackage, images.UBootFile, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	bios := filepath.Join(dir, "u-boot.bin")
	if err := os.WriteFile(bios, uboot, 0o600); err != nil {
		t.Fatal(err)
	}
	m, err := New(filepath.Join(dir, built.Image))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	m.UBoot, m.Plain, m.Memory = bios, true, 1024
	if err := m.Start(t.Output()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*boot)
	defer cancel()
	for _, line := range []string{
		`Postern: slot a, tries left 0`,
		`making a file system" device=/dev/nvme0n1p2`, // the second row of the MBR is known for the state
		`msg=address port=\S+ ip=10\.0\.2\.15`,
		`msg=up `,
		`msg=listening transport=quic`,
	} {
		if _, err := m.Wait(ctx, line); err != nil {
			t.Fatal(err)
		}
	}
}
