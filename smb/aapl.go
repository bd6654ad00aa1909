package smb

import (
	"bytes"
	"encoding/binary"

	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/vfs"
	"github.com/postern-nas/postern/smb/wire"
)

// What macOS asks for with its AAPL create context. From then on the connection is that of a Mac: Finder's data of a file
// is the stream AFP_AfpInfo, its resource fork the stream AFP_Resource, and both are kept as any other stream.

// aaplModel is what Finder chooses a picture by: one of a server.
const aaplModel = "RackMac"

// parseAAPL reads a server query. Other commands are for others to know, and passed over.
func (c *creation) parseAAPL(b []byte) error {
	var q wire.AAPLRequest
	if err := q.Decode(b); err != nil {
		return err
	}
	if q.Command == wire.AAPLServerQuery {
		c.ctx.aapl = &q
	}
	return nil
}

// answerAAPL says what the server and the volume can do. FULL_SYNC is what Time Machine asks for: a FLUSH returns when
// all is on disk, which it does here for everybody.
func (c *creation) answerAAPL() *wire.AAPLResponse {
	c.conn.mac.Store(true)
	a := &wire.AAPLResponse{
		Have:       c.ctx.aapl.Want & (wire.AAPLServerCaps | wire.AAPLVolumeCaps | wire.AAPLModelInfo),
		ServerCaps: wire.AAPLUnixBased, Model: aaplModel,
	}
	if a.Have&wire.AAPLServerCaps != 0 && c.ctx.aapl.ClientCaps&wire.AAPLReadDirAttr != 0 {
		a.ServerCaps |= wire.AAPLReadDirAttr
		c.conn.macDirs.Store(true)
	}
	if c.tree.share.TimeMachine {
		a.VolumeCaps |= wire.AAPLFullSync
	}
	return a
}

// afpInfo is the stream with Finder's data: afpInfoSize bytes, always as a whole, as Samba's vfs_fruit documents it.
//
//	0   uint32  afpMagic, big-endian as all of it
//	4   uint32  afpVersion: the bytes 00 00 01 00
//	8   uint32  a file ID, unused
//	12  uint32  time of backup
//	16  [32]    FinderInfo
//	48  ...     ProDOS information, unused
const (
	afpInfo     = vfs.FinderStream
	afpInfoSize = vfs.FinderMax
	afpMagic    = 0x41465000 // "AFP" and 0
	afpVersion  = 0x00000100
	finderInfo  = 16
	finderSize  = 32
)

// writeAFPInfo judges what a Mac writes to the stream of Finder's data. Without any FinderInfo the stream goes when it
// is closed: there is nothing to be kept.
func (r *request) writeAFPInfo(o *open, off uint64, b []byte) error {
	if !o.afp || !r.conn.mac.Load() {
		return nil
	}
	if off != 0 || len(b) != afpInfoSize || binary.BigEndian.Uint32(b) != afpMagic || binary.BigEndian.Uint32(b[4:]) != afpVersion {
		return because(nt.InvalidParameter, "%d bytes at %d are no %s", len(b), off, afpInfo)
	}
	empty := bytes.Equal(b[finderInfo:finderInfo+finderSize], make([]byte, finderSize))
	o.object.mu.Lock()
	defer o.object.mu.Unlock()
	o.object.fsa.SetDeleteOnClose(o, empty)
	return nil
}

// isAFPInfo reports whether a stream is that of Finder's data.
func isAFPInfo(stream string) bool { return fscc.EqualFold(stream, afpInfo) }

// macInfo is what a Mac is told of an entry with its listing, and need not ask for one by one.
func (v *visibility) macInfo(e *vfs.Entry) *fscc.MacInfo {
	m := &fscc.MacInfo{Access: v.rights(e) & v.r.tree.rights, Fork: e.Fork, Mode: uint16(e.Attr.Mode)}
	if b := e.FinderInfo; len(b) == afpInfoSize && binary.BigEndian.Uint32(b) == afpMagic {
		m.Finder = fscc.CompressFinderInfo((*[finderSize]byte)(b[finderInfo:finderInfo+finderSize]), e.Attr.Dir())
	}
	return m
}

// listedID is the file ID that a listing tells. Inode numbers are used again when a file is gone, and a Mac takes the
// same ID for the same file: it gets none and makes its own.
func (c *conn) listedID(id uint64) uint64 {
	if c.mac.Load() {
		return 0
	}
	return id
}
