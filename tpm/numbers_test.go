package tpm

import (
	"bytes"
	"crypto/ecdsa"
	"errors"
	"testing"

	"github.com/google/go-tpm/tpm2"
)

// TestSEC53OldRelease: the chip opens what is sealed for releases from a number on to those alone that the release key has
// approved of under such a number; and when the floor has risen, to nobody, what was sealed before.
func TestSEC53OldRelease(t *testing.T) {
	_, tp, _ := provisioned(t)
	key := releaseKey(t)
	floor := floorOf(t, tp)
	pcrs := must[PCRs](t)(tp.ReadPCRs(4, 11, 12))
	approve := func(n uint64) []Approval { return []Approval{must[Approval](t)(Approve(key, n, pcrs))} }
	secret := []byte("of release 5")
	seal := func(least uint64) *Sealed {
		return stored(t, must[*Sealed](t)(tp.Seal(secret, Policy{Release: &key.PublicKey, Least: least, Ceiling: floor.Count(least)}, nil)))
	}
	five := seal(5)
	for n, want := range map[uint64]error{
		0: ErrOld, 1: ErrOld, 4: ErrOld, 5: nil, 6: nil, 12: nil, 13: nil, 70: nil, 5 + Reach - 1: nil, 5 + Reach: ErrMeasured,
	} {
		if got, err := tp.Unseal(five, approve(n)); !errors.Is(err, want) || err == nil && !bytes.Equal(got, secret) {
			t.Errorf("release %d: %q, %v", n, got, err)
		}
	}
	// One that fits is found among those that do not, wherever it is.
	if _, err := tp.Unseal(five, append(append(approve(3), approve(6)...), approve(4)...)); err != nil {
		t.Error(err)
	}
	renamed := approve(4)
	renamed[0].Number = 5
	if _, err := tp.Unseal(five, renamed); !errors.Is(err, ErrMeasured) {
		t.Errorf("an approval that calls itself another: %v", err)
	}

	six := seal(6)
	if err := tp.RaiseFloor(floor, 5); err != nil {
		t.Fatal(err)
	}
	if _, err := tp.Unseal(five, approve(5)); err != nil { // not above it
		t.Error(err)
	}
	if err := tp.RaiseFloor(floor, 6); err != nil {
		t.Fatal(err)
	}
	for _, n := range []uint64{5, 6} { // put back on the disk
		if _, err := tp.Unseal(five, approve(n)); !errors.Is(err, ErrOld) {
			t.Errorf("release %d, sealed before the floor rose: %v", n, err)
		}
	}
	if _, err := tp.Unseal(six, approve(6)); err != nil {
		t.Error(err)
	}
	if _, err := tp.Unseal(six, approve(5)); !errors.Is(err, ErrOld) {
		t.Error(err)
	}
	exact := must[*Sealed](t)(tp.Seal(secret, Policy{PCRs: pcrs, Ceiling: floor.Count(6)}, nil))
	if _, err := tp.Unseal(exact, nil); err != nil {
		t.Error(err)
	}
	if err := tp.RaiseFloor(floor, 7); err != nil {
		t.Fatal(err)
	}
	if _, err := tp.Unseal(exact, nil); !errors.Is(err, ErrOld) {
		t.Errorf("bound to PCRs, sealed before the floor rose: %v", err)
	}
}

// TestSEC53ChipRefusesOld: that we look ourselves only chooses the right words. Who runs an old release's approval past the
// chip, says other numbers, or makes the counter anew, gets nothing.
func TestSEC53ChipRefusesOld(t *testing.T) {
	_, tp, _ := provisioned(t)
	key := releaseKey(t)
	floor := floorOf(t, tp)
	pcrs := must[PCRs](t)(tp.ReadPCRs(4, 11, 12))
	policy := Policy{Release: &key.PublicKey, Least: 5, Ceiling: floor.Count(5)}
	s := must[*Sealed](t)(tp.Seal([]byte("secret"), policy, nil))
	old, good := must[Approval](t)(Approve(key, 4, pcrs)), must[Approval](t)(Approve(key, 5, pcrs))
	for name, p := range map[string]Policy{
		"another number":  {Release: policy.Release, Least: 4, Ceiling: policy.Ceiling},
		"no numbers":      {Release: policy.Release, Ceiling: policy.Ceiling},
		"no ceiling":      {Release: policy.Release, Least: 5},
		"a higher one":    {Release: policy.Release, Least: 5, Ceiling: policy.Ceiling + 1},
		"PCRs":            {PCRs: pcrs, Ceiling: policy.Ceiling},
		"PCRs, unlimited": {PCRs: pcrs},
	} {
		forged := *s
		forged.Policy = p
		for _, a := range []Approval{old, good} {
			if _, err := tp.Unseal(&forged, []Approval{a}); err == nil {
				t.Errorf("%s: opened by release %d", name, a.Number)
			}
		}
	}
	// The old one's policy in the tree's place of a good one.
	session, end, err := tpm2.PolicySession(tp.rw, tpm2.TPMAlgSHA256, nonceSize)
	if err != nil {
		t.Fatal(err)
	}
	defer end()
	pub := must[tpm2.TPMTPublic](t)(releasePublic(policy.Release))
	name, err := tp.authorize(pub, old, session.Handle())
	if err != nil {
		t.Fatal(err)
	}
	for at := range uint64(branches) {
		if err := tp.among(releaseTree(name, 5), at, session.Handle()); err == nil {
			t.Errorf("the chip took it for number %d", 5+at)
		}
	}
	if _, err := tp.Unseal(s, []Approval{good}); err != nil {
		t.Error(err)
	}
	// The counter removed, and made anew: it only goes up.
	if err := tp.removeFloor(); err != nil {
		t.Fatal(err)
	}
	if _, err := tp.Unseal(s, []Approval{good}); !errors.Is(err, ErrFloorGone) {
		t.Errorf("without a counter: %v", err)
	}
	for range 7 { // a chip may begin where it stopped
		floorOf(t, tp)
	}
	if _, err := tp.Unseal(s, []Approval{good}); !errors.Is(err, ErrOld) {
		t.Errorf("with another counter: %v", err)
	}
	for name, p := range map[string]Policy{
		"numbers without a key": {PCRs: pcrs, Least: 5}, "a chip alone with a ceiling": {Device: true, Ceiling: 5},
		"only a ceiling": {Ceiling: 5}, "two": {Release: policy.Release, PCRs: pcrs, Least: 1},
	} {
		if _, err := tp.Seal([]byte("x"), p, nil); err == nil {
			t.Errorf("%s: sealed", name)
		}
	}
}

// TestFirstFloors: a counter of the kind that boxes made at first is used on, and no policy is built on it.
func TestFirstFloors(t *testing.T) {
	_, tp, _ := provisioned(t)
	floorOf(t, tp)
	if ok := must[bool](t)(tp.FloorCompares()); !ok {
		t.Error("the present kind is for policies")
	}
	if err := tp.removeFloor(); err != nil {
		t.Fatal(err)
	}
	k := FloorKey{password: string(newPassword())}
	if _, err := (tpm2.NVDefineSpace{
		AuthHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(nil)},
		Auth:       tpm2.TPM2BAuth{Buffer: []byte(k.password)}, PublicInfo: tpm2.New2B(floorPublic(false, false)),
	}).Execute(tp.rw); err != nil {
		t.Fatal(err)
	}
	if err := tp.stepFloor(k, false); err != nil {
		t.Fatal(err)
	}
	k.base = must[uint64](t)(tp.readFloor(k))
	if err := tp.RaiseFloor(k, 3); err != nil {
		t.Fatal(err)
	}
	if got := must[uint64](t)(tp.Floor(k)); got != 3 || must[bool](t)(tp.FloorCompares()) {
		t.Errorf("%d", got)
	}
}

// TestApprovalIsAlwaysTheSame: images have approvals in them, and are the same bytes each time.
func TestApprovalIsAlwaysTheSame(t *testing.T) {
	key := releaseKey(t)
	a, b := must[Approval](t)(Approve(key, 3, PCRs{4: {}})), must[Approval](t)(Approve(key, 3, PCRs{4: {}}))
	if !bytes.Equal(a.Signature, b.Signature) || !ecdsa.VerifyASN1(&key.PublicKey, func() []byte { h := approvalHash(a.Digest, 3); return h[:] }(), a.Signature) {
		t.Errorf("%x and %x", a.Signature, b.Signature)
	}
	if _, err := Approve(key, 3, nil); err == nil {
		t.Error("an approval of nothing")
	}
}
