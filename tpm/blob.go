package tpm

import (
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"maps"
	"slices"

	"golang.org/x/crypto/cryptobyte"
)

// The form of what is stored, big-endian, lengths before what they are of:
//
//	"PTPM"    what it is; "PTPK" is a resident key
//	uint8     version: 1
//	[34]      anchor
//	uint8     policy: 1 PCRs, uint8 count, each uint8 index and [32] value
//	                  2 release key, uint16 length, SubjectPublicKeyInfo
//	                  3 the chip alone
//	                  4 uint64 Least, uint64 Ceiling, and then 1 or 2; at least one of them is not 0
//	uint16    length, TPMT_PUBLIC
//	uint16    length, contents of TPM2B_PRIVATE
//	uint16    length, key encrypted with the recovery code, or nothing
//	uint32    length, secret encrypted with the key
//	[32]      SHA-256 of all this: tells damage from a wrong chip, and from a later form, which has it at its end, too
//
// A resident key is public and private, and a whole "PTPM" that holds its password, each with its length.
const (
	magicSealed   = "PTPM"
	magicResident = "PTPK"
	blobVersion   = 1

	policyPCRs    = 1
	policyRelease = 2
	policyDevice  = 3
	policyNumbers = 4
)

// maxBlob bounds what is read, in bytes.
const maxBlob = MaxSecret + 8<<10

// head is the part that says what it is, bound to the payload.
func (s *Sealed) head() ([]byte, error) {
	var b cryptobyte.Builder
	b.AddBytes([]byte(magicSealed))
	b.AddUint8(blobVersion)
	b.AddBytes(s.Anchor[:])
	if s.Policy.Device {
		b.AddUint8(policyDevice)
		return b.Bytes()
	}
	if s.Policy.Least != 0 || s.Policy.Ceiling != 0 {
		b.AddUint8(policyNumbers)
		b.AddUint64(s.Policy.Least)
		b.AddUint64(s.Policy.Ceiling)
	}
	if s.Policy.Release == nil {
		b.AddUint8(policyPCRs)
		b.AddUint8(uint8(len(s.Policy.PCRs)))
		for _, i := range slices.Sorted(maps.Keys(s.Policy.PCRs)) {
			v := s.Policy.PCRs[i]
			b.AddUint8(uint8(i))
			b.AddBytes(v[:])
		}
		return b.Bytes()
	}
	der, err := x509.MarshalPKIXPublicKey(s.Policy.Release)
	if err != nil {
		return nil, fmt.Errorf("tpm: the release key: %w", err)
	}
	b.AddUint8(policyRelease)
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(der) })
	return b.Bytes()
}

// MarshalBinary implements encoding.BinaryMarshaler.
func (s *Sealed) MarshalBinary() ([]byte, error) {
	head, err := s.head()
	if err != nil {
		return nil, err
	}
	b := cryptobyte.NewBuilder(head)
	for _, part := range [][]byte{s.public, s.private, s.recovery} {
		b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(part) })
	}
	b.AddUint32(uint32(len(s.payload)))
	b.AddBytes(s.payload)
	return summed(b)
}

func summed(b *cryptobyte.Builder) ([]byte, error) {
	all, err := b.Bytes()
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(all)
	return append(all, sum[:]...), nil
}

// unsummed checks the sum and returns what it is over.
func unsummed(b []byte, magic string) (cryptobyte.String, error) {
	n := len(b) - sha256.Size
	if len(b) > 2*maxBlob || n < len(magic)+1 {
		return nil, fmt.Errorf("tpm: %w: %d bytes", ErrDamaged, len(b))
	}
	if sum := sha256.Sum256(b[:n]); sum != [32]byte(b[n:]) {
		return nil, fmt.Errorf("tpm: %w: its checksum is wrong", ErrDamaged)
	}
	if string(b[:4]) != magic {
		return nil, fmt.Errorf("tpm: %w: it begins with %q", ErrDamaged, b[:4])
	}
	if b[4] != blobVersion {
		return nil, fmt.Errorf("tpm: %w: its form is %d, this one knows %d", ErrLater, b[4], blobVersion)
	}
	return cryptobyte.String(b[5:n]), nil
}

// UnmarshalBinary implements encoding.BinaryUnmarshaler.
func (s *Sealed) UnmarshalBinary(b []byte) error {
	r, err := unsummed(b, magicSealed)
	if err != nil {
		return err
	}
	var out Sealed
	var kind uint8
	if !r.CopyBytes(out.Anchor[:]) || !r.ReadUint8(&kind) {
		return fmt.Errorf("tpm: %w: it ends early", ErrDamaged)
	}
	if out.Policy, err = readPolicy(&r, kind); err != nil {
		return err
	}
	for _, part := range []*[]byte{&out.public, &out.private, &out.recovery} {
		var p cryptobyte.String
		if !r.ReadUint16LengthPrefixed(&p) {
			return fmt.Errorf("tpm: %w: it ends early", ErrDamaged)
		}
		*part = slices.Clone(p)
	}
	var n uint32
	if !r.ReadUint32(&n) || uint64(n) != uint64(len(r)) || n > maxBlob {
		return fmt.Errorf("tpm: %w: its length does not fit", ErrDamaged)
	}
	out.payload = slices.Clone(r)
	*s = out
	return nil
}

func readPolicy(r *cryptobyte.String, kind uint8) (p Policy, err error) {
	switch kind {
	case policyPCRs:
		var count uint8
		if !r.ReadUint8(&count) || count == 0 || count > maxPCR+1 {
			return p, fmt.Errorf("tpm: %w: a policy over %d PCRs", ErrDamaged, count)
		}
		p.PCRs = make(PCRs, count)
		last := -1
		for range count {
			var index uint8
			var value [32]byte
			if !r.ReadUint8(&index) || !r.CopyBytes(value[:]) || index > maxPCR || int(index) <= last {
				return p, fmt.Errorf("tpm: %w: its list of PCRs", ErrDamaged)
			}
			last = int(index)
			p.PCRs[last] = value
		}
		return p, nil
	case policyRelease:
		var der cryptobyte.String
		if !r.ReadUint16LengthPrefixed(&der) {
			return p, fmt.Errorf("tpm: %w: it ends early", ErrDamaged)
		}
		if p.Release, err = parseRelease(der); err != nil {
			return p, fmt.Errorf("tpm: %w: its release key: %w", ErrDamaged, err)
		}
		return p, nil
	case policyDevice:
		p.Device = true
		return p, nil
	case policyNumbers:
		var least, ceiling uint64
		if !r.ReadUint64(&least) || !r.ReadUint64(&ceiling) || least == 0 && ceiling == 0 || !r.ReadUint8(&kind) {
			return p, fmt.Errorf("tpm: %w: its policy's numbers", ErrDamaged)
		}
		if kind != policyPCRs && kind != policyRelease || kind == policyPCRs && least != 0 {
			return p, fmt.Errorf("tpm: %w: numbers with a policy of kind %d", ErrDamaged, kind)
		}
		p, err = readPolicy(r, kind)
		p.Least, p.Ceiling = least, ceiling
		return p, err
	}
	return p, fmt.Errorf("tpm: %w: a policy of kind %d", ErrLater, kind)
}
