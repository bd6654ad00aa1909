package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/postern-nas/postern/firmware/boot"
	"github.com/postern-nas/postern/firmware/config"
	"github.com/postern-nas/postern/firmware/keys"
	"github.com/postern-nas/postern/firmware/storage"
	"github.com/postern-nas/postern/tpm/tpmtest"
	"github.com/postern-nas/postern/ui"
)

// TestShutPage: while the keys are shut, the page says why and takes the owner's code; then the server is the one it was.
func TestShutPage(t *testing.T) {
	dir, chip := t.TempDir(), tpmtest.New(t)
	first := startWith(t, dir, chip.Socket)
	code := first.code()
	leaf, err := handshake(t, first, dir, "postern.local")
	if err != nil {
		t.Fatal(err)
	}
	first.end(t)
	b := launch(t, dir, tpmtest.New(t).Socket)
	b.until(t, "transport=page")
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	defer client.CloseIdleConnections()
	page := "https://" + b.address("page") + "/"
	ask := func(code string, more ...string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, page, nil)
		if code != "" {
			req, err = http.NewRequestWithContext(t.Context(), http.MethodPost, page, strings.NewReader(url.Values{"code": {code}}.Encode()))
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i+1 < len(more); i += 2 {
			req.Header.Set(more[i], more[i+1])
		}
		rsp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer rsp.Body.Close()
		if bytes.Equal(rsp.TLS.PeerCertificates[0].RawSubjectPublicKeyInfo, leaf.RawSubjectPublicKeyInfo) {
			t.Error("the page has the key that is shut")
		}
		text, err := io.ReadAll(rsp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return rsp.StatusCode, string(text)
	}
	if status, text := ask(""); status != http.StatusServiceUnavailable || !strings.Contains(text, "This is not the TPM") || !strings.Contains(text, "<form") {
		t.Errorf("%d, %s", status, text)
	}
	for _, wrong := range []string{"x", "AAAA-BBBB", strings.Repeat("A", 2*shutBody)} {
		if status, text := ask(wrong); status != http.StatusForbidden || !strings.Contains(text, "not a recovery code") {
			t.Errorf("%d, %s", status, text)
		}
	}
	if status, _ := ask(code, "Origin", "https://evil.example.org", "Sec-Fetch-Site", "cross-site"); status != http.StatusForbidden {
		t.Errorf("from another page: %d", status)
	}
	if b.address("quic") != "" {
		t.Error("it serves")
	}
	if status, text := ask(code); status != http.StatusOK || !strings.Contains(text, "The keys are open") {
		t.Errorf("%d, %s", status, text)
	}
	b.wait(t)
	if now, err := handshake(t, b, dir, "postern.local"); err != nil || !bytes.Equal(now.Raw, leaf.Raw) {
		t.Errorf("another certificate, or none: %v", err)
	}
	for _, secret := range []string{code, strings.ReplaceAll(code, "-", "")} {
		if strings.Contains(b.logs.String(), secret) {
			t.Error("the code is in the log")
		}
	}
}

func TestShutHandler(t *testing.T) {
	ring := keys.New(keys.Options{Dir: t.TempDir()})
	near := netip.MustParsePrefix("192.168.1.0/24")
	h := shutHandler(ring, near.Contains, slog.New(slog.DiscardHandler))
	for from, want := range map[string]int{"192.168.1.9:1": http.StatusServiceUnavailable, "[::ffff:192.168.1.9]:1": http.StatusServiceUnavailable, "203.0.113.1:1": http.StatusForbidden, "": http.StatusForbidden} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = from
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("%s: %d", from, w.Code)
		}
	}
	r := httptest.NewRequest(http.MethodGet, "/elsewhere", nil)
	r.RemoteAddr = "192.168.1.9:1"
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code != http.StatusSeeOther {
		t.Errorf("elsewhere: %d", w.Code)
	}
}

// TestShutPanel: the panel says it, too.
func TestShutPanel(t *testing.T) {
	ring := keys.New(keys.Options{Dir: t.TempDir(), Want: keys.Sealed})
	if ring.Open() == nil {
		t.Fatal("sealed without a chip")
	}
	s := &shutSource{name: "attic"}
	go s.follow(t.Context(), ring)
	v, _, err := s.Next(t.Context(), 0)
	if err != nil || v.Name != "attic" || len(v.Alarms) != 1 || v.Alarms[0].Health != ui.Failed || v.Alarms[0].Advice == "" {
		t.Errorf("%+v, %v", v, err)
	}
}

// TestShutWatched: a box that waits for its owner is fed for as long as that takes; the start that follows has its own time.
func TestShutWatched(t *testing.T) {
	ring := keys.New(keys.Options{Dir: t.TempDir(), Want: keys.Sealed})
	watched := make(chan func() error, 2)
	box := &boot.Box{Watch: func(well func() error) { watched <- well }}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		done <- waitForKeys(ctx, options{machine: box}, &config.Config{}, ring, slog.New(slog.DiscardHandler))
	}()
	if well := <-watched; well == nil || well() != nil {
		t.Error("the watchdog takes a box that waits for one that hangs")
	}
	if len(watched) > 0 {
		t.Error("it waits no more")
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if well := <-watched; well != nil {
		t.Error("the start is not watched")
	}
}

// TestFactoryResetOfKeys: nothing of the old identity is left, and the box makes another without being asked.
func TestFactoryResetOfKeys(t *testing.T) {
	dir, chip := t.TempDir(), tpmtest.New(t)
	b := startWith(t, dir, chip.Socket)
	leaf, err := handshake(t, b, dir, "postern.local")
	if err != nil {
		t.Fatal(err)
	}
	b.end(t)
	if err := eraseState(dir); err != nil {
		t.Fatal(err)
	}
	if left := files(t, dir); strings.Contains(left, "key") || strings.Contains(left, "tpm") || strings.Contains(left, ".pem") {
		t.Errorf("left: %s", left)
	}
	b = startWith(t, dir, chip.Socket)
	if now, err := handshake(t, b, dir, "postern.local"); err != nil || bytes.Equal(now.Raw, leaf.Raw) || b.code() == "" {
		t.Errorf("the same identity, or no new code: %v", err)
	}
}

// TestFactoryResetKeepsPools: after a reset the pools are mounted as before, nothing of them is shared, and the setup that
// is due offers them with their files. What the owner set, and who could sign in, is gone.
func TestFactoryResetKeepsPools(t *testing.T) {
	const id = "01234567-89ab-cdef-0123-456789abcdef"
	dir := t.TempDir()
	for _, name := range slices.Concat(erased, keys.Files) { // a file for each
		path := filepath.Join(dir, strings.ReplaceAll(name, "*", "1"))
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte("x"), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	pools := fmt.Sprintf("{%q: \"data\"}\n", id)
	stays := map[string]string{"pools.json": pools, "update.json": "u", "crashes/20261123T000000Z.txt": "c", "disk/film.mkv": "f"}
	for name, text := range stays {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	if err := eraseState(dir); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		if text, err := os.ReadFile(path); err != nil || string(text) != stays[name] {
			t.Errorf("%s is left, or not as it was (%v)", name, err)
		}
		delete(stays, name)
		return nil
	})
	if err != nil || len(stays) > 0 {
		t.Errorf("gone: %v (%v)", stays, err)
	}
	// The pool is known still, so that it is mounted when its disks are there, and offered as a place for a share.
	m := storage.New(storage.Config{Dir: dir, Root: t.TempDir(), Takes: func(string) bool { return false }}, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { _ = m.Run(ctx) }()
	<-m.Ready()
	if s, _ := m.State.Get(); len(s.Pools) != 1 || s.Pools[0].UUID != id || !s.Pools[0].Known || s.Pools[0].Name != "data" {
		t.Errorf("%+v", s.Pools)
	}
}
