package nt

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// TestNames checks the numbers of [MS-ERREF] 2.3.1 that clients act on, and the names of all.
func TestNames(t *testing.T) {
	for s, want := range map[Status]string{
		0x00000000: "STATUS_SUCCESS",
		0x00000103: "STATUS_PENDING",
		0x80000005: "STATUS_BUFFER_OVERFLOW",
		0x80000006: "STATUS_NO_MORE_FILES",
		0xC0000004: "STATUS_INFO_LENGTH_MISMATCH",
		0xC000000D: "STATUS_INVALID_PARAMETER",
		0xC000000F: "STATUS_NO_SUCH_FILE",
		0xC0000010: "STATUS_INVALID_DEVICE_REQUEST",
		0xC0000011: "STATUS_END_OF_FILE",
		0xC0000016: "STATUS_MORE_PROCESSING_REQUIRED",
		0xC0000022: "STATUS_ACCESS_DENIED",
		0xC0000034: "STATUS_OBJECT_NAME_NOT_FOUND",
		0xC0000035: "STATUS_OBJECT_NAME_COLLISION",
		0xC000003A: "STATUS_OBJECT_PATH_NOT_FOUND",
		0xC0000043: "STATUS_SHARING_VIOLATION",
		0xC0000054: "STATUS_FILE_LOCK_CONFLICT",
		0xC0000056: "STATUS_DELETE_PENDING",
		0xC000006D: "STATUS_LOGON_FAILURE",
		0xC00000BA: "STATUS_FILE_IS_A_DIRECTORY",
		0xC00000BB: "STATUS_NOT_SUPPORTED",
		0xC00000CC: "STATUS_BAD_NETWORK_NAME",
		0xC00000D9: "STATUS_PIPE_EMPTY",
		0xC0000101: "STATUS_DIRECTORY_NOT_EMPTY",
		0xC0000103: "STATUS_NOT_A_DIRECTORY",
		0xC0000120: "STATUS_CANCELLED",
		0xC0000128: "STATUS_FILE_CLOSED",
		0xC000019C: "STATUS_FS_DRIVER_REQUIRED",
		0xC000029C: "STATUS_VOLUME_NOT_UPGRADED",
		0xC00002F0: "STATUS_OBJECTID_NOT_FOUND",
		0xC0000203: "STATUS_USER_SESSION_DELETED",
		0xC000035C: "STATUS_NETWORK_SESSION_EXPIRED",
		0xDEADBEEF: "NTSTATUS(0xDEADBEEF)",
	} {
		if s.String() != want || s.Error() != want {
			t.Errorf("%#x is %s, want %s", uint32(s), s, want)
		}
	}
	seen := map[string]Status{}
	for s, n := range names {
		if !strings.HasPrefix(n, "STATUS_") || n != strings.ToUpper(n) {
			t.Errorf("%#x is called %q", uint32(s), n)
		}
		if other, ok := seen[n]; ok {
			t.Errorf("%#x and %#x are both %s", uint32(s), uint32(other), n)
		}
		seen[n] = s
	}
}

func TestIsError(t *testing.T) {
	for s, want := range map[Status]bool{
		Success: false, Pending: false, NotifyEnumDir: false, BufferOverflow: false, NoMoreFiles: false,
		AccessDenied: true, SMBBadCluster: true, 0xFFFFFFFF: true, 0x7FFFFFFF: false, 0xBFFFFFFF: false,
	} {
		if s.IsError() != want {
			t.Errorf("%v.IsError() = %v", s, !want)
		}
	}
}

func TestWrapped(t *testing.T) {
	cause := errors.New("disk on fire")
	err := fmt.Errorf("%w: %w", DataError, cause)
	var s Status
	if !errors.As(err, &s) || s != DataError || !errors.Is(err, cause) || !errors.Is(err, DataError) || errors.Is(err, CrcError) {
		t.Errorf("%v is %v", err, s)
	}
}
