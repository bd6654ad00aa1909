package evkeys

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postern-nas/postern/board"
)

func event(kind, code uint16, value uint32) []byte {
	b := make([]byte, eventSize)
	binary.LittleEndian.PutUint16(b[typeAt:], kind)
	binary.LittleEndian.PutUint16(b[codeAt:], code)
	binary.LittleEndian.PutUint32(b[valueAt:], value)
	return b
}

var buttons = []board.Button{{Node: "/gpio-keys/user", Code: 0x101, Key: board.Enter}}

// TestListen: a pipe is the device, with what the kernel sends for a tap.
func TestListen(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	k := &Keys{buttons: buttons, device: r}
	done := make(chan struct{})
	go func() { k.listen(); close(done) }()
	for _, e := range [][]byte{
		event(typeKey, 0x101, pressed), event(0, 0, 0), event(typeKey, 0x101, 2), event(typeKey, 0x74, pressed), event(typeKey, 0x101, released),
	} {
		if _, err := w.Write(e); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []board.Action{board.Press, board.Release} {
		e, err := k.Next(t.Context())
		if err != nil || e.Key != board.Enter || e.Action != want {
			t.Errorf("%+v, %v; want Enter %v", e, err, want)
		}
	}
	w.Close() // the device is gone
	<-done
	if _, err := k.Next(context.Background()); !errors.Is(err, io.EOF) {
		t.Errorf("after the end: %v", err)
	}
	if err := k.Close(); err != nil {
		t.Error(err)
	}
}

// Open finds the device by its node; what is not there, or no device, is an error.
func TestOpen(t *testing.T) {
	dir := t.TempDir()
	at := filepath.Join(dir, "class/input/event999/device/device")
	if err := errors.Join(os.MkdirAll(at, 0o755), os.Symlink("../../../firmware/devicetree/base/gpio-keys", filepath.Join(at, "of_node"))); err != nil {
		t.Fatal(err)
	}
	for node, want := range map[string]string{"/gpio-keys/user": "/dev/input/event999", "/other/key": "/other"} {
		if _, err := Open(os.DirFS(dir), []board.Button{{Node: node}}); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want that %s is not there", node, err, want)
		}
	}
}

func FuzzTake(f *testing.F) {
	f.Add(append(event(typeKey, 0x101, pressed), event(typeKey, 0x101, released)...))
	f.Add(event(typeKey, 0x101, pressed)[:eventSize-1])
	f.Fuzz(func(t *testing.T, b []byte) {
		k := &Keys{buttons: buttons}
		k.take(b)
		if err := k.Keys.Close(); err != nil {
			t.Fatal(err)
		}
	})
}
