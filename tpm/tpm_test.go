package tpm

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"github.com/postern-nas/postern/tpm/tpmtest"
)

func open(t *testing.T, c *tpmtest.Chip) *TPM {
	t.Helper()
	tp, err := Open(c.Socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tp.Close() })
	return tp
}

// provisioned is a fresh chip that is ours.
func provisioned(t *testing.T) (*tpmtest.Chip, *TPM, Anchor) {
	t.Helper()
	c := tpmtest.New(t)
	tp := open(t, c)
	a, err := tp.Provision()
	if err != nil {
		t.Fatal(err)
	}
	return c, tp, a
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// stored is the secret after a way through a file.
func stored(t *testing.T, s *Sealed) *Sealed {
	t.Helper()
	out := new(Sealed)
	if err := out.UnmarshalBinary(must[[]byte](t)(s.MarshalBinary())); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestSealToPCRs(t *testing.T) {
	c, tp, a := provisioned(t)
	if err := tp.Extend(11, []byte("kernel")); err != nil {
		t.Fatal(err)
	}
	pcrs := must[PCRs](t)(tp.ReadPCRs(4, 11))
	if pcrs[11] != Extended([32]byte{}, []byte("kernel")) {
		t.Errorf("PCR 11 is %x", pcrs[11])
	}
	secret := bytes.Repeat([]byte("the server's key "), 20)
	s := stored(t, must[*Sealed](t)(tp.Seal(secret, Policy{PCRs: pcrs}, nil)))
	if got := must[[]byte](t)(tp.Unseal(s, nil)); !bytes.Equal(got, secret) {
		t.Errorf("unsealed %q", got)
	}
	// What comes later cannot open it any more.
	if err := tp.Extend(11, []byte("unsealed")); err != nil {
		t.Fatal(err)
	}
	if _, err := tp.Unseal(s, nil); !errors.Is(err, ErrMeasured) {
		t.Errorf("after more was measured: %v", err)
	}
	// The next boot with the same kernel can; with another, it cannot.
	for kernel, want := range map[string]error{"kernel": nil, "another kernel": ErrMeasured} {
		c.Restart(t)
		tp := open(t, c)
		if err := tp.Trust(a); err != nil {
			t.Fatal(err)
		}
		if err := tp.Extend(11, []byte(kernel)); err != nil {
			t.Fatal(err)
		}
		if got, err := tp.Unseal(s, nil); !errors.Is(err, want) || err == nil && !bytes.Equal(got, secret) {
			t.Errorf("booted %s: %q, %v", kernel, got, err)
		}
	}
}

func releaseKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	return must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
}

// TestSealToReleases: what is sealed once opens under each system that the release key approves of, before or after.
func TestSealToReleases(t *testing.T) {
	c, tp, a := provisioned(t)
	key, other := releaseKey(t), releaseKey(t)
	secret := []byte("of the first release")
	s := stored(t, must[*Sealed](t)(tp.Seal(secret, Policy{Release: &key.PublicKey}, nil)))
	measured := func(kernel string) PCRs { return PCRs{4: {}, 11: Extended([32]byte{}, []byte(kernel)), 12: {}} }
	approve := func(k crypto.Signer, kernel string) Approval {
		return must[Approval](t)(Approve(k, 0, measured(kernel)))
	}
	forged := approve(other, "evil")
	twisted := approve(key, "two")
	twisted.Digest = must[[]byte](t)(pcrPolicy(measured("evil")))
	approvals := []Approval{approve(key, "one"), approve(key, "two"), forged, twisted}
	for kernel, want := range map[string]error{"one": nil, "two": nil, "evil": ErrMeasured, "three": ErrMeasured} {
		c.Restart(t)
		tp := open(t, c)
		if err := tp.Trust(a); err != nil {
			t.Fatal(err)
		}
		if err := tp.Extend(11, []byte(kernel)); err != nil {
			t.Fatal(err)
		}
		if got, err := tp.Unseal(s, approvals); !errors.Is(err, want) || err == nil && !bytes.Equal(got, secret) {
			t.Errorf("booted %s: %q, %v", kernel, got, err)
		}
	}
	if _, err := tp.Unseal(s, nil); !errors.Is(err, ErrMeasured) {
		t.Errorf("without approvals: %v", err)
	}
}

// TestChipRefusesByItself: the checks that we make first only choose the right words; the chip makes them, too.
func TestChipRefusesByItself(t *testing.T) {
	_, tp, _ := provisioned(t)
	key, other := releaseKey(t), releaseKey(t)
	s := must[*Sealed](t)(tp.Seal([]byte("secret"), Policy{Release: &key.PublicKey}, nil))
	pcrs := must[PCRs](t)(tp.ReadPCRs(11))
	a := must[Approval](t)(Approve(other, 0, pcrs))
	// As if we believed the other key: the policy that comes out is that key's.
	s.Policy.Release = &other.PublicKey
	if _, err := tp.Unseal(s, []Approval{a}); !errors.Is(err, ErrMeasured) {
		t.Errorf("a policy of another release key: %v", err)
	}
	s.Policy = Policy{PCRs: pcrs}
	if _, err := tp.Unseal(s, nil); !errors.Is(err, ErrMeasured) {
		t.Errorf("a policy of PCRs in the place of a release key's: %v", err)
	}
}

// TestPolicyDigests compares what we calculate with what a trial session of the chip comes to.
func TestPolicyDigests(t *testing.T) {
	_, tp, _ := provisioned(t)
	if err := tp.Extend(16, []byte("x")); err != nil {
		t.Fatal(err)
	}
	key := releaseKey(t)
	pcrs := must[PCRs](t)(tp.ReadPCRs(0, 7, 11, 16, 23))
	approvals := []Approval{must[Approval](t)(Approve(key, 0, pcrs)), must[Approval](t)(Approve(key, 9, pcrs))}
	floor := floorOf(t, tp)
	for name, p := range map[string]Policy{
		"PCRs": {PCRs: pcrs}, "release": {Release: &key.PublicKey}, "chip": {Device: true},
		"PCRs below": {PCRs: pcrs, Ceiling: floor.Count(3)}, "release below": {Release: &key.PublicKey, Ceiling: floor.Count(3)},
		"from 9": {Release: &key.PublicKey, Least: 9}, "from 2": {Release: &key.PublicKey, Least: 2, Ceiling: floor.Count(2)},
	} {
		session, end, err := tpm2.PolicySession(tp.rw, tpm2.TPMAlgSHA256, 16)
		if err != nil {
			t.Fatal(err)
		}
		if err := tp.satisfy(p, approvals, session.Handle()); err != nil {
			t.Fatal(err)
		}
		got, err := tpm2.PolicyGetDigest{PolicySession: session.Handle()}.Execute(tp.rw)
		if err != nil {
			t.Fatal(err)
		}
		if want := must[[]byte](t)(p.digest()); !bytes.Equal(got.PolicyDigest.Buffer, want) {
			t.Errorf("%s: the chip has %x, we %x", name, got.PolicyDigest.Buffer, want)
		}
		end()
	}
}

func TestOtherChip(t *testing.T) {
	_, first, a := provisioned(t)
	c, second, b := provisioned(t)
	if a == b {
		t.Fatal("two chips have one anchor")
	}
	if err := second.Trust(a); !errors.Is(err, ErrOtherTPM) {
		t.Errorf("trusting another chip: %v", err)
	}
	policy := Policy{PCRs: must[PCRs](t)(first.ReadPCRs(11))}
	s := must[*Sealed](t)(first.Seal([]byte("secret"), policy, nil))
	if _, err := second.Unseal(s, nil); !errors.Is(err, ErrOtherTPM) {
		t.Errorf("unsealing on another chip: %v", err)
	}
	s.Anchor = b // believing the file does not help
	if _, err := second.Unseal(s, nil); !errors.Is(err, ErrDamaged) {
		t.Errorf("unsealing on another chip that lies about itself: %v", err)
	}
	// A cleared chip has nothing of ours.
	if _, err := (tpm2.Clear{AuthHandle: tpm2.TPMRHLockout}).Execute(second.rw); err != nil {
		t.Fatal(err)
	}
	cleared := open(t, c)
	if err := cleared.Trust(b); !errors.Is(err, ErrNotProvisioned) {
		t.Errorf("trusting a cleared chip: %v", err)
	}
	if anew := must[Anchor](t)(cleared.Provision()); anew == b {
		t.Error("a cleared chip has its old anchor")
	}
	if again := must[Anchor](t)(first.Provision()); again != a {
		t.Error("provisioning again makes another anchor")
	}
	if _, err := open(t, c).Seal([]byte("x"), policy, nil); err == nil {
		t.Error("sealed on a chip that nobody trusts")
	}
}

func TestRecovery(t *testing.T) {
	_, tp, _ := provisioned(t)
	code := NewRecoveryCode()
	policy := Policy{PCRs: PCRs{11: {1}}} // does not hold
	s := stored(t, must[*Sealed](t)(tp.Seal([]byte("secret"), policy, &code)))
	if _, err := tp.Unseal(s, nil); !errors.Is(err, ErrMeasured) {
		t.Error(err)
	}
	if got, err := s.Recover(code); err != nil || string(got) != "secret" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := s.Recover(NewRecoveryCode()); err == nil {
		t.Error("recovered with another code")
	}
	without := must[*Sealed](t)(tp.Seal([]byte("secret"), policy, nil))
	if _, err := without.Recover(code); err == nil {
		t.Error("recovered what was sealed without a code")
	}
}

// TestSEC54Lockout: wrong passwords for other things lock the chip, and what serves goes on.
func TestSEC54Lockout(t *testing.T) {
	_, tp, _ := provisioned(t)
	policy := Policy{PCRs: must[PCRs](t)(tp.ReadPCRs(11))}
	s := must[*Sealed](t)(tp.Seal([]byte("secret"), policy, nil))
	resident := must[*Resident](t)(tp.NewResident(policy))
	parent := must[tpm2.AuthHandle](t)(tp.parent())
	guarded, err := tpm2.Create{
		ParentHandle: parent,
		InSensitive: tpm2.TPM2BSensitiveCreate{Sensitive: &tpm2.TPMSSensitiveCreate{
			UserAuth: tpm2.TPM2BAuth{Buffer: []byte("1234")}, Data: tpm2.NewTPMUSensitiveCreate(&tpm2.TPM2BSensitiveData{Buffer: []byte("x")}),
		}},
		InPublic: tpm2.New2B(tpm2.TPMTPublic{
			Type: tpm2.TPMAlgKeyedHash, NameAlg: tpm2.TPMAlgSHA256,
			ObjectAttributes: tpm2.TPMAObject{FixedTPM: true, FixedParent: true, UserWithAuth: true},
		}),
	}.Execute(tp.rw)
	if err != nil {
		t.Fatal(err)
	}
	parent = must[tpm2.AuthHandle](t)(tp.parent())
	object := must[*tpm2.LoadResponse](t)(tp.load(parent, guarded.OutPublic.Bytes(), guarded.OutPrivate.Buffer))
	defer tp.flush(object.ObjectHandle)
	locked := false
	for range 50 {
		_, err := tpm2.Unseal{ItemHandle: tpm2.AuthHandle{
			Handle: object.ObjectHandle, Name: object.Name, Auth: tpm2.PasswordAuth([]byte("0000")),
		}}.Execute(tp.rw)
		if locked = errors.Is(err, tpm2.TPMRCLockout); locked {
			break
		}
	}
	if !locked {
		t.Fatal("the chip does not lock")
	}
	if got, err := tp.Unseal(s, nil); err != nil || string(got) != "secret" {
		t.Errorf("unsealing in lockout: %q, %v", got, err)
	}
	key := must[*Key](t)(tp.Load(resident, nil))
	if _, err := key.Sign(nil, make([]byte, 32), crypto.SHA256); err != nil {
		t.Errorf("signing in lockout: %v", err)
	}
}

// TestSealToChip: what is sealed to the chip alone opens whatever was measured, and on no other.
func TestSealToChip(t *testing.T) {
	_, tp, _ := provisioned(t)
	_, other, _ := provisioned(t)
	s := stored(t, must[*Sealed](t)(tp.Seal([]byte("secret"), Policy{Device: true}, nil)))
	if err := tp.Extend(11, []byte("anything")); err != nil {
		t.Fatal(err)
	}
	if got, err := tp.Unseal(s, nil); err != nil || string(got) != "secret" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := other.Unseal(s, nil); !errors.Is(err, ErrOtherTPM) {
		t.Errorf("another chip: %v", err)
	}
	for _, p := range []Policy{{Device: true, PCRs: PCRs{}}, {Device: true, Release: &releaseKey(t).PublicKey}} {
		if _, err := tp.Seal(nil, p, nil); err == nil {
			t.Errorf("%+v is a policy", p)
		}
	}
}

// TestResidentKeysTakeTurns: the chip has room for few objects, and keys for more; and one that it dropped comes back.
func TestResidentKeysTakeTurns(t *testing.T) {
	_, tp, _ := provisioned(t)
	var keys []*Key
	for range 5 {
		r := must[*Resident](t)(tp.NewResident(Policy{Device: true}))
		keys = append(keys, must[*Key](t)(tp.Load(r, nil)))
	}
	digest := sha256.Sum256([]byte("x"))
	sign := func(k *Key) {
		t.Helper()
		sig := must[[]byte](t)(k.Sign(nil, digest[:], crypto.SHA256))
		if !ecdsa.VerifyASN1(k.public, digest[:], sig) {
			t.Error("another key's signature")
		}
	}
	for range 2 {
		for _, k := range keys {
			sign(k)
		}
	}
	tp.flush(keys[4].handle)
	sign(keys[4])
	s := must[*Sealed](t)(tp.Seal([]byte("secret"), Policy{Device: true}, nil)) // there is room for this, too
	must[[]byte](t)(tp.Unseal(s, nil))
	if err := keys[0].Close(); err != nil {
		t.Error(err)
	}
	if _, err := keys[0].Sign(nil, digest[:], crypto.SHA256); err == nil {
		t.Error("a closed key signs")
	}
	sign(keys[4])
	if err := keys[4].Close(); err != nil {
		t.Error(err)
	}
}

func TestRecoveryLock(t *testing.T) {
	code := NewRecoveryCode()
	locked := code.Lock([]byte("secret"), "a box")
	if got, err := code.Unlock(locked, "a box"); err != nil || string(got) != "secret" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := code.Unlock(locked, "a fox"); !errors.Is(err, ErrOtherCode) {
		t.Errorf("for something else: %v", err)
	}
	if _, err := NewRecoveryCode().Unlock(locked, "a box"); !errors.Is(err, ErrOtherCode) {
		t.Errorf("with another code: %v", err)
	}
	for n := range locked {
		if _, err := code.Unlock(locked[:n], "a box"); err == nil {
			t.Errorf("%d bytes were unlocked", n)
		}
	}
}

func TestResidentKey(t *testing.T) {
	c, tp, a := provisioned(t)
	policy := Policy{PCRs: must[PCRs](t)(tp.ReadPCRs(11))}
	blob := must[[]byte](t)(must[*Resident](t)(tp.NewResident(policy)).MarshalBinary())
	c.Restart(t)
	tp = open(t, c)
	if err := tp.Trust(a); err != nil {
		t.Fatal(err)
	}
	r := new(Resident)
	if err := r.UnmarshalBinary(blob); err != nil {
		t.Fatal(err)
	}
	key := must[*Key](t)(tp.Load(r, nil))
	if err := tp.Extend(11, []byte("from here on nothing opens")); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for i := range 4 { // signing goes on after that, by several at a time
		all.Go(func() {
			digest := sha256.Sum256([]byte{byte(i)})
			sig, err := key.Sign(rand.Reader, digest[:], crypto.SHA256)
			if err != nil {
				t.Error(err)
				return
			}
			if !ecdsa.VerifyASN1(key.Public().(*ecdsa.PublicKey), digest[:], sig) {
				t.Error("the signature is wrong")
			}
		})
	}
	all.Wait()
	if _, err := key.Sign(nil, make([]byte, 48), crypto.SHA384); err == nil {
		t.Error("signed SHA-384")
	}
	if err := key.Close(); err != nil {
		t.Error(err)
	}
	if _, err := tp.Load(r, nil); !errors.Is(err, ErrMeasured) {
		t.Errorf("loading it later: %v", err)
	}
}

// A bus is where somebody listens, or answers.
type bus struct {
	transport.TPMCloser
	heard  [][]byte
	answer func(cmd, rsp []byte) []byte
}

func (b *bus) Send(cmd []byte) ([]byte, error) {
	rsp, err := b.TPMCloser.Send(cmd)
	if b.answer != nil && err == nil {
		rsp = b.answer(cmd, rsp)
	}
	b.heard = append(b.heard, bytes.Clone(cmd), bytes.Clone(rsp))
	return rsp, err
}

// TestSEC54Bus: no secret goes over the bus as it is (the class of CVE-2026-0714).
func TestSEC54Bus(t *testing.T) {
	_, tp, _ := provisioned(t)
	b := &bus{TPMCloser: tp.rw}
	tp.rw = b
	policy := Policy{PCRs: must[PCRs](t)(tp.ReadPCRs(11))}
	var keys [][]byte // what the chip is given to keep
	sniff := func(s *Sealed) {
		key := make([]byte, 32)
		// Once more by the way of the recovery code: what the chip holds is the same key.
		code := NewRecoveryCode()
		again := must[*Sealed](t)(tp.Seal([]byte("x"), s.Policy, &code))
		copy(key, must[[]byte](t)(decrypt(code.key(again.Anchor), again.recovery, nil)))
		must[[]byte](t)(tp.Unseal(again, nil))
		keys = append(keys, key)
	}
	s := must[*Sealed](t)(tp.Seal([]byte("secret"), policy, nil))
	sniff(s)
	r := must[*Resident](t)(tp.NewResident(policy))
	key := must[*Key](t)(tp.Load(r, nil))
	must[[]byte](t)(key.Sign(nil, make([]byte, 32), crypto.SHA256))
	keys = append(keys, key.password)
	for _, k := range keys {
		for _, m := range b.heard {
			for i := 0; i+8 <= len(k); i++ {
				if bytes.Contains(m, k[i:i+8]) {
					t.Fatalf("8 bytes of a secret went over the bus")
				}
			}
		}
	}
	if len(b.heard) < 20 {
		t.Errorf("%d messages heard", len(b.heard))
	}
}

// TestSEC54Interposer: who answers for the chip with a key of his own is found out, whatever name he gives it.
func TestSEC54Interposer(t *testing.T) {
	c, tp, a := provisioned(t)
	mine := must[*tpm2.CreatePrimaryResponse](t)(tpm2.CreatePrimary{
		PrimaryHandle: tpm2.TPMRHNull, InPublic: tpm2.New2B(tpm2.ECCSRKTemplate),
	}.Execute(tp.rw))
	fake := must[*tpm2.ReadPublicResponse](t)(tpm2.ReadPublic{ObjectHandle: mine.ObjectHandle}.Execute(tp.rw))
	tp.flush(mine.ObjectHandle)
	fake.Name = tpm2.TPM2BName{Buffer: a[:]}
	body := tpm2.Marshal(fake.OutPublic)
	body = append(body, tpm2.Marshal(fake.Name)...)
	body = append(body, tpm2.Marshal(fake.QualifiedName)...)
	again := open(t, c)
	again.rw = &bus{TPMCloser: again.rw, answer: func(cmd, rsp []byte) []byte {
		if cmd[8] == 0x01 && cmd[9] == 0x73 { // TPM2_ReadPublic
			n := 10 + len(body)
			return append([]byte{0x80, 0x01, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n), 0, 0, 0, 0}, body...)
		}
		return rsp
	}}
	if err := again.Trust(a); !errors.Is(err, ErrOtherTPM) {
		t.Errorf("an interposer's key: %v", err)
	}
}

// TestBusy: a chip that has no time is asked again.
func TestBusy(t *testing.T) {
	_, tp, a := provisioned(t)
	for _, rc := range []byte{0x22, 0x08, 0x0A, 0x20} {
		busy := 2
		tp.rw = patient{&bus{TPMCloser: tp.rw, answer: func(_, rsp []byte) []byte {
			if busy--; busy >= 0 {
				return []byte{0x80, 0x01, 0, 0, 0, 10, 0, 0, 9, rc}
			}
			return rsp
		}}}
		if err := tp.Trust(a); err != nil || busy >= 0 {
			t.Errorf("TPM_RC 0x9%02x: %v", rc, err)
		}
	}
}

// mute is a chip that never answers.
type mute struct{ never chan struct{} }

func (m mute) Send([]byte) ([]byte, error) { <-m.never; return nil, nil }
func (m mute) Close() error                { close(m.never); return nil }

func TestSilentChip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tp := New(mute{make(chan struct{})})
		for range 2 {
			if _, err := tp.Provision(); !errors.Is(err, ErrSilent) {
				t.Error(err)
			}
		}
		if err := tp.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestOpenNothing(t *testing.T) {
	if _, err := Open(t.TempDir() + "/none"); err == nil {
		t.Error("opened nothing")
	}
}

func TestTooLarge(t *testing.T) {
	_, tp, _ := provisioned(t)
	policy := Policy{PCRs: must[PCRs](t)(tp.ReadPCRs(11))}
	if _, err := tp.Seal(make([]byte, MaxSecret+1), policy, nil); err == nil {
		t.Error("sealed too much")
	}
	code := NewRecoveryCode()
	s := stored(t, must[*Sealed](t)(tp.Seal(make([]byte, MaxSecret), policy, &code)))
	if got := must[[]byte](t)(tp.Unseal(s, nil)); len(got) != MaxSecret {
		t.Errorf("%d bytes", len(got))
	}
	if _, err := tp.Seal(nil, Policy{}, nil); err == nil {
		t.Error("sealed to nothing")
	}
}
