package tpm

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"
)

// The floor is the lowest version that a box still installs. It is a counter in the chip's own memory, which the chip only
// lets rise ([TPM2] part 1, 37.2.4), and which stays when the box's disk is wiped or put back to an earlier state.
//
// Policies are compared with it by the chip itself (Policy.Ceiling), for which whoever has the chip may read it.
//
// Who may say what it is: raising it, and reading it so that the answer is believed, take a password that was made with it,
// in a session that is salted to the SRK, so neither the question nor the answer can be forged between processor and chip.
// Whoever can send commands to the chip can still remove the counter, since the owner hierarchy of our boxes has no password, and can define another. But
// not with our password: the next use of it fails with ErrFloorGone or ErrFloorReplaced, and nothing takes its place
// unnoticed. A new counter never begins below any that the chip ever had.

// What can be wrong with a floor.
var (
	// ErrFloorGone: there is no counter where ours was.
	ErrFloorGone = errors.New("the TPM has lost its version floor")
	// ErrFloorReplaced: there is a counter, but it is not ours.
	ErrFloorReplaced = errors.New("the version floor in the TPM is not the one that this box made")
)

// floorIndex is where the counter is, in the part that TCG's registry of handles leaves to owners.
const floorIndex tpm2.TPMHandle = 0x0181504E

// MaxRaise bounds how far the floor rises at once. The counter goes up one by one, at some 50 ms on a real chip: versions
// that are compared with it are numbers of releases, and not dates.
const MaxRaise = 1000

// floorPassword is the length of the password.
const floorPassword = 32

// A FloorKey is what it takes to read and raise one chip's floor. It is a secret: keep it sealed.
type FloorKey struct {
	password string
	base     uint64 // the counter's value that stands for 0
}

// MarshalBinary gives the key as 40 bytes: the counter's value that stands for 0, big-endian, and the password.
func (k FloorKey) MarshalBinary() ([]byte, error) {
	if len(k.password) != floorPassword {
		return nil, errors.New("tpm: no key of a version floor")
	}
	return append(binary.BigEndian.AppendUint64(nil, k.base), k.password...), nil
}

// UnmarshalBinary implements encoding.BinaryUnmarshaler.
func (k *FloorKey) UnmarshalBinary(b []byte) error {
	if len(b) != 8+floorPassword {
		return fmt.Errorf("tpm: %w: %d bytes are no key of a version floor", ErrDamaged, len(b))
	}
	*k = FloorKey{base: binary.BigEndian.Uint64(b), password: string(b[8:])}
	return nil
}

// DefineFloor makes a floor, at 0. One that is there is removed first: call it only when the box is set up, or when its
// owner has agreed to give up the old one. The chip has to be provisioned or trusted.
func (t *TPM) DefineFloor() (FloorKey, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, err := t.parent(); err != nil {
		return FloorKey{}, err
	}
	if err := t.removeFloor(); err != nil {
		return FloorKey{}, fmt.Errorf("tpm: removing an old version floor: %w", err)
	}
	k := FloorKey{password: string(newPassword())}
	_, err := tpm2.NVDefineSpace{
		AuthHandle: tpm2.AuthHandle{
			Handle: tpm2.TPMRHOwner,
			Auth:   tpm2.HMAC(tpm2.TPMAlgSHA256, nonceSize, t.secrecy(tpm2.AESEncryption(128, tpm2.EncryptIn))...),
		},
		Auth:       tpm2.TPM2BAuth{Buffer: []byte(k.password)},
		PublicInfo: tpm2.New2B(floorPublic(false, true)),
	}.Execute(t.rw)
	if err != nil {
		return FloorKey{}, fmt.Errorf("tpm: making a version floor: %w", err)
	}
	// The first step makes it one more than the highest that any counter of this chip has ever had.
	if err := t.stepFloor(k, false); err != nil {
		return FloorKey{}, err
	}
	k.base, err = t.readFloor(k)
	return k, err
}

// Floor returns the lowest version that may be installed.
func (t *TPM) Floor(k FloorKey) (uint64, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.floor(k)
}

func (t *TPM) floor(k FloorKey) (uint64, error) {
	if _, err := t.parent(); err != nil {
		return 0, err
	}
	now, err := t.readFloor(k)
	if err != nil {
		return 0, err
	}
	if now < k.base {
		return 0, ErrFloorReplaced
	}
	return now - k.base, nil
}

// RaiseFloor makes to the lowest version that may be installed. A floor that is there already, or higher, stays. When it
// ends early, by an error or because the power goes, the floor is somewhere between; raise it again.
func (t *TPM) RaiseFloor(k FloorKey, to uint64) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	now, err := t.floor(k)
	if err != nil || now >= to {
		return err
	}
	if to-now > MaxRaise {
		return fmt.Errorf("tpm: from version %d to %d is more than %d steps", now, to, MaxRaise)
	}
	for ; now < to; now++ {
		if err := t.stepFloor(k, true); err != nil {
			return err
		}
	}
	return nil
}

// floorPublic is the counter as the chip knows it. Both arguments are a part of its name: whether it was ever written, and
// whether policies can compare with it, which those cannot that boxes made at first. No lockout after wrong passwords
// concerns it.
func floorPublic(written, compared bool) tpm2.TPMSNVPublic {
	return tpm2.TPMSNVPublic{
		NVIndex: floorIndex, NameAlg: tpm2.TPMAlgSHA256,
		Attributes: tpm2.TPMANV{
			NT: tpm2.TPMNTCounter, AuthWrite: true, AuthRead: true, OwnerRead: compared, NoDA: true, Written: written,
		},
		DataSize: 8,
	}
}

// useFloor is the counter with its password.
func (t *TPM) useFloor(k FloorKey, written bool) (auth tpm2.AuthHandle, index tpm2.NamedHandle, err error) {
	compared, err := t.floorCompared()
	if err != nil {
		return auth, index, err
	}
	public := floorPublic(written, compared)
	name, err := tpm2.NVName(&public)
	if err != nil {
		return auth, index, err
	}
	auth = tpm2.AuthHandle{
		Handle: floorIndex, Name: *name,
		// Nothing in these commands is a secret; the salt is for who would answer in the chip's place.
		Auth: tpm2.HMAC(tpm2.TPMAlgSHA256, nonceSize, tpm2.Salted(srkHandle, t.srk), tpm2.Auth([]byte(k.password))),
	}
	return auth, tpm2.NamedHandle{Handle: floorIndex, Name: *name}, nil
}

func (t *TPM) readFloor(k FloorKey) (uint64, error) {
	auth, index, err := t.useFloor(k, true)
	if err != nil {
		return 0, err
	}
	rsp, err := tpm2.NVRead{AuthHandle: auth, NVIndex: index, Size: 8}.Execute(t.rw)
	if err != nil {
		return 0, floorError("reading", err)
	}
	if len(rsp.Data.Buffer) != 8 {
		return 0, fmt.Errorf("tpm: a version floor of %d bytes", len(rsp.Data.Buffer))
	}
	return binary.BigEndian.Uint64(rsp.Data.Buffer), nil
}

func (t *TPM) stepFloor(k FloorKey, written bool) error {
	auth, index, err := t.useFloor(k, written)
	if err != nil {
		return err
	}
	if _, err := (tpm2.NVIncrement{AuthHandle: auth, NVIndex: index}).Execute(t.rw); err != nil {
		return floorError("raising", err)
	}
	return nil
}

// Count is the counter's value when the floor is at that version: what a Policy has as its Ceiling.
func (k FloorKey) Count(floor uint64) uint64 { return k.base + floor }

// FloorCompares says whether a Policy may have a Ceiling: the floor that the chip has is of the kind for it.
func (t *TPM) FloorCompares() (bool, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.floorCompared()
}

// floorCompared believes the chip: who uses what it says proves it wrong if it is.
func (t *TPM) floorCompared() (bool, error) {
	rsp, err := tpm2.NVReadPublic{NVIndex: floorIndex}.Execute(t.rw)
	if err != nil {
		return false, floorError("looking at", err)
	}
	public, err := rsp.NVPublic.Contents()
	if err != nil {
		return false, fmt.Errorf("tpm: the version floor: %w", err)
	}
	return public.Attributes.OwnerRead, nil
}

// floorError tells a counter that is gone or another's from other failures.
func floorError(what string, err error) error {
	switch {
	case errors.Is(err, tpm2.TPMRCHandle):
		err = errors.Join(ErrFloorGone, err)
	// A wrong password; one that was never written or has other attributes has another name, which fails alike.
	case errors.Is(err, tpm2.TPMRCAuthFail), errors.Is(err, tpm2.TPMRCBadAuth), errors.Is(err, tpm2.TPMRCNVUninitialized),
		errors.Is(err, tpm2.TPMRCNVAuthorization), errors.Is(err, tpm2.TPMRCAuthUnavailable):
		err = errors.Join(ErrFloorReplaced, err)
	}
	return fmt.Errorf("tpm: %s the version floor: %w", what, err)
}

// removeFloor removes whatever is where our counter belongs.
func (t *TPM) removeFloor() error {
	rsp, err := tpm2.NVReadPublic{NVIndex: floorIndex}.Execute(t.rw)
	if errors.Is(err, tpm2.TPMRCHandle) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = tpm2.NVUndefineSpace{
		AuthHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(nil)},
		NVIndex:    tpm2.NamedHandle{Handle: floorIndex, Name: rsp.NVName},
	}.Execute(t.rw)
	return err
}
