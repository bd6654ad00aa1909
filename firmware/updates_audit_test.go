package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"aead.dev/minisign"

	"github.com/postern-nas/postern/firmware/audit"
	"github.com/postern-nas/postern/firmware/update"
	"github.com/postern-nas/postern/firmware/update/slot"
	"github.com/postern-nas/postern/images/bundle"
)

// A workshop makes updates, and boxes whose boot partition is a folder.
type workshop struct {
	t       *testing.T
	key     minisign.PrivateKey
	options update.Options
}

func newWorkshop(t *testing.T) *workshop {
	t.Helper()
	public, private, err := minisign.GenerateKey(rand.NewChaCha8([32]byte{1}))
	if err != nil {
		t.Fatal(err)
	}
	boot, vars := t.TempDir(), t.TempDir()
	booted := []byte{6, 0, 0, 0} // the variable's attributes
	for _, c := range utf16.Encode([]rune("postern_1.efi\x00")) {
		booted = binary.LittleEndian.AppendUint16(booted, c)
	}
	write(t, filepath.Join(vars, "LoaderEntrySelected-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"), booted)
	write(t, filepath.Join(boot, "postern_1.efi"), []byte("image of 1"))
	return &workshop{t, private, update.Options{
		Dir: t.TempDir(), Slots: slot.NewLoader(slot.Folder(boot), "/", slot.Variables(vars)), Trusted: []minisign.PublicKey{public},
		Running: bundle.Release{Board: "qemu", Number: 1, Version: "v1"}, Waits: true,
	}}
}

// boot is the updater of the box in another boot.
func (w *workshop) boot(name string) *update.Updater {
	w.t.Helper()
	w.options.Boot = name
	u, err := update.Open(w.options)
	if err != nil {
		w.t.Fatal(err)
	}
	return u
}

func (w *workshop) bundle(board string, number uint64) []byte {
	w.t.Helper()
	var b bytes.Buffer
	m := bundle.Manifest{Release: bundle.Release{Board: board, Number: number, Version: fmt.Sprint("v", number)}}
	if err := bundle.Write(&b, m, fmt.Appendf(nil, "image of %d", number), w.key, nil); err != nil {
		w.t.Fatal(err)
	}
	return b.Bytes()
}

// newest is the newest event of an update, as `postern audit` tells it.
func (b *remoteBox) newest() string {
	b.t.Helper()
	var events []audit.Event
	out := b.here("", "audit", "-json", "-limit", "1", "-event", "update-installed,update-refused,update-rolled-back")
	if err := json.Unmarshal([]byte(out), &events); err != nil {
		b.t.Fatal(out, err)
	}
	if len(events) == 0 {
		return ""
	}
	e := events[0]
	return fmt.Sprintf("%s %v by %q at %s: %s", e.Name, e.OK, e.By, e.Address, e.Text)
}

// Every update is in the audit log, by whatever way it came, with who brought it: a command, the page, the panel, the feed.
func TestUpdatesInAudit(t *testing.T) {
	w := newWorkshop(t)
	u := w.boot("1")
	b := startOwned(t, u)
	want := func(how, text string) {
		t.Helper()
		if got := b.newest(); got != text {
			t.Errorf("%s: %s\nwant %s", how, got, text)
		}
	}
	const board = "this update is for another kind of box: for toaster, and this is qemu"
	good := write(t, filepath.Join(t.TempDir(), "good"), w.bundle("qemu", 2))
	if out := b.here("", "update", "install", good); !strings.Contains(out, "next restart") {
		t.Error(out)
	}
	want("a command", `update-installed true by "command" at invalid IP: v2 (2)`)
	bad := write(t, filepath.Join(t.TempDir(), "bad"), w.bundle("toaster", 2))
	if _, errs, code := run(t, "", "-state", b.dir, "update", "install", bad); code != exitFailed || !strings.Contains(errs, board) {
		t.Error(code, errs)
	}
	want("a command", `update-refused false by "command" at invalid IP: v2 (2): `+board)

	b.pair(b.url, "laptop", "-fingerprint", b.authority())
	b.here("", "device", "promote", "laptop")
	upload := func(file []byte) int {
		t.Helper()
		client, err := mustBoxes(t).Boxes[0].client()
		if err != nil {
			t.Fatal(err)
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, b.url+"/api/update", bytes.NewReader(file))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	if code := upload(w.bundle("qemu", 3)); code != http.StatusOK {
		t.Error(code)
	}
	want("the page", `update-installed true by "page: olga at laptop" at 127.0.0.1: v3 (3)`)
	if code := upload(w.bundle("toaster", 3)); code == http.StatusOK {
		t.Error(code)
	}
	want("the page", `update-refused false by "page: olga at laptop" at 127.0.0.1: v3 (3): `+board)
	if _, errs, code := b.there("", "update", "install", good); code != exitUsage {
		t.Error("over the network:", errs)
	}
	if err := (line{box: &mustBoxes(t).Boxes[0]}).ask(t.Context(), "/update/install", ask{ID: good}, new(struct{})); err == nil {
		t.Error("a file of the box is named over the network")
	}

	// The panel's context has nobody in it, and a stick is what it installs from.
	if err := u.InstallExamined(context.Background(), bytes.NewReader(w.bundle("qemu", 4)), bundle.Release{Board: "qemu", Number: 4, Version: "v4"}); err != nil {
		t.Error(err)
	}
	want("the panel", `update-installed true by "panel" at invalid IP: v4 (4) from a USB stick`)
	if _, err := u.Examine(bytes.NewReader(w.bundle("toaster", 4))); err == nil {
		t.Error("examined")
	}
	want("a stick", `update-refused false by "" at invalid IP: v4 (4) from a USB stick: `+board)
	w.feed(u, 5)
	want("the feed", `update-installed true by "feed" at invalid IP: v5 (5) from the feed`)
	b.end(t)

	// The box comes up again with what it ran before, and finds that out before anything is served.
	u = w.boot("2")
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- u.Run(ctx) }()
	for version := uint64(0); ; {
		within, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		s, v, err := u.Status.Wait(within, version)
		cancel()
		if err != nil {
			stop()
			t.Fatal(err, <-done, s)
		}
		if version = v; !s.Last.Time.IsZero() {
			break
		}
	}
	b = startPaged(t, b.dir, u)
	want("rolled back", `update-rolled-back false by "" at invalid IP: v5 (5): the boot loader could not start it`)
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func mustBoxes(t *testing.T) boxBook {
	t.Helper()
	book, err := readBoxes()
	if err != nil || len(book.Boxes) == 0 {
		t.Fatal(book, err)
	}
	return book
}

// feed has u install what a feed offers.
func (w *workshop) feed(u *update.Updater, number uint64) {
	w.t.Helper()
	file := w.bundle("qemu", number)
	offer := bundle.Offer{Release: bundle.Release{Board: "qemu", Number: number, Version: fmt.Sprint("v", number)}, URL: "file", Size: int64(len(file))}
	var index bytes.Buffer
	if err := bundle.WriteFeed(&index, bundle.Feed{Made: time.Now(), Releases: []bundle.Offer{offer}}, w.key, nil); err != nil {
		w.t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/file" {
			_, _ = out.Write(file)
			return
		}
		_, _ = out.Write(index.Bytes())
	}))
	defer server.Close()
	u.Join(func(o *update.Options) { o.Feed = server.URL + "/index" })
	if err := u.InstallOffered(w.t.Context()); err != nil {
		w.t.Error(err)
	}
}

// On a machine that is no box nothing is installed, and that stands in the log as well: with a server and without.
func TestUpdateRefusedOnNoBox(t *testing.T) {
	b := startOwned(t, nil)
	for _, when := range []string{"while it runs", "at rest"} {
		if _, errs, code := run(t, "", "-state", b.dir, "update", "install", "/dev/null"); code != exitFailed || !strings.Contains(errs, "no box of its own") {
			t.Errorf("%s: %d %s", when, code, errs)
		}
		b.end(t)
	}
	log, err := audit.Open(audit.Config{Dir: auditDir(b.dir)})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	page, err := log.Query(t.Context(), audit.Query{IDs: []audit.ID{audit.UpdateRefused}})
	if err != nil || len(page.Events) != 2 {
		t.Fatal(page, err)
	}
	for _, e := range page.Events {
		if e.By != byCommand || e.OK || !strings.Contains(e.Text, "no box of its own") {
			t.Errorf("%+v", e)
		}
	}
}
