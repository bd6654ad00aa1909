package smb

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"github.com/postern-nas/postern/smb/nt"
)

// because is a status for the client with its cause for the log.
func because(status nt.Status, format string, args ...any) error {
	return fmt.Errorf("%w: %s", status, fmt.Sprintf(format, args...))
}

// malformed is the status of a body that cannot be decoded.
func malformed(err error) error { return fmt.Errorf("%w: %w", nt.InvalidParameter, err) }

// errnos says what a system error means to a client.
var errnos = []struct {
	errno  syscall.Errno
	status nt.Status
}{
	{syscall.ENOENT, nt.ObjectNameNotFound},
	{syscall.EEXIST, nt.ObjectNameCollision},
	{syscall.EACCES, nt.AccessDenied},
	{syscall.EPERM, nt.AccessDenied},
	{syscall.EROFS, nt.MediaWriteProtected},
	{syscall.ENOSPC, nt.DiskFull},
	{syscall.EDQUOT, nt.DiskFull}, // what Windows clients have words for
	{syscall.EFBIG, nt.DiskFull},
	{syscall.EISDIR, nt.FileIsADirectory},
	{syscall.ENOTDIR, nt.NotADirectory},
	{syscall.ENOTEMPTY, nt.DirectoryNotEmpty},
	{syscall.ENAMETOOLONG, nt.ObjectNameInvalid},
	{syscall.ELOOP, nt.ObjectPathNotFound},
	{syscall.EXDEV, nt.NotSameDevice},
	{syscall.EMLINK, nt.TooManyLinks},
	{syscall.EMFILE, nt.TooManyOpenedFiles},
	{syscall.ENFILE, nt.TooManyOpenedFiles},
	{syscall.ENOMEM, nt.InsufficientResources},
	{syscall.EINVAL, nt.InvalidParameter},
	{syscall.EBUSY, nt.SharingViolation},
	{syscall.ETXTBSY, nt.SharingViolation},
	{syscall.EOPNOTSUPP, nt.NotSupported},
	{syscall.ENOSYS, nt.NotSupported},
	{syscall.ENODEV, nt.NoSuchDevice},
	{syscall.ENXIO, nt.NoSuchDevice},
	{syscall.EBADF, nt.FileClosed},
	{syscall.ESTALE, nt.FileClosed},
	{syscall.EIO, nt.UnexpectedIOError},
}

// statusOf is the one mapping from an error to what the wire says.
func statusOf(err error) nt.Status {
	if err == nil {
		return nt.Success
	}
	var status nt.Status
	if errors.As(err, &status) {
		return status
	}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		for _, e := range errnos {
			if e.errno == errno {
				return e.status
			}
		}
		return nt.Unsuccessful
	}
	switch {
	case errors.Is(err, io.EOF):
		return nt.EndOfFile
	case errors.Is(err, context.Canceled):
		return nt.Cancelled
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return nt.IOTimeout
	case errors.Is(err, fs.ErrNotExist):
		return nt.ObjectNameNotFound
	case errors.Is(err, fs.ErrExist):
		return nt.ObjectNameCollision
	case errors.Is(err, fs.ErrPermission):
		return nt.AccessDenied
	case errors.Is(err, fs.ErrClosed):
		return nt.FileClosed
	}
	return nt.InternalError
}
