package keys

import (
	"errors"
	"fmt"

	"github.com/postern-nas/postern/tpm"
)

// Where says where the keys are, or where the owner wants them.
type Where int

// Auto is for wishes: sealed if there is a TPM, on the disk if there is none. In a State it means that it is not known yet.
const (
	Auto     Where = iota
	Sealed         // in the vault: only this box's TPM opens it
	Resident       // the same, and the keys of certificates are in the TPM itself, which signs with them
	OnDisk         // in files that only the server may read
)

var whereNames = map[Where]string{Auto: "auto", Sealed: "sealed", Resident: "resident", OnDisk: "file"}

func (w Where) String() string { return whereNames[w] }

// ParseWhere reads what the configuration says.
func ParseWhere(s string) (Where, error) {
	for w, name := range whereNames {
		if name == s {
			return w, nil
		}
	}
	return Auto, fmt.Errorf("%q is no place for keys", s)
}

// Binding says what the TPM asks for before it opens the vault. The package's comment says what each is worth.
type Binding string

// Bindings.
const (
	ToNothing Binding = ""        // on the disk, or not open
	ToRelease Binding = "release" // systems that the release key approved of
	ToBoot    Binding = "boot"    // the very system that sealed it
	ToChip    Binding = "chip"    // any system
)

// Trouble is why the keys are not there, or not as safe as they should be.
type Trouble string

// Troubles.
const (
	None     Trouble = ""
	NoTPM    Trouble = "no-tpm"    // none there; with keys on the disk that is a fact, with sealed ones it keeps them shut
	OtherTPM Trouble = "other-tpm" // another one, or cleared
	Measured Trouble = "measured"  // another system was started
	Old      Trouble = "old"       // an older release than one that has run here was started
	Damaged  Trouble = "damaged"   // the vault cannot be read
	Later    Trouble = "later"     // the vault was written by a later version
	Lost     Trouble = "lost"      // the vault is gone
	Failing  Trouble = "failing"   // the chip does not do as it should
)

// A State is what an owner should know of the keys. It has no secret in it but Code.
type State struct {
	Open    bool // the server has them
	Where   Where
	Binding Binding
	// Unmeasured says that the board's firmware measures nothing, so ToBoot keeps out less than it says.
	Unmeasured bool
	Trouble    Trouble
	Text       string // one sentence about the trouble; "" without
	Advice     string // what to do, one sentence or two
	// Code is a recovery code that was just made, until [Ring.CodeNoted]. It is nowhere else.
	Code string
	// HasCode says that there is a code, and CodeNoted that its owner has said so.
	HasCode, CodeNoted bool
}

// A Problem keeps the keys shut.
type Problem struct {
	Trouble Trouble
	Err     error // nil: there is no more to say
	device  string
}

func (p *Problem) Error() string {
	if p.Err == nil {
		return p.text() + ". " + p.Advice()
	}
	return fmt.Sprintf("%s (%v). %s", p.text(), p.Err, p.Advice())
}

func (p *Problem) Unwrap() error { return p.Err }

// Passing says that it may be over by itself, so that trying again makes sense.
func (p *Problem) Passing() bool { return p.Trouble == NoTPM || p.Trouble == Failing }

func (p *Problem) text() string {
	switch p.Trouble {
	case NoTPM:
		if p.device == "" {
			return "The keys are sealed with a TPM, and [tpm] device names none"
		}
		return "The keys are to be sealed with a TPM, and there is none at " + p.device
	case OtherTPM:
		return "This is not the TPM that the keys were sealed with, or it was cleared"
	case Measured:
		return "The system that was started is not one that may have the keys"
	case Old:
		return "An older version was started than has run on this box before, and the TPM does not give it the keys"
	case Damaged:
		return "The file of sealed keys, " + vaultFile + ", is damaged"
	case Later:
		return "The file of sealed keys, " + vaultFile + ", was written by a later version of Postern; nothing of it was changed"
	case Lost:
		return "The file of sealed keys, " + vaultFile + ", is gone"
	}
	return "The TPM does not open the keys"
}

// Advice says what to do.
func (p *Problem) Advice() string {
	const code = "open the keys with the recovery code (postern key recover)"
	switch p.Trouble {
	case NoTPM:
		return "Look after the TPM, its driver and [tpm] device in postern.toml; or " + code
	case OtherTPM:
		return "Put the old TPM back; or " + code + ", which seals them with this one"
	case Measured:
		return "Start the system that Postern installed last; or, if it was you who changed it, " + code
	case Old:
		return "Put the version back that ran last, or a newer one; if it was you who put the old one there, " + code
	case Later:
		return "Put that version back, or a newer one"
	case Damaged, Lost:
		return "Put " + vaultFile + " back from a copy of the state folder. Without one, postern key reset makes a new identity: " +
			"every client has to trust the box anew, and every user needs a new password"
	}
	return "It is tried again by itself; or " + code
}

// unreadable is what is wrong with a vault that readVaults could not read.
func unreadable(err error, device string) *Problem {
	if errors.Is(err, errLater) {
		return &Problem{Later, err, device}
	}
	return &Problem{Damaged, err, device}
}

// problem finds out what an error from the chip means.
func problem(err error, device string) *Problem {
	var p *Problem
	switch {
	case errors.As(err, &p):
		return p
	case errors.Is(err, tpm.ErrOld):
		return &Problem{Old, err, device}
	case errors.Is(err, tpm.ErrMeasured):
		return &Problem{Measured, err, device}
	case errors.Is(err, tpm.ErrOtherTPM), errors.Is(err, tpm.ErrNotProvisioned):
		return &Problem{OtherTPM, nil, device}
	case errors.Is(err, errLater), errors.Is(err, tpm.ErrLater):
		return &Problem{Later, err, device}
	case errors.Is(err, tpm.ErrDamaged), errors.Is(err, errDamaged):
		return &Problem{Damaged, err, device}
	}
	return &Problem{Failing, err, device}
}
