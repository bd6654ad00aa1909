package main

import (
	"context"
	"crypto"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/postern-nas/postern/firmware/cert"
	"github.com/postern-nas/postern/firmware/keys"
	"github.com/postern-nas/postern/ui"
)

// keysSeen is what the panel and the page show of the keys, and what their owner should know.
func keysSeen(s keys.State) (where ui.Keys, alarms []ui.Alarm) {
	switch {
	case !s.Open:
	case s.Where == keys.Resident:
		where = ui.Resident
	case s.Where == keys.Sealed:
		where = ui.Sealed
	default:
		where = ui.OnDisk
	}
	switch {
	case !s.Open && s.Trouble != keys.None:
		alarms = append(alarms, ui.Alarm{ID: "keys", Health: ui.Failed, Text: s.Text, Advice: s.Advice})
	case s.Trouble != keys.None:
		alarms = append(alarms, ui.Alarm{ID: "keys", Health: ui.Warning, Text: s.Text, Advice: s.Advice})
	}
	if s.Open && where != ui.OnDisk && !s.CodeNoted {
		alarms = append(alarms, ui.Alarm{
			ID: "recovery-code", Health: ui.Warning, Text: "The recovery code was not noted",
			Advice: "Show it, write it down, and say so; without it a broken TPM takes the keys along",
		})
	}
	return where, alarms
}

// certificatesSeen is the certificate that most clients are shown, and those that end soon.
func certificatesSeen(list []cert.Serving) (c ui.Certificate, alarms []ui.Alarm) {
	for i, s := range list {
		if i == 0 {
			c = ui.Certificate{Names: s.Names, NotAfter: s.NotAfter, DaysLeft: s.DaysLeft, Own: s.Own}
		}
		if s.Urgency == cert.Calm {
			continue
		}
		a := ui.Alarm{
			ID: "certificate-" + s.ID, Kind: ui.AlarmCertificate, Health: ui.Warning,
			Text:   fmt.Sprintf("The certificate for %s ends in %d days", strings.Join(s.Serves, ", "), s.DaysLeft),
			Advice: "Take in a new one from your authority; when it has ended, Postern's own stands in",
		}
		if s.Urgency >= cert.Dire {
			a.Health = ui.Failed
		}
		if s.Urgency == cert.Expired {
			a.Text = fmt.Sprintf("The certificate for %s has ended", strings.Join(s.Serves, ", "))
		}
		alarms = append(alarms, a)
	}
	return c, alarms
}

// certificatesPage is what the page does with certificates.
type certificatesPage struct {
	c    *certificates
	ring *keys.Ring
}

func (p certificatesPage) Authority(context.Context) ([]byte, error) {
	return p.c.authority.Certificate().Raw, nil
}

func (p certificatesPage) Request(context.Context) ([]byte, error) {
	_, text, err := cert.Request(p.ring, p.c.names)
	return text, err
}

// Install serves a certificate from now on. A nil key is that of any request that was made here.
func (p certificatesPage) Install(_ context.Context, chain, key []byte) (err error) {
	var private crypto.Signer
	if key != nil {
		if private, err = keys.ParseKey(key); err != nil {
			return fmt.Errorf("the key: %w", err)
		}
	}
	if _, _, err := p.c.take(p.c.dir, p.ring, chain, private, time.Now()); err != nil {
		return err
	}
	return p.c.refresh(time.Now())
}

// Renew makes our own certificate anew.
func (p certificatesPage) Renew(context.Context) error {
	now := time.Now()
	if err := p.c.anew(now); err != nil {
		return err
	}
	return p.c.refresh(now)
}

// anew makes our own certificate anew, if that proves itself.
func (c *certificates) anew(now time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, err := c.authority.Anew(c.names, now, func(chain tls.Certificate) error { return c.prove(chain, c.names, now) })
	return err
}

// UseOwn forgets what was taken in.
func (p certificatesPage) UseOwn(context.Context) error {
	if p.c.file != "" {
		return errors.New("the certificate is one that [certificate] in postern.toml names: take it out there")
	}
	ids, err := cert.Imported(p.c.dir)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if err := cert.Remove(p.c.dir, id, p.ring); err != nil {
			return err
		}
	}
	return p.c.refresh(time.Now())
}

// recoveryPage is what the page does with the recovery code.
type recoveryPage struct{ ring *keys.Ring }

// NewCode makes another code. Who asks for one on the page is shown it there, and is taken to note it.
func (p recoveryPage) NewCode(context.Context) (string, error) {
	code, err := p.ring.NewCode()
	if err != nil {
		return "", err
	}
	return code, p.ring.CodeNoted()
}

func (p recoveryPage) Made() (time.Time, bool) { return p.ring.CodeMade() }
