// Package netlab gives tests of the network a network of their own: namespaces of the kernel's, joined by cables that are
// pairs of virtual Ethernet ports. A test binary that calls Main is in an empty namespace from its start, with nothing but
// a loopback that is down: whatever the code under test does, the host does not see it. It needs root.
package netlab

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// inside tells the binary that it has been moved.
const inside = "POSTERN_NETLAB"

// Main is for TestMain. As root it moves the whole process into a network and a mount namespace of its own and runs the
// tests there; as another user it runs them where they are, and those that call Need skip themselves, or with CI=true fail.
func Main(m *testing.M) {
	if os.Geteuid() == 0 && os.Getenv(inside) == "" {
		if err := move(); err != nil { // some containers' root may not
			fmt.Fprintln(os.Stderr, "netlab:", err)
		}
	}
	os.Exit(m.Run())
}

func move() error {
	runtime.LockOSThread() // exec takes this thread's namespaces along
	defer runtime.UnlockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET | unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("a namespace: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("mounts of our own: %w", err)
	}
	// The network's part of sysfs shows the namespace of who mounted it.
	if err := unix.Mount("sysfs", "/sys", "sysfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("sysfs: %w", err)
	}
	// What daemons leave there is for this test alone.
	if err := unix.Mount("tmpfs", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755"); err != nil {
		return fmt.Errorf("/run: %w", err)
	}
	return unix.Exec("/proc/self/exe", os.Args, append(os.Environ(), inside+"=1"))
}

// Need skips a test that has no network of its own. With CI=true that is a failure: nobody reads what was skipped.
func Need(t testing.TB) {
	t.Helper()
	if os.Getenv(inside) == "" {
		if os.Getenv("CI") == "true" {
			t.Fatal("namespaces need root")
		}
		t.Skip("skipped: namespaces need root")
	}
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// A Peer is another machine on a cable: a namespace.
type Peer struct {
	*netlink.Handle // to configure it
	ns              netns.NsHandle
}

// New makes a machine with nothing but a loopback.
func New(t testing.TB) *Peer {
	t.Helper()
	Need(t)
	p := new(Peer)
	onThread(t, -1, func() (err error) {
		if p.ns, err = netns.New(); err != nil {
			return err
		}
		p.Handle, err = netlink.NewHandle()
		return err
	})
	lo, err := p.LinkByName("lo")
	if err == nil {
		err = p.LinkSetUp(lo)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Handle.Close()
		if err := p.ns.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// Cable joins our port to the peer's port by a cable. The peer's is up and has the addresses; ours is down and has none.
func (p *Peer) Cable(t testing.TB, ours, theirs string, addrs ...string) {
	t.Helper()
	veth := netlink.NewVeth(netlink.LinkAttrs{Name: ours})
	veth.PeerName, veth.PeerNamespace = theirs, netlink.NsFd(p.ns)
	if err := netlink.LinkAdd(veth); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = netlink.LinkDel(veth) }) // a test may have cut it
	link, err := p.LinkByName(theirs)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.LinkSetUp(link); err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		p.Address(t, theirs, a)
	}
}

// Address gives one of the peer's ports an address, such as "10.0.0.1/24".
func (p *Peer) Address(t testing.TB, port, addr string) {
	t.Helper()
	a, err := netlink.ParseAddr(addr)
	if err != nil {
		t.Fatal(err)
	}
	a.Flags = unix.IFA_F_NODAD
	link, err := p.LinkByName(port)
	if err == nil {
		err = p.AddrAdd(link, a)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Up gives one of our ports an address and takes it up, for tests of what needs a network that is already there.
func Up(t testing.TB, port string, addrs ...string) {
	t.Helper()
	link, err := netlink.LinkByName(port)
	if err == nil {
		err = netlink.LinkSetUp(link)
	}
	for _, text := range addrs {
		var a *netlink.Addr
		if err == nil {
			a, err = netlink.ParseAddr(text)
		}
		if err == nil {
			a.Flags = unix.IFA_F_NODAD
			err = netlink.AddrAdd(link, a)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Do runs f on the peer: sockets that it opens, and programs that it starts, are there, and stay there.
func (p *Peer) Do(t testing.TB, f func() error) {
	t.Helper()
	onThread(t, int(p.ns), f)
}

// Start starts a program on the peer that ends with the test. Its output goes to the test's.
func (p *Peer) Start(t testing.TB, name string, args ...string) *exec.Cmd {
	t.Helper()
	return p.StartTo(t, t.Output(), name, args...)
}

// StartTo is Start with the output to out.
func (p *Peer) StartTo(t testing.TB, out io.Writer, name string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = out, out
	p.Do(t, cmd.Start)
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd
}

// onThread runs f on a thread that enters the namespace first, or that f itself takes to a new one if ns is negative. The
// thread is not used again.
func onThread(t testing.TB, ns int, f func() error) {
	t.Helper()
	done := make(chan error, 1)
	back, err := netns.Get()
	if err != nil {
		t.Fatal(err)
	}
	defer back.Close()
	go func() {
		runtime.LockOSThread()
		err := error(nil)
		if ns >= 0 {
			err = netns.Set(netns.NsHandle(ns))
		}
		if err == nil {
			err = f()
		}
		if netns.Set(back) == nil {
			runtime.UnlockOSThread() // else the thread ends with the goroutine
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}
