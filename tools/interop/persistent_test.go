package interop

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/postern-nas/postern/smb/crypt"
	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/smbtest"
	"github.com/postern-nas/postern/smb/wire"
	"github.com/postern-nas/postern/tools/postern"
)

// TestPersistentKill copies a file up through a persistent handle while the server is ended with SIGKILL, twice. Each
// time the client finds its handle again, sends anew what it had no answer to, and goes on; nobody else gets at the file
// in between; and at the end the file is what was sent. (SIGKILL leaves the page cache alone: this is a crash or an
// update of the server, not of the power.)
func TestPersistentKill(t *testing.T) {
	needsPostern(t)
	for _, transport := range []string{"quic", "tcp"} {
		t.Run(transport, func(t *testing.T) {
			dir := t.TempDir()
			srv := postern.Run(t, postern.Config{
				Shares: []postern.Share{{Name: "disk", Path: dir, Continuous: true}},
				Users:  []postern.User{{Name: alice, Password: alicePassword}, {Name: "carol", Password: "carol's password"}},
			})
			dial := srv.DialTCP
			if transport == "quic" {
				dial = srv.DialQUIC
			}
			persistentKill(t, srv, dial, dir)
		})
	}
}

const (
	copyPieces = 96
	copyPiece  = 256 << 10
	copyAhead  = 6 // WRITEs on their way
)

// A copier is a client that copies one file.
type copier struct {
	t    *testing.T
	dial func(context.Context) (net.Conn, error)
	data []byte
	id   wire.FileID
	done [copyPieces]bool // answered
	next int
	lost []int // sent and not answered
}

func (c *copier) logon(user, password string, client byte) *smbtest.Peer {
	c.t.Helper()
	conn, err := c.dial(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { conn.Close() })
	p := smbtest.New(c.t, conn)
	p.Signing, p.Client, p.Capabilities = crypt.AESGMAC, dtyp.GUID{client}, wire.CapPersistentHandles
	p.Negotiate(wire.Dialect311)
	if s := p.Logon(user, password, 0); s != nt.Success {
		c.t.Fatalf("logon: %v", s)
	}
	if s := p.Tree("disk"); s != nt.Success {
		c.t.Fatalf("tree connect: %v", s)
	}
	return p
}

var copyLease = wire.Lease{V2: true, Key: [16]byte{42}, State: 7}

func copyCreate(name string, context wire.CreateContext) *wire.CreateRequest {
	req := smbtest.OpenAs(name, dtyp.FileAll, wire.FileCreate, 0)
	req.ShareAccess, req.OplockLevel = 0, wire.OplockLease
	req.Contexts = []wire.CreateContext{context, {Name: wire.CreateLease, Data: copyLease.Append(nil)}}
	return req
}

// send hands one piece to the server.
func (c *copier) send(p *smbtest.Peer, piece int, flags wire.Flags) (messageID uint64) {
	h := p.Request(wire.CmdWrite, copyPiece)
	h.Flags |= flags
	off := piece * copyPiece
	p.Send(smbtest.Element{Header: h, Body: &wire.WriteRequest{FileID: c.id, Offset: uint64(off), Data: c.data[off : off+copyPiece]}})
	return h.MessageID
}

// copy sends pieces until all are answered, or the connection breaks. After is called, in a goroutine of its own, when
// so many pieces are answered.
func (c *copier) copy(p *smbtest.Peer, after int, then func()) {
	waiting := make(map[uint64]int)
	replays := c.lost
	c.lost = nil
	for {
		for len(waiting) < copyAhead && (len(replays) > 0 || c.next < copyPieces) {
			if len(replays) > 0 {
				waiting[c.send(p, replays[0], wire.FlagReplay)] = replays[0]
				replays = replays[1:]
				continue
			}
			waiting[c.send(p, c.next, 0)] = c.next
			c.next++
		}
		if len(waiting) == 0 {
			return
		}
		m, err := p.Recv()
		if err != nil {
			for _, piece := range waiting {
				c.lost = append(c.lost, piece)
			}
			c.lost = append(c.lost, replays...)
			return
		}
		if m.Status == nt.Pending {
			continue
		}
		piece, ok := waiting[m.MessageID]
		if !ok || m.Status != nt.Success {
			c.t.Fatalf("%v %d: %v", m.Command, m.MessageID, m.Status)
		}
		delete(waiting, m.MessageID)
		c.done[piece] = true
		if after--; after == 0 {
			go then()
		}
	}
}

func persistentKill(t *testing.T, srv *postern.Server, dial func(context.Context) (net.Conn, error), dir string) {
	c := &copier{t: t, dial: dial, data: pattern(4711, copyPieces*copyPiece)}
	p := c.logon(alice, alicePassword, 1)
	guid := dtyp.GUID{99}
	ask := wire.DurableV2Request{Timeout: 60_000, Flags: wire.DurablePersistent, CreateGUID: guid}
	var resp wire.CreateResponse
	if s := p.Do(wire.CmdCreate, copyCreate("copy.bin", wire.CreateContext{Name: wire.CreateDurableV2, Data: ask.Append(nil)}), &resp); s != nt.Success {
		t.Fatal(s)
	}
	c.id = resp.FileID
	for kill := range 2 {
		killed := make(chan error, 1)
		c.copy(p, copyPieces/3, func() {
			err := srv.Kill()
			p.Conn.SetDeadline(time.Unix(1, 0)) // a QUIC client would wait for its idle timeout
			p.Conn.Close()
			killed <- err
		})
		if err := <-killed; err != nil {
			t.Fatal(err)
		}
		t.Logf("killed with %d pieces sent and %d of them not answered", c.next, len(c.lost))
		if len(c.lost) == 0 {
			t.Error("nothing was on its way: the test shows less than it should")
		}
		if err := srv.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		carol := c.logon("carol", "carol's password", 2)
		for _, access := range []dtyp.Access{dtyp.ReadData, dtyp.WriteData, dtyp.Delete} {
			if s := carol.Do(wire.CmdCreate, smbtest.OpenAs("copy.bin", access, wire.FileOpen, 0), nil); s != nt.FileNotAvailable && s != nt.SharingViolation {
				t.Errorf("another client, for %#x: %v", uint32(access), s)
			}
		}
		p = c.logon(alice, alicePassword, 1)
		p.Channel = uint16(kill + 1)
		back := wire.DurableV2Reconnect{FileID: c.id, CreateGUID: guid, Flags: wire.DurablePersistent}
		if s := p.Do(wire.CmdCreate, copyCreate("copy.bin", wire.CreateContext{Name: wire.CreateDurableV2Reconnect, Data: back.Append(nil)}), &resp); s != nt.Success {
			t.Fatalf("the handle is not there any more: %v", s)
		}
		c.id = resp.FileID
		// What carol wanted is told now; she does not wait any more, and the client keeps what it may.
		if m := p.Final(); m.Command != wire.CmdOplockBreak {
			t.Errorf("%v", m.Command)
		}
		ack := wire.LeaseBreakAck{Key: copyLease.Key, State: wire.LeaseRead | wire.LeaseWrite}
		if s := p.Do(wire.CmdOplockBreak, &ack, nil); s != nt.Success {
			t.Errorf("acknowledgment: %v", s)
		}
	}
	c.copy(p, -1, nil)
	for i, done := range c.done {
		if !done {
			t.Fatalf("piece %d was never answered", i)
		}
	}
	p.Close(c.id)
	got, err := os.ReadFile(filepath.Join(dir, "copy.bin"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, c.data) {
		t.Error(difference(got, c.data))
	}
	carol := c.logon("carol", "carol's password", 2)
	carol.Close(carol.Open("copy.bin", dtyp.FileAll, wire.FileOpen, 0))
	if err := srv.Stop(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Error(fmt.Errorf("stop: %w", err))
	}
}
