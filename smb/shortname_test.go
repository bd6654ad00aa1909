package smb_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-nas/postern/smb"
	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/smbtest"
	"github.com/postern-nas/postern/smb/wire"
)

func shortHouse(t *testing.T) *house {
	return newHouse(t, func(c *smb.Config) { c.Shares[0].ShortNames = true })
}

// alternate is what FileAlternateNameInformation says.
func alternate(t *testing.T, p *smbtest.Peer, name string) (string, nt.Status) {
	t.Helper()
	id := p.Open(name, dtyp.ReadAttributes, wire.FileOpen, 0)
	defer p.Close(id)
	var resp wire.QueryInfoResponse
	req := &wire.QueryInfoRequest{InfoType: wire.InfoFile, InfoClass: uint8(fscc.FileAlternateNameInformation), OutputBufferLength: 100, FileID: id}
	if s := p.Do(wire.CmdQueryInfo, req, &resp); s != nt.Success {
		return "", s
	}
	var n fscc.NameInfo
	if err := n.Decode(resp.Buffer); err != nil {
		t.Fatal(err)
	}
	return n.Name, nt.Success
}

// There are no short names unless a share says so.
func TestWithoutShortNames(t *testing.T) {
	p := newHouse(t, nil).logon("alice", "disk")
	const long = "a long name.text"
	p.Close(p.Open(long, all, wire.FileCreate, 0))
	if e := entries(t, p, "", "*")[long]; e.ShortName != "" {
		t.Errorf("a listing shows %q", e.ShortName)
	}
	if n, s := alternate(t, p, long); s != nt.NotSupported {
		t.Errorf("%q, %v", n, s)
	}
	if s := p.Do(wire.CmdCreate, smbtest.OpenAs(fscc.ShortName(long), all, wire.FileOpen, 0), nil); s != nt.ObjectNameNotFound {
		t.Errorf("open by a short name: %v", s)
	}
	if n := len(entries(t, p, "", fscc.ShortName(long))); n != 0 {
		t.Errorf("%d entries by a short name", n)
	}
}

func TestSEC28ShortNames(t *testing.T) {
	p := shortHouse(t).logon("alice", "disk")
	const dir, file = "a long directory", "a long name.text"
	p.Close(p.Open(dir, all, wire.FileCreate, wire.FileDirectoryFile))
	p.Close(p.Open(dir+`\`+file, all, wire.FileCreate, 0))
	p.Close(p.Open(dir+`\short.txt`, all, wire.FileCreate, 0))
	shortDir, short := fscc.ShortName(dir), fscc.ShortName(file)

	list := entries(t, p, dir, "*")
	if list[file].ShortName != short || list["short.txt"].ShortName != "" || list["."].ShortName != "" || list[".."].ShortName != "" {
		t.Errorf("a listing shows %+v", list)
	}
	if e := entries(t, p, dir, short); len(e) != 1 || e[file].Name != file {
		t.Errorf("a search for %q finds %+v", short, e)
	}
	for name, want := range map[string]string{dir: shortDir, dir + `\` + file: short, dir + `\short.txt`: "short.txt"} {
		if n, s := alternate(t, p, name); n != want || s != nt.Success {
			t.Errorf("%q has %q, %v", name, n, s)
		}
	}
	if n, s := alternate(t, p, ""); s != nt.ObjectNameNotFound {
		t.Errorf("the root has %q, %v", n, s)
	}

	// Both names, in either case and anywhere in a path, are the same file.
	for _, name := range []string{shortDir + `\` + short, dir + `\` + short, shortDir + `\` + file, strings.ToLower(shortDir + `\` + short)} {
		if s := p.Do(wire.CmdCreate, smbtest.OpenAs(name, dtyp.ReadAttributes, wire.FileOpen, 0), nil); s != nt.Success {
			t.Errorf("open of %q: %v", name, s)
		}
	}
	if s := p.Do(wire.CmdCreate, smbtest.OpenAs(dir+`\`+short, all, wire.FileCreate, 0), nil); s != nt.ObjectNameCollision {
		t.Errorf("making %q anew: %v", short, s)
	}
	for _, name := range []string{`A00000~0\x`, `A00000~0\A11111~1`} {
		if s := p.Do(wire.CmdCreate, smbtest.OpenAs(name, all, wire.FileOpenIf, 0), nil); s != nt.ObjectPathNotFound {
			t.Errorf("open of %q: %v", name, s)
		}
	}
	// In a deep path a missing name is found wherever it is.
	deep, deepShort := dir, shortDir
	for i := range 20 {
		name := fmt.Sprintf("level number %d", i)
		deep += `\` + name
		if i%3 == 0 {
			name = fscc.ShortName(name)
		}
		deepShort += `\` + name
		mkdir(p, deep)
	}
	for name, want := range map[string]nt.Status{
		deepShort: nt.Success, deepShort + `\A00000~0`: nt.ObjectNameNotFound, deepShort + `\A00000~0\x`: nt.ObjectPathNotFound,
	} {
		if s := p.Do(wire.CmdCreate, smbtest.OpenAs(name, dtyp.ReadAttributes, wire.FileOpen, 0), nil); s != want {
			t.Errorf("open of %q: %v", name, s)
		}
	}
	// A rename to the short name of another file is a rename to that file.
	id := p.Open(dir+`\short.txt`, all, wire.FileOpen, 0)
	if s := setInfo(p, id, fscc.FileRenameInformation, fscc.RenameInfo{Name: dir + `\` + short}.Append(nil)); s != nt.ObjectNameCollision {
		t.Errorf("rename to %q: %v", short, s)
	}
	p.Close(id)
	// A file that really is called so comes first.
	p.Close(p.Open(short, all, wire.FileCreate, 0))
	p.Close(p.Open(file, all, wire.FileCreate, 0))
	id = p.Open(short, all, wire.FileOpen, wire.FileDeleteOnClose)
	p.Close(id)
	if e := entries(t, p, "", "*"); e[file].Name == "" || e[short].Name != "" {
		t.Errorf("left: %+v", e)
	}
}

// Who deletes a file, or gives it another name, and makes its short name again has it under its long one, for a moment.
func TestTunnel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := shortHouse(t).pipe("alice")
		const long = "a long name.text"
		short := fscc.ShortName(long)
		only := func(want string) {
			t.Helper()
			e := entries(t, p, "", "*")
			if len(e) != 3 || e[want].Name != want {
				t.Errorf("want %q alone, there is %+v", want, e)
			}
		}
		p.Close(p.Open(long, all, wire.FileCreate, 0))
		p.Close(p.Open(short, all, wire.FileOpen, wire.FileDeleteOnClose))
		p.Close(p.Open(short, all, wire.FileCreate, 0))
		only(long)
		id := p.Open(long, all, wire.FileOpen, 0)
		if s := setInfo(p, id, fscc.FileRenameInformation, fscc.RenameInfo{Name: "x"}.Append(nil)); s != nt.Success {
			t.Fatal(s)
		}
		if s := p.Do(wire.CmdCreate, smbtest.OpenAs(short, all, wire.FileOpen, 0), nil); s != nt.ObjectNameNotFound {
			t.Errorf("open of what is gone: %v", s)
		}
		dir := p.Open(short, all, wire.FileOpenIf, wire.FileDirectoryFile)
		if e := entries(t, p, "", "*"); e[long].Name == "" {
			t.Errorf("after a rename: %+v", e)
		}
		if s := setInfo(p, dir, fscc.FileDispositionInformation, []byte{1}); s != nt.Success {
			t.Fatal(s)
		}
		p.Close(dir)
		if s := setInfo(p, id, fscc.FileDispositionInformation, []byte{1}); s != nt.Success {
			t.Fatal(s)
		}
		p.Close(id)
		time.Sleep(16 * time.Second)
		p.Close(p.Open(short, all, wire.FileCreate, 0))
		only(short)
	})
}
