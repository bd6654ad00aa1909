package smb

import (
	"context"

	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/vfs"
	"github.com/postern-nas/postern/smb/wire"
)

// Quotas are off, as they are on a Windows volume where nobody has turned them on: what is on the disk belongs to the
// user that the server runs as, and so the filesystem could not count for those who connect. Clients may ask, and learn
// that no one has a limit.

// quotaName is the file that quotas are asked of, [MS-FSCC] 2.4 FileQuotaInformation. It lies on no disk.
const quotaName = `$Extend\$Quota:$Q:$INDEX_ALLOCATION`

// noQuotas is FileFsControlInformation of a volume without: no control flag is set, and no default limits anyone.
var noQuotas = fscc.FSControlInfo{DefaultThreshold: fscc.NoQuota, DefaultLimit: fscc.NoQuota}

// A quotaFile stands for the file of quotas.
type quotaFile struct{}

func (quotaFile) ID() vfs.ID { return vfs.ID{Volume: ^uint64(0), Object: ^uint64(0)} }

func (quotaFile) ReadAt([]byte, int64) (int, error)  { return 0, nt.InvalidDeviceRequest }
func (quotaFile) WriteAt([]byte, int64) (int, error) { return 0, nt.AccessDenied }

func (f quotaFile) Attr(context.Context, vfs.Mask) (vfs.Attr, error) {
	const attributes = vfs.AttrHidden | vfs.AttrSystem | vfs.AttrDirectory | vfs.AttrArchive
	return vfs.Attr{ID: f.ID(), Attributes: attributes, Links: 1}, nil
}

func (quotaFile) SetAttr(context.Context, vfs.Attr, vfs.Mask) error { return nt.AccessDenied }
func (quotaFile) Overwrite(context.Context, uint32) error           { return nt.AccessDenied }

func (quotaFile) ReadDir(context.Context, uint64, func(string) bool, vfs.Mask, func(uint64, vfs.Entry) bool) error {
	return nt.InvalidParameter
}

func (quotaFile) Path(context.Context) (vfs.Path, error) {
	return vfs.Path{Names: []string{"$Extend", "$Quota"}}, nil
}

func (quotaFile) Rename(context.Context, vfs.Path, bool) error { return nt.AccessDenied }
func (quotaFile) Unlink(context.Context) error                 { return nt.AccessDenied }
func (quotaFile) Sync(context.Context) error                   { return nil }
func (quotaFile) Close() error                                 { return nil }

// openQuota opens it, for reading.
func (c *creation) openQuota() (response, error) {
	if err := c.checkAccess(); err != nil {
		return nil, err
	}
	const may = dtyp.FileRead | dtyp.Synchronize
	q := &c.req
	switch {
	case q.DesiredAccess.Expand()&^(may|dtyp.MaximumAllowed) != 0, q.Options&wire.FileDeleteOnClose != 0:
		return nil, because(nt.AccessDenied, "quotas cannot be changed")
	case q.Disposition != wire.FileOpen && q.Disposition != wire.FileOpenIf:
		return nil, because(nt.AccessDenied, "quotas cannot be made")
	}
	c.granted &= may
	c.maximal &= may
	c.o = newOpen(c.session, c.tree)
	c.o.file, c.o.options = quotaFile{}, q.Options
	c.o.at.Load().sealed = c.frame.sealed != nil
	c.o.object = c.conn.srv.files.get(quotaFile{}.ID())
	c.attr, _ = quotaFile{}.Attr(c.request.ctx, vfs.WantAll)
	q.ShareAccess = wire.ShareRead | wire.ShareWrite | wire.ShareDelete // it keeps nobody out
	if err := c.takePlace(); err != nil {
		return nil, err
	}
	if err := c.register(); err != nil {
		return nil, err
	}
	return c.answer()
}

// quotas answers who has a limit, [MS-SMB2] 3.3.5.20.4.
func (q *query) quotas() (response, error) {
	if _, ok := q.o.file.(quotaFile); !ok {
		return nil, because(nt.NotSupported, "quotas of a file")
	}
	return nil, because(nt.NoMoreEntries, "nobody has a limit")
}
