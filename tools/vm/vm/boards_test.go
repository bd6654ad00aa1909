package vm

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"testing"

	diskfs "github.com/diskfs/go-diskfs"
	"github.com/diskfs/go-diskfs/disk"
	"github.com/diskfs/go-diskfs/filesystem"
	"github.com/diskfs/go-diskfs/partition/mbr"
	"github.com/klauspost/compress/zstd"

	"github.com/postern-nas/postern/images"
	"github.com/postern-nas/postern/images/bundle"
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
	m := machineOn(t, disk)
	m.UBoot, m.Plain, m.Memory = bios, true, 1024
	next := built.Release()
	next.Number++
	m.Stick = stick(t, built, next)
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
	// A stick with an update is seen each time it is put in, and is gone when it is taken out.
	for range 2 {
		m.Forget()
		if err := m.Plug(); err != nil {
			t.Fatal(err)
		}
		if _, err := m.Wait(ctx, `msg="an update lies on a USB stick" device=sda1 update="`+regexp.QuoteMeta(next.String())+`" problem=""`); err != nil {
			t.Fatal(err)
		}
		if err := m.Unplug(); err != nil {
			t.Fatal(err)
		}
		if _, err := m.Wait(ctx, `msg="the USB stick with an update has gone"`); err != nil {
			t.Fatal(err)
		}
	}
}

// stick makes a USB stick as they are sold, one FAT behind an MBR, with an update on it.
func stick(t *testing.T, built *mkimage.Result, release bundle.Release) string {
	t.Helper()
	var update bytes.Buffer
	if err := built.Key().Sign(&update, bundle.Manifest{Release: release}, []byte("an image")); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "stick")
	const sectors = 128 << 20 / 512
	d, err := diskfs.Create(path, sectors*512, diskfs.SectorSize512)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	table := &mbr.Table{LogicalSectorSize: 512, PhysicalSectorSize: 512, Partitions: []*mbr.Partition{{Index: 1, Type: mbr.Fat32LBA, Start: 2048, Size: sectors - 2048}}}
	if err := d.Partition(table); err != nil {
		t.Fatal(err)
	}
	fs, err := d.CreateFilesystem(disk.FilesystemSpec{Partition: 1, FSType: filesystem.TypeFat32, VolumeLabel: "STICK"})
	if err != nil {
		t.Fatal(err)
	}
	f, err := fs.OpenFile("postern-"+release.Board+".postern", os.O_CREATE|os.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(update.Bytes()); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return path
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
	return variantMachine(t, map[string][]byte{"init": initProgram(t, "smallinit"), "word": []byte(word)})
}

// variantMachine has the image but for some files of its initramfs.
func variantMachine(t *testing.T, files map[string][]byte) *Machine {
	t.Helper()
	return newMachine(t, variant(t, image(t), 2, files))
}

// newMachine has the image on its disk.
func newMachine(t *testing.T, image interface{ WriteDisk(path string) error }) *Machine {
	t.Helper()
	disk := filepath.Join(t.TempDir(), "disk")
	if err := image.WriteDisk(disk); err != nil {
		t.Fatal(err)
	}
	return machineOn(t, disk)
}
