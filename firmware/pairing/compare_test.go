package pairing_test

import (
	"crypto/sha256"
	"fmt"
	"testing"

	"github.com/postern-nas/postern/firmware/pairing"
)

// The code is made of everything that both have agreed on: what Commit and Confirm say here, computed by hand, is what the
// script for Windows computes.
func TestConfirm(t *testing.T) {
	ca, csr := []byte("authority"), []byte("request")
	own, box := pairing.Nonce{1}, pairing.Nonce{2}
	a, r := sha256.Sum256(ca), sha256.Sum256(csr)
	both := string(a[:]) + string(r[:]) + string(own[:])
	if got := pairing.Commit(ca, csr, own); got != sha256.Sum256([]byte("postern pairing commit"+both)) {
		t.Errorf("commitment %x", got)
	}
	sum := sha256.Sum256([]byte("postern pairing code" + both + string(box[:])))
	n := (uint32(sum[0]) | uint32(sum[1])<<8 | uint32(sum[2])<<16 | uint32(sum[3])<<24) % 1000000
	code := pairing.Confirm(ca, csr, own, box)
	if want := fmt.Sprintf("%03d %03d", n/1000, n%1000); code != want {
		t.Errorf("%s, want %s", code, want)
	}
	for name, other := range map[string]string{
		"authority": pairing.Confirm([]byte("another"), csr, own, box), "request": pairing.Confirm(ca, []byte("another"), own, box),
		"device": pairing.Confirm(ca, csr, pairing.Nonce{3}, box), "box": pairing.Confirm(ca, csr, own, pairing.Nonce{3}),
	} {
		if other == code {
			t.Errorf("with another %s the code is the same", name)
		}
	}
	seen := map[string]bool{} // codes that are small keep their zeros, and there are many of them
	for i := range 2000 {
		c := pairing.Confirm(ca, csr, own, pairing.Nonce{byte(i), byte(i >> 8)})
		if len(c) != 7 || c[3] != ' ' {
			t.Fatalf("%q", c)
		}
		seen[c] = true
	}
	if len(seen) < 1900 {
		t.Errorf("%d codes of 2000", len(seen))
	}
}

// What was not committed to ends the attempt, and nobody gets a second try at a nonce of the box.
func TestRequestAndOpen(t *testing.T) {
	b := open(t)
	a := b.start(t)
	ticket := b.visit(t, a)
	csr, own := request(t, ecKey(t), nil), pairing.Nonce{7}
	ca := b.authority.Certificate().Raw
	want(t, b.Open(near, ticket.Secret, own), pairing.ErrUsed) // nothing is requested
	if _, err := b.Request(near, ticket.Secret, []byte("no request"), pairing.Commit(ca, csr, own), ""); err == nil {
		t.Error("what is no request is taken")
	}
	first, err := b.Request(near, ticket.Secret, csr, pairing.Commit(ca, csr, own), "")
	if err != nil || first == (pairing.Nonce{}) {
		t.Fatal(first, err)
	}
	_, err = b.Request(near, ticket.Secret, csr, pairing.Commit(ca, csr, own), "")
	want(t, err, pairing.ErrUsed)
	_, err = b.Request(near, "another", csr, pairing.Commit(ca, csr, own), "")
	want(t, err, pairing.ErrToken)
	want(t, b.Open(near, "another", own), pairing.ErrToken)
	if phase(b) != "preparing" {
		t.Fatal(phase(b))
	}
	want(t, b.Open(near, ticket.Secret, pairing.Nonce{8}), pairing.ErrBetween)
	if phase(b) != "refused" {
		t.Error(phase(b))
	}
	want(t, b.Open(near, ticket.Secret, own), pairing.ErrUsed)
	_, _, err = b.Enrol(t.Context(), near, ticket.Secret)
	want(t, err, pairing.ErrRefused)
	next := b.visit(t, b.start(t))
	second, err := b.Request(near, next.Secret, csr, pairing.Commit(ca, csr, own), "")
	if err != nil || second == first {
		t.Error(second, err)
	}
}

// A device that leaves by itself is gone as one that was revoked is.
func TestLeave(t *testing.T) {
	b := open(t)
	d, cert := b.pair(t, ecKey(t))
	other, _ := b.pair(t, ecKey(t))
	want(t, b.Leave(b.authority.Certificate()), pairing.ErrProof)
	if err := b.Leave(cert); err != nil {
		t.Fatal(err)
	}
	want(t, b.Leave(cert), pairing.ErrProof)
	allow, deny := b.Hashes()
	if len(allow) != 1 || allow[0] != other.SHA256 || len(deny) != 1 || deny[0] != d.SHA256 {
		t.Error(allow, deny)
	}
	last := b.events[len(b.events)-1]
	if last.Name != "" || last.By != "the device itself" || last.Device != "LAPTOP" || len(last.Certificates) != 1 {
		t.Errorf("%+v", last)
	}
}
