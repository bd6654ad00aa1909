// Package vfstest is the paper that every vfs.Volume sits: the contract of package vfs, sentence by sentence.
package vfstest

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/vfs"
)

// Run sits the paper. fresh returns an empty Volume, which may be left as it is when its test ends.
func Run(t *testing.T, fresh func(t *testing.T) vfs.Volume) {
	for _, q := range []struct {
		name string
		ask  func(*paper)
	}{
		{"Open/Dispositions", dispositions},
		{"Open/Missing", missing},
		{"Open/Root", root},
		{"Open/Kind", kind},
		{"Open/Access", access},
		{"Open/Cancelled", cancelled},
		{"Streams/Open", streamOpen},
		{"Streams/Own", streamOwn},
		{"Streams/Names", streamNames},
		{"Streams/Sizes", streamSizes},
		{"Streams/Directory", streamDirectory},
		{"Streams/Unlink", streamUnlink},
		{"Streams/Rename", streamRename},
		{"Streams/Object", streamObject},
		{"Streams/Holes", streamHoles},
		{"Streams/Copies", streamCopies},
		{"Streams/Mac", streamMac},
		{"Streams/Watch", streamWatch},
		{"Streams/Concurrent", streamConcurrent},
		{"EAs/Keep", keepEAs},
		{"EAs/Bounds", boundEAs},
		{"ObjectIDs/Keep", keepObjectID},
		{"Names/Case", nameCase},
		{"Names/Folding", folding},
		{"Names/Forms", forms},
		{"Names/Invalid", invalidNames},
		{"Names/Long", longNames},
		{"Names/Deep", deep},
		{"Data/ReadWrite", readWrite},
		{"Data/Holes", holes},
		{"Data/64Bit", sixtyFour},
		{"Data/Size", size},
		{"Data/Reserve", reserve},
		{"Data/Overwrite", overwrite},
		{"Data/Durable", durable},
		{"Data/CopyRange", copyRange},
		{"Data/Zero", zero},
		{"Data/Share", share},
		{"Data/Compress", compress},
		{"Attr/ID", id},
		{"Attr/Attributes", attributes},
		{"Attr/Times", times},
		{"Attr/StickyTimes", stickyTimes},
		{"Attr/Reserving", reserving},
		{"Attr/Usage", usage},
		{"Security/Keep", keepSecurity},
		{"Security/Admit", admit},
		{"Security/AdmitDirectory", admitDirectory},
		{"Security/Birth", birth},
		{"Security/List", listSecurity},
		{"Dir/List", list},
		{"Dir/Resume", resume},
		{"Dir/Match", match},
		{"Dir/Want", want},
		{"Dir/Stable", stable},
		{"Dir/Large", large},
		{"Dir/TwoHandles", twoHandles},
		{"Dir/NotADirectory", listFile},
		{"Rename/File", renameFile},
		{"Rename/Case", renameCase},
		{"Rename/Replace", renameReplace},
		{"Rename/Directory", renameDirectory},
		{"Rename/Refused", renameRefused},
		{"Unlink/File", unlinkFile},
		{"Unlink/Directory", unlinkDirectory},
		{"Unlink/TakenName", unlinkTakenName},
		{"Path", path},
		{"Link", link},
		{"POSIX/Case", posixCase},
		{"POSIX/Mode", posixMode},
		{"Watch/Operations", watch},
		{"Watch/Moves", watchMoves},
		{"Watch/Ends", watchEnds},
		{"Concurrent/IO", concurrentIO},
		{"Concurrent/Create", concurrentCreate},
		{"Concurrent/Names", concurrentNames},
		{"Concurrent/List", concurrentList},
		{"Closed", closed},
	} {
		t.Run(q.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			p := &paper{T: t, ctx: ctx, v: fresh(t), opens: map[vfs.File]bool{}}
			defer p.closeAll()
			q.ask(p)
		})
	}
}

// Accesses as clients ask for them.
const (
	reading   = dtyp.FileRead
	writing   = dtyp.FileRead | dtyp.FileWrite | dtyp.Delete
	attribute = dtyp.ReadAttributes | dtyp.Synchronize
)

// A paper is one question's sheet: an empty volume, and the Files opened on it.
type paper struct {
	*testing.T
	ctx   context.Context
	v     vfs.Volume
	opens map[vfs.File]bool
	stops []func() // of watches
}

func (p *paper) closeAll() {
	for _, stop := range p.stops {
		stop()
	}
	for f := range p.opens {
		p.close(f)
	}
}

func (p *paper) close(f vfs.File) {
	p.Helper()
	delete(p.opens, f)
	p.ok(f.Close())
}

func (p *paper) ok(err error) {
	p.Helper()
	if err != nil {
		p.Fatal(err)
	}
}

// refused wants one of the statuses.
func (p *paper) refused(err error, want ...nt.Status) {
	p.Helper()
	for _, w := range want {
		if errors.Is(err, w) {
			return
		}
	}
	p.Fatalf("error %v; want one of %v", err, want)
}

// at is a path written as on the wire.
func at(s string) vfs.Path {
	if s == "" {
		return vfs.Path{}
	}
	return vfs.Path{Names: strings.Split(s, `\`)}
}

// try opens, and forgets the File for the caller if it worked.
func (p *paper) try(name string, how vfs.How) error {
	f, _, err := p.v.Open(p.ctx, at(name), how)
	if err == nil {
		err = f.Close()
	}
	return err
}

func (p *paper) open(name string, how vfs.How) (vfs.File, vfs.Action) {
	p.Helper()
	f, a, err := p.v.Open(p.ctx, at(name), how)
	if err != nil {
		p.Fatalf("open %q: %v", name, err)
	}
	p.opens[f] = true
	return f, a
}

// make makes a file with contents and leaves it open for everything.
func (p *paper) make(name, contents string) vfs.File {
	p.Helper()
	f, a := p.open(name, vfs.How{Disposition: vfs.Create, Access: writing, NonDirectory: true})
	if a != vfs.Created {
		p.Fatalf("create %q: action %v", name, a)
	}
	p.write(f, contents, 0)
	return f
}

func (p *paper) mkdir(name string) vfs.File {
	p.Helper()
	f, _ := p.open(name, vfs.How{Disposition: vfs.Create, Access: writing, Directory: true})
	return f
}

// get opens what is there.
func (p *paper) get(name string) vfs.File {
	p.Helper()
	f, _ := p.open(name, vfs.How{Access: writing})
	return f
}

func (p *paper) write(f vfs.File, s string, off int64) {
	p.Helper()
	if n, err := f.WriteAt([]byte(s), off); n != len(s) || err != nil {
		p.Fatalf("wrote %d of %d bytes: %v", n, len(s), err)
	}
}

func (p *paper) attr(f vfs.File) vfs.Attr {
	p.Helper()
	a, err := f.Attr(p.ctx, vfs.WantAll)
	p.ok(err)
	return a
}

// contents reads all of f.
func (p *paper) contents(f vfs.File) string {
	p.Helper()
	b, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<40))
	p.ok(err)
	return string(b)
}

func (p *paper) holds(f vfs.File, want string) {
	p.Helper()
	if got := p.contents(f); got != want {
		p.Fatalf("contents %.60q (%d bytes); want %.60q (%d bytes)", got, len(got), want, len(want))
	}
}

// names lists a directory without its dots, in the order it gives.
func (p *paper) names(dir string) []string {
	p.Helper()
	f := p.get(dir)
	defer p.close(f)
	out := []string{}
	p.ok(f.ReadDir(p.ctx, 0, nil, 0, func(_ uint64, e vfs.Entry) bool {
		if e.Name != "." && e.Name != ".." {
			out = append(out, e.Name)
		}
		return true
	}))
	return out
}
