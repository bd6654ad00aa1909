// Package osfs is a vfs.Volume over a Linux directory.
//
// Every path is resolved by openat2 beneath a descriptor of the share's root, in one system call that the kernel
// keeps from leaving it; nothing here ever opens a string that was checked before. Names act within a directory
// descriptor that was found in that way, one component at a time and without following links.
//
//	names.go      what Linux allows in a name and the wire does not: vfs.NameToWire
//	resolve.go    openat2; directories in any case
//	index.go      names of a directory by folded name, kept right by inotify
//	open.go       Volume.Open
//	file.go       File: reading, writing, durability
//	attr.go       attributes and times; dosattrib.go: the xattr that keeps them, as Samba does;
//	              notes.go: what of that is remembered
//	posix.go      what clients that open the POSIX way ask for besides
//	security.go   security descriptors; ntacl.go: the xattr that keeps them, as Samba does
//	snapshots.go  the Volume as it was
//	readdir.go    listing
//	rename.go     where a file is now; rename, unlink, link
//	ranges.go     copies, holes
//	streams.go    named streams, as Samba keeps them; sidecar.go: those that are too long for that;
//	              streamfile.go: one that is open
//	ea.go         extended attributes; objectid.go: object ids
//	extents.go    shared blocks, compression
//	symlink.go    links themselves
//	watch.go      what changes beneath a directory: what we do ourselves; inotify.go: what others do;
//	              watchtree.go: which directories that takes; notifier.go: the inotify instances of all Volumes
package osfs

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/postern-nas/postern/smb/vfs"
)

// A Volume exports one directory.
type Volume struct {
	root    int // descriptor of the directory, O_PATH
	rootID  vfs.ID
	resolve uint64 // RESOLVE_ flags of every openat2
	cfg     config
	index   *index
	watches *watches
	count   counters

	features func() vfs.Feature // probed once, when first asked for
	// xattrBlock is what the filesystem counts as a file's that it keeps xattrs in, bytes; probed once.
	xattrBlock func() int64
	pasts      *pasts // snapshots, nil without

	// naming is held while a name is found to be an object's and then taken from it, so that between the two no one
	// here can give the name to another. making is held while a name is found free and then given; its lock is one
	// of several, by directory. Order: naming, then making.
	naming sync.Mutex
	making [64]sync.Mutex
	// describing guards read-modify-write of an object's xattr, one of several by object.
	describing [64]sync.Mutex

	// births is held for reading while an object is made and described; bearing is how many are.
	births       sync.RWMutex
	bearing      atomic.Int32
	descriptors  descriptorCache
	keepsDOS     atomic.Bool // the filesystem has user xattrs, as one of them has shown
	unprivileged atomic.Bool // only user xattrs can be written
	sides        sides
}

type config struct {
	label             string
	noSymlinks        bool
	crossMounts       bool
	noXattr           bool   // for tests: as a filesystem without user xattrs
	noInotify         bool   // for tests: as a system out of watches
	afterScan         func() // for tests: called when the index has read a directory and not yet taken it in
	fileMode, dirMode uint32
	maxDirs, maxNames int

	snapshots, snapshotInside string
	folder                    []string
	past                      uint64 // not 0: this is a snapshot, and so read-only; its salt
}

// An Option changes how New sets up a Volume.
type Option func(*config)

// WithLabel sets the volume's label, at most 32 characters.
func WithLabel(label string) Option { return func(c *config) { c.label = label } }

// WithoutSymlinks refuses to follow any symbolic link. Without it, links that stay beneath the root are followed.
func WithoutSymlinks() Option { return func(c *config) { c.noSymlinks = true } }

// WithMounts lets paths cross into filesystems mounted beneath the root.
func WithMounts() Option { return func(c *config) { c.crossMounts = true } }

// WithModes sets the permission bits of new files and directories, before the process's umask. 0644 and 0755 are
// the defaults.
func WithModes(file, dir uint32) Option {
	return func(c *config) { c.fileMode, c.dirMode = file&0o7777, dir&0o7777 }
}

// WithFolder makes the folder that these names lead to, as the wire calls them, the root instead of the one given to New.
// They are followed beneath that one and through no link: whoever may change what stands there gets to no other place.
func WithFolder(names ...string) Option { return func(c *config) { c.folder = names } }

// WithIndex bounds the index of names: how many directories (each takes an inotify watch) and how many names, at
// about 100 bytes, it may keep. 4,096 and 1,048,576 are the defaults. The directory used last is kept up to four
// times that; one larger still is read anew for each name it lacks.
func WithIndex(dirs, names int) Option {
	return func(c *config) { c.maxDirs, c.maxNames = max(dirs, 1), max(names, 1) }
}

// New opens the directory root as a Volume.
func New(root string, opts ...Option) (*Volume, error) {
	cfg := config{fileMode: 0o644, dirMode: 0o755, maxDirs: 4096, maxNames: 1 << 20}
	for _, o := range opts {
		o(&cfg)
	}
	fd, err := openRoot(root, &cfg)
	if err != nil {
		return nil, fmt.Errorf("share root %s: %w", filepath.Join(append([]string{root}, cfg.folder...)...), err)
	}
	var st unix.Statx_t
	if err := statx(fd, &st); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("share root %s: %w", root, err)
	}
	v := newVolume(fd, &st, cfg)
	if cfg.snapshots != "" {
		if v.pasts, err = v.newPasts(); err != nil {
			v.Close()
			return nil, err
		}
	}
	return v, nil
}

// openRoot opens the directory that becomes the Volume's root.
func openRoot(path string, cfg *config) (int, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil || len(cfg.folder) == 0 {
		return fd, err
	}
	defer unix.Close(fd)
	rel, err := exact(vfs.Path{Names: cfg.folder})
	if err != nil {
		return -1, err
	}
	cfg.snapshotInside = strings.TrimPrefix(cfg.snapshotInside+"/"+rel, "/")
	how := unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	}
	if !cfg.crossMounts {
		how.Resolve |= unix.RESOLVE_NO_XDEV
	}
	return unix.Openat2(fd, rel, &how)
}

// newVolume returns the Volume whose root fd is, which it owns from here on.
func newVolume(fd int, st *unix.Statx_t, cfg config) *Volume {
	v := &Volume{cfg: cfg, root: fd, rootID: idOf(st), resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS}
	if !cfg.crossMounts {
		v.resolve |= unix.RESOLVE_NO_XDEV
	}
	if cfg.noSymlinks {
		v.resolve |= unix.RESOLVE_NO_SYMLINKS
	}
	v.watches = newWatches(v)
	v.unprivileged.Store(os.Geteuid() != 0)
	v.index = newIndex(&v.cfg, &v.count)
	v.features, v.xattrBlock = sync.OnceValue(v.probe), sync.OnceValue(v.probeXattrBlock)
	v.sides.fd = -1
	v.startSweep()
	return v
}

// Close gives back what the Volume holds. Its Files must be closed before.
func (v *Volume) Close() error {
	v.closeSides()
	v.watches.close()
	v.index.close()
	return errors.Join(v.pasts.close(), unix.Close(v.root))
}

// Usage implements vfs.Volume.
func (v *Volume) Usage(context.Context) (total, free int64, err error) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(v.root, &st); err != nil {
		return 0, 0, err
	}
	unit := int64(st.Frsize)
	if unit == 0 {
		unit = int64(st.Bsize)
	}
	return int64(st.Blocks) * unit, int64(min(st.Bavail, st.Blocks)) * unit, nil
}

// Statfs implements vfs.Statfs.
func (v *Volume) Statfs(context.Context) (vfs.Filesystem, error) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(v.root, &st); err != nil {
		return vfs.Filesystem{}, err
	}
	unit := st.Frsize
	if unit <= 0 {
		unit = st.Bsize
	}
	return vfs.Filesystem{
		BlockSize: uint32(unit), TransferSize: uint32(st.Bsize), Blocks: st.Blocks, Free: st.Bfree, Available: min(st.Bavail, st.Blocks),
		Nodes: st.Files, FreeNodes: st.Ffree, ID: uint64(uint32(st.Fsid.Val[0])) | uint64(uint32(st.Fsid.Val[1]))<<32,
	}, nil
}

// Label implements vfs.Labeled. The serial number stays the same as long as the filesystem does.
func (v *Volume) Label() (label string, serial uint32) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(v.root, &st); err != nil {
		return v.cfg.label, 0
	}
	h := fnv.New32a()
	for _, n := range st.Fsid.Val {
		h.Write(binary.LittleEndian.AppendUint32(nil, uint32(n)))
	}
	h.Write(binary.LittleEndian.AppendUint64(nil, v.rootID.Object))
	return v.cfg.label, h.Sum32()
}

// Stats count what a Volume has done since New.
type Stats struct {
	Opens       int64 // objects opened or made
	IndexHits   int64 // questions answered from the index
	IndexScans  int64 // directories read to answer one
	IndexResets int64 // times that the kernel lost track of changes and the index began anew
	DirReads    int64 // getdents64 calls for listings
	Dirs, Names int   // now in the index
}

type counters struct{ opens, hits, scans, resets, dirReads atomic.Int64 }

// Stats returns the counts.
func (v *Volume) Stats() Stats {
	s := Stats{
		Opens: v.count.opens.Load(), IndexHits: v.count.hits.Load(), IndexScans: v.count.scans.Load(),
		IndexResets: v.count.resets.Load(), DirReads: v.count.dirReads.Load(),
	}
	s.Dirs, s.Names = v.index.size()
	return s
}

// lock returns which of the striped locks is the object's.
func lock(of *[64]sync.Mutex, id vfs.ID) *sync.Mutex {
	return &of[(id.Object^id.Object>>8)%uint64(len(of))]
}

// proc names a descriptor as a path, for what cannot be done with O_PATH descriptors or only with paths.
func proc(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }
