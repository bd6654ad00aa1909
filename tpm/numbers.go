package tpm

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"
)

// How the chip itself keeps old releases out. An approval has the number of its release in its policyRef, which
// TPM2_PolicyAuthorize makes a part of the policy. A secret that is sealed for releases from Least on has a policy that is
// any of Reach of those: TPM2_PolicyOR takes eight at a time, so it is a tree. Behind that, TPM2_PolicyNV asks that the
// version floor has not risen above Ceiling. The tree keeps an old release from what is sealed now, and the floor keeps it
// from what was sealed in its own time and was put back on the disk since.
//
// The floor's counter goes up whatever is done to it, also by who removes it and makes another; and what a chip that was
// cleared knew to open, it opens no more. So that can shut the secret, and never open it.

// Reach is how many releases' numbers a sealed secret takes, from Least on.
const Reach = branches * branches * branches

// branches is how many policies TPM2_PolicyOR takes, [TPM2] part 3, 23.6.
const branches = 8

// ErrOld: what booted is approved of, but older than what this secret was sealed for.
var ErrOld = errors.New("the system that was started is older than one that has run with this TPM before")

// Reaches says whether a release of that number may open what is sealed under p.
func (p Policy) Reaches(number uint64) bool {
	if p.Least == 0 {
		return number == 0
	}
	return number >= p.Least && number-p.Least < Reach
}

// releaseTree has the policies of Reach releases, then those of each eight of them, and so on; the last level is one.
func releaseTree(keyName []byte, least uint64) (levels [][][]byte) {
	var level [][]byte
	for i := range uint64(Reach) {
		level = append(level, authorizeDigest(keyName, least+i))
	}
	levels = append(levels, level)
	for len(level) > 1 {
		var above [][]byte
		for i := 0; i < len(level); i += branches {
			above = append(above, orDigest(level[i:i+branches]))
		}
		level = above
		levels = append(levels, level)
	}
	return levels
}

// orDigest is the digest of TPM2_PolicyOR, which starts anew, [TPM2] part 3, 23.6.
func orDigest(of [][]byte) []byte {
	h := sha256.New()
	h.Write(make([]byte, 32))
	h.Write(binary.BigEndian.AppendUint32(nil, uint32(tpm2.TPMCCPolicyOR)))
	for _, d := range of {
		h.Write(d)
	}
	return h.Sum(nil)
}

// among takes a session that has the policy of leaf number at to the tree's top.
func (t *TPM) among(levels [][][]byte, at uint64, session tpm2.TPMISHPolicy) error {
	for _, level := range levels[:len(levels)-1] {
		first := at / branches * branches
		var list tpm2.TPMLDigest
		for _, d := range level[first : first+branches] {
			list.Digests = append(list.Digests, tpm2.TPM2BDigest{Buffer: d})
		}
		if _, err := (tpm2.PolicyOr{PolicySession: session, PHashList: list}).Execute(t.rw); err != nil {
			return fmt.Errorf("the release's number: %w", err)
		}
		at /= branches
	}
	return nil
}

// ceilingDigest is the digest of TPM2_PolicyNV over the floor's counter, behind one before it, [TPM2] part 3, 23.9.
func ceilingDigest(before []byte, ceiling uint64) ([]byte, error) {
	public := floorPublic(true, true)
	name, err := tpm2.NVName(&public)
	if err != nil {
		return nil, err
	}
	args := binary.BigEndian.AppendUint64(nil, ceiling)
	args = binary.BigEndian.AppendUint16(args, 0) // offset
	args = binary.BigEndian.AppendUint16(args, uint16(tpm2.TPMEOUnsignedLE))
	sum := sha256.Sum256(args)
	h := sha256.New()
	h.Write(before)
	h.Write(binary.BigEndian.AppendUint32(nil, uint32(tpm2.TPMCCPolicyNV)))
	h.Write(sum[:])
	h.Write(name.Buffer)
	return h.Sum(nil), nil
}

// below has the chip look whether the floor has not risen above ceiling.
func (t *TPM) below(ceiling uint64, session tpm2.TPMISHPolicy) error {
	public := floorPublic(true, true)
	name, err := tpm2.NVName(&public)
	if err != nil {
		return err
	}
	_, err = tpm2.PolicyNV{
		// That the owner may look, without a password, is what the counter is made for: ours lies in what is to be opened.
		AuthHandle:    tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(nil)},
		NVIndex:       tpm2.NamedHandle{Handle: floorIndex, Name: *name},
		PolicySession: session,
		OperandB:      tpm2.TPM2BOperand{Buffer: binary.BigEndian.AppendUint64(nil, ceiling)},
		Operation:     tpm2.TPMEOUnsignedLE,
	}.Execute(t.rw)
	switch {
	case errors.Is(err, tpm2.TPMRCPolicy):
		return fmt.Errorf("%w: %w", ErrOld, err)
	case err != nil:
		return floorError("comparing with", err)
	}
	return nil
}
