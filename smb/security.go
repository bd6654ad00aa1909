package smb

import (
	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/wire"
)

// security answers a query for the security descriptor, [MS-SMB2] 3.3.5.20.3. Files have none of their own yet: what
// decides is the share's rights for the user, and that is what is shown.
func (q *query) security() (response, error) {
	const known = wire.SecurityOwner | wire.SecurityGroup | wire.SecurityDACL
	if q.info&wire.SecuritySACL != 0 {
		return nil, because(nt.AccessDenied, "nobody may see the audit list")
	}
	if err := q.o.need(dtyp.ReadControl); err != nil {
		return nil, err
	}
	id := q.session.identity.Load()
	sd := &dtyp.SecurityDescriptor{
		Owner: id.SID, Group: dtyp.BuiltinUsers,
		DACL: &dtyp.ACL{Revision: 2, ACEs: []dtyp.ACE{{Type: dtyp.AccessAllowed, Mask: q.tree.rights, SID: dtyp.AuthenticatedUsers}}},
	}
	b, err := sd.Select(q.info & known).Append(nil)
	if err != nil {
		return nil, err
	}
	if len(b) > q.size {
		return q.tooSmall(len(b)), because(nt.BufferTooSmall, "descriptor of %d bytes into %d", len(b), q.size)
	}
	return &wire.QueryInfoResponse{Buffer: b}, nil
}

// tooSmall tells how large a buffer would do, [MS-SMB2] 2.2.2: in 3.1.1 within an error context.
func (q *query) tooSmall(need int) errorReply {
	data := wire.AppendBufferTooSmall(nil, uint32(need))
	if uint16(q.conn.dialect.Load()) == wire.Dialect311 {
		return errorReply{contexts: 1, data: wire.AppendErrorContexts(nil, wire.ErrorContext{ID: wire.ErrorIDDefault, Data: data})}
	}
	return errorReply{data: data}
}
