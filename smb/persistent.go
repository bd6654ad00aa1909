package smb

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/postern-nas/postern/smb/auth"
	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/fsa"
	"github.com/postern-nas/postern/smb/vfs"
	"github.com/postern-nas/postern/smb/wire"
)

// Persistent opens are durable opens of shares that are continuously available: they outlive the server itself, [MS-SMB2]
// 3.3.1.10 Open.IsPersistent. Before a client hears of one it is on disk, and whatever changes of it. When the server
// starts, files are opened as they were before anyone connects, so that nobody gets between a client and its file.

// A HandleStore keeps a record of each persistent open. Ids are random and not 0.
type HandleStore interface {
	// Put adds a record, or replaces it. When it returns nil the record survives a power cut.
	Put(id uint64, record []byte) error
	// Delete removes a record. It may come back after a power cut.
	Delete(id uint64) error
	// Load returns all records. It is called once, before Put and Delete.
	Load() (map[uint64][]byte, error)
}

const (
	// maxPersistent bounds the persistent opens that there are at once, and so what a HandleStore has to keep. Clients
	// that ask for more get durable ones.
	maxPersistent = 4096
	// maxRecord bounds one record, in bytes: a path of 32,767 characters and 1,024 byte ranges.
	maxRecord      = 256 << 10
	maxRecordLocks = 1024
)

// A record is an open as it is stored.
type record struct {
	Volatile        uint64
	Share           string
	Path            []string
	Stream          string `json:",omitempty"`
	Object          uint64 // vfs.ID.Object: the volume's number may be another one after a restart
	Client, Create  []byte // GUIDs
	Owner           string // SID
	Peer            []byte `json:",omitempty"` // SHA-256 of its client's certificate
	User            string
	Access, Maximal uint32
	Options, Mode   uint32
	Action          uint32
	Needs, Shared   uint32 // fsa.Mode
	DeleteOnClose   bool   `json:",omitempty"`
	Doomed          bool   `json:",omitempty"` // it marked the file for deletion
	Wrote           bool   `json:",omitempty"`
	Cache           uint8
	Lease, Parent   []byte     `json:",omitempty"`
	V2              bool       `json:",omitempty"`
	Epoch           uint16     `json:",omitempty"`
	App             []byte     `json:",omitempty"`
	AppHigh, AppLow uint64     `json:",omitempty"`
	AppVersioned    bool       `json:",omitempty"`
	Timeout         uint32     // milliseconds
	Locks           []fsa.Lock `json:",omitempty"`
}

// decodeRecord reads what record.encode wrote. The store is ours, but a disk may be anyone's.
func decodeRecord(b []byte) (*record, error) {
	if len(b) > maxRecord {
		return nil, fmt.Errorf("record of %d bytes", len(b))
	}
	r := new(record)
	if err := json.Unmarshal(b, r); err != nil {
		return nil, err
	}
	if n := len(r.Peer); n != 0 && n != sha256.Size {
		return nil, fmt.Errorf("record with a certificate's hash of %d bytes", n)
	}
	guid := func(b []byte) bool { return len(b) == len(dtyp.GUID{}) }
	maybe := func(b []byte) bool { return len(b) == 0 || guid(b) }
	sid, err := dtyp.ParseSID(r.Owner)
	switch {
	case err != nil:
		return nil, err
	case sid.String() != r.Owner, !guid(r.Client), !guid(r.Create), !maybe(r.Lease), !maybe(r.Parent), !maybe(r.App):
		return nil, errors.New("record with a malformed identifier")
	case r.Volatile == 0, r.Volatile == ^uint64(0), len(r.Locks) > maxRecordLocks, r.Cache > 7, len(r.Path) == 0:
		return nil, errors.New("record out of bounds")
	}
	return r, nil
}

func (r *record) encode() ([]byte, error) {
	b, err := json.Marshal(r)
	if err == nil && (len(b) > maxRecord || len(r.Locks) > maxRecordLocks) {
		err = fmt.Errorf("%d bytes, %d byte ranges", len(b), len(r.Locks))
	}
	return b, err
}

// lasting says whether the CREATE gets a persistent open: [MS-SMB2] 3.3.5.9.10. A directory never does: an open whose
// attributes include FILE_ATTRIBUTE_DIRECTORY skips all that makes one durable or persistent there. Clients open
// directories anew.
func (c *creation) lasting() bool {
	q, srv := c.last.requestV2, c.conn.srv
	return q != nil && q.Flags&wire.DurablePersistent != 0 && c.tree.share.lasting(srv) && !c.o.isDir && len(c.path.Names) > 0 &&
		c.conn.capsGiven&wire.CapPersistentHandles != 0
}

// lasting reports whether persistent opens can be had in the share.
func (sh *share) lasting(srv *Server) bool {
	return sh.ContinuouslyAvailable && srv.cfg.Handles != nil && !sh.pipes
}

// offersLasting reports whether any share has them.
func (s *Server) offersLasting() bool {
	for _, sh := range s.shares.all() {
		if sh.lasting(s) {
			return true
		}
	}
	return false
}

// persist writes a persistent open down as it is now. It waits for the disk.
func (o *open) persist(ctx context.Context) error {
	d := o.durable.Load()
	d.writing.Lock() // the newest state is written last
	defer d.writing.Unlock()
	if d.unwritten {
		return nil
	}
	p, err := o.file.Path(ctx)
	if err != nil {
		return err
	}
	r := &record{
		Volatile: o.id.Volatile, Share: o.tree.share.Name, Path: p.Names, Stream: p.Stream, Object: o.object.id.Object,
		Client: d.client[:], Create: d.guid[:], Owner: d.owner.SID.String(), User: d.owner.User,
		Access: uint32(o.access), Maximal: uint32(o.made.maximal), Options: o.options, Action: o.made.action,
		Timeout: uint32(d.timeout.Milliseconds()),
	}
	if peer := o.session().peer; peer != [sha256.Size]byte{} {
		r.Peer = peer[:]
	}
	if o.lease.Leased {
		r.Lease = o.lease.Lease[:]
	}
	if o.parent != nil {
		r.Parent = o.parent[:]
	}
	if a := o.app; a != nil {
		r.App, r.AppVersioned, r.AppHigh, r.AppLow = a.id[:], a.versioned, a.version.High, a.version.Low
	}
	o.mu.Lock()
	r.Mode, r.Wrote = o.mode, o.wrote
	o.mu.Unlock()
	o.object.mu.Lock()
	mode, held := o.object.fsa.ModeOf(o), o.object.fsa.Held(o)
	r.Needs, r.Shared, r.DeleteOnClose = mode.Access, mode.Share, mode.DeleteOnClose
	r.Cache, r.V2, r.Epoch = uint8(held.Cache), held.V2, held.Epoch
	r.Locks, r.Doomed = o.object.fsa.LocksOf(o), o.object.doomed == o
	o.object.mu.Unlock()
	b, err := r.encode()
	if err != nil {
		return err
	}
	return o.srv.cfg.Handles.Put(o.id.Persistent, b)
}

// changed writes down what has changed of the object's persistent opens: its name, or a deletion that is pending, or o's
// locks. What cannot be written is lost only if the server fails, too.
func (o *open) changed(ctx context.Context, all bool) {
	d := o.durable.Load()
	if o.object == nil || o.srv.cfg.Handles == nil || !all && (d == nil || !d.persistent) {
		return
	}
	var list []*open
	o.object.mu.Lock()
	for other := range o.object.fsa.All() {
		if d := other.durable.Load(); d != nil && d.persistent && (all || other == o) && other.acquire() {
			list = append(list, other)
		}
	}
	o.object.mu.Unlock()
	for _, other := range list {
		if err := other.persist(ctx); err != nil {
			o.srv.log.Error("a persistent open is not written down as it is now", "why", err)
		}
		other.release()
	}
}

// unpersist removes the record of an open that ends.
func (o *open) unpersist(d *durable) {
	d.writing.Lock()
	defer d.writing.Unlock()
	if d.unwritten {
		return
	}
	d.unwritten = true
	o.srv.durables.lasting.Add(-1)
	if err := o.srv.cfg.Handles.Delete(o.id.Persistent); err != nil {
		o.srv.log.Error("a persistent open is still written down", "why", err)
	}
}

// abandon leaves a persistent open that was taken out of the table to the next start of the server: its record stays,
// and the file, whatever was to become of it.
func (o *open) abandon() {
	d := o.durable.Load()
	d.writing.Lock()
	d.unwritten = true
	d.writing.Unlock()
	ob := o.object
	ob.mu.Lock()
	ob.fsa.SetDeleteOnClose(o, false)
	by := ob.doomed
	if by == o {
		ob.doomed = nil
		ob.fsa.SetDelete(false)
	}
	ob.mu.Unlock()
	if by == o {
		o.release()
	}
	o.endParked()
}

// restore opens what was open when the server ended. An open whose file is not what it was is given up.
func (s *Server) restore() error {
	if s.cfg.Handles == nil {
		return nil
	}
	records, err := s.cfg.Handles.Load()
	if err != nil {
		return err
	}
	type restored struct {
		o *open
		r *record
	}
	var list []restored
	for id, b := range records {
		r, err := decodeRecord(b)
		var o *open
		if err == nil && len(list) < maxPersistent {
			o, err = s.reopen(id, r)
		}
		if o == nil {
			s.log.Warn("a persistent open is given up", "why", err)
			if err := s.cfg.Handles.Delete(id); err != nil {
				return err
			}
			continue
		}
		list = append(list, restored{o, r})
	}
	// All are there before any caches: nobody is broken for what stood side by side.
	for _, x := range list {
		x.o.recall(x.r)
	}
	if len(list) > 0 {
		s.log.Info("persistent opens are kept for their clients", "opens", len(list))
	}
	return nil
}

// reopen opens a record's file and takes its place beside others.
func (s *Server) reopen(id uint64, r *record) (*open, error) {
	sh := s.shares.find(r.Share)
	if sh == nil || !sh.lasting(s) {
		return nil, fmt.Errorf("share %q is not continuously available any more", r.Share)
	}
	before := &session{srv: s, ended: true}
	copy(before.peer[:], r.Peer)
	if before.barred() {
		return nil, errors.New("its client is barred")
	}
	ctx := context.Background()
	access := dtyp.Access(r.Access)
	file, _, err := sh.Volume.Open(ctx, vfs.Path{Names: r.Path, Stream: r.Stream}, vfs.How{
		Access: access, NonDirectory: true, Reparse: r.Options&wire.FileOpenReparsePoint != 0,
		WriteThrough: r.Options&wire.FileWriteThrough != 0,
	})
	if err != nil {
		return nil, err
	}
	if file.ID().Object != r.Object {
		return nil, errors.Join(errors.New("another file has its name"), file.Close())
	}
	o := &open{
		id: wire.FileID{Persistent: id, Volatile: r.Volatile}, srv: s, tree: &tree{share: sh, rights: access}, file: file,
		object: s.files.get(file.ID()), access: access, options: r.Options, mode: r.Mode, wrote: r.Wrote, listed: true,
		made: made{action: r.Action, maximal: dtyp.Access(r.Maximal)},
	}
	sh.uses.Add(1)
	o.key = resumeKey(o.id)
	o.at.Store(&place{session: before, tree: o.tree, told: make(chan struct{})})
	o.refs.Store(1)
	d := &durable{
		granted: true, v2: true, persistent: true, guid: dtyp.GUID(r.Create), client: dtyp.GUID(r.Client),
		owner: auth.Identity{SID: dtyp.SID(""), User: r.User}, timeout: min(time.Duration(r.Timeout)*time.Millisecond, durableMost),
	}
	d.owner.SID, _ = dtyp.ParseSID(r.Owner)
	o.durable.Store(d)
	if len(r.Parent) > 0 {
		o.parent = (*[16]byte)(r.Parent)
	}
	if len(r.App) > 0 {
		o.app = &appInstance{dtyp.GUID(r.App), r.AppVersioned, wire.AppInstanceVersion{High: r.AppHigh, Low: r.AppLow}}
	}
	key := fsa.Key{}
	if len(r.Lease) > 0 {
		key = fsa.Key{Leased: true, Client: d.client, Lease: [16]byte(r.Lease)}
		if err := s.leases.claim(key, o.object, false); err != nil {
			o.release()
			return nil, err
		}
		o.lease = key
	}
	mode := fsa.Mode{Access: r.Needs, Share: r.Shared, DeleteOnClose: r.DeleteOnClose, Key: key}
	o.object.mu.Lock()
	_, err = o.object.fsa.Open(o, mode)
	o.object.mu.Unlock()
	if err != nil {
		if key.Leased {
			s.leases.release(key)
		}
		o.release()
		return nil, err
	}
	s.stats.opens.Add(1)
	s.durables.lasting.Add(1)
	return o, nil
}

// recall gives a restored open what it cached, its locks, and its time to be taken up.
func (o *open) recall(r *record) {
	ctx := context.Background()
	a, err := o.file.Attr(ctx, vfs.WantSize|vfs.WantAttributes)
	if err == nil {
		o.archive.Store(a.Attributes&vfs.AttrArchive != 0)
	}
	ob, d, t := o.object, o.durable.Load(), &o.srv.durables
	epoch := r.Epoch
	if r.Cache != 0 {
		epoch-- // to be granted counts it up
	}
	ob.mu.Lock()
	ob.fsa.Grant(o, fsa.Want{Cache: fsa.Cache(r.Cache), V2: r.V2, Epoch: epoch, Size: a.Size})
	if len(r.Locks) > 0 {
		err = ob.fsa.Lock(o, r.Locks...)
	}
	locks := int64(ob.fsa.Locks(o))
	ob.mu.Unlock()
	if err != nil {
		o.srv.log.Warn("a persistent open has lost its locks", "why", err)
	}
	o.session().locks.Add(locks) // until add
	if r.Doomed {
		ob.doom(o, true)
	}
	t.mu.Lock()
	if t.asked == nil {
		t.asked = make(map[createKey]*open)
	}
	t.asked[createKey{d.client, d.guid}] = o
	t.mu.Unlock()
	if !t.add(o, d, locks) {
		o.srv.log.Warn("a persistent open is given up", "why", "too many wait for their clients")
		o.end()
	}
}
