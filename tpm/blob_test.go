package tpm

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/hex"
	"errors"
	"flag"
	"os"
	"strings"
	"testing"

	"golang.org/x/crypto/cryptobyte"
)

var update = flag.Bool("update", false, "rewrite testdata")

// publicKnowledge is a key that anyone may know: seven times the base point.
func publicKnowledge() *ecdsa.PublicKey {
	d := make([]byte, 32)
	d[31] = 7
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), d)
	if err != nil {
		panic(err)
	}
	return &key.PublicKey
}

func samples() map[string]*Sealed {
	return map[string]*Sealed{
		"pcrs": {
			Anchor: Anchor{0, 11, 1}, Policy: Policy{PCRs: PCRs{4: {4}, 11: {11}}},
			public: []byte("public"), private: []byte("private"), payload: []byte("payload"),
		},
		"chip": {
			Anchor: Anchor{0, 11, 3}, Policy: Policy{Device: true},
			public: []byte("public"), private: []byte("private"), payload: []byte("payload"),
		},
		"numbers": {
			Anchor: Anchor{0, 11, 4}, Policy: Policy{Release: publicKnowledge(), Least: 5, Ceiling: 77},
			public: []byte("public"), private: []byte("private"), payload: []byte("payload"),
		},
		"ceiling": {
			Anchor: Anchor{0, 11, 5}, Policy: Policy{PCRs: PCRs{4: {4}}, Ceiling: 77},
			public: []byte("public"), private: []byte("private"), payload: []byte("payload"),
		},
		"release": {
			Anchor: Anchor{0, 11, 2}, Policy: Policy{Release: publicKnowledge()},
			public: []byte("public"), private: []byte("private"), recovery: []byte("recovery"), payload: []byte("payload"),
		},
	}
}

// TestBlobGolden: what was written once must be read for ever.
func TestBlobGolden(t *testing.T) {
	for name, s := range samples() {
		b, err := s.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		path := "testdata/" + name + ".hex"
		if *update {
			if err := os.WriteFile(path, []byte(hex.EncodeToString(b)+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := hex.EncodeToString(b); got != strings.TrimSpace(string(want)) {
			t.Errorf("%s: %s", name, got)
		}
		var back Sealed
		if err := back.UnmarshalBinary(b); err != nil {
			t.Fatal(err)
		}
		if again, err := back.MarshalBinary(); err != nil || !bytes.Equal(again, b) {
			t.Errorf("%s: read and written again %x, %v", name, again, err)
		}
	}
}

// TestBlobDamaged cuts a blob at every length and changes every bit of it.
func TestBlobDamaged(t *testing.T) {
	for name, s := range samples() {
		b, err := s.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		for n := range b {
			if err := new(Sealed).UnmarshalBinary(b[:n]); !errors.Is(err, ErrDamaged) {
				t.Fatalf("%s cut at %d: %v", name, n, err)
			}
		}
		for bit := range 8 * len(b) {
			bad := bytes.Clone(b)
			bad[bit/8] ^= 1 << (bit % 8)
			if err := new(Sealed).UnmarshalBinary(bad); !errors.Is(err, ErrDamaged) {
				t.Fatalf("%s with bit %d changed: %v", name, bit, err)
			}
		}
	}
}

// TestBlobLater: what a later version has sealed is told from damage.
func TestBlobLater(t *testing.T) {
	b, err := samples()["chip"].MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []int{4, 5 + len(Anchor{})} { // the version, the kind of policy
		later := bytes.Clone(b[:len(b)-32])
		later[at] = 200
		whole, err := summed(cryptobyte.NewBuilder(later))
		if err != nil {
			t.Fatal(err)
		}
		if err := new(Sealed).UnmarshalBinary(whole); !errors.Is(err, ErrLater) || errors.Is(err, ErrDamaged) {
			t.Errorf("byte %d: %v", at, err)
		}
	}
}

// FuzzBlob: whatever is read without an error is written as it was. The sum is put right, or nothing would get far.
func FuzzBlob(f *testing.F) {
	for _, s := range samples() {
		b, _ := s.MarshalBinary()
		f.Add(b[:len(b)-32])
		r := &Resident{public: []byte("p"), private: []byte("q"), password: s}
		b, _ = r.MarshalBinary()
		f.Add(b[:len(b)-32])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > maxBlob {
			return
		}
		whole, _ := summed(cryptobyte.NewBuilder(bytes.Clone(b)))
		var s Sealed
		if err := s.UnmarshalBinary(whole); err == nil {
			if again, err := s.MarshalBinary(); err != nil || !bytes.Equal(again, whole) {
				t.Errorf("%x is written as %x, %v", whole, again, err)
			}
		}
		var r Resident
		if err := r.UnmarshalBinary(whole); err == nil {
			if again, err := r.MarshalBinary(); err != nil || !bytes.Equal(again, whole) {
				t.Errorf("%x is written as %x, %v", whole, again, err)
			}
		}
	})
}

func TestRecoveryCode(t *testing.T) {
	c := RecoveryCode{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
	text := c.String()
	if len(text) != 39 || strings.Count(text, "-") != 7 {
		t.Errorf("%q", text)
	}
	for _, typed := range []string{
		text, strings.ToLower(text), strings.ReplaceAll(text, "-", " "), strings.ReplaceAll(text, "-", ""), " " + text + "\n",
		strings.NewReplacer("O", "0", "I", "1", "B", "8").Replace(text),
	} {
		if got, err := ParseRecoveryCode(typed); err != nil || got != c {
			t.Errorf("%q: %x, %v", typed, got, err)
		}
	}
	for i := range text {
		bad := []byte(text)
		if bad[i] == '-' {
			continue
		}
		bad[i] = 'A' + (bad[i]-'A'+1)%26
		if _, err := ParseRecoveryCode(string(bad)); !errors.Is(err, ErrCode) {
			t.Errorf("%s: %v", bad, err)
		}
		if _, err := ParseRecoveryCode(text[:i] + text[i+1:]); !errors.Is(err, ErrCode) {
			t.Errorf("without letter %d: %v", i, err)
		}
	}
}
