package osfs

import (
	"context"
	"errors"
	"math"

	"golang.org/x/sys/unix"

	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/vfs"
)

// statx fills st for an open object of any kind.
func statx(fd int, st *unix.Statx_t) error { return statxAt(fd, "", st) }

// statxAt fills st for the entry name of a directory, without following it.
func statxAt(dir int, name string, st *unix.Statx_t) error {
	flags := unix.AT_SYMLINK_NOFOLLOW | unix.AT_NO_AUTOMOUNT
	if name == "" {
		flags |= unix.AT_EMPTY_PATH
	}
	for {
		err := unix.Statx(dir, name, flags, unix.STATX_BASIC_STATS|unix.STATX_BTIME, st)
		if err != unix.EINTR {
			return err
		}
	}
}

func idOf(st *unix.Statx_t) vfs.ID {
	return vfs.ID{Volume: uint64(st.Dev_major)<<32 | uint64(st.Dev_minor), Object: st.Ino}
}

func kindOf(st *unix.Statx_t) uint16 { return st.Mode & unix.S_IFMT }

const (
	epochDelta = 11644473600 // seconds from 1601 to 1970
	ticks      = 10_000_000  // of 100 ns in a second
)

// filetime converts a time of the filesystem.
func filetime(t unix.StatxTimestamp) dtyp.Filetime {
	if t.Sec < -epochDelta {
		return 0
	}
	if t.Sec > math.MaxInt64/ticks-epochDelta-1 {
		return math.MaxInt64
	}
	return dtyp.Filetime((t.Sec+epochDelta)*ticks + int64(t.Nsec)/100)
}

// timespec converts a time for the filesystem.
func timespec(t dtyp.Filetime) unix.Timespec {
	t = min(t, math.MaxInt64)
	ts := unix.NsecToTimespec(int64(t%ticks) * 100)
	ts.Sec = int64(t/ticks) - epochDelta
	return ts
}

// attrOf assembles what the filesystem and the xattr say.
func (v *Volume) attrOf(st *unix.Statx_t, info dosInfo) vfs.Attr {
	a := vfs.Attr{
		ID:         v.outward(idOf(st)),
		Links:      st.Nlink,
		Birth:      info.birth,
		Access:     filetime(st.Atime),
		Write:      filetime(st.Mtime),
		Change:     filetime(st.Ctime),
		Attributes: info.attributes,
		Mode:       uint32(st.Mode),
		UID:        st.Uid,
		GID:        st.Gid,
	}
	if st.Attributes&unix.STATX_ATTR_COMPRESSED != 0 {
		a.Attributes |= vfs.AttrCompressed
	}
	if info.counts(a.Change) {
		a.Change = info.change
	}
	switch kindOf(st) {
	case unix.S_IFDIR:
		a.Attributes |= vfs.AttrDirectory
	case unix.S_IFREG:
		a.Size = int64(min(st.Size, math.MaxInt64))
		a.Alloc = v.allocated(st)
	case unix.S_IFLNK:
		a.Attributes |= vfs.AttrReparsePoint
		a.ReparseTag = vfs.TagSymlink
	}
	return a
}

// allocated is what a file's contents take on disk.
func (v *Volume) allocated(st *unix.Statx_t) int64 {
	all := int64(min(st.Blocks, math.MaxInt64/512)) * 512
	// Without the block that ext4 keeps xattrs in, and counts as the file's: clients reckon with what they wrote and
	// reserved. Asking where the blocks are would cost a call for each file; of one with holes there is no telling.
	if extra := v.xattrBlock(); extra > 0 && all >= extra {
		unit := int64(max(st.Blksize, 512))
		if contents := (int64(min(st.Size, math.MaxInt64-1<<20)) + unit - 1) / unit * unit; all-extra >= contents {
			return all - extra
		}
	}
	return all
}

// probeXattrBlock finds out how much more a file is said to take for the xattrs that ours have: one without contents.
func (v *Volume) probeXattrBlock() int64 {
	fd, err := v.openat(v.root, ".", unix.O_TMPFILE|unix.O_RDWR, 0o600, 0)
	if err != nil {
		return 0
	}
	defer unix.Close(fd)
	for name, size := range map[string]int{dosAttrib: 80, ownNTACL: ntaclHead + 128} {
		if err := unix.Fsetxattr(fd, name, make([]byte, size), 0); err != nil {
			return 0
		}
	}
	var st unix.Statx_t
	if err := statx(fd, &st); err != nil {
		return 0
	}
	return int64(min(st.Blocks, 128)) * 512
}

// described are the fields that need the xattr.
const described = vfs.WantAttributes | vfs.WantTimes

// attrAt describes an entry of a directory. room is for what its xattrs hold.
func (v *Volume) attrAt(dir int, name string, want vfs.Mask, room *dirBuf) (vfs.Attr, error) {
	var st unix.Statx_t
	if err := statxAt(dir, name, &st); err != nil {
		return vfs.Attr{}, err
	}
	if want&(described|vfs.WantEA) == 0 {
		return v.attrOf(&st, undescribed(&st)), nil
	}
	info, eas := v.entryNotes(dir, name, &st, want, room)
	a := v.attrOf(&st, info)
	a.EASize = eas
	return a, nil
}

// Attr implements vfs.File.
func (f *File) Attr(ctx context.Context, want vfs.Mask) (vfs.Attr, error) {
	if err := f.use(ctx); err != nil {
		return vfs.Attr{}, err
	}
	defer f.done()
	var st unix.Statx_t
	if err := statx(f.fd, &st); err != nil {
		return vfs.Attr{}, err
	}
	if want&(described|vfs.WantEA) == 0 {
		return f.v.attrOf(&st, undescribed(&st)), nil
	}
	a := f.v.attrOf(&st, f.info(&st))
	if want&vfs.WantEA != 0 && f.keepsStreams() {
		a.EASize = eaSizeAt(proc(f.fd))
	}
	return a, nil
}

// SetAttr implements vfs.File.
func (f *File) SetAttr(ctx context.Context, a vfs.Attr, set vfs.Mask) (err error) {
	if err := f.useToChange(ctx); err != nil {
		return err
	}
	defer f.done()
	if set&(vfs.WantSize|vfs.WantAlloc) != 0 {
		if err := f.may(true, 0); err != nil {
			return err
		}
		if set&vfs.WantSize != 0 && a.Size < 0 || set&vfs.WantAlloc != 0 && a.Alloc < 0 {
			return nt.InvalidParameter
		}
	}
	end := f.modifying()
	defer func() { end(kindIf(err == nil, vfs.ChangedBy(set))) }()
	if set&vfs.WantSize != 0 {
		if err := f.truncate(a.Size); err != nil {
			return err
		}
	}
	if set&vfs.WantAlloc != 0 {
		if err := f.reserve(a.Alloc); err != nil {
			return err
		}
	}
	if set&vfs.SetMode != 0 {
		if err := f.chmod(a.Mode); err != nil {
			return err
		}
	}
	birth := set&vfs.SetBirth != 0 && a.Birth != vfs.HoldTime && a.Birth != vfs.FreeTime
	if set&vfs.WantAttributes != 0 || birth {
		err := f.describe(func(i *dosInfo) {
			if set&vfs.WantAttributes != 0 {
				i.attributes = i.attributes&^vfs.AttrSettable | a.Attributes&vfs.AttrSettable
			}
			if birth {
				i.birth = a.Birth
			}
		})
		if err != nil {
			return err
		}
	}
	err = f.setTimes(a, set)
	if set&vfs.SetChange != 0 && a.Change != vfs.HoldTime {
		f.heldChange.Store(0)
		if a.Change <= math.MaxInt64 { // not FreeTime
			f.heldChange.Store(uint64(a.Change))
		}
	}
	f.keepChange()
	return err
}

// setTimes sets and holds the access and write times.
func (f *File) setTimes(a vfs.Attr, set vfs.Mask) error {
	if set &= vfs.SetAccess | vfs.SetWrite; set == 0 {
		return nil
	}
	ts := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, {Nsec: unix.UTIME_OMIT}}
	if set&vfs.SetAccess != 0 {
		if a.Access != vfs.HoldTime && a.Access != vfs.FreeTime {
			ts[0] = timespec(a.Access)
		}
		f.holdAccess(a.Access != vfs.FreeTime)
	}
	if set&vfs.SetWrite != 0 {
		switch a.Write {
		case vfs.FreeTime:
			f.held.And(^uint32(vfs.SetWrite))
		case vfs.HoldTime:
			f.held.Or(uint32(vfs.SetWrite))
		default:
			ts[1] = timespec(a.Write)
			f.held.Or(uint32(vfs.SetWrite))
		}
	}
	if ts[0].Nsec == unix.UTIME_OMIT && ts[1].Nsec == unix.UTIME_OMIT {
		return nil
	}
	return unix.UtimesNanoAt(f.fd, "", ts, unix.AT_EMPTY_PATH)
}

// holdAccess keeps reads through this descriptor from moving the access time; who is not the owner may not.
func (f *File) holdAccess(on bool) {
	if f.opath {
		return
	}
	if flags, err := unix.FcntlInt(uintptr(f.fd), unix.F_GETFL, 0); err == nil {
		flags &^= unix.O_NOATIME
		if on {
			flags |= unix.O_NOATIME
		}
		unix.FcntlInt(uintptr(f.fd), unix.F_SETFL, flags)
	}
}

func (f *File) truncate(size int64) error {
	written := f.writing()
	defer written()
	return f.with(f.write, unix.O_WRONLY, func(fd int) error { return unix.Ftruncate(fd, size) })
}

// reserve sets what is allocated. What lies beyond the end of file is given back by setting the end where it is. That no
// byte changes moves the time of change, also if nothing is done, and not the write time.
func (f *File) reserve(n int64) error {
	var st unix.Statx_t
	if err := statx(f.fd, &st); err != nil {
		return err
	}
	size := int64(min(st.Size, math.MaxInt64))
	if n < size {
		return f.truncate(n)
	}
	written := f.keepWrite()
	defer written()
	if have := int64(min(st.Blocks, math.MaxInt64/512)) * 512; have > n+int64(st.Blksize) {
		return f.truncate(size)
	}
	if n == 0 {
		return nil
	}
	err := f.with(f.write, unix.O_WRONLY, func(fd int) error { return unix.Fallocate(fd, unix.FALLOC_FL_KEEP_SIZE, 0, n) })
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil // a filesystem that cannot reserve; the client only hopes for it
	}
	return err
}

// Overwrite implements vfs.File.
func (f *File) Overwrite(ctx context.Context, attributes uint32) error {
	if err := f.useToChange(ctx); err != nil {
		return err
	}
	defer f.done()
	if err := f.may(true, 0); err != nil {
		return err
	}
	end := f.modifying()
	defer end(vfs.ChangeSize | vfs.ChangeLastWrite | vfs.ChangeAttributes)
	if err := f.truncate(0); err != nil {
		return err
	}
	if err := f.removeStreams(); err != nil {
		return err
	}
	if err := f.removeEAs(); err != nil {
		return err
	}
	return f.describe(func(i *dosInfo) { i.attributes = attributes&vfs.AttrSettable | vfs.AttrArchive })
}
