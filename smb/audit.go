package smb

import (
	"errors"

	"github.com/postern-nas/postern/smb/auth"
)

// An Audit is one thing that an audit log should know.
type Audit struct {
	Kind   AuditKind
	Conn   ConnInfo
	Remote string // the client's address and port
	// User, Domain and Workstation are those of who logged on; of a refused logon as the client gave them, which may be
	// anything, and "" if it came to none.
	User, Domain, Workstation string
	Share                     string // "" for logons; as the client gave it, where Err is not nil
	Err                       error  // why it was refused
}

// AuditKind is what happened.
type AuditKind uint8

const (
	LoggedOn AuditKind = iota
	LogonRefused
	LoggedOff
	ShareConnected
	ShareRefused
	ShareAdded   // by an administrator, over the network; so are the others. Err: refused, or failed
	ShareChanged // its comment
	ShareRemoved
)

// audit tells who wants to hear it.
func (c *conn) audit(kind AuditKind, id *auth.Identity, share string, err error) {
	if c.srv.cfg.Audit == nil {
		return
	}
	a := Audit{Kind: kind, Conn: c.info, Remote: c.nc.RemoteAddr().String(), Share: share, Err: err}
	var claimed *auth.Refusal
	switch {
	case id != nil:
		a.User, a.Domain, a.Workstation = id.User, id.Domain, id.Workstation
	case errors.As(err, &claimed):
		a.User, a.Domain, a.Workstation = claimed.User, claimed.Domain, claimed.Workstation
	}
	c.srv.cfg.Audit(a)
}
