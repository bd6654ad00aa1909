package smb_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/postern-nas/postern/smb"
	"github.com/postern-nas/postern/smb/crypt"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/smbtest"
	"github.com/postern-nas/postern/smb/vfs"
	"github.com/postern-nas/postern/smb/vfs/memfs"
	"github.com/postern-nas/postern/smb/wire"
)

// A span is a piece of memory.
type span struct{ from, to uintptr }

func spanOf(b []byte) span {
	p := uintptr(unsafe.Pointer(unsafe.SliceData(b)))
	return span{p, p + uintptr(len(b))}
}

// common is how many bytes of s lie in one of others.
func (s span) common(others []span) (n int) {
	for _, o := range others {
		if from, to := max(s.from, o.from), min(s.to, o.to); from < to {
			n += int(to - from)
		}
	}
	return n
}

// A witness sees what memory the transport and the storage are given.
type witness struct {
	mu             sync.Mutex
	sent, received []span // by net.Conn
	read, written  []span // by vfs.File
}

func (w *witness) note(list *[]span, b []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	*list = append(*list, spanOf(b))
}

type seenConn struct {
	net.Conn
	w *witness
}

func (c seenConn) Write(b []byte) (int, error) {
	c.w.note(&c.w.sent, b)
	return c.Conn.Write(b)
}

func (c seenConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.w.note(&c.w.received, b[:n])
	return n, err
}

type seenVolume struct {
	vfs.Volume
	w *witness
}

type seenFile struct {
	vfs.File
	w *witness
}

func (v seenVolume) Open(ctx context.Context, p vfs.Path, how vfs.How) (vfs.File, vfs.Action, error) {
	f, a, err := v.Volume.Open(ctx, p, how)
	if err != nil {
		return nil, 0, err
	}
	return seenFile{f, v.w}, a, nil
}

func (f seenFile) ReadAt(b []byte, off int64) (int, error) {
	f.w.mu.Lock()
	f.w.sent = nil // what was sent before may have been in the same memory, which is lent again and again
	f.w.mu.Unlock()
	f.w.note(&f.w.read, b)
	return f.File.ReadAt(b, off)
}

func (f seenFile) WriteAt(b []byte, off int64) (int, error) {
	f.w.note(&f.w.written, b)
	return f.File.WriteAt(b, off)
}

// What storage reads into is what the transport sends from, and what the transport received into is what storage writes
// from: between the two we copy nothing. Sealing is done in place.
func TestZeroCopy(t *testing.T) {
	for _, c := range []struct {
		name string
		seal bool
		size int
	}{{"signed, 64 KiB", false, 64 << 10}, {"signed, 1 MiB", false, 1 << 20}, {"sealed, 64 KiB", true, 64 << 10}, {"sealed, 1 MiB", true, 1 << 20}} {
		t.Run(c.name, func(t *testing.T) {
			w := &witness{}
			h := newHouse(t, func(cfg *smb.Config) { cfg.Shares[0].Volume = seenVolume{cfg.Shares[0].Volume, w} })
			h.info.Transport, h.info.Secure = "quic", true
			client, server := net.Pipe()
			over := make(chan struct{})
			go func() {
				h.server.ServeConn(context.Background(), seenConn{server, w}, h.info)
				close(over)
			}()
			p := smbtest.New(t, client)
			p.Signing = crypt.AESGMAC
			p.Negotiate(wire.Dialect311)
			p.Logon("alice", "secret", 0)
			p.Tree("disk")
			p.Seal = c.seal
			id := p.Open("file", all, wire.FileCreate, 0)
			data := bytes.Repeat([]byte("0123456789abcdef"), c.size/16)
			write(t, p, id, 0, data)
			if got := read(t, p, id, 0, c.size); !bytes.Equal(got, data) {
				t.Error("read is not what was written")
			}
			p.Conn.Close()
			<-over
			if len(w.read) != 1 || len(w.written) != 1 {
				t.Fatalf("%d reads and %d writes of the file", len(w.read), len(w.written))
			}
			if n := w.read[0].common(w.sent); n != c.size {
				t.Errorf("of %d bytes that were read, %d were sent from where they were", c.size, n)
			}
			// The first bytes of a frame come with its length prefix, through the small buffer that this is read by.
			if n := w.written[0].common(w.received); n < c.size-4096 {
				t.Errorf("of %d bytes that were written, %d were where they came in", c.size, n)
			}
		})
	}
}

// A READ from request to reply, with as little of a client as there can be: what is allocated is the server's.
func BenchmarkRead(b *testing.B) {
	for _, size := range []int{4 << 10, 64 << 10, 1 << 20} {
		for _, transport := range []string{"pipe", "loopback"} {
			for _, seal := range []bool{false, true} {
				way := "signed"
				if seal {
					way = "sealed"
				}
				b.Run(fmt.Sprintf("%s/%s/%dK", transport, way, size>>10), func(b *testing.B) { benchmarkRead(b, transport, seal, size) })
			}
		}
	}
}

func benchmarkRead(b *testing.B, transport string, seal bool, size int) {
	client, server := net.Pipe()
	if transport == "loopback" {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		defer l.Close()
		if client, err = net.Dial("tcp", l.Addr().String()); err != nil {
			b.Fatal(err)
		}
		if server, err = l.Accept(); err != nil {
			b.Fatal(err)
		}
	}
	s := fuzzServer(b, memfs.New())
	over := make(chan struct{})
	go func() {
		s.ServeConn(context.Background(), server, smb.ConnInfo{Transport: "tcp"})
		close(over)
	}()
	p := smbtest.New(b, client)
	p.Signing = crypt.AESGMAC
	p.Negotiate(wire.Dialect311)
	if st := p.Logon("alice", "secret", 0); st != nt.Success {
		b.Fatal(st)
	}
	p.Tree("disk")
	id := p.Open("file", all, wire.FileCreate, 0)
	p.DoCharged(wire.CmdWrite, size, &wire.WriteRequest{FileID: id, Data: make([]byte, size)}, nil)
	p.Seal = seal
	client.SetDeadline(time.Time{})
	reply := make([]byte, size+1024)
	charge := uint16((size-1)>>16 + 1)
	msg := make([]byte, 4+wire.TransformHeaderSize, 1024)
	req := &wire.ReadRequest{FileID: id, Length: uint32(size)}
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for b.Loop() {
		hdr := wire.Header{Command: wire.CmdRead, CreditCharge: charge, Credits: charge, MessageID: p.MessageID, SessionID: p.SessionID, TreeID: p.TreeID}
		p.MessageID += uint64(charge)
		if !seal {
			hdr.Flags = wire.FlagSigned
		}
		msg = req.Append(hdr.Append(msg[:4+wire.TransformHeaderSize]))
		out := msg[wire.TransformHeaderSize:]
		if seal {
			out = msg
			if err := p.Sealer.Seal(msg[4:], p.SessionID); err != nil {
				b.Fatal(err)
			}
		} else {
			p.Signer.Sign(msg[4+wire.TransformHeaderSize:])
		}
		binary.BigEndian.PutUint32(out, uint32(len(out)-4))
		if _, err := client.Write(out); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(client, reply[:4]); err != nil {
			b.Fatal(err)
		}
		n := int(binary.BigEndian.Uint32(reply))
		if n < size || n > len(reply) {
			b.Fatalf("a reply of %d bytes", n)
		}
		if _, err := io.ReadFull(client, reply[:n]); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	client.Close()
	<-over
}
