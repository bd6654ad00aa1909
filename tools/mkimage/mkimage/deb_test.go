package mkimage

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// testTar holds a file, a link beside it, an absolute link to it, a hard link, a loop, and a name that climbs.
func testTar(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range []tar.Header{
		{Name: "./usr/lib/", Typeflag: tar.TypeDir},
		{Name: "./usr/lib/x.so.1.2", Typeflag: tar.TypeReg, Size: 5},
		{Name: "./usr/lib/x.so.1", Typeflag: tar.TypeSymlink, Linkname: "x.so.1.2"},
		{Name: "./lib/x.so", Typeflag: tar.TypeSymlink, Linkname: "/usr/lib/x.so.1"},
		{Name: "./usr/hard", Typeflag: tar.TypeLink, Linkname: "./usr/lib/x.so.1.2"},
		{Name: "./loop", Typeflag: tar.TypeSymlink, Linkname: "loop"},
		{Name: "../../../climb", Typeflag: tar.TypeReg, Size: 5},
	} {
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			if _, err := w.Write([]byte("hello")); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func testDeb(member string, data []byte) []byte {
	b := []byte("!<arch>\n")
	add := func(name string, data []byte) {
		b = fmt.Appendf(b, "%-16s%-12d%-6d%-6d%-8o%-10d`\n", name, 0, 0, 0, 0o644, len(data))
		b = append(b, data...)
		if len(data)%2 == 1 {
			b = append(b, '\n')
		}
	}
	add("debian-binary", []byte("2.0\n"))
	add("control.tar.xz", []byte("odd"))
	add(member, data)
	return b
}

func all(string) bool { return true }

func TestDeb(t *testing.T) {
	plain := testTar(t)
	for kind, compress := range map[string]func(io.Writer) (io.WriteCloser, error){
		"":     nil,
		".gz":  func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil },
		".xz":  func(w io.Writer) (io.WriteCloser, error) { return xz.NewWriter(w) },
		".zst": func(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w) },
	} {
		data := plain
		if compress != nil {
			var b bytes.Buffer
			w, err := compress(&b)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write(plain); err != nil {
				t.Fatal(err)
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			data = b.Bytes()
		}
		files := tree{}
		if err := files.addDeb(bytes.NewReader(testDeb("data.tar"+kind, data)), "test", all); err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		for _, name := range []string{"usr/lib/x.so.1.2", "usr/lib/x.so.1", "lib/x.so", "usr/hard", "climb"} {
			if got, err := files.read(name); err != nil || string(got) != "hello" {
				t.Errorf("%s: %s is %q (%v)", kind, name, got, err)
			}
		}
		if _, err := files.read("loop"); err == nil {
			t.Errorf("%s: a loop has contents", kind)
		}
		if _, err := files.read("usr/lib"); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: a folder: %v", kind, err)
		}
	}
}

func TestDebWants(t *testing.T) {
	files := tree{}
	want := func(name string) bool { return strings.HasPrefix(name, "usr/lib/") }
	if err := files.addDeb(bytes.NewReader(testDeb("data.tar", testTar(t))), "test", want); err != nil || len(files) != 2 {
		t.Errorf("%d files (%v)", len(files), err)
	}
}

func TestDebRefuses(t *testing.T) {
	good := testDeb("data.tar", testTar(t))
	for name, data := range map[string][]byte{
		"nothing":        nil,
		"no ar":          []byte("!<arc>\n\n"),
		"no data":        good[:8+60+4+60+4],
		"cut header":     good[:8+30],
		"cut contents":   good[:len(good)-len(testTar(t))+700],
		"odd header":     bytes.Replace(good, []byte("`\n"), []byte("xx"), 1),
		"negative size":  bytes.Replace(good, []byte("4         `"), []byte("-4        `"), 1),
		"unknown packer": testDeb("data.tar.rar", nil),
		"broken xz":      testDeb("data.tar.xz", []byte("no xz at all, but long enough")),
	} {
		if err := (tree{}).addDeb(bytes.NewReader(data), "test", all); !errors.Is(err, ErrPackage) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzDeb(f *testing.F) {
	f.Add(testDeb("data.tar", testTar(f)))
	f.Add([]byte("!<arch>\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		files := tree{}
		_ = files.addDeb(bytes.NewReader(data), "test", all)
		for name := range files {
			if strings.HasPrefix(name, "/") || strings.Contains("/"+name+"/", "/../") {
				t.Fatalf("%q is outside of the tree", name)
			}
			_, _ = files.read(name)
		}
	})
}
