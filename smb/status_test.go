package smb

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"syscall"
	"testing"

	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/wire"
)

func TestStatusOf(t *testing.T) {
	for _, c := range []struct {
		err  error
		want nt.Status
	}{
		{nil, nt.Success},
		{nt.DeletePending, nt.DeletePending},
		{because(nt.SharingViolation, "why %d", 1), nt.SharingViolation},
		{fmt.Errorf("outer: %w", because(nt.DiskFull, "x")), nt.DiskFull},
		{malformed(errors.New("short")), nt.InvalidParameter},
		{malformed(&wire.Error{Struct: "READ request", Reason: "short"}), nt.InvalidParameter},
		{&wire.Error{Struct: "READ request", Reason: "short"}, nt.InvalidParameter},
		// A status that is wrapped around its cause wins over what the cause would be.
		{fmt.Errorf("%w: %w", nt.ObjectPathNotFound, syscall.ENOENT), nt.ObjectPathNotFound},
		{fmt.Errorf("%w: %w", nt.LogonFailure, context.Canceled), nt.LogonFailure},
		{io.EOF, nt.EndOfFile},
		{fmt.Errorf("read: %w", io.EOF), nt.EndOfFile},
		{io.ErrUnexpectedEOF, nt.InternalError},
		{context.Canceled, nt.Cancelled},
		{fmt.Errorf("waiting: %w", context.Canceled), nt.Cancelled},
		{context.DeadlineExceeded, nt.IOTimeout},
		{os.ErrDeadlineExceeded, nt.IOTimeout},
		{fs.ErrNotExist, nt.ObjectNameNotFound},
		{fs.ErrExist, nt.ObjectNameCollision},
		{fs.ErrPermission, nt.AccessDenied},
		{fs.ErrClosed, nt.FileClosed},
		{&fs.PathError{Op: "open", Path: "x", Err: syscall.ENOSPC}, nt.DiskFull},
		{&os.SyscallError{Syscall: "openat2", Err: syscall.ELOOP}, nt.ObjectPathNotFound},
		{&os.LinkError{Op: "rename", Err: syscall.EXDEV}, nt.NotSameDevice},
		{syscall.ENOENT, nt.ObjectNameNotFound},
		{syscall.EACCES, nt.AccessDenied},
		{syscall.EPERM, nt.AccessDenied},
		{syscall.EROFS, nt.MediaWriteProtected},
		{syscall.EDQUOT, nt.DiskFull},
		{syscall.ENOTEMPTY, nt.DirectoryNotEmpty},
		{syscall.EIO, nt.UnexpectedIOError},
		{syscall.ECHILD, nt.Unsuccessful}, // an errno that nobody thought of
		{net.ErrClosed, nt.InternalError},
		{errors.New("anything else"), nt.InternalError},
	} {
		if got := statusOf(c.err); got != c.want {
			t.Errorf("%v: %v, want %v", c.err, got, c.want)
		}
	}
}

// Every row of the table is what statusOf answers, and no errno has two.
func TestErrnoTable(t *testing.T) {
	seen := make(map[syscall.Errno]bool)
	for _, e := range errnos {
		if seen[e.errno] {
			t.Errorf("%v has two rows", e.errno)
		}
		seen[e.errno] = true
		if got := statusOf(&fs.PathError{Op: "x", Path: "y", Err: e.errno}); got != e.status || !got.IsError() {
			t.Errorf("%v: %v, want %v", e.errno, got, e.status)
		}
	}
}
