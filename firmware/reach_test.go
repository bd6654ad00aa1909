package main

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postern-nas/postern/firmware/boot"
	"github.com/postern-nas/postern/firmware/boot/clock"
	"github.com/postern-nas/postern/firmware/config"
	"github.com/postern-nas/postern/firmware/network"
	"github.com/postern-nas/postern/firmware/network/portmap"
	"github.com/postern-nas/postern/firmware/state"
	"github.com/postern-nas/postern/firmware/storage"
	"github.com/postern-nas/postern/firmware/supervise"
	"github.com/postern-nas/postern/ui"
)

func TestOffers(t *testing.T) {
	cfg := &config.Config{Shares: []config.Share{{Name: "films"}, {Name: "macs", TimeMachine: true}, {Name: "secret", TimeMachine: true, Hidden: true}}}
	text := func(page, smb uint16) string {
		var all []string
		for _, s := range offers(cfg, page, smb) {
			all = append(all, s.Type+" "+strings.Join(s.Text, " "))
		}
		return strings.Join(all, "; ")
	}
	if got := text(0, 0); got != "" {
		t.Error(got)
	}
	if got := text(443, 0); got != "_https._tcp path=/" {
		t.Error(got)
	}
	want := "_smb._tcp ; _device-info._tcp model=RackMac; _adisk._tcp sys=waMa=0,adVF=0x100 dk0=adVN=macs,adVF=0x82"
	if got := text(0, 445); got != want {
		t.Error(got)
	}
}

func TestPortOf(t *testing.T) {
	for addr, want := range map[string]uint16{"0.0.0.0:443": 443, "[::]:8443": 8443, "127.0.0.1:443": 0, "[::1]:443": 0} {
		if got := portOf(net.TCPAddrFromAddrPort(netip.MustParseAddrPort(addr))); got != want {
			t.Errorf("%s: %d", addr, got)
		}
	}
	if portOf(nil) != 0 {
		t.Error("of nothing")
	}
}

// TestLaptop: a machine that does other things is left alone unless its owner says otherwise.
func TestLaptop(t *testing.T) {
	var page, tcp net.Addr
	names := func(b config.Box) (all []string) {
		var g supervise.Group
		r := newReach(options{}, &config.Config{Name: "postern.local", Box: b}, [16]byte{1}, nil, nil, page, tcp, slog.New(slog.DiscardHandler))
		r.addTo(&g)
		for _, s := range g.States() {
			all = append(all, s.Name)
		}
		return all
	}
	if got := names(config.Box{Discovery: config.Auto}); len(got) > 0 {
		t.Error(got)
	}
	// Explorer is told where a double click finds something: shares on TCP 445, or the page.
	if got := names(config.Box{Discovery: config.On, PortMapping: true}); !slices.Equal(got, []string{"addresses", "mdns", "port mapping"}) {
		t.Error(got)
	}
	tcp = &net.TCPAddr{IP: net.IPv4zero, Port: 4450}
	if got := names(config.Box{Discovery: config.On}); slices.Contains(got, "ws-discovery") {
		t.Error(got)
	}
	for _, there := range []struct{ page, tcp net.Addr }{{&net.TCPAddr{IP: net.IPv4zero, Port: 8443}, nil}, {nil, &net.TCPAddr{IP: net.IPv4zero, Port: 445}}} {
		page, tcp = there.page, there.tcp
		if got := names(config.Box{Discovery: config.On}); !slices.Contains(got, "ws-discovery") {
			t.Error(there, got)
		}
	}
}

// TestOutside: what an owner is told of the way from outside, and what the scripts get.
func TestOutside(t *testing.T) {
	address := netip.MustParseAddr("203.0.113.7")
	at := func(port uint16) portmap.State {
		return portmap.State{Mapped: true, Public: true, External: netip.AddrPortFrom(address, port)}
	}
	elsewhere := at(8443)
	elsewhere.Problem = "another device has port 443"
	for name, c := range map[string]struct {
		cfg    config.Config
		router *portmap.State // nil: it is not asked
		want   ui.Reach
		text   string
	}{
		"nothing":    {want: ui.Reach{Port: 443}},
		"by hand":    {cfg: config.Config{Outside: "nas.example.net"}, want: ui.Reach{Name: "nas.example.net", Port: 443}, text: "as nas.example.net if the router lets it through"},
		"not yet":    {router: &portmap.State{}, want: ui.Reach{State: ui.No, Port: 443}, text: "not reachable"},
		"by name":    {config.Config{Outside: "nas.example.net"}, new(at(443)), ui.Reach{State: ui.Yes, Name: "nas.example.net", Address: address, Port: 443}, "reachable as nas.example.net"},
		"by address": {config.Config{}, new(at(443)), ui.Reach{State: ui.Yes, Address: address, Port: 443}, "reachable as 203.0.113.7"},
		"another port": {
			config.Config{Outside: "nas.example.net"},
			&elsewhere,
			ui.Reach{State: ui.Yes, Name: "nas.example.net", Address: address, Port: 8443, Reason: "another device has port 443"},
			"reachable as nas.example.net, UDP port 8443: another device has port 443",
		},
		"behind another router": {
			config.Config{Outside: "nas.example.net"},
			&portmap.State{Mapped: true, External: netip.MustParseAddrPort("192.168.0.2:8443"), Problem: "open the port there too"},
			ui.Reach{State: ui.No, Name: "nas.example.net", Port: 8443, Reason: "open the port there too"},
			"not reachable: open the port there too",
		},
	} {
		c.cfg.Name, c.cfg.Box.PortMapping = "attic.local", c.router != nil
		r := newReach(options{}, &c.cfg, [16]byte{1}, nil, &net.UDPAddr{IP: net.IPv4zero, Port: 443}, nil, nil, slog.New(slog.DiscardHandler))
		if c.router != nil {
			r.router.State.Set(*c.router)
		}
		var s ui.State
		r.tell(&s)
		if s.Outside != c.want || fromOutside(s.Outside) != c.text {
			t.Errorf("%s: %+v, %q; want %+v, %q", name, s.Outside, fromOutside(s.Outside), c.want, c.text)
		}
	}
}

// TestGuarded: a box without a firewall serves only what guards itself, whatever its owner has turned on.
func TestGuarded(t *testing.T) {
	dir := t.TempDir()
	doc := "version = 1\n[tcp]\nlisten = \":445\"\n[page]\nlisten = \"auto\"\n[network]\ndiscovery = \"on\"\n"
	if err := os.WriteFile(filepath.Join(dir, config.FileName), []byte(doc), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, open := range []bool{false, true} {
		box := &boot.Box{Open: open}
		s := &serving{o: options{state: dir, machine: box, box: true}, logs: t.Output()}
		if err := s.settings(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.close()
		if len(box.Troubles) > 0 || s.cfg.QUIC == "" || s.cfg.Page == "" {
			t.Errorf("%q, QUIC at %q, the page at %q", box.Troubles, s.cfg.QUIC, s.cfg.Page)
		}
		if (s.cfg.TCP == "") != open || s.cfg.Box.Discovery.Is(true) == open {
			t.Errorf("open to all: %v, SMB at %q, discovery %v", open, s.cfg.TCP, s.cfg.Box.Discovery)
		}
	}
}

// TestTell: what the services know reaches panel and page.
func TestTell(t *testing.T) {
	quiet := slog.New(slog.DiscardHandler)
	state := t.TempDir()
	crash := filepath.Join(state, "crashes", "20261123T010203Z.txt")
	if err := errors.Join(os.Mkdir(filepath.Dir(crash), 0o700), os.WriteFile(crash, []byte("Kernel panic\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	box := &boot.Box{
		State: state, Network: network.New(network.Config{}, quiet), Clock: new(clock.Clock), Disks: storage.New(storage.Config{}, quiet), Troubles: []string{"the firewall does not work"},
	}
	cfg := &config.Config{Name: "attic.local", Outside: "nas.example.net", NetBIOS: "ATTIC", Box: config.Box{Discovery: config.Auto, PortMapping: true, WarnCelsius: 55}}
	r := newReach(options{machine: box}, cfg, [16]byte{1}, nil, nil, nil, nil, quiet)
	box.Network.State.Set(network.State{Ports: []network.Port{{Name: "eth0", Cable: true, Problem: "no DHCP server answers"}, {Name: "eth1", Problem: "no cable"}}})
	box.Clock.State.Set(clock.State{Trust: clock.Guessed, Problem: "there is no battery clock"})
	box.Disks.State.Set(storage.State{
		Disks: []storage.Disk{{Name: "mmcblk0", System: true}, {Name: "sda", Bay: "1", Health: storage.Failed, Problem: "replace this disk"}},
		Pools: []storage.Pool{{Name: "data", Known: true, Disks: []string{"sda"}, Health: storage.Warning, Problem: "1 of its disks are missing"}, {Name: "stick"}},
	})
	r.router.State.Set(portmap.State{Mapped: true, Problem: "your provider shares one public address"})
	r.names.Name.Set("attic-2")
	var s ui.State
	r.tell(&s)
	if s.Crash == nil || s.Crash.Text != "Kernel panic\n" || s.Crash.Found.Unix() != 1795395723 {
		t.Errorf("%+v", s.Crash)
	}
	if s.Outside.State != ui.No || !strings.Contains(s.Outside.Reason, "provider") {
		t.Errorf("%+v", s.Outside)
	}
	if len(s.Disks) != 1 || s.Disks[0].Health != ui.Failed || len(s.Pools) != 1 || s.Pools[0].Health != ui.Warning || !slices.Equal(s.Pools[0].Disks, []string{"1"}) {
		t.Errorf("%+v %+v", s.Disks, s.Pools)
	}
	var said strings.Builder
	for _, a := range s.Alarms {
		if strings.HasSuffix(a.Text, ".") || !strings.HasSuffix(a.Advice, ".") {
			t.Errorf("%q and %q: where a text ends is its place's, an advice is a sentence", a.Text, a.Advice)
		}
		said.WriteString(a.Text + " " + a.Advice + "\n")
		if a.ID == "" || a.Health < ui.Warning {
			t.Errorf("%+v", a)
		}
	}
	for _, want := range []string{"firewall", "attic-2.local", "no DHCP server", "battery clock", "Disk 1", "Pool data"} {
		if !strings.Contains(said.String(), want) {
			t.Errorf("nothing of %s in\n%s", want, said.String())
		}
	}
	for celsius, want := range map[float64]ui.AlarmKind{55: ui.AlarmHeat, 54: ui.AlarmDisk} { // the second is warned of for something else
		box.Disks.State.Set(storage.State{Disks: []storage.Disk{{Name: "sda", Health: storage.Warning, Celsius: celsius, Problem: "it is too warm"}}})
		var s ui.State
		r.tell(&s)
		if i := slices.IndexFunc(s.Alarms, func(a ui.Alarm) bool { return a.ID == "disk sda" }); i < 0 || s.Alarms[i].Kind != want {
			t.Errorf("a disk with a warning, at %.0f °C: %+v", celsius, s.Alarms)
		}
	}
	box.Network.State.Set(network.State{Ports: []network.Port{{Name: "eth0", Cable: true, Addresses: []network.Address{{}}}, {Name: "eth1", Problem: "no cable"}}})
	box.Clock.State.Set(clock.State{Trust: clock.Network})
	r.router.State.Set(portmap.State{Mapped: true, Public: true, External: netip.MustParseAddrPort("203.0.113.7:8443"), Problem: "another port"})
	var well ui.State
	r.tell(&well)
	if want := (ui.Reach{State: ui.Yes, Name: "nas.example.net", Address: netip.MustParseAddr("203.0.113.7"), Port: 8443, Reason: "another port"}); well.Outside != want {
		t.Errorf("from outside %+v, want %+v", well.Outside, want)
	}
	if slices.ContainsFunc(well.Alarms, func(a ui.Alarm) bool { return strings.Contains(a.Text, "cable") || a.ID == "clock" }) {
		t.Errorf("%+v", well)
	}
}

// TestGoodConfig: a box with a damaged configuration comes up with the last good one, or with no share, never with none at
// all; each byte flipped and the file cut anywhere.
func TestGoodConfig(t *testing.T) {
	dir := t.TempDir()
	good := "version = 1\nname = \"attic\"\n[[share]]\nname = \"films\"\npath = \"/srv/no-such-pool/films\"\nread = [\"alice\"]\n"
	file := filepath.Join(dir, config.FileName)
	write := func(doc string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(doc), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	load := func() (*config.Config, []string) {
		t.Helper()
		box := new(boot.Box)
		cfg, err := loadConfig(options{state: dir, machine: box})
		if err != nil {
			t.Fatal(err)
		}
		return cfg, box.Troubles
	}
	write("][")
	if cfg, told := load(); len(cfg.Shares) > 0 || len(told) != 1 || !strings.Contains(told[0], "no folder") {
		t.Errorf("%+v %q", cfg, told)
	}
	if _, err := loadConfig(options{state: dir}); err == nil {
		t.Error("elsewhere a mistake is told at once")
	}
	write(good)
	if cfg, told := load(); cfg.Name != "attic" || len(told) > 0 {
		t.Errorf("%+v %q", cfg, told)
	}
	kept, err := os.ReadFile(state.CopyName(file))
	if err != nil {
		t.Fatal(err)
	}
	for n := range good {
		for _, doc := range []string{good[:n], good[:n] + string(good[n]^0x80) + good[n+1:]} {
			write(doc)
			if err := os.WriteFile(state.CopyName(file), kept, 0o600); err != nil {
				t.Fatal(err)
			}
			cfg, told := load()
			if len(told) > 0 && (cfg.Name != "attic" || len(cfg.Shares) != 1) {
				t.Errorf("%q: %+v %q", doc, cfg, told)
			}
			// A disk that fails changes no time: then nothing of it counts, whether or not it could be read.
			write(good)
			load()
			st, err := os.Stat(file)
			if err != nil {
				t.Fatal(err)
			}
			write(doc)
			if err := os.Chtimes(file, time.Time{}, st.ModTime()); err != nil {
				t.Fatal(err)
			}
			if cfg, told := load(); len(told) != 1 || !strings.Contains(told[0], "damaged") || cfg.Name != "attic" || len(cfg.Shares) != 1 {
				t.Errorf("damaged %q: %+v %q", doc, cfg, told)
			}
			if now, err := os.ReadFile(file); err != nil || string(now) != good {
				t.Errorf("it is %q now (%v)", now, err)
			}
			aside, err := filepath.Glob(file + state.AsideMark + "*") // so many in one second that names run out
			if err != nil || len(aside) == 0 {
				t.Fatalf("nothing was set aside (%v)", err)
			}
			for _, name := range aside {
				if err := os.Remove(name); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}
