package main

import (
	"cmp"
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/postern-nas/postern/firmware/account"
	"github.com/postern-nas/postern/firmware/audit"
	"github.com/postern-nas/postern/firmware/cert"
	"github.com/postern-nas/postern/firmware/config"
	"github.com/postern-nas/postern/firmware/keys"
	"github.com/postern-nas/postern/firmware/observe"
	"github.com/postern-nas/postern/firmware/pairing"
	"github.com/postern-nas/postern/firmware/supervise"
	"github.com/postern-nas/postern/quic"
	"github.com/postern-nas/postern/smb"
	"github.com/postern-nas/postern/ui"
	"github.com/postern-nas/postern/ui/lcd"
	"github.com/postern-nas/postern/ui/web"
)

// faceParts are what panel and page are made from.
type faceParts struct {
	o         options
	cfg       *config.Config
	users     *account.Store
	shared    *sharing
	server    *smb.Server
	store     *quic.Store
	authority *cert.Authority
	certs     *certificates
	ring      *keys.Ring
	door      *door
	site      *pageFace // not listening yet
	quic      net.Addr
	lines     *observe.Ring
	end       context.CancelCauseFunc
	log       *slog.Logger
}

// A face is what an owner sees of the box: the panel and the page, two renderings of one world.
type face struct {
	faceParts
	w        *world
	control  *ownerControl
	commands *control
	panel    *lcd.Panel // nil: there is none
	page     *web.Server
	https    *pageFace // nil: the page is off
	told     atomic.Pointer[io.Writer]
}

// openFace makes panel and page, and listens.
func openFace(p faceParts) (*face, error) {
	f := &face{faceParts: p}
	f.w = &world{
		cfg: p.cfg, users: p.users, shares: p.shared, server: p.server, store: p.store, authority: p.authority, ring: p.ring, desk: p.door.desk, journal: p.door.audit, dir: p.o.state, log: p.log,
		started: time.Now().UTC().Truncate(time.Second),
	}
	f.w.more = append(f.w.more, tellHardware(p.o.hardware))
	if p.o.heat != nil {
		f.w.more = append(f.w.more, tellHeat(p.o.heat))
	}
	if p.o.updates != nil {
		f.w.more = append(f.w.more, pageUpdates{p.o.updates}.tell)
	}
	if p.o.sticks != nil {
		f.w.more = append(f.w.more, tellStick(p.o.sticks, p.o.updates))
	}
	f.control = &ownerControl{w: f.w, end: p.end, machine: p.o.machine, stick: p.o.sticks}
	f.panel = newPanel(p.o.hardware, f.w, f.control, p.log)
	h := &house{w: f.w, state: p.o.state, at: places{state: p.o.state}, door: p.door}
	if p.o.machine != nil {
		h.at.disks = p.o.machine.Disks
		if p.o.hardware != nil {
			h.at.disks.SetBays(p.o.hardware.Bays)
		}
	}
	f.commands = &control{
		dir: p.o.state, server: p.server, users: p.users, door: p.door, log: p.log, began: time.Now(), house: h,
		devices: houseDevices{f.w}, certs: &houseCertificates{f.w, p.certs, p.ring}, updates: p.o.updates,
	}
	if p.cfg.Page == "" {
		return f, nil
	}
	f.https = p.site
	setup := &firstSetup{h: h, end: p.end, box: p.o.box}
	box := web.Box{
		Source: f.w, Control: f.control, Owners: pageOwners{p.users, f.w.desk}, Setup: setup,
		Shares: h, Users: h, Logs: p.lines, Devices: f.commands.devices, Certificates: f.commands.certs, Commands: f.commands.handler(),
		Pairings: visitors{p.door.desk.Handler(f.script), f.w, f.ways}, Ways: f.ways, Journal: diary{f.w.journal},
		Settings: &houseSettings{h: h, box: p.o.box, panel: f.panel != nil},
	}
	if f.panel != nil {
		box.Panel = f.panel
	}
	if p.o.machine != nil {
		box.Network = newPortTrial(h, p.o.machine.Network, p.log)
	}
	box.Backups = &backups{f.w, p.o.state, p.ring, p.end}
	if p.o.updates != nil {
		box.Updates = pageUpdates{p.o.updates}
	}
	if now, _ := p.ring.State().Get(); now.Where != keys.OnDisk {
		box.Recovery = recovery{p.ring}
	}
	devices := x509.NewCertPool()
	devices.AddCert(p.authority.Certificate())
	var err error
	f.page, err = web.New(web.Config{
		Box: box, Hosts: hosts(serverNames(p.cfg, true), p.cfg.NetBIOS), May: mayVisit(p.cfg), Devices: devices,
		Memory: triesFile{p.o.state, p.log}, CodeChanged: f.codeChanged, Log: p.log,
		Signed: func(who web.Actor, ok bool) {
			e := audit.Event{ID: audit.OwnerSignedIn, OK: ok, User: who.User, Device: who.Device, Address: who.From}
			if !ok {
				e.ID = audit.OwnerRefused
			}
			f.w.journal.Record(e)
		},
	})
	if err != nil {
		return nil, err
	}
	f.commands.api = f.page.Local()
	f.https.page, f.https.certificate, f.https.log = f.page, p.store.Certificate, p.log
	if err := f.https.listen(); err != nil {
		return nil, err
	}
	f.w.code = func() *ui.Setup {
		if !setup.Due() {
			return nil
		}
		path, digits := f.page.SetupCode()
		return &ui.Setup{URL: f.setupURL(path), Code: digits}
	}
	return f, nil
}

// maxQR is what fits the QR code that a panel of 64 lines can show.
const maxQR = 53

// setupURL is the page's address with the one-time code in it: the first that is short enough for the panel.
func (f *face) setupURL(path string) string {
	urls := f.https.urls(f.cfg.Names)
	for _, u := range urls {
		if len(u+path) <= maxQR {
			return u + path
		}
	}
	if len(urls) > 0 {
		return urls[0] + path
	}
	return ""
}

// explain prints where the page is and, as long as it is due, how to begin the first setup: to the console or the terminal, which
// only who is at the machine can read, as the panel. No log has it.
func (f *face) explain(out io.Writer) {
	if f.https == nil {
		return
	}
	urls := f.https.urls(f.cfg.Names)
	if len(urls) == 0 {
		return
	}
	if f.w.code() == nil {
		fmt.Fprintf(out, "The page in the browser, to look after it and to pair devices: %s\n", urls[0])
	} else {
		fmt.Fprintf(out, "Begin with the page in the browser, which does all of this with you: %s\n", urls[0])
	}
	if s := f.w.code(); s != nil {
		fmt.Fprintf(out, "To set it up, type this code there: %s %s, or open\n  %s\n", s.Code[:4], s.Code[4:], s.URL)
	}
	fmt.Fprintln(out)
	f.told.Store(&out)
}

// codeChanged shows the next code where the one before was shown.
func (f *face) codeChanged() {
	f.w.nudge()
	if out := f.told.Load(); out != nil && f.w.code() != nil {
		f.explain(*out)
	}
}

// script is what a Windows PC needs to know that is being paired: the box's name and port everywhere, and those at home, where
// the page is.
func (f *face) script() pairing.Script {
	s := pairing.Script{Home: f.cfg.Name, Page: f.https.byName(f.cfg.Name)}
	if a, err := netip.ParseAddrPort(f.quic.String()); err == nil {
		s.AtHome = a.Port()
	}
	s.Server, s.Port = s.Home, s.AtHome
	if now, _ := f.w.now.Get(); now.Outside.Name != "" {
		s.Server, s.Port = now.Outside.Name, cmp.Or(now.Outside.Port, s.AtHome)
	}
	s.Share = offered(f.shared.list(), f.o.state)
	return s
}

// ways are how devices of all kinds connect.
func (f *face) ways() web.Ways {
	s := f.script()
	w := web.Ways{
		Server: s.Server, Anywhere: config.PublicName(s.Server), Home: s.Home, Share: s.Share,
		Certificate: f.door.access.Required(s.Server), Encrypt: f.cfg.RequireEncryption, Linux: f.cfg.LinuxClients,
	}
	if s.Port != 443 {
		w.Port = fmt.Sprint(s.Port)
	}
	if f.cfg.TCP != "" {
		w.TCP = portOfText(f.cfg.TCP)
	}
	return w
}

// offered is the share that a device connects to first: one that its owner has made, before that which is there to try; "" if
// there is none.
func offered(list []config.Share, state string) (name string) {
	whole := func(path string) string {
		abs, err := filepath.Abs(path)
		if err != nil {
			return path
		}
		return abs
	}
	for _, s := range list {
		if !s.Hidden && whole(s.Path) != whole(filepath.Join(state, "disk")) {
			return s.Name
		}
	}
	if len(list) > 0 {
		return list[0].Name
	}
	return ""
}

// addTo lists the services.
func (f *face) addTo(services *supervise.Group) {
	services.Add("control", f.commands.run)
	services.Add("world", func(ctx context.Context) error {
		go follow(ctx, f.w, f.door.desk.Current())
		go follow(ctx, f.w, f.door.desk.Watch())
		go follow(ctx, f.w, f.ring.State())
		if f.o.heat != nil {
			go follow(ctx, f.w, &f.o.heat.State)
		}
		if f.o.updates != nil {
			go follow(ctx, f.w, &f.o.updates.Status)
		}
		if f.o.sticks != nil {
			go follow(ctx, f.w, &f.o.sticks.State)
		}
		return f.w.run(ctx)
	})
	if f.https != nil {
		services.Add("page", f.https.run)
	}
	if f.panel != nil {
		services.Add("panel", panelService(f.panel))
	}
	if h := f.o.hardware; h != nil && h.Status != nil {
		services.Add("light", light(h.Status, f.w, f.log))
	}
}

// close ends what is left when the services have ended.
func (f *face) close() {
	if f.https != nil && f.https.l != nil {
		_ = f.https.l.Close()
	}
}
