package peers

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/postern-nas/postern/tools/debian"
)

// stampFile is written inside a chroot as the last step of its build.
const stampFile = "etc/postern-peers"

// inUse keeps the shared locks of this process open: a finalizer on a forgotten Peers must not drop them.
var inUse struct {
	sync.Mutex
	roots map[string]*Peers
}

// Build returns the peers, building what is missing, with progress on log. Any number of processes may call it at
// once: one builds and the others wait. An interrupted build is taken up again at the step it had reached. With a
// finished cache it costs a few file operations.
func Build(ctx context.Context, log io.Writer) (*Peers, error) {
	if os.Geteuid() != 0 {
		return nil, ErrNotRoot
	}
	dir, err := Dir()
	if err != nil {
		return nil, err
	}
	inUse.Lock()
	defer inUse.Unlock()
	root := filepath.Join(dir, stamp())
	if p := inUse.roots[root]; p != nil {
		return p, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	lock, err := lockFile(ctx, filepath.Join(dir, "lock"), log)
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	if _, err := os.Stat(filepath.Join(root, stampFile)); err != nil {
		if err := build(ctx, dir, root, log); err != nil {
			return nil, fmt.Errorf("building %s: %w (what is done is kept; run `go run ./tools/peers` to go on)", root, err)
		}
		sweep(dir, root)
	}
	use, err := os.OpenFile(root+".use", os.O_CREATE|os.O_RDONLY, 0o644)
	if err != nil {
		return nil, err
	}
	if syscall.Flock(int(use.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
		// Nobody else is at work here, so all folders are those of processes that were killed.
		if err := emptyFolder(filepath.Join(root, folders)); err != nil {
			return nil, err
		}
	}
	if err := syscall.Flock(int(use.Fd()), syscall.LOCK_SH); err != nil {
		return nil, err
	}
	p := &Peers{Root: root, use: use}
	if inUse.roots == nil {
		inUse.roots = map[string]*Peers{}
	}
	inUse.roots[root] = p
	return p, nil
}

func emptyFolder(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	return err
}

// lockFile takes the build lock. The kernel drops it with the process, so a killed build blocks nobody.
func lockFile(ctx context.Context, path string, log io.Writer) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	for told := false; ; {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		if !told {
			fmt.Fprintln(log, "peers: another process is building them; waiting")
			told = true
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// build makes root by way of root.new, so that root is there whole or not at all.
func build(ctx context.Context, dir, root string, log io.Writer) error {
	start := time.Now()
	if err := ensureDebootstrap(ctx, log); err != nil {
		return err
	}
	mirror, err := debian.Mirror(ctx, func(ctx context.Context) error { return aptUpdate(ctx, log) })
	if err != nil {
		return err
	}
	fmt.Fprintf(log, "peers: building %s from %s; about 600 MB of disk\n", root, mirror)
	proxy := aptProxy(ctx)
	fresh := root + ".new"
	base := filepath.Join(fresh, "etc/postern-base") // says that debootstrap came to its end
	if _, err := os.Stat(base); err != nil {
		if err := os.RemoveAll(fresh); err != nil {
			return err
		}
		args := []string{"--variant=minbase"}
		if strings.HasPrefix(mirror, "https:") {
			args = append(args, "--include=ca-certificates")
		}
		cmd := isolated(ctx, "/proc", append(append([]string{"debootstrap"}, args...), suite, fresh, mirror)...)
		cmd.Env = append(os.Environ(), proxy...)
		if err := step(cmd, log, "Debian "+suite); err != nil {
			return err
		}
		if err := os.WriteFile(base, nil, 0o644); err != nil {
			return err
		}
	}
	// The chroot borrows the host's resolver while it installs; the recipe puts a harmless one there at its end.
	if resolv, err := os.ReadFile("/etc/resolv.conf"); err == nil {
		if err := os.WriteFile(filepath.Join(fresh, "etc/resolv.conf"), resolv, 0o644); err != nil {
			return err
		}
	}
	cmd := isolated(ctx, filepath.Join(fresh, "proc"), "chroot", fresh, "sh", "-eu", "-c", recipe)
	cmd.Env = append(os.Environ(), "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "MIRROR="+mirror)
	cmd.Env = append(cmd.Env, proxy...)
	if err := step(cmd, log, "Samba"); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(fresh, stampFile), []byte(stamp()+"\n"), 0o644); err != nil {
		return err
	}
	// A root without its stamp cannot come from here, but a half-removed one can.
	if err := os.RemoveAll(root); err != nil {
		return err
	}
	if err := os.Rename(fresh, root); err != nil {
		return err
	}
	fmt.Fprintf(log, "peers: ready after %.0f s\n", time.Since(start).Seconds())
	return nil
}

// sweep removes the chroots of other recipes, except those that a running process uses. A failure leaves a folder
// behind, which the next sweep takes.
func sweep(dir, root string) {
	uses, _ := filepath.Glob(filepath.Join(dir, "*.use"))
	for _, path := range uses {
		other := strings.TrimSuffix(path, ".use")
		if other == root {
			continue
		}
		f, err := os.Open(path)
		if err != nil {
			continue
		}
		if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			if os.RemoveAll(other) == nil {
				os.Remove(path)
			}
		}
		f.Close()
	}
}

// ensureDebootstrap installs debootstrap where it is missing.
func ensureDebootstrap(ctx context.Context, log io.Writer) error {
	if _, err := exec.LookPath("debootstrap"); err == nil {
		return nil
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		return errors.New("neither debootstrap nor apt-get is here: the peers can be built on Debian only")
	}
	if err := aptUpdate(ctx, log); err != nil {
		return err
	}
	cmd := isolated(ctx, "/proc", "apt-get", "-q", "install", "-y", "--no-install-recommends", "debootstrap",
		"debian-archive-keyring")
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	return step(cmd, log, "debootstrap")
}

func aptUpdate(ctx context.Context, log io.Writer) error {
	return step(isolated(ctx, "/proc", "apt-get", "-q", "update"), log, "package lists")
}

// aptProxy gives the proxy of apt's configuration as environment variables: debootstrap's wget and the chroot's own
// apt do not read the host's configuration.
func aptProxy(ctx context.Context) []string {
	var env []string
	for _, scheme := range []string{"http", "https"} {
		if v := debian.Proxy(ctx, scheme); v != "" && v != "DIRECT" {
			env = append(env, scheme+"_proxy="+v)
		}
	}
	return env
}

// step runs one command of the build. Its last lines are shown when it fails; on the way, one line every two seconds.
func step(cmd *exec.Cmd, log io.Writer, what string) error {
	start := time.Now()
	fmt.Fprintf(log, "peers: %s ...\n", what)
	r, w := io.Pipe()
	cmd.Stdout, cmd.Stderr = w, w
	var tail []string
	read := make(chan struct{})
	go func() {
		defer close(read)
		shown := time.Now()
		sc := bufio.NewScanner(r)
		sc.Buffer(nil, 1<<20)
		for sc.Scan() {
			tail = append(tail, sc.Text())
			if len(tail) > 25 {
				tail = tail[1:]
			}
			if time.Since(shown) > 2*time.Second {
				shown = time.Now()
				fmt.Fprintf(log, "peers: %4.0f s  %.90s\n", time.Since(start).Seconds(), sc.Text())
			}
		}
		io.Copy(io.Discard, r)
	}()
	err := cmd.Run()
	w.Close()
	<-read
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", what, err, strings.Join(tail, "\n"))
	}
	return nil
}

// isolated is a command in PID and mount namespaces of its own, with its /proc at proc: what it starts and mounts ends
// with it, also when it or this process is killed. Where the kernel grants no namespaces it is the head of a process
// group.
func isolated(ctx context.Context, proc string, command ...string) *exec.Cmd {
	const script = `if [ $$ = 1 ]; then mount --make-rprivate / && mount -t proc proc "$0" || exit 1; fi; exec "$@"`
	cmd := exec.CommandContext(ctx, "sh", append([]string{"-c", script, proc}, command...)...)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if canUnshare() {
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWPID | syscall.CLONE_NEWNS
	}
	// One signal reaches the namespace's first process, and the kernel ends the others with it; without namespaces
	// the group is all we have.
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// canUnshare says whether this root may have namespaces of its own (in some containers it may not).
var canUnshare = sync.OnceValue(func() bool {
	cmd := exec.Command("true")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS}
	return cmd.Run() == nil
})
