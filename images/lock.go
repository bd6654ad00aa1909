package images

import (
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
)

//go:embed packages.lock
var lockFile string

// ErrLock says what is wrong with a lock file, with the line.
var ErrLock = errors.New("lock file")

// A Package is one of Debian's, pinned: what does not have this hash is not used.
type Package struct {
	Name, Version string
	SHA256        [32]byte
	Size          int64  // bytes of the .deb
	Path          string // beneath an archive's root
}

// A Lock is all packages that images are made of, by name.
type Lock map[string]Package

const (
	// maxPackage bounds one package. The largest that we use, a kernel with all its drivers, has 93 MB.
	maxPackage = 256 << 20
	// maxLock bounds the number of packages in a lock file.
	maxLock = 1000
)

// Packages returns the lock that this version of Postern is built from.
func Packages() (Lock, error) { return ParseLock(lockFile) }

// ParseLock reads a lock file: one package a line, as name, version, SHA-256 in hexadecimal, size in bytes, and path
// beneath the archive's root, separated by blanks. Empty lines and those that begin with # are comments.
func ParseLock(text string) (Lock, error) {
	lock := Lock{}
	for n, line := range strings.Split(text, "\n") {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		p, err := parsePackage(strings.Fields(line))
		if _, twice := lock[p.Name]; err == nil && twice {
			err = fmt.Errorf("%s is here twice", p.Name)
		}
		if err == nil && len(lock) == maxLock {
			err = fmt.Errorf("more than %d packages", maxLock)
		}
		if err != nil {
			return nil, fmt.Errorf("%w: line %d: %w", ErrLock, n+1, err)
		}
		lock[p.Name] = p
	}
	return lock, nil
}

func parsePackage(f []string) (p Package, err error) {
	if len(f) != 5 {
		return p, fmt.Errorf("%d fields instead of 5", len(f))
	}
	p = Package{Name: f[0], Version: f[1], Path: f[4]}
	sum, err := hex.DecodeString(f[2])
	if err != nil || len(sum) != len(p.SHA256) {
		return p, fmt.Errorf("%q is no SHA-256", f[2])
	}
	copy(p.SHA256[:], sum)
	if p.Size, err = strconv.ParseInt(f[3], 10, 64); err != nil || p.Size <= 0 || p.Size > maxPackage {
		return p, fmt.Errorf("%q is no size of a package", f[3])
	}
	// It becomes a file name in the cache and a part of an address.
	if !strings.HasPrefix(p.Path, "pool/") || path.Clean(p.Path) != p.Path || !strings.HasSuffix(p.Path, ".deb") {
		return p, fmt.Errorf("%q is no path of a package", p.Path)
	}
	return p, nil
}

// Select returns the named packages in that order. A name may have a * in it and then stands for the one package that it
// matches: the names of kernels hold their version.
func (l Lock) Select(names []string) ([]Package, error) {
	var all []Package
	for _, n := range names {
		var found []string
		for _, name := range sortedKeys(l) {
			if ok, err := path.Match(n, name); err == nil && ok {
				found = append(found, name)
			}
		}
		if len(found) != 1 {
			return nil, fmt.Errorf("%w: %d packages are called %s", ErrLock, len(found), n)
		}
		all = append(all, l[found[0]])
	}
	return all, nil
}
