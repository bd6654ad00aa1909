package keys

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/postern-nas/postern/firmware/state"
	"github.com/postern-nas/postern/tpm"
)

// sample is testdata/vault.hex: written once, with a key of zeros, and read for ever.
func sample(t testing.TB) []byte {
	t.Helper()
	text, err := os.ReadFile("testdata/vault.hex")
	if err != nil {
		t.Fatal(err)
	}
	b, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var zeros = make([]byte, 32)

// TestFormat: what version 1 wrote is what it reads, and writes again.
func TestFormat(t *testing.T) {
	b := sample(t)
	v, err := parseVault(b)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := v.marshal(); err != nil || !bytes.Equal(again, b) {
		t.Errorf("%x, %v", again, err)
	}
	all, err := v.decrypt(zeros)
	if err != nil || len(all) != 2 || string(all["state.key"]) != "secret" || string(all["ca.key"]) != "another" {
		t.Errorf("%q, %v", all, err)
	}
	if v.generation != 7 || len(v.seals) != 1 || string(v.code) != "code" || !v.seals[0].Policy.Device {
		t.Errorf("%+v", v)
	}
}

// TestMalformed: cut at every length, with every byte changed, and with a sum that is right again.
func TestMalformed(t *testing.T) {
	b := sample(t)
	resum := func(b []byte) []byte {
		sum := sha256.Sum256(b)
		return append(b, sum[:]...)
	}
	body := b[:len(b)-sha256.Size]
	for n := range b {
		if _, err := parseVault(b[:n]); err == nil {
			t.Errorf("%d bytes are a vault", n)
		}
		c := bytes.Clone(b)
		c[n] ^= 0x80
		if _, err := parseVault(c); err == nil {
			t.Errorf("byte %d makes no difference", n)
		}
	}
	for n := range body {
		if v, err := parseVault(resum(bytes.Clone(body[:n]))); err == nil {
			t.Errorf("%d bytes with a sum are a vault: %+v", n, v)
		}
		c := bytes.Clone(body)
		c[n] ^= 1
		v, err := parseVault(resum(c))
		if err != nil {
			continue
		}
		// A seal, a code or a generation that is another: the chip, the code and the key find out.
		if all, err := v.decrypt(zeros); err == nil && (n < 13 || n >= len(body)-len(v.payload)) {
			t.Errorf("byte %d makes no difference: %q", n, all)
		}
	}
	newer := bytes.Clone(body)
	newer[4] = 2
	if _, err := parseVault(resum(newer)); !errors.Is(err, errLater) || errors.Is(err, errDamaged) {
		t.Errorf("a later version: %v", err)
	}
	if _, err := parseVault(make([]byte, maxVault+1)); err == nil {
		t.Error("too large")
	}
	v := &vault{seals: make([]*tpm.Sealed, maxSeals+1)}
	if _, err := v.marshal(); err == nil {
		t.Error("too many seals")
	}
	many := make(secrets)
	for i := range maxSecrets + 1 {
		many[hex.EncodeToString([]byte{byte(i)})] = []byte("x")
	}
	if v.encrypt(zeros, many) == nil {
		t.Error("too many secrets")
	}
}

func FuzzVault(f *testing.F) {
	b := sample(f)
	f.Add(b[:len(b)-sha256.Size])
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > maxVault-sha256.Size {
			return
		}
		sum := sha256.Sum256(b)
		v, err := parseVault(append(bytes.Clone(b), sum[:]...))
		if err != nil {
			return
		}
		again, err := v.marshal()
		if err != nil || !bytes.Equal(again[:len(b)], b) {
			t.Errorf("%x was written as %x, %v", b, again, err)
		}
		_, _ = v.decrypt(zeros)
	})
}

func FuzzSecrets(f *testing.F) {
	f.Add([]byte{0})
	f.Add([]byte("\x01\x06ca.key\x00\x01x"))
	f.Fuzz(func(t *testing.T, b []byte) {
		all, err := parseSecrets(b)
		if err != nil {
			return
		}
		if v := new(vault); len(all) > maxSecrets || v.encrypt(zeros, all) != nil {
			t.Errorf("%d secrets cannot be written", len(all))
		}
	})
}

func FuzzApprovals(f *testing.F) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	a, err := tpm.Approve(key, 1, systemPCRs("one"))
	if err != nil {
		f.Fatal(err)
	}
	b, err := MarshalApprovals([]tpm.Approval{a})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"version":1,"approvals":[]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := ParseApprovals(b)
		if err != nil {
			return
		}
		for _, a := range list {
			_ = a.Fits(&key.PublicKey, systemPCRs("one"))
		}
		again, err := MarshalApprovals(list)
		if err == nil {
			_, err = ParseApprovals(again)
		}
		if err != nil {
			t.Error(err)
		}
	})
}

func TestApprovals(t *testing.T) {
	for _, bad := range []string{
		``, `{}`, `{"version":2}`, `{"version":1,"approvals":[{}]}`, `{"version":0}`,
		`{"version":1,"approvals":[{"pcrs":[11,4],"policy":"` + strings.Repeat("00", 32) + `","signature":"AAAA"}]}`,
		`{"version":1,"approvals":[{"pcrs":[24],"policy":"` + strings.Repeat("00", 32) + `","signature":"AAAA"}]}`,
		`{"version":1,"approvals":[{"pcrs":[-1],"policy":"` + strings.Repeat("00", 32) + `","signature":"AAAA"}]}`,
		`{"version":1,"approvals":[{"pcrs":[4],"policy":"00","signature":"AAAA"}]}`,
	} {
		if list, err := ParseApprovals([]byte(bad)); err == nil {
			t.Errorf("%s: %v", bad, list)
		}
	}
	if _, err := ParseApprovals(make([]byte, maxApprovalsFile+1)); err == nil {
		t.Error("too large")
	}
}

// TestAddApprovals: each once, the oldest leave, and what a later version wrote stays.
func TestAddApprovals(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	path := t.TempDir() + "/" + ApprovalsFile
	text := func(n uint64) []byte {
		a, err := tpm.Approve(key, n, systemPCRs("one"))
		if err != nil {
			t.Fatal(err)
		}
		b, err := MarshalApprovals([]tpm.Approval{a})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for n := range uint64(approvalsKept + 5) {
		for range 2 {
			if err := AddApprovals(path, text(n)); err != nil {
				t.Fatal(err)
			}
		}
	}
	list, err := ApprovalsIn(path)()
	if err != nil || len(list) != approvalsKept || list[0].Number != 5 || list[approvalsKept-1].Number != approvalsKept+4 {
		t.Errorf("%d approvals (%v)", len(list), err)
	}
	if err := AddApprovals(path, []byte("x")); err == nil {
		t.Error("added nothing that could be read")
	}
	for contents, want := range map[string]error{
		`{"version":1,"approvals":[],"more":1}`: nil, "spoilt": nil, `{"version":2,"approvals":{}}`: state.ErrLater,
	} {
		if err := os.WriteFile(path, []byte(contents), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := AddApprovals(path, text(1)); !errors.Is(err, want) {
			t.Errorf("%s: %v", contents, err)
		}
		now, err := os.ReadFile(path)
		if err != nil || (string(now) == contents) != (want != nil) {
			t.Errorf("%s became %s (%v)", contents, now, err)
		}
	}
}

func TestReadRelease(t *testing.T) {
	dir := t.TempDir()
	if k, err := ReadRelease(dir + "/none"); k != nil || err != nil {
		t.Errorf("%v, %v", k, err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	text := func(k *ecdsa.PublicKey) string {
		der, err := x509.MarshalPKIXPublicKey(k)
		if err != nil {
			t.Fatal(err)
		}
		return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	}
	for text, ok := range map[string]bool{"": false, "x": false, text(&key.PublicKey): true, text(&other.PublicKey): false} {
		path := dir + "/key.pem"
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if k, err := ReadRelease(path); (err == nil) != ok {
			t.Errorf("%q: %v, %v", text, k, err)
		}
	}
}

func FuzzParseKey(f *testing.F) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	text, err := MarshalKey(key)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte("-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		k, err := ParseKey(text)
		if err != nil {
			return
		}
		again, err := MarshalKey(k)
		if err == nil {
			_, err = ParseKey(again)
		}
		if err != nil {
			t.Error(err)
		}
	})
}
