package osfs

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/vfs"
)

// Snapshots are folders side by side in one folder, each the Volume as it was at a moment. The moment is in the folder's
// name, in one of snapshotNames and UTC; a btrfs snapshot that is called otherwise is taken by when it was made. What
// they are made by is no business of ours, and whether they are read-only on disk neither: here they are.
//
// A folder of snapshots that lies beneath the Volume's root is not there for clients, whatever name or link leads to it:
// they would write to it.

// WithSnapshots serves the folders in dir as previous versions. inside is where in each of them the Volume's root was,
// "" if it is the folder itself.
func WithSnapshots(dir, inside string) Option {
	return func(c *config) { c.snapshots, c.snapshotInside = dir, inside }
}

// snapshotNames are names that say when a snapshot was made, as time layouts.
var snapshotNames = []string{
	"@GMT-2006.01.02-15.04.05", // as clients write it, and shadow_copy2 by default
	"2006-01-02T15:04:05Z",
	"2006-01-02T15-04-05Z",
	"2006-01-02_15-04-05",
	"2006-01-02-15-04-05",
	"2006-01-02-150405",
	"20060102T150405Z",
	"20060102-150405",
}

// maxIdlePasts is how many snapshots stay open that nobody uses at the moment: Explorer goes back and forth between
// those it shows, and each costs a descriptor and what is known of names in it.
const maxIdlePasts = 8

// A past is a snapshot that is open.
type past struct {
	name string
	v    *Volume
	uses int
}

// pasts are the snapshots of one Volume.
type pasts struct {
	dir    int    // descriptor of the folder they are in, O_PATH
	inside string // where in each the root is
	// If the folder lies beneath the Volume's root: the directory it stands in and its name there.
	hidden bool
	parent vfs.ID
	name   string

	mu     sync.Mutex
	open   []*past // the one used last at the end
	listed []snapshot
	mark   [2]unix.StatxTimestamp // the folder's times when it was listed; zero: it is to be listed again
}

// newPasts opens the folder of snapshots.
func (v *Volume) newPasts() (*pasts, error) {
	p := &pasts{inside: v.cfg.snapshotInside}
	var err error
	if p.dir, err = unix.Open(v.cfg.snapshots, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
		return nil, fmt.Errorf("snapshots in %s: %w", v.cfg.snapshots, err)
	}
	fail := func(err error) (*pasts, error) {
		unix.Close(p.dir)
		return nil, fmt.Errorf("snapshots in %s: %w", v.cfg.snapshots, err)
	}
	root, err := os.Readlink(proc(v.root))
	if err != nil {
		return fail(err)
	}
	at, err := os.Readlink(proc(p.dir))
	if err != nil {
		return fail(err)
	}
	if at == root {
		return fail(errors.New("the share cannot be its own snapshots"))
	}
	if rel, ok := strings.CutPrefix(at, strings.TrimSuffix(root, "/")+"/"); ok {
		cut := strings.LastIndexByte(rel, '/')
		p.name = rel[cut+1:]
		up, err := v.open(rel[:max(cut, 0)], unix.O_PATH|unix.O_DIRECTORY, unix.RESOLVE_NO_SYMLINKS)
		if err != nil {
			return fail(err)
		}
		defer unix.Close(up)
		var st unix.Statx_t
		if err := statx(up, &st); err != nil {
			return fail(err)
		}
		p.parent, p.hidden = idOf(&st), true
	}
	return p, nil
}

func (p *pasts) close() (err error) {
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, o := range p.open {
		err = errors.Join(err, o.v.Close())
	}
	p.open = nil
	return errors.Join(err, unix.Close(p.dir))
}

// hides reports whether an object is the folder of snapshots or in it, by where the kernel says that both are now.
func (p *pasts) hides(fd int) bool {
	if p == nil || !p.hidden {
		return false
	}
	at, err := os.Readlink(proc(p.dir))
	if err != nil {
		return true
	}
	is, err := os.Readlink(proc(fd))
	// A path longer than a page cannot be read, and may lead there: a share with its own snapshots in it ends there.
	return err != nil || is == at || strings.HasPrefix(is, at+"/")
}

// hidesName reports whether an entry of a directory is the folder of snapshots.
func (p *pasts) hidesName(dir vfs.ID, name string) bool {
	return p != nil && p.hidden && name == p.name && dir == p.parent
}

// A snapshot is one entry of the folder.
type snapshot struct {
	name string
	at   int64 // Unix time
}

// list returns what is in the folder, newest first; of two of one second the first by name. The folder is read again when
// its time of change says so, and for as long as that is too young to show another change.
func (p *pasts) list(ctx context.Context) ([]snapshot, error) {
	mark, err := stampOf(p.dir)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	listed, known := p.listed, p.mark == mark
	p.mu.Unlock()
	if known {
		return listed, nil
	}
	begun := time.Now()
	listed, err = p.read(ctx)
	if err == nil && begun.Sub(time.Unix(mark[0].Sec, int64(mark[0].Nsec))) > settled {
		p.mu.Lock()
		p.listed, p.mark = listed, mark
		p.mu.Unlock()
	}
	return listed, err
}

func (p *pasts) read(ctx context.Context) ([]snapshot, error) {
	fd, err := unix.Openat(p.dir, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	var all []snapshot
	err = eachDirent(fd, func(e dirent) {
		if e.kind != unix.DT_DIR && e.kind != unix.DT_UNKNOWN || ctx.Err() != nil {
			return
		}
		name := string(e.name)
		if at, ok := snapshotTime(name); ok {
			all = append(all, snapshot{name, at})
		} else if at, ok := subvolumeTime(fd, name); ok {
			all = append(all, snapshot{name, at})
		}
	})
	if err = errors.Join(err, ctx.Err()); err != nil {
		return nil, err
	}
	slices.SortFunc(all, func(a, b snapshot) int {
		if a.at != b.at {
			return int(max(-1, min(1, b.at-a.at)))
		}
		return strings.Compare(a.name, b.name)
	})
	all = slices.CompactFunc(all, func(a, b snapshot) bool { return a.at == b.at })
	return all[:min(len(all), vfs.MaxSnapshots)], nil
}

// snapshotTime is the moment that a name says.
func snapshotTime(name string) (int64, bool) {
	for _, layout := range snapshotNames {
		if t, err := time.Parse(layout, name); err == nil && t.Year() >= 1970 {
			return t.Unix(), true
		}
	}
	return 0, false
}

// Of linux/btrfs.h and btrfs_tree.h.
const (
	btrfsGetSubvolInfo = 0x81F8943C // BTRFS_IOC_GET_SUBVOL_INFO, which fills a struct of 504 bytes:
	subvolFlags        = 288        // offset of flags, 8 bytes
	subvolOtime        = 392        // and of when it was made: seconds in 8 bytes
	subvolReadOnly     = 1 << 0     // in flags: BTRFS_ROOT_SUBVOL_RDONLY
	subvolRoot         = 256        // BTRFS_FIRST_FREE_OBJECTID: the inode of every subvolume's root
)

// subvolumeTime is when a read-only btrfs snapshot was made.
func subvolumeTime(dir int, name string) (int64, bool) {
	var st unix.Statx_t
	if err := statxAt(dir, name, &st); err != nil || st.Ino != subvolRoot {
		return 0, false
	}
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, false
	}
	defer unix.Close(fd)
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil || fs.Type != unix.BTRFS_SUPER_MAGIC {
		return 0, false
	}
	info := new([504]byte) // on the heap: a goroutine's stack may move before the kernel is entered
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), btrfsGetSubvolInfo, uintptr(unsafe.Pointer(info)))
	at := int64(binary.NativeEndian.Uint64(info[subvolOtime:]))
	if errno != 0 || binary.NativeEndian.Uint64(info[subvolFlags:])&subvolReadOnly == 0 || at <= 0 {
		return 0, false
	}
	return at, true
}

// Snapshots implements vfs.Snapshots.
func (v *Volume) Snapshots(ctx context.Context) ([]time.Time, error) {
	if v.pasts == nil {
		return nil, nil
	}
	list, err := v.pasts.list(ctx)
	times := make([]time.Time, len(list))
	for i, s := range list {
		times[i] = time.Unix(s.at, 0).UTC()
	}
	return times, err
}

// At implements vfs.Snapshots.
func (v *Volume) At(ctx context.Context, t time.Time) (vfs.Volume, func(), error) {
	p := v.pasts
	if p == nil {
		return nil, nil, nt.ObjectNameNotFound
	}
	list, err := p.list(ctx)
	if err != nil {
		return nil, nil, err
	}
	i := slices.IndexFunc(list, func(s snapshot) bool { return s.at == t.Unix() })
	if i < 0 {
		return nil, nil, nt.ObjectNameNotFound
	}
	o, err := p.use(v, list[i])
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		err = nt.ObjectNameNotFound // no such share in it, at that moment
	}
	if err != nil {
		return nil, nil, err
	}
	return o.v, func() { p.done(o) }, nil
}

// use returns the snapshot opened, from before if it is still the same.
func (p *pasts) use(v *Volume, s snapshot) (*past, error) {
	root, err := p.root(s.name)
	if err != nil {
		return nil, err
	}
	var st unix.Statx_t
	if err := statx(root, &st); err != nil {
		unix.Close(root)
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, o := range p.open {
		if o.name == s.name && o.v.rootID == idOf(&st) {
			unix.Close(root)
			o.uses++
			p.open = append(slices.Delete(p.open, i, i+1), o)
			return o, nil
		}
	}
	cfg := v.cfg
	cfg.snapshots, cfg.noInotify = "", true // what does not change need not be watched
	cfg.past = salt(s.at)
	o := &past{name: s.name, v: newVolume(root, &st, cfg), uses: 1}
	p.open = append(p.open, o)
	return o, nil
}

// root opens the Volume's root as it was. Nothing in a snapshot leads out of it.
func (p *pasts) root(name string) (int, error) {
	how := unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	}
	for tries := 0; ; tries++ {
		fd, err := unix.Openat2(p.dir, strings.TrimSuffix(join(name, p.inside), "/"), &how)
		if (err == unix.EAGAIN || err == unix.EINTR) && tries < 128 {
			continue
		}
		return fd, err
	}
}

// done gives a snapshot back, and closes what has been idle for longest.
func (p *pasts) done(o *past) {
	p.mu.Lock()
	defer p.mu.Unlock()
	o.uses--
	idle := 0
	for _, o := range p.open {
		if o.uses == 0 {
			idle++
		}
	}
	p.open = slices.DeleteFunc(p.open, func(o *past) bool {
		if o.uses > 0 || idle <= maxIdlePasts {
			return false
		}
		idle--
		o.v.Close() // of descriptors that nothing was written through
		return true
	})
}

// salt makes the IDs of a snapshot others than those of the present: a btrfs snapshot repeats them, and so do hard links.
func salt(at int64) uint64 {
	h := fnv.New64a()
	h.Write(binary.LittleEndian.AppendUint64(nil, uint64(at)))
	return h.Sum64() | 1
}

// outward is an ID as others know it.
func (v *Volume) outward(id vfs.ID) vfs.ID {
	if v.cfg.past != 0 {
		id.Volume ^= v.cfg.past
		id.Object ^= v.cfg.past
	}
	return id
}
