package memfs_test

import (
	"testing"

	"github.com/postern-nas/postern/smb/vfs"
	"github.com/postern-nas/postern/smb/vfs/memfs"
	"github.com/postern-nas/postern/smb/vfs/vfstest"
)

func Test(t *testing.T) {
	vfstest.Run(t, func(*testing.T) vfs.Volume { return memfs.New() })
}

var (
	_ vfs.Linker    = (*memfs.File)(nil)
	_ vfs.Cloner    = (*memfs.File)(nil)
	_ vfs.Allocator = (*memfs.File)(nil)
	_ vfs.Watcher   = (*memfs.File)(nil)
	_ vfs.Security  = (*memfs.File)(nil)
	_ vfs.Labeled   = (*memfs.Volume)(nil)

	_ vfs.Featured   = (*memfs.Volume)(nil)
	_ vfs.Sharer     = (*memfs.File)(nil)
	_ vfs.Compressor = (*memfs.File)(nil)
)
