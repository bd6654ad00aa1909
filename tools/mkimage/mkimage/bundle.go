package mkimage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/postern-nas/postern/firmware/keys"
	"github.com/postern-nas/postern/firmware/update"
	"github.com/postern-nas/postern/images"
	"github.com/postern-nas/postern/images/bundle"
)

// Key is what signs the image's updates and approves of it.
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
	trusted := images.UpdateKeys + r.o.Key.Public.String() + "\n"
	if _, err := bundle.ParseKeys(trusted); err != nil {
		return fmt.Errorf("images/update.keys: %w", err)
	}
	r.files[update.ReleaseFile] = content{data: append(text, '\n'), from: ours}
	r.files[update.KeysFile] = content{data: []byte(trusted), from: ours}
	if r.UpdateKey = r.o.Key.Public.String(); r.o.Key.Release == nil {
		return nil
	}
	pub, err := r.o.Key.releasePEM()
	if err != nil {
		return err
	}
	r.ReleaseKey = string(pub)
	r.files[strings.TrimPrefix(keys.ReleaseFile, "/")] = content{data: pub, from: ours}
	return nil
}

// manifest is what a bundle says of the image.
func (r *Result) manifest(as bundle.Release, by *Key) (m bundle.Manifest, err error) {
	m = bundle.Manifest{Release: as, Measured: map[string]map[int]string{r.chain: r.PCRs}}
	for name, pcrs := range r.Trees {
		m.Measured[r.chain+" "+r.compatible[name]] = pcrs
	}
	m.Approvals, err = r.approvals(by, as.Number)
	return m, err
}

// approvals are a release key's word for the image as the release of that number: for each tree that it has, and for none.
// nil: there is no release key.
func (r *Result) approvals(by *Key, number uint64) ([]byte, error) {
	if by.Release == nil {
		return nil, nil
	}
	list, err := by.approve(number, r.systems)
	if err != nil {
		return nil, err
	}
	return keys.MarshalApprovals(list)
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

// SignBundle writes the update as if it were another release, or signed by other keys: for tests of what is refused.
func (r *Result) SignBundle(w io.Writer, as bundle.Release, by *Key) (err error) {
	if r.stored == nil {
		if r.stored, err = bundle.Compress(r.uki); err != nil {
			return err
		}
	}
	m, err := r.manifest(as, by)
	if err != nil {
		return err
	}
	return bundle.WriteCompressed(w, m, r.uki, r.stored, by.private, nil)
}

// SignFeed writes a feed, signed.
func (k *Key) SignFeed(w io.Writer, f bundle.Feed) error {
	return bundle.WriteFeed(w, f, k.private, nil)
}

// Sign writes a bundle of any image, for tests that do not boot it.
func (k *Key) Sign(w io.Writer, m bundle.Manifest, image []byte) error {
	return bundle.Write(w, m, image, k.private, nil)
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
	if err := v.addRelease(); err != nil {
		return nil, err
	}
	for name, data := range files {
		v.files[name] = content{data: data, from: ours}
	}
	return &v, v.pack()
}

// File is a file of the image's initramfs; nil if it has none of that name.
func (r *Result) File(name string) []byte { return r.files[name].data }

// BootFiles are the files of the image's boot partition, by their paths.
func (r *Result) BootFiles() map[string][]byte { return maps.Clone(r.boot) }

// PackageFile is one file of a package in the lock.
func PackageFile(ctx context.Context, name, file string, log io.Writer) ([]byte, error) {
	found, err := PackageFiles(ctx, name, log, file)
	return found[file], err
}

// PackageFiles are some files of a package in the lock.
func PackageFiles(ctx context.Context, name string, log io.Writer, names ...string) (map[string][]byte, error) {
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
	if err := files.addPackage(deb, name, func(n string) bool { return slices.Contains(names, n) }); err != nil {
		return nil, err
	}
	found := make(map[string][]byte)
	for _, n := range names {
		if found[n], err = files.read(n); err != nil {
			return nil, err
		}
	}
	return found, nil
}
