package osfs

import (
	"math"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/vfs"
)

// A notebook remembers what was found in objects' xattrs, as descriptorCache does and by the same rule: for as long as
// the time of change stays. To describe a file or an entry of a listing is one statx then.
//
// It is a table by inode number, where the next object with the same place takes it over. Those of one directory have
// numbers in a row, or nearly, so that even a large one has room. All volumes have one together, as memory is one.
type notebook struct {
	mu    sync.Mutex
	notes []note
}

// A note is what was found of one object.
type note struct {
	id         vfs.ID
	changed    unix.StatxTimestamp
	birth      dtyp.Filetime // 0: none is noted
	attributes uint32        // attributesUnset: none are noted
	has        uint8         // of what follows
}

const (
	noteDOS   = 1 << iota // the DOS attributes have been looked for
	noteNoEAs             // there are no extended attributes
)

// attributesUnset is no combination of attributes.
const attributesUnset = math.MaxUint32

// notebookSize is for how many objects there is room, 48 bytes each: 6 MiB that the system gives as they are filled.
const notebookSize = 1 << 17

var allNotes notebook

func (n *notebook) place(st *unix.Statx_t) *note { return &n.notes[(st.Ino^st.Ino>>17)%notebookSize] }

// get returns what is noted of an object that st was just read from.
func (n *notebook) get(st *unix.Statx_t) (found note) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.notes == nil {
		return note{}
	}
	if at := n.place(st); at.id == idOf(st) && at.changed == st.Ctime {
		return *at
	}
	return note{}
}

// put notes what was read after st was.
func (n *notebook) put(st *unix.Statx_t, found note) {
	if time.Since(time.Unix(st.Ctime.Sec, int64(st.Ctime.Nsec))) < distinct {
		return
	}
	found.id, found.changed = idOf(st), st.Ctime
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.notes == nil {
		n.notes = make([]note, notebookSize)
	}
	*n.place(st) = found
}

// takeDOS notes what getxattr has returned for dosAttrib. A time of change that a client has set, which is rare, and
// whatever else may turn out otherwise next time are not noted.
func (n *note) takeDOS(value []byte, err error) {
	said := dosInfo{attributes: attributesUnset}
	switch {
	case err == nil:
		if !decodeDOS(value, &said) || said.change != 0 {
			return
		}
	case err != unix.ENODATA:
		return
	}
	n.attributes, n.birth = said.attributes, said.birth
	n.has |= noteDOS
}

// tell changes in info what is noted.
func (n *note) tell(info *dosInfo) {
	if n.attributes != attributesUnset {
		info.attributes = n.attributes
	}
	if n.birth != 0 {
		info.birth = n.birth
	}
}

// noted returns what is remembered of an object.
func (v *Volume) noted(st *unix.Statx_t) note {
	if !v.hasXattr(kindOf(st)) {
		return note{}
	}
	return allNotes.get(st)
}

// note remembers what was found of an object, if that is more than was.
func (v *Volume) note(st *unix.Statx_t, before, found note) {
	if found.has != before.has && v.hasXattr(kindOf(st)) {
		allNotes.put(st, found)
	}
}

// entryNotes is what an entry's xattrs say, as far as want needs them. When the names are looked at anyway, they tell
// whether the attributes are there.
func (v *Volume) entryNotes(dir int, name string, st *unix.Statx_t, want vfs.Mask, room *dirBuf) (info dosInfo, eas uint32) {
	info = undescribed(st)
	before := v.noted(st)
	found := before
	lacks := false
	if want&vfs.WantEA != 0 && describable(kindOf(st)) && found.has&noteNoEAs == 0 {
		var names xattrNamed
		eas, names = v.entryEASize(dir, name, &room.list)
		if names&namedEA == 0 && names&namedAll != 0 {
			found.has |= noteNoEAs
		}
		lacks = names&namedAll != 0 && names&namedDOS == 0
	}
	switch {
	case found.has&noteDOS != 0:
		found.tell(&info)
	case lacks && v.keepsDOS.Load() && v.onRoot(st):
		found.takeDOS(nil, unix.ENODATA)
	default:
		value, err := v.entryDOS(dir, name, st, &room.xattr)
		learn(&info, st, value, err)
		found.takeDOS(value, err)
		if found.has&noteDOS != 0 && v.onRoot(st) {
			v.keepsDOS.Store(true)
		}
	}
	v.note(st, before, found)
	return info, eas
}

// onRoot reports whether an object that can have xattrs is on the root's filesystem: what shows of one need not be so on
// another that is mounted below.
func (v *Volume) onRoot(st *unix.Statx_t) bool {
	return idOf(st).Volume == v.rootID.Volume && v.hasXattr(kindOf(st))
}
