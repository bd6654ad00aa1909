package boot

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const testIndex = `module ahci libata libahci
module libahci libata
module libata
module pcie_rockchip phy_rockchip
module phy_rockchip
module uas
alias ahci pci:v*d*sv*sd*bc01sc06i01*
alias pcie_rockchip of:N*T*Crockchip,rk3399-pcie
alias uas usb:v*p*d*dc*dsc*dp*ic08isc06ip62in*
`

// TestDrivers: a bus is found by its node, its driver shows a controller, and that needs a driver too.
func TestDrivers(t *testing.T) {
	dir, sys := t.TempDir(), t.TempDir()
	write := func(path, text string) {
		t.Helper()
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(dir, "index"), testIndex)
	write(filepath.Join(sys, "bus/platform/devices/f8000000.pcie/modalias"), "of:NpcieTpciCrockchip,rk3399-pcie\n")
	write(filepath.Join(sys, "bus/platform/devices/other/modalias"), "platform:other\n")
	var loaded []string
	d := openDrivers(dir, slog.New(slog.DiscardHandler))
	d.load = func(path string) error {
		loaded = append(loaded, strings.TrimSuffix(filepath.Base(path), ".ko"))
		if filepath.Base(path) == "pcie_rockchip.ko" {
			write(filepath.Join(sys, "bus/pci/devices/0000:00/modalias"), "pci:v0000197Bd00000585sv0sd0bc01sc06i01\n")
		}
		if filepath.Base(path) == "libata.ko" {
			return os.ErrInvalid // is told, and the others are tried
		}
		return nil
	}
	d.scan(sys)
	want := []string{"phy_rockchip", "pcie_rockchip", "libata", "libahci", "ahci"}
	if !slices.Equal(loaded, want) {
		t.Errorf("loaded %v, want %v", loaded, want)
	}
	d.scan(sys)
	if len(loaded) != len(want) {
		t.Errorf("loaded %v again", loaded[len(want):])
	}
	message := "add@/devices/usb1/1-1\x00ACTION=add\x00SUBSYSTEM=usb\x00MODALIAS=usb:v0p0d0dc00dsc00dp00ic08isc06ip62in00\x00"
	d.answer(announced([]byte(message)))
	d.answer(announced([]byte(strings.Replace(message, "ACTION=add", "ACTION=remove", 1))))
	if loaded[len(loaded)-1] != "uas" {
		t.Errorf("a disk that was plugged in: %v", loaded)
	}
	if got := announced([]byte(strings.Replace(message, "ACTION=add", "ACTION=remove", 1))); got != "" {
		t.Errorf("a device that went asks for %q", got)
	}
}

func TestNoIndex(t *testing.T) {
	dir := t.TempDir()
	if openDrivers(dir, slog.New(slog.DiscardHandler)) != nil {
		t.Error("drivers without an index")
	}
	if err := os.WriteFile(filepath.Join(dir, "index"), []byte("nonsense\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if openDrivers(dir, slog.New(slog.DiscardHandler)) != nil {
		t.Error("took nonsense for an index")
	}
}

func FuzzAnnounced(f *testing.F) {
	f.Add([]byte("add@/x\x00ACTION=add\x00MODALIAS=pci:v\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if a := announced(b); len(a) > len(b) {
			t.Fatal("longer than what was said")
		}
	})
}
