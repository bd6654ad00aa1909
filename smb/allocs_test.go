package smb_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/postern-nas/postern/smb"
	"github.com/postern-nas/postern/smb/crypt"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/smbtest"
	"github.com/postern-nas/postern/smb/vfs/memfs"
	"github.com/postern-nas/postern/smb/wire"
)

// opaque is a transport that is no socket that the server knows, as a QUIC stream is none.
type opaque struct{ net.Conn }

// TestIOAllocations: READ and WRITE allocate nothing from request to reply, over a socket and over another transport,
// signed and sealed and plain.
func TestIOAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("sync.Pool forgets at random under -race")
	}
	for _, size := range []int{4 << 10, 1 << 20} {
		for _, transport := range []string{"tcp", "quic"} {
			for _, way := range []string{"plain", "signed"} {
				t.Run(fmt.Sprintf("%s/%s/%dK", transport, way, size>>10), func(t *testing.T) {
					l := newLoader(t, transport, way == "signed", size)
					read := &wire.ReadRequest{FileID: l.file, Length: uint32(size)}
					write := &wire.WriteRequest{FileID: l.file, Data: make([]byte, size)}
					for name, body := range map[string]smbtest.Body{"READ": read, "WRITE": write} {
						cmd := wire.CmdRead
						if body == smbtest.Body(write) {
							cmd = wire.CmdWrite
						}
						const some = 20
						request := func() {
							for range some {
								l.do(cmd, body)
							}
						}
						request() // pools fill, tables grow
						if n := testing.AllocsPerRun(20, request); n != 0 {
							t.Errorf("%s: %v allocations in %d requests", name, n, some)
						}
					}
				})
			}
		}
	}
}

// A loader is a client that allocates nothing.
type loader struct {
	t       *testing.T
	p       *smbtest.Peer
	conn    net.Conn
	signed  bool
	size    int
	file    wire.FileID
	out, in []byte
}

func newLoader(t *testing.T, transport string, signed bool, size int) *loader {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	var server net.Conn
	if server, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	if transport == "quic" {
		server = opaque{server}
	}
	h := newHouse(t, func(cfg *smb.Config) {
		cfg.Shares[0].Volume = memfs.New()
		cfg.SigningOptional = !signed
	})
	h.info.Transport = transport
	over := make(chan struct{})
	go func() {
		h.server.ServeConn(context.Background(), server, h.info)
		close(over)
	}()
	t.Cleanup(func() {
		client.Close()
		<-over
	})
	p := smbtest.New(t, client)
	p.Signing = crypt.AESGMAC
	p.Negotiate(wire.Dialect311)
	if s := p.Logon("alice", "secret", 0); s != nt.Success {
		t.Fatal(s)
	}
	if s := p.Tree("disk"); s != nt.Success {
		t.Fatal(s)
	}
	ld := &loader{t: t, p: p, conn: client, signed: signed, size: size, file: p.Open("file", all, wire.FileCreate, 0)}
	p.DoCharged(wire.CmdWrite, size, &wire.WriteRequest{FileID: ld.file, Data: make([]byte, size)}, nil)
	client.SetDeadline(time.Time{})
	ld.out, ld.in = make([]byte, 0, size+1024), make([]byte, size+1024)
	return ld
}

// do sends a request and takes its reply.
func (l *loader) do(cmd wire.Command, body smbtest.Body) {
	charge := uint16((l.size-1)>>16 + 1)
	hdr := wire.Header{
		Command: cmd, CreditCharge: charge, Credits: charge, MessageID: l.p.MessageID, SessionID: l.p.SessionID, TreeID: l.p.TreeID,
	}
	l.p.MessageID += uint64(charge)
	if l.signed {
		hdr.Flags = wire.FlagSigned
	}
	out := body.Append(hdr.Append(l.out[:4]))
	binary.BigEndian.PutUint32(out, uint32(len(out)-4))
	if l.signed {
		l.p.Signer.Sign(out[4:])
	}
	if _, err := l.conn.Write(out); err != nil {
		l.t.Fatal(err)
	}
	if _, err := io.ReadFull(l.conn, l.in[:4]); err != nil {
		l.t.Fatal(err)
	}
	n := int(binary.BigEndian.Uint32(l.in))
	if n > len(l.in) {
		l.t.Fatalf("a reply of %d bytes", n)
	}
	if _, err := io.ReadFull(l.conn, l.in[:n]); err != nil {
		l.t.Fatal(err)
	}
	if status := nt.Status(binary.LittleEndian.Uint32(l.in[8:])); status != nt.Success {
		l.t.Fatalf("%v: %v", cmd, status)
	}
}
