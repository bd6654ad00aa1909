package osfs

import (
	"os"
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
