package tpm

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"slices"

	"github.com/google/go-tpm/tpm2"
)

// PCRs are values of platform configuration registers in the SHA-256 bank, by index.
type PCRs map[int][32]byte

// maxPCR is the last register a PC client's chip has.
const maxPCR = 23

// A Policy says when the chip gives a secret back: when the PCRs have what the holder of Release has approved of, at any
// time; or, without Release, when they have exactly these values; or, with Device alone, whatever was measured: to whoever
// has the chip and the sealed secret together.
type Policy struct {
	Release *ecdsa.PublicKey // P-256
	// Least, with Release, is the lowest number of a release that may open it; Reach-1 above it is the highest. 0: approvals
	// of number 0 alone.
	Least  uint64
	PCRs   PCRs
	Device bool
	// Ceiling, with Release or PCRs, is where the version floor's counter may be at most (FloorKey.Count): when the floor
	// has risen above it, nobody opens the secret any more, from however old a copy of the disk. 0: wherever it is.
	Ceiling uint64
}

// An Approval says that a system that measures as PCRs do is the release Number, and may open what a Policy with Release
// protects. Whoever builds a release makes one for each chain of boot loaders and each device tree, from PCRs calculated in
// advance.
type Approval struct {
	Number    uint64
	PCRs      []int  // which registers
	Digest    []byte // of the policy over their values
	Signature []byte // ASN.1, over Digest and approvalRef
}

// approvalRef keeps an approval from being taken for anything else that the release key may sign, or for one of another
// release: it is a part of the policy, so the chip itself knows which release it approves of. No chip has room for less than
// 32 bytes.
func approvalRef(number uint64) []byte {
	if number == 0 {
		return []byte("postern boot 1")
	}
	return fmt.Appendf(nil, "postern boot 2 %d", number)
}

// Approve signs that a system that measures as pcrs do is the release of that number, and may open what is sealed for
// releases of key.
func Approve(key crypto.Signer, number uint64, pcrs PCRs) (Approval, error) {
	if len(pcrs) == 0 {
		return Approval{}, errors.New("tpm: an approval of nothing")
	}
	digest, err := pcrPolicy(pcrs)
	if err != nil {
		return Approval{}, err
	}
	hash := approvalHash(digest, number)
	sig, err := key.Sign(nil, hash[:], crypto.SHA256) // without randomness: images are the same bytes each time
	if err != nil {
		return Approval{}, err
	}
	return Approval{Number: number, PCRs: slices.Sorted(maps.Keys(pcrs)), Digest: digest, Signature: sig}, nil
}

// Fits says whether the approval is the release key's, and for a system that measures as pcrs do.
func (a Approval) Fits(release *ecdsa.PublicKey, pcrs PCRs) bool {
	those := PCRs{}
	for _, i := range a.PCRs {
		v, ok := pcrs[i]
		if !ok {
			return false
		}
		those[i] = v
	}
	digest, err := pcrPolicy(those)
	hash := approvalHash(a.Digest, a.Number)
	return err == nil && len(those) > 0 && bytes.Equal(digest, a.Digest) && ecdsa.VerifyASN1(release, hash[:], a.Signature)
}

// approvalHash is what the release key signs, [TPM2] part 3, 23.16: aHash.
func approvalHash(digest []byte, number uint64) [32]byte {
	return sha256.Sum256(append(bytes.Clone(digest), approvalRef(number)...))
}

// selection is a list of registers as the chip wants it.
func selection(pcrs []int) (tpm2.TPMLPCRSelection, error) {
	list := make([]uint, 0, len(pcrs))
	for _, i := range pcrs {
		if i < 0 || i > maxPCR {
			return tpm2.TPMLPCRSelection{}, fmt.Errorf("tpm: there is no PCR %d", i)
		}
		list = append(list, uint(i))
	}
	return tpm2.TPMLPCRSelection{PCRSelections: []tpm2.TPMSPCRSelection{{
		Hash: tpm2.TPMAlgSHA256, PCRSelect: tpm2.PCClientCompatible.PCRs(list...),
	}}}, nil
}

// pcrPolicy is the digest of TPM2_PolicyPCR alone, [TPM2] part 3, 23.7.
func pcrPolicy(pcrs PCRs) ([]byte, error) {
	order := slices.Sorted(maps.Keys(pcrs))
	sel, err := selection(order)
	if err != nil {
		return nil, err
	}
	values := sha256.New()
	for _, i := range order {
		v := pcrs[i]
		values.Write(v[:])
	}
	h := sha256.New()
	h.Write(make([]byte, 32))
	h.Write(binary.BigEndian.AppendUint32(nil, uint32(tpm2.TPMCCPolicyPCR)))
	h.Write(tpm2.Marshal(sel))
	h.Write(values.Sum(nil))
	return h.Sum(nil), nil
}

// devicePolicy is the digest of TPM2_PolicyCommandCode for TPM2_Unseal, [TPM2] part 3, 23.11: a policy that always holds
// needs some command in it, and this one permits what is done with it anyway.
func devicePolicy() []byte {
	h := sha256.New()
	h.Write(make([]byte, 32))
	h.Write(binary.BigEndian.AppendUint32(nil, uint32(tpm2.TPMCCPolicyCommandCode)))
	h.Write(binary.BigEndian.AppendUint32(nil, uint32(tpm2.TPMCCUnseal)))
	return h.Sum(nil)
}

// digest is what the chip must come to for the secret.
func (p Policy) digest() (digest []byte, err error) {
	switch {
	case p.Release != nil && (p.Device || p.PCRs != nil) || p.Device && (p.PCRs != nil || p.Ceiling != 0) || p.Release == nil && p.Least != 0:
		return nil, errors.New("tpm: a policy of two kinds")
	case p.Device:
		return devicePolicy(), nil
	case p.Release == nil && len(p.PCRs) == 0:
		return nil, errors.New("tpm: a policy that asks for nothing")
	case p.Release == nil:
		digest, err = pcrPolicy(p.PCRs)
	default:
		digest, err = p.releaseDigest()
	}
	if err != nil || p.Ceiling == 0 {
		return digest, err
	}
	return ceilingDigest(digest, p.Ceiling)
}

// releaseDigest is the digest of TPM2_PolicyAuthorize, and, when numbers count, of the releases that may be.
func (p Policy) releaseDigest() ([]byte, error) {
	pub, err := releasePublic(p.Release)
	if err != nil {
		return nil, err
	}
	name, err := tpm2.ObjectName(&pub)
	if err != nil {
		return nil, err
	}
	if p.Least == 0 {
		return authorizeDigest(name.Buffer, 0), nil
	}
	levels := releaseTree(name.Buffer, p.Least)
	return levels[len(levels)-1][0], nil
}

// authorizeDigest is the digest of TPM2_PolicyAuthorize, which starts anew and extends twice, [TPM2] part 3, 23.16 with 23.2.3.
func authorizeDigest(keyName []byte, number uint64) []byte {
	h := sha256.New()
	h.Write(make([]byte, 32))
	h.Write(binary.BigEndian.AppendUint32(nil, uint32(tpm2.TPMCCPolicyAuthorize)))
	h.Write(keyName)
	first := h.Sum(nil)
	h.Reset()
	h.Write(first)
	h.Write(approvalRef(number))
	return h.Sum(nil)
}

// releasePublic is the release key as the chip knows it. Every field is part of its name, and so of each policy: a
// change here makes what is sealed unreadable.
func releasePublic(key *ecdsa.PublicKey) (pub tpm2.TPMTPublic, err error) {
	if key.Curve != elliptic.P256() {
		return pub, errors.New("tpm: the release key is not on P-256")
	}
	point, err := key.Bytes() // 4, X, Y
	if err != nil {
		return pub, fmt.Errorf("tpm: the release key: %w", err)
	}
	return tpm2.TPMTPublic{
		Type: tpm2.TPMAlgECC, NameAlg: tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{SignEncrypt: true, UserWithAuth: true},
		Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{
			CurveID: tpm2.TPMECCNistP256,
			Scheme: tpm2.TPMTECCScheme{
				Scheme: tpm2.TPMAlgECDSA, Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgECDSA, &tpm2.TPMSSigSchemeECDSA{HashAlg: tpm2.TPMAlgSHA256}),
			},
		}),
		Unique: tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{
			X: tpm2.TPM2BECCParameter{Buffer: point[1:33]}, Y: tpm2.TPM2BECCParameter{Buffer: point[33:]},
		}),
	}, nil
}

// satisfy brings a policy session to the policy's digest, as far as the chip agrees. Of approvals, the one that fits the
// present PCRs is used; without any that does, it is ErrMeasured, or ErrOld if it is of too old a release.
func (t *TPM) satisfy(p Policy, approvals []Approval, session tpm2.TPMISHPolicy) (err error) {
	switch {
	case p.Device:
		_, err = tpm2.PolicyCommandCode{PolicySession: session, Code: tpm2.TPMCCUnseal}.Execute(t.rw)
	case p.Release == nil:
		err = t.policyPCR(slices.Sorted(maps.Keys(p.PCRs)), session)
	default:
		err = t.satisfyRelease(p, approvals, session)
	}
	if err != nil || p.Ceiling == 0 {
		return err
	}
	return t.below(p.Ceiling, session)
}

// satisfyRelease is satisfy for a release key.
func (t *TPM) satisfyRelease(p Policy, approvals []Approval, session tpm2.TPMISHPolicy) error {
	pub, err := releasePublic(p.Release)
	if err != nil {
		return err
	}
	why := ErrMeasured
	for _, a := range approvals {
		now, err := t.readPCRs(a.PCRs)
		if err != nil {
			return err
		}
		switch {
		case !a.Fits(p.Release, now):
			continue
		case a.Number < p.Least:
			why = ErrOld
			continue
		case !p.Reaches(a.Number):
			why = fmt.Errorf("%w: it is release %d, and the highest that may open this is %d", ErrMeasured, a.Number, p.Least+Reach-1)
			continue
		}
		name, err := t.authorize(pub, a, session)
		if err != nil || p.Least == 0 {
			return err
		}
		return t.among(releaseTree(name, p.Least), a.Number-p.Least, session)
	}
	return why
}

func (t *TPM) policyPCR(pcrs []int, session tpm2.TPMISHPolicy) error {
	sel, err := selection(pcrs)
	if err != nil {
		return err
	}
	_, err = tpm2.PolicyPCR{PolicySession: session, Pcrs: sel}.Execute(t.rw)
	return err
}

// authorize has the chip check the approval itself and take it for the policy. It returns the release key's name.
func (t *TPM) authorize(pub tpm2.TPMTPublic, a Approval, session tpm2.TPMISHPolicy) (name []byte, err error) {
	if err := t.policyPCR(a.PCRs, session); err != nil {
		return nil, err
	}
	key, err := tpm2.LoadExternal{InPublic: tpm2.New2B(pub), Hierarchy: tpm2.TPMRHOwner}.Execute(t.rw)
	if err != nil {
		return nil, fmt.Errorf("loading the release key: %w", err)
	}
	defer t.flush(key.ObjectHandle)
	var sig struct{ R, S *big.Int }
	if rest, err := asn1.Unmarshal(a.Signature, &sig); err != nil || len(rest) > 0 {
		return nil, fmt.Errorf("the approval's signature: %w", errors.Join(err, ErrDamaged))
	}
	hash := approvalHash(a.Digest, a.Number)
	ok, err := tpm2.VerifySignature{
		KeyHandle: key.ObjectHandle, Digest: tpm2.TPM2BDigest{Buffer: hash[:]},
		Signature: tpm2.TPMTSignature{SigAlg: tpm2.TPMAlgECDSA, Signature: tpm2.NewTPMUSignature(tpm2.TPMAlgECDSA, &tpm2.TPMSSignatureECC{
			Hash:       tpm2.TPMAlgSHA256,
			SignatureR: tpm2.TPM2BECCParameter{Buffer: sig.R.FillBytes(make([]byte, 32))},
			SignatureS: tpm2.TPM2BECCParameter{Buffer: sig.S.FillBytes(make([]byte, 32))},
		})},
	}.Execute(t.rw)
	if err != nil {
		return nil, fmt.Errorf("the approval's signature: %w", err)
	}
	_, err = tpm2.PolicyAuthorize{
		PolicySession: session, ApprovedPolicy: tpm2.TPM2BDigest{Buffer: a.Digest}, PolicyRef: tpm2.TPM2BDigest{Buffer: approvalRef(a.Number)},
		KeySign: key.Name, CheckTicket: ok.Validation,
	}.Execute(t.rw)
	return key.Name.Buffer, err
}

// ReadPCRs returns the present values.
func (t *TPM) ReadPCRs(pcrs ...int) (PCRs, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.readPCRs(pcrs)
}

func (t *TPM) readPCRs(pcrs []int) (PCRs, error) {
	values := PCRs{}
	for _, i := range pcrs { // one at a time: how many fit into an answer is the chip's choice
		sel, err := selection([]int{i})
		if err != nil {
			return nil, err
		}
		rsp, err := tpm2.PCRRead{PCRSelectionIn: sel}.Execute(t.rw)
		if err != nil {
			return nil, fmt.Errorf("tpm: reading PCR %d: %w", i, err)
		}
		if len(rsp.PCRValues.Digests) != 1 || len(rsp.PCRValues.Digests[0].Buffer) != 32 {
			return nil, fmt.Errorf("tpm: the chip has no PCR %d in SHA-256", i)
		}
		values[i] = [32]byte(rsp.PCRValues.Digests[0].Buffer)
	}
	return values, nil
}

// Extend measures data into a register. What was sealed to its value before does not open again until the next boot.
func (t *TPM) Extend(pcr int, data []byte) error {
	if pcr < 0 || pcr > maxPCR {
		return fmt.Errorf("tpm: there is no PCR %d", pcr)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	sum := sha256.Sum256(data)
	_, err := tpm2.PCRExtend{
		PCRHandle: tpm2.AuthHandle{Handle: tpm2.TPMHandle(pcr), Auth: tpm2.PasswordAuth(nil)},
		Digests:   tpm2.TPMLDigestValues{Digests: []tpm2.TPMTHA{{HashAlg: tpm2.TPMAlgSHA256, Digest: sum[:]}}},
	}.Execute(t.rw)
	if err != nil {
		return fmt.Errorf("tpm: extending PCR %d: %w", pcr, err)
	}
	return nil
}

// Extended is the value that a register has after data was measured into it.
func Extended(value [32]byte, data []byte) [32]byte {
	sum := sha256.Sum256(data)
	return sha256.Sum256(append(value[:], sum[:]...))
}

// parseRelease reads the release key of a sealed secret.
func parseRelease(der []byte) (*ecdsa.PublicKey, error) {
	k, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, err
	}
	key, ok := k.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("not a key on P-256")
	}
	return key, nil
}
