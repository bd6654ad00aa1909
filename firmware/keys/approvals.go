package keys

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/postern-nas/postern/firmware/state"
	"github.com/postern-nas/postern/tpm"
)

// Where a box looks for what its release key has approved of. The key is part of the image, and so of what is measured. The
// approvals cannot be: they are of the image's own measurements. They come beside it, on the boot partition or in an update's
// bundle, and are kept in the state folder; nobody but the release key can make one, so it does not matter who else writes there.
const (
	ReleaseFile   = "/etc/postern/release.pem"
	ApprovalsFile = "approvals.json"
)

const (
	maxApprovals     = 128
	maxApprovalsFile = 64 << 10
)

type approvalsFile struct {
	Version   int            `json:"version"`
	Approvals []approvalText `json:"approvals"`
}

type approvalText struct {
	Number    uint64 `json:"number"` // of the release
	PCRs      []int  `json:"pcrs"`
	Policy    string `json:"policy"`    // hex: the digest of TPM2_PolicyPCR over them
	Signature []byte `json:"signature"` // base64 of ASN.1
}

// MarshalApprovals writes approvals as a file: JSON.
func MarshalApprovals(list []tpm.Approval) ([]byte, error) {
	f := approvalsFile{Version: 1, Approvals: []approvalText{}}
	for _, a := range list {
		f.Approvals = append(f.Approvals, approvalText{a.Number, a.PCRs, hex.EncodeToString(a.Digest), a.Signature})
	}
	b, err := json.MarshalIndent(f, "", "  ")
	return append(b, '\n'), err
}

// ParseApprovals reads them. Whether they are anybody's approvals is not looked at here.
func ParseApprovals(b []byte) ([]tpm.Approval, error) {
	var f approvalsFile
	if err := state.DecodeJSON(b, maxApprovalsFile, 1, &f); err != nil {
		return nil, fmt.Errorf("keys: approvals: %w", err)
	}
	if f.Version != 1 || len(f.Approvals) > maxApprovals {
		return nil, fmt.Errorf("keys: %d approvals of version %d", len(f.Approvals), f.Version)
	}
	var list []tpm.Approval
	for _, t := range f.Approvals {
		digest, err := hex.DecodeString(t.Policy)
		if err != nil || len(digest) != 32 || len(t.Signature) == 0 || len(t.Signature) > 128 || len(t.PCRs) == 0 || len(t.PCRs) > 24 {
			return nil, errors.New("keys: approvals: one is not of the right form")
		}
		last := -1
		for _, i := range t.PCRs {
			if i <= last || i > 23 {
				return nil, errors.New("keys: approvals: a list of PCRs is not in order")
			}
			last = i
		}
		list = append(list, tpm.Approval{Number: t.Number, PCRs: t.PCRs, Digest: digest, Signature: t.Signature})
	}
	return list, nil
}

// approvalsKept is how many the state folder has at most: those of several releases, for each device tree.
const approvalsKept = 96

// AddApprovals puts approvals, as MarshalApprovals writes them, into the file at path, behind those that are there: the
// running system's may be needed again. The oldest leave.
func AddApprovals(path string, more []byte) error {
	list, err := ApprovalsIn(path)()
	if errors.Is(err, state.ErrLater) {
		return err
	}
	if err != nil { // what cannot be read is replaced: each comes again, from the boot partition or with an update
		list = nil
	}
	before := len(list)
	added, err := ParseApprovals(more)
	if err != nil {
		return err
	}
	for _, a := range added {
		if !slices.ContainsFunc(list, func(b tpm.Approval) bool { return a.Number == b.Number && bytes.Equal(a.Signature, b.Signature) }) {
			list = append(list, a)
		}
	}
	if len(list) == before {
		return nil
	}
	text, err := MarshalApprovals(list[max(0, len(list)-approvalsKept):])
	if err != nil {
		return err
	}
	return state.Write(path, text, 0o600)
}

// ApprovalsIn returns what reads all of these files; one that is not there has none.
func ApprovalsIn(paths ...string) func() ([]tpm.Approval, error) {
	return func() (list []tpm.Approval, err error) {
		for _, path := range paths {
			b, e := readBounded(path, maxApprovalsFile)
			if errors.Is(e, fs.ErrNotExist) {
				continue
			}
			var some []tpm.Approval
			if e == nil {
				some, e = ParseApprovals(b)
			}
			if e != nil {
				err = errors.Join(err, fmt.Errorf("%s: %w", path, e))
			}
			list = append(list, some...)
		}
		return list, err
	}
}

// ReadRelease reads the release key: PEM of SubjectPublicKeyInfo, on P-256. Where there is none it is nil.
func ReadRelease(path string) (*ecdsa.PublicKey, error) {
	b, err := readBounded(path, maxApprovalsFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	key, err := ParseRelease(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

// ParseRelease reads the text of a release key.
func ParseRelease(text []byte) (*ecdsa.PublicKey, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("no key in it")
	}
	k, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	key, ok := k.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("not a key on P-256")
	}
	return key, nil
}
