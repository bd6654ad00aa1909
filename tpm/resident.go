package tpm

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/big"
	"slices"

	"github.com/google/go-tpm/tpm2"
	"golang.org/x/crypto/cryptobyte"
)

// A Resident is a signing key (ECDSA, P-256) that was made in the chip and never leaves it. Using it takes a password,
// which is sealed: the policy is judged once at boot, not at each signature. It has no recovery: who loses the chip
// makes another key.
type Resident struct {
	public, private []byte
	password        *Sealed
}

// NewResident makes a key whose use is bound to the policy.
func (t *TPM) NewResident(p Policy) (*Resident, error) {
	password := newPassword()
	defer clear(password)
	sealed, err := t.Seal(password, p, nil)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	parent, err := t.parent()
	if err != nil {
		return nil, err
	}
	rsp, err := tpm2.Create{
		ParentHandle: parent,
		InSensitive: tpm2.TPM2BSensitiveCreate{Sensitive: &tpm2.TPMSSensitiveCreate{
			UserAuth: tpm2.TPM2BAuth{Buffer: password},
		}},
		InPublic: tpm2.New2B(tpm2.TPMTPublic{
			Type: tpm2.TPMAlgECC, NameAlg: tpm2.TPMAlgSHA256,
			ObjectAttributes: tpm2.TPMAObject{
				FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true, UserWithAuth: true, NoDA: true, SignEncrypt: true,
			},
			Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{
				CurveID: tpm2.TPMECCNistP256,
				Scheme: tpm2.TPMTECCScheme{
					Scheme: tpm2.TPMAlgECDSA, Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgECDSA, &tpm2.TPMSSigSchemeECDSA{HashAlg: tpm2.TPMAlgSHA256}),
				},
			}),
		}),
	}.Execute(t.rw)
	if err != nil {
		return nil, fmt.Errorf("tpm: making a key: %w", err)
	}
	return &Resident{public: rsp.OutPublic.Bytes(), private: rsp.OutPrivate.Buffer, password: sealed}, nil
}

// newPassword is 192 random bits as text: go-tpm cuts a password at its first zero byte, the chip only at zeros that end
// it ([TPM2] part 1, 19.6.5), and 32 bytes are as much as it takes.
func newPassword() []byte {
	var b [24]byte
	rand.Read(b[:]) // never fails: it aborts the program instead
	return base64.RawURLEncoding.AppendEncode(nil, b[:])
}

// A Key signs in the chip. It is a crypto.Signer for SHA-256, which is what TLS 1.3 asks of P-256. Close takes it out
// of the chip again.
//
// Small chips have room for three objects, so one key at a time is in it. Another that signs takes its place, which costs
// it some 50 ms; and one that the chip has dropped, as it does when the machine sleeps, is loaded again.
type Key struct {
	t        *TPM
	resident *Resident
	password []byte
	public   *ecdsa.PublicKey

	handle tpm2.TPMHandle // while it is the TPM's loaded one
	name   tpm2.TPM2BName
}

// Load makes a resident key usable until Close. It fails as Unseal does.
func (t *TPM) Load(r *Resident, approvals []Approval) (*Key, error) {
	password, err := t.Unseal(r.password, approvals)
	if err != nil {
		return nil, err
	}
	public, err := r.Public()
	if err != nil {
		return nil, err
	}
	k := &Key{t: t, resident: r, password: password, public: public}
	t.mu.Lock()
	defer t.mu.Unlock()
	return k, k.load()
}

// Public returns the public half of the key.
func (r *Resident) Public() (*ecdsa.PublicKey, error) {
	pub, err := tpm2.Unmarshal[tpm2.TPMTPublic](r.public)
	if err != nil {
		return nil, fmt.Errorf("tpm: %w: %w", ErrDamaged, err)
	}
	k, err := tpm2.Pub(*pub)
	if err != nil {
		return nil, fmt.Errorf("tpm: %w: %w", ErrDamaged, err)
	}
	public, ok := k.(*ecdsa.PublicKey)
	if !ok {
		return nil, fmt.Errorf("tpm: %w: no key of P-256", ErrDamaged)
	}
	return public, nil
}

// load makes it the key that is in the chip.
func (k *Key) load() error {
	if k.t.loaded == k {
		return nil
	}
	parent, err := k.t.parent()
	if err != nil {
		return err
	}
	k.t.unload()
	rsp, err := k.t.load(parent, k.resident.public, k.resident.private)
	if err != nil {
		return err
	}
	k.handle, k.name, k.t.loaded = rsp.ObjectHandle, rsp.Name, k
	return nil
}

// unload takes the loaded key out of the chip.
func (t *TPM) unload() {
	if t.loaded != nil {
		t.flush(t.loaded.handle)
		t.loaded = nil
	}
}

// Public implements crypto.Signer.
func (k *Key) Public() crypto.PublicKey { return k.public }

// Sign implements crypto.Signer: an ASN.1 signature. The randomness is the chip's.
func (k *Key) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if opts.HashFunc() != crypto.SHA256 || len(digest) != crypto.SHA256.Size() {
		return nil, errors.New("tpm: the key signs SHA-256 only")
	}
	k.t.mu.Lock()
	defer k.t.mu.Unlock()
	if k.password == nil {
		return nil, errors.New("tpm: the key is closed")
	}
	sig, err := k.sign(digest)
	if errors.Is(err, tpm2.TPMRCReferenceH0) || errors.Is(err, tpm2.TPMRCHandle) {
		k.t.loaded = nil // the chip has dropped it
		sig, err = k.sign(digest)
	}
	return sig, err
}

func (k *Key) sign(digest []byte) ([]byte, error) {
	if err := k.load(); err != nil {
		return nil, err
	}
	rsp, err := tpm2.Sign{
		KeyHandle: tpm2.AuthHandle{
			Handle: k.handle, Name: k.name,
			// The answer is a signature: nothing in it could be encrypted, or need be.
			Auth: tpm2.HMAC(tpm2.TPMAlgSHA256, nonceSize, k.t.secrecy(tpm2.Auth(k.password), tpm2.AESEncryption(128, tpm2.EncryptIn))...),
		},
		Digest:     tpm2.TPM2BDigest{Buffer: bytes.Clone(digest)},
		Validation: tpm2.TPMTTKHashCheck{Tag: tpm2.TPMSTHashCheck},
	}.Execute(k.t.rw)
	if err != nil {
		return nil, fmt.Errorf("tpm: signing: %w", err)
	}
	sig, err := rsp.Signature.Signature.ECDSA()
	if err != nil {
		return nil, fmt.Errorf("tpm: signing: %w", err)
	}
	return asn1.Marshal(struct{ R, S *big.Int }{
		new(big.Int).SetBytes(sig.SignatureR.Buffer), new(big.Int).SetBytes(sig.SignatureS.Buffer),
	})
}

// Close takes the key out of the chip.
func (k *Key) Close() error {
	k.t.mu.Lock()
	defer k.t.mu.Unlock()
	clear(k.password)
	k.password = nil
	if k.t.loaded != k {
		return nil
	}
	k.t.loaded = nil
	_, err := tpm2.FlushContext{FlushHandle: k.handle}.Execute(k.t.rw)
	return err
}

// MarshalBinary implements encoding.BinaryMarshaler.
func (r *Resident) MarshalBinary() ([]byte, error) {
	sealed, err := r.password.MarshalBinary()
	if err != nil {
		return nil, err
	}
	b := cryptobyte.NewBuilder([]byte(magicResident))
	b.AddUint8(blobVersion)
	for _, part := range [][]byte{r.public, r.private, sealed} {
		b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(part) })
	}
	return summed(b)
}

// UnmarshalBinary implements encoding.BinaryUnmarshaler.
func (r *Resident) UnmarshalBinary(b []byte) error {
	in, err := unsummed(b, magicResident)
	if err != nil {
		return err
	}
	var public, private, sealed cryptobyte.String
	if !in.ReadUint16LengthPrefixed(&public) || !in.ReadUint16LengthPrefixed(&private) ||
		!in.ReadUint16LengthPrefixed(&sealed) || !in.Empty() {
		return fmt.Errorf("tpm: %w: its lengths do not fit", ErrDamaged)
	}
	out := Resident{public: slices.Clone(public), private: slices.Clone(private), password: new(Sealed)}
	if err := out.password.UnmarshalBinary(sealed); err != nil {
		return err
	}
	*r = out
	return nil
}
