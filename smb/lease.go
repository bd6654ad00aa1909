package smb

import (
	"errors"
	"sync"
	"sync/atomic"

	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/fsa"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/vfs"
	"github.com/postern-nas/postern/smb/wire"
)

// A leaseTable knows which file each lease is of: a client uses a key for one file at a time, [MS-SMB2] 3.3.1.11. What
// the lease allows is in that file's engine.
type leaseTable struct {
	dirs   atomic.Int64 // how many are of directories: without any, changes in them need not be followed
	mu     sync.Mutex
	leases map[fsa.Key]*lease
}

// A lease is in the table as long as an open holds it, [MS-SMB2] 3.3.1.12.
type lease struct {
	object *object
	opens  int
	dir    bool
}

// claim enters an open of ob under key, unless the key is another file's.
func (t *leaseTable) claim(key fsa.Key, ob *object, dir bool) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.leases[key]
	switch {
	case l == nil:
		if t.leases == nil {
			t.leases = make(map[fsa.Key]*lease)
		}
		l = &lease{object: ob, dir: dir}
		t.leases[key] = l
		if dir {
			t.dirs.Add(1)
		}
	case l.object != ob:
		return because(nt.InvalidParameter, "the lease key is in use for another file")
	}
	l.opens++
	return nil
}

// release takes an open out again.
func (t *leaseTable) release(key fsa.Key) {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.leases[key]
	if l.opens--; l.opens == 0 {
		delete(t.leases, key)
		if l.dir {
			t.dirs.Add(-1)
		}
	}
}

// find returns the file that the key is used for, or nil.
func (t *leaseTable) find(key fsa.Key) *object {
	t.mu.Lock()
	defer t.mu.Unlock()
	if l := t.leases[key]; l != nil {
		return l.object
	}
	return nil
}

// leaseKey is a client's key.
func (c *conn) leaseKey(key [16]byte) fsa.Key {
	return fsa.Key{Leased: true, Client: c.clientID, Lease: key}
}

// parseLease reads a lease request that the dialect knows and that is meant, [MS-SMB2] 3.3.5.9.8 and 3.3.5.9.11.
func (c *creation) parseLease(data []byte) error {
	var l wire.Lease
	if err := l.Decode(data); err != nil {
		return err
	}
	dialect := uint16(c.conn.dialect.Load())
	known := dialect >= wire.Dialect300 || dialect >= wire.Dialect210 && !l.V2
	if !known || c.req.OplockLevel != wire.OplockLease {
		return nil
	}
	c.ctx.lease = &l
	return nil
}

// checkLease refuses a lease key that is used for another file, before a file is made for it.
func (c *creation) checkLease() error {
	if c.ctx.lease == nil {
		return nil
	}
	ob := c.conn.srv.leases.find(c.conn.leaseKey(c.ctx.lease.Key))
	if ob == nil {
		return nil
	}
	there, _, err := c.volume().Open(c.request.ctx, c.path, vfs.How{
		Access: dtyp.ReadAttributes, Reparse: c.req.Options&wire.FileOpenReparsePoint != 0,
	})
	if errors.Is(err, nt.ObjectNameNotFound) {
		return because(nt.InvalidParameter, "the lease key is in use for another file")
	}
	if err != nil {
		return err
	}
	defer there.Close()
	if there.ID() != ob.id {
		return because(nt.InvalidParameter, "the lease key is in use for another file")
	}
	return nil
}

// leased joins the lease that the client names.
func (c *creation) leased() error {
	l := c.ctx.lease
	if l == nil {
		return nil
	}
	if l.V2 && l.Flags&wire.LeaseParentKeySet != 0 {
		c.o.parent = &l.ParentKey
	}
	if c.o.isDir && !l.V2 {
		c.ctx.lease = nil
		return nil
	}
	key := c.conn.leaseKey(l.Key)
	if err := c.conn.srv.leases.claim(key, c.o.object, c.o.isDir); err != nil {
		return err
	}
	c.o.lease = key
	return nil
}

// answerLease is the context that tells what was granted. Its version is the lease's, whichever the request's was.
func (c *creation) answerLease() *wire.Lease {
	l := c.ctx.lease
	a := &wire.Lease{V2: c.grant.V2, Key: l.Key, State: uint32(c.grant.Cache)}
	if c.grant.Breaking {
		a.Flags |= wire.LeaseBreakInProgress
	}
	if a.V2 {
		a.Epoch = c.grant.Epoch
		if l.V2 && l.Flags&wire.LeaseParentKeySet != 0 {
			a.Flags |= wire.LeaseParentKeySet
			a.ParentKey = l.ParentKey
		}
	}
	return a
}

// leaseBreak takes an acknowledgment, [MS-SMB2] 3.3.5.22.2. Any connection of the client may bring it.
func (r *request) leaseBreak() (response, error) {
	var ack wire.LeaseBreakAck
	if err := ack.Decode(r.msg); err != nil {
		return nil, malformed(err)
	}
	key := r.conn.leaseKey(ack.Key)
	ob := r.conn.srv.leases.find(key)
	if ob == nil {
		return nil, because(nt.ObjectNameNotFound, "no lease of that key")
	}
	if ack.State&^uint32(fsa.Read|fsa.Handle|fsa.Write) != 0 {
		return nil, because(nt.RequestNotAccepted, "lease state %#x", ack.State)
	}
	err := r.acknowledge(ob, func(f *fsa.File[*open]) ([]fsa.Break[*open], error) { return f.AckLease(key, fsa.Cache(ack.State)) })
	if err != nil {
		return nil, err
	}
	ack.Flags = 0
	return &ack, nil
}
