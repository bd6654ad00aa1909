package keys

import (
	"bytes"
	"crypto/ecdsa"
	"encoding/hex"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postern-nas/postern/firmware/state"
	"github.com/postern-nas/postern/firmware/watch"
	"github.com/postern-nas/postern/tpm"
)

// Options say where a ring is and what it is to do.
type Options struct {
	Dir    string // the state folder
	Device string // of the TPM, or the Unix socket of one in software; "" for none
	Want   Where
	// Box says that this is the only system on the machine, and its first process: keys are bound to what was measured, and
	// that they were given out is measured, too, so that nothing that runs later gets them.
	Box bool
	// Release is the key that approves of systems; nil on an image without one. Approvals are read anew each time.
	Release   *ecdsa.PublicKey
	Approvals func() ([]tpm.Approval, error)
	Log       *slog.Logger
}

// A Ring holds a box's secrets. Its methods may be called by any number of goroutines. Before Open or Wait has succeeded,
// those that read and write secrets fail with ErrShut.
type Ring struct {
	o     Options
	log   *slog.Logger
	state watch.Value[State]
	kick  chan struct{} // Recover has opened it

	failing atomic.Bool // the chip did not sign when it was last asked

	mu       sync.Mutex
	now      State
	open     bool
	where    Where    // OnDisk or Sealed, while open
	key      []byte   // the vault's
	vault    *vault   // as last read or written
	secrets  secrets  // its contents
	measured tpm.PCRs // as they were before we extended them
	chip     *tpm.TPM // open while resident keys are used
	loaded   map[string]*signer
}

// ErrShut says that the keys are not open.
var ErrShut = errors.New("keys: they are not open")

// anchorFile says that there was a vault, and with which chip. It holds no secret.
const anchorFile = "tpm.anchor"

// Names of secrets that are ours.
const (
	floorName = "floor.key"
	notedName = "code-noted"
)

// New makes a ring. Nothing is read yet.
func New(o Options) *Ring {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Ring{o: o, log: o.Log, kick: make(chan struct{}, 1), loaded: make(map[string]*signer)}
}

// State is what there is to be known about the keys. It changes as they are opened, and when something happens to them.
func (r *Ring) State() *watch.Value[State] { return &r.state }

// Close forgets the secrets and lets go of the chip.
func (r *Ring) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.shut()
}

// Again is for a box that serves once more without starting anew: the chip would not give the keys out a second time, so the
// ring stays open, with other options. A wish for keys in files is heeded at the next start.
func (r *Ring) Again(o Options) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.o = o
	if r.log = o.Log; r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	if r.open && r.where == Sealed {
		r.now.Where = Sealed
		if o.Want == Resident {
			r.now.Where = Resident
		}
		r.tell()
	}
}

// Forget shuts the ring after its files were erased. Open then makes everything anew, for the system that was measured at
// the start.
func (r *Ring) Forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.shut()
	r.now = State{}
}

// Files are patterns of what a ring keeps in the state folder.
var Files = []string{vaultFile, vaultCopy, anchorFile, "ca.key", "server.key", "state.key", RestoreKey, "cert-*.key"}

func (r *Ring) shut() {
	for _, k := range r.loaded {
		_ = k.Close() // the chip drops it at its next start
	}
	clear(r.loaded)
	if r.chip != nil {
		_ = r.chip.Close()
		r.chip = nil
	}
	clear(r.key)
	for _, s := range r.secrets {
		clear(s)
	}
	r.open, r.key, r.secrets, r.vault = false, nil, nil, nil
}

// Open opens the keys, or makes the place for new ones. An error is a *Problem if it is one of the keys, which stay shut;
// nothing that is sealed is replaced because of it.
func (r *Ring) Open() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.open {
		return nil
	}
	unlock, err := r.lock()
	if err != nil {
		return err
	}
	defer unlock()
	if err := r.unlockAny(); err != nil {
		r.shut()
		p := problem(err, r.o.Device)
		r.now = State{Trouble: p.Trouble, Text: p.text(), Advice: p.Advice(), Where: Sealed}
		if vaults, err := readVaults(r.o.Dir); err == nil {
			r.now.HasCode = len(vaults[0].code) > 0
		}
		r.state.Set(r.now)
		return p
	}
	r.open = true
	r.tell()
	return nil
}

func (r *Ring) lock() (func(), error) { return state.Lock(r.o.Dir, "keys.lock", true) }

func (r *Ring) path(name string) string { return filepath.Join(r.o.Dir, name) }

// unlockAny opens the vault if there is one, makes one if there is a chip, or else uses plain files.
func (r *Ring) unlockAny() error {
	vaults, err := readVaults(r.o.Dir)
	switch {
	case err == nil:
		return r.unseal(vaults)
	case !errors.Is(err, fs.ErrNotExist):
		return &Problem{Damaged, err, r.o.Device}
	}
	if _, err := os.Stat(r.path(anchorFile)); err == nil {
		return &Problem{Lost, nil, r.o.Device}
	}
	if r.o.Want == OnDisk {
		r.plain("")
		return nil
	}
	if r.o.Device != "" {
		if err = r.found(); err == nil {
			return nil
		}
		r.log.Error("the keys cannot be sealed with the TPM", "device", r.o.Device, "error", err)
		r.shut()
		if _, there := readVaults(r.o.Dir); !errors.Is(there, fs.ErrNotExist) {
			return err // half a vault is there: from now on it counts, and not what is in files
		}
	}
	if r.o.Want != Auto {
		return &Problem{NoTPM, err, r.o.Device}
	}
	why := "There is no TPM"
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		why = "The TPM cannot be used"
	}
	r.plain(why)
	return nil
}

// connect opens the chip.
func (r *Ring) connect() (*tpm.TPM, error) {
	if r.chip != nil {
		return r.chip, nil
	}
	if r.o.Device == "" {
		return nil, &Problem{NoTPM, nil, ""}
	}
	chip, err := tpm.Open(r.o.Device)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &Problem{NoTPM, err, r.o.Device}
	}
	return chip, err
}

// release closes it again, unless resident keys need it.
func (r *Ring) release(chip *tpm.TPM) {
	if chip != r.chip {
		_ = chip.Close()
	}
}

// tell publishes the state.
func (r *Ring) tell() {
	r.now.Open = r.open
	r.state.Set(r.now)
}

// note writes the name of the chip.
func (r *Ring) note() error {
	text := []byte(hex.EncodeToString(r.vault.seals[0].Anchor[:]) + "\n")
	if old, err := os.ReadFile(r.path(anchorFile)); err == nil && bytes.Equal(old, text) {
		return nil
	}
	return state.Write(r.path(anchorFile), text, 0o600)
}

// write encrypts the secrets and writes the vault. Only then do they count.
func (r *Ring) write(all secrets) error {
	next := &vault{generation: r.vault.generation + 1, seals: r.vault.seals, code: r.vault.code}
	if err := next.encrypt(r.key, all); err != nil {
		return err
	}
	if err := writeVault(r.o.Dir, next); err != nil {
		return err
	}
	r.vault, r.secrets = next, all
	return r.note()
}

// Reset gives up a vault that cannot be opened: it is set aside, and the next Open makes a new identity.
func (r *Ring) Reset(now time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	unlock, err := r.lock()
	if err != nil {
		return err
	}
	defer unlock()
	r.shut()
	for _, name := range []string{vaultFile, vaultCopy, anchorFile} {
		aside, err := state.SetAside(r.path(name), now)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		r.log.Warn("the sealed keys were given up", "file", r.path(name), "now", aside)
	}
	return nil
}
