package smb

import (
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/wire"
)

// lock is [MS-SMB2] 3.3.5.14. Byte-range locks are not there yet: a client is told so rather than let believe that it
// holds one.
func (r *request) lock() (response, error) {
	var req wire.LockRequest
	if err := req.Decode(r.msg); err != nil {
		return nil, malformed(err)
	}
	if _, err := r.findFile(req.FileID); err != nil {
		return nil, err
	}
	return nil, because(nt.NotSupported, "byte-range locks")
}

// changeNotify is [MS-SMB2] 3.3.5.19, not there yet either: Explorer then shows changes when asked to refresh.
func (r *request) changeNotify() (response, error) {
	var req wire.ChangeNotifyRequest
	if err := req.Decode(r.msg); err != nil {
		return nil, malformed(err)
	}
	if _, err := r.findFile(req.FileID); err != nil {
		return nil, err
	}
	return nil, because(nt.NotSupported, "change notification")
}
