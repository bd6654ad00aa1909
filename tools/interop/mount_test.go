package interop

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	smb2 "github.com/cloudsoda/go-smb2"
	fuse "github.com/hanwen/go-fuse/v2/fs"
	kernel "github.com/hanwen/go-fuse/v2/fuse"

	"github.com/postern-nas/postern/smb/nt"
)

// A share as a folder of this machine, so that programs which know nothing of SMB can work on it: a FUSE filesystem that
// turns each of the kernel's requests into what the Go client has for it, and keeps nothing but what the kernel has looked at
// this second.

// mounted gives a share a place, for the time of the test. It takes root and /dev/fuse.
func mounted(t *testing.T, share *smb2.Share) string {
	t.Helper()
	if _, err := os.Stat("/dev/fuse"); err != nil || os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("mounting takes root and /dev/fuse")
		}
		t.Skip("skipped: mounting takes root and /dev/fuse")
	}
	dir := t.TempDir()
	fresh := time.Second
	server, err := fuse.Mount(dir, &mountNode{share: share}, &fuse.Options{
		EntryTimeout: &fresh, AttrTimeout: &fresh,
		MountOptions: kernel.MountOptions{DirectMountStrict: true, FsName: "postern-test", DisableXAttrs: true, MaxWrite: 128 << 10},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Unmount(); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return dir
}

// A mountNode is one file or folder of a mounted share.
type mountNode struct {
	fuse.Inode
	share *smb2.Share
}

var (
	_ = fuse.NodeLookuper((*mountNode)(nil))
	_ = fuse.NodeGetattrer((*mountNode)(nil))
	_ = fuse.NodeSetattrer((*mountNode)(nil))
	_ = fuse.NodeReaddirer((*mountNode)(nil))
	_ = fuse.NodeOpener((*mountNode)(nil))
	_ = fuse.NodeCreater((*mountNode)(nil))
	_ = fuse.NodeMkdirer((*mountNode)(nil))
	_ = fuse.NodeUnlinker((*mountNode)(nil))
	_ = fuse.NodeRmdirer((*mountNode)(nil))
	_ = fuse.NodeRenamer((*mountNode)(nil))
	_ = fuse.FileReader((*mountFile)(nil))
	_ = fuse.FileWriter((*mountFile)(nil))
	_ = fuse.FileFsyncer((*mountFile)(nil))
	_ = fuse.FileReleaser((*mountFile)(nil))
)

// at is the path of name in the node, or the node's own if name is empty.
func (n *mountNode) at(name string) string {
	path := n.Path(nil)
	if name != "" {
		path = strings.TrimPrefix(path+"/"+name, "/")
	}
	return strings.ReplaceAll(path, "/", `\`)
}

// errno is what the kernel is told of the client's error.
func errno(err error) syscall.Errno {
	var resp *smb2.ResponseError
	switch {
	case err == nil:
		return 0
	case errors.Is(err, fs.ErrNotExist):
		return syscall.ENOENT
	case errors.Is(err, fs.ErrExist):
		return syscall.EEXIST
	case errors.As(err, &resp):
		switch nt.Status(resp.Code) {
		case nt.DirectoryNotEmpty:
			return syscall.ENOTEMPTY
		case nt.FileIsADirectory:
			return syscall.EISDIR
		case nt.NotADirectory:
			return syscall.ENOTDIR
		case nt.SharingViolation:
			return syscall.EBUSY
		}
		if errors.Is(err, fs.ErrPermission) {
			return syscall.EACCES
		}
	}
	return syscall.EIO
}

// mode is as much as SMB has of it.
func mode(info fs.FileInfo) uint32 {
	if info.IsDir() {
		return syscall.S_IFDIR | 0o755
	}
	return syscall.S_IFREG | 0o644
}

func fill(a *kernel.Attr, info fs.FileInfo) {
	a.Mode, a.Size, a.Nlink = mode(info), uint64(info.Size()), 1
	when := info.ModTime()
	a.SetTimes(&when, &when, &when)
}

// child is what the kernel knows a name's file or folder by. It stays the same as long as the kernel knows it: a folder that
// is somebody's current one must not become another.
func (n *mountNode) child(ctx context.Context, name string, info fs.FileInfo, out *kernel.EntryOut) *fuse.Inode {
	fill(&out.Attr, info)
	if known := n.GetChild(name); known != nil && known.Mode() == mode(info)&syscall.S_IFMT {
		return known
	}
	return n.NewInode(ctx, &mountNode{share: n.share}, fuse.StableAttr{Mode: mode(info) & syscall.S_IFMT})
}

func (n *mountNode) Lookup(ctx context.Context, name string, out *kernel.EntryOut) (*fuse.Inode, syscall.Errno) {
	info, err := n.share.Stat(n.at(name))
	if err != nil {
		return nil, errno(err)
	}
	return n.child(ctx, name, info, out), 0
}

func (n *mountNode) Getattr(_ context.Context, _ fuse.FileHandle, out *kernel.AttrOut) syscall.Errno {
	info, err := n.share.Stat(n.at(""))
	if err != nil {
		return errno(err)
	}
	fill(&out.Attr, info)
	return 0
}

// Setattr passes over rights: there are none to set.
func (n *mountNode) Setattr(ctx context.Context, f fuse.FileHandle, in *kernel.SetAttrIn, out *kernel.AttrOut) syscall.Errno {
	if size, ok := in.GetSize(); ok {
		var err error
		if open, ok := f.(*mountFile); ok {
			err = open.f.Truncate(int64(size))
		} else {
			err = n.share.Truncate(n.at(""), int64(size))
		}
		if err != nil {
			return errno(err)
		}
	}
	if at, ok := in.GetMTime(); ok {
		if err := n.share.Chtimes(n.at(""), at, at); err != nil {
			return errno(err)
		}
	}
	return n.Getattr(ctx, f, out)
}

func (n *mountNode) Readdir(context.Context) (fuse.DirStream, syscall.Errno) {
	infos, err := n.share.ReadDir(n.at(""))
	if err != nil {
		return nil, errno(err)
	}
	var list []kernel.DirEntry
	for _, info := range infos {
		list = append(list, kernel.DirEntry{Name: info.Name(), Mode: mode(info)})
	}
	return fuse.NewListDirStream(list), 0
}

func (n *mountNode) Mkdir(ctx context.Context, name string, _ uint32, out *kernel.EntryOut) (*fuse.Inode, syscall.Errno) {
	if err := n.share.Mkdir(n.at(name), 0o755); err != nil {
		return nil, errno(err)
	}
	return n.Lookup(ctx, name, out)
}

func (n *mountNode) Unlink(_ context.Context, name string) syscall.Errno {
	return closing(func() error { return n.share.Remove(n.at(name)) })
}

func (n *mountNode) Rmdir(_ context.Context, name string) syscall.Errno {
	return closing(func() error { return n.share.Remove(n.at(name)) })
}

// closing calls f until what it is about is not open any more, a second at most: the kernel lets programs go on before it
// has a file closed, and the client library opens none that others may delete meanwhile.
func closing(f func() error) syscall.Errno {
	for end := time.Now().Add(time.Second); ; time.Sleep(2 * time.Millisecond) {
		if e := errno(f()); e != syscall.EBUSY || time.Now().After(end) {
			return e
		}
	}
}

// Rename makes room first: the client library's Rename does not replace.
func (n *mountNode) Rename(_ context.Context, name string, to fuse.InodeEmbedder, as string, flags uint32) syscall.Errno {
	from, into := n.at(name), to.(*mountNode).at(as)
	move := func() error { return n.share.Rename(from, into) }
	e := closing(move)
	if e == syscall.EEXIST && flags == 0 {
		if e = closing(func() error { return n.share.Remove(into) }); e == 0 {
			e = closing(move)
		}
	}
	return e
}

// openFlags are the kernel's as the client library wants them. Whoever writes may read: the library has no other way to ask
// an open file for its size.
func openFlags(flags uint32) int {
	f := int(flags) & (os.O_EXCL | os.O_TRUNC)
	if int(flags)&syscall.O_ACCMODE != os.O_RDONLY {
		f |= os.O_RDWR
	}
	return f
}

func (n *mountNode) Open(_ context.Context, flags uint32) (fuse.FileHandle, uint32, syscall.Errno) {
	f, err := n.share.OpenFile(n.at(""), openFlags(flags), 0o644)
	if err != nil {
		return nil, 0, errno(err)
	}
	return &mountFile{f: f}, 0, 0
}

func (n *mountNode) Create(ctx context.Context, name string, flags, _ uint32, out *kernel.EntryOut) (*fuse.Inode, fuse.FileHandle, uint32, syscall.Errno) {
	f, err := n.share.OpenFile(n.at(name), openFlags(flags)|os.O_CREATE, 0o644)
	if err != nil {
		return nil, nil, 0, errno(err)
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, nil, 0, errno(err)
	}
	return n.child(ctx, name, info, out), &mountFile{f: f}, 0, 0
}

// A mountFile is one open.
type mountFile struct{ f *smb2.File }

func (f *mountFile) Read(_ context.Context, b []byte, off int64) (kernel.ReadResult, syscall.Errno) {
	n, err := f.f.ReadAt(b, off)
	if err != nil && err != io.EOF {
		return nil, errno(err)
	}
	return kernel.ReadResultData(b[:n]), 0
}

func (f *mountFile) Write(_ context.Context, b []byte, off int64) (uint32, syscall.Errno) {
	n, err := f.f.WriteAt(b, off)
	return uint32(n), errno(err)
}

func (f *mountFile) Fsync(context.Context, uint32) syscall.Errno { return errno(f.f.Sync()) }
func (f *mountFile) Release(context.Context) syscall.Errno       { return errno(f.f.Close()) }
