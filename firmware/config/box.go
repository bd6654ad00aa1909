package config

import (
	"bytes"
	_ "embed"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // a box has no other

	"github.com/pelletier/go-toml/v2"

	"github.com/postern-nas/postern/board"
)

// Pools is where pools of disks are mounted, each in a folder of its name. A share in one that is not there now is no
// mistake in the file: it is served when its disks are.
const Pools = "/srv"

// A Box is what only a machine that runs nothing else needs to be told: its network, its time, its disks.
type Box struct {
	Discovery   Switch         // tell the local network of us, by mDNS and WS-Discovery
	PortMapping bool           // ask the router to let QUIC through
	Local       []netip.Prefix // networks that count as local besides our own
	Ports       []Port         // set by the owner; the others take DHCP

	TimeServers []string // names or addresses
	Zone        string   // the owner's time zone by its IANA name; "": none was chosen

	Panel Panel

	CheckMinutes int     // between two looks at the disks' health; 0: never
	WarnCelsius  float64 // a disk this warm is an alarm
}

// A Panel is how the front panel is to be.
type Panel struct {
	Dim        bool // never brighter than dim
	DimMinutes int  // without a key, until it is dim; 0: never
	OffMinutes int  // until it is off; 0: never
	UpsideDown bool
	Connected  board.Panel
}

// A Switch is on, off, or left to what runs us.
type Switch string

// Switches.
const (
	On   Switch = "on"
	Off  Switch = "off"
	Auto Switch = "auto" // on a box on, elsewhere off
)

// Is says whether it is on, on a box or elsewhere.
func (s Switch) Is(box bool) bool { return s == On || s == Auto && box }

//go:embed zones.txt
var zones string

// Zones are the time zones that a choice offers.
func Zones() (names []string) {
	for line := range strings.Lines(zones) {
		if line = strings.TrimSpace(line); !strings.HasPrefix(line, "#") {
			names = append(names, line)
		}
	}
	return names
}

// A Port is one network port with an address of its own.
type Port struct {
	Name    string
	Address netip.Prefix // invalid: by DHCP
	Gateway netip.Addr   // invalid: none
	DNS     []netip.Addr
}

type rawPort struct {
	Name    string   `toml:"name"`
	Address string   `toml:"address"`
	Gateway string   `toml:"gateway"`
	DNS     []string `toml:"dns"`
}

type rawNetwork struct {
	Discovery   string    `toml:"discovery"`
	PortMapping bool      `toml:"port_mapping"`
	Local       []string  `toml:"local"`
	Port        []rawPort `toml:"port"`
}

type rawTime struct {
	Servers []string `toml:"servers"`
	Zone    string   `toml:"zone"`
}

type rawPanel struct {
	Dim        bool  `toml:"dim"`
	DimMinutes int64 `toml:"dim_minutes"`
	OffMinutes int64 `toml:"off_minutes"`
	UpsideDown bool  `toml:"upside_down"`

	Kind      string   `toml:"kind"`
	Size      string   `toml:"size"`
	I2C       string   `toml:"i2c"`
	Address   int64    `toml:"address"`
	SPI       string   `toml:"spi"`
	DataLine  string   `toml:"data_line"`
	ResetLine string   `toml:"reset_line"`
	Serial    string   `toml:"serial"`
	SwapKeys  bool     `toml:"swap_keys"`
	Keys      []string `toml:"keys"`
}

type rawStorage struct {
	CheckMinutes int64 `toml:"check_minutes"`
	WarnCelsius  int64 `toml:"warn_celsius"`
}

// timeServers are three whose operators offer them to everybody.
var timeServers = []string{"time.cloudflare.com", "ptbtime1.ptb.de", "time.nist.gov"}

func builtInBox(r *raw) {
	r.Network.Discovery = string(Auto)
	r.Time.Servers = timeServers
	r.Panel.DimMinutes, r.Panel.OffMinutes = 1, 10
	r.Panel.Kind = string(Auto)
	r.Storage.CheckMinutes = 30
	r.Storage.WarnCelsius = 55
}

// boxKeys is the default file's part about it.
const boxKeys = `
# What follows is for a NAS that starts with Postern. Elsewhere the system does all this, but for discovery and
# port_mapping, which work there too.
[network]
# Let the machines of the local network find this server by its name: "on", "off", or "auto", which is on for a NAS and
# off elsewhere.
discovery = "auto"
# Ask the router to pass SMB over QUIC on to this server, so that it is reached from outside. Routers understand one of
# UPnP, NAT-PMP and PCP, and most have a switch for it.
port_mapping = false
# Networks that count as local besides those that this server is in, as in ["192.168.7.0/24"]: from these alone the page
# and SMB over TCP are reached.
local = []
# A port that does not ask for its address by DHCP. Repeat the block for more.
# [[network.port]]
# name = "eth0"
# address = "192.168.1.10/24"
# gateway = "192.168.1.1"
# dns = ["192.168.1.1"]

[time]
# Time servers (NTP), at most 8. Those that the network names are asked too.
servers = ["time.cloudflare.com", "ptbtime1.ptb.de", "time.nist.gov"]
# Your time zone, as in "Europe/Berlin": for the clock on the panel, and for times on the page and in the log. Empty: the
# panel shows no clock, the page your browser's time, and the log the system's.
zone = ""

[panel]
# Never brighter than dim.
dim = false
# Minutes without a key until the panel is dim, and until it is off (0 to 1440; 0: never). It is not off while there is an
# alarm.
dim_minutes = 1
off_minutes = 10
# Turn the picture round, for a box that lies on its head; panels of characters cannot.
upside_down = false
# Which panel is connected. "auto": what this board is known to have, or what answers on its header. "none". "ssd1306" or
# "sh1106": dots. "hd44780": characters, behind a PCF8574. "a125": the panel of many QNAP boxes. What follows is for a named
# kind, and counts from the next start on; what is left empty is as usual for the board and the kind.
kind = "auto"
# Its size: "128x64" or "128x32" dots, "16x2" or "20x4" characters.
size = ""
# Where it is: the I2C bus, as "/dev/i2c-1", and its address there, as 0x3C (0: any that answers); or the SPI device, as
# "/dev/spidev0.0", with the GPIO lines for data (D/C) and, if it has one, for its reset, as "/dev/gpiochip0:24"; or the serial
# device, as "/dev/ttyS1". Devices may also be called by their nodes in the device tree, as "/soc/i2c@7e804000".
i2c = ""
address = 0
spi = ""
data_line = ""
reset_line = ""
serial = ""
# The two keys of an a125 the other way round.
swap_keys = false
# Keys between a GPIO line and ground, with what they mean, next, enter, previous or back:
# keys = ["next /dev/gpiochip0:20", "enter /dev/gpiochip0:21"]. A single key does everything: a tap is next, to hold it is enter.
keys = []

[storage]
# Minutes between two looks at the health of the disks (SMART). 0: never.
check_minutes = 30
# A disk this warm, in degrees Celsius, is an alarm (30 to 90).
warn_celsius = 55
`

var portName = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,15}$`)

// Bounds of lists.
const (
	maxPorts       = 16
	maxTimeServers = 8
	maxLocal       = 32
)

func (c *checker) box(r raw) (b Box) {
	b.Discovery = Switch(c.oneOf("network.discovery", r.Network.Discovery, string(On), string(Off), string(Auto)))
	b.PortMapping = r.Network.PortMapping
	if len(r.Network.Local) > maxLocal {
		c.fail("network.local", "must be at most %d", maxLocal)
	}
	for _, text := range r.Network.Local {
		p, err := netip.ParsePrefix(text)
		if err != nil || p.Bits() == 0 {
			c.fail("network.local", `%q must be a network such as "192.168.7.0/24", and not the whole world`, text)
			continue
		}
		b.Local = append(b.Local, p.Masked())
	}
	if len(r.Network.Port) > maxPorts {
		c.fail("network.port", "must be at most %d", maxPorts)
	}
	taken := map[string]bool{}
	for i, p := range r.Network.Port {
		at := "network.port." + strconv.Itoa(i)
		if taken[p.Name] {
			c.fail(at+".name", "there is another block for %s", p.Name)
		}
		taken[p.Name] = true
		b.Ports = append(b.Ports, c.port(at, p))
	}
	if len(r.Time.Servers) > maxTimeServers {
		c.fail("time.servers", "must be at most %d", maxTimeServers)
	}
	for _, s := range r.Time.Servers {
		if _, err := netip.ParseAddr(s); err != nil && !DNSName(s) {
			c.fail("time.servers", "%q is neither a DNS name nor an address", s)
		}
		b.TimeServers = append(b.TimeServers, strings.ToLower(s))
	}
	if b.Zone = r.Time.Zone; b.Zone != "" {
		if _, err := time.LoadLocation(b.Zone); err != nil || b.Zone == "Local" {
			c.fail("time.zone", `%q is no time zone; they are called as in "Europe/Berlin"`, b.Zone)
		}
	}
	b.Panel = Panel{Dim: r.Panel.Dim, UpsideDown: r.Panel.UpsideDown}
	b.Panel.DimMinutes = int(c.number("panel.dim_minutes", r.Panel.DimMinutes, 0, 24*60))
	b.Panel.OffMinutes = int(c.number("panel.off_minutes", r.Panel.OffMinutes, 0, 24*60))
	b.Panel.Connected = c.connected(r.Panel)
	b.CheckMinutes = int(c.number("storage.check_minutes", r.Storage.CheckMinutes, 0, 7*24*60))
	b.WarnCelsius = float64(c.number("storage.warn_celsius", r.Storage.WarnCelsius, 30, 90))
	return b
}

func (c *checker) port(at place, r rawPort) (p Port) {
	if p.Name = r.Name; !portName.MatchString(r.Name) || r.Name == "lo" {
		c.fail(at+".name", `%q is no network port; they are called as in "eth0"`, r.Name)
	}
	if r.Address == "" || r.Address == "dhcp" {
		if r.Gateway != "" || len(r.DNS) > 0 {
			c.fail(at, "gateway and dns belong to an address; DHCP brings its own")
		}
		return p
	}
	address, err := netip.ParsePrefix(r.Address)
	if text := unusable(address); err != nil || text != "" {
		if err != nil {
			text = `it must be written as in "192.168.1.10/24"`
		}
		c.fail(at+".address", "%q: %s", r.Address, text)
		return p
	}
	p.Address = address
	if r.Gateway != "" {
		gateway, err := netip.ParseAddr(r.Gateway)
		if err != nil || !address.Masked().Contains(gateway) || gateway == address.Addr() {
			c.fail(at+".gateway", "%q must be another address in %s", r.Gateway, address.Masked())
		}
		p.Gateway = gateway
	}
	for _, text := range r.DNS {
		a, err := netip.ParseAddr(text)
		if err != nil || a.IsUnspecified() || a.IsMulticast() {
			c.fail(at+".dns", "%q is not the address of a name server", text)
		}
		p.DNS = append(p.DNS, a)
	}
	if len(p.DNS) > 3 {
		c.fail(at+".dns", "must be at most 3")
	}
	return p
}

// unusable says why a port cannot have an address; "" if it can.
func unusable(p netip.Prefix) string {
	a := p.Addr()
	switch {
	case !a.Is4():
		return "it must be of IPv4; those of IPv6 come from the router"
	case !a.IsGlobalUnicast():
		return "no machine can have it"
	case p.Bits() < 8 || p.Bits() > 30:
		return "the network's length behind / must be from 8 to 30"
	case a == p.Masked().Addr():
		return fmt.Sprintf("it is the network's own; the first of a machine is %s", a.Next())
	}
	return ""
}

// A BoxFile is what a machine needs to know before the server reads the whole file.
type BoxFile struct {
	Hostname string // one label
	Box
}

// LoadBox reads the parts for a box of FileName in dir. It does not fail: a box whose file has a mistake needs its network
// all the more, to be told. What is wrong there takes its built-in value, and Load says what it is.
func LoadBox(dir string) BoxFile {
	doc, err := os.ReadFile(filepath.Join(dir, FileName))
	if err != nil {
		doc = nil
	}
	for _, doc := range [][]byte{doc, nil} {
		r := builtIn()
		if toml.NewDecoder(bytes.NewReader(doc)).Decode(&r) != nil {
			continue
		}
		c := checker{file: FileName, dir: dir}
		b := BoxFile{Box: c.box(r)}
		if c.onlyPanel() { // a mistake there must not take the network's settings along
			b.Panel = Panel{DimMinutes: 1, OffMinutes: 10, Connected: board.Panel{Kind: board.NoPanel}}
		} else if len(c.errs) > 0 {
			continue
		}
		b.Hostname, _, _ = strings.Cut(strings.ToLower(r.Name), ".")
		if !label.MatchString(b.Hostname) {
			b.Hostname, _, _ = strings.Cut(builtIn().Name, ".")
		}
		return b
	}
	panic("the built-in values have a mistake") // a test says that they have none
}
