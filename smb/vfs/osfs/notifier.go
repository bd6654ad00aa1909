package osfs

import (
	"encoding/binary"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Linux gives a user 128 inotify instances and a process any number of shares, so that all Volumes share two: one for
// their indexes of names, one for their watches. Each has one mask, and with that a directory that several Volumes watch,
// since shares may overlap, is one watch of the kernel's that needs no merging: it is counted by whom it is for.
var (
	indexNotifier = notifier{mask: watched}
	watchNotifier = notifier{mask: watching}
)

// maxQueued bounds what a tap has not taken yet, in events of some 300 bytes at most. It is what Linux queues for an
// instance: what is beyond is lost, to the one Volume that did not keep up.
const maxQueued = 16_384

// A notifier is an inotify instance. It is there while it has taps.
//
// Whoever wants its own events takes in those of all, and leaves each its part. mu is the innermost lock.
type notifier struct {
	mask uint32

	mu   sync.Mutex
	fd   int
	file *os.File // owns fd
	read bool     // by a goroutine, because some tap wants to be woken
	taps map[*tap]bool
	byWd map[int32]*mark
	buf  [32 << 10]byte
}

// A mark is one watch of the kernel's, and what it is called by those that want it.
type mark struct {
	wd  int32
	ids map[*tap]watchID
}

// A watchID names a watch of a tap. No two watches ever have the same.
type watchID int64

// A tap is one Volume's part of a notifier.
type tap struct {
	n    *notifier
	wake chan struct{} // told, if not nil, when there is something to take; closed by close

	// Guarded by n.mu.
	last  watchID
	marks map[watchID]*mark
	queue []notice
}

// A notice is an inotify event, inotify(7), with the tap's name for the watch. IN_Q_OVERFLOW is of no watch.
type notice struct {
	id           watchID
	mask, cookie uint32
	name         string
}

// tap opens a part of the notifier; it is nil where there is no inotify to be had. One that is to be woken has to take
// what there is each time that wake says so.
func (n *notifier) tap(woken bool) *tap {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.taps) == 0 {
		fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
		if err != nil {
			return nil
		}
		n.fd, n.file, n.read = fd, os.NewFile(uintptr(fd), "inotify"), false
		n.taps, n.byWd = map[*tap]bool{}, map[int32]*mark{}
	}
	t := &tap{n: n, marks: map[watchID]*mark{}}
	if woken {
		t.wake = make(chan struct{}, 1)
		n.start()
	}
	n.taps[t] = true
	return t
}

// start has a goroutine read the instance until it is closed.
func (n *notifier) start() {
	if n.read {
		return
	}
	file := n.file
	conn, err := file.SyscallConn()
	if err != nil {
		return
	}
	n.read = true
	go conn.Read(func(uintptr) bool { // each return of false waits for more
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.file != file {
			return true
		}
		n.fill(nil)
		return false
	})
}

// close gives up all watches of the tap.
func (t *tap) close() {
	if t == nil {
		return
	}
	n := t.n
	n.mu.Lock()
	if !n.taps[t] {
		n.mu.Unlock()
		return
	}
	for id := range t.marks {
		t.drop(id)
	}
	delete(n.taps, t)
	t.queue = nil
	if t.wake != nil {
		close(t.wake)
	}
	var file *os.File
	if len(n.taps) == 0 {
		file, n.file = n.file, nil
	}
	n.mu.Unlock()
	if file != nil {
		file.Close() // the goroutine that reads it may be waiting for mu
	}
}

// add watches the directory that is open as dir, from now on.
func (t *tap) add(dir int) (watchID, error) {
	n := t.n
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.taps[t] {
		return 0, os.ErrClosed
	}
	n.fill(nil) // what was before is not for this watch, and is still to be taken
	wd, err := unix.InotifyAddWatch(n.fd, proc(dir), n.mask)
	if err != nil {
		return 0, err
	}
	m := n.byWd[int32(wd)]
	if m == nil {
		m = &mark{wd: int32(wd), ids: map[*tap]watchID{}}
		n.byWd[m.wd] = m
	}
	if old, ok := m.ids[t]; ok {
		delete(t.marks, old)
	}
	t.last++
	m.ids[t], t.marks[t.last] = t.last, m
	return t.last, nil
}

// remove ends a watch. What has happened until now may still be taken, or not.
func (t *tap) remove(id watchID) {
	t.n.mu.Lock()
	defer t.n.mu.Unlock()
	t.drop(id)
}

func (t *tap) drop(id watchID) {
	m := t.marks[id]
	if m == nil {
		return // the kernel has ended it, or the tap is closed
	}
	delete(t.marks, id)
	delete(m.ids, t)
	if len(m.ids) == 0 {
		delete(t.n.byWd, m.wd)
		unix.InotifyRmWatch(t.n.fd, uint32(m.wd)) // fails if the directory is gone, and the watch with it
	}
}

// take returns what has happened, all that the kernel has queued when it is called.
func (t *tap) take() (list []notice) {
	if t == nil {
		return nil
	}
	t.n.mu.Lock()
	defer t.n.mu.Unlock()
	if !t.n.taps[t] {
		return nil
	}
	t.n.fill(t)
	list, t.queue = t.queue, nil
	return list
}

// fill takes in all that the kernel has queued. Those whose part it is are woken, but not the one that takes it now.
func (n *notifier) fill(now *tap) {
	for {
		size, err := unix.Read(n.fd, n.buf[:])
		if err == unix.EINTR {
			continue
		}
		if err != nil || size <= 0 {
			return
		}
		for b := n.buf[:size]; len(b) >= unix.SizeofInotifyEvent; {
			// struct inotify_event: wd, mask, cookie, len, name padded with NULs
			wd, e := int32(binary.NativeEndian.Uint32(b)), notice{mask: binary.NativeEndian.Uint32(b[4:]), cookie: binary.NativeEndian.Uint32(b[8:])}
			length := binary.NativeEndian.Uint32(b[12:])
			b = b[unix.SizeofInotifyEvent:]
			if uint64(length) > uint64(len(b)) {
				break
			}
			e.name = unix.ByteSliceToString(b[:length])
			b = b[length:]
			n.deal(wd, e, now)
		}
	}
}

// deal gives an event to those whose watch it is.
func (n *notifier) deal(wd int32, e notice, now *tap) {
	if e.mask&unix.IN_Q_OVERFLOW != 0 {
		for t := range n.taps {
			t.push(e, now)
		}
		return
	}
	m := n.byWd[wd]
	if m == nil {
		return // it was removed, and this queued before
	}
	for t, id := range m.ids {
		e.id = id
		t.push(e, now)
		if e.mask&unix.IN_IGNORED != 0 {
			delete(t.marks, id)
		}
	}
	if e.mask&unix.IN_IGNORED != 0 {
		delete(n.byWd, wd)
	}
}

func (t *tap) push(e notice, now *tap) {
	if len(t.queue) >= maxQueued {
		t.queue, e = nil, notice{mask: unix.IN_Q_OVERFLOW}
	}
	t.queue = append(t.queue, e)
	if t.wake != nil && t != now {
		select {
		case t.wake <- struct{}{}:
		default:
		}
	}
}
