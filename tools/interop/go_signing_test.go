package interop

import (
	"bytes"
	"context"
	"encoding/binary"
	"net"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern-nas/postern/tools/postern"
)

// TestSEC20UnsignedRequest changes requests of a logged-on client on their way: without their signature, with a
// wrong one, or with other contents than were signed. The server must refuse them or hang up, and must not do what
// they ask: the canary file stays as it is. (CVE-2023-3347: the configuration said required, the code did not.)
func TestSEC20UnsignedRequest(t *testing.T) {
	eachLink(t, func(t *testing.T, _ *postern.Server, tgt goTarget, l link) { goUnsigned(t, tgt, l) })
}

func goUnsigned(t *testing.T, tgt goTarget, l link) {
	const (
		create  = 0x0005
		write   = 0x0009
		setInfo = 0x0011
	)
	tampers := []struct {
		name string
		do   func(pkt []byte)
	}{
		{"unsigned", func(pkt []byte) {
			flags := binary.LittleEndian.Uint32(pkt[16:])
			binary.LittleEndian.PutUint32(pkt[16:], flags&^0x8) // SMB2_FLAGS_SIGNED
			clear(pkt[48:64])
		}},
		{"zero signature", func(pkt []byte) { clear(pkt[48:64]) }},
		{"wrong signature", func(pkt []byte) { pkt[63] ^= 1 }},
		{"other contents", func(pkt []byte) { pkt[len(pkt)-1] ^= 1 }},
	}
	for _, tamper := range tampers {
		for _, op := range []struct {
			name    string
			command uint16
		}{{"WRITE", write}, {"SET_INFO", setInfo}, {"CREATE", create}} {
			t.Run(op.name+" "+tamper.name, func(t *testing.T) {
				var armed, changed atomic.Bool
				spoiled := link{l.name, func(ctx context.Context) (net.Conn, error) {
					c, err := l.dial(ctx)
					return &editingConn{Conn: c, edit: func(pkt []byte) {
						if armed.Load() && binary.LittleEndian.Uint16(pkt[12:]) == op.command {
							tamper.do(pkt)
							changed.Store(true)
						}
					}}, err
				}}
				sess, share, err := tgt.logon(t.Context(), spoiled)
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = sess.Logoff() }() // the server may have hung up
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				share = share.WithContext(ctx)
				canary := pattern(20, 10_000)
				if err := share.WriteFile("canary.bin", canary, 0o666); err != nil {
					t.Fatal(err)
				}
				f, err := share.OpenFile("canary.bin", os.O_RDWR, 0o666)
				if err != nil {
					t.Fatal(err)
				}
				armed.Store(true)
				switch op.command {
				case write:
					_, err = f.WriteAt([]byte("dead"), 0)
				case setInfo:
					err = f.Truncate(1)
				case create: // overwrites
					_, err = share.Create("canary.bin")
				}
				if !changed.Load() {
					t.Fatal("no request was changed: the test shows nothing")
				}
				if err == nil {
					t.Error("the request succeeded")
				} else if ctx.Err() != nil {
					t.Error("the server neither answered nor hung up")
				}
				if got := tgt.onDisk(t, "canary.bin"); !bytes.Equal(got, canary) {
					t.Errorf("the canary is dead: %s", difference(got, canary))
				}
			})
		}
	}
	// The server is none the worse for it.
	if err := tgt.mount(t, l).WriteFile("after.bin", []byte("alive"), 0o666); err != nil {
		t.Error(err)
	}
}

// An editingConn lets edit change each SMB2 message before it is sent. The library writes the four length bytes and
// the message with one Write each.
type editingConn struct {
	net.Conn
	edit func(pkt []byte)
}

func (c *editingConn) Write(b []byte) (int, error) {
	if len(b) >= 64 && string(b[:4]) == "\xFESMB" {
		b = bytes.Clone(b)
		c.edit(b)
	}
	return c.Conn.Write(b)
}
