package mkimage

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/postern-nas/postern/images"
	"github.com/postern-nas/postern/tools/debian"
)

const (
	release   = "trixie"
	backports = release + "-backports"
	// sections are what boards need: Raspberry's boot firmware is in the last one.
	sections = "main non-free-firmware"
	// keyring is what the archive's lists are signed with, from the package debian-archive-keyring.
	keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
)

// lockHead begins a lock file.
const lockHead = `# What images are made of: packages of Debian trixie for arm64, pinned. "make refresh-lock" writes this file from the
# archive's signed lists. A version with ~bpo is from trixie-backports and stays with it.
# name version sha256 size path
`

// Refresh writes the lock file anew: each package of the old one, and those of add, as the archive has it now. A name
// of add may end in "/backports". The archive's lists are fetched and their signatures checked by apt, in a folder of its
// own and for arm64, whatever machine this is.
func Refresh(ctx context.Context, file string, add []string, log io.Writer) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	old, err := images.ParseLock(string(text))
	if err != nil {
		return err
	}
	if _, err := os.Stat(keyring); err != nil {
		return fmt.Errorf("the archive's keys: %w; apt-get install debian-archive-keyring", err)
	}
	dir, err := Dir()
	if err != nil {
		return err
	}
	mirror, err := debian.Mirror(ctx, debian.Update)
	if err != nil {
		return err
	}
	want := map[string][]string{} // suite to packages
	for _, p := range old {
		suite := release
		if strings.Contains(p.Version, "~bpo") {
			suite = backports
		}
		want[suite] = append(want[suite], p.Name)
	}
	for _, n := range add {
		name, ok := strings.CutSuffix(n, "/backports")
		suite := release
		if ok {
			suite = backports
		}
		want[suite] = append(want[suite], name)
	}
	var all []images.Package
	for _, suite := range []string{release, backports} {
		fmt.Fprintf(log, "mkimage: lists of %s from %s\n", suite, mirror)
		a := &aptRoot{dir: filepath.Join(dir, "apt", suite)}
		if err := a.update(ctx, suite, mirror); err != nil {
			return err
		}
		found, err := a.find(ctx, want[suite])
		if err != nil {
			return fmt.Errorf("%s: %w", suite, err)
		}
		all = append(all, found...)
	}
	slices.SortFunc(all, func(a, b images.Package) int { return strings.Compare(a.Name, b.Name) })
	all = slices.CompactFunc(all, func(a, b images.Package) bool { return a.Name == b.Name })
	var out strings.Builder
	out.WriteString(lockHead)
	for _, p := range all {
		fmt.Fprintf(&out, "%s %s %s %d %s\n", p.Name, p.Version, hex.EncodeToString(p.SHA256[:]), p.Size, p.Path)
		if was := old[p.Name]; was != p {
			fmt.Fprintf(log, "mkimage: %s %s (was %q)\n", p.Name, p.Version, was.Version)
		}
	}
	if _, err := images.ParseLock(out.String()); err != nil {
		return err
	}
	return os.WriteFile(file, []byte(out.String()), 0o644)
}

// An aptRoot is a folder in which apt knows one suite of the archive and nothing else.
type aptRoot struct{ dir string }

func (a *aptRoot) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), "APT_CONFIG="+filepath.Join(a.dir, "apt.conf"), "LC_ALL=C")
	return cmd
}

func (a *aptRoot) update(ctx context.Context, suite, mirror string) error {
	for _, d := range []string{"lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(a.dir, d), 0o755); err != nil {
			return err
		}
	}
	conf := fmt.Sprintf("Dir::State \"%[1]s\";\nDir::State::Lists \"%[1]s/lists\";\nDir::State::status \"%[1]s/status\";\n"+
		"Dir::Cache \"%[1]s/cache\";\nDir::Etc::sourcelist \"%[1]s/sources.list\";\nDir::Etc::sourceparts \"-\";\n"+
		"APT::Architecture \"arm64\";\nAPT::Architectures { \"arm64\"; };\nAcquire::Languages \"none\";\n", a.dir)
	for name, text := range map[string]string{
		"apt.conf": conf, "status": "",
		"sources.list": fmt.Sprintf("deb [arch=arm64 signed-by=%s] %s %s %s\n", keyring, mirror, suite, sections),
	} {
		if err := os.WriteFile(filepath.Join(a.dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	if out, err := a.command(ctx, "apt-get", "-q", "update", "--error-on=any").CombinedOutput(); err != nil {
		return fmt.Errorf("apt-get update for %s: %w\n%s", suite, err, out)
	}
	return nil
}

// find returns the packages as the suite has them. The names of kernels hold their version, so a kernel's newer self is
// found by way of the package that always depends on the newest.
func (a *aptRoot) find(ctx context.Context, names []string) ([]images.Package, error) {
	newest := map[string]string{} // flavour to version
	for i, n := range names {
		k, ok := splitKernel(n)
		if !ok {
			continue
		}
		if newest[k.flavour] == "" {
			meta := "linux-image-" + k.flavour
			stanzas, err := a.show(ctx, []string{meta})
			if err != nil {
				return nil, err
			}
			if newest[k.flavour] = kernelOf(stanzas[meta]["Depends"], k.flavour); newest[k.flavour] == "" {
				return nil, fmt.Errorf("%s depends on %q: no kernel", meta, stanzas[meta]["Depends"])
			}
		}
		names[i] = k.kind + newest[k.flavour] + "-" + k.flavour
	}
	stanzas, err := a.show(ctx, names)
	if err != nil {
		return nil, err
	}
	var all []images.Package
	for _, n := range names {
		f, ok := stanzas[n]
		if !ok {
			return nil, fmt.Errorf("the archive has no package %s", n)
		}
		p := images.Package{Name: n, Version: f["Version"], Path: f["Filename"]}
		hash, err := hex.DecodeString(f["SHA256"])
		if err != nil || len(hash) != len(p.SHA256) {
			return nil, fmt.Errorf("%s: %q is no SHA-256", n, f["SHA256"])
		}
		copy(p.SHA256[:], hash)
		if p.Size, err = strconv.ParseInt(f["Size"], 10, 64); err != nil {
			return nil, fmt.Errorf("%s: size: %w", n, err)
		}
		all = append(all, p)
	}
	return all, nil
}

// show returns the fields of packages, the newest version of each. Those that there are none of are left out.
func (a *aptRoot) show(ctx context.Context, names []string) (map[string]map[string]string, error) {
	if len(names) == 0 {
		return nil, nil
	}
	out, err := a.command(ctx, "apt-cache", append([]string{"show", "--no-all-versions"}, names...)...).Output()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) { // it exits with 100 where one is missing
		return nil, err
	}
	return stanzas(out), nil
}

// stanzas reads fields as in deb822(5), by the field Package. Lines that go on are left out: we need none of them.
func stanzas(text []byte) map[string]map[string]string {
	all := map[string]map[string]string{}
	fields := map[string]string{}
	lines := bufio.NewScanner(bytes.NewReader(append(text, "\n\n"...)))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		switch line := lines.Text(); {
		case line == "":
			if n := fields["Package"]; n != "" && all[n] == nil {
				all[n] = fields
			}
			fields = map[string]string{}
		case line[0] != ' ' && line[0] != '\t':
			if name, value, ok := strings.Cut(line, ":"); ok {
				fields[name] = strings.TrimSpace(value)
			}
		}
	}
	return all
}

// A kernelName is the name of one of a kernel's packages.
type kernelName struct{ kind, version, flavour string }

// splitKernel takes "linux-modules-7.3.4+deb13-cloud-arm64" apart.
func splitKernel(name string) (k kernelName, ok bool) {
	for _, kind := range []string{"linux-image-", "linux-binary-", "linux-modules-", "linux-base-"} {
		rest, is := strings.CutPrefix(name, kind)
		if version, flavour, cut := strings.Cut(rest, "-"); is && cut && version != "" && version[0] >= '0' && version[0] <= '9' {
			return kernelName{kind, version, flavour}, true
		}
	}
	return k, false
}

// kernelOf finds the version of the kernel in a list of dependencies.
func kernelOf(depends, flavour string) string {
	for d := range strings.SplitSeq(depends, ",") {
		name, _, _ := strings.Cut(strings.TrimSpace(d), " ")
		if k, ok := splitKernel(name); ok && k.flavour == flavour {
			return k.version
		}
	}
	return ""
}

// lockFile is where the lock is in a checkout.
const lockFile = "images/packages.lock"

// LockFile is the path of the checkout's lock file.
func LockFile(ctx context.Context) (string, error) {
	root, err := moduleRoot(ctx)
	return path.Join(root, lockFile), err
}
