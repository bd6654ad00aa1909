// Package rpc is the part of [MS-RPCE] that a file server needs: connection-oriented PDUs over a named pipe, and
// enough NDR (C706 chapter 14) to read and write the calls that clients make.
package rpc

import (
	"context"

	"github.com/postern-nas/postern/smb/dtyp"
)

// An Interface is one RPC interface, such as srvsvc.
type Interface struct {
	UUID         dtyp.GUID
	Major, Minor uint16
	// Call runs one operation. stub is NDR, bounded by the Pipe. A Fault as the error becomes a fault PDU with its
	// code; any other error the fault nca_s_fault_unspec.
	Call func(ctx context.Context, opnum uint16, stub []byte) (reply []byte, err error)
}
