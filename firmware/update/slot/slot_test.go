package slot

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"unicode/utf16"

	"github.com/postern-nas/postern/images"
)

// A box is a boot partition with a boot loader, as far as slots see one.
type box struct {
	t     *testing.T
	dir   string
	vars  string
	kind  string // "loader" or "script"
	mute  bool   // the firmware has no variables
	slots Slots
}

var kinds = []string{"loader", "script", "script without variables"}

func newBox(t *testing.T, kind string) *box {
	t.Helper()
	b := &box{t: t, dir: t.TempDir(), vars: t.TempDir(), kind: strings.Fields(kind)[0], mute: strings.Contains(kind, "without")}
	if b.kind == "loader" {
		b.write("postern_1.efi", "first")
		b.slots = NewLoader(Folder(b.dir), "/", Variables(b.vars))
	} else {
		b.write("a.efi", "first")
		b.write(envFile, "active=a\ntrial=none\ntries=0\n")
		b.slots = NewScript(Folder(b.dir), "/", Variables(b.vars))
	}
	return b
}

func (b *box) write(name, text string) {
	b.t.Helper()
	if err := os.WriteFile(filepath.Join(b.dir, name), []byte(text), 0o600); err != nil {
		b.t.Fatal(err)
	}
}

func (b *box) set(name, value string) {
	b.t.Helper()
	data := []byte{6, 0, 0, 0}
	for _, c := range utf16.Encode([]rune(value + "\x00")) {
		data = append(data, byte(c), byte(c>>8))
	}
	if err := os.WriteFile(filepath.Join(b.vars, name+"-"+loaderVendor), data, 0o600); err != nil {
		b.t.Fatal(err)
	}
}

// boot starts the box as its loader would, and returns what the image says that was started. Images that say "broken" do
// not come up: the next one is tried, as after a reset.
func (b *box) boot() string {
	b.t.Helper()
	for range 10 {
		for _, v := range []string{loaderBootCountPath, loaderEntrySelected, stubImageIdentifier} {
			os.Remove(filepath.Join(b.vars, v+"-"+loaderVendor))
		}
		start := b.bootLoader
		if b.kind == "script" {
			start = b.bootScript
		}
		if image := start(); !strings.Contains(image, "broken") {
			return image
		}
	}
	b.t.Fatal("the box boots nothing")
	return ""
}

// bootLoader is systemd-boot: the largest number that has tries or needs none, else the largest one.
func (b *box) bootLoader() string {
	all, err := imagesIn(b.dir)
	if err != nil || len(all) == 0 {
		b.t.Fatalf("no images (%v)", err)
	}
	chosen := all[0]
	for _, i := range all {
		if !i.counted || i.left > 0 {
			chosen = i
			break
		}
	}
	if chosen.counted && chosen.left > 0 {
		to := fmt.Sprintf("postern_%d+%d-%d.efi", chosen.number, chosen.left-1, chosen.done+1)
		if err := os.Rename(filepath.Join(b.dir, chosen.file), filepath.Join(b.dir, to)); err != nil {
			b.t.Fatal(err)
		}
		chosen.file = to
		b.set(loaderBootCountPath, `\EFI\Linux\`+to)
	}
	b.set(loaderEntrySelected, name(chosen.number)+".efi")
	return b.read(chosen.file)
}

// bootScript is U-Boot with the script.
func (b *box) bootScript() string {
	text, _ := os.ReadFile(filepath.Join(b.dir, envFile))
	e := parseEnv(text)
	start := e.active
	if e.trial != none {
		if e.tries == 0 {
			e.trial = none
		} else {
			e.tries--
			start = e.trial
		}
		// U-Boot writes a text that ends where it ends.
		b.write(envFile, fmt.Sprintf("active=%s\ntrial=%s\ntries=%d\n\x00", e.active, e.trial, e.tries))
	}
	for _, s := range []string{start, e.active, other(e.active)} {
		if _, err := os.Stat(filepath.Join(b.dir, s+".efi")); err == nil {
			if !b.mute {
				b.set(stubImageIdentifier, `\postern\`+s+".efi")
			}
			return b.read(s + ".efi")
		}
	}
	b.t.Fatal("no image")
	return ""
}

func (b *box) read(name string) string {
	text, err := os.ReadFile(filepath.Join(b.dir, name))
	if err != nil {
		b.t.Fatal(err)
	}
	return string(text)
}

// install does what an updater does.
func (b *box) install(text string, tries int) error {
	err := b.slots.Write(int64(len(text)), func(w io.Writer) error {
		for _, half := range []string{text[:len(text)/2], text[len(text)/2:]} {
			if _, err := io.WriteString(w, half); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := b.slots.Check(sha256.Sum256([]byte(text))); err != nil {
		return err
	}
	return b.slots.TryNext(tries)
}

func (b *box) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *box) status() Status {
	b.t.Helper()
	s, err := b.slots.Status()
	b.must(err)
	return s
}

// each runs a test with each kind of slots.
func each(t *testing.T, test func(t *testing.T, b *box)) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) { test(t, newBox(t, kind)) })
	}
}

func TestUpdate(t *testing.T) {
	each(t, func(t *testing.T, b *box) {
		if got := b.boot(); got != "first" || b.status().Trial {
			t.Fatalf("boots %q, %+v", got, b.status())
		}
		for i, text := range []string{"second", "third", "fourth"} {
			before := b.status().Running
			next, err := b.slots.Next()
			b.must(err)
			b.must(b.install(text, MaxTries-i))
			if s := b.status(); s != (Status{Running: before, Waiting: next}) {
				t.Fatalf("before the restart: %+v, want %s waiting", s, next)
			}
			if got := b.boot(); got != text {
				t.Fatalf("boots %q, want %q", got, text)
			}
			if s := b.status(); s != (Status{Running: next, Trial: true}) {
				t.Fatalf("on trial: %+v, want %s", s, next)
			}
			if err := b.slots.Write(1, func(w io.Writer) error { _, err := w.Write([]byte("x")); return err }); err != nil {
				t.Fatal(err)
			}
			if err := b.slots.TryNext(1); !errors.Is(err, ErrTrial) {
				t.Fatalf("another update in a trial: %v", err)
			}
			b.must(b.slots.MarkGood())
			b.must(b.slots.MarkGood()) // again, after a cut
			b.must(b.slots.Clean(false))
			for range 2 {
				if s := b.status(); s != (Status{Running: next}) {
					t.Fatalf("good: %+v", s)
				}
				if got := b.boot(); got != text {
					t.Fatalf("boots %q, want %q", got, text)
				}
			}
		}
	})
}

// TestRollback: an image that does not come up, or gives up, is left, and that is told once.
func TestRollback(t *testing.T) {
	each(t, func(t *testing.T, b *box) {
		b.boot()
		for tries := 1; tries <= MaxTries; tries++ {
			for _, text := range []string{"broken", "gives up"} {
				next, err := b.slots.Next()
				b.must(err)
				b.must(b.install(text, tries))
				got := b.boot()
				if text == "gives up" {
					if got != text || !b.status().Trial {
						t.Fatalf("boots %q, %+v", got, b.status())
					}
					b.must(b.slots.GiveUp())
					b.must(b.slots.GiveUp())
					got = b.boot()
				}
				s := b.status()
				if got != "first" || s.Trial || s.Waiting != "" || s.Failed != next {
					t.Fatalf("%s, %d tries: boots %q, %+v, want %s failed", text, tries, got, s, next)
				}
				b.must(b.slots.Clean(false))
				if s := b.status(); s != (Status{Running: s.Running}) || b.boot() != "first" {
					t.Fatalf("clean: %+v", s)
				}
			}
		}
	})
}

// TestWithdraw: an update that waits can be taken back; one that runs cannot.
func TestWithdraw(t *testing.T) {
	each(t, func(t *testing.T, b *box) {
		b.boot()
		b.must(b.install("second", 2))
		b.must(b.slots.Clean(false))
		if s := b.status(); s.Waiting == "" {
			t.Fatalf("gone: %+v", s)
		}
		b.must(b.slots.Clean(true))
		if got := b.boot(); got != "first" || b.status() != (Status{Running: b.status().Running}) {
			t.Fatalf("boots %q, %+v", got, b.status())
		}
		b.must(b.install("third", 2))
		if b.boot() != "third" {
			t.Fatal("the third does not boot")
		}
		b.must(b.slots.Clean(true))
		if s := b.status(); !s.Trial {
			t.Fatalf("the trial ended: %+v", s)
		}
		b.must(b.slots.MarkGood())
		if b.boot() != "third" {
			t.Fatal("the third does not boot")
		}
	})
}

type powerCut struct{}

// at runs f and takes the power away before change n. It says whether f got so far.
func at(n int, f func()) (happened bool) {
	defer func(old func()) {
		cut = old
		if r := recover(); r != nil {
			if r != (powerCut{}) {
				panic(r)
			}
			happened = true
		}
	}(cut)
	cut = func() {
		if n--; n < 0 {
			panic(powerCut{})
		}
	}
	f()
	return false
}

// TestPowerCut: the power goes before each single change of an update, of its end, and of the one after it. What boots is
// whole, and the box can still be updated.
func TestPowerCut(t *testing.T) {
	each(t, func(t *testing.T, b *box) {
		kind := b.kind
		if b.mute {
			kind += " without"
		}
		for n := 0; ; n++ {
			b := newBox(t, kind)
			b.boot()
			b.must(b.install("second", 3))
			b.boot()
			b.must(b.slots.MarkGood())
			happened := at(n, func() {
				b.must(b.slots.Clean(false))
				b.must(b.install("third", 3))
				b.boot()
				b.must(b.slots.MarkGood())
				b.must(b.slots.Clean(false))
				b.must(b.install("broken", 3))
				b.boot()
				b.must(b.slots.Clean(false))
				b.must(b.install("fourth", 1))
				b.boot()
				b.must(b.slots.GiveUp())
			})
			got := b.boot()
			if got != "second" && got != "third" && got != "fourth" {
				t.Fatalf("cut %d: boots %q", n, got)
			}
			s := b.status()
			if s.Trial {
				b.must(b.slots.MarkGood())
			}
			b.must(b.slots.Clean(true))
			if again := b.boot(); again != got {
				t.Fatalf("cut %d: boots %q and then %q", n, got, again)
			}
			b.must(b.install("last", 1))
			if got := b.boot(); got != "last" || !b.status().Trial {
				t.Fatalf("cut %d: boots %q after another update, %+v", n, got, b.status())
			}
			b.must(b.slots.MarkGood())
			if got := b.boot(); got != "last" || b.status() != (Status{Running: b.status().Running}) {
				t.Fatalf("cut %d: boots %q in the end, %+v", n, got, b.status())
			}
			if !happened {
				if n < 10 {
					t.Fatalf("only %d changes", n)
				}
				return
			}
		}
	})
}

// TestWrite: what is not what was said is no image.
func TestWrite(t *testing.T) {
	each(t, func(t *testing.T, b *box) {
		b.boot()
		write := func(size int64, text string) error {
			return b.slots.Write(size, func(w io.Writer) error { _, err := io.WriteString(w, text); return err })
		}
		if err := write(5, "four"); err == nil {
			t.Error("too short")
		}
		if err := write(3, "four"); err == nil {
			t.Error("too long")
		}
		stop := errors.New("stop")
		if err := b.slots.Write(3, func(io.Writer) error { return stop }); !errors.Is(err, stop) {
			t.Error(err)
		}
		if err := b.slots.Check([32]byte{}); !errors.Is(err, ErrCorrupt) {
			t.Error(err)
		}
		b.must(b.slots.Clean(false))
		if err := b.slots.Check([32]byte{}); !errors.Is(err, ErrNoImage) {
			t.Error(err)
		}
		if err := b.slots.TryNext(1); !errors.Is(err, ErrNoImage) {
			t.Error(err)
		}
		b.must(write(4, "four"))
		for _, tries := range []int{0, MaxTries + 1} {
			if err := b.slots.TryNext(tries); err == nil {
				t.Errorf("%d tries", tries)
			}
		}
		b.must(b.slots.MarkGood()) // nothing to do
		b.must(b.slots.GiveUp())
		if b.boot() != "first" {
			t.Error("another one boots")
		}
	})
}

func TestImageNames(t *testing.T) {
	for file, want := range map[string]image{
		"postern_1.efi":                      {number: 1},
		"POSTERN_12+3.EFI":                   {number: 12, counted: true, left: 3},
		"postern_2+0-3.efi":                  {number: 2, counted: true, done: 3},
		"postern_2+1-2.efi":                  {number: 2, counted: true, left: 1, done: 2},
		"postern_0.efi":                      {},
		"postern_.efi":                       {},
		"postern_1+.efi":                     {},
		"postern_1+1-.efi":                   {},
		"postern_1.efi.part":                 {},
		"xpostern_1.efi":                     {},
		"postern_1000000000000000000000.efi": {},
		newFile:                              {},
	} {
		got, ok := parseImage(file)
		if want.number > 0 {
			want.file = file
		}
		if got != want || ok != (want.number > 0) {
			t.Errorf("%s: %+v, want %+v", file, got, want)
		}
	}
}

func TestEnv(t *testing.T) {
	for text, want := range map[string]env{
		"":                                   {"a", none, 0},
		"active=b\ntrial=a\ntries=2\n":       {"b", "a", 2},
		"active=b\r\ntrial=a\r\ntries=2\r\n": {"b", "a", 2},
		"active=b\ntrial=a\ntries=2\n\x00tries=1": {"b", "a", 2},
		"active=c\ntrial=d\ntries=9\n":            {"a", none, 0},
		"active=b\ntrial=b\ntries=1\n":            {"b", none, 1},
		"tries=33\ntrial=b":                       {"a", "b", 0},
		strings.Repeat("active=b\n", 100):         {"a", none, 0},
	} {
		if got := parseEnv([]byte(text)); got != want {
			t.Errorf("%q: %+v, want %+v", text, got, want)
		}
	}
	e := env{"b", "a", 3}
	if text := e.text(); len(text) != envSize || parseEnv(text) != e || !bytes.HasPrefix(text, []byte("active=b\ntrial=a\ntries=3\n\x00")) {
		t.Errorf("%q", text)
	}
}

func FuzzEnv(f *testing.F) {
	f.Add([]byte("active=b\ntrial=a\ntries=2\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		e := parseEnv(text)
		if e.active != "a" && e.active != "b" || e.trial == e.active || e.tries < 0 || e.tries > MaxTries {
			t.Fatalf("%+v", e)
		}
	})
}

// TestUnknown: a box that does not know which image it runs changes nothing.
func TestUnknown(t *testing.T) {
	b := newBox(t, "loader")
	b.write("postern_2.efi", "second")
	if s, err := b.slots.Status(); err == nil {
		t.Errorf("%+v", s)
	}
	b.set(loaderEntrySelected, "postern_7.efi")
	if err := b.install("third", 1); err == nil {
		t.Error("installed")
	}
	b.set(loaderEntrySelected, "postern_1.efi")
	if s := b.status(); s != (Status{Running: "postern_1"}) {
		t.Errorf("%+v", s)
	}
	os.WriteFile(filepath.Join(b.vars, loaderBootCountPath+"-"+loaderVendor), []byte{1, 2, 3}, 0o600)
	if s := b.status(); s != (Status{Running: "postern_1"}) {
		t.Errorf("%+v", s)
	}
}

// TestNamed: the boot partition is found by its name in a GPT, and where a table has no names by the signature of our MBR.
func TestNamed(t *testing.T) {
	gpt := func(name string) string { return "PARTNAME=" + name }
	mbr := func(disk uint32, n int) string { return fmt.Sprintf("PARTUUID=%08x-%02x", disk, n) }
	for _, c := range []struct {
		what  string
		parts map[string]string // device to what its uevent says of the name
		want  string            // "": an error
	}{
		{"none", map[string]string{"sda1": ""}, ""},
		{"like names", map[string]string{"sda2": gpt("xpostern-boot"), "sda3": gpt("postern-boot2")}, ""},
		{"GPT", map[string]string{"sda1": gpt(images.BootName), "sda2": gpt(images.StateName)}, "sda1"},
		{"MBR", map[string]string{"mmcblk0p1": mbr(images.MBRSignature, 1), "mmcblk0p2": mbr(images.MBRSignature, 2)}, "mmcblk0p1"},
		{"another's MBR", map[string]string{"sda1": mbr(0x12345678, 1)}, ""},
		{"two GPTs", map[string]string{"sda1": gpt(images.BootName), "sdb1": gpt(images.BootName)}, ""},
		{"one of each", map[string]string{"sda1": gpt(images.BootName), "mmcblk0p1": mbr(images.MBRSignature, 1)}, ""},
	} {
		sys := fstest.MapFS{}
		for device, says := range c.parts {
			sys["class/block/"+device+"/uevent"] = &fstest.MapFile{Data: []byte("MAJOR=8\nDEVTYPE=partition\n" + says + "\n")}
		}
		if d, err := named(sys, images.BootName); d != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%s: %q (%v), want %q", c.what, d, err, c.want)
		}
	}
}
