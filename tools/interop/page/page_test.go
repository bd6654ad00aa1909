package page

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp/kb"
	"github.com/cloudsoda/go-smb2"

	"github.com/postern-nas/postern/tools/postern"
)

const (
	olga         = "olga"
	olgaPassword = "correct horse battery"
	bob          = "bob"
	bobPassword  = "another long password"
)

// shares lists the shares that a user sees over SMB, with the Go client; an error is a logon that was refused.
func shares(t *testing.T, srv *postern.Server, user, password string) ([]string, error) {
	t.Helper()
	c, err := net.Dial("tcp", srv.TCP)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	d := &smb2.Dialer{Initiator: &smb2.NTLMInitiator{User: user, Password: password}}
	s, err := d.DialConn(t.Context(), c, "127.0.0.1")
	if err != nil {
		return nil, err
	}
	defer s.Logoff()
	return s.ListSharenames()
}

// put writes a file into a share, or says why not.
func put(t *testing.T, srv *postern.Server, user, password, share string) error {
	t.Helper()
	c, err := net.Dial("tcp", srv.TCP)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	d := &smb2.Dialer{Initiator: &smb2.NTLMInitiator{User: user, Password: password}}
	s, err := d.DialConn(t.Context(), c, "127.0.0.1")
	if err != nil {
		return err
	}
	defer s.Logoff()
	sh, err := s.Mount(share)
	if err != nil {
		return err
	}
	defer sh.Umount()
	return sh.WriteFile("from-"+user, []byte("hello"), 0o644)
}

// TestOwner is an owner's first hour: the first setup, signing in, a user and a share, and what becomes of them over SMB.
func TestOwner(t *testing.T) {
	chromium(t)
	atSizes(t, func(t *testing.T, s, _ size) {
		srv := postern.Run(t, postern.Config{Page: true})
		b := open(t, srv, s)
		if s.keys {
			b.setUpByKeys()
		} else {
			b.setUpByTouch()
		}
		b.signIn()
		b.useIt()
		b.well()
	})
}

// setUpByTouch goes through the wizard as somebody who has scanned the code with a phone, and goes astray once at each step.
func (b *browser) setUpByTouch() {
	t := b.t
	t.Helper()
	path, _ := setupCode(t, b.log)
	b.visit("/status") // nothing can be had without the code
	b.heading("Set up this box")
	b.fill(map[string]string{"#code": "0000 0000"})
	b.click("form .main")
	b.said("This is not the code")
	b.visit(path)
	b.heading("Set up this box")
	b.picture("scanned")
	b.click("form .main")

	b.heading("What is this box called?")
	b.fill(map[string]string{"#name": "not a name!"})
	b.click("form .main")
	b.said("letters, digits and hyphens")
	b.fill(map[string]string{"#name": "nas.test"})
	b.picture("name")
	b.click("form .main")

	b.heading("Who looks after it?")
	b.fill(map[string]string{"#owner": olga, "#password": "olgaolgaolga"})
	b.fill(map[string]string{"#owner": "a/b"})
	b.click("form .main")
	b.said("User name")
	b.fill(map[string]string{"#owner": olga, "#password": olgaPassword})
	b.picture("owner")
	b.click("form .main")

	b.heading("Where do the files go?")
	b.picture("storage")
	b.click("form .main")
	b.heading("The first share")
	b.fill(map[string]string{"#share": "fi:les"})
	b.click("form .main")
	b.said("contains one of")
	b.fill(map[string]string{"#share": "files"})
	b.picture("share")
	b.click("form .main")
	b.heading("Do you want to reach it from elsewhere?")
	b.picture("elsewhere")
	b.click("form .main")
	b.heading("Is this right?")
	b.picture("finish")
	b.touch("form .main")
	b.heading("Sign in") // after the restart, by itself
}

// setUpByKeys goes through the wizard with the keyboard alone.
func (b *browser) setUpByKeys() {
	t := b.t
	t.Helper()
	_, digits := setupCode(t, b.log)
	b.visit("/")
	b.heading("Set up this box")
	b.picture("welcome")
	b.tabTo("#code")
	b.type_(digits)
	b.enter()
	b.heading("What is this box called?")
	b.tabTo("#name")
	b.clear()
	b.type_("nas.test")
	b.picture("name")
	b.enter()
	b.heading("Who looks after it?")
	b.tabTo("#owner")
	b.type_(olga)
	b.tabTo("#password")
	b.type_(olgaPassword)
	b.picture("owner")
	b.tabTo("form .main")
	b.enter()
	b.heading("Where do the files go?")
	b.picture("storage")
	b.tabTo("[name=place]")
	b.press(" ")
	b.tabTo("form .main")
	b.enter()
	b.heading("The first share")
	b.tabTo("#share")
	b.type_("files")
	b.picture("share")
	b.enter()
	b.heading("Do you want to reach it from elsewhere?")
	b.tabTo("[name=outside]")
	b.press(kb.ArrowDown, kb.ArrowUp) // and not yes: the router of the network that the test runs in is not to be asked
	b.tabTo("#outside_name")
	b.type_("attic.example.org")
	b.picture("elsewhere")
	b.tabTo("form .main")
	b.enter()
	b.heading("Is this right?")
	b.picture("finish")
	b.tabTo("form .main")
	b.press(kb.Enter)
	b.heading("Sign in")
}

func (b *browser) signIn() {
	b.t.Helper()
	b.visit("/shares")
	b.heading("Sign in")
	b.picture("signin")
	b.fill(map[string]string{"#user": olga, "#password": "wrong password"})
	b.click("form .main")
	b.said("not the name and password")
	b.fill(map[string]string{"#password": olgaPassword})
	b.click("form .main")
	b.heading("Shares") // where it was going
	b.visit("/")
	b.heading("Overview")
	b.picture("overview")
}

func (b *browser) useIt() {
	t := b.t
	t.Helper()
	if got, err := shares(t, b.srv, olga, olgaPassword); err != nil || !slices.Contains(got, "files") {
		t.Errorf("the wizard's owner sees the shares %v, %v", got, err)
	}

	b.addBob()
	b.picture("users")

	b.visit("/shares")
	b.heading("Shares")
	form := `form[action="/shares/add"]`
	b.fill(map[string]string{"#new-name": "photos", "#new-comment": "Summer <b>2026</b>"})
	b.touch(form + " [name=restricted][value=true]")
	b.choose(`//form[@action="/shares/add"]//select[@name="may.olga"]`, "write")
	b.choose(`//form[@action="/shares/add"]//select[@name="may.bob"]`, "read")
	b.picture("new-share")
	b.click(form + " .main")
	b.said("photos is shared now")
	b.look("Shares")
	if err := put(t, b.srv, olga, olgaPassword, "photos"); err != nil {
		t.Errorf("the new share: %v", err)
	}
	if err := put(t, b.srv, bob, bobPassword, "photos"); err == nil {
		t.Error("bob writes where he may only read")
	}

	// What a share may be used for is changed while it is in use.
	b.touch(`//summary[contains(., "photos")]`)
	set := `//form[@action="/shares/set"][input[@value="photos"]]`
	b.choose(set+`//select[@name="may.bob"]`, "write")
	b.picture("share-open")
	b.look("Shares, open")
	b.click(set + `//button`)
	b.said("photos is changed")
	if err := put(t, b.srv, bob, bobPassword, "photos"); err != nil {
		t.Errorf("after the change: %v", err)
	}
	b.click(".note button") // undo
	b.said("Undone")
	if err := put(t, b.srv, bob, bobPassword, "photos"); err == nil {
		t.Error("bob writes after that was undone")
	}

	// A share that is removed is gone, and comes back.
	remove := `//form[@action="/shares/remove"][input[@value="photos"]]`
	b.touch(`//summary[contains(., "photos")]`)
	b.touch(remove + `/preceding-sibling::summary`)
	b.click(remove + `//button`)
	b.said("photos is not shared any more")
	if got, err := shares(t, b.srv, olga, olgaPassword); err != nil || slices.Contains(got, "photos") {
		t.Errorf("after it was removed: %v, %v", got, err)
	}
	b.click(".note button")
	b.said("Undone")
	if err := put(t, b.srv, olga, olgaPassword, "photos"); err != nil {
		t.Errorf("after that was undone: %v", err)
	}

	// A user who is switched off is out.
	b.visit("/users")
	b.heading("Users")
	b.touch(`//summary[contains(., "bob")]`)
	b.picture("user-open")
	b.look("Users, open")
	off := `//form[@action="/users/set"][input[@value="bob"]][input[@name="disabled"]]//button`
	b.click(off)
	b.said("bob is signed out")
	if _, err := shares(t, b.srv, bob, bobPassword); err == nil {
		t.Error("bob logs on though he is switched off")
	}

	for _, p := range []string{"Settings", "Logs", "System"} {
		b.visit("/" + strings.ToLower(p))
		b.heading(p)
		b.picture(strings.ToLower(p))
	}
	// The overview follows by itself.
	b.visit("/status")
	b.heading("Overview")
	b.until(`document.querySelector("#live").innerText.includes("photos")`)
	if !b.size.phone {
		b.resize(1000, 560)
		b.picture("readme")
		b.resize(b.size.width, b.size.height)
	}
	if err := os.RemoveAll(filepath.Join(b.srv.State, "shares", "photos")); err != nil {
		t.Fatal(err)
	}
	b.said("The folder of photos is not there")
	b.picture("alarm")
	b.look("Overview, alarm")
	b.click(`form[action="/signout"] button`)
	b.heading("Sign in")
	b.visit("/shares")
	b.heading("Sign in")
}
