package update

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf16"

	"aead.dev/minisign"

	"github.com/postern-nas/postern/firmware/update/slot"
	"github.com/postern-nas/postern/images/bundle"
)

// A box is one with systemd-boot, as far as an Updater sees it.
type box struct {
	t          *testing.T
	dir        string // state
	boot, vars string
	boots      int
	restarted  bool
	starts     int
	at         time.Time // of that
	key        minisign.PrivateKey
	o          Options
	logs       bytes.Buffer
	*Updater
}

func newBox(t *testing.T) *box {
	t.Helper()
	b := &box{t: t, dir: t.TempDir(), boot: t.TempDir(), vars: t.TempDir()}
	public, private, err := minisign.GenerateKey(rand.NewChaCha8([32]byte{1}))
	if err != nil {
		t.Fatal(err)
	}
	b.key = private
	b.must(os.WriteFile(filepath.Join(b.boot, "postern_1.efi"), []byte("image of 1"), 0o600))
	b.o = Options{
		Dir: b.dir, Slots: slot.NewLoader(slot.Folder(b.boot), "/", slot.Variables(b.vars)), Trusted: []minisign.PublicKey{public},
		Restart: func() { b.restarted, b.at = true, time.Now() }, Log: slog.New(slog.NewTextHandler(&b.logs, nil)),
		Config: Config{Every: time.Hour, Trial: 2 * time.Minute, Tries: 3},
	}
	b.start()
	return b
}

func (b *box) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

func release(n uint64) bundle.Release {
	return bundle.Release{Board: "qemu", Number: n, Version: fmt.Sprintf("v0.%d", n)}
}

// start turns the box on: the loader chooses, and an image says which release it is.
func (b *box) start() (n uint64) {
	b.t.Helper()
	os.Remove(filepath.Join(b.vars, "LoaderBootCountPath-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"))
	entries, err := os.ReadDir(b.boot)
	b.must(err)
	file, best := "", -1
	var bestLeft, bestDone, bestNumber int
	for _, e := range entries {
		var number, left, done int
		counted := true
		if _, err := fmt.Sscanf(e.Name(), "postern_%d+%d-%d.efi", &number, &left, &done); err != nil {
			if _, err := fmt.Sscanf(e.Name(), "postern_%d+%d.efi", &number, &left); err != nil {
				counted = false
				if _, err := fmt.Sscanf(e.Name(), "postern_%d.efi", &number); err != nil {
					continue
				}
			}
		}
		if (!counted || left > 0) && number > best {
			best, file, bestNumber, bestLeft, bestDone = number, e.Name(), number, left, done
			if !counted {
				bestLeft = 0
			}
		}
	}
	if bestLeft > 0 {
		to := fmt.Sprintf("postern_%d+%d-%d.efi", bestNumber, bestLeft-1, bestDone+1)
		b.must(os.Rename(filepath.Join(b.boot, file), filepath.Join(b.boot, to)))
		file = to
		b.set("LoaderBootCountPath", file)
	}
	b.set("LoaderEntrySelected", file)
	text, err := os.ReadFile(filepath.Join(b.boot, file))
	b.must(err)
	if _, err := fmt.Sscanf(string(text), "image of %d", &n); err != nil {
		b.t.Fatalf("boots %q", text)
	}
	b.boots++
	b.restarted = false
	b.o.Running, b.o.Boot = release(n), fmt.Sprint("boot ", b.boots)
	b.Updater, err = Open(b.o)
	b.must(err)
	return n
}

func (b *box) set(name, value string) {
	data := []byte{6, 0, 0, 0}
	for _, c := range utf16.Encode([]rune(`\EFI\Linux\` + value + "\x00")) {
		data = append(data, byte(c), byte(c>>8))
	}
	b.must(os.WriteFile(filepath.Join(b.vars, name+"-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"), data, 0o600))
}

func (b *box) bundle(r bundle.Release) []byte {
	b.t.Helper()
	var out bytes.Buffer
	b.must(bundle.Write(&out, bundle.Manifest{Release: r}, fmt.Appendf(nil, "image of %d", r.Number), b.key, nil))
	return out.Bytes()
}

func (b *box) install(n uint64) {
	b.t.Helper()
	b.must(b.Install(context.Background(), bytes.NewReader(b.bundle(release(n)))))
}

// live runs the service until it has nothing to do, or it restarts the box.
func (b *box) live() {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Minute) // of the bubble's clock
	defer cancel()
	b.must(b.Run(ctx))
}

// TestInstall: installed, tried, found good, and nothing older after it.
func TestInstall(t *testing.T) {
	b := newBox(t)
	synctest.Test(t, func(t *testing.T) {
		var asked int
		b.o.Healthy = func(context.Context) error { asked++; return nil }
		b.live()
		b.install(5)
		if s := b.status(); s.Phase != Ready || s.Next != release(5) || s.Percent != 100 || b.restarted {
			t.Fatalf("%+v", s)
		}
		if n := b.start(); n != 5 {
			t.Fatalf("boots %d", n)
		}
		begin := time.Now()
		done := make(chan struct{})
		go func() { defer close(done); b.live() }()
		time.Sleep(time.Minute)
		if s := b.status(); s.Phase != OnTrial || s.Percent < 30 || s.Percent > 60 || s.Until.Sub(begin) != 2*time.Minute {
			t.Errorf("in its trial: %+v", s)
		}
		if err := b.Install(t.Context(), bytes.NewReader(b.bundle(release(6)))); !errors.Is(err, ErrOnTrial) {
			t.Errorf("another one in a trial: %v", err)
		}
		<-done
		s := b.status()
		if s.Phase != Idle || !s.Last.Good || s.Last.Release != release(5) || asked < 5 || b.record.Floor != 5 {
			t.Fatalf("%+v, floor %d, asked %d times", s, b.record.Floor, asked)
		}
		for _, r := range []bundle.Release{release(4), release(1)} {
			if err := b.Install(t.Context(), bytes.NewReader(b.bundle(r))); !errors.Is(err, ErrOld) {
				t.Errorf("%s: %v", r, err)
			}
		}
		if n := b.start(); n != 5 {
			t.Fatalf("boots %d", n)
		}
		b.live()
		if got := b.status().Last.String(); got != "update v0.5 (5) was installed" {
			t.Error(got)
		}
		b.install(5) // the same again is no mistake
	})
}

// TestRefused: each with its reason, and the box is as before.
func TestRefused(t *testing.T) {
	b := newBox(t)
	good := b.bundle(release(5))
	foreign := release(5)
	foreign.Board = "toaster"
	_, stranger, err := minisign.GenerateKey(rand.NewChaCha8([32]byte{9}))
	b.must(err)
	var forged bytes.Buffer
	b.must(bundle.Write(&forged, bundle.Manifest{Release: release(5)}, []byte("image of 5"), stranger, nil))
	flipped := bytes.Clone(good)
	flipped[len(flipped)-1] ^= 1
	for name, c := range map[string]struct {
		file []byte
		want error
	}{
		"another's":     {forged.Bytes(), bundle.ErrSignature},
		"another board": {b.bundle(foreign), ErrBoard},
		"flipped":       {flipped, bundle.ErrDamaged},
		"empty":         {nil, bundle.ErrTruncated},
		"a text":        {bytes.Repeat([]byte("hello "), 100), bundle.ErrFormat},
	} {
		if err := b.Install(t.Context(), bytes.NewReader(c.file)); !errors.Is(err, c.want) || b.status().Err != err.Error() {
			t.Errorf("%s: %v, want %v; status %+v", name, err, c.want, b.status())
		}
	}
	for n := range good {
		if err := b.Install(t.Context(), bytes.NewReader(good[:n])); !errors.Is(err, bundle.ErrTruncated) {
			t.Fatalf("cut at %d: %v", n, err)
		}
	}
	entries, err := os.ReadDir(b.boot)
	b.must(err)
	if len(entries) != 1 || b.start() != 1 {
		t.Errorf("left behind: %v", entries)
	}
	b.install(5)
	if s := b.status(); s.Err != "" || s.Phase != Ready {
		t.Errorf("%+v", s)
	}
}

// TestRollback: whatever is wrong with an image, the box comes back, says why, and can be updated after.
func TestRollback(t *testing.T) {
	b := newBox(t)
	synctest.Test(t, func(t *testing.T) {
		b.install(5)
		for range 3 { // it never gets as far as Run
			if n := b.start(); n != 5 {
				t.Fatalf("boots %d", n)
			}
		}
		b.o.Crash = func() string { return "panic: \x1b[2Jno\ndisk " }
		if n := b.start(); n != 1 {
			t.Fatalf("boots %d", n)
		}
		b.live()
		want := "update v0.5 (5) was rolled back: it did not start; the last that was heard of it: panic: [2Jno disk"
		if s := b.status(); s.Last.String() != want || s.Err != want || s.Phase != Idle {
			t.Errorf("%+v", s)
		}
		b.o.Crash = nil

		b.install(6)
		b.start()
		sick := errors.New("nobody answers on UDP 443")
		b.o.Healthy = func(context.Context) error { return sick }
		b.Updater.o.Healthy = b.o.Healthy
		begin := time.Now()
		b.live()
		if took := b.at.Sub(begin); !b.restarted || took < grace || took > grace+time.Minute {
			t.Errorf("given up after %v, restarted %v", took, b.restarted)
		}
		if n := b.start(); n != 1 {
			t.Fatalf("boots %d", n)
		}
		b.live()
		want = "update v0.6 (6) was rolled back: it was not healthy: nobody answers on UDP 443"
		if s := b.status(); s.Last.String() != want {
			t.Errorf("%+v", s)
		}
		if !b.hasFailed(5) || !b.hasFailed(6) || b.hasFailed(7) || b.record.Floor != 0 {
			t.Errorf("%+v", b.record)
		}

		// A server that has ended is not waited for.
		b.install(8)
		b.start()
		b.Fail(errors.New("the port is taken"))
		begin = time.Now()
		b.live()
		if took := b.at.Sub(begin); !b.restarted || took > time.Minute {
			t.Errorf("given up after %v, restarted %v", took, b.restarted)
		}
		b.start()
		b.live()
		if why := b.status().Last.Why; !strings.Contains(why, "the port is taken") {
			t.Error(why)
		}

		// Healthy now and then is not healthy: the time begins anew. Started twice by the supervisor is one start.
		b.install(7)
		b.start()
		var looks int
		b.Updater.o.Healthy = func(context.Context) error {
			if looks++; looks == 5 {
				return sick
			}
			return nil
		}
		begin = time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		b.must(b.Run(ctx))
		cancel()
		b.starts = b.record.Trial.Starts
		b.live()
		if took := b.status().Last.Time.Sub(begin); took < 2*time.Minute+30*time.Second || !b.status().Last.Good || b.starts != 1 {
			t.Errorf("good after %v and %d starts: %+v", took, b.starts, b.status())
		}
	})
}

// TestPowerCut: at each step between installing and the trial's end, what is told is true.
func TestPowerCut(t *testing.T) {
	b := newBox(t)
	synctest.Test(t, func(t *testing.T) {
		// Between the record and the loader.
		b.must(b.keep(func(r *record) { r.Trial = &trial{Release: release(5), Slot: "postern_2", Boot: "boot 1"} }))
		b.start()
		b.live()
		if s := b.status(); s.Last.Good || !strings.Contains(s.Last.Why, "nothing has changed") || b.record.Trial != nil {
			t.Errorf("%+v", s)
		}
		// The loader cannot start it, and takes the one before without counting to the end.
		b.install(5)
		b.boots++
		b.o.Boot = fmt.Sprint("boot ", b.boots)
		var err error
		b.Updater, err = Open(b.o)
		b.must(err)
		b.live()
		if s := b.status(); s.Last.Good || !strings.Contains(s.Last.Why, "could not start it") {
			t.Errorf("%+v", s)
		}
		if n := b.start(); n != 1 {
			t.Fatalf("boots %d", n)
		}
		// Between the loader's mark and the record.
		b.install(6)
		b.start()
		b.must(b.o.Slots.MarkGood())
		b.live()
		if s := b.status(); !s.Last.Good || b.record.Floor != 6 || s.Phase != Idle {
			t.Errorf("%+v", s)
		}
		// The record is lost in a trial: it ends all the same.
		b.install(7)
		b.must(os.WriteFile(filepath.Join(b.dir, recordFile), []byte("{\x00"), 0o600))
		b.o.Healthy = func(context.Context) error { return nil }
		if n := b.start(); n != 7 {
			t.Fatalf("boots %d", n)
		}
		b.live()
		if s := b.status(); !s.Last.Good || s.Last.Release != release(7) {
			t.Errorf("%+v", s)
		}
		if aside, _ := filepath.Glob(filepath.Join(b.dir, recordFile+".corrupt-*")); len(aside) != 1 {
			t.Errorf("set aside: %v", aside)
		}
		// And before a roll back.
		b.install(8)
		for range 3 {
			b.start()
		}
		b.must(os.Remove(filepath.Join(b.dir, recordFile)))
		if n := b.start(); n != 7 {
			t.Fatalf("boots %d", n)
		}
		b.live()
		if s := b.status(); s.Last.Good || s.Last.Time.IsZero() {
			t.Errorf("%+v", s)
		}
		if n := b.start(); n != 7 {
			t.Fatalf("boots %d", n)
		}
	})
}

// floor is one in a chip.
type floor struct {
	n   uint64
	err error
}

func (f *floor) Floor() (uint64, error)     { return f.n, f.err }
func (f *floor) RaiseFloor(to uint64) error { f.n = max(f.n, to); return f.err }

func TestFloor(t *testing.T) {
	b := newBox(t)
	synctest.Test(t, func(t *testing.T) {
		chip := &floor{n: 4}
		b.o.Floor, b.o.Healthy = chip, func(context.Context) error { return nil }
		bound := uint64(0)
		b.o.Good = func() error { bound = chip.n; return nil }
		b.start()
		try := func(n uint64) error { return b.Install(t.Context(), bytes.NewReader(b.bundle(release(n)))) }
		if err := try(3); !errors.Is(err, ErrOld) { // though the state knows of none
			t.Error(err)
		}
		b.must(try(5))
		b.start()
		b.live()
		if chip.n != 5 || b.record.Floor != 5 || bound != 4 { // a floor that rises first shuts the keys
			t.Errorf("chip %d, state %d; the keys were bound at %d", chip.n, b.record.Floor, bound)
		}
		chip.n, chip.err = 0, errors.New("gone")
		if err := try(4); !errors.Is(err, ErrOld) {
			t.Error(err)
		}
		b.must(os.Remove(filepath.Join(b.dir, recordFile)))
		b.start()
		if err := try(4); !errors.Is(err, ErrOld) { // older than what runs
			t.Error(err)
		}
		b.must(try(6))

		// Who puts an older image on the disk by hand does not go unnoticed.
		chip.n, chip.err = 9, nil
		b.Join(func(*Options) {})
		if err := b.status().Err; !strings.Contains(err, "an older one") {
			t.Error(err)
		}
	})
}

// TestOne: one at a time, also where another process is at it; and it can be canceled.
func TestOne(t *testing.T) {
	b := newBox(t)
	other, err := Open(b.o)
	b.must(err)
	r, w := io.Pipe()
	done := make(chan error)
	go func() { done <- b.Install(t.Context(), r) }()
	file := b.bundle(release(5))
	if _, err := w.Write(file[:100]); err != nil {
		t.Fatal(err)
	}
	for _, u := range []*Updater{b.Updater, other} {
		if err := u.Install(t.Context(), bytes.NewReader(file)); !errors.Is(err, ErrBusy) {
			t.Error(err)
		}
	}
	b.must(b.Cancel())
	if err := <-done; !errors.Is(err, ErrCanceled) || b.status().Err != ErrCanceled.Error() {
		t.Errorf("%v, %+v", err, b.status())
	}
	b.install(5)
	b.must(b.Cancel()) // before the restart
	if s := b.status(); s.Phase != Idle || b.start() != 1 {
		t.Errorf("%+v", s)
	}
	b.must(b.Cancel())
	b.install(6)
	if n := b.start(); n != 6 {
		t.Errorf("boots %d", n)
	}
}

// TestPrepare: an image that would not get the secrets does not boot.
func TestPrepare(t *testing.T) {
	b := newBox(t)
	var got bundle.Manifest
	refuse := errors.New("no approval for this chip")
	b.o.Prepare = func(_ context.Context, m bundle.Manifest) error { got = m; return refuse }
	b.start()
	if err := b.Install(t.Context(), bytes.NewReader(b.bundle(release(5)))); !errors.Is(err, refuse) || got.Release != release(5) {
		t.Errorf("%v, %+v", err, got.Release)
	}
	if n := b.start(); n != 1 {
		t.Errorf("boots %d", n)
	}
}

func TestNoBox(t *testing.T) {
	u, err := Open(Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if err := u.Install(t.Context(), strings.NewReader("x")); !errors.Is(err, ErrNoBox) {
		t.Error(err)
	}
	if err := u.Restart(); !errors.Is(err, ErrNoBox) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := u.Run(ctx); err != nil {
		t.Error(err)
	}
}

// TestFeed: what a feed offers is found, refused or installed, and only over addresses that may be.
func TestFeed(t *testing.T) {
	b := newBox(t)
	files := map[string][]byte{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch file, ok := files[r.URL.Path]; {
		case r.URL.Path == "/away":
			http.Redirect(w, r, "http://example.org/", http.StatusFound)
		case ok:
			_, _ = w.Write(file)
		default:
			http.NotFound(w, r)
		}
	}))
	defer server.Close()
	offer := func(releases ...bundle.Offer) {
		var out bytes.Buffer
		b.must(bundle.WriteFeed(&out, bundle.Feed{Made: time.Now(), Releases: releases}, b.key, nil))
		files["/feed/index"] = out.Bytes()
	}
	b.o.Feed = server.URL + "/feed/index"
	b.start()
	if _, _, err := b.Check(t.Context()); !errors.Is(err, ErrFeed) { // 404
		t.Error(err)
	}
	files["/feed/index"] = b.bundle(release(9))
	if _, _, err := b.Check(t.Context()); !errors.Is(err, bundle.ErrFormat) {
		t.Error(err)
	}
	offer(bundle.Offer{Release: release(1), URL: "x", Size: 1})
	if _, newer, err := b.Check(t.Context()); newer || err != nil || !errors.Is(b.InstallOffered(t.Context()), ErrFeed) {
		t.Errorf("newer %v (%v)", newer, err)
	}
	size := int64(len(b.bundle(release(5))))
	offer(bundle.Offer{Release: release(5), URL: "../five", Size: size}, bundle.Offer{Release: release(4), URL: "../four", Size: size})
	if o, newer, err := b.Check(t.Context()); !newer || err != nil || o.URL != server.URL+"/five" || b.status().Offered != release(5) {
		t.Errorf("%+v, %v (%v)", o, newer, err)
	}
	files["/five"] = b.bundle(release(6))
	if err := b.InstallOffered(t.Context()); !errors.Is(err, bundle.ErrDamaged) {
		t.Errorf("another one than was promised: %v", err)
	}
	files["/five"] = b.bundle(release(5))[:200]
	if err := b.InstallOffered(t.Context()); !errors.Is(err, bundle.ErrTruncated) {
		t.Error(err)
	}
	files["/five"] = b.bundle(release(5))
	b.must(b.InstallOffered(t.Context()))
	if n := b.start(); n != 5 {
		t.Errorf("boots %d", n)
	}
	offer(bundle.Offer{Release: release(7), URL: server.URL + "/away", Size: size})
	if err := b.InstallOffered(t.Context()); err == nil || !strings.Contains(err.Error(), "has to be https") {
		t.Errorf("led away: %v", err)
	}
	for at, good := range map[string]bool{
		"https://example.org/x": true, "http://192.168.1.2:8080/x": true, "http://[fe80::1]/x": true, "http://127.0.0.1/": true,
		"http://example.org/x": false, "http://8.8.8.8/": false, "ftp://192.168.1.2/": false, "file:///etc/passwd": false, "x": false,
	} {
		if err := CheckURL(at); (err == nil) != good {
			t.Errorf("%s: %v", at, err)
		}
	}
}

// TestAutomatic: a feed is followed by itself, and what failed once is not tried again.
func TestAutomatic(t *testing.T) {
	b := newBox(t)
	five, feed := b.bundle(release(5)), new(bytes.Buffer)
	synctest.Test(t, func(t *testing.T) {
		b.must(bundle.WriteFeed(feed, bundle.Feed{Made: time.Now(), Releases: []bundle.Offer{{Release: release(5), URL: "five", Size: 9}}}, b.key, nil))
		asked := 0
		b.o.Client = &http.Client{Transport: transport(func(r *http.Request) []byte {
			asked++
			if r.URL.Path == "/five" {
				return five
			}
			return feed.Bytes()
		})}
		b.o.Feed, b.o.Automatic, b.o.At = "https://example.org/feed", true, "03:30"
		b.start()
		live := func(limit time.Duration) {
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			b.must(b.Run(ctx))
		}
		live(2 * time.Hour)
		if b.restarted || b.status().Phase != Ready {
			t.Fatalf("restarted %v, %+v", b.restarted, b.status()) // the bubble's clock begins at midnight
		}
		live(3 * time.Hour)
		if now := time.Now().UTC(); !b.restarted || now.Hour() < 3 {
			t.Fatalf("restarted %v at %v", b.restarted, now)
		}
		for range 3 {
			b.start()
		}
		if n := b.start(); n != 1 {
			t.Fatalf("boots %d", n)
		}
		asked = 0
		live(10 * time.Hour)
		if b.restarted || b.status().Phase != Idle || b.status().Offered != release(5) || asked < 8 || asked > 11 {
			t.Errorf("asked %d times, %+v", asked, b.status())
		}
	})
	if _, err := untilHour("25:00", time.Now()); err == nil {
		t.Error("an hour that is none")
	}
}

type transport func(*http.Request) []byte

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(bytes.NewReader(f(r)))}, nil
}

// TestOldRecord: what a later version wrote is read by this one, while that was on trial.
func TestOldRecord(t *testing.T) {
	const later = `{"form":1,"floor":4,"last":{"release":{"board":"qemu","number":4,"version":"v"},"good":true,"time":"2026-01-02T03:04:05Z","how":"new"},
		"failed":[2],"trial":{"release":{"board":"qemu","number":5,"version":"v"},"slot":"postern_2","moods":["good"]},"new field":{"x":1}}`
	r, err := parseRecord([]byte(later))
	if err != nil || r.Floor != 4 || !r.Last.Good || r.Trial.Slot != "postern_2" {
		t.Errorf("%+v (%v)", r, err)
	}
	for name, text := range map[string]string{
		"a later form": `{"form":2}`, "no form": `{}`, "a huge floor": `{"form":1,"floor":1000001}`, "no JSON": "x",
		"large": `{"form":1}` + strings.Repeat(" ", maxRecord), "many": `{"form":1,"failed":[1` + strings.Repeat(",1", maxFailed) + `]}`,
	} {
		if _, err := parseRecord([]byte(text)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	for n := range later {
		_, _ = parseRecord([]byte(later[:n]))
	}
}

func FuzzRecord(f *testing.F) {
	f.Add([]byte(`{"form":1,"floor":4,"trial":{"slot":"a"},"failed":[2]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if r, err := parseRecord(text); err == nil && (r.Form != recordForm || len(r.Failed) > maxFailed) {
			t.Fatalf("%+v", r)
		}
	})
}
