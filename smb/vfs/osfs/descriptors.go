package osfs

import (
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/postern-nas/postern/smb/vfs"
)

// descriptorCache remembers which descriptors are stored with objects, for as long as their times of change say that
// nothing was changed: to look is one statx where reading takes up to four getxattr by way of /proc, for the object and
// for each directory that it inherits from. That time cannot be set, by nobody's utimes.
//
// Memory is bounded by two generations: when the younger is full, the older goes, and with it what nobody asked for.
type descriptorCache struct {
	mu         sync.Mutex
	young, old map[vfs.ID]remembered
}

// A remembered is what was found: b is nil for an object that has none.
type remembered struct {
	changed unix.StatxTimestamp
	b       []byte
}

const (
	// maxRemembered is the size of a generation: some 2 MiB of names and numbers. The descriptors themselves are shared
	// with nobody, and have 300 bytes typically.
	maxRemembered = 8192
	// longestRemembered is how long a descriptor may be to be remembered, bytes.
	longestRemembered = 4096
	// distinct is how old a time of change must be to tell the next change from it. The kernel's clock for it ticks
	// every 10 ms or faster.
	distinct = 100 * time.Millisecond
)

// get returns what is remembered of an object that st was just read from.
func (d *descriptorCache) get(st *unix.Statx_t) (b []byte, known bool) {
	id := idOf(st)
	d.mu.Lock()
	defer d.mu.Unlock()
	found, known := d.young[id]
	if !known {
		if found, known = d.old[id]; known {
			d.keep(id, found)
		}
	}
	return found.b, known && found.changed == st.Ctime
}

// put remembers what was read after st was.
func (d *descriptorCache) put(st *unix.Statx_t, b []byte) {
	if age := time.Since(time.Unix(st.Ctime.Sec, int64(st.Ctime.Nsec))); age < distinct || len(b) > longestRemembered {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.keep(idOf(st), remembered{st.Ctime, b})
}

// keep is put for who holds mu.
func (d *descriptorCache) keep(id vfs.ID, found remembered) {
	if d.young == nil || len(d.young) >= maxRemembered {
		d.old, d.young = d.young, make(map[vfs.ID]remembered)
	}
	d.young[id] = found
}
