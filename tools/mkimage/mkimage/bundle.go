package mkimage

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"

	"aead.dev/minisign"

	"github.com/postern-nas/postern/firmware/update"
	"github.com/postern-nas/postern/images"
	"github.com/postern-nas/postern/images/bundle"
)

// A Key signs updates.
type Key struct {
	Public  minisign.PublicKey
	private minisign.PrivateKey
}

// NewKey makes a key that is nowhere else, for tests.
func NewKey() (*Key, error) {
	public, private, err := minisign.GenerateKey(rand.Reader)
	return &Key{public, private}, err
}

// BuilderKey is the key of whoever builds: the file that $POSTERN_UPDATE_KEY names, as minisign writes it, opened with
// $POSTERN_UPDATE_PASSWORD if it is encrypted; or postern/update.key in the user's configuration folder, which is made the
// first time.
func BuilderKey() (*Key, error) {
	path := os.Getenv("POSTERN_UPDATE_KEY")
	own := path == ""
	if own {
		dir, err := os.UserConfigDir()
		if err != nil {
			return nil, fmt.Errorf("no place for a key: %w; set POSTERN_UPDATE_KEY to a file", err)
		}
		path = filepath.Join(dir, "postern", "update.key")
	}
	text, err := os.ReadFile(path)
	if own && errors.Is(err, fs.ErrNotExist) {
		return makeKey(path)
	}
	if err != nil {
		return nil, err
	}
	var k Key
	if minisign.IsEncrypted(text) {
		k.private, err = minisign.DecryptKey(os.Getenv("POSTERN_UPDATE_PASSWORD"), text)
	} else {
		err = k.private.UnmarshalText(text)
	}
	if err != nil {
		return nil, fmt.Errorf("%s is no private key of minisign that opens: %w", path, err)
	}
	k.Public = k.private.Public().(minisign.PublicKey)
	return &k, nil
}

func makeKey(path string) (*Key, error) {
	k, err := NewKey()
	if err != nil {
		return nil, err
	}
	text, err := k.private.MarshalText()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	_, err = f.Write(append(text, '\n'))
	return k, errors.Join(err, f.Sync(), f.Close())
}

// Key is what signs the image's updates.
func (r *Result) Key() *Key { return r.o.Key }

// Release is what the image calls itself.
func (r *Result) Release() bundle.Release {
	return bundle.Release{Board: r.Board, Number: r.Number, Version: r.Version}
}

// addRelease tells the image what it is and whose updates it takes.
func (r *Result) addRelease() error {
	text, err := json.Marshal(r.Release())
	if err != nil {
		return err
	}
	keys := images.UpdateKeys + r.o.Key.Public.String() + "\n"
	if _, err := bundle.ParseKeys(keys); err != nil {
		return fmt.Errorf("images/update.keys: %w", err)
	}
	r.files[update.ReleaseFile] = content{data: append(text, '\n'), from: ours}
	r.files[update.KeysFile] = content{data: []byte(keys), from: ours}
	return nil
}

// Manifest is what a bundle says of the image.
func (r *Result) Manifest() bundle.Manifest {
	return bundle.Manifest{Release: r.Release(), Measured: map[string]map[int]string{r.chain: r.PCRs}}
}

// WriteBundle writes the update to this image.
func (r *Result) WriteBundle(path string) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := r.SignBundle(f, r.Release(), r.o.Key); err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil {
		r.BundleSize = info.Size()
	}
	return err
}

// SignBundle writes the update as if it were another release, or signed by another key: for tests of what is refused.
func (r *Result) SignBundle(w io.Writer, as bundle.Release, by *Key) (err error) {
	if r.stored == nil {
		if r.stored, err = bundle.Compress(r.uki); err != nil {
			return err
		}
	}
	m := r.Manifest()
	m.Release = as
	return bundle.WriteCompressed(w, m, r.uki, r.stored, by.private, nil)
}

// SignFeed writes a feed, signed.
func (k *Key) SignFeed(w io.Writer, f bundle.Feed) error {
	return bundle.WriteFeed(w, f, k.private, nil)
}

// For is the same image for another board that is made of the same packages. It has no disk yet.
func (r *Result) For(b images.Board) (*Result, error) {
	v := *r
	v.stored, v.Board, v.o.Board = nil, b.Name, b
	v.files = maps.Clone(r.files)
	if err := v.addRelease(); err != nil {
		return nil, err
	}
	return &v, v.pack()
}

// WriteDisk writes the image's disk.
func (r *Result) WriteDisk(path string) error { return writeDisk(path, r.o.Board.Layout, r.boot) }

// Variant is the same image but for some files of its initramfs, its command line and its number: for tests of what an
// update may turn out to be. Nothing is built anew, and no disk is written.
func (r *Result) Variant(number uint64, commandLine string, files map[string][]byte) (*Result, error) {
	v := *r
	v.stored = nil
	v.Number, v.o.Number, v.o.Board.CommandLine = number, number, commandLine
	v.Version = fmt.Sprintf("%s.%d", r.Version, number)
	v.files = maps.Clone(r.files)
	for name, data := range files {
		v.files[name] = content{data: data, from: ours}
	}
	if err := v.addRelease(); err != nil {
		return nil, err
	}
	return &v, v.pack()
}

// File is a file of the image's initramfs; nil if it has none of that name.
func (r *Result) File(name string) []byte { return r.files[name].data }

// BootFiles are the files of the image's boot partition, by their paths.
func (r *Result) BootFiles() map[string][]byte { return maps.Clone(r.boot) }

// PackageFile is one file of a package in the lock.
func PackageFile(ctx context.Context, name, file string, log io.Writer) ([]byte, error) {
	dir, err := Dir()
	if err != nil {
		return nil, err
	}
	lock, err := images.Packages()
	if err != nil {
		return nil, err
	}
	packages, err := lock.Select([]string{name})
	if err != nil {
		return nil, err
	}
	deb, err := newFetcher(dir, log).fetch(ctx, packages[0])
	if err != nil {
		return nil, err
	}
	files := tree{}
	if err := files.addPackage(deb, name, func(n string) bool { return n == file }); err != nil {
		return nil, err
	}
	return files.read(file)
}
