package config

import (
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// Every zone that is offered is one.
func TestZones(t *testing.T) {
	all := Zones()
	if len(all) < 300 || len(all) > 600 {
		t.Errorf("%d zones", len(all))
	}
	for _, name := range all {
		if _, err := time.LoadLocation(name); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []string{"Local", "Mars/Olympus", "../etc/passwd", "Europe"} {
		_, err := Parse("postern.toml", []byte("version = 1\n[time]\nzone = \""+bad+"\"\n"), home(t))
		if err == nil || !strings.Contains(err.Error(), "postern.toml:3: time.zone") {
			t.Errorf("zone %q: %v", bad, err)
		}
	}
}

func TestSetPort(t *testing.T) {
	static := Port{
		"eth0", netip.MustParsePrefix("192.168.1.10/24"), netip.MustParseAddr("192.168.1.1"), []netip.Addr{netip.MustParseAddr("192.168.1.1")},
	}
	for _, c := range []struct{ name, before string }{
		{"the default file", DefaultFile},
		{"no block", "version = 1\n"},
		{"another port's block", "version = 1\n[network]\ndiscovery = \"off\" # stays\n[[network.port]]\nname = \"eth1\"\n\n[log]\nlevel = \"warn\"\n"},
		{"its block, first of two", "version = 1\n[[network.port]] # of eth0\nname = \"eth0\"\naddress = \"10.0.0.2/8\"\n\n# of eth1\n[[network.port]]\nname = \"eth1\"\n"},
		{"its block, before a share", "version = 1\n[[network.port]]\nname = \"eth0\"\n[[share]]\nname = \"a\"\npath = \"disk\"\n"},
		{"lines of another system", "version = 1\r\n[[network.port]]\r\nname = \"eth0\"\r\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := home(t)
			path := filepath.Join(dir, FileName)
			if err := os.WriteFile(path, []byte(c.before), 0o600); err != nil {
				t.Fatal(err)
			}
			was, err := Load(dir)
			if err != nil {
				t.Fatal(err)
			}
			want := []Port{}
			for _, p := range was.Box.Ports {
				if p.Name != "eth0" {
					want = append(want, p)
				}
			}
			for _, p := range []Port{static, {Name: "eth0"}, static} {
				if _, err := SetPort(dir, p); err != nil {
					t.Fatal(err)
				}
				now, err := Load(dir)
				if err != nil {
					t.Fatal(err)
				}
				if !reflect.DeepEqual(now.Box.Ports, append(want[:len(want):len(want)], p)) {
					t.Errorf("ports %+v", now.Box.Ports)
				}
				now.Box.Ports = was.Box.Ports
				if !reflect.DeepEqual(now, was) {
					t.Error("something else has changed")
				}
			}
			after, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if got, had := strings.Count(string(after), "# "), strings.Count(c.before, "# "); got < had-1 {
				t.Errorf("comments were lost:\n%s", after)
			}
		})
	}
}

func TestParsePort(t *testing.T) {
	for _, c := range []struct{ address, gateway, dns, wrong string }{
		{"dhcp", "", "", ""},
		{"", "", "", ""},
		{" 192.168.1.10/24 ", "192.168.1.1", "192.168.1.1, 9.9.9.9 2620:fe::fe", ""},
		{"192.168.1.10/24", "", "", ""},
		{"192.168.1.10", "", "", "address: "},
		{"192.168.1.0/24", "", "", "address: "},
		{"fd00::1/64", "", "", "address: "},
		{"192.168.1.10/24", "192.168.2.1", "", "gateway: "},
		{"192.168.1.10/24", "192.168.1.10", "", "gateway: "},
		{"192.168.1.10/24", "", "nas.example.org", "dns: "},
		{"192.168.1.10/24", "", "1.1.1.1 1.1.1.2 1.1.1.3 1.1.1.4", "dns: "},
		{"dhcp", "192.168.1.1", "", "gateway and dns"},
	} {
		p, err := ParsePort("eth0", c.address, c.gateway, c.dns)
		if c.wrong == "" && (err != nil || p.Name != "eth0") {
			t.Errorf("%q: %v", c.address, err)
		}
		if c.wrong != "" && (err == nil || !strings.Contains(err.Error(), c.wrong)) {
			t.Errorf("%q %q %q: %v; want %q", c.address, c.gateway, c.dns, err, c.wrong)
		}
	}
}
