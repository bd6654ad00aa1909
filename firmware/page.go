package main

import (
	"cmp"
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/postern-nas/postern/firmware/account"
	"github.com/postern-nas/postern/firmware/audit"
	"github.com/postern-nas/postern/firmware/cert"
	"github.com/postern-nas/postern/firmware/config"
	"github.com/postern-nas/postern/firmware/keys"
	"github.com/postern-nas/postern/firmware/pairing"
	"github.com/postern-nas/postern/firmware/state"
	"github.com/postern-nas/postern/firmware/supervise"
	"github.com/postern-nas/postern/quic"
	"github.com/postern-nas/postern/ui"
	"github.com/postern-nas/postern/ui/web"
)

// Where the page is, if postern.toml leaves it to us: on a box where browsers look; in a demonstration where a phone that has
// scanned the panel reaches it; on a computer that does other things where only that computer does.
const (
	pageOnBox    = ":443"
	pageOnDemo   = ":8443"
	pageOnLaptop = "127.0.0.1:8443"
)

// pageFace hands the page to browsers.
type pageFace struct {
	addr        string
	auto        bool // another port will do, if this one is taken
	page        *web.Server
	certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	log         *slog.Logger

	was *string      // where it listened before serving began again; "": it has not
	l   net.Listener // nil: not listening
}

// newPageFace says where to listen.
func newPageFace(cfg *config.Config, o options) *pageFace {
	f := &pageFace{addr: cfg.Page, was: o.pageWas}
	if cfg.Page == config.PageAuto {
		f.auto = true
		switch {
		case o.box:
			f.addr = pageOnBox
		case o.demo:
			f.addr = pageOnDemo
		default:
			f.addr = pageOnLaptop
		}
	}
	return f
}

func (f *pageFace) listen() (err error) {
	if f.was != nil && *f.was != "" && (f.auto || portOfText(f.addr) == "0") {
		f.l, err = net.Listen("tcp", *f.was) // a browser waits for it there
	}
	if f.l == nil {
		f.l, err = net.Listen("tcp", f.addr)
	}
	if err != nil && f.auto && refused(err) {
		host, _, _ := net.SplitHostPort(f.addr)
		f.l, err = net.Listen("tcp", net.JoinHostPort(host, "0"))
	}
	if err != nil {
		return fmt.Errorf("the page on TCP %s: %w; -page or [page] in %s names another port", f.addr, err, config.FileName)
	}
	if at := f.l.Addr().String(); at != f.addr { // the same again after a failure, when others read it
		f.addr = at
	}
	if f.was != nil {
		*f.was = f.addr
	}
	f.log.Info("listening", "transport", "page", "address", f.addr)
	return nil
}

func portOfText(addr string) string {
	_, port, _ := net.SplitHostPort(addr)
	return port
}

// run is the service.
func (f *pageFace) run(ctx context.Context) error {
	if f.l == nil {
		if err := f.listen(); err != nil {
			return err
		}
	}
	defer func() { _ = f.l.Close(); f.l = nil }()
	supervise.Healthy(ctx)
	return f.page.Serve(ctx, f.l, f.certificate)
}

// byName is the page's address by a name.
func (f *pageFace) byName(name string) string {
	if _, port, err := net.SplitHostPort(f.addr); err == nil && port != "443" {
		return "https://" + net.JoinHostPort(name, port)
	}
	return "https://" + name
}

// urls are the page's addresses as a browser takes them: by address first, which works on every phone, then by name.
func (f *pageFace) urls(names []string) (all []string) {
	host, port, _ := net.SplitHostPort(f.addr)
	if port == "443" {
		port = ""
	} else {
		port = ":" + port
	}
	own := ownAddresses()
	if a, err := netip.ParseAddr(host); err == nil && !a.IsUnspecified() {
		own = []netip.Addr{a}
	}
	for _, a := range own {
		if a.IsLinkLocalUnicast() && a.Is6() {
			continue // a browser cannot be told the interface
		}
		h := a.String()
		if a.Is6() {
			h = "[" + h + "]"
		}
		all = append(all, "https://"+h+port)
	}
	for _, n := range names {
		all = append(all, "https://"+n+port)
	}
	return all
}

// ownNetworks are this machine's addresses with their networks, of interfaces that are up, but for its loopback.
func ownNetworks() (all []netip.Prefix) {
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil
	}
	for _, i := range interfaces {
		if i.Flags&net.FlagUp == 0 || i.Flags&net.FlagLoopback != 0 {
			continue
		}
		addrs, err := i.Addrs()
		if err != nil {
			continue // it went away while we looked
		}
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil {
				all = append(all, netip.PrefixFrom(p.Addr().Unmap(), p.Bits()))
			}
		}
	}
	return all
}

// mayVisit says who may see the page: the local network, and others if the owner says so.
func mayVisit(cfg *config.Config) func(netip.Addr) bool {
	if cfg.PageOutside {
		return func(netip.Addr) bool { return true }
	}
	return func(a netip.Addr) bool {
		// A network of our own counts as local only if it is one: a provider's /8 or a point-to-point link to it is not.
		var near []netip.Prefix
		for _, p := range ownNetworks() {
			if p.Addr() == a.Unmap() { // from this machine itself, by whatever address it has
				return true
			}
			if p.Addr().Is6() && p.Bits() >= 64 && p.Bits() < 128 || p.Addr().Is4() && p.Addr().IsPrivate() {
				near = append(near, p.Masked())
			}
		}
		return web.LocalNetwork(a, append(near, cfg.Box.Local...))
	}
}

// hosts says which names in a request are ours.
func hosts(names []string, netbios string) func(string) bool {
	ours := map[string]bool{"localhost": true, strings.ToLower(netbios): true, strings.ToLower(netbios) + ".local": true}
	for _, n := range names {
		ours[strings.ToLower(n)] = true
	}
	return func(name string) bool { return ours[name] }
}

// triesFile keeps the counts of wrong passwords over a restart.
type triesFile struct {
	dir string
	log *slog.Logger
}

func (f triesFile) path() string { return filepath.Join(f.dir, "tries.json") }

func (f triesFile) Load() ([]byte, error) { return os.ReadFile(f.path()) }

func (f triesFile) Save(b []byte) error {
	err := state.Write(f.path(), b, 0o600)
	if err != nil {
		f.log.Warn("wrong passwords are not counted over a restart", "error", err)
	}
	return err
}

// pageOwners are the accounts as the page asks for them.
type pageOwners struct {
	users *account.Store
	desk  *pairing.Desk
}

func (o pageOwners) SignIn(user, password string) (string, bool) {
	u, ok := o.users.OwnerPassword(user, password)
	return u.Name, ok
}

func (o pageOwners) Stands(user string) (string, bool) { return o.users.Mark(user) }

// ByCertificate finds the owner for whom a device administers the box. That a device is an owner's is not enough.
func (o pageOwners) ByCertificate(c *x509.Certificate) (string, bool) {
	if o.desk == nil {
		return "", false
	}
	d, ok := o.desk.Find(c)
	if !ok || d.Owner == "" {
		return "", false
	}
	_, owner := o.users.Mark(d.Owner)
	return d.Owner, owner
}

// firstSetup is done once: after that only the owner's password counts.
type firstSetup struct {
	h   *house
	end context.CancelCauseFunc
	box bool
}

// setupFile says that the first setup was done. Without it and without an owner it is due; a box whose owner is lost is not
// open again to who comes first.
const setupFile = "setup.json"

func (f *firstSetup) Due() bool {
	if f.h.w.users.Owned() {
		return false
	}
	_, err := os.Stat(filepath.Join(f.h.state, setupFile))
	return errors.Is(err, os.ErrNotExist)
}

func (f *firstSetup) Places(context.Context) []web.Place { return f.h.at.offer() }

// Check implements web.Setup.
func (f *firstSetup) Check(ctx context.Context, p web.Plan, step web.Step) error {
	switch step {
	case web.StepName:
		if !config.DNSName(p.Name) {
			return errors.New("a name has letters, digits and hyphens, with dots between its parts, as in attic.local")
		}
	case web.StepOwner:
		if p.Password == "" {
			return errors.New("choose a password")
		}
		for _, u := range f.h.w.users.Users() {
			if strings.EqualFold(u.Name, p.Owner) {
				return fmt.Errorf("there is a user %s already; choose another name", u.Name)
			}
		}
		return account.Check(p.Owner, p.Password)
	case web.StepDisks:
		if !slices.ContainsFunc(f.Places(ctx), func(pl web.Place) bool { return pl.ID == p.Place }) {
			return errors.New("choose one of these")
		}
	case web.StepShare:
		if p.Share == "" {
			return nil
		}
		if _, there := f.h.w.shares.lookup(p.Share); there {
			return fmt.Errorf("there is a share %s already; choose another name, or leave it empty to keep that one", p.Share)
		}
		return config.CheckShareName(p.Share)
	case web.StepOutside:
		if p.OutsideName != "" && !config.PublicName(p.OutsideName) {
			return errors.New("the name from elsewhere is a DNS name such as nas.example.org")
		}
	}
	return nil
}

// Carry implements web.Setup. The owner comes last: until then it can be done again from the start.
func (f *firstSetup) Carry(ctx context.Context, p web.Plan, tell func(step string, percent int)) error {
	for step := web.StepName; step < web.StepFinish; step++ {
		if err := f.Check(ctx, p, step); err != nil {
			return err
		}
	}
	changes := []config.Setting{{Key: "name", Value: p.Name}}
	if p.OutsideName != "" && p.OutsideName != p.Name {
		changes = append(changes, config.Setting{Key: "names", Value: []string{p.OutsideName}})
	}
	if p.Outside {
		changes = append(changes, config.Setting{Table: "network", Key: "port_mapping", Value: true}) // the router is asked, and the overview says what it answers
	}
	if slices.Contains(config.Zones(), p.Zone) {
		changes = append(changes, config.Setting{Table: "time", Key: "zone", Value: p.Zone})
	}
	if _, err := config.Set(f.h.state, changes...); err != nil {
		return err
	}
	folder, err := f.h.at.prepare(ctx, p.Place, tell)
	if err != nil {
		return err
	}
	tell("making the share and the owner's account", 95)
	if p.Share != "" {
		if err := f.h.AddShare(ctx, ui.Share{Name: p.Share, Path: filepath.Join(folder, p.Share)}); err != nil {
			return err
		}
	}
	if err := f.h.AddUser(ctx, p.Owner, p.Password); err != nil {
		return err
	}
	if err := errors.Join(f.h.w.users.SetOwner(p.Owner, true), f.h.w.users.SetAdmin(p.Owner, true)); err != nil {
		return err
	}
	done := fmt.Sprintf("{\"done\": %q}\n", time.Now().UTC().Format(time.RFC3339))
	if err := state.Write(filepath.Join(f.h.state, setupFile), []byte(done), 0o600); err != nil {
		return err
	}
	f.h.w.record(ctx, audit.Event{ID: audit.ConfigChanged, OK: true, User: p.Owner, Text: "first setup done"})
	return nil
}

// Begin implements web.Setup.
func (f *firstSetup) Begin() { time.AfterFunc(endAfter, func() { f.end(errAgain) }) }

// houseDevices implements web.Devices.
type houseDevices struct{ w *world }

func (d houseDevices) Pair(ctx context.Context, user string) error {
	_, err := d.w.desk.Start(ctx, user)
	d.w.nudge()
	return err
}

func (d houseDevices) Revoke(ctx context.Context, id string) error {
	defer d.w.nudge()
	return d.w.desk.Revoke(ctx, id)
}

// Administer implements web.Devices.
func (d houseDevices) Administer(ctx context.Context, id string, may bool) error {
	owner := ""
	if may {
		owner = web.By(ctx).User
	}
	return d.setOwner(ctx, id, owner)
}

// setOwner says for which owner a device administers the box; "" for none.
func (d houseDevices) setOwner(ctx context.Context, id, owner string) error {
	e := audit.Event{ID: audit.DeviceDemoted, OK: true}
	if owner != "" {
		if _, ok := d.w.users.Mark(owner); !ok {
			return fmt.Errorf("%s is no owner who can sign in", owner)
		}
		e.ID, e.User = audit.DevicePromoted, owner
	}
	dev, err := d.w.desk.SetOwner(id, owner)
	if err != nil {
		return err
	}
	e.Device = dev.Name
	d.w.record(ctx, e)
	d.w.nudge()
	return nil
}

// visitors implements web.Pairings.
type visitors struct {
	http.Handler
	w    *world
	ways func() web.Ways
}

func (v visitors) Visit(ctx context.Context, from netip.Addr, code, device string) (*http.Cookie, error) {
	t, err := v.w.desk.Visit(ctx, from, code, device)
	if err != nil {
		_, text := pairing.Status(err)
		return nil, errors.New(text)
	}
	v.w.nudge()
	return pairing.Cookie(t), nil
}

func (v visitors) Look(r *http.Request) (web.Visit, error) {
	c, err := r.Cookie(pairing.CookieName)
	if err != nil {
		return web.Visit{}, err
	}
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return web.Visit{}, err
	}
	a, err := v.w.desk.Look(from.Addr().Unmap(), c.Value)
	if err != nil {
		return web.Visit{}, err
	}
	return web.Visit{Phase: phases[a.Phase], Device: a.Device, Reason: a.Reason, User: a.User, Ways: v.ways()}, nil
}

// houseCertificates implements web.Certificates.
type houseCertificates struct {
	w     *world
	certs *certificates
	ring  *keys.Ring
}

func (c *houseCertificates) Authority(context.Context) ([]byte, error) {
	return c.w.authority.Certificate().Raw, nil
}

func (c *houseCertificates) Request(context.Context) ([]byte, error) {
	_, text, err := cert.Request(c.ring, c.w.cfg.Names)
	return text, err
}

func (c *houseCertificates) Install(ctx context.Context, chain, key []byte) error {
	var signer crypto.Signer
	if key != nil {
		var err error
		if signer, err = keys.ParseKey(key); err != nil {
			return fmt.Errorf("the private key: %w", err)
		}
	}
	id, covered, err := c.certs.take(c.w.shares.dir, c.ring, chain, signer, time.Now())
	if err != nil {
		return err
	}
	return c.done(ctx, fmt.Sprintf("%s for %s", id, strings.Join(covered, ", ")))
}

func (c *houseCertificates) Renew(ctx context.Context) error {
	now := time.Now()
	_, err := c.w.authority.Reissue(c.certs.names, now, func(chain tls.Certificate) error { return quicProve(chain, c.certs.names, now) })
	if err != nil {
		return err
	}
	return c.done(ctx, "our own, renewed")
}

// UseOwn forgets the certificates that were brought in.
func (c *houseCertificates) UseOwn(ctx context.Context) error {
	if c.w.cfg.CertificateFile != "" {
		return errors.New("the certificate is named in postern.toml, under [certificate]; take it out there")
	}
	ids, err := cert.Imported(c.w.shares.dir)
	for _, id := range ids {
		err = errors.Join(err, cert.Remove(c.w.shares.dir, id, c.ring))
	}
	if err != nil {
		return err
	}
	return c.done(ctx, "our own")
}

func (c *houseCertificates) done(ctx context.Context, what string) error {
	if err := c.certs.refresh(time.Now()); err != nil {
		return err
	}
	c.w.record(ctx, audit.Event{ID: audit.CertificateChanged, OK: true, Text: what})
	c.w.nudge()
	return nil
}

// quicProve proves that a certificate can be served.
func quicProve(chain tls.Certificate, names []string, now time.Time) error {
	_, err := quic.Prove(quic.Mapping{Names: names, Certificate: chain}, now)
	return err
}

// recovery implements web.Recovery.
type recovery struct{ ring *keys.Ring }

func (r recovery) NewCode(context.Context) (string, error) { return r.ring.NewCode() }

func (r recovery) Noted(context.Context) error { return r.ring.CodeNoted() }

func (r recovery) State() (made, noted bool) {
	s, _ := r.ring.State().Get()
	return s.HasCode, s.CodeNoted
}

// diary implements web.Journal.
type diary struct{ log *audit.Log }

// query is a search of the page's as the log has it.
func query(q web.Search) (audit.Query, error) {
	a := audit.Query{Text: q.Text, User: q.User, Device: q.Device, From: q.From, To: q.To, Failed: q.Failed, Before: q.Before}
	if q.Event != "" {
		id, ok := audit.ParseID(q.Event)
		if !ok {
			return a, fmt.Errorf("there is no event %q; choose one of the list", q.Event)
		}
		a.IDs = []audit.ID{id}
	}
	return a, nil
}

func (d diary) Events() (names []string) {
	for _, id := range audit.Known() {
		names = append(names, id.String())
	}
	slices.Sort(names)
	return names
}

func (d diary) Search(ctx context.Context, q web.Search, limit int) (all []web.Entry, next uint64, err error) {
	a, err := query(q)
	if err != nil {
		return nil, 0, err
	}
	a.Limit = limit
	page, err := d.log.Query(ctx, a)
	for _, e := range page.Events {
		one := web.Entry{Time: e.Time, Seq: e.Seq, ID: int(e.ID), Event: e.ID.String(), Who: cmp.Or(e.User, e.Device, e.By)}
		if e.Address.IsValid() {
			one.From = e.Address.String()
		}
		var about []string
		for _, part := range []struct{ name, value string }{
			{"device", e.Device}, {"share", e.Share}, {"over", e.Transport}, {"by", e.By}, {"", e.Text},
		} {
			if part.value != "" {
				about = append(about, strings.TrimSpace(part.name+" "+part.value))
			}
		}
		if !e.OK {
			about = append([]string{"refused or failed"}, about...)
		}
		if e.Skipped > 0 {
			about = append(about, fmt.Sprintf("and %d more like it", e.Skipped))
		}
		one.Text = strings.Join(about, ", ")
		all = append(all, one)
	}
	return all, page.Next, err
}

func (d diary) Export(ctx context.Context, w io.Writer, q web.Search, format string) error {
	a, err := query(q)
	if err != nil {
		return err
	}
	return d.log.Export(ctx, w, a, audit.Format(format))
}
