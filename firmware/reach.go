package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/postern-nas/postern/firmware/boot"
	"github.com/postern-nas/postern/firmware/boot/clock"
	"github.com/postern-nas/postern/firmware/config"
	"github.com/postern-nas/postern/firmware/network"
	"github.com/postern-nas/postern/firmware/network/firewall"
	"github.com/postern-nas/postern/firmware/network/mdns"
	"github.com/postern-nas/postern/firmware/network/portmap"
	"github.com/postern-nas/postern/firmware/network/wsd"
	"github.com/postern-nas/postern/firmware/storage"
	"github.com/postern-nas/postern/firmware/supervise"
	"github.com/postern-nas/postern/firmware/watch"
	"github.com/postern-nas/postern/ui"
)

// A reach is how others find and reach this machine, and on a box what it knows of itself. Parts that are off are nil.
type reach struct {
	cfg      *config.Config
	box      *boot.Box // nil: the machine does other things too
	log      *slog.Logger
	observer *network.Observer // nil: on a box, which has its own
	networks *watch.Value[network.State]
	names    *mdns.Responder
	explorer *wsd.Responder
	router   *portmap.Mapper
	crash    *ui.Crash // nil: none is known of

	quic, page, smb uint16 // ports; 0: not served
	certs           *certificates
}

// newReach says what there will be. The faces are listening.
func newReach(o options, cfg *config.Config, guid [16]byte, certs *certificates, overQUIC, page, overTCP net.Addr, log *slog.Logger) *reach {
	r := &reach{cfg: cfg, box: o.machine, log: log, certs: certs, quic: portOf(overQUIC), page: portOf(page), smb: portOf(overTCP)}
	if r.box != nil {
		r.networks = &r.box.Network.State
		if c, err := boot.LastCrash(r.box.State); err != nil {
			log.Warn("what the kernel said before it stopped", "error", err)
		} else if c != nil {
			r.crash = &ui.Crash{Found: c.Found, Text: c.Text}
		}
	} else {
		r.observer = &network.Observer{Log: log}
		r.networks = &r.observer.State
	}
	if r.announce(); r.names != nil && (r.smb == smbPort || r.page != 0) { // else a double click would find nothing
		r.explorer = wsd.New(wsd.Config{Name: cfg.NetBIOS, UUID: guid, SMB: r.smb == smbPort, Page: r.page}, r.networks, log)
	}
	if cfg.Box.PortMapping {
		r.router = portmap.New(r.quic, r.networks, log)
	}
	return r
}

// announce makes what tells the network the name and what is served, if the owner wants that.
func (r *reach) announce() {
	if r.cfg.Box.Discovery.Is(r.box != nil) {
		host, _, _ := strings.Cut(r.cfg.Name, ".")
		r.names = mdns.New(mdns.Config{Host: host, Services: offers(r.cfg, r.page, r.smb)}, r.networks, r.log)
	}
}

// smbPort is where Explorer looks for a computer's shares, and nowhere else.
const smbPort = 445

// portOf is a listener's port, 0 for none, and for one that only this machine reaches.
func portOf(a net.Addr) uint16 {
	if a == nil {
		return 0
	}
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil || ap.Addr().IsLoopback() {
		return 0
	}
	return ap.Port()
}

// offers are what file managers and browsers look for (RFC 6763; for Macs the names and keys that Samba's and Netatalk's
// documentation give). SMB is offered where it is on TCP: nobody who browses speaks QUIC.
func offers(cfg *config.Config, page, smb uint16) (all []mdns.Service) {
	if page != 0 {
		all = append(all, mdns.Service{Type: "_https._tcp", Port: page, Text: []string{"path=/"}})
	}
	if smb == 0 {
		return all
	}
	all = append(all, mdns.Service{Type: "_smb._tcp", Port: smb}, mdns.Service{Type: "_device-info._tcp", Text: []string{"model=RackMac"}})
	machine := []string{"sys=waMa=0,adVF=0x100"}
	for _, s := range cfg.Shares {
		if s.TimeMachine && !s.Hidden && len(machine) <= 16 {
			machine = append(machine, fmt.Sprintf("dk%d=adVN=%s,adVF=0x82", len(machine)-1, s.Name))
		}
	}
	if len(machine) > 1 {
		all = append(all, mdns.Service{Type: "_adisk._tcp", Port: 9, Text: machine})
	}
	return all
}

// addTo adds the services. None of them is needed to serve files.
func (r *reach) addTo(g *supervise.Group) {
	if r.observer != nil && (r.names != nil || r.router != nil) {
		g.Add("addresses", r.observer.Run)
	}
	if r.box != nil {
		g.Add("firewall", r.firewall)
		g.Add("clock steps", r.clockSteps)
	}
	if r.names != nil {
		g.Add("mdns", r.names.Run)
	}
	if r.explorer != nil {
		g.Add("ws-discovery", r.explorer.Run)
	}
	if r.router != nil {
		g.Add("port mapping", r.router.Run)
	}
}

// open lets in on a box what is served, with the networks as they are now. What is wrong is told by the service.
func (r *reach) open() {
	if r.box == nil {
		return
	}
	now, _ := r.networks.Get()
	if err := r.apply(now); err != nil {
		r.log.Error("firewall", "error", err)
	}
}

func (r *reach) apply(s network.State) error {
	return firewall.Apply(firewall.Rules(firewall.Config{
		QUIC: r.quic, Page: r.page, SMB: r.smb, Outside: r.cfg.PageOutside, Discovery: r.names != nil, PortMap: r.router != nil,
		Networks: s.Networks(), Local: r.cfg.Box.Local,
	}))
}

// firewall keeps the rules as the networks are.
func (r *reach) firewall(ctx context.Context) error {
	for version := uint64(0); ; {
		s, v, err := r.networks.Wait(ctx, version)
		if err != nil {
			return nil
		}
		version = v
		if err := r.apply(s); err != nil {
			return err
		}
		supervise.Healthy(ctx)
		r.log.Info("firewall", "local", s.Networks())
	}
}

// clockSteps looks at the certificates again when the clock has jumped: those that were made with a wrong one may begin in
// the future now, or have ended.
func (r *reach) clockSteps(ctx context.Context) error {
	supervise.Healthy(ctx)
	steps := 0
	for version := uint64(0); ; {
		s, v, err := r.box.Clock.State.Wait(ctx, version)
		if err != nil {
			return nil
		}
		if version = v; s.Steps == steps {
			continue
		}
		steps = s.Steps
		if err := r.certs.refresh(time.Now()); err != nil {
			r.log.Error("the certificate is as before", "error", err)
		}
	}
}

// well says whether the server does what it is there for, for the watchdog.
func well(g *supervise.Group, p *pulse) func() error {
	return func() error {
		for _, s := range g.States() {
			if (s.Name == "quic" || s.Name == "smb") && !s.Healthy {
				return fmt.Errorf("%s does not work: %w", s.Name, s.Err)
			}
		}
		return p.well()
	}
}

// tell adds what an owner should see.
func (r *reach) tell(s *ui.State) {
	alarm := func(id string, kind ui.AlarmKind, health ui.Health, text, advice string) {
		text = strings.TrimSuffix(text, ".") // the page puts one there
		s.Alarms = append(s.Alarms, ui.Alarm{ID: id, Kind: kind, Health: health, Text: text, Advice: advice})
	}
	s.Outside = r.outside()
	if r.names != nil {
		host, _, _ := strings.Cut(r.cfg.Name, ".")
		if name, _ := r.names.Name.Get(); name != "" && name != host {
			alarm("name", ui.AlarmOther, ui.Warning, "Another machine is called "+host, "This one is found as "+name+".local; give it another name.")
		}
	}
	if r.box == nil {
		return
	}
	s.Crash = r.crash
	for i, text := range r.box.Troubles {
		alarm("start "+strconv.Itoa(i), ui.AlarmOther, ui.Warning, sentence(text), "The logs tell more.")
	}
	if n, _ := r.networks.Get(); len(n.Addresses()) == 0 || anyAlone(n) {
		for _, text := range n.Problems() {
			alarm("network "+text, ui.AlarmOther, ui.Warning, sentence(text), "Look at the cable and the router.")
		}
	}
	if c, _ := r.box.Clock.State.Get(); c.Trust != clock.Network && c.Problem != "" {
		alarm("clock", ui.AlarmOther, ui.Warning, sentence(c.Problem), "Let the box reach a time server.")
	}
	r.tellDisks(s, alarm)
}

// outside is how the box is reached from there: what the owner says, and what the router does.
func (r *reach) outside() ui.Reach {
	o := ui.Reach{Name: r.cfg.Outside, Port: r.quic}
	if r.router == nil {
		return o
	}
	m, version := r.router.State.Get()
	if version == 0 {
		return o
	}
	if port := m.External.Port(); m.Mapped && port != 0 {
		o.Port = port
	}
	o.State, o.Reason = ui.No, m.Problem
	if m.Mapped && m.Public {
		o.State, o.Address = ui.Yes, m.External.Addr()
	}
	return o
}

// fromOutside says it in words; "" if nothing is known.
func fromOutside(o ui.Reach) (text string) {
	switch where := o.Where(); {
	case o.State == ui.Yes:
		text = "reachable as " + where
	case o.State == ui.No:
		text = "not reachable"
	case where != "":
		text = "as " + where + " if the router lets it through"
	}
	if text != "" && o.Reason != "" {
		text += ": " + o.Reason
	}
	return text
}

// anyAlone says whether a port with a cable has a problem; one without is no alarm while another works.
func anyAlone(n network.State) bool {
	for _, p := range n.Ports {
		if p.Cable && p.Problem != "" {
			return true
		}
	}
	return false
}

func (r *reach) tellDisks(s *ui.State, alarm func(id string, kind ui.AlarmKind, health ui.Health, text, advice string)) {
	disks, _ := r.box.Disks.State.Get()
	bays := map[string]string{}
	for _, d := range disks.Disks {
		if d.System {
			continue
		}
		bay := d.Bay
		if bay == "" {
			bay = d.Name
		}
		bays[d.Name] = bay
		s.Disks = append(s.Disks, ui.Disk{Bay: bay, Model: d.Model, Health: ui.Health(d.Health), Celsius: d.Celsius, Bytes: d.Bytes})
		if d.Health >= storage.Warning {
			kind := ui.AlarmDisk
			if d.Health == storage.Warning && d.Celsius >= r.cfg.Box.WarnCelsius {
				kind = ui.AlarmHeat
			}
			alarm("disk "+d.Name, kind, ui.Health(d.Health), "Disk "+bay+" needs you", sentence(d.Problem))
		}
	}
	for _, p := range disks.Pools {
		if !p.Known {
			continue
		}
		pool := ui.Pool{Name: p.Name, Health: ui.Health(p.Health), Total: p.Total, Free: p.Free}
		for _, d := range p.Disks {
			if bay := bays[d]; bay != "" {
				pool.Disks = append(pool.Disks, bay)
			}
		}
		s.Pools = append(s.Pools, pool)
		if p.Problem != "" {
			alarm("pool "+p.UUID, ui.AlarmDisk, ui.Health(p.Health), "Pool "+p.Name+" needs you", sentence(p.Problem))
		}
	}
}

// sentence begins with a capital and ends with a stop.
func sentence(s string) string {
	if s == "" {
		return ""
	}
	return strings.ToUpper(s[:1]) + strings.TrimSuffix(s[1:], ".") + "."
}

// addr is where the page listens; nil if it does not.
func (f *face) addr() net.Addr {
	if f.https == nil || f.https.l == nil {
		return nil
	}
	return f.https.l.Addr()
}

// address is where it listens; nil if it does not.
func (f *tcpFace) address() net.Addr {
	if f.l == nil {
		return nil
	}
	return f.l.Addr()
}
