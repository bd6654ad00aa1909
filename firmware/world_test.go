package main

import (
	"context"
	"crypto"
	"crypto/x509"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-nas/postern/firmware/account"
	"github.com/postern-nas/postern/firmware/config"
	"github.com/postern-nas/postern/firmware/keys"
	"github.com/postern-nas/postern/quic/quictest"
	"github.com/postern-nas/postern/smb"
	"github.com/postern-nas/postern/smb/auth"
	"github.com/postern-nas/postern/smb/auth/ntlm"
	"github.com/postern-nas/postern/ui"
)

// expiring is what panel and page are told of certificates at this moment.
func (w *world) expiring(t *testing.T) (told []string) {
	t.Helper()
	w.nudge()
	s, _, err := w.Next(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range s.Alarms {
		if a.Kind == ui.AlarmCertificate {
			told = append(told, map[ui.Health]string{ui.Warning: "warning: ", ui.Failed: "failed: "}[a.Health]+a.Text)
		}
	}
	return told
}

// TestCertificateAlarm: panel and page speak of a certificate's end from the day on that the log does, and no more once
// another is in its place: the owner's, or ours when it has ended.
func TestCertificateAlarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const day = 24 * time.Hour
		c, log, refresh := tested(t, "nas.example.org")
		users, err := account.Open(t.TempDir(), c.log)
		if err != nil {
			t.Fatal(err)
		}
		server, err := smb.NewServer(smb.Config{Name: "NAS", Mechanisms: []auth.Mechanism{ntlm.New(ntlm.Config{Computer: "NAS", Accounts: users})}})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = server.Shutdown(context.Background()) }()
		cfg := &config.Config{Name: c.names[0], Names: c.names}
		w := &world{cfg: cfg, users: users, shares: &sharing{}, server: server, store: c.store, authority: c.authority, ring: new(keys.Ring), dir: c.dir, log: c.log}
		take := func(life time.Duration) {
			t.Helper()
			now := time.Now()
			chain := quictest.NewCA("A public authority").Leaf(c.names, func(x *x509.Certificate) { x.NotBefore, x.NotAfter = now.Add(-day), now.Add(life) })
			if _, _, err := c.take(c.dir, c.keys, chainPEM(chain), chain.PrivateKey.(crypto.Signer), now); err != nil {
				t.Fatal(err)
			}
			refresh(now)
		}
		want := func(when string, told ...string) {
			t.Helper()
			if got := w.expiring(t); !slices.Equal(got, told) {
				t.Errorf("%s: %q, want %q", when, got, told)
			}
			if said := strings.Contains(log.String(), "a certificate ends soon"); said != (len(told) > 0) {
				t.Errorf("%s: the log has said so: %v", when, said)
			}
		}
		refresh(time.Now())
		want("ours")
		take(31*day + time.Minute)
		ctx, stop := context.WithCancel(t.Context())
		upkeep := make(chan error, 1)
		go func() { upkeep <- (&serving{certs: c, log: c.log}).upkeep(ctx) }()
		time.Sleep(day)
		want("30 days before")
		time.Sleep(2 * time.Hour)
		want("29 days before", "warning: The certificate of nas.example.org ends in 29 days")
		take(32 * day)
		if got := w.expiring(t); got != nil {
			t.Errorf("with a new one: %q", got)
		}
		time.Sleep(30*day + 2*time.Hour)
		want("its last days", "warning: The certificate of nas.example.org ends in a day")
		time.Sleep(day)
		want("its last day", "warning: The certificate of nas.example.org ends within a day")
		time.Sleep(day)
		if got := w.expiring(t); got != nil {
			t.Errorf("with ours in its place: %q", got)
		}
		stop()
		if err := <-upkeep; err != nil {
			t.Error(err)
		}
		// Nobody renews ours.
		time.Sleep(time.Until(c.served[0].chain.Leaf.NotAfter) + time.Hour)
		if got := w.expiring(t); len(got) != 1 || got[0] != "failed: The certificate of nas.example.org has ended" {
			t.Errorf("it has ended: %q", got)
		}
	})
}
