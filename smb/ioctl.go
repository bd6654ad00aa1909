package smb

import (
	"context"
	"slices"

	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/vfs"
	"github.com/postern-nas/postern/smb/wire"
)

// A control is one IOCTL, [MS-SMB2] 3.3.5.15.
type control struct {
	*request
	req wire.IoctlRequest
	o   *open // nil for codes that are asked of the connection
}

// controls says what each code needs and who answers it. Codes that are not here are NOT_SUPPORTED.
var controls = map[uint32]struct {
	open bool        // needs a file; the others must name none
	need dtyp.Access // any of these
	run  func(*control) ([]byte, error)
}{
	wire.FsctlDFSGetReferrals:              {false, 0, (*control).referral},
	wire.FsctlDFSGetReferralsEx:            {false, 0, (*control).referralEx},
	wire.FsctlPipeWait:                     {false, 0, (*control).pipeWait},
	wire.FsctlValidateNegotiateInfo:        {false, 0, (*control).validateNegotiate},
	wire.FsctlQueryNetworkInterfaceInfo:    {false, 0, (*control).networkInterfaces},
	wire.FsctlPipeTransceive:               {true, 0, (*control).pipeTransceive},
	wire.FsctlPipePeek:                     {true, 0, (*control).pipePeek},
	wire.FsctlSrvRequestResumeKey:          {true, 0, (*control).requestResumeKey},
	wire.FsctlSrvEnumerateSnapshots:        {true, 0, (*control).enumerateSnapshots},
	wire.FsctlSrvCopychunk:                 {true, writeAccess, (*control).copyChunk},
	wire.FsctlSrvCopychunkWrite:            {true, writeAccess, (*control).copyChunk},
	uint32(fscc.FsctlSetSparse):            {true, writeAccess | dtyp.WriteAttributes, (*control).setSparse},
	uint32(fscc.FsctlSetZeroData):          {true, dtyp.WriteData, (*control).setZeroData},
	uint32(fscc.FsctlQueryAllocatedRanges): {true, dtyp.ReadData, (*control).queryRanges},
	uint32(fscc.FsctlGetCompression):       {true, 0, (*control).getCompression},
	uint32(fscc.FsctlSetCompression):       {true, dtyp.WriteData, (*control).setCompression},
	uint32(fscc.FsctlDuplicateExtents):     {true, dtyp.WriteData, (*control).duplicateExtents},
	uint32(fscc.FsctlDuplicateExtentsEx):   {true, dtyp.WriteData, (*control).duplicateExtents},
	uint32(fscc.FsctlFileLevelTrim):        {true, dtyp.WriteData, (*control).trim},
	uint32(fscc.FsctlCreateOrGetObjectID):  {true, 0, (*control).createOrGetObjectID},
	uint32(fscc.FsctlGetObjectID):          {true, 0, (*control).getObjectID},
	uint32(fscc.FsctlSetObjectID):          {true, dtyp.WriteData | dtyp.WriteAttributes, (*control).setObjectID},
	uint32(fscc.FsctlSetObjectIDExtended):  {true, dtyp.WriteData | dtyp.WriteAttributes, (*control).setObjectIDExtended},
	uint32(fscc.FsctlDeleteObjectID):       {true, dtyp.WriteData | dtyp.WriteAttributes, (*control).deleteObjectID},
	uint32(fscc.FsctlGetReparsePoint):      {true, 0, (*control).getReparsePoint},
	uint32(fscc.FsctlSetReparsePoint):      {true, dtyp.WriteData | dtyp.WriteAttributes, (*control).setReparsePoint},
	uint32(fscc.FsctlDeleteReparsePoint):   {true, dtyp.WriteData | dtyp.WriteAttributes, (*control).deleteReparsePoint},
}

// changes are the rights that a code needs if it changes something.
const changes = writeAccess | dtyp.WriteAttributes

func (r *request) ioctl() (response, error) {
	c := &control{request: r}
	if err := c.req.Decode(r.msg); err != nil {
		return nil, malformed(err)
	}
	in, out := len(c.req.Input)+len(c.req.Output), int(c.req.MaxInputResponse)+int(c.req.MaxOutputResponse)
	if err := r.payload(max(in, out)); err != nil {
		return nil, err
	}
	if c.req.Flags != wire.IoctlIsFsctl {
		return nil, because(nt.NotSupported, "IOCTL flags %#x", c.req.Flags)
	}
	if max(in, out) > int(r.conn.maxIO()) {
		return nil, because(nt.InvalidParameter, "IOCTL of %d bytes in, %d out", in, out)
	}
	row, ok := controls[c.req.CtlCode]
	if ok && !row.open && c.req.FileID != wire.NoFileID {
		return nil, because(nt.InvalidParameter, "control code %#08x of a file", c.req.CtlCode) // [MS-SMB2] 3.3.5.15
	}
	if row.open || !ok {
		o, err := r.find(c.req.FileID)
		if err != nil {
			return nil, err
		}
		c.o = o
		if row.need != 0 {
			if err := o.need(row.need); err != nil {
				return nil, err
			}
		}
		if row.need&changes != 0 {
			if err := o.unchangeable(); err != nil {
				return nil, err
			}
		}
	}
	if !ok {
		return nil, because(nt.NotSupported, "control code %#08x", c.req.CtlCode)
	}
	output, err := row.run(c)
	resp := &wire.IoctlResponse{CtlCode: c.req.CtlCode, FileID: c.req.FileID, Output: output}
	if c.o != nil {
		resp.FileID = c.o.id
	}
	if err != nil && output != nil && statusOf(err).IsError() {
		return errorReply{whole: true, body: resp}, err
	}
	if len(output) > int(c.req.MaxOutputResponse) {
		return nil, because(nt.BufferTooSmall, "answer of %d bytes into %d", len(output), c.req.MaxOutputResponse)
	}
	return resp, err
}

// validateNegotiate lets a client prove that nobody changed its NEGOTIATE on the way, [MS-SMB2] 3.3.5.15.12. In 3.1.1 the
// preauthentication hash has proved that: who asks all the same is cut off.
func (c *control) validateNegotiate() ([]byte, error) {
	var in wire.ValidateNegotiateRequest
	if err := in.Decode(c.req.Input); err != nil {
		c.fatal = errPeer{err}
		return nil, err
	}
	k, dialect := c.conn, uint16(c.conn.dialect.Load())
	best := uint16(0)
	for _, d := range dialects {
		if slices.Contains(in.Dialects, d) {
			best = d
			break
		}
	}
	switch {
	case dialect == wire.Dialect311, in.GUID != k.clientID, in.SecurityMode != k.modeAsked, in.Capabilities != k.capsAsked, best != dialect:
		c.fatal = drop("NEGOTIATE cannot be validated: someone changed it, or the client is confused")
		return nil, c.fatal
	}
	resp := wire.ValidateNegotiateResponse{Capabilities: k.capsGiven, GUID: k.srv.cfg.GUID, SecurityMode: k.securityMode(), Dialect: dialect}
	return resp.Append(nil), nil
}

func (c *control) pipeTransceive() ([]byte, error) {
	return c.transceive(c.o, c.req.Input, int(c.req.MaxOutputResponse))
}

// pipePeek says how much there is to read.
func (c *control) pipePeek() ([]byte, error) {
	if c.o.pipe == nil {
		return nil, because(nt.InvalidDeviceRequest, "not a pipe")
	}
	n := c.o.pipe.Pending()
	return fscc.PipePeek{State: pipeConnected, Available: uint32(n), Messages: uint32(min(n, 1)), MessageLength: uint32(n)}.Append(nil), nil
}

// pipeWait waits for a free instance of a pipe, [MS-SMB2] 3.3.5.15.10: ours always have one.
func (c *control) pipeWait() ([]byte, error) {
	if !c.tree.share.pipes {
		return nil, because(nt.InvalidDeviceRequest, "no pipes here")
	}
	var in fscc.PipeWait
	if err := in.Decode(c.req.Input); err != nil {
		return nil, err
	}
	if p, err := c.conn.namedPipe(c.conn.offered(), in.Name, c.session.identity.Load()); p == nil || err != nil {
		return nil, because(nt.ObjectNameNotFound, "no such pipe")
	}
	return nil, nil
}

func (c *control) allocator() (vfs.Allocator, error) {
	if c.o.isDir {
		return nil, because(nt.InvalidParameter, "a directory has no holes")
	}
	a, ok := c.o.file.(vfs.Allocator)
	if !ok {
		return nil, because(nt.InvalidDeviceRequest, "no holes in this")
	}
	return a, nil
}

func (c *control) setSparse() ([]byte, error) {
	a, err := c.allocator()
	if err != nil {
		return nil, err
	}
	return nil, a.SetSparse(c.ctx, fscc.DecodeSetSparse(c.req.Input))
}

func (c *control) setZeroData() ([]byte, error) {
	a, err := c.allocator()
	if err != nil {
		return nil, err
	}
	var in fscc.ZeroData
	if err := in.Decode(c.req.Input); err != nil {
		return nil, err
	}
	if err := c.o.mayWrite(uint64(in.From), uint64(in.Beyond-in.From)); err != nil {
		return nil, err
	}
	// Zeroes do not make a file longer, [MS-FSA] 2.1.5.10.37.
	attr, err := c.o.file.Attr(c.ctx, vfs.WantSize)
	if err != nil {
		return nil, err
	}
	defer c.o.modified()
	if end := min(in.Beyond, attr.Size); end > in.From {
		return nil, a.Zero(c.ctx, in.From, end-in.From)
	}
	return nil, nil
}

// queryRanges lists where there is data, [MS-FSA] 2.1.5.10.22.
func (c *control) queryRanges() ([]byte, error) {
	a, err := c.allocator()
	if err != nil {
		return nil, err
	}
	var in fscc.Range
	if err := in.Decode(c.req.Input); err != nil {
		return nil, err
	}
	attr, err := c.o.file.Attr(c.ctx, vfs.WantSize|vfs.WantAttributes)
	if err != nil {
		return nil, err
	}
	if attr.Attributes&vfs.AttrSparse == 0 {
		// All of a file that is not sparse counts as data, whatever the filesystem made of it.
		a = solid{a, attr.Size}
	}
	var out []byte
	more := false
	err = a.Ranges(c.ctx, in.Offset, in.Length, func(off, n int64) bool {
		if len(out)+16 > int(c.req.MaxOutputResponse) {
			more = true
			return false
		}
		out = fscc.Range{Offset: off, Length: n}.Append(out)
		return true
	})
	switch {
	case err != nil:
		return nil, err
	case more && len(out) == 0:
		return nil, nt.BufferTooSmall
	case more:
		return out, nt.BufferOverflow
	}
	return out, nil
}

// A solid is a file without holes.
type solid struct {
	vfs.Allocator
	size int64
}

func (s solid) Ranges(_ context.Context, off, n int64, emit func(off, n int64) bool) error {
	if end := min(off+n, s.size); end > off {
		emit(off, end-off)
	}
	return nil
}

// pipeConnected is the one state that our pipes are in, [MS-FSCC] 2.3 FSCTL_PIPE_PEEK.
const pipeConnected = 3
