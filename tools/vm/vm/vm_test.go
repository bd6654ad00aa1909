package vm

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
	"time"

	smb2 "github.com/cloudsoda/go-smb2"

	"github.com/postern-nas/postern/images"
	"github.com/postern-nas/postern/tools/mkimage/mkimage"
	"github.com/postern-nas/postern/tools/postern"
)

var (
	run  = flag.Bool("vm", false, "build an image and boot it in QEMU")
	soak = flag.Bool("soak", false, "the long form: more power cuts, all tries")
	cuts = flag.Int("cuts", 20, "how often the power is cut; with -soak five times as often")
)

// boot is how long a machine may take to serve. It is emulated, and its neighbours on the host may be busy.
const boot = 10 * time.Minute

func needsVM(t *testing.T) {
	t.Helper()
	if !*run {
		t.Skip("boots a machine: -vm")
	}
	if m := Missing("mke2fs", "mkfs.ext4", "debugfs", "dumpe2fs"); m != "" {
		if os.Getenv("CI") == "true" {
			t.Fatal(m)
		}
		t.Skip("skipped: " + m)
	}
}

// TestConsole is what needs no machine: the lines of one boot, waited for.
func TestConsole(t *testing.T) {
	var c console
	c.begin()
	r, w := io.Pipe()
	go func() {
		c.read(r, io.Discard)
		c.end()
	}()
	go io.WriteString(w, "one\r\n\r\ntwo 2\r\n")
	found, err := c.wait(t.Context(), regexp.MustCompile(`two (\d)`))
	if err != nil || found[1] != "2" {
		t.Errorf("%v (%v)", found, err)
	}
	if _, err := c.wait(t.Context(), regexp.MustCompile("^one$")); err != nil { // said before
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.wait(ctx, regexp.MustCompile("three")); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	go func() {
		io.WriteString(w, "the last one has no end")
		w.Close()
	}()
	if _, err := c.wait(t.Context(), regexp.MustCompile("no end$")); err != nil {
		t.Error(err)
	}
	if _, err := c.wait(t.Context(), regexp.MustCompile("three")); err == nil {
		t.Error("heard what nobody said")
	}
}

// TestBoot: the image boots from nothing, the TPM has measured what was foretold, a client reads and writes over QUIC,
// the power button turns it off in order, and after that it is the same server with the same files; after a power cut too.
// When the beginning of its state is overwritten it repairs it, says so, and is the same server still.
func TestBoot(t *testing.T) {
	needsVM(t)
	t.Parallel()
	board, _ := images.FindBoard("qemu")
	built := image(t)
	m := machine(t, built, "")

	m.Panel = true
	eye := newScreen()
	go func() { _ = m.ShowPanel(t.Context(), eye, eye.keys) }() // ends with the machine
	begin := time.Now()
	first := start(t, m, built)
	first.share(t, m, func(share *smb2.Share) {
		if names := list(t, share); !slices.Contains(names, "Hello from Postern.txt") {
			t.Errorf("the share has %q", names)
		}
	})
	m.soon(t, time.Since(begin))
	m.Panel = false
	eye.look(t)
	if _, err := m.console.wait(over(), regexp.MustCompile("the first start")); err != nil {
		t.Error(err)
	}
	note := make([]byte, 1<<20)
	rand.Read(note)
	first.share(t, m, func(share *smb2.Share) {
		if err := share.WriteFile("note", note, 0o644); err != nil {
			t.Fatal(err)
		}
	})
	off(t, m)

	m.HTTPS = freePort(t)
	second := start(t, m, built)
	if _, err := m.console.wait(over(), regexp.MustCompile("the first start")); err == nil {
		t.Error("the state was made anew")
	}
	if second.authority != first.authority || second.password != first.password {
		t.Errorf("another server: %+v, before %+v", second, first)
	}
	read := func(share *smb2.Share) {
		if got, err := share.ReadFile("note"); err != nil || !bytes.Equal(got, note) {
			t.Errorf("the file has %d bytes (%v)", len(got), err)
		}
	}
	second.share(t, m, read)
	t.Run("smbclient", func(t *testing.T) { second.transfer(t, m) })
	t.Run("lines", func(t *testing.T) { printedLines(t, m) })
	m.Cut()

	third := start(t, m, built)
	if third != first {
		t.Errorf("another server after a power cut: %+v, before %+v", third, first)
	}
	third.share(t, m, read)
	off(t, m)

	spoil(t, m.Disk, board.Layout)
	fourth := start(t, m, built)
	if _, err := m.console.wait(over(), regexp.MustCompile("the state was damaged and is repaired")); err != nil {
		t.Error(err)
	}
	if fourth != first {
		t.Errorf("another server after its state was damaged: %+v, before %+v", fourth, first)
	}
	fourth.share(t, m, read)
	off(t, m)

	t.Run("full", func(t *testing.T) {
		fillState(t, m.Disk)
		fifth := start(t, m, built)
		if _, err := m.console.wait(over(), regexp.MustCompile(`msg="the state is full"`)); err != nil {
			t.Error(err)
		}
		if fifth != first {
			t.Errorf("another server with its state full: %+v, before %+v", fifth, first)
		}
		fifth.share(t, m, read)
		m.Cut() // off finds errors in the log, and there is one
	})
}

// spoil overwrites the beginning of the state partition.
func spoil(t *testing.T, disk string, l images.Layout) {
	t.Helper()
	i := slices.IndexFunc(l.Partitions, func(p images.Partition) bool { return p.Name == images.StateName })
	f, err := os.OpenFile(disk, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt(bytes.Repeat([]byte("someone else's "), 1000), l.Start(i))
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

// over is a context that waits for nothing: what was said was said.
func over() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// TestReproducible: two builds, one image.
func TestReproducible(t *testing.T) {
	needsVM(t)
	board, _ := images.FindBoard("qemu")
	var sums []string
	for range 2 {
		r, err := mkimage.Build(t.Context(), mkimage.Options{Board: board, Out: t.TempDir()}, t.Output())
		if err != nil {
			t.Fatal(err)
		}
		sums = append(sums, r.ImageSum)
	}
	if sums[0] != sums[1] {
		t.Errorf("two builds differ: %s", sums)
	}
}

// A served is what a machine's console says of the server on it.
type served struct{ password, authority string }

// start turns the machine on, waits until it serves, and compares its TPM with what the image foretold.
func start(t *testing.T, m *Machine, built *mkimage.Result) (s served) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), boot)
	defer cancel()
	begin := time.Now()
	if err := m.Start(t.Output()); err != nil {
		t.Fatal(err)
	}
	wait := func(pattern string) string {
		t.Helper()
		found, err := m.Wait(ctx, pattern)
		if err != nil {
			t.Fatal(err)
		}
		return found[len(found)-1]
	}
	wait(`msg="the root is read-only" write="read-only file system"`)
	up := wait(`msg=up uptime=(\S+)`)
	for i, want := range built.PCRs {
		if got := wait(fmt.Sprintf(` pcr%d=([0-9a-f]{64})`, i)); got != want {
			t.Errorf("PCR %d is %s; the image foretold %s", i, got, want)
		}
	}
	s = served{password: wait(passwordLine), authority: wait(authorityLine)}
	t.Logf("serves after %.1f s; the kernel was up for %s before", time.Since(begin).Seconds(), up)
	return s
}

// off presses the power button; the state must have been put away.
func off(t *testing.T, m *Machine) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), boot)
	defer cancel()
	if err := m.PowerButton(ctx); err != nil {
		t.Fatal(err)
	}
	memory, err := m.console.wait(over(), regexp.MustCompile(`peak_memory="([^"]+)"`))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("peak memory of postern %s", memory[1])
	if said, err := m.console.wait(over(), regexp.MustCompile("level=ERROR.*")); err == nil {
		t.Error(said[0])
	}
}

// share logs on over QUIC, with the authority that the console named, and calls f with the share.
func (s served) share(t *testing.T, m *Machine, f func(*smb2.Share)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), boot)
	defer cancel()
	conn, err := postern.DialQUIC(ctx, netip.Addr{}, m.QUIC, "postern.local", s.ca(t, ctx, m.QUIC))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	d := smb2.Dialer{Initiator: &smb2.NTLMInitiator{User: "demo", Password: s.password}}
	session, err := d.DialConn(ctx, conn, "postern.local")
	if err != nil {
		t.Fatal(err)
	}
	defer session.Logoff()
	share, err := session.Mount("disk")
	if err != nil {
		t.Fatal(err)
	}
	defer share.Umount()
	f(share)
}

func list(t *testing.T, share *smb2.Share) (names []string) {
	t.Helper()
	entries, err := share.ReadDir("")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// ca takes the authority's certificate from the server itself, and believes it for its fingerprint on the console.
func (s served) ca(t *testing.T, ctx context.Context, addr string) (file string) {
	t.Helper()
	found, err := authority(ctx, addr, "postern.local", s.authority)
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: found.Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
