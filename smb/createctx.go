package smb

import (
	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/vfs"
	"github.com/postern-nas/postern/smb/wire"
)

// createContexts is what the contexts of a CREATE ask for, [MS-SMB2] 3.3.5.9.1 to 3.3.5.9.13.
type createContexts struct {
	allocation int64
	maximal    bool
	maximalAt  wire.MaximalAccessRequest
	diskID     bool
	timewarp   dtyp.Filetime
	lease      *wire.Lease
	descriptor *dtyp.SecurityDescriptor
	eas        []fscc.EA
	posix      *wire.POSIXRequest
	aapl       *wire.AAPLRequest
}

// parseContexts reads the contexts that are acted on. Others are passed over, as [MS-SMB2] 3.3.5.9 has it for those a
// server does not know. Those of durable handles have been read: see resume.
func (c *creation) parseContexts() error {
	for _, ctx := range c.req.Contexts {
		var err error
		switch ctx.Name {
		case wire.CreateAllocationSize:
			var a wire.AllocationSize
			if err = a.Decode(ctx.Data); err == nil && a.Size > 1<<63-1 {
				return because(nt.InvalidParameter, "allocation of %d bytes", a.Size)
			}
			c.ctx.allocation = int64(a.Size)
		case wire.CreateMaximalAccess:
			c.ctx.maximal = true
			err = c.ctx.maximalAt.Decode(ctx.Data)
		case wire.CreateLease:
			err = c.parseLease(ctx.Data)
		case wire.CreateDiskID:
			c.ctx.diskID = true
		case wire.CreateSecurityDescriptor:
			if err := c.parseDescriptor(ctx.Data); err != nil {
				return err
			}
		case wire.CreateEA:
			if err := c.parseEAs(ctx.Data); err != nil {
				return err
			}
		case wire.CreateAAPL:
			err = c.parseAAPL(ctx.Data)
		case wire.CreateTimewarp:
			var w wire.Timewarp
			err = w.Decode(ctx.Data)
			c.ctx.timewarp = w.Timestamp
		}
		if err != nil {
			return malformed(err)
		}
	}
	return c.goBack()
}

// parseDescriptor reads what is to protect the object if it is made, [MS-SMB2] 3.3.5.9.2.
func (c *creation) parseDescriptor(b []byte) error {
	if len(b) > maxDescriptor {
		return because(nt.InvalidSecurityDescr, "%d bytes", len(b))
	}
	sd, err := dtyp.DecodeSecurityDescriptor(b)
	if err != nil {
		return because(nt.InvalidSecurityDescr, "%v", err)
	}
	if sd.SACL != nil && !mayAudit(c.session.identity.Load()) {
		return because(nt.PrivilegeNotHeld, "audit lists are for administrators")
	}
	c.ctx.descriptor = sd
	return nil
}

// answerContexts answers those that want an answer.
func (c *creation) answerContexts() (list []wire.CreateContext) {
	add := func(name string, body response) {
		list = append(list, wire.CreateContext{Name: name, Data: body.Append(nil)})
	}
	if c.ctx.maximal {
		resp := &wire.MaximalAccessResponse{MaximalAccess: c.maximal}
		if at := c.ctx.maximalAt.Timestamp; at != 0 && at == c.attr.Write {
			resp = &wire.MaximalAccessResponse{QueryStatus: nt.NoneMapped} // unchanged since: [MS-SMB2] 3.3.5.9.5
		}
		add(wire.CreateMaximalAccess, resp)
	}
	if c.ctx.diskID {
		id := c.o.file.ID().File()
		add(wire.CreateDiskID, &wire.DiskIDResponse{DiskFileID: id.Object, VolumeID: volumeID(c.volume(), id)})
	}
	if c.ctx.aapl != nil {
		add(wire.CreateAAPL, c.answerAAPL())
	}
	if c.ctx.lease != nil {
		add(wire.CreateLease, c.answerLease())
	}
	if c.ctx.posix != nil {
		add(wire.CreatePOSIX, c.answerPOSIX())
	}
	return c.answerDurable(list)
}

// volumeID is what tells a volume apart from others: its own serial number where it has one.
func volumeID(v vfs.Volume, id vfs.ID) uint64 {
	if l, ok := v.(vfs.Labeled); ok {
		_, serial := l.Label()
		return uint64(serial)
	}
	return id.Volume
}
