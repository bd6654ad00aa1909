package smb

import (
	"context"

	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/vfs"
	"github.com/postern-nas/postern/smb/wire"
)

// Quotas are the storage's: it counts, and refuses what is too much. An administrator sees and sets those of all owners, and
// everyone else sees his own. Where the storage does not count they are off, as on a Windows volume where nobody has
// turned them on: clients may ask, and learn that no one has a limit.

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
	may := dtyp.FileRead | dtyp.Synchronize
	if _, _, ok := c.quotaStore(); ok && isAdmin(c.session.identity.Load()) {
		may |= dtyp.FileWrite & c.tree.rights
	}
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

// quotaStore is what counts for the share's volume, if anything does.
func (r *request) quotaStore() (vfs.Quotas, vfs.QuotaPolicy, bool) {
	k, ok := r.tree.share.Volume.(vfs.Quotas)
	if !ok {
		return nil, vfs.QuotaPolicy{}, false
	}
	p, err := k.QuotaPolicy(r.ctx)
	return k, p, err == nil
}

// quotaPolicy is FileFsControlInformation, [MS-FSA] 2.1.5.13.5.
func (r *request) quotaPolicy() fscc.FSControlInfo {
	_, p, ok := r.quotaStore()
	if !ok {
		return noQuotas
	}
	out := fscc.FSControlInfo{DefaultThreshold: p.Threshold, DefaultLimit: p.Limit}
	if p.Track {
		out.Flags |= fscc.QuotaTrack
	}
	if p.Enforce {
		out.Flags |= fscc.QuotaEnforce
	}
	return out
}

// A quotaReply is a list of quotas that fills a client's buffer.
type quotaReply struct {
	limit, size int // bytes
	list        []fscc.QuotaInfo
}

// add reports whether there was room.
func (w *quotaReply) add(has vfs.Quota) bool {
	q := fscc.QuotaInfo{Used: has.Used, Threshold: has.Threshold, Limit: has.Limit, Owner: has.Owner}
	size := q.Size(w.size)
	if size > w.limit {
		return false
	}
	w.size, w.list = size, append(w.list, q)
	return true
}

// quotas answers who has which, [MS-SMB2] 3.3.5.20.4.
func (q *query) quotas() (response, error) {
	if _, ok := q.o.file.(quotaFile); !ok {
		return nil, because(nt.NotSupported, "quotas of a file")
	}
	if err := q.o.need(dtyp.ReadData); err != nil {
		return nil, err
	}
	var req wire.QueryQuota
	if len(q.input) > 0 {
		if err := req.Decode(q.input); err != nil {
			return nil, malformed(err)
		}
	}
	k, _, ok := q.quotaStore()
	if !ok {
		return nil, because(nt.NoMoreEntries, "nobody has a limit")
	}
	w := &quotaReply{limit: q.size}
	var err error
	if len(req.Owners) > 0 {
		err = q.quotasOf(k, req.Owners, w)
	} else {
		err = q.allQuotas(k, &req, w)
	}
	if err != nil {
		return nil, err
	}
	b, _ := fscc.AppendQuotas(nil, q.size, w.list)
	return &wire.QueryInfoResponse{Buffer: b}, nil
}

// quotasOf answers for those that the client names: all of them, or none.
func (q *query) quotasOf(k vfs.Quotas, owners []byte, w *quotaReply) error {
	list, err := fscc.DecodeQuotaOwners(owners)
	if err != nil {
		return err
	}
	id := q.session.identity.Load()
	for _, owner := range list {
		if owner != id.SID && !isAdmin(id) {
			return because(nt.AccessDenied, "the quota of somebody else")
		}
		has, err := k.Quota(q.ctx, owner)
		if err != nil {
			return err
		}
		if !w.add(has) {
			return because(nt.BufferTooSmall, "quotas of %d owners into %d bytes", len(list), q.size)
		}
	}
	return nil
}

// allQuotas goes on where the handle's last query ended.
func (q *query) allQuotas(k vfs.Quotas, req *wire.QueryQuota, w *quotaReply) error {
	q.o.mu.Lock()
	defer q.o.mu.Unlock()
	after := q.o.quotaAt
	if req.Restart {
		after = ""
	}
	id, full := q.session.identity.Load(), false
	emit := func(has vfs.Quota) bool {
		full = !w.add(has)
		return !full && !req.Single
	}
	if !isAdmin(id) {
		if after == id.SID {
			return q.quotasSaid(w, false)
		}
		has, err := k.Quota(q.ctx, id.SID)
		if err != nil {
			return err
		}
		emit(has)
		return q.quotasSaid(w, full)
	}
	if len(req.Start) > 0 {
		start, n, err := dtyp.DecodeSID(req.Start)
		if err != nil || n != len(req.Start) {
			return because(nt.InvalidSID, "the SID to start at")
		}
		has, err := k.Quota(q.ctx, start)
		if err != nil {
			return err
		}
		if after = start; !emit(has) {
			return q.quotasSaid(w, full)
		}
	}
	if err := k.EachQuota(q.ctx, after, emit); err != nil {
		return err
	}
	return q.quotasSaid(w, full)
}

// quotasSaid notes where the next query goes on. o.mu is held.
func (q *query) quotasSaid(w *quotaReply, full bool) error {
	switch {
	case len(w.list) > 0:
		q.o.quotaAt = w.list[len(w.list)-1].Owner
		return nil
	case full:
		return because(nt.BufferTooSmall, "no quota fits into %d bytes", q.size)
	}
	return because(nt.NoMoreEntries, "these are all")
}

// quotaChange is the store, for who may change it: an administrator, by the file of quotas that was opened for writing.
func (r *request) quotaChange(o *open) (vfs.Quotas, error) {
	if _, ok := o.file.(quotaFile); !ok {
		return nil, because(nt.NotSupported, "quotas of a file")
	}
	if err := o.need(dtyp.WriteData); err != nil {
		return nil, err
	}
	k, _, ok := r.quotaStore()
	switch {
	case !ok:
		return nil, because(nt.NotSupported, "the volume does not count")
	case !isAdmin(r.session.identity.Load()):
		return nil, because(nt.AccessDenied, "quotas are for administrators")
	}
	return k, nil
}

// setQuotas sets limits, [MS-SMB2] 3.3.5.21.4. One that cannot be set ends it; those before it are.
func (r *request) setQuotas(o *open, b []byte) error {
	k, err := r.quotaChange(o)
	if err != nil {
		return err
	}
	list, err := fscc.DecodeQuotas(b)
	if err != nil {
		return err
	}
	for _, q := range list {
		if q.Limit < fscc.ForgetQuota || q.Threshold < fscc.ForgetQuota {
			return because(nt.InvalidParameter, "limit %d, threshold %d", q.Limit, q.Threshold)
		}
		if err := k.SetQuota(r.ctx, vfs.Quota{Owner: q.Owner, Threshold: q.Threshold, Limit: q.Limit}); err != nil {
			return err
		}
	}
	return nil
}

// setFilesystem sets what is settable of one, [MS-SMB2] 3.3.5.21.2: the policy of quotas.
func (r *request) setFilesystem(o *open, class fscc.FSClass, b []byte) error {
	if class != fscc.FileFsControlInformation {
		return because(nt.NotSupported, "setting %v", class)
	}
	k, err := r.quotaChange(o)
	if err != nil {
		return err
	}
	var in fscc.FSControlInfo
	if err := in.Decode(b); err != nil {
		return err
	}
	if in.DefaultLimit < fscc.NoQuota || in.DefaultThreshold < fscc.NoQuota {
		return because(nt.InvalidParameter, "default limit %d, threshold %d", in.DefaultLimit, in.DefaultThreshold)
	}
	return k.SetQuotaPolicy(r.ctx, vfs.QuotaPolicy{
		Track: in.Flags&(fscc.QuotaTrack|fscc.QuotaEnforce) != 0, Enforce: in.Flags&fscc.QuotaEnforce != 0,
		Threshold: in.DefaultThreshold, Limit: in.DefaultLimit,
	})
}
