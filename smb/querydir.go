package smb

import (
	"sync"

	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/vfs"
	"github.com/postern-nas/postern/smb/wire"
)

// A scan is how far an open has listed its directory: Open.EnumerationLocation and EnumerationSearchPattern,
// [MS-SMB2] 3.3.1.10. Requests of one open take turns.
type scan struct {
	mu      sync.Mutex
	started bool
	found   bool // something matched since the start
	cookie  uint64
	pattern fscc.Pattern
}

// queryDirectory is [MS-SMB2] 3.3.5.18 with [MS-FSA] 2.1.5.6.3.
func (r *request) queryDirectory() (response, error) {
	var req wire.QueryDirectoryRequest
	if err := req.Decode(r.msg); err != nil {
		return nil, malformed(err)
	}
	o, err := r.findFile(req.FileID)
	if err != nil {
		return nil, err
	}
	size := int(req.OutputBufferLength)
	if err := r.payload(size); err != nil {
		return nil, err
	}
	class := fscc.FileClass(req.InfoClass)
	least, ok := class.DirMin()
	switch {
	case req.OutputBufferLength > r.conn.maxIO():
		return nil, because(nt.InvalidParameter, "buffer of %d bytes", req.OutputBufferLength)
	case !o.isDir:
		return nil, because(nt.InvalidParameter, "listing what is no directory")
	case !ok:
		return nil, because(nt.InvalidInfoClass, "directory class %#x", req.InfoClass)
	case class == fscc.FilePosixInformation && !o.posix:
		return nil, because(nt.InvalidInfoClass, "%v of an open that is not of the POSIX way", class)
	case size < least:
		return nil, because(nt.InfoLengthMismatch, "buffer of %d bytes", size)
	}
	if err := o.need(dtyp.ReadData); err != nil {
		return nil, err
	}
	if err := fscc.CheckPattern(req.Pattern); req.Pattern != "" && err != nil {
		return nil, err
	}
	s := &o.scan
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begin(&req)
	return r.list(o, class, size, req.Flags&wire.QueryReturnSingleEntry != 0)
}

// begin starts the scan, again if asked to. A pattern is taken at the start and then stays.
func (s *scan) begin(req *wire.QueryDirectoryRequest) {
	again := req.Flags&(wire.QueryRestartScans|wire.QueryReopen) != 0
	if !s.started || again && (req.Pattern != "" || req.Flags&wire.QueryReopen != 0) {
		pattern := req.Pattern
		if pattern == "" {
			pattern = "*"
		}
		s.pattern = fscc.NewPattern(pattern)
	}
	if !s.started || again {
		s.started, s.found, s.cookie = true, false, 0
	}
}

// list fills the reply in place with entries from where the scan stands.
func (r *request) list(o *open, class fscc.FileClass, size int, single bool) (response, error) {
	s := &o.scan
	w, err := fscc.NewDirWriter(r.room(wire.OutputHead, size)[:0], class, size)
	if err != nil {
		return nil, err
	}
	want := vfs.WantAll &^ vfs.WantLinks
	if class.HasEASize() {
		want |= vfs.WantEA
	}
	if class == fscc.FileNamesInformation {
		want = 0
	}
	sh := r.tree.share
	match := func(name string) bool { return sh.matches(s.pattern, name) }
	if s.pattern.All() {
		match = nil
	}
	seen := &visibility{r: r, o: o, id: r.session.identity.Load()}
	byAccess := r.tree.share.AccessBasedEnumeration
	if byAccess {
		want |= vfs.WantSecurity
	}
	posix := class == fscc.FilePosixInformation
	if posix {
		want |= vfs.WantLinks | vfs.WantSecurity
	}
	mac := class == fscc.FileIdBothDirectoryInformation && r.conn.macDirs.Load()
	if mac {
		want = want&^vfs.WantEA | vfs.WantSecurity
		if !sh.NoStreams {
			want |= vfs.WantMac
		}
	}
	full := false
	err = o.file.ReadDir(r.ctx, s.cookie, match, want, func(next uint64, e vfs.Entry) bool {
		if full || single && w.Count() == 1 {
			return false
		}
		if byAccess && !seen.shows(&e) {
			s.cookie = next
			return true
		}
		if posix {
			entry := r.posixEntry(o, &e)
			if full = !w.AddPOSIX(&entry); !full {
				s.cookie = next
			}
			return !full
		}
		a := &e.Attr
		if sh.hides(e.Name) {
			a.Attributes |= vfs.AttrHidden
		}
		entry := fscc.DirEntry{
			Name: e.Name, Creation: a.Birth, LastAccess: a.Access, LastWrite: a.Write, Change: a.Change,
			EndOfFile: a.Size, AllocationSize: a.Alloc, Attributes: wireAttributes(a.Attributes), ReparseTag: a.ReparseTag,
			FileID: r.conn.listedID(a.ID.Object), EASize: a.EASize, ShortName: sh.shortOf(e.Name),
		}
		if mac {
			entry.Mac = seen.macInfo(&e)
		}
		if !w.Add(&entry) {
			full = true
			return false
		}
		s.cookie = next
		return true
	})
	switch {
	case w.Count() > 0:
		s.found = true
		r.reply.output = outputReply(len(w.Bytes()))
		return &r.reply.output, nil // an error meets the client when it asks for more
	case err != nil:
		return nil, err
	case full:
		return nil, because(nt.InfoLengthMismatch, "buffer of %d bytes is too small for the next name", size)
	case !s.found:
		s.found = true // from now on it is "no more" instead of "none"
		return nil, nt.NoSuchFile
	}
	return nil, nt.NoMoreFiles
}

// An outputReply is a QUERY_DIRECTORY (or QUERY_INFO) response whose data room has put in place already.
type outputReply int

func (n outputReply) Append(b []byte) []byte {
	b = wire.AppendOutputHead(b, uint32(n))
	return b[:len(b)+int(n)]
}
