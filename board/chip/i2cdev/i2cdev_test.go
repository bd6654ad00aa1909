package i2cdev

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// What is not a bus says so at the first transfer, and what is not there when it is opened.
func TestNoBus(t *testing.T) {
	file := filepath.Join(t.TempDir(), "i2c-0")
	if _, err := Open(file); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open of nothing: %v", err)
	}
	if err := os.WriteFile(file, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	b, err := Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if err := b.Tx(0x3C, []byte{0}, nil); err == nil {
		t.Error("a file was taken for a bus")
	}
	if err := b.Tx(0x3C, []byte{0}, make([]byte, 1)); err == nil {
		t.Error("a read was answered")
	}
}
