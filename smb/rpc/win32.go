package rpc

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
