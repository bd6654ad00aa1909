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
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/postern-nas/postern/images"
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
}

// A Result is what was built; it is also written as JSON, beside the image.
type Result struct {
	Board      string            `json:"board"`
	Kernel     string            `json:"kernel"`
	Version    string            `json:"version"`
	Image      string            `json:"image"` // file name
	ImageSize  int64             `json:"image_size"`
	ImageSum   string            `json:"image_sha256"`
	Compressed int64             `json:"compressed_size,omitempty"`
	UKISize    int               `json:"uki_size"`
	UKISum     string            `json:"uki_sha256"`
	Initramfs  int               `json:"initramfs_size"`
	Postern    int               `json:"postern_size"`
	Modules    []string          `json:"modules"`
	Packages   map[string]string `json:"packages"` // name to version
	// PCRs are what a TPM's SHA-256 bank holds when this image has booted, by the way that the board boots.
	PCRs map[int]string `json:"pcrs"`
}

// Build builds an image into o.Out, with progress on log.
func Build(ctx context.Context, o Options, log io.Writer) (*Result, error) {
	start := time.Now()
	say := func(format string, args ...any) {
		fmt.Fprintf(log, "mkimage: %5.1f s  %s\n", time.Since(start).Seconds(), fmt.Sprintf(format, args...))
	}
	dir, err := Dir()
	if err != nil {
		return nil, err
	}
	lock, err := images.Packages()
	if err != nil {
		return nil, err
	}
	packages, err := lock.Select(o.Board.Packages)
	if err != nil {
		return nil, err
	}
	r := &Result{Board: o.Board.Name, Packages: map[string]string{}, PCRs: map[int]string{}}
	say("%d packages", len(packages))
	fetch := newFetcher(dir, log)
	files := tree{}
	for _, p := range packages {
		r.Packages[p.Name] = p.Version
		deb, err := fetch.fetch(ctx, p)
		if err != nil {
			return nil, err
		}
		want := func(name string) bool { return true }
		if strings.HasPrefix(p.Name, "linux-") {
			want = wantKernel
		}
		if err := files.addPackage(deb, want); err != nil {
			return nil, err
		}
	}
	kernel, err := findKernel(files)
	if err != nil {
		return nil, err
	}
	modules, err := kernel.modules(files, o.Board.Modules)
	if err != nil {
		return nil, err
	}
	for _, m := range modules {
		r.Modules = append(r.Modules, m.name)
	}
	say("building postern for arm64")
	postern, version, err := buildPostern(ctx, log)
	if err != nil {
		return nil, err
	}
	say("initramfs: %d modules, %d tools", len(modules), len(o.Board.Tools))
	initrd, err := initramfs(postern, modules, files, o.Board.Tools)
	if err != nil {
		return nil, err
	}
	boot, uki, pcrs, err := bootFiles(o.Board, files, kernel, initrd, version)
	if err != nil {
		return nil, err
	}
	if len(uki) > images.MaxUKI {
		return nil, fmt.Errorf("the kernel image has %d bytes; a slot takes %d", len(uki), images.MaxUKI)
	}
	if err := os.MkdirAll(o.Out, 0o755); err != nil {
		return nil, err
	}
	r.Kernel, r.Version, r.Initramfs, r.Postern, r.UKISize = kernel.version, version, len(initrd), len(postern), len(uki)
	r.UKISum = sum(uki)
	for i, v := range pcrs {
		r.PCRs[i] = hex.EncodeToString(v[:])
	}
	r.Image = "postern-" + o.Board.Name + ".img"
	path := filepath.Join(o.Out, r.Image)
	say("writing %s", path)
	if err := writeDisk(path, o.Board.Layout, boot); err != nil {
		return nil, err
	}
	if err := r.finish(path, o.Compress); err != nil {
		return nil, err
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return nil, err
	}
	say("done: kernel image %.1f MiB, initramfs %.1f MiB, disk %d MiB", mib(len(uki)), mib(len(initrd)), r.ImageSize>>20)
	return r, os.WriteFile(strings.TrimSuffix(path, ".img")+".json", append(text, '\n'), 0o644)
}

func mib(n int) float64 { return float64(n) / (1 << 20) }

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

// bootFiles makes the boot partition's files, and foretells what a TPM will say of them.
func bootFiles(b images.Board, files tree, k *kernel, initrd []byte, version string) (
	boot map[string][]byte, uki []byte, pcrs map[int][32]byte, err error,
) {
	stub, err := files.read(stubFile)
	if err != nil {
		return nil, nil, nil, err
	}
	uki, err = images.UKI{
		Kernel: k.image, Initrd: initrd, CommandLine: b.CommandLine, Uname: k.version,
		Release: fmt.Sprintf("NAME=Postern\nID=postern\nPRETTY_NAME=%q\nVERSION_ID=%q\n", "Postern "+version, version),
	}.Write(stub)
	if err != nil {
		return nil, nil, nil, err
	}
	if !b.Loader {
		pcrs, err = images.Measure(images.EDK2, nil, uki, images.NoDeviceTree)
		return map[string][]byte{images.LoaderFile: uki}, uki, pcrs, err
	}
	loader, err := files.read(loaderFile)
	if err != nil {
		return nil, nil, nil, err
	}
	pcrs, err = images.Measure(images.EDK2Loader, loader, uki, images.NoDeviceTree)
	return map[string][]byte{
		images.LoaderFile: loader, images.LoaderConfig: []byte(loaderConfig), images.SlotA: uki,
	}, uki, pcrs, err
}

// moduleRoot is the folder of the module that the working directory is in.
func moduleRoot(ctx context.Context) (string, error) {
	mod, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	root := strings.TrimSpace(string(mod))
	if err != nil || root == "" || root == os.DevNull {
		return "", errors.Join(errors.New("the working directory is in no Go module"), err)
	}
	return filepath.Dir(root), nil
}

// buildPostern cross-compiles ./firmware of the module that the working directory is in.
func buildPostern(ctx context.Context, log io.Writer) (binary []byte, version string, err error) {
	root, err := moduleRoot(ctx)
	if err != nil {
		return nil, "", err
	}
	dir, err := os.MkdirTemp("", "mkimage")
	if err != nil {
		return nil, "", err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	path := filepath.Join(dir, "postern")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", path, "./firmware")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH=arm64", "CGO_ENABLED=0", "GOFLAGS=", "GOARM64=v8.0")
	cmd.Stderr = log
	if err := cmd.Run(); err != nil {
		return nil, "", fmt.Errorf("go build ./firmware: %w", err)
	}
	if binary, err = os.ReadFile(path); err != nil {
		return nil, "", err
	}
	info, err := buildinfo.Read(bytes.NewReader(binary))
	if err != nil {
		return nil, "", err
	}
	return binary, info.Main.Version, nil
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
