package page

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloudsoda/go-smb2"

	"github.com/postern-nas/postern/tools/postern"
)

// TestPublicName gives the box a name for everywhere, on the page of settings: then its certificate has both names, a device that
// is paired is told the public one, and is let in by either, as a PC asks for them: in the handshake.
func TestPublicName(t *testing.T) {
	srv := owned(t)
	b := open(t, srv, sizes[0])
	b.enterAs("/settings")
	b.heading("Settings")
	b.fill(map[string]string{"#set-names": public})
	b.click(`form[action="/settings/set"] .main`)
	b.said("when the box has started again")
	if err := srv.Stop(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := srv.Start(ctx); err != nil {
		t.Fatal(err)
	}

	b.enterAs("/devices")
	b.heading("Devices")
	b.click("#pair")
	b.until(`document.querySelector(".pair .code")`)
	device := open(t, srv, sizes[1])
	device.visit("/pair")
	device.heading("Pair this device")
	device.fill(map[string]string{"#code": b.get(`document.querySelector(".pair .code").textContent`), "#device": "Annas PC"})
	device.click("form .main")
	device.until(`document.body.innerText.includes("The owner knows that you are here")`)
	if script := device.get(`fetch("/pair/postern-pair.cmd").then(r => r.text())`); !strings.Contains(script, "$Fqdn = '"+public+"'") ||
		!strings.Contains(script, "$Local = '"+srv.Name+"'") {
		t.Errorf("the script has other names:\n%.2000s", script)
	}
	key, _ := device.agree(srv.CA)
	b.until(`document.querySelector("#accept")`)
	b.click("#accept")
	device.until(`document.body.innerText.includes("You are let in")`)
	cert := device.enrol(key)
	device.until(`document.body.innerText.includes("This device is paired")`)
	device.picture("paired-by-name")
	said := device.get(`[...document.querySelectorAll("main code")].map(c => c.textContent).join(" ")`)
	if want := []string{`\\` + public + `\files`, `\\` + srv.Name + `\files`}; !slices.Equal(strings.Fields(said), want) {
		t.Errorf("the page says that the files are at %s, want %s", said, want)
	}

	for _, name := range []string{public, srv.Name} {
		c, err := postern.DialQUICAs(t.Context(), netip.Addr{}, srv.QUIC, name, srv.CA, cert)
		if err != nil {
			t.Errorf("as %s: %v", name, err)
			continue
		}
		defer c.Close()
		s, err := (&smb2.Dialer{Initiator: &smb2.NTLMInitiator{User: olga, Password: olgaPassword}}).DialConn(t.Context(), c, name)
		if err != nil {
			t.Errorf("as %s: %v", name, err)
			continue
		}
		share, err := s.Mount("files")
		if err != nil {
			t.Errorf("as %s: %v", name, err)
			continue
		}
		if err := share.WriteFile("by "+name, []byte("hello"), 0o644); err != nil {
			t.Errorf("as %s: %v", name, err)
		}
	}
	b.visit("/status")
	b.heading("Overview")
	b.until(`document.querySelector("#live").innerText.includes("From elsewhere, if your router lets SMB over QUIC through: ` + public + `")`)
	b.picture("overview")
	b.well()
	device.well()
}
