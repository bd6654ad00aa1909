package page

import (
	"crypto/tls"
	"flag"
	"image"
	"net"
	"net/netip"
	"net/url"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cloudsoda/go-smb2"

	"github.com/postern-nas/postern/tools/postern"
)

var clone = flag.String("clone", "", "have the newcomer say `make run` in this checkout, as nobody")

// public is what these boxes are called on the Internet.
const public = "nas.example.net"

// TestNewcomer does what panel and page say, and nothing else: it scans the panel with a phone, sets the box up, pairs a PC by the
// panel's menu and keys, and has a folder served to that PC over QUIC, and to nobody who has no certificate.
func TestNewcomer(t *testing.T) {
	chromium(t)
	cmd := &exec.Cmd{SysProcAttr: new(syscall.SysProcAttr)}
	if *clone != "" {
		make, err := exec.LookPath("make")
		if err != nil {
			t.Fatal(err)
		}
		cmd.Path, cmd.Args, cmd.Dir = make, []string{"make", "run"}, *clone
		cmd.Env = []string{"PATH=/usr/local/go/bin:/usr/bin:/bin", "HOME=" + filepath.Dir(*clone), "TERM=xterm"}
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: 65534, Gid: 65534}
	} else {
		binary, err := postern.Build()
		if err != nil {
			t.Fatal(err)
		}
		state := filepath.Join(t.TempDir(), "state")
		cmd.Path, cmd.Args = binary, []string{binary, "-state", state, "-demo", "-quic", "127.0.0.1:0", "-tcp", "127.0.0.1:0", "-page", "127.0.0.1:0"}
	}
	r := inTerminal(t, cmd)
	defer func() {
		if t.Failed() {
			t.Logf("the terminal:\n%s", r.text())
		}
	}()
	qr := func(what, part string) *url.URL {
		t.Helper()
		text := ""
		keep(t, what, r.until(t, what, func(m image.Image) bool { text = qrOf(m); return strings.Contains(text, part) }))
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	if *clone != "" { // it is built first
		for end := time.Now().Add(10 * time.Minute); len(r.pictures()) == 0 && time.Now().Before(end); time.Sleep(time.Second) {
		}
	}
	welcome := qr("welcome", "/s/")
	phone := openAt(t, site{page: welcome.Host, log: r.text, step: 2 * step}, sizes[1])
	phone.visit(welcome.Path)
	phone.heading("Set up this box")
	phone.picture("scanned")
	phone.click("form .main")
	phone.heading("What is this box called?")
	phone.fill(map[string]string{"#name": "attic.local"})
	phone.click("form .main")
	phone.heading("Who looks after it?")
	phone.fill(map[string]string{"#owner": olga, "#password": olgaPassword})
	phone.click("form .main")
	phone.heading("Where do the files go?")
	phone.picture("storage")
	phone.click("form .main")
	phone.heading("The first share")
	phone.picture("share")
	phone.fill(map[string]string{"#share": "files"})
	phone.click("form .main")
	phone.heading("Do you want to reach it from elsewhere?")
	phone.fill(map[string]string{"#outside_name": public}) // and "Not now": no router is asked by a test
	phone.click("form .main")
	phone.heading("Is this right?")
	phone.picture("finish")
	phone.touch("form .main")
	phone.heading("Sign in")
	phone.said("has started again")
	phone.picture("signin")
	phone.signInAs("Overview")
	phone.picture("overview")

	// On the panel: Enter opens the menu, whose first line pairs a device.
	// A key that is struck while the box starts again does nothing.
	r.until(t, "the home page", func(m image.Image) bool { return qrOf(m) == "" })
	for tries := 0; tries < 5 && !r.shows("/p/"); tries++ {
		r.strike(t, "\r")
		for end := time.Now().Add(3 * time.Second); time.Now().Before(end) && !r.shows("/p/"); time.Sleep(100 * time.Millisecond) {
		}
	}
	invited := qr("pair", "/p/")
	pc := openAt(t, site{page: invited.Host, log: r.text, step: 2 * step}, sizes[0])
	pc.visit(invited.Path)
	pc.heading("Pair this device")
	pc.fill(map[string]string{"#device": "Annas PC"})
	pc.picture("asks")
	pc.click("form .main")
	pc.until(`document.body.innerText.includes("The owner knows that you are here")`)
	pc.picture("prepares")
	opened := r.until(t, "that a device has come", func(m image.Image) bool { return qrOf(m) == "" })
	ca := regexp.MustCompile(`(?s).*authority +(\S+ca\.pem)`).FindStringSubmatch(r.text())
	if ca == nil {
		t.Fatal("the terminal does not say whom to trust")
	}
	key, _ := pc.agree(ca[1]) // the person reads it from the panel, which TestPairing does from a page
	pc.until(`document.body.innerText.includes("The program's own window shows six digits")`)
	pc.picture("compares")
	keep(t, "asked", r.until(t, "the question", func(m image.Image) bool { return !reflect.DeepEqual(m, opened) }))
	time.Sleep(1500 * time.Millisecond) // the panel takes no key for an answer that comes sooner
	r.strike(t, "n")
	time.Sleep(500 * time.Millisecond)
	r.strike(t, "\r")
	pc.until(`document.body.innerText.includes("You are let in")`)
	pc.look("Pair this device, accepted")
	pc.picture("accepted")
	cert := pc.enrol(key)
	pc.until(`document.body.innerText.includes("This device is paired")`)
	pc.picture("paired")
	said := pc.get(`document.querySelector("main code").textContent`)
	if said != `\\`+public+`\files` {
		t.Errorf("the page says that the files are at %s", said)
	}

	// What the terminal says of the address is for the whole of it.
	found := regexp.MustCompile(`(?s).*transport=quic address=(\S+)`).FindStringSubmatch(r.text())
	if found == nil {
		t.Fatal("the terminal does not say where it serves")
	}
	_, port, err := net.SplitHostPort(found[1])
	if err != nil {
		t.Fatal(err)
	}
	mount := func(name string, cert *tls.Certificate) error {
		c, err := postern.DialQUICAs(t.Context(), netip.Addr{}, net.JoinHostPort("127.0.0.1", port), name, ca[1], cert)
		if err != nil {
			return err
		}
		defer c.Close()
		s, err := (&smb2.Dialer{Initiator: &smb2.NTLMInitiator{User: olga, Password: olgaPassword}}).DialConn(t.Context(), c, name)
		if err != nil {
			return err
		}
		defer s.Logoff()
		share, err := s.Mount("files")
		if err != nil {
			return err
		}
		defer share.Umount()
		if err := share.WriteFile("from the PC", []byte("hello"), 0o644); err != nil {
			return err
		}
		_, err = share.ReadFile("from the PC")
		return err
	}
	for _, name := range []string{public, "attic.local"} { // from another city, and at home
		if err := mount(name, cert); err != nil {
			t.Errorf("the paired PC, as %s: %v", name, err)
		}
		if err := mount(name, nil); err == nil {
			t.Errorf("as %s a PC without a certificate is let in", name)
		}
	}
	phone.visit("/devices")
	phone.heading("Devices")
	phone.until(`document.querySelector("#live").innerText.includes("Annas PC")`)
	phone.picture("devices")
	phone.well()
	pc.well()
}
