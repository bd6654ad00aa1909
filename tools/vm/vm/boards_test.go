package vm

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/postern-nas/postern/images"
	"github.com/postern-nas/postern/tools/mkimage/mkimage"
)

// rpi is the image for Raspberry Pi that tests of this run share, with the compressed one that owners get.
var rpi = sync.OnceValues(func() (*mkimage.Result, error) {
	board, _ := images.FindBoard("rpi")
	return mkimage.Build(context.Background(), mkimage.Options{Board: board, Out: scratch, Quick: true, Compress: true}, os.Stderr)
})

func rpiImage(t *testing.T) *mkimage.Result {
	t.Helper()
	r, err := rpi()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestRaspberryImage boots the image for Raspberry Pi as far as another machine can: without Raspberry's own firmware,
// but by the same U-Boot, off the same MBR and FAT, through the same script, with the same kernel, which finds its
// drivers by the index, and its state on a disk whose table has no names.
func TestRaspberryImage(t *testing.T) {
	needsVM(t)
	t.Parallel()
	built := rpiImage(t)
	dir := t.TempDir()
	uboot, err := mkimage.PackageFile(t.Context(), images.UBootPackage, images.UBootFile, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	bios := filepath.Join(dir, "u-boot.bin")
	if err := os.WriteFile(bios, uboot, 0o600); err != nil {
		t.Fatal(err)
	}
	disk := filepath.Join(dir, "disk")
	copySparse(t, disk, filepath.Join(scratch, built.Image))
	m, err := New(disk)
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

// TestRaspberryLayout has Linux read the image as owners write it to a card: the partitions are where the layout says, the
// first is FAT with the very files that were put there, and the second is empty, for the box to make its file system on.
func TestRaspberryLayout(t *testing.T) {
	needsVM(t)
	t.Parallel()
	built := rpiImage(t)
	card := filepath.Join(t.TempDir(), "card")
	decompress(t, card, filepath.Join(scratch, built.Image+".zst"))
	m := smallMachine(t, "look")
	m.Disks = []string{card}
	if err := m.Start(t.Output()); err != nil {
		t.Fatal(err)
	}
	hear(t, m, boot, "smallinit: done")
	t.Cleanup(m.Cut)

	board, _ := images.FindBoard("rpi")
	want := map[string]bool{"smallinit: on 1 is vfat": true, "smallinit: on 2 is nothing": true, "smallinit: done": true}
	for i, p := range board.Layout.Partitions {
		want[fmt.Sprintf("smallinit: partition %d at sector %d with %d", i+1, board.Layout.Start(i)/512, p.Size/512)] = true
	}
	for name, data := range built.BootFiles() {
		want[fmt.Sprintf("smallinit: file 1 %s %d %x", name, len(data), sha256.Sum256(data))] = true
	}
	for _, line := range m.console.said("smallinit: ") {
		if !want[line] {
			t.Errorf("not as it was written: %s", line)
		}
		delete(want, line)
	}
	for line := range want {
		t.Errorf("Linux does not say: %s", line)
	}
}

func decompress(t *testing.T, to, from string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	z, err := zstd.NewReader(in)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	out, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if _, err := io.Copy(out, z); err != nil {
		t.Fatal(err)
	}
}

// smallMachine has the kernel and the drivers of the image, and smallinit instead of postern.
func smallMachine(t *testing.T, word string) *Machine {
	t.Helper()
	v := variant(t, image(t), 2, map[string][]byte{"init": initProgram(t, "smallinit"), "word": []byte(word)})
	disk := filepath.Join(t.TempDir(), "small")
	if err := v.WriteDisk(disk); err != nil {
		t.Fatal(err)
	}
	m, err := New(disk)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}
