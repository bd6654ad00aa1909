package mkimage

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postern-nas/postern/images"
)

// An archive is a web server with one package, and what was asked of it.
type archiveServer struct {
	fetcher *fetcher
	pkg     images.Package
	data    []byte
	ranges  []string
	asked   int
	log     bytes.Buffer
}

func newArchive(t *testing.T, handle func(a *archiveServer, w http.ResponseWriter, r *http.Request)) *archiveServer {
	t.Helper()
	a := &archiveServer{data: bytes.Repeat([]byte("package "), 1000)}
	a.pkg = images.Package{Name: "libx", Path: "pool/main/x/libx_1+b1_arm64.deb", Size: int64(len(a.data)), SHA256: sha256.Sum256(a.data)}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.asked++
		a.ranges = append(a.ranges, r.Header.Get("Range"))
		if r.URL.Path != "/debian/"+a.pkg.Path {
			t.Errorf("asked for %s", r.URL.Path)
		}
		handle(a, w, r)
	}))
	t.Cleanup(srv.Close)
	a.fetcher = &fetcher{
		dir: filepath.Join(t.TempDir(), "packages"), client: srv.Client(), log: &a.log,
		mirror: func(context.Context) (string, error) { return srv.URL + "/debian", nil },
	}
	return a
}

func serveWhole(a *archiveServer, w http.ResponseWriter, r *http.Request) {
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(a.data))
}

func (a *archiveServer) fetch(t *testing.T) {
	t.Helper()
	path, err := a.fetcher.fetch(t.Context(), a.pkg)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, a.data) {
		t.Fatalf("the file differs (%v)", err)
	}
}

func TestFetch(t *testing.T) {
	a := newArchive(t, serveWhole)
	a.fetch(t)
	a.fetch(t)
	if a.asked != 1 {
		t.Errorf("asked %d times for one file", a.asked)
	}
	if !strings.Contains(a.log.String(), "% of libx") {
		t.Errorf("no progress told: %q", a.log.String())
	}
	// A file that rotted in the cache is seen and fetched again.
	path := filepath.Join(a.fetcher.dir, "libx_1+b1_arm64.deb")
	if err := os.WriteFile(path, bytes.ToUpper(a.data), 0o644); err != nil {
		t.Fatal(err)
	}
	a.fetch(t)
	if a.asked != 2 {
		t.Errorf("asked %d times", a.asked)
	}
}

func TestFetchResumes(t *testing.T) {
	a := newArchive(t, serveWhole)
	part := filepath.Join(a.fetcher.dir, "libx_1+b1_arm64.deb.part")
	if err := errors.Join(os.MkdirAll(a.fetcher.dir, 0o755), os.WriteFile(part, a.data[:3000], 0o644)); err != nil {
		t.Fatal(err)
	}
	a.fetch(t)
	if a.asked != 1 || a.ranges[0] != "bytes=3000-" {
		t.Errorf("asked for %q", a.ranges)
	}
}

// TestFetchStrangeRest: the beginning is of another file, so all of it is fetched once more.
func TestFetchStrangeRest(t *testing.T) {
	a := newArchive(t, serveWhole)
	part := filepath.Join(a.fetcher.dir, "libx_1+b1_arm64.deb.part")
	if err := errors.Join(os.MkdirAll(a.fetcher.dir, 0o755), os.WriteFile(part, []byte("of another"), 0o644)); err != nil {
		t.Fatal(err)
	}
	a.fetch(t)
	if a.asked != 2 || a.ranges[1] != "" {
		t.Errorf("asked for %q", a.ranges)
	}
}

// TestFetchNoRanges: an archive that always sends all of it.
func TestFetchNoRanges(t *testing.T) {
	a := newArchive(t, func(a *archiveServer, w http.ResponseWriter, r *http.Request) { w.Write(a.data) })
	part := filepath.Join(a.fetcher.dir, "libx_1+b1_arm64.deb.part")
	if err := errors.Join(os.MkdirAll(a.fetcher.dir, 0o755), os.WriteFile(part, a.data[:3000], 0o644)); err != nil {
		t.Fatal(err)
	}
	a.fetch(t)
}

func TestFetchRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		handle func(a *archiveServer, w http.ResponseWriter, r *http.Request)
		says   string
	}{
		"gone":      {func(_ *archiveServer, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404) }, "has this version no more"},
		"forbidden": {func(_ *archiveServer, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(403) }, "403"},
		"other bytes": {
			func(a *archiveServer, w http.ResponseWriter, _ *http.Request) { w.Write(bytes.ToUpper(a.data)) },
			"not the file that the lock names",
		},
		"cut": {func(a *archiveServer, w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(len(a.data)))
			w.Write(a.data[:100])
		}, "unexpected EOF"},
	} {
		a := newArchive(t, c.handle)
		_, err := a.fetcher.fetch(t.Context(), a.pkg)
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
		if _, err := os.Stat(filepath.Join(a.fetcher.dir, "libx_1+b1_arm64.deb")); err == nil {
			t.Errorf("%s: in the cache", name)
		}
	}
	// An endless answer ends where the package would.
	a := newArchive(t, func(a *archiveServer, w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := w.Write(bytes.ToUpper(a.data)); err != nil {
				return
			}
		}
	})
	if _, err := a.fetcher.fetch(t.Context(), a.pkg); !errors.Is(err, errContents) {
		t.Errorf("endless: %v", err)
	}
}
