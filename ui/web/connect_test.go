package web

import (
	"context"
	"errors"
	"html"
	"net/http"
	"net/netip"
	"regexp"
	"strings"
	"testing"

	"github.com/postern-nas/postern/ui"
)

// lobby is a pairing that stands still.
type lobby struct {
	http.Handler
	visit Visit
}

func (l *lobby) Visit(context.Context, netip.Addr, string, string) (*http.Cookie, error) {
	return nil, errors.New("nobody comes")
}
func (l *lobby) Look(*http.Request) (Visit, error) { return l.visit, nil }

// texts is what a page says to people, and the addresses in it.
func texts(page string) string {
	_, main, _ := strings.Cut(page, `<main`)
	return html.UnescapeString(regexp.MustCompile(`<[^>]*href="([^"]*)"[^>]*>|<[^>]*>`).ReplaceAllString(main, " $1 "))
}

// Whatever is switched on: the page says what works, and nothing that does not.
func TestConnect(t *testing.T) {
	quicLine := "client smb transports=quic"
	for name, c := range map[string]struct {
		ways     Ways
		has, not []string
	}{
		"a new box": {
			Ways{Server: "attic.local", Home: "attic.local", Share: "files"},
			[]string{`\\attic.local\files`, "smbclient //attic.local/files -U USER --option='client smb transports=quic' ", "/ca.pem", words["way.off"]},
			[]string{"mount -t cifs", "smb://", words["way.quic.refused"], words["way.tcp"], words["way.linux.off"]},
		},
		"devices are paired": {
			Ways{Server: "attic.local", Home: "attic.local", Share: "files", Certificate: true},
			[]string{words["way.quic.refused"], words["way.off"]},
			[]string{quicLine, "mount -t cifs", "smb://"},
		},
		"with TCP": {
			Ways{Server: "attic.local", Home: "attic.local", Share: "files", Certificate: true, TCP: "445"},
			[]string{words["way.quic.refused"], words["way.tcp"], "smbclient //attic.local/files -U USER ", "smb://attic.local/files ", words["way.linux.off"], words["way.mac"], words["way.phone"]},
			[]string{quicLine, "mount -t cifs", words["way.off"], "-p 445", ":445"},
		},
		"with TCP and Linux": {
			Ways{Server: "attic.local", Home: "attic.local", Share: "files", TCP: "445", Linux: true},
			[]string{"sudo mount -t cifs //attic.local/files /mnt -o username=USER,vers=3.1.1 ", quicLine},
			[]string{words["way.linux.off"], words["way.off"], "seal", "port="},
		},
		"other ports, encrypted": {
			Ways{Server: "attic.local", Home: "attic.local", Share: "files", Port: "8443", TCP: "4450", Linux: true, Encrypt: true},
			[]string{
				"-o username=USER,vers=3.1.1,port=4450,seal ", "transports=quic:8443'", "-U USER -p 4450 --client-protection=encrypt ", "smb://attic.local:4450/files ",
			},
			nil,
		},
		"without a share": {
			Ways{Server: "attic.local", Home: "attic.local", TCP: "445", Linux: true},
			[]string{`\\attic.local `, "//attic.local/SHARE /mnt", "smb://attic.local "},
			nil,
		},
	} {
		s, _ := newBox(t)
		paired := &lobby{visit: Visit{Phase: ui.Paired, User: "alice", Ways: c.ways}}
		box := s.cfg.Box
		box.Ways, box.Pairings = func() Ways { return c.ways }, paired
		cfg := s.cfg
		cfg.Box = box
		s, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		v, _ := in(t, s)
		if menu := text(t, v.send("GET", "/status", nil, nil)); !strings.Contains(menu, `href="/connect"`) {
			t.Error("the menu does not lead there")
		}
		for path, user := range map[string]string{"/connect": "USER", "/pair": "alice"} {
			said := texts(text(t, v.send("GET", path, nil, nil)))
			for _, want := range append(c.has, "/pair/postern-unpair.cmd", "/pair/postern-renew.cmd") {
				if want = strings.ReplaceAll(want, "USER", user); !strings.Contains(said, want) {
					t.Errorf("%s, %s does not say %q:\n%s", name, path, want, said)
				}
			}
			for _, wrong := range c.not {
				if strings.Contains(said, wrong) {
					t.Errorf("%s, %s says %q", name, path, wrong)
				}
			}
		}
	}
}

// What a device that is being paired sees, and what its owner sees: never the code in the device's browser.
func TestPairingPhases(t *testing.T) {
	for phase, want := range map[ui.Phase]string{
		ui.Preparing: "visit.windows.check", ui.Asking: "visit.compare", ui.Issuing: "visit.accepted", ui.Paired: "visit.paired", ui.Refused: "visit.refused",
	} {
		s, b := newBox(t)
		cfg := s.cfg
		cfg.Box.Pairings = &lobby{visit: Visit{Phase: phase, Reason: "too many wrong codes", Ways: Ways{Server: "attic.local", Home: "attic.local"}}}
		s, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		said := texts(text(t, visit(t, s).send("GET", "/pair", nil, nil)))
		if !strings.Contains(said, words[want]) {
			t.Errorf("%v: %s", phase, said)
		}
		if script := strings.Contains(said, "/pair/postern-pair.cmd"); script != (phase == ui.Preparing) {
			t.Errorf("%v: the script is there: %t", phase, script)
		}
		b.state.Pairing = &ui.Pairing{ID: "7", Phase: phase, Device: "LAPTOP", Script: "1A2B 3C4D 5E6F 7081"}
		if phase >= ui.Asking {
			b.state.Pairing.Code = "123 456"
		}
		v, _ := in(t, s)
		owner := texts(text(t, v.send("GET", "/devices", nil, nil)))
		if strings.Contains(owner, "1A2B 3C4D 5E6F 7081") != (phase == ui.Preparing) || strings.Contains(owner, "123 456") != (phase == ui.Asking) {
			t.Errorf("%v: the owner sees\n%s", phase, owner)
		}
	}
}
