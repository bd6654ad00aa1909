// Package tpm keeps secrets with a TPM 2.0: a [Sealed] secret opens on this very chip only, and only while what was
// measured at boot is what its [Policy] asks for.
//
// Whoever can listen to the bus between processor and chip learns nothing: every command that carries a secret goes
// through a session that is salted to the chip's storage root key (SRK), with its parameters encrypted ([TPM2] part 1,
// section 19 and 21). Whoever sits on that bus and answers in the chip's place is found out, because the SRK's name is
// the [Anchor] that was noted when the box was set up.
package tpm

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
	"github.com/google/go-tpm/tpm2/transport/linuxtpm"
	"github.com/google/go-tpm/tpm2/transport/linuxudstpm"
)

// What can be wrong with a TPM or with what it was given. Others are the chip's own words, a tpm2.TPMRC.
var (
	// ErrNotProvisioned: the chip has no SRK where one belongs. It is new, or was cleared.
	ErrNotProvisioned = errors.New("the TPM has no storage root key: it is new, or was cleared")
	// ErrOtherTPM: the chip is not the one that the anchor was taken from, or was cleared since, or something between it
	// and us answers in its place.
	ErrOtherTPM = errors.New("this is not the TPM that the secrets were sealed with, or it was cleared")
	// ErrMeasured: what booted is not what the policy asks for.
	ErrMeasured = errors.New("the system that was measured at boot is not one that may open this")
	// ErrDamaged: a sealed secret that cannot be read.
	ErrDamaged = errors.New("the sealed secret is damaged")
	// ErrLater: a sealed secret in a form that this version does not know.
	ErrLater = errors.New("the secret was sealed by a later version of Postern")
)

// srkHandle is where the SRK is kept, by convention of the TCG (TPM v2.0 Provisioning Guidance, table 2).
const srkHandle tpm2.TPMHandle = 0x81000001

// An Anchor is the name of a chip's SRK: a hash over its public key, which no other chip has.
type Anchor [34]byte

// A TPM is one chip. Its methods may be called by any number of goroutines; the chip does one thing at a time.
type TPM struct {
	mu     sync.Mutex
	rw     transport.TPMCloser
	srk    tpm2.TPMTPublic // of the SRK that is trusted
	anchor Anchor          // its name; zero before Provision or Trust
	loaded *Key            // the resident key that is in the chip now; nil for none
}

// Open opens a TPM: a device, which should be a resource manager's such as /dev/tpmrm0, or the Unix socket of one in
// software. Before it can keep secrets, Provision or Trust it.
func Open(path string) (*TPM, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("tpm: %w", err)
	}
	open := linuxtpm.Open
	if info.Mode()&os.ModeSocket != 0 {
		open = linuxudstpm.Open
	}
	rw, err := open(path)
	if err != nil {
		return nil, fmt.Errorf("tpm: %s: %w", path, err)
	}
	return New(rw), nil
}

// New makes a TPM of a transport, which it closes in the end.
func New(rw transport.TPMCloser) *TPM { return &TPM{rw: patient{&bounded{TPMCloser: rw}}} }

// Close ends the use of the chip.
func (t *TPM) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.rw.Close()
}

// Provision prepares a chip on which nothing of ours is: it makes the SRK if none is there, trusts it, and returns the
// anchor to be noted. It must not be called when an anchor is known already; that is what Trust is for.
func (t *TPM) Provision() (Anchor, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	pub, name, err := t.readSRK()
	if errors.Is(err, ErrNotProvisioned) {
		if err := t.makeSRK(); err != nil {
			return Anchor{}, fmt.Errorf("tpm: making the storage root key: %w", err)
		}
		pub, name, err = t.readSRK()
	}
	if err != nil {
		return Anchor{}, err
	}
	t.srk, t.anchor = pub, name
	return name, nil
}

// Trust checks that this is the chip that the anchor was taken from: ErrNotProvisioned or ErrOtherTPM if it is not.
func (t *TPM) Trust(a Anchor) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	pub, name, err := t.readSRK()
	if err != nil {
		return err
	}
	if name != a {
		return ErrOtherTPM
	}
	t.srk, t.anchor = pub, name
	return nil
}

// readSRK returns the public part of the SRK and its name, calculated here: what the chip says of the name proves
// nothing.
func (t *TPM) readSRK() (pub tpm2.TPMTPublic, name Anchor, err error) {
	rsp, err := tpm2.ReadPublic{ObjectHandle: srkHandle}.Execute(t.rw)
	if errors.Is(err, tpm2.TPMRCHandle) {
		return pub, name, ErrNotProvisioned
	}
	if err != nil {
		return pub, name, fmt.Errorf("tpm: reading the storage root key: %w", err)
	}
	p, err := rsp.OutPublic.Contents()
	if err != nil {
		return pub, name, fmt.Errorf("tpm: the storage root key: %w", err)
	}
	n, err := tpm2.ObjectName(p)
	if err != nil || len(n.Buffer) != len(name) {
		return pub, name, fmt.Errorf("tpm: the storage root key's name of %d bytes: %w", len(n.Buffer), err)
	}
	// A key that leaves the chip, or that anyone may use to decrypt what they like, is no root.
	want, have := tpm2.ECCSRKTemplate.ObjectAttributes, p.ObjectAttributes
	if p.Type != tpm2.TPMAlgECC || have.FixedTPM != want.FixedTPM || have.FixedParent != want.FixedParent ||
		have.Restricted != want.Restricted || have.Decrypt != want.Decrypt || have.SignEncrypt != want.SignEncrypt {
		return pub, name, fmt.Errorf("tpm: the key at %#x is no storage root key of P-256", uint32(srkHandle))
	}
	return *p, Anchor(n.Buffer), nil
}

func (t *TPM) makeSRK() error {
	rsp, err := tpm2.CreatePrimary{
		PrimaryHandle: tpm2.TPMRHOwner, InPublic: tpm2.New2B(tpm2.ECCSRKTemplate),
	}.Execute(t.rw)
	if err != nil {
		return err
	}
	defer t.flush(rsp.ObjectHandle)
	_, err = tpm2.EvictControl{
		Auth:             tpm2.TPMRHOwner,
		ObjectHandle:     &tpm2.NamedHandle{Handle: rsp.ObjectHandle, Name: rsp.Name},
		PersistentHandle: srkHandle,
	}.Execute(t.rw)
	return err
}

// flush takes a loaded object or session out of the chip.
func (t *TPM) flush(h tpm2.TPMHandle) { _, _ = tpm2.FlushContext{FlushHandle: h}.Execute(t.rw) }

// parent is the SRK as the parent of what is made and loaded beneath it, used through a session of its own that
// encrypts the first parameter of the command and of the response.
func (t *TPM) parent() (tpm2.AuthHandle, error) {
	if t.anchor == (Anchor{}) {
		return tpm2.AuthHandle{}, errors.New("tpm: neither provisioned nor trusted")
	}
	return tpm2.AuthHandle{
		Handle: srkHandle, Name: tpm2.TPM2BName{Buffer: bytes.Clone(t.anchor[:])},
		Auth: tpm2.HMAC(tpm2.TPMAlgSHA256, nonceSize, t.secrecy()...),
	}, nil
}

const nonceSize = 16

// secrecy makes a session one that only the trusted SRK's chip can follow.
func (t *TPM) secrecy(more ...tpm2.AuthOption) []tpm2.AuthOption {
	return append([]tpm2.AuthOption{
		tpm2.Salted(srkHandle, t.srk), tpm2.AESEncryption(128, tpm2.EncryptInOut),
	}, more...)
}

// ErrSilent is a chip that does not answer.
var ErrSilent = errors.New("the TPM does not answer")

// silence is how long a chip may take for one answer. The slowest commands that are sent here take a second or two.
const silence = time.Minute

// bounded gives up on a chip that does not answer, for good: whatever it says later is no answer to the next command.
type bounded struct {
	transport.TPMCloser
	dead bool // under TPM.mu
}

func (b *bounded) Send(cmd []byte) ([]byte, error) {
	if b.dead {
		return nil, ErrSilent
	}
	type answer struct {
		rsp []byte
		err error
	}
	answers := make(chan answer, 1)
	go func() {
		rsp, err := b.TPMCloser.Send(cmd)
		answers <- answer{rsp, err}
	}()
	late := time.NewTimer(silence)
	defer late.Stop()
	select {
	case a := <-answers:
		return a.rsp, a.err
	case <-late.C:
		b.dead = true
		return nil, ErrSilent
	}
}

// patient sends a command again that the chip had no time for, [TPM2] part 2, 6.6.3: TPM_RC_RETRY, _YIELDED, _NV_RATE and
// _TESTING say that nothing was done.
type patient struct{ transport.TPMCloser }

// A chip that tests itself may take a second or two; one that is busy for longer is broken.
const (
	patience = 40
	pause    = 100 * time.Millisecond
)

func (p patient) Send(cmd []byte) (rsp []byte, err error) {
	for range patience {
		if rsp, err = p.TPMCloser.Send(cmd); err != nil || !again(rsp) {
			return rsp, err
		}
		time.Sleep(pause)
	}
	return rsp, err
}

func again(rsp []byte) bool {
	if len(rsp) < 10 {
		return false
	}
	rc := tpm2.TPMRC(uint32(rsp[6])<<24 | uint32(rsp[7])<<16 | uint32(rsp[8])<<8 | uint32(rsp[9]))
	return rc == tpm2.TPMRCRetry || rc == tpm2.TPMRCYielded || rc == tpm2.TPMRCTesting || rc == tpm2.TPMRCNVRate
}
