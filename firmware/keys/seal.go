package keys

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"maps"
	"slices"

	"github.com/postern-nas/postern/tpm"
)

// The registers that keys are bound to: boot code, image, command line (firmware/boot logs them).
var bound = []int{4, 11, 12}

// openedEvent is what is measured when keys were given out, and where.
const openedPCR = 11

var openedEvent = []byte("postern: the keys were given out")

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
	if err := r.newFloor(chip, all); err != nil {
		return err
	}
	if err := r.reseal(chip, all); err != nil {
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

// newFloor makes a version floor, and keeps its key in all. A chip that takes none has none.
func (r *Ring) newFloor(chip *tpm.TPM, all secrets) error {
	floor, err := chip.DefineFloor()
	if err != nil {
		delete(all, floorName)
		r.log.Error("the TPM keeps no version floor: older versions can be installed", "error", err)
		return nil
	}
	all[floorName], err = floor.MarshalBinary()
	return err
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
	if s.Unmeasured {
		r.log.Warn("this board's firmware measures nothing: the keys are safe from who takes the disk, and not from who takes the box")
	}
	if code != (tpm.RecoveryCode{}) {
		s.Code = code.String()
	}
	r.now = s
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

// reseal makes one seal for what runs now the vault's only one. all is what is or will be in the vault. Nothing is written
// yet.
func (r *Ring) reseal(chip *tpm.TPM, all secrets) (err error) {
	if err := r.measure(chip); err != nil {
		return err
	}
	policy, approvals := r.policy()
	if r.o.Box {
		if policy.Ceiling, err = r.ceiling(chip, all, r.o.Number); err != nil {
			return err
		}
	}
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
		here := tpm.Policy{Release: r.o.Release, Least: r.o.Number}
		if slices.ContainsFunc(approvals, func(a tpm.Approval) bool { return here.Reaches(a.Number) && a.Fits(r.o.Release, r.measured) }) {
			return here, approvals
		}
		r.log.Warn("the release key has not approved of this system: the keys are bound to exactly this one")
	}
	return tpm.Policy{PCRs: maps.Clone(r.measured)}, nil
}

// ceiling is where the version floor may be at most for a release of that number to have the keys; 0 if it may be anywhere,
// because the chip keeps none, or none that it could compare with. If it is above it already, that is tpm.ErrOld: nobody would
// have the keys.
func (r *Ring) ceiling(chip *tpm.TPM, all secrets, number uint64) (uint64, error) {
	var k tpm.FloorKey
	if number == 0 || all[floorName] == nil || k.UnmarshalBinary(all[floorName]) != nil {
		return 0, nil
	}
	if ok, err := chip.FloorCompares(); !ok {
		r.log.Warn("an earlier version's copy of the keys stays good: the TPM's version floor does not guard them", "error", err)
		return 0, nil
	}
	now, err := chip.Floor(k)
	if err == nil && now > number {
		err = tpm.ErrOld
	}
	if err != nil {
		return 0, err
	}
	return k.Count(number), nil
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
	r.log.Info("the keys were opened", "tpm", r.o.Device, "bound_to", r.now.Binding, "keys", len(r.secrets))
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
