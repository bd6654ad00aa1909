package keys

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
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

// The registers that keys are bound to: boot code, image, command line (firmware/boot logs them).
var bound = []int{4, 11, 12}

// openedEvent is what is measured when keys were given out, and where.
const openedPCR = 11

var openedEvent = []byte("postern: the keys were given out")

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

// plain keeps secrets in files.
func (r *Ring) plain(why string) {
	r.where, r.now = OnDisk, State{Where: OnDisk}
	text := why + ": the server's keys are not sealed. Who has the disk of this box's state has them"
	if why == "" {
		text = "The server's keys are not sealed, as postern.toml says. Who has the disk of this box's state has them"
	} else {
		r.now.Trouble = NoTPM
		r.now.Text, r.now.Advice = text, "They are sealed as soon as there is a TPM"
	}
	r.log.Warn("key not sealed", "why", text)
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

// found makes the vault: there is a chip, and nothing is sealed yet. What is in plain files goes into it.
func (r *Ring) found() error {
	chip, err := r.connect()
	if err != nil {
		return err
	}
	defer r.release(chip)
	if _, err := chip.Provision(); err != nil {
		return err
	}
	all, err := r.readPlain()
	if err != nil {
		return err
	}
	r.key = make([]byte, 32)
	rand.Read(r.key) // never fails: it aborts the program instead
	r.vault = new(vault)
	if err := r.reseal(chip); err != nil {
		return err
	}
	if floor, err := chip.DefineFloor(); err != nil {
		r.log.Error("the TPM keeps no version floor: older versions can be installed", "error", err)
	} else if all[floorName], err = floor.MarshalBinary(); err != nil {
		return err
	}
	code := r.newCode(all)
	if err := r.write(all); err != nil {
		return err
	}
	r.wipePlain()
	r.sealed(code)
	r.log.Info("the keys were sealed", "tpm", r.o.Device, "bound_to", r.now.Binding, "keys", len(all))
	r.given(chip)
	return nil
}

// newCode makes a recovery code for the vault.
func (r *Ring) newCode(all secrets) tpm.RecoveryCode {
	code := tpm.NewRecoveryCode()
	r.vault.code = code.Lock(r.key, codeUse)
	delete(all, notedName)
	return code
}

const codeUse = "vault"

// sealed sets the state after the vault was opened; code is a new one or zero.
func (r *Ring) sealed(code tpm.RecoveryCode) {
	r.where = Sealed
	s := State{
		Where: Sealed, Binding: binding(r.vault.seals), HasCode: len(r.vault.code) > 0, CodeNoted: r.secrets[notedName] != nil,
		Unmeasured: r.o.Box && r.measured[4] == [32]byte{} && r.measured[11] == [32]byte{},
	}
	if r.o.Want == Resident {
		s.Where = Resident
	}
	if code != (tpm.RecoveryCode{}) {
		s.Code = code.String()
	}
	r.now = s
}

// tell publishes the state.
func (r *Ring) tell() {
	r.now.Open = r.open
	r.state.Set(r.now)
}

func binding(seals []*tpm.Sealed) Binding {
	switch {
	case len(seals) == 0:
		return ToNothing
	case seals[0].Policy.Release != nil:
		return ToRelease
	case seals[0].Policy.Device:
		return ToChip
	}
	return ToBoot
}

// reseal makes one seal for what runs now the vault's only one. Nothing is written yet.
func (r *Ring) reseal(chip *tpm.TPM) error {
	if err := r.measure(chip); err != nil {
		return err
	}
	policy, approvals := r.policy()
	s, err := chip.Seal(r.key, policy, nil)
	if err != nil {
		return err
	}
	// What it seals now it has to give back at the next start. On a box where it has already given them out, PCR 11 has
	// moved on, and only the next start can tell.
	if !r.moved(chip) {
		if back, err := chip.Unseal(s, approvals); err != nil || !bytes.Equal(back, r.key) {
			return fmt.Errorf("keys: what the TPM has sealed it does not give back: %w", err)
		}
	}
	r.vault.seals = []*tpm.Sealed{s}
	return nil
}

// measure notes what was measured before this process has extended it.
func (r *Ring) measure(chip *tpm.TPM) (err error) {
	if r.o.Box && r.measured == nil {
		r.measured, err = chip.ReadPCRs(bound...)
	}
	return err
}

// moved says whether PCRs are no more what they were at the start.
func (r *Ring) moved(chip *tpm.TPM) bool {
	if !r.o.Box {
		return false
	}
	now, err := chip.ReadPCRs(bound...)
	return err != nil || !maps.Equal(now, r.measured)
}

// policy is what new seals are bound to.
func (r *Ring) policy() (tpm.Policy, []tpm.Approval) {
	if !r.o.Box {
		return tpm.Policy{Device: true}, nil
	}
	if r.o.Release != nil {
		approvals := r.approvals()
		if slices.ContainsFunc(approvals, func(a tpm.Approval) bool { return a.Fits(r.o.Release, r.measured) }) {
			return tpm.Policy{Release: r.o.Release}, approvals
		}
		r.log.Warn("the release key has not approved of this system: the keys are bound to exactly this one")
	}
	return tpm.Policy{PCRs: maps.Clone(r.measured)}, nil
}

func (r *Ring) approvals() []tpm.Approval {
	if r.o.Approvals == nil {
		return nil
	}
	list, err := r.o.Approvals()
	if err != nil {
		r.log.Error("some approvals of systems cannot be read", "error", err)
	}
	return list
}

// unseal opens the vault with the chip.
func (r *Ring) unseal(vaults []*vault) error {
	chip, err := r.connect()
	if err != nil {
		return err
	}
	defer r.release(chip)
	if err := r.measure(chip); err != nil {
		return err
	}
	var worst *Problem
	for _, v := range vaults {
		key, err := r.tryVault(chip, v)
		if err == nil {
			if r.secrets, err = v.decrypt(key); err == nil {
				r.key, r.vault = key, v
				break
			}
		}
		// Of two copies, what is wrong with the newer counts, unless the older only shows that it is worse.
		if p := problem(err, r.o.Device); worst == nil || worst.Trouble == Damaged {
			worst = p
		}
	}
	if r.vault == nil {
		return worst
	}
	r.sealed(tpm.RecoveryCode{})
	r.tidy(vaults)
	r.given(chip)
	if r.o.Want == OnDisk {
		return r.moveOut()
	}
	return nil
}

// tryVault has the chip give back the key under any of the seals.
func (r *Ring) tryVault(chip *tpm.TPM, v *vault) ([]byte, error) {
	if len(v.seals) == 0 {
		return nil, fmt.Errorf("%w: no chip has sealed it", errDamaged)
	}
	approvals := r.approvals()
	var first error
	for _, s := range v.seals {
		err := chip.Trust(s.Anchor)
		var key []byte
		if err == nil {
			key, err = chip.Unseal(s, approvals)
		}
		if err == nil {
			return key, nil
		}
		if first == nil {
			first = err
		}
	}
	return nil, first
}

// tidy finishes what a power cut may have left half done.
func (r *Ring) tidy(vaults []*vault) {
	if len(vaults) < 2 || vaults[1].generation != vaults[0].generation || r.vault != vaults[0] {
		r.log.Warn("one of the two copies of the sealed keys was damaged or old; it is written again")
		r.vault.generation = vaults[0].generation // what is written is newer than both
		if err := r.write(r.secrets); err != nil {
			r.log.Error("writing the sealed keys", "error", err)
		}
	} else if err := r.note(); err != nil {
		r.log.Error("noting the TPM", "error", err)
	}
	r.wipePlain()
}

// given measures that the keys were given out.
func (r *Ring) given(chip *tpm.TPM) {
	if !r.o.Box {
		return
	}
	if err := chip.Extend(openedPCR, openedEvent); err != nil {
		r.log.Error("what runs later may get the keys, too: they could not be shut behind us", "error", err)
	}
}

// moveOut is for an owner who wants files.
func (r *Ring) moveOut() error {
	all := r.secrets
	for name, secret := range all {
		if name == floorName || name == notedName {
			continue
		}
		if err := state.Write(r.path(name), secret, 0o600); err != nil {
			return err
		}
	}
	// The vault last, and its mark first: without either the files count.
	for _, name := range []string{anchorFile, vaultFile, vaultCopy} {
		if err := os.Remove(r.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	r.log.Warn("the keys were taken out of the TPM's care, as postern.toml says", "keys", len(all))
	r.shut()
	r.plain("")
	return nil
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

// isPlain says whether a file in the state folder is one of the secrets. An owner's own key may lie there, too.
func isPlain(name string) bool {
	switch name {
	case "ca.key", "server.key", "state.key":
		return true
	}
	return strings.HasPrefix(name, "cert-") && strings.HasSuffix(name, ".key") && goodName.MatchString(name)
}

// plainNames lists the secrets in plain files.
func (r *Ring) plainNames() (names []string, err error) {
	entries, err := os.ReadDir(r.o.Dir)
	for _, e := range entries {
		if isPlain(e.Name()) && e.Type().IsRegular() {
			names = append(names, e.Name())
		}
	}
	return names, err
}

func (r *Ring) readPlain() (secrets, error) {
	names, err := r.plainNames()
	if err != nil {
		return nil, err
	}
	all := make(secrets)
	for _, name := range names {
		if all[name], err = readBounded(r.path(name), maxSecret); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// wipePlain removes the plain files of what is in the vault. One that says something else was written by an older Postern
// that knew of no vault, and is the owner's to judge.
func (r *Ring) wipePlain() {
	names, err := r.plainNames()
	if err != nil {
		r.log.Error("looking for plain keys", "error", err)
	}
	for _, name := range names {
		b, err := readBounded(r.path(name), maxSecret)
		if err == nil && !bytes.Equal(b, r.secrets[name]) {
			r.log.Warn("a key in a plain file is not the sealed one, which counts; remove the file", "file", r.path(name))
			continue
		}
		if err == nil {
			err = wipe(r.path(name))
		}
		if err != nil {
			r.log.Error("a plain key that is sealed now could not be removed; remove it", "file", r.path(name), "error", err)
			continue
		}
		r.log.Info("a plain key was overwritten and removed; flash memory may keep a trace of it for a while", "file", r.path(name))
	}
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
