package mdns

import (
	"context"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postern-nas/postern/firmware/network"
	"github.com/postern-nas/postern/firmware/network/netlab"
)

const busConfig = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path=BUS</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/><allow user="*"/></policy></busconfig>`

// avahi runs Debian's mDNS daemon on the peer, with a message bus of its own, and returns what to set to reach it.
func avahi(t *testing.T, peer *netlab.Peer, host string) (env string) {
	t.Helper()
	for program, pkg := range map[string]string{"avahi-daemon": "avahi-daemon", "avahi-browse": "avahi-utils", "dbus-daemon": "dbus-daemon"} {
		if _, err := exec.LookPath(program); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatalf("no %s: apt-get install --no-install-recommends %s", program, pkg)
			}
			t.Skipf("skipped: no %s (Debian: %s)", program, pkg)
		}
	}
	dir, err := os.MkdirTemp("", "avahi") // sockets have short paths
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	bus := filepath.Join(dir, "bus")
	files := map[string]string{
		"bus.conf": strings.ReplaceAll(busConfig, "BUS", bus),
		"avahi.conf": "[server]\nhost-name=" + host + "\nuse-ipv4=yes\nuse-ipv6=no\nallow-interfaces=peer0\n[wide-area]\nenable-wide-area=no\n" +
			"[publish]\npublish-workstation=yes\n",
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	env = "DBUS_SYSTEM_BUS_ADDRESS=unix:path=" + bus
	peer.Start(t, "dbus-daemon", "--config-file="+filepath.Join(dir, "bus.conf"), "--nofork", "--nopidfile")
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(bus); err == nil {
			break
		}
	}
	peer.Start(t, "env", env, "avahi-daemon", "--no-drop-root", "--no-chroot", "--no-rlimits", "--file="+filepath.Join(dir, "avahi.conf"))
	return env
}

// respond runs a responder on port0.
func respond(t *testing.T, host string) *Responder {
	t.Helper()
	netlab.Up(t, "port0", "192.0.2.1/24")
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	o := &network.Observer{Log: log}
	r := New(Config{Host: host, Services: offered}, &o.State, log)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 2)
	go func() { done <- o.Run(ctx) }()
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
	return r
}

// called waits for a name.
func called(t *testing.T, r *Responder, want string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for version := uint64(0); ; {
		name, v, err := r.Name.Wait(ctx, version)
		if err != nil {
			t.Fatalf("never called %q", want)
		}
		if version = v; name == want {
			return
		}
	}
}

// on runs a program on the peer until its output has everything, for a minute at most.
func on(t *testing.T, peer *netlab.Peer, env string, want []string, name string, args ...string) {
	t.Helper()
	var out []byte
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(time.Second) {
		peer.Do(t, func() error {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			cmd := exec.CommandContext(ctx, name, args...)
			cmd.Env = append(os.Environ(), env)
			out, _ = cmd.CombinedOutput()
			return nil
		})
		missing := false
		for _, w := range want {
			missing = missing || !strings.Contains(string(out), w)
		}
		if !missing {
			return
		}
	}
	t.Errorf("%s %q says\n%s\nwithout all of %q", name, args, out, want)
}

// TestAvahi: another implementation finds the services, and the address by the name.
func TestAvahi(t *testing.T) {
	peer := netlab.New(t)
	peer.Cable(t, "port0", "peer0", "192.0.2.2/24")
	env := avahi(t, peer, "laptop")
	r := respond(t, "attic")
	called(t, r, "attic")
	on(t, peer, env, []string{";attic;", ";attic.local;192.0.2.1;445;"}, "avahi-browse", "--resolve", "--parsable", "--terminate", "_smb._tcp")
	on(t, peer, env, []string{";attic.local;192.0.2.1;443;", `"path=/"`}, "avahi-browse", "--resolve", "--parsable", "--terminate", "_https._tcp")
	on(t, peer, env, []string{"attic.local\t192.0.2.1"}, "avahi-resolve", "-4", "-n", "attic.local")
	on(t, peer, env, []string{"192.0.2.1\tattic.local"}, "avahi-resolve", "-a", "192.0.2.1")
	on(t, peer, env, []string{"_device-info._tcp"}, "avahi-browse", "--all", "--parsable", "--terminate", "--no-db-lookup")
}

// TestAvahiConflict: the name is another machine's, so the box is called attic-2, and both are found.
func TestAvahiConflict(t *testing.T) {
	peer := netlab.New(t)
	peer.Cable(t, "port0", "peer0", "192.0.2.2/24")
	env := avahi(t, peer, "attic")
	on(t, peer, env, []string{"attic.local\t192.0.2.2"}, "avahi-resolve", "-4", "-n", "attic.local")
	r := respond(t, "attic")
	called(t, r, "attic-2")
	on(t, peer, env, []string{"attic-2.local\t192.0.2.1"}, "avahi-resolve", "-4", "-n", "attic-2.local")
	on(t, peer, env, []string{"attic.local\t192.0.2.2"}, "avahi-resolve", "-4", "-n", "attic.local")
}
