package interop

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/smbtest"
	"github.com/postern-nas/postern/smb/wire"
	"github.com/postern-nas/postern/tools/postern"
)

// openResident is how much of the server's memory an open file may take, in bytes: what package smb counts, the File and
// its descriptor, and what the garbage collector has not yet given back.
const openResident = 8 << 10

// TestSoakOpenFiles opens 100,000 files of a real disk, or as many as the machine has descriptors for: then the server
// refuses, and still lets others in.
func TestSoakOpenFiles(t *testing.T) {
	needsPostern(t)
	want := 300
	if *soak {
		want = 100_000
	}
	eachLink(t, func(t *testing.T, srv *postern.Server, tgt goTarget, l link) {
		name := func(i int) string { return fmt.Sprintf("file-%06d", i) }
		for i := range want {
			if err := os.WriteFile(filepath.Join(tgt.dir, name(i)), []byte(name(i)), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		p := tgt.peer(t, l)
		before := rss(t, srv.PID())
		var ids []wire.FileID
		refused := nt.Success
		asked := make(map[uint64]bool)
		for sent := 0; sent < want && refused == nt.Success || len(asked) > 0; {
			for sent < want && refused == nt.Success && len(asked) < 32 && p.Credits > 1 {
				hdr := p.Request(wire.CmdCreate, 0)
				p.Send(smbtest.Element{Header: hdr, Body: smbtest.OpenAs(name(sent), dtyp.FileRead, wire.FileOpen, 0)})
				asked[hdr.MessageID] = true
				sent++
			}
			m := p.Final()
			delete(asked, m.MessageID)
			var resp wire.CreateResponse
			switch {
			case m.Status != nt.Success:
				refused = m.Status
			case resp.Decode(m.Raw) == nil:
				ids = append(ids, resp.FileID)
			}
		}
		each := (rss(t, srv.PID()) - before) / int64(len(ids))
		t.Logf("%d files open, %d bytes of resident memory each; then %v", len(ids), each, refused)
		if refused != nt.Success && (refused != nt.TooManyOpenedFiles || len(ids) < 256) {
			t.Errorf("after %d files: %v", len(ids), refused)
		}
		if *soak && each > openResident && !raced(t) { // of a few files the rest of the process would be counted, too
			t.Errorf("an open file takes %d bytes, at most %d", each, openResident)
		}
		for i, id := range ids {
			if i%997 == 0 && string(peerRead(p, id, 0, 100)) == "" {
				t.Fatalf("file %d of %d reads as nothing", i, len(ids))
			}
		}
		other := tgt.peer(t, l)
		s := other.Do(wire.CmdCreate, smbtest.OpenAs(name(0), dtyp.FileRead, wire.FileOpen, 0), nil)
		if s != refused {
			t.Errorf("another client's open: %v, want %v", s, refused)
		}
		if s := p.Do(wire.CmdLogoff, &wire.LogoffRequest{}, nil); s != nt.Success {
			t.Fatal(s)
		}
		other.Close(other.Open(name(0), dtyp.FileRead, wire.FileOpen, 0))
	})
}
