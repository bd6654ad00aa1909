package mkimage

import (
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postern-nas/postern/images"
	"github.com/postern-nas/postern/tools/debian"
)

// TestNoTools: on a host that has nothing, it is said what is missing and how to get it, before anything is fetched.
func TestNoTools(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	t.Setenv("POSTERN_IMAGES", t.TempDir())
	key, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	b, _ := images.FindBoard("qemu")
	out := t.TempDir()
	_, err = Build(t.Context(), Options{Board: b, Out: out, Key: key}, t.Output())
	if !errors.Is(err, exec.ErrNotFound) || !strings.Contains(err.Error(), "no go here: https://go.dev") {
		t.Errorf("without Go: %v", err)
	}
	if files, _ := filepath.Glob(filepath.Join(out, "*")); len(files) > 0 {
		t.Errorf("wrote %q", files)
	}

	a := newArchive(t, serveWhole)
	a.fetcher.mirror = newFetcher(t.TempDir(), t.Output()).mirror
	_, err = a.fetcher.fetch(t.Context(), a.pkg)
	if !errors.Is(err, debian.ErrNoApt) || !errors.Is(err, exec.ErrNotFound) || !strings.Contains(err.Error(), "use Debian") {
		t.Errorf("without apt: %v", err)
	}
	if a.asked > 0 {
		t.Error("something was fetched")
	}
}

// TestCheckDownload: an update that is larger than may be is an error, but for the flavour with a shell.
func TestCheckDownload(t *testing.T) {
	for _, c := range []struct {
		r    Result
		fits bool
	}{
		{Result{Download: images.MaxDownload}, true},
		{Result{Download: images.MaxDownload + 1}, false},
		{Result{Download: images.MaxDownload - 1, BundleSize: images.MaxDownload + 1}, false},
		{Result{Download: images.MaxDownload + 1, o: Options{Debug: true}}, true},
	} {
		if err := c.r.checkDownload(); (err == nil) != c.fits {
			t.Errorf("%d and %d bytes: %v", c.r.Download, c.r.BundleSize, err)
		}
	}
}
