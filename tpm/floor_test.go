package tpm

import (
	"bytes"
	"errors"
	"testing"

	"github.com/google/go-tpm/tpm2"
)

// floorOf is a floor after its key went through a file.
func floorOf(t *testing.T, tp *TPM) FloorKey {
	t.Helper()
	b := must[[]byte](t)(must[FloorKey](t)(tp.DefineFloor()).MarshalBinary())
	var k FloorKey
	if err := k.UnmarshalBinary(b); err != nil {
		t.Fatal(err)
	}
	for n := range b {
		if new(FloorKey).UnmarshalBinary(b[:n]) == nil {
			t.Errorf("%d bytes are a key", n)
		}
	}
	return k
}

func TestFloor(t *testing.T) {
	c, tp, a := provisioned(t)
	k := floorOf(t, tp)
	for _, step := range []struct{ to, want uint64 }{{0, 0}, {1, 1}, {7, 7}, {3, 7}, {7, 7}, {8, 8}} {
		if err := tp.RaiseFloor(k, step.to); err != nil {
			t.Fatal(err)
		}
		if got := must[uint64](t)(tp.Floor(k)); got != step.want {
			t.Errorf("raised to %d: %d, want %d", step.to, got, step.want)
		}
	}
	if err := tp.RaiseFloor(k, 9+MaxRaise); err == nil {
		t.Error("raised too far")
	}
	c.Restart(t)
	tp = open(t, c)
	if _, err := tp.Floor(k); err == nil {
		t.Error("read from a chip that nobody trusts")
	}
	if err := tp.Trust(a); err != nil {
		t.Fatal(err)
	}
	if got := must[uint64](t)(tp.Floor(k)); got != 8 {
		t.Errorf("after a restart: %d", got)
	}
	// Another one begins at 0 again for its key, however high the chip's counters were; the old key is good for nothing.
	again := floorOf(t, tp)
	if got := must[uint64](t)(tp.Floor(again)); got != 0 {
		t.Errorf("a new floor is at %d", got)
	}
	if again.base <= k.base+8 {
		t.Errorf("the chip's counter went from %d back to %d", k.base+8, again.base)
	}
	if _, err := tp.Floor(k); !errors.Is(err, ErrFloorReplaced) {
		t.Errorf("with the old key: %v", err)
	}
}

// TestSEC53FloorOfAStranger: whoever can send commands to the chip neither raises the floor nor replaces it unnoticed.
func TestSEC53FloorOfAStranger(t *testing.T) {
	_, tp, _ := provisioned(t)
	k := floorOf(t, tp)
	if err := tp.RaiseFloor(k, 5); err != nil {
		t.Fatal(err)
	}
	wrong := FloorKey{password: string(newPassword()), base: k.base}
	for range 50 { // no lockout comes of it either
		if err := tp.RaiseFloor(wrong, 6); !errors.Is(err, ErrFloorReplaced) {
			t.Fatalf("raised with another password: %v", err)
		}
	}
	if got := must[uint64](t)(tp.Floor(k)); got != 5 {
		t.Errorf("%d", got)
	}
	owner := tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(nil)}
	define := func(attributes func(*tpm2.TPMANV)) {
		t.Helper()
		public := floorPublic(false, true)
		attributes(&public.Attributes)
		if err := tp.removeFloor(); err != nil {
			t.Fatal(err)
		}
		if _, err := (tpm2.NVDefineSpace{AuthHandle: owner, PublicInfo: tpm2.New2B(public)}).Execute(tp.rw); err != nil {
			t.Fatal(err)
		}
	}
	if err := tp.removeFloor(); err != nil {
		t.Fatal(err)
	}
	if _, err := tp.Floor(k); !errors.Is(err, ErrFloorGone) {
		t.Errorf("removed: %v", err)
	}
	define(func(*tpm2.TPMANV) {})
	if _, err := tp.Floor(k); !errors.Is(err, ErrFloorReplaced) {
		t.Errorf("replaced, never written: %v", err)
	}
	if err := tp.stepFloor(FloorKey{}, false); err != nil {
		t.Fatal(err)
	}
	if _, err := tp.Floor(k); !errors.Is(err, ErrFloorReplaced) {
		t.Errorf("replaced: %v", err)
	}
	define(func(a *tpm2.TPMANV) { a.NT, a.OwnerWrite, a.OwnerRead = tpm2.TPMNTOrdinary, true, true })
	_, index, err := tp.useFloor(FloorKey{}, false)
	if err != nil {
		t.Fatal(err)
	}
	public := must[*tpm2.NVReadPublicResponse](t)(tpm2.NVReadPublic{NVIndex: floorIndex}.Execute(tp.rw))
	index.Name = public.NVName
	if _, err := (tpm2.NVWrite{
		AuthHandle: owner, NVIndex: index, Data: tpm2.TPM2BMaxNVBuffer{Buffer: bytes.Repeat([]byte{0}, 8)},
	}).Execute(tp.rw); err != nil {
		t.Fatal(err)
	}
	if _, err := tp.Floor(k); !errors.Is(err, ErrFloorReplaced) {
		t.Errorf("replaced by plain memory: %v", err)
	}
}

// TestSEC53FloorOnTheBus: who answers in the chip's place with an earlier answer is found out, and the password is not heard.
func TestSEC53FloorOnTheBus(t *testing.T) {
	_, tp, _ := provisioned(t)
	b := &bus{TPMCloser: tp.rw}
	tp.rw = b
	k := floorOf(t, tp)
	must[uint64](t)(tp.Floor(k))
	var old []byte // the answer to TPM2_NV_Read
	for i := 0; i < len(b.heard); i += 2 {
		if cmd := b.heard[i]; cmd[8] == 0x01 && cmd[9] == 0x4E {
			old = b.heard[i+1]
		}
	}
	if old == nil {
		t.Fatal("no read was heard")
	}
	if err := tp.RaiseFloor(k, 2); err != nil {
		t.Fatal(err)
	}
	b.answer = func(cmd, rsp []byte) []byte {
		if cmd[8] == 0x01 && cmd[9] == 0x4E {
			return old
		}
		return rsp
	}
	if n, err := tp.Floor(k); err == nil {
		t.Errorf("an old answer was believed: %d", n)
	}
	for _, m := range b.heard {
		for i := 0; i+8 <= len(k.password); i++ {
			if bytes.Contains(m, []byte(k.password[i:i+8])) {
				t.Fatal("8 bytes of the password went over the bus")
			}
		}
	}
}
