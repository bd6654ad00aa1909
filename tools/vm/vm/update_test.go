package vm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern-nas/postern/firmware/config"
	"github.com/postern-nas/postern/firmware/update"
	"github.com/postern-nas/postern/images"
	"github.com/postern-nas/postern/images/bundle"
	"github.com/postern-nas/postern/tools/mkimage/mkimage"
)

// built is the image that all tests of this run share.
var built = sync.OnceValues(func() (*mkimage.Result, error) {
	board, _ := images.FindBoard("qemu")
	key, err := mkimage.NewKey()
	if err != nil {
		return nil, err
	}
	return mkimage.Build(context.Background(), mkimage.Options{Board: board, Out: scratch, Quick: true, Key: key, Number: 1}, os.Stderr)
})

// scratch is for the whole run.
var scratch string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "postern-vm")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	scratch = dir
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

func image(t *testing.T) *mkimage.Result {
	t.Helper()
	r, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// machine makes a machine with a disk of its own, and with lines instead of those of [update] in its configuration.
func machine(t *testing.T, r *mkimage.Result, lines string) *Machine {
	t.Helper()
	disk := filepath.Join(t.TempDir(), "disk")
	copySparse(t, disk, filepath.Join(scratch, r.Image))
	if lines != "" {
		writeState(t, disk, lines)
	}
	return machineOn(t, disk)
}

// machineOn has this disk, and ends with the test.
func machineOn(t *testing.T, disk string) *Machine {
	t.Helper()
	m, err := New(disk)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

// copySparse copies a file and leaves out what is zero.
func copySparse(t *testing.T, to, from string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	b, zero := make([]byte, 1<<20), make([]byte, 1<<20)
	for at := int64(0); ; {
		n, err := io.ReadFull(in, b)
		if n > 0 && !bytes.Equal(b[:n], zero[:n]) {
			if _, err := out.WriteAt(b[:n], at); err != nil {
				t.Fatal(err)
			}
		}
		at += int64(n)
		if err != nil {
			if err := out.Truncate(at); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
}

// writeState makes a state partition that holds a configuration.
func writeState(t *testing.T, disk, lines string) {
	t.Helper()
	head, rest, ok := strings.Cut(config.DefaultFile, "[update]\n")
	_, tail, ok2 := strings.Cut(rest, "\n[[share]]")
	if !ok || !ok2 {
		t.Fatal("the default configuration has no [update]")
	}
	dir := t.TempDir()
	text := head + "[update]\n" + lines + "\n[[share]]" + tail
	if err := os.WriteFile(filepath.Join(dir, config.FileName), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	writeStateFolder(t, disk, dir)
}

// writeStateFolder makes a state partition that holds what a folder does.
func writeStateFolder(t *testing.T, disk, dir string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "state")
	board, _ := images.FindBoard("qemu")
	l := board.Layout
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, l.Partitions[1].Size); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(sbin("mke2fs"), "-q", "-F", "-t", "ext4", "-L", images.StateName, "-d", dir, file).CombinedOutput(); err != nil {
		t.Fatalf("mke2fs: %v\n%s", err, out)
	}
	in, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(disk, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt(in, l.Start(1))
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

// A feed offers the machine one update at a time.
type feed struct {
	t   *testing.T
	key *mkimage.Key
	url string

	mu    sync.Mutex
	offer bundle.Release // zero: nothing
	file  []byte
}

func newFeed(t *testing.T, key *mkimage.Key) *feed {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	f := &feed{t: t, key: key, url: "http://10.0.2.2:" + port + "/feed"} // what QEMU calls this host
	server := &http.Server{Handler: f}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { server.Close() })
	return f
}

func (f *feed) set(offer bundle.Release, file []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.offer, f.file = offer, file
}

func (f *feed) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.URL.Path == "/bundle" {
		w.Header().Set("Content-Length", fmt.Sprint(len(f.file)))
		_, _ = w.Write(f.file)
		return
	}
	var list []bundle.Offer
	if f.offer.Number > 0 {
		list = append(list, bundle.Offer{Release: f.offer, URL: "bundle", Size: int64(len(f.file))})
	}
	if err := f.key.SignFeed(w, bundle.Feed{Made: time.Now(), Releases: list}); err != nil {
		f.t.Error(err)
	}
}

// updateLines are a box's that follows the feed at once.
func (f *feed) lines(trial time.Duration, tries int) string {
	return fmt.Sprintf("feed = %q\nevery = \"5s\"\nautomatic = true\nat = \"\"\ntrial = \"%v\"\ntries = %d\n", f.url, trial, tries)
}

func sign(t *testing.T, r *mkimage.Result, as bundle.Release, by *mkimage.Key) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := r.SignBundle(&out, as, by); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// variant is the image with another number.
func variant(t *testing.T, r *mkimage.Result, number uint64, files map[string][]byte) *mkimage.Result {
	t.Helper()
	board, _ := images.FindBoard("qemu")
	v, err := r.Variant(number, strings.Replace(board.CommandLine, "panic=10", "panic=1", 1), files)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// badInit builds the program that spoils an image.
func badInit(t *testing.T) []byte { return initProgram(t, "badinit") }

// initProgram builds one of the programs beside this folder that images boot instead of postern.
func initProgram(t *testing.T, name string) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", path, "github.com/postern-nas/postern/tools/vm/"+name)
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH=arm64", "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// hear waits for a line and returns its last group.
func hear(t *testing.T, m *Machine, limit time.Duration, pattern string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	begin := time.Now()
	found, err := m.Wait(ctx, pattern)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%5.1f s until %q", time.Since(begin).Seconds(), found[0])
	return found[len(found)-1]
}

const passwordLine = `^  password +(\S+)`

// TestUpdate: what is wrong with an update is said, and nothing of it boots; a good one boots, opens the keys because the
// release key has approved of it, is the same server, and is found good; then one that panics, one that hangs and one that
// does not serve are left by themselves, and the box says why. These are signed with a key that the good one has brought. All
// of it without anybody's hand but the feed's. At the end somebody puts the first version back past the updater: the TPM alone
// keeps the keys from it.
func TestUpdate(t *testing.T) {
	needsVM(t)
	t.Parallel()
	a := image(t)
	tries := 1
	if *soak {
		tries = 3
	}
	stranger, err := mkimage.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	next := stranger.With(a.Key()) // the update key to come
	b := variant(t, a, 2, map[string][]byte{update.KeysFile: fmt.Appendln(a.File(update.KeysFile), next.Public)})
	f := newFeed(t, a.Key())
	m := machine(t, a, f.lines(8*time.Second, tries))
	m.Resets = true
	two := b.Release()
	good := sign(t, b, two, a.Key())
	if err := m.Start(t.Output()); err != nil {
		t.Fatal(err)
	}
	hear(t, m, boot, `msg="the keys were sealed".* bound_to=release`)
	hear(t, m, boot, "msg=listening transport=quic")
	password := hear(t, m, boot, passwordLine)
	authority := hear(t, m, boot, authorityLine)

	refused := func(offer bundle.Release, file []byte, why string) {
		t.Helper()
		m.Forget()
		f.set(offer, file)
		hear(t, m, boot, `msg="the update is refused" why=.*`+why)
	}
	refused(two, sign(t, b, two, next), "signature is not by a key")
	if *soak { // it is written first
		refused(two, sign(t, b, two, a.Key().With(stranger)), "release key of this box has not approved of it")
	}
	refused(two, good[:len(good)-100], "ends too early")
	foreign := two
	foreign.Board = "rpi"
	refused(two, sign(t, b, foreign, a.Key()), "for another kind of box")
	flipped := bytes.Clone(good)
	flipped[len(flipped)/2] ^= 1
	refused(two, flipped, "damaged")

	m.Forget()
	f.set(two, good)
	hear(t, m, boot, `msg="the update is ready`)
	m.Forget()
	for i, want := range b.PCRs {
		if got := hear(t, m, boot, fmt.Sprintf(` pcr%d=([0-9a-f]{64})`, i)); got != want {
			t.Errorf("PCR %d is %s; the bundle foretold %s", i, got, want)
		}
	}
	same := func() {
		t.Helper()
		hear(t, m, boot, "msg=listening transport=quic")
		if p, s := hear(t, m, boot, passwordLine), hear(t, m, boot, authorityLine); p != password || s != authority {
			t.Errorf("another server: %s %s, before %s %s", p, s, password, authority)
		}
	}
	hear(t, m, boot, `msg="the keys were opened".* bound_to=release`)
	same()
	hear(t, m, boot, regexp.QuoteMeta("update "+two.String()+" was installed"))
	if said, err := m.console.wait(over(), regexp.MustCompile("msg=\"connection.*127.0.0.1.*")); err == nil {
		t.Error("the log has a look of the box at itself: ", said[0])
	}
	one := a.Release()
	three := two
	three.Number = 3
	refused(three, sign(t, b, one, a.Key()), "older than what the box has run")

	bad := badInit(t)
	for i, c := range []struct{ kind, why string }{
		{"panic", "it did not start"},
		{"hang", "it did not start"},
		{"port", "it was not healthy: .*address already in use"},
	} {
		if f.set(bundle.Release{}, nil); !*soak && i == 2 && testing.Short() {
			break
		}
		v := variant(t, a, uint64(3+i), map[string][]byte{"init.good": a.File("init"), "init": bad, "bad": []byte(c.kind)})
		m.Forget()
		f.set(v.Release(), sign(t, v, v.Release(), next))
		hear(t, m, boot, `msg="the update is ready`)
		m.Forget()
		hear(t, m, boot, "badinit: "+c.kind)
		hear(t, m, 2*boot, "update .* was rolled back: "+c.why)
		same()
	}
	f.set(bundle.Release{}, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 2*boot)
	defer cancel()
	if err := m.PowerButton(ctx); err != nil {
		t.Fatal(err)
	}

	putBack(t, m.Disk, filepath.Join(scratch, a.Image))
	if err := m.Start(t.Output()); err != nil {
		t.Fatal(err)
	}
	for i, want := range a.PCRs {
		if got := hear(t, m, boot, fmt.Sprintf(` pcr%d=([0-9a-f]{64})`, i)); got != want {
			t.Errorf("PCR %d is %s, not the first version's %s", i, got, want)
		}
	}
	hear(t, m, boot, "keys are shut, and nothing is served.*trouble=old.*An older version was started than has run on this box before")
	if err := m.PowerButton(ctx); err != nil {
		t.Error(err)
	}
	if said, err := m.console.wait(over(), regexp.MustCompile("msg=listening transport=quic")); err == nil {
		t.Error(said[0])
	}
}

// putBack writes an image's boot partition over that of a disk.
func putBack(t *testing.T, disk, image string) {
	t.Helper()
	board, _ := images.FindBoard("qemu")
	in, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.OpenFile(disk, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	at := board.Layout.Start(0)
	_, err = io.Copy(io.NewOffsetWriter(out, at), io.NewSectionReader(in, at, board.Layout.Partitions[0].Size))
	if err := errors.Join(err, out.Close()); err != nil {
		t.Fatal(err)
	}
}
