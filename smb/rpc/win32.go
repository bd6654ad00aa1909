package rpc

import (
	"cmp"
	"context"
)

// A Win32 is a Win32 error code, [MS-ERREF] 2.2 and [MS-SRVS] 2.2.2.13, as the operations of srvsvc and wkssvc return it.
type Win32 uint32

// Win32 error codes that are returned.
const (
	Win32Success          Win32 = 0
	Win32FileNotFound     Win32 = 2
	Win32AccessDenied     Win32 = 5
	Win32NotSupported     Win32 = 50
	Win32InvalidParameter Win32 = 87
	Win32InvalidName      Win32 = 123
	Win32InvalidLevel     Win32 = 124
	Win32MoreData         Win32 = 234
	NerrDuplicateShare    Win32 = 2118
	NerrUserNotFound      Win32 = 2221
	NerrNetNameNotFound   Win32 = 2310
	NerrDeviceNotShared   Win32 = 2311
	NerrClientNotFound    Win32 = 2312
	NerrFileIDNotFound    Win32 = 2314
)

// Win32Operations are the operations of an interface whose every call begins with ServerName and ends with a Win32, by
// opnum. Each reads its arguments behind the one, and writes what it answers before the other.
type Win32Operations[S any] map[uint16]func(s S, ctx context.Context, r *Reader, w *Writer) (Win32, error)

// Of returns them as the Call of an Interface that s serves.
func (o Win32Operations[S]) Of(s S) func(ctx context.Context, opnum uint16, stub []byte) ([]byte, error) {
	return func(ctx context.Context, opnum uint16, stub []byte) ([]byte, error) {
		run := o[opnum]
		if run == nil {
			return nil, FaultOpRange
		}
		r, w := NewReader(stub), new(Writer)
		r.UniqueString() // ServerName: we are the one that was asked
		result, err := run(s, ctx, r, w)
		if err = cmp.Or(r.Err(), err); err != nil {
			return nil, err
		}
		w.U32(uint32(result))
		return w.Bytes(), nil
	}
}
