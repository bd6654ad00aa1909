package mkimage

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strconv"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// ErrPackage says what is wrong with a .deb.
var ErrPackage = errors.New("not a usable Debian package")

const (
	// maxUnpacked bounds what one package may hold unpacked; a kernel with all its drivers and device trees is the largest.
	maxUnpacked = 1 << 30
	// maxLinks bounds how many symbolic links one name may lead through, as Linux bounds it.
	maxLinks = 40
)

// A tree is the files of packages by their path without a leading slash. A link has no data but a target.
type tree map[string]entry

type entry struct {
	data []byte
	link string
	from string // package
}

// addPackage reads the .deb at name into the tree: the files that want takes. They are from's.
func (t tree) addPackage(name, from string, want func(string) bool) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := t.addDeb(f, from, want); err != nil {
		return fmt.Errorf("%s: %w", path.Base(name), err)
	}
	return nil
}

// addDeb reads a package (deb(5)): an ar archive whose member data.tar.* holds the files.
func (t tree) addDeb(r io.Reader, from string, want func(string) bool) error {
	magic := make([]byte, 8)
	if _, err := io.ReadFull(r, magic); err != nil || string(magic) != "!<arch>\n" {
		return fmt.Errorf("%w: no ar archive", ErrPackage)
	}
	for {
		h := make([]byte, 60)
		if _, err := io.ReadFull(r, h); err != nil {
			return fmt.Errorf("%w: no member data.tar", ErrPackage)
		}
		member := strings.TrimSuffix(strings.TrimSpace(string(h[:16])), "/")
		size, err := strconv.ParseInt(strings.TrimSpace(string(h[48:58])), 10, 64)
		if err != nil || size < 0 || string(h[58:]) != "`\n" {
			return fmt.Errorf("%w: a broken ar header", ErrPackage)
		}
		if kind, ok := strings.CutPrefix(member, "data.tar"); ok {
			files, err := decompress(io.LimitReader(r, size), kind)
			if err != nil {
				return fmt.Errorf("%w: %s: %w", ErrPackage, member, err)
			}
			return t.addTar(files, from, want)
		}
		if _, err := io.CopyN(io.Discard, r, size+size%2); err != nil {
			return fmt.Errorf("%w: %s: %w", ErrPackage, member, err)
		}
	}
}

// decompress undoes what a file name's ending says. r is read in pieces of a good size: xz's reader takes single bytes.
func decompress(r io.Reader, kind string) (io.Reader, error) {
	r = bufio.NewReaderSize(r, 1<<16)
	switch kind {
	case "":
		return r, nil
	case ".xz":
		return xz.NewReader(r)
	case ".zst":
		return zstd.NewReader(r, zstd.WithDecoderConcurrency(1))
	case ".gz":
		return gzip.NewReader(r)
	}
	return nil, fmt.Errorf("%s is no compression that we know", kind)
}

func (t tree) addTar(r io.Reader, from string, want func(string) bool) error {
	limited := &io.LimitedReader{R: r, N: maxUnpacked}
	files := tar.NewReader(limited)
	for {
		h, err := files.Next()
		if errors.Is(err, io.EOF) && limited.N > 0 {
			return nil
		}
		if err != nil || limited.N <= 0 {
			return fmt.Errorf("%w: %w", ErrPackage, errors.Join(err, errIf(limited.N <= 0, "too large unpacked")))
		}
		// Cleaned from the root on, so that nothing climbs out of the tree; it is only a key here.
		name := path.Clean("/" + h.Name)[1:]
		if !want(name) {
			continue
		}
		switch h.Typeflag {
		case tar.TypeReg:
			var b bytes.Buffer
			if _, err := io.Copy(&b, files); err != nil {
				return fmt.Errorf("%w: %s: %w", ErrPackage, name, err)
			}
			t[name] = entry{data: b.Bytes(), from: from}
		case tar.TypeSymlink:
			t[name] = entry{link: h.Linkname, from: from}
		case tar.TypeLink:
			t[name] = entry{link: "/" + h.Linkname, from: from}
		}
	}
}

func errIf(wrong bool, text string) error {
	if wrong {
		return errors.New(text)
	}
	return nil
}

// read follows links to a file's contents.
func (t tree) read(name string) ([]byte, error) {
	e, err := t.find(name)
	return e.data, err
}

// find follows links to a file.
func (t tree) find(name string) (entry, error) {
	for range maxLinks {
		e, ok := t[name]
		switch {
		case !ok:
			return e, fmt.Errorf("%s: %w in the packages", name, os.ErrNotExist)
		case e.link == "":
			return e, nil
		case path.IsAbs(e.link):
			name = path.Clean(e.link)[1:]
		default:
			name = path.Join(path.Dir("/"+name), e.link)[1:]
		}
	}
	return entry{}, fmt.Errorf("%s: more than %d links", name, maxLinks)
}
