package main

import (
	"path/filepath"

	"golang.org/x/sys/unix"
)

// spaceAt is how large the disk under a folder is and how much of it is free, in bytes. The folder itself need not be there yet.
func spaceAt(path string) (total, free int64, ok bool) {
	for {
		var st unix.Statfs_t
		err := unix.Statfs(path, &st)
		if err == nil {
			return int64(st.Blocks) * st.Bsize, int64(st.Bavail) * st.Bsize, true
		}
		up := filepath.Dir(path)
		if err != unix.ENOENT || up == path {
			return 0, 0, false
		}
		path = up
	}
}
