package config

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/postern-nas/postern/board"
)

// usualBox is what is built in.
var usualBox = Box{
	Discovery: Auto, TimeServers: []string{"time.cloudflare.com", "ptbtime1.ptb.de", "time.nist.gov"}, CheckMinutes: 30, WarnCelsius: 55,
	Panel: Panel{DimMinutes: 1, OffMinutes: 10},
}

func TestBoxArrives(t *testing.T) {
	got, err := Parse("postern.toml", []byte(`
version = 1
[network]
discovery = "on"
port_mapping = true
local = ["192.168.7.9/24", "fd00::/48"]
[[network.port]]
name = "eth0"
address = "192.168.1.10/24"
gateway = "192.168.1.1"
dns = ["192.168.1.1", "2606:4700:4700::1111"]
[[network.port]]
name = "eth1"
[time]
servers = ["192.0.2.1", "Time.Example.org"]
zone = "America/Argentina/Buenos_Aires"
[panel]
dim = true
dim_minutes = 0
upside_down = true
kind = "sh1106"
size = "128x32"
spi = "/dev/spidev0.1"
data_line = "/soc/gpio@7e200000:24"
reset_line = "/dev/gpiochip1:5"
keys = ["next /dev/gpiochip0:20", "enter /dev/gpiochip0:21", "previous /dev/gpiochip1:0", "back /dev/gpiochip1:1"]
[storage]
check_minutes = 0
warn_celsius = 50
`), home(t))
	if err != nil {
		t.Fatal(err)
	}
	want := Box{
		Discovery: On, PortMapping: true,
		Local: []netip.Prefix{netip.MustParsePrefix("192.168.7.0/24"), netip.MustParsePrefix("fd00::/48")},
		Ports: []Port{
			{
				"eth0", netip.MustParsePrefix("192.168.1.10/24"), netip.MustParseAddr("192.168.1.1"),
				[]netip.Addr{netip.MustParseAddr("192.168.1.1"), netip.MustParseAddr("2606:4700:4700::1111")},
			},
			{Name: "eth1"},
		},
		TimeServers: []string{"192.0.2.1", "time.example.org"}, WarnCelsius: 50,
		Zone: "America/Argentina/Buenos_Aires",
		Panel: Panel{Dim: true, OffMinutes: 10, UpsideDown: true, Connected: board.Panel{
			Kind: board.SH1106, Width: 128, Height: 32, SPI: "/dev/spidev0.1",
			Data: board.Line{Chip: "/soc/gpio@7e200000", Offset: 24}, Reset: board.Line{Chip: "/dev/gpiochip1", Offset: 5},
			Keys: []board.LineKey{
				{Line: board.Line{Chip: "/dev/gpiochip0", Offset: 20}, Key: board.Next},
				{Line: board.Line{Chip: "/dev/gpiochip0", Offset: 21}, Key: board.Enter},
				{Line: board.Line{Chip: "/dev/gpiochip1", Offset: 0}, Key: board.Previous},
				{Line: board.Line{Chip: "/dev/gpiochip1", Offset: 1}, Key: board.Back},
			},
		}},
	}
	if !reflect.DeepEqual(got.Box, want) {
		t.Errorf("%+v", got.Box)
	}
}

func TestBoxMistakes(t *testing.T) {
	port := func(lines string) string { return "[[network.port]]\nname = \"eth0\"\n" + lines }
	var many strings.Builder
	for i := range 20 {
		fmt.Fprintf(&many, "[[network.port]]\nname = \"eth%d\"\n", i)
	}
	for doc, want := range map[string]string{
		"[network]\ndiscovery = \"maybe\"":                                "postern.toml:2: network.discovery:",
		"[network]\nlocal = [\"0.0.0.0/0\"]":                              "the whole world",
		"[network]\nlocal = [\"192.168.7.0\"]":                            "must be a network",
		"[network.port]\nname = \"eth0\"":                                 "network.port: must be a block that begins with [[network.port]]",
		"[network]\nport.name = \"eth0\"":                                 "network.port: must be a block that begins with [[network.port]]",
		"[[network.port]]\naddress = \"dhcp\"":                            "is no network port",
		"[[network.port]]\nname = \"lo\"":                                 "is no network port",
		"[[network.port]]\nname = \"eth0/../x\"":                          "is no network port",
		port("") + port(""):                                               "there is another block",
		port("nmae = 1"):                                                  "known in network.port: name, address, gateway, dns",
		port("address = \"192.168.1.10\""):                                "must be written as in",
		port("address = \"fd00::1/64\""):                                  "must be of IPv4",
		port("address = \"127.0.0.1/8\""):                                 "no machine can have it",
		port("address = \"192.168.1.0/24\""):                              "the first of a machine is 192.168.1.1",
		port("address = \"192.168.1.10/32\""):                             "from 8 to 30",
		port("gateway = \"192.168.1.1\""):                                 "DHCP brings its own",
		port("address = \"192.168.1.10/24\"\ngateway = \"192.168.2.1\""):  "must be another address in 192.168.1.0/24",
		port("address = \"192.168.1.10/24\"\ngateway = \"192.168.1.10\""): "must be another address",
		port("address = \"192.168.1.10/24\"\ndns = [\"dns.example\"]"):    "not the address of a name server",
		port("address = \"192.168.1.10/24\"\ndns = [\"0.0.0.0\"]"):        "not the address of a name server",
		many.String():                        "must be at most 16",
		"[time]\nservers = [\"not a name\"]": "neither a DNS name nor an address",
		"[time]\nservers = [\"a\",\"b\",\"c\",\"d\",\"e\",\"f\",\"g\",\"h\",\"i\"]": "at most 8",
		"[storage]\ncheck_minutes = -1":                                             "must be from 0 to",
		"[storage]\nwarn_celsius = 10":                                              "must be from 30 to 90",
	} {
		if _, err := Parse("postern.toml", []byte("version = 1\n"+doc+"\n"), home(t)); err == nil || !strings.Contains(strings.ReplaceAll(err.Error(), "postern.toml:3", "postern.toml:2"), want) {
			t.Errorf("%s\n\t%v", doc, err)
		}
	}
}

func TestSwitch(t *testing.T) {
	for s, want := range map[Switch][2]bool{On: {true, true}, Off: {false, false}, Auto: {false, true}} {
		if s.Is(false) != want[0] || s.Is(true) != want[1] {
			t.Errorf("%s", s)
		}
	}
}

// TestPoolAway: a share in a pool that is not there is no mistake; one in any other folder is.
func TestPoolAway(t *testing.T) {
	doc := "version = 1\n[[share]]\nname = \"films\"\npath = \"%s/no-such-pool/films\"\n"
	if _, err := Parse("postern.toml", fmt.Appendf(nil, doc, Pools), home(t)); err != nil {
		t.Error(err)
	}
	if _, err := Parse("postern.toml", fmt.Appendf(nil, doc, "/no-such-folder"), home(t)); err == nil {
		t.Error("a folder that is not there")
	}
	if _, err := Parse("postern.toml", fmt.Appendf(nil, doc, Pools+"/../etc"), home(t)); err == nil {
		t.Error("a path that leads out of it")
	}
}

func TestLoadBox(t *testing.T) {
	for name, c := range map[string]struct{ doc, host, discovery string }{
		"none":                {"", "postern", "auto"},
		"no TOML":             {"][", "postern", "auto"},
		"a mistake elsewhere": {"version = 1\nname = \"Attic.example.org\"\nfoo = 1\n[network]\ndiscovery = \"off\"\n[[share]]\n", "attic", "off"},
		"a mistake in it":     {"name = \"attic\"\n[network]\ndiscovery = \"no\"\n", "postern", "auto"},
		"a mistake in panel":  {"name = \"attic\"\n[network]\ndiscovery = \"off\"\n[panel]\nkind = \"tv\"\n", "attic", "off"},
		"no host name":        {"name = \"-.x\"\n[network]\ndiscovery = \"off\"\n", "postern", "off"},
	} {
		dir := t.TempDir()
		if c.doc != "" {
			if err := os.WriteFile(filepath.Join(dir, FileName), []byte(c.doc), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		b := LoadBox(dir)
		if want := map[bool]string{true: board.NoPanel}[name == "a mistake in panel"]; b.Panel.Connected.Kind != want || b.Panel.OffMinutes != 10 {
			t.Errorf("%s: the panel is %+v", name, b.Panel)
		}
		if b.Hostname != c.host || string(b.Discovery) != c.discovery || len(b.TimeServers) != 3 {
			t.Errorf("%s: %+v", name, b)
		}
	}
}
