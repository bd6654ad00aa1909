package mkimage

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	diskfs "github.com/diskfs/go-diskfs"
	"github.com/diskfs/go-diskfs/disk"
	"github.com/diskfs/go-diskfs/filesystem"

	"github.com/postern-nas/postern/images"
)

// epoch is the time that all files of an image have: the first that FAT can say.
const epoch = "315532800" // 1980-01-01

// writeDisk makes the file at name a disk with the layout, its first partition FAT32 with the files in it, by absolute
// path. The rest is holes. Equal files give equal bytes.
func writeDisk(name string, l images.Layout, files map[string][]byte) (err error) {
	if err := l.Check(); err != nil {
		return err
	}
	if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	// The library takes the time of files from the environment, as reproducible builds do.
	if err := os.Setenv("SOURCE_DATE_EPOCH", epoch); err != nil {
		return err
	}
	d, err := diskfs.Create(name, l.Size(), diskfs.SectorSize512)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := d.Close(); err == nil {
			err = cerr
		}
	}()
	table, err := partitionTable(l)
	if err != nil {
		return err
	}
	if err := d.Partition(table); err != nil {
		return fmt.Errorf("partition table: %w", err)
	}
	fs, err := d.CreateFilesystem(disk.FilesystemSpec{
		Partition: 1, FSType: filesystem.TypeFat32, VolumeLabel: "POSTERN", Reproducible: true,
	})
	if err != nil {
		return fmt.Errorf("boot partition: %w", err)
	}
	var names []string
	for n := range files {
		names = append(names, n)
	}
	slices.Sort(names)
	made := map[string]bool{}
	for _, n := range names {
		if dir := strings.TrimPrefix(path.Dir(n), "/"); dir != "" && !made[dir] {
			made[dir] = true
			if err := fs.Mkdir(dir); err != nil {
				return fmt.Errorf("%s: %w", dir, err)
			}
		}
		f, err := fs.OpenFile(strings.TrimPrefix(n, "/"), os.O_CREATE|os.O_RDWR)
		if err != nil {
			return fmt.Errorf("%s: %w", n, err)
		}
		if _, err := f.Write(files[n]); err != nil {
			return fmt.Errorf("%s: %w", n, errors.Join(err, f.Close()))
		}
		if err := f.Close(); err != nil {
			return fmt.Errorf("%s: %w", n, err)
		}
	}
	return nil
}
