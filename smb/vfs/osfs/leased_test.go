package osfs

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/vfs"
)

// A file on which another process holds a lease is opened when that has given it back.
func TestLeased(t *testing.T) {
	dir := t.TempDir()
	v, err := New(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	holder, err := os.Create(filepath.Join(dir, "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer holder.Close()
	broken := make(chan os.Signal, 1)
	signal.Notify(broken, unix.SIGIO) // the kernel's way to ask for it
	defer signal.Stop(broken)
	lease := func(kind int) error {
		_, err := unix.FcntlInt(holder.Fd(), unix.F_SETLEASE, kind)
		return err
	}
	if err := lease(unix.F_WRLCK); err != nil {
		t.Skip("the filesystem has no leases: ", err)
	}
	path := vfs.Path{Names: []string{"f"}}
	open := func(ctx context.Context, access dtyp.Access) error {
		f, _, err := v.Open(ctx, path, vfs.How{Access: access})
		if err == nil {
			err = f.Close()
		}
		return err
	}
	// To look at it takes no lease away.
	if err := open(t.Context(), dtyp.ReadAttributes); err != nil {
		t.Fatal(err)
	}
	opened := make(chan error, 1)
	go func() { opened <- open(t.Context(), dtyp.FileRead) }()
	select {
	case <-broken:
	case err := <-opened:
		t.Fatalf("opened beside a lease: %v", err)
	case <-time.After(10 * time.Second):
		t.Fatal("nobody asked for the lease")
	}
	if err := lease(unix.F_UNLCK); err != nil {
		t.Fatal(err)
	}
	if err := <-opened; err != nil {
		t.Errorf("after the lease was given back: %v", err)
	}

	// Who waits can leave.
	if err := lease(unix.F_WRLCK); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() { opened <- open(ctx, dtyp.FileRead) }()
	<-broken
	cancel()
	if err := <-opened; !errors.Is(err, unix.EAGAIN) {
		t.Errorf("cancelled: %v", err)
	}
	lease(unix.F_UNLCK)
}
