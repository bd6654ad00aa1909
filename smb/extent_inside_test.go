package smb

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
)

// TestExtentShortened: a file that became shorter after its length was told does not take the frame's end with it.
func TestExtentShortened(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()

	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, bytes.Repeat([]byte("x"), 70_000), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c := &conn{nc: server, raw: socket(server)}
	buf := newPool(1 << 20).get(headroom + 5)
	copy(buf.b[headroom:], "head:")
	sent := make(chan error, 1)
	go func() { sent <- c.writeExtent(buf, extent{file: f, off: 10, n: 200_000}) }()
	want := append([]byte("head:"), bytes.Repeat([]byte("x"), 69_990)...)
	want = append(want, make([]byte, 200_000-69_990)...)
	got := make([]byte, prefixSize+len(want))
	if _, err := io.ReadFull(client, got); err != nil {
		t.Fatal(err)
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	if n := binary.BigEndian.Uint32(got); int(n) != len(want) || !bytes.Equal(got[prefixSize:], want) {
		t.Errorf("a frame of %d bytes, want %d: the file's, then zeros", n, len(want))
	}
}
