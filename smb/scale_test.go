package smb_test

import (
	"encoding/binary"
	"flag"
	"fmt"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/postern-nas/postern/smb"
	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/smbtest"
	"github.com/postern-nas/postern/smb/vfs/osfs"
	"github.com/postern-nas/postern/smb/wire"
)

// Without -soak the tests named TestSoak do a small part of their work, for make test.
var soak = flag.Bool("soak", false, "the tests of endurance and scale at full length; see make soak")

// heap is what is in use, in bytes.
func heap() int64 {
	runtime.GC()
	runtime.GC() // what pools held back
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// openCost is what an open file may take of memory: the Open and its place in the tables, the object with its share
// mode, and the volume's File. 1.4 KB were measured; the kernel's part is not in it.
const openCost = 2048

// listCost is what the server may allocate, all in all, to list one more entry, in bytes; nothing of it stays. nameCost
// is what stays of a name in the volume's index, in bytes: 79 were measured of a million names of 17 bytes.
const (
	listCost = 256
	nameCost = 160
)

// Many open files of one client, 100,000 with -soak.
func TestSoakManyOpens(t *testing.T) {
	n := 2_000
	if *soak {
		n = 100_000
	}
	h := newHouse(t, nil)
	p := h.logon("alice", "disk")
	dir := p.Open("dir", all, wire.FileCreate, wire.FileDirectoryFile)
	p.Close(dir)
	name := func(i int) string { return fmt.Sprintf(`dir\file-%06d`, i) }
	create := func(i int, disposition uint32) smbtest.Body { return smbtest.OpenAs(name(i), all, disposition, 0) }
	ids := make([]wire.FileID, n)
	for i, id := range each(p, n, wire.CmdCreate, func(i int) smbtest.Body { return create(i, wire.FileCreate) }) {
		ids[i] = id
	}
	for range each(p, n, wire.CmdClose, func(i int) smbtest.Body { return &wire.CloseRequest{FileID: ids[i]} }) {
	}
	before := heap()
	start := time.Now()
	for i, id := range each(p, n, wire.CmdCreate, func(i int) smbtest.Body { return create(i, wire.FileOpen) }) {
		ids[i] = id
	}
	took := time.Since(start)
	cost := (heap() - before) / int64(n)
	t.Logf("%d open files: %d bytes each, %v to open one", n, cost, took/time.Duration(n))
	if cost > openCost {
		t.Errorf("an open file takes %d bytes, at most %d", cost, openCost)
	}
	if st := h.server.Stats(); st.Opens != int64(n) {
		t.Fatalf("%d opens", st.Opens)
	}
	// What is asked of all opens is still answered: may the directory be renamed?
	start = time.Now()
	dir = p.Open("dir", all, wire.FileOpen, wire.FileDirectoryFile)
	s := p.Do(wire.CmdSetInfo, &wire.SetInfoRequest{
		FileID: dir, InfoType: wire.InfoFile, InfoClass: uint8(fscc.FileRenameInformation), Buffer: fscc.RenameInfo{Name: "moved"}.Append(nil),
	}, nil)
	if s != nt.AccessDenied {
		t.Errorf("renaming a directory with open files in it: %v", s)
	}
	p.Close(dir)
	t.Logf("a rename that looks at all of them: %v", time.Since(start))
	start = time.Now()
	if s := p.Do(wire.CmdLogoff, &wire.LogoffRequest{}, nil); s != nt.Success {
		t.Fatal(s)
	}
	t.Logf("a logoff that closes them: %v", time.Since(start))
}

// each sends n requests, as many at a time as credits allow, and yields what each CREATE opened. All must succeed.
func each(p *smbtest.Peer, n int, cmd wire.Command, body func(i int) smbtest.Body) func(func(int, wire.FileID) bool) {
	return func(yield func(int, wire.FileID) bool) {
		p.T.Helper()
		asked := make(map[uint64]int)
		for sent, got := 0, 0; got < n; {
			for sent < n && p.Credits > 1 && len(asked) < 64 {
				hdr := p.Request(cmd, 0)
				asked[hdr.MessageID] = sent
				p.Send(smbtest.Element{Header: hdr, Body: body(sent)})
				sent++
			}
			m := p.Final()
			i, ok := asked[m.MessageID]
			if !ok || m.Status != nt.Success {
				p.T.Fatalf("%v %d: %v", m.Command, m.MessageID, m.Status)
			}
			delete(asked, m.MessageID)
			got++
			var resp wire.CreateResponse
			if cmd == wire.CmdCreate {
				if err := resp.Decode(m.Raw); err != nil {
					p.T.Fatal(err)
				}
			}
			if !yield(i, resp.FileID) {
				return
			}
		}
	}
}

// A directory of many entries on a real filesystem, 1,000,000 with -soak: to list it all, and to find a name in it in
// another case, which has the volume read the directory once and remember its names.
func TestSoakLargeDirectory(t *testing.T) {
	n := 5_000
	if *soak {
		n = 1_000_000
	}
	root := t.TempDir()
	var wg sync.WaitGroup
	const makers = 4
	for m := range makers {
		wg.Go(func() {
			for i := m; i < n; i += makers {
				if err := os.WriteFile(fmt.Sprintf("%s/entry-%07d.txt", root, i), nil, 0o644); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	v, err := osfs.New(root)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	h := newHouse(t, func(c *smb.Config) {
		c.Shares = append(c.Shares, smb.Share{Name: "wide", Volume: v, Rights: rights("wide")})
	})
	p := h.logon("alice", "wide")
	dir := p.Open("", dtyp.FileRead, wire.FileOpen, wire.FileDirectoryFile)
	const buffer = 64 << 10
	list := func(entries int) (seen, replies int) {
		req := &wire.QueryDirectoryRequest{
			FileID: dir, InfoClass: uint8(fscc.FileIdBothDirectoryInformation), Pattern: "*", Flags: wire.QueryRestartScans, OutputBufferLength: buffer,
		}
		for ; seen < entries; req.Flags = 0 {
			hdr := p.Request(wire.CmdQueryDirectory, buffer)
			p.Send(smbtest.Element{Header: hdr, Body: req})
			m := p.Final()
			if m.Status == nt.NoMoreFiles {
				break
			}
			var resp wire.QueryDirectoryResponse
			if err := resp.Decode(m.Raw); err != nil || m.Status != nt.Success {
				t.Fatal(m.Status, err)
			}
			replies++
			for b := resp.Buffer; ; {
				seen++
				next := binary.LittleEndian.Uint32(b)
				if next == 0 {
					break
				}
				b = b[next:]
			}
		}
		return seen, replies
	}
	list(1000) // fills pools
	before, allocated := heap(), total()
	start := time.Now()
	seen, replies := list(1 << 30)
	took := time.Since(start)
	if seen != n+2 {
		t.Errorf("%d entries of %d", seen, n+2)
	}
	// The peer takes every reply into memory of its own.
	perEntry := (total() - allocated - int64(replies)*(buffer+(8<<10))) / int64(n)
	t.Logf("listed %d entries, %v each: %d bytes allocated for one, %d bytes more in use than before", n, took/time.Duration(n), perEntry, heap()-before)
	most := int64(listCost)
	if raceEnabled { // sync.Pool forgets at random then: at worst a reply's buffer each time
		most += int64(replies) * 2 * buffer / int64(n)
	}
	if perEntry > most {
		t.Errorf("%d bytes allocated for an entry, at most %d", perEntry, most)
	}
	p.Close(dir)

	for range 2 {
		start = time.Now()
		p.Close(p.Open(fmt.Sprintf("ENTRY-%07d.TXT", n/2), dtyp.FileRead, wire.FileOpen, 0))
		t.Logf("a name in another case: %v", time.Since(start))
	}
	cost := (heap() - before) / int64(n)
	t.Logf("%d bytes kept for a name", cost)
	if cost > nameCost {
		t.Errorf("%d bytes are kept for a name, at most %d", cost, nameCost)
	}
	start = time.Now()
	for i := range 1000 {
		p.Close(p.Open(fmt.Sprintf("New-%d", i), all, wire.FileCreate, 0))
	}
	t.Logf("a new entry: %v", time.Since(start)/1000)
}

// total is all that was ever allocated, in bytes.
func total() int64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.TotalAlloc)
}

// Opens of all sessions together are bounded, too: the machine's descriptors are.
func TestMaxOpens(t *testing.T) {
	h := newHouse(t, func(c *smb.Config) { c.MaxOpens = 3 })
	a, b := h.logon("alice", "disk"), h.logon("bob", "disk")
	ids := []wire.FileID{a.Open("1", all, wire.FileCreate, 0), a.Open("2", all, wire.FileCreate, 0)}
	b.Open("3", all, wire.FileCreate, 0)
	for range 3 {
		for _, p := range []*smbtest.Peer{a, b} {
			if s := p.Do(wire.CmdCreate, smbtest.OpenAs("1", all, wire.FileOpen, 0), nil); s != nt.TooManyOpenedFiles {
				t.Fatalf("a fourth: %v", s)
			}
		}
	}
	a.Close(ids[0])
	b.Open("1", all, wire.FileOpen, 0)
}
