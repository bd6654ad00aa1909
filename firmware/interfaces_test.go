package main

import (
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/postern-nas/postern/firmware/config"
)

func TestLinkSpeed(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"eth0": "2500\n", "wlan0": "-1\n", "odd": "fast\n", "none": ""} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name, "speed"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]uint64{"eth0": 2_500_000_000, "wlan0": 0, "odd": 0, "none": 0, "gone": 0} {
		if got := linkSpeed(dir, name); got != want {
			t.Errorf("%s: %d, want %d", name, got, want)
		}
	}
}

// Loopback is nobody's way to us, and what is not listened on neither.
func TestInterfaces(t *testing.T) {
	for _, i := range (addresses{"", slog.Default()}).interfaces() {
		if !i.Addr.IsValid() || i.Addr.IsLoopback() || i.Index == 0 {
			t.Errorf("%+v", i)
		}
	}
	only := netip.MustParseAddr("192.0.2.77")
	if list := (addresses{netip.AddrPortFrom(only, 445).String(), slog.Default()}).interfaces(); len(list) != 0 {
		t.Errorf("listening on %v, which no interface has: %v", only, list)
	}
}

// TestMachineVisitsItself: whatever kind of address the machine has, who asks from there sees the page.
func TestMachineVisitsItself(t *testing.T) {
	may := mayVisit(&config.Config{})
	for _, p := range ownNetworks() {
		if !may(p.Addr()) {
			t.Errorf("%v may not", p.Addr())
		}
	}
	if may(netip.MustParseAddr("8.8.8.8")) {
		t.Error("the Internet may")
	}
}
