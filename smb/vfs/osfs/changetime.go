package osfs

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/postern-nas/postern/smb/dtyp"
)

// Linux keeps the time of change for itself. One that a client sets is kept beside the DOS attributes, with the moment at
// which that was done: it counts as long as the kernel's time of change says that nothing has happened since.

// changeWithin is by how much the kernel's time of change may be later than the moment that was noted before the change:
// its clock ticks, and the note has to be written. What else happens within it is not seen.
const changeWithin = 20 * time.Millisecond / 100 // in units of a Filetime

// counts reports whether the time that a client set is that of the last change, for an object which ctime is of.
func (i *dosInfo) counts(ctime dtyp.Filetime) bool {
	return i.change != 0 && ctime >= i.noted && ctime-i.noted <= dtyp.Filetime(changeWithin)
}

// keepChange makes the time that the client set that of the last change again, after one through this File.
func (f *File) keepChange() {
	t := dtyp.Filetime(f.heldChange.Load())
	if t == 0 {
		return
	}
	for range 3 { // between noting and writing we may have been put aside
		var now unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_REALTIME_COARSE, &now); err != nil {
			return
		}
		noted := filetime(unix.StatxTimestamp{Sec: now.Sec, Nsec: uint32(now.Nsec)})
		var st unix.Statx_t
		if err := f.describe(func(i *dosInfo) { i.change, i.noted = t, noted }); err != nil || statx(f.fd, &st) != nil {
			return // the storage cannot: it shows its own
		}
		if i := (dosInfo{change: t, noted: noted}); i.counts(filetime(st.Ctime)) {
			return
		}
	}
}
