package main

import (
	"log/slog"
	"net/netip"
	"path/filepath"
	"reflect"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-nas/postern/firmware/config"
	"github.com/postern-nas/postern/firmware/network"
	"github.com/postern-nas/postern/ui/web"
)

// cards are network ports that only remember what they are set to, as a real one would for a moment.
type cards struct {
	mu  sync.Mutex
	set []network.PortConfig
}

func (c *cards) Configure(p []network.PortConfig) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.set = p
}

func (c *cards) Configured() []network.PortConfig {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.set
}

// TestPortTrial: settings that nobody keeps are taken back, and those from before are in use and in the file; only who has the token
// keeps them, once, and in time; and one trial goes on at a time.
func TestPortTrial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		write(t, filepath.Join(dir, config.FileName), []byte("version = 1\n[[network.port]]\nname = \"eth0\"\naddress = \"192.168.1.9/24\"\n"))
		before := []network.PortConfig{{Name: "eth0", Address: netip.MustParsePrefix("192.168.1.9/24")}}
		c := &cards{set: before}
		p := &portTrial{
			h: &house{w: &world{}, state: dir}, net: c, log: slog.New(slog.DiscardHandler),
			state: func() network.State { return network.State{Ports: []network.Port{{Name: "eth0"}, {Name: "eth1"}}} },
		}
		inFile := func() netip.Prefix {
			t.Helper()
			cfg, err := config.Load(dir)
			if err != nil {
				t.Fatal(err)
			}
			return cfg.Box.Ports[0].Address
		}
		for _, bad := range []web.PortSettings{
			{Name: "eth7"},
			{Name: "eth0", Fixed: true},
			{Name: "eth0", Fixed: true, Address: "192.168.1.10"},
			{Name: "eth0", Fixed: true, Address: "192.168.1.10/24", Gateway: "10.0.0.1"},
		} {
			if _, err := p.Try(t.Context(), bad); err == nil {
				t.Errorf("%+v is tried", bad)
			}
		}
		want := web.PortSettings{Name: "eth0", Fixed: true, Address: "192.168.1.77/24", Gateway: "192.168.1.1"}
		first, err := p.Try(t.Context(), want)
		if err != nil || first.Address != "192.168.1.77" {
			t.Fatal(first, err)
		}
		if !reflect.DeepEqual(c.Configured(), before) {
			t.Error("it is set before the page has its answer")
		}
		if _, err := p.Try(t.Context(), want); err == nil {
			t.Error("two are tried at a time")
		}
		time.Sleep(portTrialDelay + time.Second)
		synctest.Wait()
		if got := c.Configured()[0].Address.String(); got != "192.168.1.77/24" {
			t.Errorf("set to %s", got)
		}
		if err := p.Keep(t.Context(), "x"); err == nil {
			t.Error("kept by who does not have the token")
		}
		time.Sleep(portTrialTime)
		synctest.Wait()
		if !reflect.DeepEqual(c.Configured(), before) || inFile() != before[0].Address {
			t.Errorf("not taken back: %+v", c.Configured())
		}
		if err := p.Keep(t.Context(), first.Token); err == nil {
			t.Error("kept after its time")
		}

		second, err := p.Try(t.Context(), want)
		if err != nil || second.Token == first.Token {
			t.Fatal(err)
		}
		time.Sleep(portTrialTime - time.Second)
		if err := p.Keep(t.Context(), second.Token); err != nil {
			t.Fatal(err)
		}
		if err := p.Keep(t.Context(), second.Token); err == nil {
			t.Error("kept twice")
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if got := c.Configured()[0].Address; got != inFile() || got.String() != "192.168.1.77/24" {
			t.Errorf("set to %v, and the file says %v", got, inFile())
		}
		if _, err := p.Try(t.Context(), web.PortSettings{Name: "eth0"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(portTrialDelay + time.Second)
		synctest.Wait()
		if c.Configured()[0].Address.IsValid() {
			t.Error("it is not by DHCP")
		}
		time.Sleep(portTrialTime + time.Second)
	})
}
