package smb_test

import (
	"testing"

	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/smbtest"
	"github.com/postern-nas/postern/smb/vfs"
	"github.com/postern-nas/postern/smb/wire"
)

// A directory with entries does not go because it was to on close, and the CLOSE says nothing of it: [MS-FSA] 2.1.5.5.
// To mark it for deletion is refused instead, 2.1.5.15.3. What only waits for its last open is an entry still.
func TestDeleteFullDirectory(t *testing.T) {
	p := newHouse(t, nil).logon("alice", "disk")
	mkdir(p, "dir")
	for _, last := range []bool{false, true} {
		child := p.Open(`dir\child`, all, wire.FileOpenIf, 0)
		if last {
			p.Close(p.Open(`dir\child`, all, wire.FileOpen, wire.FileDeleteOnClose))
			if s := p.Do(wire.CmdCreate, smbtest.OpenAs(`dir\child`, all, wire.FileOpen, 0), nil); s != nt.DeletePending {
				t.Errorf("open of a child that is going: %v", s)
			}
		}
		rmdir(p, "dir")
		dir := p.Open("dir", all, wire.FileOpen, wire.FileDirectoryFile) // there, and not going
		if s := setInfo(p, dir, fscc.FileDispositionInformation, []byte{1}); s != nt.DirectoryNotEmpty {
			t.Errorf("child going %t: %v", last, s)
		}
		p.Close(dir)
		p.Close(child)
	}
	rmdir(p, "dir")
	if s := p.Do(wire.CmdCreate, smbtest.OpenAs("dir", all, wire.FileOpen, 0), nil); s != nt.ObjectNameNotFound {
		t.Errorf("open of an empty directory that was deleted: %v", s)
	}
}

// Byte-range locks are about reading, writing and locking. They keep nobody from setting the size: [MS-FSA] 2.1.5.15.1 and
// 2.1.5.15.4 do not ask for them, nor does an overwrite, 2.1.5.1.2.
func TestLocksAndSizes(t *testing.T) {
	p := newHouse(t, nil).logon("alice", "disk")
	id, other := p.Open("f", all, wire.FileCreate, 0), p.Open("f", all, wire.FileOpen, 0)
	write(t, p, id, 0, make([]byte, 100))
	lock := &wire.LockRequest{FileID: id, Locks: []wire.LockElement{{Length: 100, Flags: wire.LockExclusive | wire.LockFailImmediately}}}
	if s := p.Do(wire.CmdLock, lock, nil); s != nt.Success {
		t.Fatal(s)
	}
	if s := p.Do(wire.CmdWrite, &wire.WriteRequest{FileID: other, Data: []byte("x")}, nil); s != nt.FileLockConflict {
		t.Fatalf("a write into the lock: %v", s)
	}
	for _, class := range []fscc.FileClass{fscc.FileEndOfFileInformation, fscc.FileAllocationInformation} {
		for _, size := range []int64{50, 10} {
			if s := setInfo(p, other, class, fscc.SizeInfo{Size: size}.Append(nil)); s != nt.Success {
				t.Errorf("%v of %d: %v", class, size, s)
			}
		}
	}
	p.Close(create(t, p, smbtest.OpenAs("f", all, wire.FileOverwrite, 0)).FileID)
}

// A path may lead through "..", which takes away the name before it; nothing is looked up for that.
func TestSEC28Dots(t *testing.T) {
	p := newHouse(t, nil).logon("alice", "disk")
	mkdir(p, "dir")
	p.Close(p.Open("f", all, wire.FileCreate, 0))
	for name, want := range map[string]nt.Status{
		`dir\..\f`: nt.Success, `nowhere\..\f`: nt.Success, `dir\..`: nt.Success, `f\..\dir`: nt.Success,
		`..`: nt.ObjectPathSyntaxBad, `dir\..\..\f`: nt.ObjectPathSyntaxBad, `dir\.\..\f`: nt.ObjectNameInvalid,
		`f::$DATA\..\f`: nt.ObjectNameInvalid, `dir\..\nowhere`: nt.ObjectNameNotFound,
	} {
		if s := p.Do(wire.CmdCreate, smbtest.OpenAs(name, dtyp.ReadAttributes, wire.FileOpen, 0), nil); s != want {
			t.Errorf("%q: %v, want %v", name, s, want)
		}
	}
	id := p.Open("f", all, wire.FileOpen, 0)
	for name, want := range map[string]nt.Status{`..\g`: nt.ObjectPathSyntaxBad, `dir\..\dir\g`: nt.Success} {
		if s := setInfo(p, id, fscc.FileRenameInformation, fscc.RenameInfo{Name: name}.Append(nil)); s != want {
			t.Errorf("rename to %q: %v, want %v", name, s, want)
		}
	}
	if e := entries(t, p, "dir", "*"); e["g"].Attributes&vfs.AttrArchive == 0 {
		t.Errorf("in dir: %+v", e)
	}
}
