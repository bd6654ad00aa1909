package tpm

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"
)

// A Sealed secret: the secret, encrypted with a key that only the chip has, and gives away under the policy only. The
// owner's recovery code opens it, too, without any chip.
type Sealed struct {
	Anchor   Anchor // of the chip
	Policy   Policy
	public   []byte // TPMT_PUBLIC and
	private  []byte // TPM2B_PRIVATE's contents: the object beneath the SRK that holds the key
	recovery []byte // the key again, encrypted with the recovery code; empty without one
	payload  []byte // the secret, encrypted with the key
}

// MaxSecret bounds what is sealed, in bytes: a certificate's key takes a hundredth of it.
const MaxSecret = 16 << 10

// Seal seals a secret to the chip and the policy. With a recovery code, the code opens it as well; nil: nothing else
// does, ever.
func (t *TPM) Seal(secret []byte, p Policy, code *RecoveryCode) (*Sealed, error) {
	if len(secret) > MaxSecret {
		return nil, fmt.Errorf("tpm: a secret of %d bytes", len(secret))
	}
	digest, err := p.digest()
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	parent, err := t.parent()
	if err != nil {
		return nil, err
	}
	key := make([]byte, 32)
	rand.Read(key) // never fails: it aborts the program instead
	defer clear(key)
	rsp, err := tpm2.Create{
		ParentHandle: parent,
		InSensitive: tpm2.TPM2BSensitiveCreate{Sensitive: &tpm2.TPMSSensitiveCreate{
			Data: tpm2.NewTPMUSensitiveCreate(&tpm2.TPM2BSensitiveData{Buffer: key}),
		}},
		InPublic: tpm2.New2B(tpm2.TPMTPublic{
			Type: tpm2.TPMAlgKeyedHash, NameAlg: tpm2.TPMAlgSHA256,
			// No password opens it, and no lockout after wrong ones concerns it: somebody who types wrong codes at the box
			// does not keep it from serving.
			ObjectAttributes: tpm2.TPMAObject{FixedTPM: true, FixedParent: true, NoDA: true},
			AuthPolicy:       tpm2.TPM2BDigest{Buffer: digest},
		}),
	}.Execute(t.rw)
	if err != nil {
		return nil, fmt.Errorf("tpm: sealing: %w", err)
	}
	s := &Sealed{Anchor: t.anchor, Policy: p, public: rsp.OutPublic.Bytes(), private: rsp.OutPrivate.Buffer}
	if code != nil {
		s.recovery = encrypt(code.key(s.Anchor), key, nil)
	}
	head, err := s.head()
	if err != nil {
		return nil, err
	}
	s.payload = encrypt(key, secret, head)
	return s, nil
}

// Unseal gives the secret back. It is ErrOtherTPM if this is not the chip it was sealed with, ErrMeasured if the chip
// finds that the policy does not hold, and ErrDamaged if s is not what Seal returned.
func (t *TPM) Unseal(s *Sealed, approvals []Approval) ([]byte, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	parent, err := t.parent()
	if err != nil {
		return nil, err
	}
	if s.Anchor != t.anchor {
		return nil, ErrOtherTPM
	}
	object, err := t.load(parent, s.public, s.private)
	if err != nil {
		return nil, err
	}
	defer t.flush(object.ObjectHandle)
	// TPM2_Unseal has nothing to encrypt on the way in.
	session, end, err := tpm2.PolicySession(t.rw, tpm2.TPMAlgSHA256, nonceSize, t.secrecy(tpm2.AESEncryption(128, tpm2.EncryptOut))...)
	if err != nil {
		return nil, fmt.Errorf("tpm: %w", err)
	}
	defer end() // what it leaves, the chip drops at its next start
	if err := t.satisfy(s.Policy, approvals, session.Handle()); err != nil {
		return nil, fmt.Errorf("tpm: the policy: %w", err)
	}
	rsp, err := tpm2.Unseal{
		ItemHandle: tpm2.AuthHandle{Handle: object.ObjectHandle, Name: object.Name, Auth: session},
	}.Execute(t.rw)
	switch {
	case errors.Is(err, tpm2.TPMRCPolicyFail), errors.Is(err, tpm2.TPMRCPCRChanged):
		return nil, fmt.Errorf("tpm: %w: %w", ErrMeasured, err)
	case err != nil:
		return nil, fmt.Errorf("tpm: unsealing: %w", err)
	}
	key := rsp.OutData.Buffer
	defer clear(key)
	return s.open(key)
}

// load has the chip take in an object that was made beneath the SRK.
func (t *TPM) load(parent tpm2.AuthHandle, public, private []byte) (*tpm2.LoadResponse, error) {
	rsp, err := tpm2.Load{
		ParentHandle: parent, InPrivate: tpm2.TPM2BPrivate{Buffer: private},
		InPublic: tpm2.BytesAs2B[tpm2.TPMTPublic](public),
	}.Execute(t.rw)
	var rc tpm2.TPMRC
	if errors.As(err, &rc) && !rc.IsWarning() { // a chip with no room, or no answer at all, says nothing of the object
		err = errors.Join(ErrDamaged, err)
	}
	if err != nil {
		return nil, fmt.Errorf("tpm: loading: %w", err)
	}
	return rsp, nil
}

// Recover gives the secret back to who has the recovery code: without the chip, whatever was measured.
func (s *Sealed) Recover(code RecoveryCode) ([]byte, error) {
	if len(s.recovery) == 0 {
		return nil, errors.New("tpm: this was sealed without a recovery code")
	}
	key, err := decrypt(code.key(s.Anchor), s.recovery, nil)
	if err != nil {
		return nil, ErrOtherCode
	}
	defer clear(key)
	return s.open(key)
}

// open decrypts the payload.
func (s *Sealed) open(key []byte) ([]byte, error) {
	head, err := s.head()
	if err != nil {
		return nil, err
	}
	secret, err := decrypt(key, s.payload, head)
	if err != nil {
		return nil, fmt.Errorf("tpm: %w", ErrDamaged)
	}
	return secret, nil
}

// encrypt is AES-256-GCM under a key that encrypts one thing in its life, the nonce before the text.
func encrypt(key, plain, with []byte) []byte {
	aead, err := gcm(key)
	if err != nil {
		panic(err) // keys are made here, of the right length
	}
	nonce := make([]byte, aead.NonceSize())
	rand.Read(nonce)
	return aead.Seal(nonce, nonce, plain, with)
}

func decrypt(key, sealed, with []byte) ([]byte, error) {
	aead, err := gcm(key)
	if err != nil {
		return nil, err
	}
	if len(sealed) < aead.NonceSize() {
		return nil, ErrDamaged
	}
	return aead.Open(nil, sealed[:aead.NonceSize()], sealed[aead.NonceSize():], with)
}

func gcm(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}
