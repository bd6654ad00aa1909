// Package mkimage builds flashable disk images: packages from Debian's archive, our own program, and the data of package
// images become one file, the same bytes each time. It needs Go and, for the first time, a Debian archive in apt's
// configuration; it needs no root, no loop device and no foreign program.
package mkimage

import (
	"bytes"
	"context"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/postern-nas/postern/images"
	"github.com/postern-nas/postern/images/bundle"
	"github.com/postern-nas/postern/images/fdt"
	"github.com/postern-nas/postern/tpm"
)

const (
	stubFile   = "usr/lib/systemd/boot/efi/linuxaa64.efi.stub"
	loaderFile = "usr/lib/systemd/boot/efi/systemd-bootaa64.efi"
	// loaderConfig: no menu, no editor for the command line, no keys taken from the disk; the newest good slot boots.
	loaderConfig = "timeout 0\neditor no\nsecure-boot-enroll off\n"
)

// Options say what to build.
type Options struct {
	Board    images.Board
	Out      string // folder for the results
	Compress bool   // also write the image compressed, as one downloads it
	Debug    bool   // with a shell on the serial console, for who works on the firmware; never for a box that is used
	Number   uint64 // of the release; 0: images.Number
	Key      *Key   // whose updates the image takes, and that signs for it; nil: the builder's own (BuilderKey)
	Bundle   bool   // also write the update to this image
	Quick    bool   // compress less, for tests
}

func (o Options) flavour() string {
	if o.Debug {
		return "debug"
	}
	return "release"
}

// A Result is what was built; it is also written as JSON, beside the image.
type Result struct {
	Board      string            `json:"board"`
	Flavour    string            `json:"flavour"`
	Kernel     string            `json:"kernel"`
	Version    string            `json:"version"`
	Image      string            `json:"image"` // file name
	ImageSize  int64             `json:"image_size"`
	ImageSum   string            `json:"image_sha256"`
	Compressed int64             `json:"compressed_size,omitempty"`
	UKISize    int               `json:"uki_size"`
	UKISum     string            `json:"uki_sha256"`
	Download   int               `json:"download_size"` // of the kernel image compressed, as an update brings it
	Initramfs  int               `json:"initramfs_size"`
	Postern    int               `json:"postern_size"`
	Modules    []string          `json:"modules"`
	Packages   map[string]string `json:"packages"`        // name to version
	Needs      string            `json:"needs,omitempty"` // a boot loader that the image lacks
	// PCRs are what a TPM's SHA-256 bank holds when this image has booted, by the way that the board boots.
	PCRs map[int]string `json:"pcrs"`
	// Trees are the same for each device tree that the image carries: a box matches one of them.
	Trees map[string]map[int]string `json:"pcrs_by_tree,omitempty"`

	// UpdateKey and ReleaseKey are the public keys that the image has of whoever built it, the second as PEM, and Approvals
	// what the second's holder signed for it: all that it takes to build the same again.
	UpdateKey  string          `json:"update_key"`
	ReleaseKey string          `json:"release_key,omitempty"`
	Approvals  json.RawMessage `json:"approvals,omitempty"`

	BundleFile string `json:"bundle,omitempty"` // file name of the update
	BundleSize int64  `json:"bundle_size,omitempty"`
	Number     uint64 `json:"number"`

	o          Options
	from       tree
	kernel     *kernel
	trees      [][]byte
	compatible map[string]string // what each of Trees calls itself first
	systems    []tpm.PCRs        // all that the image may measure as
	chain      string
	uki        []byte
	stored     []byte // uki, compressed; nil until it is needed

	files    contents          // of the initramfs
	boot     map[string][]byte // of the boot partition
	bootFrom map[string]string // what each of them is from
	raw      []rawData
}

// rawData is what is written outside of the partitions.
type rawData struct {
	at   int64
	data []byte
	from string
}

// Build builds an image into o.Out, with progress on log.
func Build(ctx context.Context, o Options, log io.Writer) (*Result, error) {
	start := time.Now()
	say := func(format string, args ...any) {
		fmt.Fprintf(log, "mkimage: %5.1f s  %s\n", time.Since(start).Seconds(), fmt.Sprintf(format, args...))
	}
	if o.Number == 0 {
		o.Number = images.Number
	}
	if o.Key == nil {
		var err error
		if o.Key, err = BuilderKey("", ""); err != nil {
			return nil, err
		}
	}
	b := o.Board
	r := &Result{Board: b.Name, Flavour: o.flavour(), Needs: b.Needs, Packages: map[string]string{}, Number: o.Number, o: o}
	parts, err := r.collect(ctx, log, say)
	if err != nil {
		return nil, err
	}
	if err := r.pack(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.Out, 0o755); err != nil {
		return nil, err
	}
	name := "postern-" + b.Name
	if o.Debug {
		name += "-debug"
	}
	if err := r.writeImage(name, say); err != nil {
		return nil, err
	}
	if err := r.writeBeside(name, parts); err != nil {
		return nil, err
	}
	say("done: kernel image %.1f MiB (as an update %.1f MiB), initramfs %.1f MiB, postern %.1f MiB, disk %d MiB", mib(r.UKISize), mib(r.Download),
		mib(r.Initramfs), mib(r.Postern), r.ImageSize>>20)
	if o.Compress {
		say("to download: %s.zst, %.1f MiB", r.Image, mib(int(r.Compressed)))
	}
	if r.Needs != "" {
		say("this image starts nothing by itself; the box needs %s", r.Needs)
	}
	return r, nil
}

// collect gets together what the image is made of: packages, the kernel with its modules and device trees, postern, and the
// files of the initramfs. It returns what the bill of materials lists.
func (r *Result) collect(ctx context.Context, log io.Writer, say func(string, ...any)) ([]component, error) {
	b := r.o.Board
	dir, err := Dir()
	if err != nil {
		return nil, err
	}
	if _, err := moduleRoot(ctx); err != nil { // before anything is fetched
		return nil, err
	}
	files, packages, err := gather(ctx, dir, b, log, say)
	if err != nil {
		return nil, err
	}
	for _, p := range packages {
		r.Packages[p.Name] = p.Version
	}
	kernel, err := findKernel(files)
	if err != nil {
		return nil, err
	}
	trees, err := kernel.trees(files, b)
	if err != nil {
		return nil, err
	}
	r.Kernel, r.from, r.kernel, r.trees = kernel.version, files, kernel, trees
	modules, index, err := kernel.choose(files, b.Modules, b.Drivers, trees, dir, say)
	if err != nil {
		return nil, err
	}
	for _, m := range modules {
		r.Modules = append(r.Modules, m.name)
	}
	for _, w := range b.Raw {
		e, err := files.find(w.From)
		if err != nil {
			return nil, err
		}
		r.raw = append(r.raw, rawData{w.At, e.data, e.from})
	}
	say("building postern for arm64")
	postern, info, err := buildPostern(ctx, log)
	if err != nil {
		return nil, err
	}
	r.Version, r.Postern = info.Main.Version, len(postern)
	if r.files, err = rootFiles(postern, modules, index, files, b.Tools); err != nil {
		return nil, err
	}
	if err := r.addRelease(); err != nil {
		return nil, err
	}
	parts, err := components(ctx, packages, files, info)
	if err != nil {
		return nil, err
	}
	if r.o.Debug {
		say("building the shell of the debug flavour")
		if err := addShell(ctx, r.files, &parts); err != nil {
			return nil, err
		}
	}
	say("initramfs: %d modules, %d tools", len(modules), len(b.Tools))
	return parts, addLicences(r.files, parts, files)
}

// writeImage writes the disk.
func (r *Result) writeImage(name string, say func(string, ...any)) error {
	r.Image = name + ".img"
	path := filepath.Join(r.o.Out, r.Image)
	say("writing %s", path)
	if err := writeDisk(path, r.o.Board.Layout, r.boot); err != nil {
		return err
	}
	if err := writeRaw(path, r.o.Board.Layout, r.raw); err != nil {
		return err
	}
	return r.finish(path, r.o.Compress)
}

// writeBeside writes what lies beside the disk: the update, what the image is, and what is in it.
func (r *Result) writeBeside(name string, parts []component) (err error) {
	if !r.o.Quick {
		if r.stored, err = bundle.Compress(r.uki); err != nil {
			return err
		}
		r.Download = len(r.stored)
	}
	if r.o.Bundle {
		r.BundleFile = name + ".postern"
		if err := r.WriteBundle(filepath.Join(r.o.Out, r.BundleFile)); err != nil {
			return err
		}
	}
	if err := r.checkDownload(); err != nil {
		return err
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(r.o.Out, name+".json"), append(text, '\n'), 0o644); err != nil {
		return err
	}
	return writeSBOM(filepath.Join(r.o.Out, name+".cdx.json"), r, parts)
}

// checkDownload bounds what an update to this image brings. A shell for who works on the firmware may make it larger.
func (r *Result) checkDownload() error {
	if size := max(int64(r.Download), r.BundleSize); size > images.MaxDownload && !r.o.Debug {
		return fmt.Errorf("an update to this image has %d bytes; one may have %d (images.MaxDownload)", size, images.MaxDownload)
	}
	return nil
}

// pack makes the initramfs and the boot partition's files of what was gathered.
func (r *Result) pack() error {
	initrd, err := archive(r.files, r.o.Quick)
	if err != nil {
		return err
	}
	uki, err := r.bootFiles(r.o.Board, r.from, r.kernel, initrd, r.trees)
	if err != nil {
		return err
	}
	if len(uki) > images.MaxUKI {
		return fmt.Errorf("the kernel image has %d bytes; a slot takes %d", len(uki), images.MaxUKI)
	}
	r.Initramfs, r.UKISize, r.UKISum, r.uki = len(initrd), len(uki), sum(uki), uki
	return nil
}

// gather brings a board's packages, and reads the files of them that an image may need.
func gather(ctx context.Context, dir string, b images.Board, log io.Writer, say func(string, ...any)) (tree, []images.Package, error) {
	lock, err := images.Packages()
	if err != nil {
		return nil, nil, err
	}
	packages, err := lock.Select(b.Packages)
	if err != nil {
		return nil, nil, err
	}
	say("%d packages", len(packages))
	fetch := newFetcher(dir, log)
	files := tree{}
	for _, p := range packages {
		deb, err := fetch.fetch(ctx, p)
		if err != nil {
			return nil, nil, err
		}
		want := func(name string) bool { return true }
		if strings.HasPrefix(p.Name, "linux-") {
			want = wantKernel(b.Trees)
		}
		if err := files.addPackage(deb, p.Name, want); err != nil {
			return nil, nil, err
		}
	}
	return files, packages, nil
}

func mib(n int) float64 { return float64(n) / (1 << 20) }

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

// bootFiles makes the boot partition's files, and foretells what a TPM will say of them.
func (r *Result) bootFiles(b images.Board, files tree, k *kernel, initrd []byte, trees [][]byte) (uki []byte, err error) {
	stub, err := files.read(stubFile)
	if err != nil {
		return nil, err
	}
	u := images.UKI{
		Kernel: k.image, Initrd: initrd, CommandLine: b.CommandLine, Uname: k.version,
		// No VERSION_ID: systemd-boot would order slots by it, and then a version whose text is less never gets its trial.
		Release: fmt.Sprintf("NAME=Postern\nID=postern\nPRETTY_NAME=%q\n", fmt.Sprintf("Postern %s (%d)", r.Version, r.Number)),
	}
	if !b.Beside {
		u.DeviceTrees = trees
	}
	if uki, err = u.Write(stub); err != nil {
		return nil, err
	}
	r.boot, r.bootFrom = map[string][]byte{}, map[string]string{}
	put := func(name string, data []byte, from string) { r.boot[name], r.bootFrom[name] = data, from }
	pack := func(name, file string) error {
		e, err := files.find(file)
		put(name, e.data, e.from)
		return err
	}
	chain, loader := images.EDK2, []byte(nil)
	r.chain = bundle.ChainEDK2
	switch {
	case b.Script:
		chain, r.chain = images.UBoot, bundle.ChainUBoot
		put(images.UBootSlotA, uki, ours)
		put(images.SlotEnv, []byte(images.FirstSlotEnv), ours)
		put(images.BootScript, images.ScriptImage(images.UBootScript), ours)
	case b.Loader:
		chain, r.chain = images.EDK2Loader, bundle.ChainLoader
		if err := pack(images.LoaderFile, loaderFile); err != nil {
			return nil, err
		}
		loader = r.boot[images.LoaderFile]
		put(images.LoaderConfig, []byte(loaderConfig), ours)
		put(images.SlotA, uki, ours)
	default:
		put(images.LoaderFile, uki, ours)
	}
	for _, f := range b.Files {
		if f.From == "" {
			put(f.Name, []byte(f.Text), ours)
		} else if err := pack(f.Name, f.From); err != nil {
			return nil, err
		}
	}
	for i, name := range b.Trees {
		if b.Beside {
			put("/"+path.Base(name)+".dtb", trees[i], files[k.tree(name)].from)
		}
	}
	if err := r.foretell(chain, loader, uki, len(u.DeviceTrees)); err != nil {
		return nil, err
	}
	if r.Approvals, err = r.approvals(r.o.Key, r.Number); err != nil {
		return nil, err
	}
	if r.Approvals != nil {
		put(images.ApprovalsFile, r.Approvals, ours)
	}
	return uki, nil
}

// foretell calculates what a TPM will hold, for a machine that has none of the image's trees and for those of each.
func (r *Result) foretell(chain images.Chain, loader, uki []byte, trees int) error {
	r.systems, r.Trees, r.compatible = nil, nil, map[string]string{}
	one := func(tree int) (map[int]string, error) {
		pcrs, err := images.Measure(chain, loader, uki, tree)
		text := map[int]string{}
		for i, v := range pcrs {
			text[i] = hex.EncodeToString(v[:])
		}
		system := tpm.PCRs(maps.Clone(pcrs))
		system[12] = [32]byte{} // nothing overrides the command line
		r.systems = append(r.systems, system)
		return text, err
	}
	var err error
	if r.PCRs, err = one(images.NoDeviceTree); err != nil {
		return err
	}
	for i := range trees {
		name := r.o.Board.Trees[i]
		pcrs, err := one(i)
		if err != nil {
			return err
		}
		tree, err := fdt.Read(r.trees[i])
		if err != nil {
			return err
		}
		if r.Trees == nil {
			r.Trees = map[string]map[int]string{}
		}
		r.Trees[name] = pcrs
		if names := fdt.Strings(tree.RootNode, "compatible"); len(names) > 0 {
			r.compatible[name] = names[0]
		}
	}
	return nil
}

// moduleRoot is the folder of the module that the working directory is in.
func moduleRoot(ctx context.Context) (string, error) {
	if _, err := exec.LookPath("go"); err != nil {
		return "", fmt.Errorf("postern is built with Go, and there is no go here: https://go.dev/doc/install (%w)", err)
	}
	mod, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	root := strings.TrimSpace(string(mod))
	if err != nil || root == "" || root == os.DevNull {
		return "", errors.Join(errors.New("the working directory is in no Go module"), err)
	}
	return filepath.Dir(root), nil
}

// buildPostern cross-compiles ./firmware of the module that the working directory is in.
func buildPostern(ctx context.Context, log io.Writer) (binary []byte, info *buildinfo.BuildInfo, err error) {
	root, err := moduleRoot(ctx)
	if err != nil {
		return nil, nil, err
	}
	dir, err := os.MkdirTemp("", "mkimage")
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	path := filepath.Join(dir, "postern")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", path, "./firmware")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH=arm64", "CGO_ENABLED=0", "GOFLAGS=", "GOARM64=v8.0")
	cmd.Stderr = log
	if err := cmd.Run(); err != nil {
		return nil, nil, fmt.Errorf("go build ./firmware: %w", err)
	}
	if binary, err = os.ReadFile(path); err != nil {
		return nil, nil, err
	}
	info, err = buildinfo.Read(bytes.NewReader(binary))
	return binary, info, err
}

// finish takes the image's sum, and compresses it.
func (r *Result) finish(path string, compressed bool) (err error) {
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	h := sha256.New()
	if compressed {
		r.ImageSize, r.Compressed, err = compress(path+".zst", io.TeeReader(in, h))
	} else {
		r.ImageSize, err = io.Copy(h, in)
	}
	r.ImageSum = hex.EncodeToString(h.Sum(nil))
	return err
}

// compress writes all of r into the file at path. One encoder after another, so that the result does not depend on how
// many processors there are.
func compress(path string, r io.Reader) (in, out int64, err error) {
	f, err := os.Create(path)
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	z, err := zstd.NewWriter(f, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return 0, 0, err
	}
	in, err = io.Copy(z, r)
	if err := errors.Join(err, z.Close()); err != nil {
		return in, 0, err
	}
	info, err := f.Stat()
	if err != nil {
		return in, 0, err
	}
	return in, info.Size(), nil
}
