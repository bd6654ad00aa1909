// Package nt holds the status codes of [MS-ERREF] section 2.3.
package nt

import "fmt"

// A Status is an NTSTATUS: what the wire says of how a request went. As an error it is the answer for the client;
// whatever caused it is wrapped around it for the log.
type Status uint32

// Severity of a Status, its top two bits.
const (
	Warning Status = 0x80000000
	Failure Status = 0xC0000000
)

func (s Status) Error() string { return s.String() }

// String returns the specification's name, or the number of a status this package does not name.
func (s Status) String() string {
	if n, ok := names[s]; ok {
		return n
	}
	return fmt.Sprintf("NTSTATUS(0x%08X)", uint32(s))
}

// IsError reports whether the status is of error severity. Success, informational (such as Pending) and warning
// (such as BufferOverflow) statuses are not.
func (s Status) IsError() bool { return s&Failure == Failure }
