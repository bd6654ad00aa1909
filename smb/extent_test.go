package smb_test

import (
	"bytes"
	"context"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/postern-nas/postern/smb"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/smbtest"
	"github.com/postern-nas/postern/smb/vfs"
	"github.com/postern-nas/postern/smb/vfs/osfs"
	"github.com/postern-nas/postern/smb/wire"
)

// countedVolume counts the bytes that are read into memory.
type countedVolume struct {
	vfs.Volume
	read *atomic.Int64
}

type countedFile struct {
	vfs.File
	read *atomic.Int64
}

func (f countedFile) OSFile() *os.File { return f.File.(vfs.OSFile).OSFile() }

func (v countedVolume) Open(ctx context.Context, p vfs.Path, how vfs.How) (vfs.File, vfs.Action, error) {
	f, a, err := v.Volume.Open(ctx, p, how)
	if err != nil {
		return nil, 0, err
	}
	return countedFile{f, v.read}, a, nil
}

func (f countedFile) ReadAt(b []byte, off int64) (int, error) {
	n, err := f.File.ReadAt(b, off)
	f.read.Add(int64(n))
	return n, err
}

// TestSendfile: a large READ over TCP that is neither signed nor sealed never is in our memory, and says the same as one
// that was; any other is.
func TestSendfile(t *testing.T) {
	dir := t.TempDir()
	data := make([]byte, 3<<20+12345)
	rand.NewChaCha8([32]byte{}).Read(data)
	if err := os.WriteFile(filepath.Join(dir, "file"), data, 0o644); err != nil {
		t.Fatal(err)
	}
	volume, err := osfs.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	var copied atomic.Int64
	h := newHouse(t, func(cfg *smb.Config) {
		cfg.Shares[0].Volume = countedVolume{volume, &copied}
		cfg.SigningOptional = true
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	over := make(chan struct{})
	go func() {
		defer close(over)
		c, err := l.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		h.server.ServeConn(context.Background(), c, h.info)
	}()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	p := smbtest.New(t, client)
	p.Negotiate(wire.Dialect311)
	p.Logon("alice", "secret", 0)
	p.Tree("disk")
	id := p.Open("file", all, wire.FileOpen, 0)
	signer := p.Signer
	for _, c := range []struct {
		name   string
		off, n int
		signed bool
		copied int
	}{
		{"small", 1, 4096, false, 4096},
		{"large", 0, 1 << 20, false, 0},
		{"at an odd place", 12345, 1<<20 + 1, false, 0},
		{"larger than one piece", 7, 3 << 20, false, 0},
		{"across the end", len(data) - 100_000, 1 << 20, false, 0},
		{"a little before the end", len(data) - 1000, 1 << 20, false, 1000},
		{"signed", 0, 1 << 20, true, 1 << 20},
	} {
		copied.Store(0)
		if p.Signer = nil; c.signed {
			p.Signer = signer
		}
		want := data[c.off:min(len(data), c.off+c.n)]
		if got := read(t, p, id, uint64(c.off), c.n); !bytes.Equal(got, want) {
			t.Fatalf("%s: %d bytes are not the %d of the file", c.name, len(got), len(want))
		}
		if n := copied.Load(); n != int64(c.copied) {
			t.Errorf("%s: %d bytes were copied, want %d", c.name, n, c.copied)
		}
	}
	p.Signer = nil
	if s := p.DoCharged(wire.CmdRead, 1<<20, &wire.ReadRequest{FileID: id, Offset: uint64(len(data)), Length: 1 << 20}, nil); s != nt.EndOfFile {
		t.Errorf("behind the end: %v", s)
	}
	if s := p.DoCharged(wire.CmdRead, 1<<20, &wire.ReadRequest{FileID: id, Offset: uint64(len(data) - 100_000), Length: 1 << 20, MinimumCount: 100_001}, nil); s != nt.EndOfFile {
		t.Errorf("less than the least: %v", s)
	}
	p.Conn.Close()
	<-over
}
