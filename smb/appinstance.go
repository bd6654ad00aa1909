package smb

import (
	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/wire"
)

// An appInstance is the program that an open belongs to, wherever it runs: a virtual machine that was moved, say.
// [MS-SMB2] 3.3.1.10 Open.AppInstanceId and Open.ApplicationInstanceVersion.
type appInstance struct {
	id        dtyp.GUID
	versioned bool
	version   wire.AppInstanceVersion
}

// displace closes what the same program has open of this file through another client, [MS-SMB2] 3.3.5.9.13: it moved,
// and who it was cannot close it. An older version of the program cannot take the file from a newer one. Nothing in the
// specification keeps one user's program from naming another's; here only its own user's opens give way.
func (c *creation) displace() error {
	q, o := &c.last, c.o
	if q.app == nil || q.requestV2 == nil || o.isDir {
		return nil
	}
	o.app = &appInstance{id: q.app.ID}
	if q.version != nil && uint16(c.conn.dialect.Load()) >= wire.Dialect311 {
		o.app.versioned, o.app.version = true, *q.version
	}
	user := c.session.identity.Load().SID
	var others []*open
	o.object.mu.Lock()
	for other := range o.object.fsa.All() {
		if d := other.durable.Load(); d != nil && other.app != nil && other.app.id == o.app.id && d.owner.SID == user &&
			d.client != c.conn.clientID && other.tree.share == c.tree.share && other.acquire() {
			others = append(others, other)
		}
	}
	o.object.mu.Unlock()
	newer := false
	for _, other := range others {
		newer = newer || o.app.olderThan(other.app)
	}
	for _, other := range others {
		switch {
		case newer:
		case c.conn.srv.durables.take(other, nil):
			other.endParked()
		case other.remove():
			other.end()
		}
		other.release()
	}
	if newer {
		return because(nt.FileForcedClosed, "a newer version of the program has the file")
	}
	return nil
}

// olderThan compares versions. Without one on either side the newcomer wins.
func (a *appInstance) olderThan(b *appInstance) bool {
	if !a.versioned || !b.versioned {
		return false
	}
	return a.version.High < b.version.High || a.version.High == b.version.High && a.version.Low <= b.version.Low
}
