package slot

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/postern-nas/postern/images"
)

// A Partition is the boot partition of a box, mounted only while it is needed: a filesystem without a journal is safest
// when nobody has it.
type Partition struct {
	State string // folder on the state partition: the boot partition is the first one of the same disk
	At    string // folder to mount it at
}

// Open implements Place.
func (p Partition) Open(write bool) (root string, done func() error, err error) {
	device, err := p.find(os.DirFS("/sys"))
	if err != nil {
		return "", nil, err
	}
	if err := os.MkdirAll(p.At, 0o700); err != nil {
		return "", nil, err
	}
	flags := uintptr(unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_NOATIME)
	if !write {
		flags |= unix.MS_RDONLY
	}
	if err := unix.Mount(device, p.At, "vfat", flags, "umask=0077"); err != nil {
		return "", nil, fmt.Errorf("boot partition: mount %s: %w", device, err)
	}
	return p.At, func() error {
		if err := unix.Unmount(p.At, 0); err != nil {
			return fmt.Errorf("boot partition: unmount: %w", err)
		}
		if !write {
			return nil
		}
		return flush(device)
	}, nil
}

// flush has the disk put away what it keeps in a cache of its own.
func flush(device string) error {
	f, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// find returns the device file of the boot partition: the state's neighbour, or the one of that name where the state is
// not on its partition.
func (p Partition) find(sys fs.FS) (string, error) {
	var st unix.Stat_t
	if err := unix.Stat(p.State, &st); err == nil {
		if d := sibling(fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev))); d != "" {
			return "/dev/" + d, nil
		}
	}
	d, err := named(sys, images.BootName)
	if err != nil {
		return "", err
	}
	return "/dev/" + d, nil
}

// sibling is the first partition of the disk that a partition in sysfs is on; "" if that is none.
func sibling(partition string) string {
	real, err := filepath.EvalSymlinks(partition)
	if err != nil {
		return ""
	}
	if _, err := os.Stat(real + "/partition"); err != nil {
		return ""
	}
	entries, err := os.ReadDir(filepath.Dir(real))
	if err != nil {
		return ""
	}
	for _, e := range entries {
		n, err := os.ReadFile(filepath.Join(filepath.Dir(real), e.Name(), "partition"))
		if err == nil && strings.TrimSpace(string(n)) == "1" {
			return e.Name()
		}
	}
	return ""
}

// named looks through sysfs for the one partition that has that name in a GPT, or its place in an MBR of ours.
func named(sys fs.FS, name string) (device string, err error) {
	all, err := fs.Glob(sys, "class/block/*/uevent")
	if err != nil {
		return "", err
	}
	for _, p := range all {
		text, err := fs.ReadFile(sys, p)
		if err != nil { // it has just gone
			continue
		}
		if images.PartitionName(string(text)) != name {
			continue
		}
		if device != "" {
			return "", fmt.Errorf("two partitions %s: take the other medium away", name)
		}
		device = path.Base(path.Dir(p))
	}
	if device == "" {
		return "", fmt.Errorf("no partition %s", name)
	}
	return device, nil
}
