package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net/netip"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/postern-nas/postern/firmware/account"
	"github.com/postern-nas/postern/firmware/audit"
	"github.com/postern-nas/postern/firmware/cert"
	"github.com/postern-nas/postern/firmware/config"
	"github.com/postern-nas/postern/firmware/keys"
	"github.com/postern-nas/postern/firmware/pairing"
	"github.com/postern-nas/postern/firmware/supervise"
	"github.com/postern-nas/postern/firmware/watch"
	"github.com/postern-nas/postern/quic"
	"github.com/postern-nas/postern/smb"
	"github.com/postern-nas/postern/ui"
)

// How often the world is looked at: the speed that a panel shows is that of the last second, and how full a disk is changes
// slowly.
const (
	worldTick = time.Second
	spaceTick = 20 * time.Second
)

// A world is the box as panel and page see it: it builds the ui.State from what the services say, and hands it out. Fields that
// are nil are services that this box has not.
type world struct {
	cfg       *config.Config
	users     *account.Store
	shares    *sharing
	server    *smb.Server
	store     *quic.Store
	authority *cert.Authority
	ring      *keys.Ring
	desk      *pairing.Desk
	journal   *audit.Log
	dir       string // the state folder
	log       *slog.Logger

	// code is the first setup's, nil without one.
	code func() *ui.Setup
	// chosen is what the owner has set since the start, of what counts at once; nil: nothing.
	chosen atomic.Pointer[config.Box]
	// more adds what other services know.
	more []func(*ui.State)

	now     watch.Value[ui.State]
	started time.Time
	looking sync.Mutex // guards what follows
	space   map[string][2]int64
	asides  []ui.Alarm
	looked  time.Time // at the space and at what was set aside
	last    smb.Stats
	lastAt  time.Time
}

// nudge looks at the world now and not in a second: when it returns, whoever has changed something sees it changed.
func (w *world) nudge() {
	if w.users != nil { // else nothing is served yet, and there is nothing to see
		w.look(time.Now())
	}
}

// Next implements ui.Source.
func (w *world) Next(ctx context.Context, seen uint64) (ui.State, uint64, error) {
	return w.now.Wait(ctx, seen)
}

// run is the service.
func (w *world) run(ctx context.Context) error {
	supervise.Healthy(ctx)
	tick := time.NewTicker(worldTick)
	defer tick.Stop()
	for {
		w.look(time.Now())
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// look hands out a new State if anything has changed.
func (w *world) look(now time.Time) {
	w.looking.Lock()
	defer w.looking.Unlock()
	s := w.state(now)
	if old, version := w.now.Get(); version == 0 || !reflect.DeepEqual(old, s) {
		w.now.Set(s)
	}
}

// state is the box now.
func (w *world) state(now time.Time) ui.State {
	s := ui.State{
		Name: w.cfg.Name, Names: w.cfg.Names, Version: version(), Started: w.started, Addresses: ownAddresses(),
	}
	box := w.cfg.Box
	if now := w.chosen.Load(); now != nil {
		box = *now
	}
	s.Zone, s.Panel = box.Zone, panelOf(box.Panel)
	if w.code != nil {
		s.Setup = w.code()
	}
	w.measure(now)
	for _, sh := range w.shares.list() {
		space := w.space[sh.Path]
		read, write := sh.Lists()
		one := ui.Share{
			Name: sh.Name, Comment: sh.Comment, Path: sh.Path, Total: space[0], Free: space[1], Health: ui.Good,
			ReadOnly: sh.ReadOnly, Encrypt: sh.Encrypt, Hidden: sh.Hidden, Restricted: sh.Restricted(), Read: read, Write: write,
		}
		switch {
		case len(sh.Links) > 0:
			one.Path, one.Health = "", ui.Good
		case space[0] == 0:
			one.Health = ui.Failed
			s.Alarms = append(s.Alarms, ui.Alarm{
				ID: "gone " + sh.Name, Kind: ui.AlarmDisk, Health: ui.Failed, Text: "The folder of " + sh.Name + " is not there",
				Advice: "Put its disk back in, or remove the share.",
			})
		case space[1] < space[0]/20:
			one.Health = ui.Warning
			s.Alarms = append(s.Alarms, ui.Alarm{
				ID: "space " + sh.Name, Kind: ui.AlarmSpace, Health: ui.Warning, Text: sh.Name + " is almost full",
				Advice: "Delete or move files; less than a twentieth is free.",
			})
		}
		s.Shares = append(s.Shares, one)
	}
	users := w.users.Users()
	s.Alarms = append(s.Alarms, passwordAlarms(users)...)
	for _, u := range users {
		s.Users = append(s.Users, ui.User{Name: u.Name, Owner: u.Owner, Admin: u.Admin, Disabled: u.Disabled, NoLogon: !u.HasPassword})
	}
	s.Traffic = w.traffic(now)
	s.Alarms = append(s.Alarms, w.asides...)
	w.keys(&s)
	w.certificates(&s, now)
	w.pairing(&s)
	for _, more := range w.more {
		more(&s)
	}
	slices.SortStableFunc(s.Alarms, func(a, b ui.Alarm) int { return int(b.Health) - int(a.Health) })
	return s
}

// measure finds out how full the shares are, now and then, and for those that are new.
func (w *world) measure(now time.Time) {
	list := w.shares.list()
	fresh := w.space == nil || now.Sub(w.looked) >= spaceTick
	for _, sh := range list {
		if _, known := w.space[sh.Path]; !known && sh.Path != "" {
			fresh = true
		}
	}
	if !fresh {
		return
	}
	w.looked, w.space, w.asides = now, make(map[string][2]int64), asides(w.dir, now)
	for _, sh := range list {
		var st unix.Statfs_t
		if sh.Path == "" {
			continue
		}
		w.space[sh.Path] = [2]int64{}
		if unix.Statfs(sh.Path, &st) == nil {
			w.space[sh.Path] = [2]int64{int64(st.Blocks) * st.Bsize, int64(st.Bavail) * st.Bsize}
		}
	}
}

// traffic is the speed since the last look that was long enough ago to tell.
func (w *world) traffic(now time.Time) ui.Traffic {
	st := w.server.Stats()
	old, _ := w.now.Get()
	t := ui.Traffic{In: old.Traffic.In, Out: old.Traffic.Out, Sessions: st.Sessions}
	passed := now.Sub(w.lastAt)
	if passed < worldTick/2 {
		return t
	}
	if !w.lastAt.IsZero() {
		t.In = int64(float64(st.Written-w.last.Written) / passed.Seconds())
		t.Out = int64(float64(st.Read-w.last.Read) / passed.Seconds())
	}
	w.last, w.lastAt = st, now
	return t
}

// keys says where the server's keys are, and what is wrong with that.
func (w *world) keys(s *ui.State) {
	now, _ := w.ring.State().Get()
	where, alarms := keysSeen(now)
	s.Keys, s.Alarms = where, append(s.Alarms, alarms...)
}

// certificates are those that clients are shown.
func (w *world) certificates(s *ui.State, now time.Time) {
	s.Authority = described(w.authority.Certificate(), now)
	seen := make(map[string]bool)
	for i, name := range w.cfg.Names {
		c, err := w.store.Certificate(&tls.ClientHelloInfo{ServerName: name})
		if err != nil || c.Leaf == nil {
			continue
		}
		one := described(c.Leaf, now)
		one.Names = c.Leaf.DNSNames
		one.Own = c.Leaf.CheckSignatureFrom(w.authority.Certificate()) == nil
		if i == 0 {
			s.Certificate = one
		}
		if seen[one.SHA256] {
			continue
		}
		seen[one.SHA256] = true
		s.Certificates = append(s.Certificates, one)
		s.Alarms = append(s.Alarms, expiryAlarms(name, c.Leaf.NotAfter, now)...)
	}
}

// expiryAlarms are the alarm of a certificate that ends soon, from when on the log says so, too: our own renew themselves
// long before.
func expiryAlarms(name string, end, now time.Time) []ui.Alarm {
	days, urgency := cert.Days(end, now)
	a := ui.Alarm{
		ID: "certificate " + name, Kind: ui.AlarmCertificate, Health: ui.Warning,
		Text:   fmt.Sprintf("The certificate of %s ends in %d days", name, days),
		Advice: "Bring in a new one on the page, under Certificates.",
	}
	switch {
	case urgency == cert.Calm:
		return nil
	case urgency == cert.Expired:
		a.Health, a.Text = ui.Failed, "The certificate of "+name+" has ended"
	case days == 0:
		a.Text = "The certificate of " + name + " ends within a day"
	case days == 1:
		a.Text = "The certificate of " + name + " ends in a day"
	}
	return []ui.Alarm{a}
}

func described(c *x509.Certificate, now time.Time) ui.Certificate {
	days, _ := cert.Days(c.NotAfter, now)
	return ui.Certificate{
		Subject: c.Subject.String(), Issuer: c.Issuer.String(), SHA256: fmt.Sprintf("%X", sha256.Sum256(c.Raw)), NotAfter: c.NotAfter.UTC(), DaysLeft: days,
	}
}

// pairing is who is paired and who wants to be.
func (w *world) pairing(s *ui.State) {
	if w.desk == nil {
		return
	}
	for _, d := range w.desk.Devices() {
		one := ui.Device{
			ID: d.ID, Name: d.Name, User: d.User, Owner: d.Owner, Paired: d.Issued, LastSeen: d.LastSeen, Address: d.Address, Until: d.NotAfter,
			SHA256: fmt.Sprintf("%X", d.SHA256),
		}
		s.Devices = append(s.Devices, one)
	}
	known := func(name string) bool {
		return slices.ContainsFunc(s.Devices, func(d ui.Device) bool { return d.Name == name })
	}
	if a, _ := w.desk.Current().Get(); a != nil && (a.Phase != pairing.Paired || known(a.Device)) { // it may be revoked again
		s.Pairing = &ui.Pairing{
			ID: a.ID, Phase: phases[a.Phase], URL: cmp.Or(a.URL, a.Page), Page: a.Page, Code: a.Shown(), Until: a.Until,
			Script: a.Script, Device: a.Device, Address: a.Address, User: a.User,
		}
	}
}

var phases = map[pairing.Phase]ui.Phase{
	pairing.Waiting: ui.Waiting, pairing.Preparing: ui.Preparing, pairing.Asking: ui.Asking, pairing.Issuing: ui.Issuing, pairing.Paired: ui.Paired, pairing.Refused: ui.Refused,
}

// ownAddresses are those by which the local network reaches this machine, IPv4 first.
func ownAddresses() (all []netip.Addr) {
	for _, p := range ownNetworks() {
		all = append(all, p.Addr())
	}
	slices.SortStableFunc(all, func(a, b netip.Addr) int { return rank(a) - rank(b) })
	return all
}

func rank(a netip.Addr) (r int) {
	if a.Is6() {
		r = 1
	}
	if a.IsLinkLocalUnicast() {
		r += 2
	}
	return r
}

// follow nudges the world whenever a value changes.
func follow[T any](ctx context.Context, w *world, v *watch.Value[T]) {
	var seen uint64
	for {
		_, version, err := v.Wait(ctx, seen)
		if err != nil {
			return
		}
		seen = version
		w.nudge()
	}
}
