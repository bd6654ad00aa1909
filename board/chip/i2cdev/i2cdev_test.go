package i2cdev

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestFind(t *testing.T) {
	sys := t.TempDir()
	for bus, node := range map[string]string{"i2c-0": "i2c@1c000", "i2c-1": "i2c@1d000", "i2c-7": ""} {
		dir := filepath.Join(sys, "bus/i2c/devices", bus)
		if err := os.MkdirAll(dir, 0o777); err != nil {
			t.Fatal(err)
		}
		if node == "" {
			continue // a bus on a USB stick has no node
		}
		if err := os.Symlink("../../../firmware/devicetree/base/soc/bus@ffd00000/"+node, filepath.Join(dir, "of_node")); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := Find(os.DirFS(sys), "i2c@1d000"); err != nil || got != "/dev/i2c-1" {
		t.Errorf("Find = %q, %v; want /dev/i2c-1", got, err)
	}
	if got, err := Find(os.DirFS(sys), "i2c@5000"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Find of no bus = %q, %v", got, err)
	}
	if _, err := Find(os.DirFS(t.TempDir()), "i2c@1d000"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Find without I2C: %v", err)
	}
}

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
