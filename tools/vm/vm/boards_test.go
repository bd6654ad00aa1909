package vm

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	diskfs "github.com/diskfs/go-diskfs"
	"github.com/diskfs/go-diskfs/disk"
	"github.com/diskfs/go-diskfs/filesystem"
	"github.com/diskfs/go-diskfs/partition/mbr"

	"github.com/postern-nas/postern/images"
	"github.com/postern-nas/postern/images/bundle"
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
