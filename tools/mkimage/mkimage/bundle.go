package mkimage

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
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
	if err := bundle.Write(f, r.Manifest(), r.uki, r.o.Key.private, nil); err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil {
		r.BundleSize = info.Size()
	}
	return err
}

// Sign signs something else with the key that signs the image's updates: a feed.
func (k *Key) Sign(path string, f bundle.Feed) (err error) {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	return bundle.WriteFeed(file, f, k.private, nil)
}

// Variant is the same image but for some files of its initramfs, its command line and its number: for tests of what an
// update may turn out to be. Nothing is built anew, and no disk is written.
func (r *Result) Variant(number uint64, commandLine string, files map[string][]byte) (*Result, error) {
	v := *r
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
