package cert

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/tls"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func FuzzChain(f *testing.F) {
	dir := f.TempDir()
	a, err := OpenAuthority(dir, names[0], now, nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(pemOf(a.cert.Raw))
	f.Add(bytes.Repeat(pemOf(a.cert.Raw), 2))
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		ders, leaf, err := Chain(text)
		if err == nil && (leaf == nil || len(ders) == 0 || len(ders) > maxChain || !bytes.Equal(leaf.Raw, ders[0])) {
			t.Errorf("%d certificates", len(ders))
		}
	})
}

// imported is a certificate of another authority, and what serves for its proof.
func imported(t *testing.T) (text []byte, chain tls.Certificate, prove func(tls.Certificate) error) {
	t.Helper()
	dir := t.TempDir()
	a, _ := open(t, dir)
	chain, _ = server(t, a, names, now)
	return append(pemOf(chain.Certificate[0]), pemOf(chain.Certificate[1])...), chain,
		func(c tls.Certificate) error { return Handshake(c, names[0]) }
}

func TestImport(t *testing.T) {
	dir := t.TempDir()
	text, chain, prove := imported(t)
	key := chain.PrivateKey.(*ecdsa.PrivateKey)
	if _, err := Import(dir, Files(dir), text, nil, prove, now); !errors.Is(err, errNoKey) {
		t.Errorf("without a key: %v", err)
	}
	refused := errors.New("refused")
	if _, err := Import(dir, Files(dir), text, key, func(tls.Certificate) error { return refused }, now); !errors.Is(err, refused) {
		t.Error(err)
	}
	if _, err := Import(dir, Files(dir), text, key, prove, now.Add(400*24*time.Hour)); err == nil {
		t.Error("an old one came in")
	}
	if entries, _ := os.ReadDir(dir); len(entries) > 0 {
		t.Errorf("what was refused has left %v", entries)
	}
	keyText := "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n" // in the same file
	id, err := Import(dir, Files(dir), append([]byte(keyText), text...), key, prove, now)
	if err != nil {
		t.Fatal(err)
	}
	if kept, err := os.ReadFile(filepath.Join(dir, fileName(id))); err != nil || strings.Contains(string(kept), "PRIVATE") {
		t.Errorf("%s, %v", kept, err)
	}
	got, err := LoadImported(dir, id, Files(dir), now)
	if err != nil || len(got.Certificate) != 2 || !bytes.Equal(got.Leaf.Raw, chain.Leaf.Raw) {
		t.Errorf("%v", err)
	}
	// Once more, for the key that is here now.
	if again, err := Import(dir, Files(dir), text, nil, prove, now); err != nil || again != id {
		t.Errorf("%s, %v", again, err)
	}
	if ids, err := Imported(dir); err != nil || len(ids) != 1 || ids[0] != id {
		t.Errorf("%v, %v", ids, err)
	}
	if err := os.Remove(filepath.Join(dir, keyName(id))); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadImported(dir, id, Files(dir), now); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without its key: %v", err)
	}
	if _, _, err := Request(Files(dir), nil); err == nil {
		t.Error("a request for nothing")
	}
}

// TestManyImported: there is an end to it.
func TestManyImported(t *testing.T) {
	dir := t.TempDir()
	text, chain, prove := imported(t)
	for i := range maxImported {
		if err := os.WriteFile(filepath.Join(dir, fileName(strings.Repeat(string("0123456789abcdef"[i/16]), 15)+string("0123456789abcdef"[i%16]))), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Import(dir, Files(dir), text, chain.PrivateKey.(*ecdsa.PrivateKey), prove, now); err == nil || !strings.Contains(err.Error(), "remove one first") {
		t.Errorf("one more: %v", err)
	}
}

// TestMoving: a certificate whose key is to live elsewhere is replaced, and its authority stays.
func TestMoving(t *testing.T) {
	dir := t.TempDir()
	a, _ := open(t, dir)
	first, _ := server(t, a, names, now)
	a, err := OpenAuthorityWith(moving{Files(dir)}, dir, names[0], now, a.log)
	if err != nil {
		t.Fatal(err)
	}
	proved := false
	second, fresh, err := a.Renew(names, now, func(tls.Certificate) error { proved = true; return nil })
	if err != nil || !fresh || !proved || bytes.Equal(first.Leaf.Raw, second.Leaf.Raw) || second.Leaf.CheckSignatureFrom(a.cert) != nil {
		t.Errorf("fresh %v, proved %v, %v", fresh, proved, err)
	}
}

// moving are keys of which the server's is to be kept elsewhere.
type moving struct{ Files }

func (m moving) Load(name string) (k crypto.Signer, err error) {
	if k, err = m.Files.Load(name); err == nil && name == "server.key" {
		err = ErrMoving
	}
	return k, err
}
