package keys

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport/linuxudstpm"
	"golang.org/x/crypto/cryptobyte"

	"github.com/postern-nas/postern/firmware/cert"
	"github.com/postern-nas/postern/tpm"
	"github.com/postern-nas/postern/tpm/tpmtest"
)

var soak = flag.Bool("soak", false, "1,000 unseals are listened to, instead of 100")

// A logbook is a log that tests read while it is written.
type logbook struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// ring makes one that ends with the test.
func ring(t *testing.T, o Options) (*Ring, *logbook) {
	t.Helper()
	log := new(logbook)
	o.Log = slog.New(slog.NewTextHandler(log, nil))
	r := New(o)
	t.Cleanup(r.Close)
	return r, log
}

// opened is a ring that has to open.
func opened(t *testing.T, o Options) *Ring {
	t.Helper()
	r, log := ring(t, o)
	if err := r.Open(); err != nil {
		t.Fatalf("%v\n%s", err, log)
	}
	return r
}

func now(r *Ring) State {
	s, _ := r.State().Get()
	return s
}

// furnish makes the keys that a server has, and returns their public halves and a secret.
func furnish(t *testing.T, r *Ring) map[string]string {
	t.Helper()
	for _, name := range []string{"ca.key", "server.key"} {
		k, err := r.Make(name)
		if err == nil {
			err = r.Save(name, k)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Write("state.key", bytes.Repeat([]byte("s"), 32)); err != nil {
		t.Fatal(err)
	}
	return identity(t, r)
}

func identity(t *testing.T, r *Ring) map[string]string {
	t.Helper()
	out := make(map[string]string)
	for _, name := range []string{"ca.key", "server.key"} {
		k, err := r.Load(name)
		if err != nil && !errors.Is(err, cert.ErrMoving) {
			t.Fatalf("%s: %v", name, err)
		}
		der, err := x509.MarshalPKIXPublicKey(k.Public())
		if err != nil {
			t.Fatal(err)
		}
		out[name] = string(der)
		digest := sha256.Sum256([]byte(name))
		sig, err := k.Sign(rand.Reader, digest[:], crypto.SHA256)
		if err != nil || !ecdsa.VerifyASN1(k.Public().(*ecdsa.PublicKey), digest[:], sig) {
			t.Fatalf("%s does not sign: %v", name, err)
		}
	}
	secret, err := r.Read("state.key")
	if err != nil {
		t.Fatal(err)
	}
	out["state.key"] = string(secret)
	return out
}

// listing is what a folder holds, locks left out.
func listing(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := make(map[string]string)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if b, err := os.ReadFile(filepath.Join(dir, e.Name())); err == nil && !strings.HasSuffix(e.Name(), ".lock") {
			out[e.Name()] = string(b)
		}
	}
	return out
}

// nothingPlain fails if a file in dir could give a secret away.
func nothingPlain(t *testing.T, dir string) {
	t.Helper()
	for name, text := range listing(t, dir) {
		if strings.Contains(text, "PRIVATE KEY") || strings.Contains(text, "ssssssss") {
			t.Errorf("%s holds a secret as it is", name)
		}
	}
}

// extend measures something as a boot would.
func extend(t *testing.T, c *tpmtest.Chip, pcr int, what string) {
	t.Helper()
	chip, err := tpm.Open(c.Socket)
	if err != nil {
		t.Fatal(err)
	}
	defer chip.Close()
	if err := chip.Extend(pcr, []byte(what)); err != nil {
		t.Fatal(err)
	}
}

// boot starts the chip anew and measures a system.
func boot(t *testing.T, c *tpmtest.Chip, system string) {
	t.Helper()
	c.Restart(t)
	extend(t, c, 4, "loader of "+system)
	extend(t, c, 11, system)
}

// number is that of a system in these tests.
func number(system string) uint64 {
	return uint64(slices.Index([]string{"zero", "one", "two", "three", "four", "five", "six"}, system))
}

// systemPCRs are what boot leaves.
func systemPCRs(system string) tpm.PCRs {
	return tpm.PCRs{4: tpm.Extended([32]byte{}, []byte("loader of "+system)), 11: tpm.Extended([32]byte{}, []byte(system)), 12: {}}
}

func TestSealedOverRestarts(t *testing.T) {
	for _, want := range []Where{Auto, Sealed, Resident} {
		t.Run(want.String(), func(t *testing.T) {
			c, o := tpmtest.New(t), Options{Dir: t.TempDir(), Want: want}
			o.Device = c.Socket
			first := opened(t, o)
			s := now(first)
			if s.Code == "" || s.Binding != ToChip || !s.Open || !s.HasCode || s.CodeNoted || s.Trouble != None ||
				s.Where != map[Where]Where{Auto: Sealed, Sealed: Sealed, Resident: Resident}[want] {
				t.Errorf("%+v", s)
			}
			id := furnish(t, first)
			if err := first.CodeNoted(); err != nil {
				t.Fatal(err)
			}
			if s := now(first); s.Code != "" || !s.CodeNoted {
				t.Errorf("noted: %+v", s)
			}
			nothingPlain(t, o.Dir)
			first.Close()
			if _, err := first.Read("state.key"); !errors.Is(err, ErrShut) {
				t.Errorf("read when closed: %v", err)
			}
			for range 2 { // the process starts again, and then the machine
				r := opened(t, o)
				if !maps.Equal(identity(t, r), id) {
					t.Error("another identity")
				}
				if s := now(r); s.Code != "" || !s.CodeNoted || !s.HasCode {
					t.Errorf("later: %+v", s)
				}
				r.Close()
				c.Restart(t)
			}
		})
	}
}

// TestResidentKeyStaysInTheChip: what is kept of it is the chip's, and the authority's key is not made so.
func TestResidentKeyStaysInTheChip(t *testing.T) {
	c, dir := tpmtest.New(t), t.TempDir()
	r := opened(t, Options{Dir: dir, Device: c.Socket, Want: Resident})
	id := furnish(t, r)
	for name, want := range map[string]bool{"server.key": true, "ca.key": false} {
		b, err := r.Read(name)
		if err != nil || bytes.HasPrefix(b, []byte(residentMagic)) != want {
			t.Errorf("%s: %.20q, %v", name, b, err)
		}
	}
	r.Close()
	// The owner wants the next ones elsewhere; this one still works.
	r = opened(t, Options{Dir: dir, Device: c.Socket, Want: Sealed})
	if k, err := r.Load("server.key"); !errors.Is(err, cert.ErrMoving) || k == nil {
		t.Errorf("%v", err)
	}
	if _, err := r.Load("ca.key"); err != nil {
		t.Error(err)
	}
	if !maps.Equal(identity(t, r), id) {
		t.Error("another identity")
	}
}

// TestNoTPM: without a chip keys are in files and that is said; they are sealed as soon as there is one.
func TestNoTPM(t *testing.T) {
	dir, device := t.TempDir(), filepath.Join(t.TempDir(), "tpm")
	o := Options{Dir: dir, Device: device}
	r, log := ring(t, o)
	if err := r.Open(); err != nil {
		t.Fatal(err)
	}
	if s := now(r); s.Where != OnDisk || !s.Open || s.Trouble != NoTPM || s.Text == "" || s.Code != "" {
		t.Errorf("%+v", s)
	}
	if !strings.Contains(log.String(), `level=WARN msg="key not sealed"`) {
		t.Errorf("the log says %s", log)
	}
	id := furnish(t, r)
	for _, name := range []string{"ca.key", "server.key", "state.key"} {
		if st, err := os.Stat(filepath.Join(dir, name)); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := r.Floor(); !errors.Is(err, ErrNoFloor) {
		t.Errorf("a floor without a chip: %v", err)
	}
	// The owner's own files are nobody's to seal.
	if err := os.WriteFile(filepath.Join(dir, "own.key"), []byte("theirs"), 0o600); err != nil {
		t.Fatal(err)
	}
	watching := make(chan struct{})
	go func() { defer close(watching); r.Watch(t.Context()) }()
	c := tpmtest.New(t)
	if err := os.Symlink(c.Socket, device); err != nil {
		t.Fatal(err)
	}
	<-watching
	if s := now(r); s.Where != Sealed || s.Code == "" || s.Trouble != None {
		t.Errorf("with a chip: %+v\n%s", s, log)
	}
	if !maps.Equal(identity(t, r), id) {
		t.Error("another identity")
	}
	nothingPlain(t, dir)
	if listing(t, dir)["own.key"] != "theirs" {
		t.Error("the owner's file is gone")
	}
	r.Close()
	if r = opened(t, o); !maps.Equal(identity(t, r), id) {
		t.Error("another identity after a restart")
	}
	// One that a start finds is used at once, too.
	other := t.TempDir()
	r = opened(t, Options{Dir: other})
	id = furnish(t, r)
	r.Close()
	if r = opened(t, Options{Dir: other, Device: c.Socket}); !maps.Equal(identity(t, r), id) || now(r).Where != Sealed {
		t.Error("not sealed at the start")
	}
	nothingPlain(t, other)
}

// TestWantedButNotThere: who asks for sealed keys does not get others.
func TestWantedButNotThere(t *testing.T) {
	for _, want := range []Where{Sealed, Resident} {
		dir := t.TempDir()
		r, _ := ring(t, Options{Dir: dir, Device: filepath.Join(dir, "none"), Want: want})
		var p *Problem
		if err := r.Open(); !errors.As(err, &p) || p.Trouble != NoTPM || !p.Passing() {
			t.Errorf("%v: %v", want, err)
		}
		if len(listing(t, dir)) > 0 {
			t.Errorf("%v", listing(t, dir))
		}
	}
}

// makeLater gives a file of the vault the next version's number.
func makeLater(t *testing.T, dir, name string) {
	t.Helper()
	path := filepath.Join(dir, name)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b = b[:len(b)-sha256.Size]
	b[len(vaultMagic)]++
	sum := sha256.Sum256(b)
	if err := os.WriteFile(path, append(b, sum[:]...), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestSEC54Trouble: what can happen to a chip and to the vault. Each time the keys are not got, it is said what is wrong,
// nothing on the disk changes, and where there is anything to recover the owner's code does.
func TestSEC54Trouble(t *testing.T) {
	spoil := func(t *testing.T, dir, name string) {
		t.Helper()
		path := filepath.Join(dir, name)
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		b[len(b)/2] ^= 1
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name    string
		happens func(t *testing.T, c *tpmtest.Chip, o *Options)
		want    Trouble
		recover bool
	}{
		{"another chip", func(t *testing.T, _ *tpmtest.Chip, o *Options) {
			other := tpmtest.New(t)
			boot(t, other, "one")
			o.Device = other.Socket
		}, OtherTPM, true},
		{"another chip that was used", func(t *testing.T, _ *tpmtest.Chip, o *Options) {
			other := tpmtest.New(t)
			opened(t, Options{Dir: t.TempDir(), Device: other.Socket}).Close()
			boot(t, other, "one")
			o.Device = other.Socket
		}, OtherTPM, true},
		{"a cleared chip", func(t *testing.T, c *tpmtest.Chip, _ *Options) {
			rw, err := linuxudstpm.Open(c.Socket)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := (tpm2.Clear{AuthHandle: tpm2.TPMRHLockout}).Execute(rw); err != nil {
				t.Fatal(err)
			}
			boot(t, c, "one")
		}, OtherTPM, true},
		{"another system", func(t *testing.T, c *tpmtest.Chip, _ *Options) { boot(t, c, "two") }, Measured, true},
		{"the same, with something more", func(t *testing.T, c *tpmtest.Chip, _ *Options) {
			boot(t, c, "one")
			extend(t, c, 12, "init=/bin/sh")
		}, Measured, true},
		{"no chip", func(t *testing.T, _ *tpmtest.Chip, o *Options) { o.Device = filepath.Join(o.Dir, "none") }, NoTPM, false},
		{"no chip by the configuration", func(t *testing.T, _ *tpmtest.Chip, o *Options) { o.Device = "" }, NoTPM, false},
		{"a vault that is spoilt", func(t *testing.T, c *tpmtest.Chip, o *Options) {
			boot(t, c, "one")
			spoil(t, o.Dir, vaultFile)
			spoil(t, o.Dir, vaultCopy)
		}, Damaged, false},
		{"a vault of a later version", func(t *testing.T, c *tpmtest.Chip, o *Options) {
			boot(t, c, "one")
			makeLater(t, o.Dir, vaultFile)
			makeLater(t, o.Dir, vaultCopy)
		}, Later, false},
		{"one copy of a later version", func(t *testing.T, c *tpmtest.Chip, o *Options) {
			boot(t, c, "one")
			makeLater(t, o.Dir, vaultCopy)
		}, Later, false},
		{"a vault that is gone", func(t *testing.T, c *tpmtest.Chip, o *Options) {
			boot(t, c, "one")
			os.Remove(filepath.Join(o.Dir, vaultFile))
			os.Remove(filepath.Join(o.Dir, vaultCopy))
		}, Lost, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			chip := tpmtest.New(t)
			o := Options{Dir: t.TempDir(), Device: chip.Socket, Box: true}
			boot(t, chip, "one")
			first := opened(t, o)
			code, id := now(first).Code, furnish(t, first)
			if s := now(first); s.Binding != ToBoot || s.Unmeasured {
				t.Errorf("%+v", s)
			}
			first.Close()
			c.happens(t, chip, &o)
			before := listing(t, o.Dir)
			r, log := ring(t, o)
			var p *Problem
			for range 2 { // and again
				if err := r.Open(); !errors.As(err, &p) || p.Trouble != c.want || len(p.Advice()) == 0 {
					t.Fatalf("opened: %v", err)
				}
			}
			s := now(r)
			if s.Open || s.Trouble != c.want || s.Text == "" || s.Advice == "" || s.Where == OnDisk {
				t.Errorf("%+v", s)
			}
			if in := Inspect(o); c.want != Measured && in.Trouble != c.want {
				t.Errorf("inspected: %+v", in)
			}
			if _, err := r.Read("state.key"); !errors.Is(err, ErrShut) {
				t.Errorf("read: %v", err)
			}
			if err := r.Write("state.key", []byte("x")); !errors.Is(err, ErrShut) {
				t.Errorf("wrote: %v", err)
			}
			if _, err := r.Make("ca.key"); !errors.Is(err, ErrShut) {
				t.Errorf("made: %v", err)
			}
			if err := r.Recover("no code"); !errors.Is(err, tpm.ErrCode) {
				t.Errorf("recovered with nothing: %v", err)
			}
			if err := r.Recover(tpm.NewRecoveryCode().String()); err == nil {
				t.Error("recovered with another code")
			}
			if after := listing(t, o.Dir); !maps.Equal(before, after) {
				t.Error("something on the disk has changed")
			}
			err := r.Recover(code)
			switch {
			case c.recover && err != nil:
				t.Fatalf("%v\n%s", err, log)
			case c.recover:
				if !maps.Equal(identity(t, r), id) {
					t.Error("another identity")
				}
				if s := now(r); !s.Open || s.Trouble != None || s.Code != "" || !s.CodeNoted {
					t.Errorf("recovered: %+v", s)
				}
				if n, err := r.Floor(); n != 0 || err != nil {
					t.Errorf("floor %d, %v", n, err)
				}
				nothingPlain(t, o.Dir)
			case c.want == NoTPM: // open for now, and sealed as before
				if err != nil || !now(r).Open || now(r).Trouble != NoTPM || !maps.Equal(identity(t, r), id) {
					t.Errorf("%v, %+v", err, now(r))
				}
				if after := listing(t, o.Dir); !maps.Equal(before, after) {
					t.Error("something on the disk has changed")
				}
			case err == nil:
				t.Error("recovered from nothing")
			}
		})
	}
}

// TestRecoveredStaysSo: what the code sealed anew opens without it at the next start of the same system, and the code stays.
func TestRecoveredStaysSo(t *testing.T) {
	c := tpmtest.New(t)
	o := Options{Dir: t.TempDir(), Device: c.Socket, Box: true}
	boot(t, c, "one")
	r := opened(t, o)
	code, id := now(r).Code, furnish(t, r)
	if err := r.RaiseFloor(3); err != nil {
		t.Fatal(err)
	}
	r.Close()
	for _, system := range []string{"two", "three"} {
		boot(t, c, system)
		r, _ := ring(t, o)
		if err := r.Open(); err == nil {
			t.Fatal("another system has the keys")
		}
		if err := r.Recover(strings.ToLower(code)); err != nil {
			t.Fatal(err)
		}
		r.Close()
		boot(t, c, system)
		if r = opened(t, o); !maps.Equal(identity(t, r), id) {
			t.Error("another identity")
		}
		if n, err := r.Floor(); n != 3 || err != nil {
			t.Errorf("floor %d, %v", n, err)
		}
		r.Close()
	}
	boot(t, c, "one")
	if r, _ := ring(t, o); r.Open() == nil {
		t.Error("the first system still has the keys")
	}
}

// TestNewCode: the old code is good for nothing from then on.
func TestNewCode(t *testing.T) {
	c := tpmtest.New(t)
	o := Options{Dir: t.TempDir(), Device: c.Socket}
	r := opened(t, o)
	old := now(r).Code
	code, err := r.NewCode()
	if err != nil || code == old || now(r).Code != code || now(r).CodeNoted {
		t.Fatalf("%v, %+v", err, now(r))
	}
	if r.Recover(code) == nil {
		t.Error("recovered what is open")
	}
	r.Close()
	o.Device = tpmtest.New(t).Socket
	r, _ = ring(t, o)
	if err := r.Recover(old); !errors.Is(err, tpm.ErrOtherCode) {
		t.Errorf("the old code: %v", err)
	}
	if err := r.Recover(code); err != nil {
		t.Error(err)
	}
}

// TestShutBehind: on a box, what runs after the keys were given out does not get them, until the next boot.
func TestShutBehind(t *testing.T) {
	c := tpmtest.New(t)
	o := Options{Dir: t.TempDir(), Device: c.Socket, Box: true}
	for range 2 { // the first seals, the second opens
		r := opened(t, o)
		if !now(r).Unmeasured {
			t.Error("nothing was measured, and it does not say so")
		}
		late, _ := ring(t, o)
		var p *Problem
		if err := late.Open(); !errors.As(err, &p) || p.Trouble != Measured {
			t.Errorf("opened once more: %v", err)
		}
		// The one who has them goes on writing.
		if err := r.Write("state.key", []byte("x")); err != nil {
			t.Error(err)
		}
		if err := r.Reseal(); err != nil {
			t.Error(err)
		}
		r.Close()
		c.Restart(t)
	}
	opened(t, o)
}

// TestAgain: a box that serves once more without a boot keeps its keys; one that was put back to factory state has others,
// which the next boot opens.
func TestAgain(t *testing.T) {
	c := tpmtest.New(t)
	o := Options{Dir: t.TempDir(), Device: c.Socket, Box: true}
	boot(t, c, "one")
	opened(t, o).Close()
	boot(t, c, "one")
	r := opened(t, o)
	id := furnish(t, r)
	o.Want = Resident
	r.Again(o)
	if err := r.Open(); err != nil || !maps.Equal(identity(t, r), id) || now(r).Where != Resident {
		t.Errorf("%v, %+v", err, now(r))
	}
	o.Want = Auto
	for _, pattern := range Files {
		found, err := filepath.Glob(filepath.Join(o.Dir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range found {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}
	}
	r.Forget()
	r.Again(o)
	if err := r.Open(); err != nil {
		t.Fatal(err)
	}
	other := furnish(t, r)
	if other["ca.key"] == id["ca.key"] || now(r).Code == "" {
		t.Error("the same identity, or no code for the new one")
	}
	r.Close()
	boot(t, c, "one")
	if r := opened(t, o); !maps.Equal(identity(t, r), other) {
		t.Error("another identity after a boot")
	}
}

// TestRelease: with a release key what it approves of has the keys, before or after the sealing, and nothing else.
func TestRelease(t *testing.T) {
	c := tpmtest.New(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	path := filepath.Join(dir, ApprovalsFile)
	o := Options{
		Dir: dir, Device: c.Socket, Box: true, Release: &key.PublicKey, Approvals: ApprovalsIn(filepath.Join(dir, "none"), path), Number: 1,
	}
	approve := func(systems ...string) {
		t.Helper()
		var list []tpm.Approval
		for _, s := range systems {
			a, err := tpm.Approve(key, number(s), systemPCRs(s))
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, a)
		}
		b, err := MarshalApprovals(list)
		if err == nil {
			err = os.WriteFile(path, b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	approve("one", "two")
	boot(t, c, "one")
	r := opened(t, o)
	id := furnish(t, r)
	if now(r).Binding != ToRelease {
		t.Errorf("%+v", now(r))
	}
	r.Close()
	for _, step := range []struct {
		system string
		opens  bool
	}{{"one", true}, {"two", true}, {"three", false}, {"one", true}} {
		boot(t, c, step.system)
		r, log := ring(t, o)
		if err := r.Open(); (err == nil) != step.opens {
			t.Errorf("%s: %v\n%s", step.system, err, log)
		} else if err == nil && !maps.Equal(identity(t, r), id) {
			t.Errorf("%s: another identity", step.system)
		}
		r.Close()
	}
	approve("three") // an update brings its own
	boot(t, c, "three")
	opened(t, o).Close()
	// A system that the key has not approved of could not open what it sealed for the key: it seals for itself.
	o.Dir = t.TempDir()
	boot(t, c, "four")
	r = opened(t, o)
	if now(r).Binding != ToBoot {
		t.Errorf("%+v", now(r))
	}
	r.Close()
	boot(t, c, "four")
	opened(t, o)
}

// TestSEC53OldRelease: when a release was found good, an earlier one that the release key has approved of as well does not
// get the keys, not with what the disk had in its time either; it says so, and changes nothing.
func TestSEC53OldRelease(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, bindings := range [][]Binding{{ToRelease, ToRelease}, {ToBoot, ToBoot}, {ToBoot, ToRelease}} {
		t.Run(fmt.Sprint(bindings), func(t *testing.T) {
			c := tpmtest.New(t)
			options := func(system string, dir string, b Binding) Options {
				o := Options{Dir: dir, Device: c.Socket, Box: true, Number: number(system)}
				if b == ToRelease {
					o.Release = &key.PublicKey
					o.Approvals = func() (list []tpm.Approval, err error) {
						for _, s := range []string{"one", "two", "three"} {
							a, e := tpm.Approve(key, number(s), systemPCRs(s))
							list, err = append(list, a), errors.Join(err, e)
						}
						return list, err
					}
				}
				return o
			}
			dir, then := t.TempDir(), filepath.Join(t.TempDir(), "then")
			boot(t, c, "two")
			r := opened(t, options("two", dir, bindings[0]))
			id := furnish(t, r)
			if now(r).Binding != bindings[0] {
				t.Errorf("%+v", now(r))
			}
			if err := r.Allow(3, systemPCRs("three")); err != nil {
				t.Fatal(err)
			}
			if err := r.RaiseFloor(3); err == nil {
				t.Error("the floor rose above what the keys are sealed for")
			}
			if err := r.RaiseFloor(2); err != nil {
				t.Fatal(err)
			}
			r.Close()
			if err := os.CopyFS(then, os.DirFS(dir)); err != nil {
				t.Fatal(err)
			}
			refused := func(system, dir string, b Binding, want Trouble) {
				t.Helper()
				boot(t, c, system)
				before := listing(t, dir)
				r, _ := ring(t, options(system, dir, b))
				var p *Problem
				if err := r.Open(); !errors.As(err, &p) || p.Trouble != want || now(r).Text == "" || now(r).Advice == "" {
					t.Errorf("%s: %v, %+v", system, err, now(r))
				}
				if !maps.Equal(before, listing(t, dir)) {
					t.Errorf("%s: something has changed", system)
				}
			}
			if bindings[0] == ToRelease { // it was never here, and is too old from the first
				refused("one", dir, ToRelease, Old)
			}
			boot(t, c, "three")
			r = opened(t, options("three", dir, bindings[1])) // on trial
			r.Close()
			boot(t, c, "two")
			opened(t, options("two", dir, bindings[0])).Close() // and back
			boot(t, c, "three")
			r = opened(t, options("three", dir, bindings[1])) // found good
			if err := errors.Join(r.Reseal(), r.RaiseFloor(3)); err != nil {
				t.Fatal(err)
			}
			if now(r).Binding != bindings[1] || !maps.Equal(identity(t, r), id) {
				t.Errorf("%+v", now(r))
			}
			r.Close()
			want := Measured // what is sealed to registers tells no more than that they are others
			if bindings[1] == ToRelease {
				want = Old
			}
			refused("two", dir, bindings[1], want)
			refused("two", then, bindings[0], Old)
			if bindings[0] == ToRelease { // otherwise it was sealed for this one as well
				refused("three", then, bindings[1], Old)
			}
			boot(t, c, "three")
			r = opened(t, options("three", dir, bindings[1]))
			if n, err := r.Floor(); n != 3 || err != nil || !maps.Equal(identity(t, r), id) {
				t.Errorf("floor %d (%v)", n, err)
			}
		})
	}
}

// TestNotApproved: where keys are bound to releases, the running system lets no other in either.
func TestNotApproved(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	far := uint64(1 + tpm.Reach)
	var list []tpm.Approval
	for n, system := range map[uint64]string{0: "zero", 1: "one", 2: "two", far: "six"} {
		a, err := tpm.Approve(key, n, systemPCRs(system))
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, a)
	}
	c := tpmtest.New(t)
	o := Options{
		Dir: t.TempDir(), Device: c.Socket, Box: true, Number: 1, Release: &key.PublicKey,
		Approvals: func() ([]tpm.Approval, error) { return list, nil },
	}
	boot(t, c, "one")
	r := opened(t, o)
	for system, want := range map[string]error{"zero": ErrTooOld, "two": nil, "three": ErrNotApproved, "six": nil} {
		if err := r.Allow(2, systemPCRs(system)); !errors.Is(err, want) {
			t.Errorf("%s: %v", system, err)
		}
	}
	r.Close()
	if s := Inspect(o); s.Systems != 2 || s.Binding != ToRelease { // for the one that is too far ahead
		t.Errorf("%+v", s)
	}
	boot(t, c, "six")
	o.Number = far
	opened(t, o)
}

// TestAllow: without a release key the running system lets in the next, and Reseal shuts out the earlier.
func TestAllow(t *testing.T) {
	c := tpmtest.New(t)
	o := Options{Dir: t.TempDir(), Device: c.Socket, Box: true}
	tries := func(want map[string]bool) {
		t.Helper()
		for system, opens := range want {
			boot(t, c, system)
			r, _ := ring(t, o)
			if err := r.Open(); (err == nil) != opens {
				t.Errorf("%s: %v", system, err)
			}
			r.Close()
		}
	}
	boot(t, c, "one")
	r := opened(t, o)
	if err := r.Allow(1, tpm.PCRs{11: {}}); err == nil {
		t.Error("allowed what is half known")
	}
	for _, system := range []string{"one", "six", "two"} {
		if err := r.Allow(0, systemPCRs(system)); err != nil {
			t.Fatal(err)
		}
	}
	r.Close()
	tries(map[string]bool{"one": true, "two": true, "six": false})
	boot(t, c, "two")
	r = opened(t, o)
	if err := r.Reseal(); err != nil { // it was found good
		t.Fatal(err)
	}
	r.Close()
	tries(map[string]bool{"one": false, "two": true})
	if s := Inspect(o); s.Systems != 1 || s.Binding != ToBoot || s.Trouble != None {
		t.Errorf("%+v", s)
	}
}

// TestSEC54Lockout: somebody has tried passwords at the chip until it locked itself; the server gets its keys all the same.
func TestSEC54Lockout(t *testing.T) {
	c := tpmtest.New(t)
	for _, want := range []Where{Sealed, Resident} {
		o := Options{Dir: t.TempDir(), Device: c.Socket, Want: want}
		r := opened(t, o)
		id := furnish(t, r)
		r.Close()
		lockOut(t, c)
		r = opened(t, o)
		if !maps.Equal(identity(t, r), id) {
			t.Error("another identity")
		}
		if err := r.RaiseFloor(1); err != nil {
			t.Error(err)
		}
		r.Close()
	}
}

// lockOut makes something with a password and tries wrong ones.
func lockOut(t *testing.T, c *tpmtest.Chip) {
	t.Helper()
	rw, err := linuxudstpm.Open(c.Socket)
	if err != nil {
		t.Fatal(err)
	}
	const index tpm2.TPMHandle = 0x01800099
	public := tpm2.TPMSNVPublic{
		NVIndex: index, NameAlg: tpm2.TPMAlgSHA256, DataSize: 8,
		Attributes: tpm2.TPMANV{NT: tpm2.TPMNTOrdinary, AuthWrite: true, AuthRead: true},
	}
	_, err = tpm2.NVDefineSpace{
		AuthHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(nil)},
		Auth:       tpm2.TPM2BAuth{Buffer: []byte("1234")}, PublicInfo: tpm2.New2B(public),
	}.Execute(rw)
	if err != nil && !errors.Is(err, tpm2.TPMRCNVDefined) {
		t.Fatal(err)
	}
	name, err := tpm2.NVName(&public)
	if err != nil {
		t.Fatal(err)
	}
	for range 50 {
		_, err := tpm2.NVRead{
			AuthHandle: tpm2.AuthHandle{Handle: index, Name: *name, Auth: tpm2.PasswordAuth([]byte("0000"))},
			NVIndex:    tpm2.NamedHandle{Handle: index, Name: *name}, Size: 8,
		}.Execute(rw)
		if errors.Is(err, tpm2.TPMRCLockout) {
			return
		}
	}
	t.Fatal("the chip does not lock")
}

// TestSEC54Traffic (C-12): who listens to the bus while the keys are sealed and opened again and again hears nothing of
// them: no 8 bytes of the vault's key, of a private key, or of a resident key's password.
func TestSEC54Traffic(t *testing.T) {
	c := tpmtest.New(t)
	tap := c.Tap(t)
	o := Options{Dir: t.TempDir(), Device: tap.Socket}
	r := opened(t, o)
	id := furnish(t, r)
	keys := [][]byte{bytes.Clone(r.key)}
	for _, name := range []string{"ca.key", "server.key"} {
		k, err := r.Load(name)
		if err != nil {
			t.Fatal(err)
		}
		d, err := k.(*ecdsa.PrivateKey).Bytes()
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, d)
	}
	if _, err := r.Floor(); err != nil {
		t.Fatal(err)
	}
	keys = append(keys, bytes.Clone(r.secrets[floorName][8:]))
	r.Close()
	times := 100
	if *soak {
		times = 1000
	}
	for range times {
		r := opened(t, o)
		if !maps.Equal(identity(t, r), id) {
			t.Fatal("another identity")
		}
		r.Close()
	}
	heard := tap.Heard()
	if len(heard) < 8*times {
		t.Fatalf("only %d messages were heard", len(heard))
	}
	all := make(map[[8]byte]bool)
	bytesHeard := 0
	for _, m := range heard {
		bytesHeard += len(m)
		for i := 0; i+8 <= len(m); i++ {
			all[[8]byte(m[i:])] = true
		}
	}
	for n, k := range keys {
		for i := 0; i+8 <= len(k); i++ {
			if all[[8]byte(k[i:])] {
				t.Fatalf("8 bytes of secret %d went over the bus", n)
			}
		}
	}
	// The chip keeps another key, under which the vault's is sealed. Who has the disk and has listened tries all he heard.
	tries := 0
	aead := make(map[[32]byte]bool)
	head, payload := payloadOf(t, opened(t, o).vault.seals[0])
	for _, m := range heard {
		for i := 0; i+32 <= len(m); i++ {
			key := [32]byte(m[i:])
			if aead[key] {
				continue
			}
			aead[key] = true
			tries++
			gcm, err := newGCM(key[:])
			if err != nil {
				t.Fatal(err)
			}
			if _, err := gcm.Open(nil, payload[:gcm.NonceSize()], payload[gcm.NonceSize():], head); err == nil {
				t.Fatal("what was heard on the bus opens what is on the disk")
			}
		}
	}
	t.Logf("%d openings, %d messages, %d bytes, %d keys tried", times, len(heard), bytesHeard, tries)
}

// payloadOf takes a seal to the chip alone apart, as tpm/blob.go describes it: what is bound to the secret, and the secret
// encrypted with the key that the chip keeps.
func payloadOf(t *testing.T, s *tpm.Sealed) (head, payload []byte) {
	t.Helper()
	b, err := s.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	const headSize = 4 + 1 + 34 + 1
	r := cryptobyte.String(b[headSize : len(b)-sha256.Size])
	var size uint32
	for range 3 {
		var part cryptobyte.String
		if !r.ReadUint16LengthPrefixed(&part) {
			t.Fatal("the seal is not as expected")
		}
	}
	if !r.ReadUint32(&size) || int(size) != len(r) || size != 12+32+16 {
		t.Fatalf("the seal is not as expected: %d bytes", size)
	}
	return b[:headSize], r
}

// TestOneCopy: a disk that spoils one of the two copies costs nothing, and both are there again.
func TestOneCopy(t *testing.T) {
	c := tpmtest.New(t)
	o := Options{Dir: t.TempDir(), Device: c.Socket}
	r := opened(t, o)
	id := furnish(t, r)
	r.Close()
	whole := listing(t, o.Dir)[vaultFile]
	for _, spoilt := range []struct {
		name string
		how  func(path string) error
	}{
		{vaultFile, os.Remove},
		{vaultCopy, os.Remove},
		{vaultFile, func(p string) error { return os.Truncate(p, 0) }},
		{vaultCopy, func(p string) error { return os.Truncate(p, int64(len(whole)/2)) }},
		{vaultFile, func(p string) error { return os.WriteFile(p, bytes.Repeat([]byte("x"), len(whole)), 0o600) }},
	} {
		if err := spoilt.how(filepath.Join(o.Dir, spoilt.name)); err != nil {
			t.Fatal(err)
		}
		r, log := ring(t, o)
		if err := r.Open(); err != nil || !maps.Equal(identity(t, r), id) {
			t.Fatalf("%s: %v", spoilt.name, err)
		}
		if !strings.Contains(log.String(), "one of the two copies") {
			t.Errorf("not a word of it:\n%s", log)
		}
		r.Close()
		if files := listing(t, o.Dir); files[vaultFile] != files[vaultCopy] {
			t.Error("the copies differ")
		}
	}
}

// TestLeftovers: power fails between sealing and wiping; the next start finishes. A file that says something else stays.
func TestLeftovers(t *testing.T) {
	c := tpmtest.New(t)
	o := Options{Dir: t.TempDir(), Device: c.Socket}
	r := opened(t, o)
	furnish(t, r)
	secret, err := r.Read("ca.key")
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	for name, text := range map[string][]byte{"ca.key": secret, "state.key": []byte("another")} {
		if err := os.WriteFile(filepath.Join(o.Dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r, log := ring(t, o)
	if err := r.Open(); err != nil {
		t.Fatal(err)
	}
	files := listing(t, o.Dir)
	if _, ok := files["ca.key"]; ok || files["state.key"] != "another" || !strings.Contains(log.String(), "is not the sealed one") {
		t.Errorf("%v\n%s", slices.Sorted(maps.Keys(files)), log)
	}
}

// TestPowerCut: whatever moment the power goes while plain keys are sealed, or sealed ones taken out, the next start has the
// same keys, and finishes.
func TestPowerCut(t *testing.T) {
	c := tpmtest.New(t)
	dir := t.TempDir()
	r := opened(t, Options{Dir: dir})
	id := furnish(t, r)
	r.Close()
	plain := listing(t, dir)
	r = opened(t, Options{Dir: dir, Device: c.Socket})
	r.Close()
	sealed := listing(t, dir)
	pick := func(from map[string]string, names ...string) map[string]string {
		out := make(map[string]string)
		for _, n := range names {
			out[n] = from[n]
		}
		return out
	}
	all := []string{vaultFile, vaultCopy, anchorFile}
	half := map[string]string{"ca.key": strings.Repeat("\x00", len(plain["ca.key"])), ".state.key.new-123": plain["state.key"]}
	for name, state := range map[string][]map[string]string{
		"nothing sealed yet":          {plain},
		"one copy":                    {plain, pick(sealed, vaultFile)},
		"both":                        {plain, pick(sealed, vaultFile, vaultCopy)},
		"all but the wiping":          {plain, sealed},
		"one is wiped":                {pick(plain, "server.key", "state.key"), sealed},
		"one is overwritten":          {pick(plain, "server.key"), sealed, half},
		"one is left":                 {pick(plain, "state.key"), sealed},
		"taken out, one":              {pick(plain, "ca.key"), pick(sealed, all...)},
		"taken out, without a mark":   {plain, pick(sealed, vaultFile, vaultCopy)},
		"taken out, one copy is left": {plain, pick(sealed, vaultCopy)},
	} {
		for _, want := range []Where{Auto, OnDisk} {
			dir := t.TempDir()
			for _, files := range state {
				for n, text := range files {
					if err := os.WriteFile(filepath.Join(dir, n), []byte(text), 0o600); err != nil {
						t.Fatal(err)
					}
				}
			}
			for range 2 {
				r := opened(t, Options{Dir: dir, Device: c.Socket, Want: want})
				if !maps.Equal(identity(t, r), id) {
					t.Errorf("%s, %v: another identity", name, want)
				}
				r.Close()
				_, vault := listing(t, dir)[vaultFile]
				if vault != (want == Auto) {
					t.Errorf("%s, %v: a vault: %v", name, want, vault)
				}
				if want == Auto {
					nothingPlain(t, dir)
					if files := listing(t, dir); len(files) != 3 {
						t.Errorf("%s: %q", name, slices.Sorted(maps.Keys(files)))
					}
				}
			}
		}
	}
}

// TestChipThatFails: a chip that stops to sign is told of, and one that is back, too.
func TestChipThatFails(t *testing.T) {
	c := tpmtest.New(t)
	device := filepath.Join(t.TempDir(), "tpm")
	if err := os.Symlink(c.Socket, device); err != nil {
		t.Fatal(err)
	}
	r := opened(t, Options{Dir: t.TempDir(), Device: device, Want: Resident})
	furnish(t, r)
	k, err := r.Load("server.key")
	if err != nil {
		t.Fatal(err)
	}
	digest := make([]byte, 32)
	for _, step := range []struct {
		do   func() error
		want Trouble
	}{
		{func() error { return nil }, None},
		{func() error { return os.Remove(device) }, Failing},
		{func() error { c.Restart(t); return os.Symlink(c.Socket, device) }, None},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if _, err := k.Sign(rand.Reader, digest, crypto.SHA256); (err == nil) != (step.want == None) {
				t.Errorf("%v", err)
			}
		}
		if s := now(r); s.Trouble != step.want || !s.Open || (s.Text == "") != (step.want == None) {
			t.Errorf("%+v", s)
		}
	}
}

// TestMoveOut: an owner who wants files gets them, and back.
func TestMoveOut(t *testing.T) {
	c := tpmtest.New(t)
	o := Options{Dir: t.TempDir(), Device: c.Socket}
	r := opened(t, o)
	id := furnish(t, r)
	r.Close()
	o.Want = OnDisk
	for range 2 {
		r, log := ring(t, o)
		if err := r.Open(); err != nil || now(r).Where != OnDisk || !maps.Equal(identity(t, r), id) {
			t.Fatalf("%v, %+v", err, now(r))
		}
		if !strings.Contains(log.String(), "level=WARN") {
			t.Error("not a word of it")
		}
		r.Close()
	}
	if _, ok := listing(t, o.Dir)[vaultFile]; ok {
		t.Error("the vault is still there")
	}
	o.Want = Auto
	if r = opened(t, o); now(r).Where != Sealed || !maps.Equal(identity(t, r), id) {
		t.Errorf("%+v", now(r))
	}
	nothingPlain(t, o.Dir)
}

// TestTwoProcesses: what the command line changes, a running server takes over, and neither loses what the other wrote.
func TestTwoProcesses(t *testing.T) {
	c := tpmtest.New(t)
	o := Options{Dir: t.TempDir(), Device: c.Socket}
	server := opened(t, o)
	furnish(t, server)
	command := opened(t, o)
	if err := command.Write("cert-1.key", []byte("one")); err != nil {
		t.Fatal(err)
	}
	if err := server.Write("cert-2.key", []byte("two")); err != nil {
		t.Fatal(err)
	}
	if err := command.Reload(); err != nil {
		t.Fatal(err)
	}
	for _, r := range []*Ring{server, command} {
		for name, want := range map[string]string{"cert-1.key": "one", "cert-2.key": "two"} {
			if got, err := r.Read(name); err != nil || string(got) != want {
				t.Errorf("%s: %q, %v", name, got, err)
			}
		}
	}
	if err := server.Remove("cert-1.key"); err != nil {
		t.Fatal(err)
	}
	if _, err := server.Read("cert-1.key"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	for _, name := range []string{"", "floor.key", "../x.key", "cert-.KEY", "code-noted"} {
		if server.Write(name, []byte("x")) == nil {
			t.Errorf("%q was written", name)
		}
	}
	if server.Write("state.key", make([]byte, maxSecret+1)) == nil {
		t.Error("too much was written")
	}
}

// TestWait: a server that waits goes on when the owner has recovered the keys, here or by the command line, or when the chip
// is back.
func TestWait(t *testing.T) {
	c := tpmtest.New(t)
	dir := t.TempDir()
	first := opened(t, Options{Dir: dir, Device: c.Socket})
	code, id := now(first).Code, furnish(t, first)
	first.Close()
	saved := listing(t, dir)
	again := make(chan os.Signal)
	other := tpmtest.New(t)
	device := filepath.Join(t.TempDir(), "tpm")
	for name, step := range map[string]struct {
		device  string
		resolve func(r *Ring) error
	}{
		"recovered here": {other.Socket, func(r *Ring) error { return r.Recover(code) }},
		"recovered by the command line": {other.Socket, func(*Ring) error {
			command, _ := ring(t, Options{Dir: dir, Device: other.Socket})
			defer command.Close()
			return command.Recover(code)
		}},
		"the chip is back": {device, func(*Ring) error { return os.Symlink(c.Socket, device) }},
	} {
		for name, text := range saved {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		r, log := ring(t, Options{Dir: dir, Device: step.device})
		done := make(chan error, 1)
		go func() { done <- r.Wait(t.Context(), again) }()
		_, _, err := r.State().Wait(t.Context(), 0) // the first try has failed
		if err != nil {
			t.Fatal(err)
		}
		again <- os.Interrupt // it is asked to try again, and fails again
		if s := now(r); s.Open || !s.HasCode {
			t.Errorf("%s: %+v", name, s)
		}
		if err := step.resolve(r); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := <-done; err != nil || !maps.Equal(identity(t, r), id) {
			t.Errorf("%s: %v\n%s", name, err, log)
		}
		r.Close()
	}
	ctx, cancel := context.WithCancel(t.Context())
	r, _ := ring(t, Options{Dir: dir, Device: tpmtest.New(t).Socket})
	done := make(chan error, 1)
	go func() { done <- r.Wait(ctx, nil) }()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestReset: only then there is another identity, and the old vault is still there for who finds a way.
func TestReset(t *testing.T) {
	c := tpmtest.New(t)
	o := Options{Dir: t.TempDir(), Device: c.Socket}
	r := opened(t, o)
	id := furnish(t, r)
	r.Close()
	r, _ = ring(t, o)
	if err := r.Reset(time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := r.Open(); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Load("ca.key"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
	if maps.Equal(furnish(t, r), id) {
		t.Error("the same identity")
	}
	kept := 0
	for name := range listing(t, o.Dir) {
		if strings.Contains(name, ".corrupt-") {
			kept++
		}
	}
	if kept != 3 {
		t.Errorf("%d files were kept", kept)
	}
}
