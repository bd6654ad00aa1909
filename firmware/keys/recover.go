package keys

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/postern-nas/postern/tpm"
)

// Recover opens the vault with the owner's recovery code as it was typed, and seals it with the chip that is there for the
// system that runs now. Without a chip it is open until Postern ends, and stays sealed on the disk. The errors of a code
// are tpm.ErrCode and tpm.ErrOtherCode.
func (r *Ring) Recover(text string) error {
	code, err := tpm.ParseRecoveryCode(text)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.open {
		return errors.New("keys: they are open; there is nothing to recover")
	}
	unlock, err := r.lock()
	if err != nil {
		return err
	}
	defer unlock()
	vaults, err := readVaults(r.o.Dir)
	if err != nil {
		return problem(err, r.o.Device)
	}
	var first error
	for _, v := range vaults {
		key, err := code.Unlock(v.code, codeUse)
		if err == nil {
			r.secrets, err = v.decrypt(key)
		}
		if err == nil {
			r.key, r.vault = key, v
			r.vault.generation = vaults[0].generation
			break
		}
		if first == nil {
			first = err
		}
	}
	if r.vault == nil {
		return first
	}
	if err := r.sealAnew(); err != nil {
		p := problem(err, r.o.Device)
		r.where = Sealed
		r.now = State{
			Where: Sealed, HasCode: true, CodeNoted: true, Trouble: p.Trouble, Text: p.text(),
			Advice: "The keys were opened with the recovery code, until Postern ends. " + p.Advice(),
		}
		r.log.Error("the keys were opened with the recovery code, and could not be sealed again", "error", err)
	}
	r.open = true
	r.tell()
	select {
	case r.kick <- struct{}{}:
	default:
	}
	return nil
}

// sealAnew seals the vault with the chip that is there, whichever that is.
func (r *Ring) sealAnew() error {
	chip, err := r.connect()
	if err != nil {
		return err
	}
	defer r.release(chip)
	anchor, err := chip.Provision() // the owner's code stands for the anchor's
	if err != nil {
		return err
	}
	other := !slices.ContainsFunc(r.vault.seals, func(s *tpm.Sealed) bool { return s.Anchor == anchor })
	if other {
		if err := r.newFloor(chip, r.secrets); err != nil {
			return err
		}
	}
	old := r.vault.seals
	if err := r.reseal(chip, r.secrets); err != nil {
		r.vault.seals = old
		return err
	}
	r.secrets[notedName] = []byte{1} // who types it has it
	if err := r.write(r.secrets); err != nil {
		return err
	}
	r.sealed(tpm.RecoveryCode{})
	r.log.Warn("the keys were opened with the recovery code and sealed again", "another_tpm", other, "bound_to", r.now.Binding)
	r.given(chip)
	return nil
}

// NewCode makes another recovery code, which is in the State until CodeNoted; the old one is good for nothing from then on.
func (r *Ring) NewCode() (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var code tpm.RecoveryCode
	err := r.change(func(all secrets) error {
		code = r.newCode(all)
		return nil
	})
	if err != nil {
		return "", err
	}
	r.now.Code, r.now.HasCode, r.now.CodeNoted = code.String(), true, false
	r.tell()
	return r.now.Code, nil
}

// CodeNoted says that the owner has noted the recovery code. It is forgotten here.
func (r *Ring) CodeNoted() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	err := r.change(func(all secrets) error {
		all[notedName] = []byte{1}
		return nil
	})
	if err != nil {
		return err
	}
	r.now.Code, r.now.CodeNoted = "", true
	r.tell()
	return nil
}

// Reseal binds the keys to the system that runs, and to nothing that was allowed before. It is for after an update that was
// found good, before the floor is raised to it, and for when the way of binding has changed. Keys that no chip has are left
// where they are.
func (r *Ring) Reseal() error {
	err := r.withSealed(func(chip *tpm.TPM) error {
		err := r.change(func(all secrets) error { return r.reseal(chip, all) })
		if err == nil {
			r.now.Binding = binding(r.vault.seals)
			r.tell()
		}
		return err
	})
	if errors.Is(err, errNotSealed) {
		return nil
	}
	return err
}

// Why a system is not to have the keys.
var (
	ErrNotApproved = errors.New("the release key of this box has not approved of it")
	ErrTooOld      = errors.New("it is older than the version that this box's keys are sealed for")
)

// Allow lets another system have the keys, too: the release of that number, which will measure as pcrs say, which must have
// the registers 4, 11 and 12. It is for the system that an update starts next.
//
// Keys that are bound to releases need no sealing for it, and get none: if the release key has not approved of the system,
// Allow is ErrNotApproved, and ErrTooOld if it has, and a later one has sealed them. Without a chip nothing needs to be
// allowed.
func (r *Ring) Allow(number uint64, pcrs tpm.PCRs) error {
	for _, i := range bound {
		if _, ok := pcrs[i]; !ok {
			return fmt.Errorf("keys: it is not said what PCR %d will be", i)
		}
	}
	err := r.withSealed(func(chip *tpm.TPM) error {
		first := r.vault.seals[0].Policy
		if first.Device {
			return nil
		}
		if first.Release != nil {
			why := ErrNotApproved
			for _, a := range r.approvals() {
				switch {
				case !a.Fits(first.Release, pcrs):
				case first.Reaches(a.Number):
					return nil
				case a.Number < first.Least:
					why = ErrTooOld
				default: // too far ahead of what was sealed
					why = nil
				}
			}
			if why != nil {
				return why
			}
		}
		return r.change(func(all secrets) error { return r.allow(chip, all, number, pcrs) })
	})
	if errors.Is(err, errNotSealed) {
		return nil
	}
	return err
}

// allow seals the keys for another system, too.
func (r *Ring) allow(chip *tpm.TPM, all secrets, number uint64, pcrs tpm.PCRs) error {
	ceiling, err := r.ceiling(chip, all, number)
	if err != nil {
		return err
	}
	s, err := chip.Seal(r.key, tpm.Policy{PCRs: pcrs, Ceiling: ceiling}, nil)
	if err != nil {
		return err
	}
	// The running system's stays: it is the one to fall back to. An earlier one that was allowed does not.
	r.vault.seals = []*tpm.Sealed{r.vault.seals[0], s}
	if maps.Equal(r.vault.seals[0].Policy.PCRs, pcrs) {
		r.vault.seals = r.vault.seals[:1]
	}
	return nil
}

// ErrNoFloor says that there is no chip that keeps a version floor.
var ErrNoFloor = errors.New("keys: no TPM keeps a version floor here")

// Floor returns the lowest version that may be installed. Without a chip it is ErrNoFloor.
func (r *Ring) Floor() (floor uint64, err error) {
	err = r.withFloor(func(chip *tpm.TPM, k tpm.FloorKey) error {
		floor, err = chip.Floor(k)
		return err
	})
	return floor, err
}

// RaiseFloor makes to the lowest version that may be installed, at most tpm.MaxRaise above the present one. It does not rise
// above what the keys are sealed for, or nobody would have them any more: Reseal comes first.
func (r *Ring) RaiseFloor(to uint64) error {
	return r.withFloor(func(chip *tpm.TPM, k tpm.FloorKey) error {
		if c := r.vault.seals[0].Policy.Ceiling; c != 0 && k.Count(to) > c {
			return fmt.Errorf("keys: they are sealed for a version before %d", to)
		}
		return chip.RaiseFloor(k, to)
	})
}

func (r *Ring) withFloor(do func(*tpm.TPM, tpm.FloorKey) error) error {
	err := r.withSealed(func(chip *tpm.TPM) error {
		b := r.secrets[floorName]
		if b == nil {
			return ErrNoFloor
		}
		var k tpm.FloorKey
		if err := k.UnmarshalBinary(b); err != nil {
			return err
		}
		return do(chip, k)
	})
	if errors.Is(err, errNotSealed) {
		err = ErrNoFloor
	}
	return err
}

var errNotSealed = errors.New("keys: no TPM has them")

// withSealed does something with the chip that the vault is sealed with.
func (r *Ring) withSealed(do func(*tpm.TPM) error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case !r.open:
		return ErrShut
	case r.where != Sealed:
		return errNotSealed
	}
	chip, err := r.connect()
	if err != nil {
		return err
	}
	defer r.release(chip)
	if err := chip.Trust(r.vault.seals[0].Anchor); err != nil {
		return err
	}
	return do(chip)
}

// A Status is what can be said of keys without opening them.
type Status struct {
	Sealed  bool    `json:"sealed"`
	File    string  `json:"file,omitempty"` // in the state folder
	Binding Binding `json:"bound_to,omitempty"`
	Systems int     `json:"systems,omitempty"` // that may open them, when bound to boot
	HasCode bool    `json:"recovery_code"`
	Device  string  `json:"tpm"`
	Trouble Trouble `json:"trouble,omitempty"`
	Text    string  `json:"text,omitempty"`
	Advice  string  `json:"advice,omitempty"`
}

// Inspect looks at the keys in o.Dir and at the chip, and changes nothing.
func Inspect(o Options) Status {
	s := Status{Device: o.Device}
	blame := func(err error) {
		p := problem(err, o.Device)
		s.Trouble, s.Text, s.Advice = p.Trouble, p.text(), p.Advice()
	}
	vaults, err := readVaults(o.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(filepath.Join(o.Dir, anchorFile)); err == nil {
			blame(&Problem{Lost, nil, o.Device})
		}
		return s
	}
	s.Sealed, s.File = true, vaultFile
	if err != nil {
		blame(unreadable(err, o.Device))
		return s
	}
	v := vaults[0]
	s.Binding, s.HasCode, s.Systems = binding(v.seals), len(v.code) > 0, len(v.seals)
	chip, err := (&Ring{o: o}).connect()
	if err != nil {
		blame(err)
		return s
	}
	defer chip.Close()
	if len(v.seals) == 0 {
		blame(&Problem{Damaged, nil, o.Device})
	} else if err := chip.Trust(v.seals[0].Anchor); err != nil {
		blame(err)
	}
	return s
}
