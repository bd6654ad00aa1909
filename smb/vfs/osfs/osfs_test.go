package osfs

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/postern-nas/postern/smb/vfs"
	"github.com/postern-nas/postern/smb/vfs/vfstest"
)

var (
	_ vfs.OSFile    = (*File)(nil)
	_ vfs.Linker    = (*File)(nil)
	_ vfs.Cloner    = (*File)(nil)
	_ vfs.Allocator = (*File)(nil)
	_ vfs.Security  = (*File)(nil)
	_ vfs.Labeled   = (*Volume)(nil)

	_ vfs.Featured   = (*Volume)(nil)
	_ vfs.Sharer     = (*File)(nil)
	_ vfs.Compressor = (*File)(nil)
	_ vfs.Symlinker  = (*File)(nil)
	_ vfs.Snapshots  = (*Volume)(nil)
)

// volume returns a Volume over dir that must have been given everything back by the end of the test.
func volume(t testing.TB, dir string, opts ...Option) *Volume {
	t.Helper()
	v, err := New(dir, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	})
	return v
}

func TestPaper(t *testing.T) {
	vfstest.Run(t, func(t *testing.T) vfs.Volume { return volume(t, t.TempDir()) })
}

// TestPaperBtrfs sits the paper where blocks are shared and files compressed: on a btrfs in a file, if one can be made and
// mounted here, or in a folder that is named.
//
//	POSTERN_BTRFS=/mnt/btrfs go test ./smb/vfs/osfs -run Btrfs
func TestPaperBtrfs(t *testing.T) {
	base := btrfs(t)
	vfstest.Run(t, func(t *testing.T) vfs.Volume {
		dir, err := os.MkdirTemp(base, "osfs")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
		return volume(t, dir)
	})
}

// btrfs returns a folder on a btrfs.
func btrfs(t *testing.T) string {
	t.Helper()
	if dir := os.Getenv("POSTERN_BTRFS"); dir != "" {
		return dir
	}
	mkfs, err := exec.LookPath("mkfs.btrfs")
	if err != nil || os.Geteuid() != 0 {
		t.Skip("needs POSTERN_BTRFS, or root and mkfs.btrfs")
	}
	image, dir := filepath.Join(t.TempDir(), "btrfs"), t.TempDir()
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, 256<<20); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(mkfs, "-q", image).CombinedOutput(); err != nil {
		t.Skipf("mkfs.btrfs: %v: %s", err, out)
	}
	if out, err := exec.Command("mount", "-o", "loop", image, dir).CombinedOutput(); err != nil {
		t.Skipf("mount: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	return dir
}

// TestPaperTmpfs sits the paper where nothing is ever written to a disk.
func TestPaperTmpfs(t *testing.T) {
	vfstest.Run(t, func(t *testing.T) vfs.Volume {
		dir, err := os.MkdirTemp("/dev/shm", "osfs")
		if err != nil {
			t.Skip(err)
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
		return volume(t, dir)
	})
}
