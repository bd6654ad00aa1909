package osfs

import (
	"context"

	"golang.org/x/sys/unix"

	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/vfs"
)

// awaitLease waits until another process on the NAS has given back the lease that it holds on what p names, fcntl(2)
// F_SETLEASE: an NFS server does it for its clients, Samba for its own. It is asked by an open that would wait, and gives
// up in time, or has it taken away: by default after 45 seconds (/proc/sys/fs/lease-break-time). It reports whether
// opening is worth another try.
func (v *Volume) awaitLease(ctx context.Context, p vfs.Path, how vfs.How) bool {
	there, _, err := v.openPath(ctx, p, vfs.How{Access: dtyp.ReadAttributes, Reparse: how.Reparse})
	if err != nil {
		return false
	}
	if there.kind != unix.S_IFREG { // only files have leases, and an open of others might wait for ever
		there.Close()
		return false
	}
	opened := make(chan error, 1)
	go func() {
		defer there.Close()
		n := flags(how)&^(unix.O_NONBLOCK|unix.O_DSYNC) | unix.O_CLOEXEC | unix.O_LARGEFILE | unix.O_NOCTTY
		fd, err := unix.Open(proc(there.fd), n, 0)
		if err == nil {
			unix.Close(fd)
		}
		opened <- err
	}()
	select {
	case err := <-opened:
		return err == nil
	case <-ctx.Done():
		return false
	}
}
