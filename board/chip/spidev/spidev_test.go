package spidev

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// What is no SPI device says so when it is opened.
func TestNoDevice(t *testing.T) {
	file := filepath.Join(t.TempDir(), "spidev0.0")
	if _, err := Open(file, 4e6); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open of nothing: %v", err)
	}
	if err := os.WriteFile(file, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(file, 4e6); err == nil {
		t.Error("a file was taken for a device")
	}
}

// A pipe stands for the device: it keeps the pieces apart no more than the kernel's counter of bytes does, but all arrive.
func TestTx(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	d := &Device{w}
	sent := bytes.Repeat([]byte{1, 2, 3}, maxTransfer/2)
	if err := errors.Join(d.Tx(sent, nil), d.Tx(nil, nil)); err != nil {
		t.Error(err)
	}
	if d.Tx([]byte{1}, make([]byte, 1)) == nil {
		t.Error("a read was answered")
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, sent) {
		t.Errorf("%d bytes of %d, %v", len(got), len(sent), err)
	}
	if d.Tx([]byte{1}, nil) == nil {
		t.Error("a closed device took something")
	}
}
