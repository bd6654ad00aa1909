// Package peers keeps the foreign programs that Postern is tested against and measured beside: Samba's smbclient,
// smbd and smbtorture, in a Debian trixie chroot (with trixie-backports) in a cache outside the checkout.
//
// The command `go run ./tools/peers` builds the cache. Tests call [Require], which builds it too where it can, and
// then run programs with [Peers.Command] or start Samba's server with [Peers.StartSMBD]:
//
//	p := peers.Require(t)
//	out, err := p.Command(ctx, "smbclient", "--version").Output()
//
// Everything here needs root, because a chroot does. Programs in the chroot see only the chroot: files for them go
// into a [Folder]. They share the machine's network, and know 127.0.0.1 also as nas.test and other.test.
package peers

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
)

// suite is the Debian release of the chroot; its backports have the Samba we want.
const suite = "trixie"

//go:embed recipe.sh
var recipe string

// ErrNotRoot says that the peers can be neither built nor used by this user.
var ErrNotRoot = errors.New("the peers (smbclient, smbd, smbtorture) live in a chroot, which only root can build and" +
	" enter; run as root, for example `sudo -E env PATH=\"$PATH\" make test`, or in a container")

// Users are the accounts that exist in the chroot, and so the only ones that its smbd can have.
var Users = []string{"alice", "bob", "carol"}

// Peers is a finished chroot. It is not removed by another version's build while this process lives.
type Peers struct {
	Root string // absolute path of the chroot on the host
	use  *os.File
	// enter begins the command lines of its programs; see Within.
	enter []string
}

// Within is the same chroot for programs that are started by way of another, such as nsenter with its arguments.
func (p *Peers) Within(enter []string) *Peers {
	return &Peers{Root: p.Root, use: p.use, enter: enter}
}

// Dir is the cache folder: $POSTERN_PEERS, or postern/peers in the user's cache folder.
func Dir() (string, error) {
	if d := os.Getenv("POSTERN_PEERS"); d != "" {
		return filepath.Abs(d)
	}
	d, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("no place for the peers: %w; set POSTERN_PEERS to a folder", err)
	}
	return filepath.Join(d, "postern", "peers"), nil
}

// stamp names one recipe. Each has its own folder in the cache, so checkouts with different recipes do not rebuild
// each other's peers.
func stamp() string {
	sum := sha256.Sum256([]byte(suite + "\n" + recipe))
	return suite + "-" + hex.EncodeToString(sum[:6])
}

// Require gives a test its peers, building them if need be. Where that is impossible the test is skipped with the
// reason; with CI=true in the environment it fails instead, so that a green run has run everything.
func Require(t testing.TB) *Peers {
	t.Helper()
	p, err := Build(context.Background(), os.Stderr)
	switch {
	case err == nil:
		return p
	case errors.Is(err, ErrNotRoot) && os.Getenv("CI") != "true":
		t.Skipf("skipped: %v", err)
	default:
		t.Fatalf("peers: %v", err)
	}
	return nil
}

// environ is a tidy environment: a caller's LANG, HOME or KRB5_CONFIG mean nothing in the chroot. C.UTF-8 is for
// Unicode file names.
var environ = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8", "TMPDIR=/tmp"}

// Command is a program of the chroot, run there as root. The context kills it; it dies with this process too.
func (p *Peers) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	argv := slices.Concat(p.enter, []string{"chroot", p.Root, name}, args)
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir = "/"
	cmd.Env = environ
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// folders is where in the chroot they are made; recipe.sh makes it.
const folders = "srv/peers"

// Folder is a fresh folder that both sides see, under two names.
type Folder struct {
	Host   string // absolute path on the host
	Inside string // the same folder as the programs of the chroot name it
}

// Sub is the folder or file name below f, under both names. It creates nothing.
func (f Folder) Sub(name string) Folder {
	return Folder{Host: filepath.Join(f.Host, name), Inside: filepath.Join(f.Inside, name)}
}

// Remove deletes the folder with all it has.
func (f Folder) Remove() error { return os.RemoveAll(f.Host) }

// NewFolder makes a folder; the caller removes it when done.
func (p *Peers) NewFolder() (Folder, error) {
	host, err := os.MkdirTemp(filepath.Join(p.Root, folders), "")
	if err != nil {
		return Folder{}, err
	}
	if err := os.Chmod(host, 0o755); err != nil {
		return Folder{}, err
	}
	return Folder{Host: host, Inside: filepath.Join("/", folders, filepath.Base(host))}, nil
}

// TempDir makes a folder that goes away with the test.
func (p *Peers) TempDir(t testing.TB) Folder {
	t.Helper()
	f, err := p.NewFolder()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Remove(); err != nil {
			t.Error(err)
		}
	})
	return f
}
