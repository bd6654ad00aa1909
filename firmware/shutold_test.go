package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"log/slog"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/postern-nas/postern/firmware/keys"
	"github.com/postern-nas/postern/tpm"
	"github.com/postern-nas/postern/tpm/tpmtest"
	"github.com/postern-nas/postern/ui"
)

// TestOldVersionIsTold: where somebody has put an older version back, panel and page say why the TPM keeps the keys.
func TestOldVersionIsTold(t *testing.T) {
	chip, dir := tpmtest.New(t), t.TempDir()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ring := func(number uint64) *keys.Ring {
		a, err := tpm.Approve(key, number, tpm.PCRs{4: {}, 11: {}, 12: {}}) // swtpm without firmware
		if err != nil {
			t.Fatal(err)
		}
		chip.Restart(t)
		return keys.New(keys.Options{
			Dir: dir, Device: chip.Socket, Box: true, Number: number, Release: &key.PublicKey,
			Approvals: func() ([]tpm.Approval, error) { return []tpm.Approval{a}, nil },
		})
	}
	r := ring(2)
	if err := r.Open(); err != nil {
		t.Fatal(err)
	}
	r.Close()
	r = ring(1)
	defer r.Close()
	if err := r.Open(); err == nil {
		t.Fatal("it has the keys")
	}
	const told = "An older version was started than has run on this box before"
	s, _ := r.State().Get()
	if where, alarms := keysSeen(s); where != ui.KeysUnknown || len(alarms) != 1 || alarms[0].Health != ui.Failed || !strings.HasPrefix(alarms[0].Text, told) {
		t.Errorf("the panel: %+v", alarms)
	}
	w := httptest.NewRecorder()
	shutHandler(r, func(netip.Addr) bool { return true }, slog.New(slog.DiscardHandler)).ServeHTTP(w, httptest.NewRequest("GET", "https://postern.local/", nil))
	if text := w.Body.String(); !strings.Contains(text, told) || !strings.Contains(text, "Put the version back that ran last") {
		t.Errorf("the page: %s", text)
	}
}
