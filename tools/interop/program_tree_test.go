package interop

import (
	"bytes"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	smb2 "github.com/cloudsoda/go-smb2"

	"github.com/postern-nas/postern/tools/postern"
)

// TestProgramTree copies a tree as rsync does: what differs in size or time, into a file of another name first, and then
// the times. A second pass finds nothing to do, and a third one what has changed since.
func TestProgramTree(t *testing.T) {
	eachLink(t, func(t *testing.T, _ *postern.Server, tgt goTarget, l link) { programTree(t, tgt, l) })
}

func programTree(t *testing.T, tgt goTarget, l link) {
	local := t.TempDir()
	files := makeTree(t, local)
	share := tgt.mount(t, l)
	if n := syncTree(t, share, local); n != len(files) {
		t.Errorf("the first pass copied %d files of %d", n, len(files))
	}
	if n := syncTree(t, share, local); n != 0 {
		t.Errorf("the second pass copied %d files", n)
	}
	changed := files[len(files)/2]
	if err := os.WriteFile(filepath.Join(local, changed), []byte("other contents"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(local, files[0])); err != nil {
		t.Fatal(err)
	}
	if n := syncTree(t, share, local); n != 1 {
		t.Errorf("the third pass copied %d files, one has changed", n)
	}
	// As the server's own filesystem has it: names, contents and times.
	for path, want := range list(t, local) {
		fi, err := os.Lstat(filepath.Join(tgt.dir, path))
		if err != nil {
			t.Error(err)
			continue
		}
		if fi.IsDir() != want.IsDir() {
			t.Errorf("%q: directory %v", path, fi.IsDir())
		}
		if fi.IsDir() {
			continue
		}
		if !fi.ModTime().Equal(want.ModTime().Truncate(100)) {
			t.Errorf("%q: written %v, want %v", path, fi.ModTime(), want.ModTime())
		}
		a, _ := os.ReadFile(filepath.Join(local, path))
		if b, err := os.ReadFile(filepath.Join(tgt.dir, path)); err != nil || !bytes.Equal(a, b) {
			t.Errorf("%q: %v, contents are the same: %v", path, err, bytes.Equal(a, b))
		}
	}
	if n, m := len(list(t, local)), len(list(t, tgt.dir)); n != m {
		t.Errorf("%d entries there, %d here", m, n)
	}
}

// makeTree makes some files with names that give trouble, and returns their paths.
func makeTree(t *testing.T, dir string) (files []string) {
	t.Helper()
	rng := rand.New(rand.NewPCG(1, 2))
	dirs := []string{"."}
	deep := ""
	for i := range 40 { // a path of 1,000 characters and more
		deep = filepath.Join(deep, fmt.Sprintf("%02d-%s", i, strings.Repeat("d", 24)))
	}
	dirs = append(dirs, deep, "Grüße", "日本語/ひらがな", "emoji 🎉🎊", "e\u0301 decomposed", "é composed", "a.b.c", " leading space",
		"mixed CASE", "$special&chars;+=[]{}'`~!@#%^()", strings.Repeat("長", 85))
	for _, d := range dirs {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
		names := []string{"empty", "ünïcödé.txt", "no-extension", ".hidden", "a b  c", strings.Repeat("n", 251) + ".txt"}
		for i := range 6 {
			names = append(names, fmt.Sprintf("file-%02d.dat", i))
		}
		for _, name := range names {
			size := rng.IntN(3000)
			if rng.IntN(20) == 0 {
				size = rng.IntN(300_000)
			}
			if name == "empty" {
				size = 0
			}
			path := filepath.Join(dir, d, name)
			if err := os.WriteFile(path, pattern(rng.Uint64(), size), 0o644); err != nil {
				t.Fatal(err)
			}
			// From 1975 to 2106, to 100 ns, which is what the wire has.
			when := time.Unix(rng.Int64N(4_150_000_000)+150_000_000, rng.Int64N(10_000_000)*100)
			if err := os.Chtimes(path, when, when); err != nil {
				t.Fatal(err)
			}
			files = append(files, filepath.Join(d, name))
		}
	}
	return files
}

// list returns what is beneath dir, by path from there.
func list(t *testing.T, dir string) map[string]fs.FileInfo {
	t.Helper()
	all := make(map[string]fs.FileInfo)
	err := filepath.Walk(dir, func(path string, fi fs.FileInfo, err error) error {
		if rel, e := filepath.Rel(dir, path); e == nil && rel != "." {
			all[rel] = fi
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// syncTree makes the share's root like the folder, and returns how many files it copied.
func syncTree(t *testing.T, share *smb2.Share, dir string) (copied int) {
	t.Helper()
	there := make(map[string]os.FileInfo)
	var look func(path string)
	look = func(path string) {
		infos, err := share.ReadDir(path)
		if err != nil {
			t.Fatalf("list %q: %v", path, err)
		}
		for _, fi := range infos {
			p := fi.Name()
			if path != "" {
				p = path + `\` + p
			}
			there[p] = fi
			if fi.IsDir() {
				look(p)
			}
		}
	}
	look("")
	here := list(t, dir)
	wire := func(path string) string { return strings.ReplaceAll(path, "/", `\`) }
	paths := make([]string, 0, len(here))
	for p := range here {
		paths = append(paths, p)
	}
	slices.Sort(paths)
	for _, p := range paths {
		fi, w := here[p], wire(p)
		is := there[w]
		delete(there, w)
		switch {
		case fi.IsDir():
			if is == nil {
				if err := share.Mkdir(w, 0o755); err != nil {
					t.Fatalf("mkdir %q: %v", p, err)
				}
			}
			continue
		case is != nil && is.Size() == fi.Size() && is.ModTime().Equal(fi.ModTime().Truncate(100)):
			continue
		}
		copied++
		b, err := os.ReadFile(filepath.Join(dir, p))
		if err != nil {
			t.Fatal(err)
		}
		temp := w[:strings.LastIndexByte(w, '\\')+1] + ".copying~"
		if err := share.WriteFile(temp, b, 0o644); err != nil {
			t.Fatalf("write %q: %v", p, err)
		}
		if is != nil {
			if err := share.Remove(w); err != nil {
				t.Fatalf("remove %q: %v", p, err)
			}
		}
		if err := share.Rename(temp, w); err != nil {
			t.Fatalf("rename to %q: %v", p, err)
		}
		if err := share.Chtimes(w, fi.ModTime(), fi.ModTime()); err != nil {
			t.Fatalf("times of %q: %v", p, err)
		}
	}
	for p := range there {
		if err := share.Remove(p); err != nil {
			t.Fatalf("remove %q: %v", p, err)
		}
	}
	return copied
}
