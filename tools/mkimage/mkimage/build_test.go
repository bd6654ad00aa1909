package mkimage

import (
	"bytes"
	"crypto/sha256"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	diskfs "github.com/diskfs/go-diskfs"
	"github.com/diskfs/go-diskfs/partition/gpt"
	"github.com/klauspost/compress/zstd"
	"github.com/u-root/u-root/pkg/cpio"

	"github.com/postern-nas/postern/images"
)

func TestArchive(t *testing.T) {
	files := contents{"init": {data: []byte("program")}, "lib/modules/order": {data: []byte("a.ko\n")}, "sbin/tool": {data: []byte("tool")}}
	packed, err := archive(files, false)
	if err != nil {
		t.Fatal(err)
	}
	again, err := archive(files, false)
	if err != nil || !bytes.Equal(packed, again) {
		t.Errorf("not the same bytes twice (%v)", err)
	}
	z, err := zstd.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	plain, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	records, err := cpio.ReadAllRecords(cpio.Newc.Reader(bytes.NewReader(plain)))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, r := range records {
		names = append(names, r.Name)
		if r.MTime != 0 || r.UID != 0 || r.GID != 0 {
			t.Errorf("%s has a time or an owner", r.Name)
		}
		if want, ok := files[r.Name]; ok {
			got, err := io.ReadAll(io.NewSectionReader(r, 0, int64(r.FileSize)))
			if err != nil || !bytes.Equal(got, want.data) || r.Mode&0o777 != 0o755 {
				t.Errorf("%s: %q, mode %o (%v)", r.Name, got, r.Mode, err)
			}
		}
	}
	want := strings.Fields("dev dev/console etc init lib lib/modules lib/modules/order proc run sbin sbin/tool srv state sys tmp")
	if !slices.Equal(names, want) {
		t.Errorf("holds %v", names)
	}
}

// TestDisk: the library and, where it is there, sgdisk read what was written; and it is written the same way twice.
func TestDisk(t *testing.T) {
	board, _ := images.FindBoard("qemu")
	l := board.Layout
	l.Partitions = slices.Clone(l.Partitions)
	l.Partitions[0].Size, l.Partitions[1].Size = 48<<20, 1<<20
	kernel := bytes.Repeat([]byte("kernel"), 100_000)
	files := map[string][]byte{images.LoaderFile: []byte("loader"), images.LoaderConfig: []byte(loaderConfig), images.SlotA: kernel}
	dir := t.TempDir()
	var sums [2][32]byte
	for i := range sums {
		path := filepath.Join(dir, "disk")
		if err := writeDisk(path, l, files); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if int64(len(data)) != l.Size() {
			t.Errorf("%d bytes, want %d", len(data), l.Size())
		}
		sums[i] = sha256.Sum256(data)
	}
	if sums[0] != sums[1] {
		t.Error("not the same bytes twice")
	}
	path := filepath.Join(dir, "disk")
	d, err := diskfs.Open(path, diskfs.WithOpenMode(diskfs.ReadOnly))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	pt, err := d.GetPartitionTable()
	if err != nil {
		t.Fatal(err)
	}
	table := pt.(*gpt.Table)
	for i, p := range l.Partitions {
		got := table.Partitions[i]
		if got.Name != p.Name || string(got.Type) != p.Type || got.GUID != p.GUID || got.GetStart() != l.Start(i) || got.GetSize() != p.Size {
			t.Errorf("partition %d: %+v", i, got)
		}
	}
	fs, err := d.GetFilesystem(1)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range files {
		f, err := fs.OpenFile(strings.TrimPrefix(name, "/"), os.O_RDONLY)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(f); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes (%v)", name, len(got), err)
		}
	}
	if sgdisk, err := exec.LookPath("sgdisk"); err == nil {
		if out, err := exec.Command(sgdisk, "-v", path).CombinedOutput(); err != nil || !bytes.Contains(out, []byte("No problems found")) {
			t.Errorf("sgdisk -v: %v\n%s", err, out)
		}
	}
	l.Partitions[0].Size = 1
	if err := writeDisk(path, l, files); err == nil {
		t.Error("wrote a layout that is none")
	}
}
