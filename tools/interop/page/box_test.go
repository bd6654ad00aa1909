package page

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/postern-nas/postern/images"
	"github.com/postern-nas/postern/tools/mkimage/mkimage"
	"github.com/postern-nas/postern/tools/vm/vm"
)

var boots = flag.Bool("vm", false, "build an image, boot it in QEMU, and look after it by its page")

// boot is how long an emulated machine may take to start.
const boot = 10 * time.Minute

// A journal is what a machine's console said.
type journal struct {
	mu   sync.Mutex
	text strings.Builder
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(b)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// A box is a machine that is looked after by its page alone.
type box struct {
	*vm.Machine
	t     *testing.T
	page  string // as the browser calls it
	said  journal
	image *mkimage.Result
}

func newBox(t *testing.T, disks int) *box {
	t.Helper()
	if !*boots {
		t.Skip("boots a machine: -vm")
	}
	chromium(t)
	if m := vm.Missing(); m != "" {
		if os.Getenv("CI") == "true" {
			t.Fatal(m)
		}
		t.Skip(m)
	}
	dir := t.TempDir()
	board, _ := images.FindBoard("qemu")
	key, err := mkimage.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	b := &box{t: t}
	if b.image, err = mkimage.Build(t.Context(), mkimage.Options{Board: board, Out: dir, Quick: true, Key: key, Number: 1}, t.Output()); err != nil {
		t.Fatal(err)
	}
	if b.Machine, err = vm.New(filepath.Join(dir, b.image.Image)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("the console:\n%s", b.said.String())
		}
	})
	for i := range disks {
		disk := filepath.Join(dir, fmt.Sprint("disk", i))
		if err := errors.Join(os.WriteFile(disk, nil, 0o600), os.Truncate(disk, 2<<30)); err != nil {
			t.Fatal(err)
		}
		b.Disks = append(b.Disks, disk)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b.HTTPS = l.Addr().String()
	l.Close()
	_, port, _ := net.SplitHostPort(b.HTTPS)
	b.page = "localhost:" + port // by its address on this host it would take it for another's
	b.Resets = true
	if err := b.Start(&b.said); err != nil {
		t.Fatal(err)
	}
	b.hear("msg=listening transport=page")
	b.hear("type this code there")
	return b
}

// hear waits for a line of the console.
func (b *box) hear(pattern string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), boot)
	defer cancel()
	begin := time.Now()
	if _, err := b.Wait(ctx, pattern); err != nil {
		b.t.Fatal(err)
	}
	b.t.Logf("%5.1f s until %q", time.Since(begin).Seconds(), pattern)
}

// open starts a browser. The machine's certificate is of an authority that it has made a moment ago.
func (b *box) open() *browser {
	return openAt(b.t, site{page: b.page, log: b.said.String, step: 4 * time.Minute}, sizes[0])
}

// TestBox is the life of a box by its page alone: the first setup on an empty disk; a backup; network settings that lock its owner
// out and come back by themselves, and such as are kept; an update, uploaded; a restart into it; the backup again, on another system;
// everything erased, and set up anew on a mirror of two disks. The page says how far each of them is, and comes back by itself.
func TestBox(t *testing.T) {
	m := newBox(t, 3)
	b := m.open()
	m.setUp(b, "Disk vdb", "It is empty, and becomes a pool.")
	b.visit("/status")
	b.heading("Overview")
	b.until(`["data", "files"].every(n => document.querySelector("#live").innerText.includes(n))`)
	b.picture("overview")

	saved := b.saveBackup()
	m.tryNetwork(b)
	m.update(b)
	b.addBob()
	b.sendBackup(saved, "of the backup")
	b.backWithoutBob()

	m.reset(b)
	m.setUp(b, "one a copy of the other", "They are empty, and become a pool. If one of them fails, nothing is lost.")
	b.until(`["data-2", "files"].every(n => document.querySelector("#live").innerText.includes(n))`)
	b.picture("mirror")
	b.well()
	m.off()
}

// reset erases everything but the files, until the box is as it came.
func (m *box) reset(b *browser) {
	m.t.Helper()
	b.visit("/system")
	b.heading("System")
	b.touch(`//summary[.="Factory reset"]`)
	b.fill(map[string]string{"#reset-again": olgaPassword})
	m.Forget()
	b.touch(`form[action="/system/reset"] .bad`)
	b.until(`document.querySelector("#wait")`)
	b.picture("resetting")
	b.heading("Set up this box")
	b.said("has started again")
	m.hear("type this code there")
}

// off presses the power button.
func (m *box) off() {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), boot)
	defer cancel()
	if err := m.PowerButton(ctx); err != nil {
		m.t.Error(err)
	}
}

// bundle is the update to an image.
func (m *box) bundle(r *mkimage.Result) []byte {
	m.t.Helper()
	var b bytes.Buffer
	if err := r.SignBundle(&b, r.Release(), m.image.Key()); err != nil {
		m.t.Fatal(err)
	}
	return b.Bytes()
}

// post sends a form from the page, and returns the answer: a file as base64, or a text.
func (b *browser) post(path, fields string) string {
	b.t.Helper()
	return b.get(fmt.Sprintf(`(async () => {
		const f = new FormData(); f.set("token", document.querySelector("[name=token]").value);
		%s
		const r = await fetch(%q, {method: "POST", body: f});
		if (r.headers.get("Content-Disposition")) return btoa(String.fromCharCode(...new Uint8Array(await r.arrayBuffer())));
		return r.status + " " + r.url + " " + await r.text();
	})()`, fields, path))
}

func (b *browser) saveBackup() string {
	b.t.Helper()
	b.visit("/system")
	b.heading("System")
	saved := b.post("/system/backup", fmt.Sprintf(`f.set("password", "of the backup"); f.set("again", %q);`, olgaPassword))
	if len(saved) < 1000 || strings.Contains(saved, " ") {
		b.t.Fatalf("no backup: %.300q", saved)
	}
	return saved
}

// tryNetwork sets the port to an address at which nobody reaches it, then to the one that it has, for good.
func (m *box) tryNetwork(b *browser) {
	m.t.Helper()
	set := func(address string) {
		m.t.Helper()
		b.visit("/settings")
		b.heading("Settings")
		b.look("Settings, network")
		b.until(`document.body.innerText.includes("10.0.2.15/24")`)
		b.touch(`//summary[.="Change"]`)
		b.touch(`[name=mode][value=fixed]`)
		b.fill(map[string]string{"[name=address]": address, "[name=gateway]": "10.0.2.2", "[name=dns]": "10.0.2.3"})
		b.picture("network")
		b.click(`form[action="/settings/network"] .main`)
	}
	set("10.0.2.15")
	b.said("192.168.1.10/24")
	m.Forget()
	set("10.0.2.99/24")
	b.heading("Other network settings")
	b.picture("trying")
	m.hear("address.*ip=10.0.2.99/24")
	m.hear("has its settings from before")
	m.hear("address.*ip=10.0.2.15/24")
	b.mu.Lock()
	b.foreign = nil // the page went to look for the box at the new address
	b.mu.Unlock()
	m.Forget()
	set("10.0.2.15/24")
	b.heading("Other network settings")
	link := b.get(`[...document.querySelectorAll("#trying a")].map(a => a.href).find(a => a.includes("localhost"))`)
	_, path, _ := strings.Cut(link, b.page)
	b.visit(path)
	b.heading("Does it work?")
	b.click("#keep")
	b.until(`document.body.innerText.includes("The settings are kept")`)
	m.hear("address.*ip=10.0.2.15/24.*by=configuration") // on a slow machine the owner is faster than the box
	b.visit("/settings")
	b.heading("Settings")
	b.until(`document.body.innerText.includes("10.0.2.15/24 fixed")`)
	b.picture("network-kept")
}

// update uploads another version and restarts into it.
func (m *box) update(b *browser) {
	t := m.t
	t.Helper()
	board, _ := images.FindBoard("qemu")
	next, err := m.image.Variant(2, board.CommandLine, nil)
	if err != nil {
		t.Fatal(err)
	}
	bundle := m.bundle(next)
	b.tornUpdate(bundle)
	b.visit("/system")
	b.heading("System")
	b.upload("#bundle", "next.bundle", bundle)
	b.touch(`form[action="/system/update"] .main`)
	b.until(`document.querySelector("progress.up:not([hidden])")?.value > 0`)
	b.picture("uploading")
	b.until(`document.querySelector("#live progress")?.value > 0 || document.querySelector(".note.good")`)
	b.picture("installing")
	b.said("installed beside the present version")
	b.picture("installed")
	m.Forget()
	b.click(`form[action="/system/restart"] button`)
	b.until(`document.querySelector("#wait")`)
	b.picture("restarting")
	b.heading("Sign in") // by itself
	b.said("has started again")
	b.picture("back")
	m.hear("update " + regexp.QuoteMeta(next.Release().String()) + " was installed")
	b.signInAs("Overview")
}

// addBob makes bob a user.
func (b *browser) addBob() {
	b.t.Helper()
	b.visit("/users")
	b.heading("Users")
	b.fill(map[string]string{"#new-name": bob, "#new-password": bobPassword})
	b.click(`form[action="/users/add"] .main`)
	b.said("bob may sign in now")
}

// sendBackup asks the box to put a backup back.
func (b *browser) sendBackup(saved, password string) {
	b.t.Helper()
	data, err := base64.StdEncoding.DecodeString(saved)
	if err != nil {
		b.t.Fatal(err)
	}
	b.visit("/system")
	b.heading("System")
	b.touch(`//summary[.="Restore a backup"]`)
	b.fill(map[string]string{"#restore-pw": password, "#restore-again": olgaPassword})
	b.upload("#restore-file", "x.backup", data)
	b.click(`form[action="/system/restore"] .bad`)
}

// backWithoutBob waits until the box is as it was before there was bob.
func (b *browser) backWithoutBob() {
	b.t.Helper()
	b.heading("Sign in") // by itself
	b.said("has started again")
	b.signInAs("Overview")
	b.visit("/users")
	b.heading("Users")
	if got := b.get(`document.querySelector("main").innerText`); strings.Contains(got, bob) {
		b.t.Errorf("after the backup was restored there is still bob:\n%s", got)
	}
}

// signInAs signs olga in and waits for a page.
func (b *browser) signInAs(page string) {
	b.t.Helper()
	b.fill(map[string]string{"#user": olga, "#password": olgaPassword})
	b.click("form .main")
	b.heading(page)
}

// setUp goes through the wizard with the storage whose name has these words, and signs in. The note is what the page says of it.
func (m *box) setUp(b *browser, storage, note string) {
	t := m.t
	t.Helper()
	_, digits := setupCode(t, m.said.String)
	b.visit("/")
	b.heading("Set up this box")
	b.fill(map[string]string{"#code": digits})
	b.click("form .main")
	b.heading("What is this box called?")
	b.fill(map[string]string{"#name": "attic.local"})
	b.click("form .main")
	b.heading("Who looks after it?")
	b.fill(map[string]string{"#owner": olga, "#password": olgaPassword})
	b.click("form .main")
	b.heading("Where do the files go?")
	b.picture("storage")
	place := fmt.Sprintf(`//label[contains(., %q)]`, storage)
	if got := b.get(fmt.Sprintf(`document.evaluate(%q, document, null, XPathResult.FIRST_ORDERED_NODE_TYPE).singleNodeValue.innerText`, place)); !strings.Contains(got, note) {
		t.Errorf("the storage step says\n%s", got)
	}
	b.touch(place)
	b.click("form .main")
	b.heading("The first share")
	b.fill(map[string]string{"#share": "files"})
	b.click("form .main")
	b.heading("Do you want to reach it from elsewhere?")
	b.click("form .main")
	b.heading("Is this right?")
	b.picture("finish")
	b.touch("form .main")
	if strings.Contains(note, "become") { // what is there already takes no time
		b.until(`document.querySelector("#working progress")`)
		b.picture("working")
	}
	b.heading("Sign in") // by itself, after the restart
	b.said("has started again")
	b.picture("signin")
	b.signInAs("Overview")
}

// upload chooses a file in a form.
func (b *browser) upload(sel, name string, data []byte) {
	b.t.Helper()
	path := filepath.Join(b.t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		b.t.Fatal(err)
	}
	b.do("choose "+name, chromedp.SetUploadFiles(chromedp.CSS(sel), []string{path}))
}
