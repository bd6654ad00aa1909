// Package wsd makes the box appear under Network in Windows' Explorer: WS-Discovery over UDP with the metadata that
// [MS-PBSD] wants over HTTP. Windows no longer browses by NetBIOS, and this is what took its place.
//
// A double click there opens what answers: the shares of a computer, which Windows looks for on TCP 445 and nowhere else; or,
// where there is no SMB on TCP, the page of a device.
//
// Only machines on the same link are answered. What they send is XML, read within bounds.
package wsd

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	mrand "math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/postern-nas/postern/firmware/network"
	"github.com/postern-nas/postern/firmware/network/multicast"
	"github.com/postern-nas/postern/firmware/supervise"
	"github.com/postern-nas/postern/firmware/watch"
)

// Ports and groups ([WS-Discovery] 2.4, [MS-PBSD] 2.1). The metadata's port is the one that Windows itself uses.
var group = multicast.Group{V4: "239.255.255.250", V6: "ff02::c", Port: 3702, Hops: 1}

const pagePort = 5357

const (
	// maxDelay spreads the answers of a network's machines, and repeatUDP is how often each packet is sent, as any may be
	// lost (SOAP-over-UDP, appendix I, and [WS-Discovery] 2.4).
	maxDelay  = 500 * time.Millisecond
	repeatUDP = 2
	// remembered bounds how many messages are known to have been answered.
	remembered = 128
	// pending bounds answers that wait for their moment.
	pending = 64
	// maxPages bounds connections for metadata at once.
	maxPages = 16
)

// A Config is what to tell.
type Config struct {
	Name      string   // the computer's, as in "ATTIC"
	Workgroup string   // "" for WORKGROUP
	UUID      [16]byte // of this box, for ever
	SMB       bool     // on TCP, so that it is a computer; else a device
	Page      uint16   // TCP port of the page in the browser, over HTTPS; 0: there is none
}

// A Responder is the service. Use New.
type Responder struct {
	cfg      Config
	log      *slog.Logger
	networks *watch.Value[network.State]
	instance uint64

	mu    sync.Mutex
	ports []multicast.Port
	n     uint64
	seen  []string
	slots chan struct{}
}

// New returns a Responder for the ports that networks tells of.
func New(cfg Config, networks *watch.Value[network.State], log *slog.Logger) *Responder {
	if cfg.Workgroup == "" {
		cfg.Workgroup = "WORKGROUP"
	}
	return &Responder{cfg: cfg, log: log, networks: networks, instance: uint64(time.Now().Unix()), slots: make(chan struct{}, pending)}
}

func id(b [16]byte) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func newID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80 // RFC 9562 5.4
	return id(b)
}

func (r *Responder) endpoint() string { return "urn:uuid:" + id(r.cfg.UUID) }

// Run is the service.
func (r *Responder) Run(ctx context.Context) error {
	s, err := multicast.Open(group)
	if err != nil {
		return fmt.Errorf("WS-Discovery: %w", err)
	}
	defer s.Close()
	lc := net.ListenConfig{}
	l, err := lc.Listen(ctx, "tcp", fmt.Sprintf(":%d", pagePort))
	if err != nil {
		return fmt.Errorf("WS-Discovery: %w", err)
	}
	page := &http.Server{
		Handler: http.HandlerFunc(r.page), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second,
		IdleTimeout: 10 * time.Second, MaxHeaderBytes: 8 << 10, ErrorLog: slog.NewLogLogger(r.log.Handler(), slog.LevelDebug),
	}
	served := make(chan error, 1)
	go func() { served <- page.Serve(&few{Listener: l, slots: make(chan struct{}, maxPages)}) }()
	defer page.Close()

	news := make(chan network.State)
	go func() {
		for version := uint64(0); ; {
			st, v, err := r.networks.Wait(ctx, version)
			if err != nil {
				return
			}
			version = v
			select {
			case news <- st:
			case <-ctx.Done():
				return
			}
		}
	}()
	supervise.Healthy(ctx)
	for {
		select {
		case <-ctx.Done():
			r.tell(s, "Bye")
			return nil
		case err := <-served:
			return fmt.Errorf("WS-Discovery: %w", err)
		case st := <-news:
			now := multicast.Ports(st)
			r.mu.Lock()
			changed := !multicast.Equal(now, r.ports)
			r.ports = now
			r.mu.Unlock()
			if changed {
				s.Join(now)
				r.tell(s, "Hello")
			}
		case p, ok := <-s.Packets():
			if !ok {
				return errors.New("WS-Discovery: the socket has gone")
			}
			r.hear(ctx, s, p)
		}
	}
}

// number is the next message's.
func (r *Responder) number() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.n++
	return r.n
}

// what is the part that all of Hello, ProbeMatch and ResolveMatch have.
func (r *Responder) what(address string) string {
	types := "wsdp:Device"
	if r.cfg.SMB {
		types += " pub:Computer"
	}
	// What we are may be another thing after a start, and who has asked before has to ask again.
	return fmt.Sprintf(`<wsa:EndpointReference><wsa:Address>%s</wsa:Address></wsa:EndpointReference><wsd:Types>%s</wsd:Types>%s<wsd:MetadataVersion>%d</wsd:MetadataVersion>`,
		r.endpoint(), types, address, r.instance)
}

// where is how the metadata is reached on a port, from an address of a family.
func (r *Responder) where(p multicast.Port, from netip.Addr) string {
	for _, a := range p.Addrs {
		if a.Is4() == from.Is4() && a.IsLinkLocalUnicast() == from.IsLinkLocalUnicast() {
			return fmt.Sprintf("<wsd:XAddrs>http://%s/%s</wsd:XAddrs>", netip.AddrPortFrom(a.WithZone(""), pagePort), id(r.cfg.UUID))
		}
	}
	return ""
}

// tell says Hello or Bye on all ports.
func (r *Responder) tell(s *multicast.Sockets, what string) {
	r.mu.Lock()
	ports := r.ports
	r.mu.Unlock()
	body := r.what("")
	if what == "Bye" {
		body = fmt.Sprintf(`<wsa:EndpointReference><wsa:Address>%s</wsa:Address></wsa:EndpointReference>`, r.endpoint())
	}
	e := envelope{
		action: nsDiscovery + "/" + what, id: "urn:uuid:" + newID(), to: everyone, instance: r.instance, n: r.number(),
		body: fmt.Sprintf("<wsd:%s>%s</wsd:%s>", what, body, what),
	}
	b := e.bytes()
	for range repeatUDP {
		for _, p := range ports {
			s.Send(p, b, netip.AddrPort{})
		}
	}
}

// hear answers a packet if it is for us, after a moment.
func (r *Responder) hear(ctx context.Context, s *multicast.Sockets, p multicast.Packet) {
	r.mu.Lock()
	i := slices.IndexFunc(r.ports, func(q multicast.Port) bool { return q.Index == p.Port })
	var port multicast.Port
	if i >= 0 {
		port = r.ports[i]
	}
	r.mu.Unlock()
	if i < 0 || !port.OnLink(p.From.Addr()) {
		return
	}
	m, err := parse(p.Data)
	if err != nil {
		r.log.Debug("WS-Discovery", "from", p.From, "error", err)
		return
	}
	e, ok := r.reply(m, port, p.From.Addr())
	if !ok || r.known(m.id) {
		return
	}
	select {
	case r.slots <- struct{}{}:
	default:
		return // a storm: who asked asks again
	}
	go func() {
		defer func() { <-r.slots }()
		b := e.bytes()
		for range repeatUDP {
			select {
			case <-ctx.Done():
				return
			case <-time.After(mrand.N(maxDelay)):
			}
			s.Send(port, b, p.From)
		}
	}()
}

// reply is the answer to a Probe or Resolve that is for us.
func (r *Responder) reply(m message, p multicast.Port, from netip.Addr) (e envelope, ok bool) {
	e = envelope{id: "urn:uuid:" + newID(), to: anonymous, relatesTo: m.id, instance: r.instance}
	switch m.action {
	case nsDiscovery + "/Probe":
		for _, t := range m.types {
			if t != "Device" && (t != "Computer" || !r.cfg.SMB) {
				return e, false
			}
		}
		if m.scopes != "" { // we have none
			return e, false
		}
		e.action = nsDiscovery + "/ProbeMatches"
		e.body = "<wsd:ProbeMatches><wsd:ProbeMatch>" + r.what(r.where(p, from)) + "</wsd:ProbeMatch></wsd:ProbeMatches>"
	case nsDiscovery + "/Resolve":
		if !strings.EqualFold(m.endpoint, r.endpoint()) {
			return e, false
		}
		e.action = nsDiscovery + "/ResolveMatches"
		e.body = "<wsd:ResolveMatches><wsd:ResolveMatch>" + r.what(r.where(p, from)) + "</wsd:ResolveMatch></wsd:ResolveMatches>"
	default:
		return e, false
	}
	e.n = r.number()
	return e, true
}

// known says whether a message has been answered, and notes that it is: each is sent twice.
func (r *Responder) known(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if slices.Contains(r.seen, id) {
		return true
	}
	if r.seen = append(r.seen, id); len(r.seen) > remembered {
		r.seen = slices.Delete(r.seen, 0, 1)
	}
	return false
}

// page answers what a machine asks that has found us (DPWS 4.1: WS-Transfer Get).
func (r *Responder) page(w http.ResponseWriter, q *http.Request) {
	from, err := netip.ParseAddrPort(q.RemoteAddr)
	r.mu.Lock()
	near := err == nil && (from.Addr().IsLoopback() ||
		slices.ContainsFunc(r.ports, func(p multicast.Port) bool { return p.OnLink(from.Addr().Unmap()) }))
	r.mu.Unlock()
	switch {
	case !near:
		http.Error(w, "for the local network", http.StatusForbidden)
		return
	case q.Method != http.MethodPost || strings.Trim(q.URL.Path, "/") != id(r.cfg.UUID):
		http.NotFound(w, q)
		return
	}
	b, err := io.ReadAll(http.MaxBytesReader(w, q.Body, maxMessage))
	var m message
	if err == nil {
		m, err = parse(b)
	}
	if err != nil || m.action != actionGet || !strings.EqualFold(m.to, r.endpoint()) {
		http.Error(w, "not a request for metadata", http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/soap+xml")
	_, _ = w.Write(envelope{
		action: actionGet + "Response", id: "urn:uuid:" + newID(), to: anonymous, relatesTo: m.id, body: r.metadata(r.pageURL(local(q))),
	}.bytes())
}

// local is the address of ours that a request came to.
func local(q *http.Request) netip.Addr {
	a, _ := q.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if a == nil {
		return netip.Addr{}
	}
	ap, _ := netip.ParseAddrPort(a.String())
	return ap.Addr().Unmap().WithZone("")
}

// pageURL is the page's address on the port that has the address at. "": there is none that a browser takes, which cannot be
// told the interface of a link-local one.
func (r *Responder) pageURL(at netip.Addr) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.ports {
		if r.cfg.Page == 0 || !slices.Contains(p.Addrs, at) {
			continue
		}
		best := slices.MinFunc(p.Addrs, func(a, b netip.Addr) int { return rank(a) - rank(b) })
		if rank(best) < worst {
			return "https://" + netip.AddrPortFrom(best, r.cfg.Page).String() + "/"
		}
	}
	return ""
}

// rank says how well a browser takes an address: the least is the best, the worst not at all.
func rank(a netip.Addr) int {
	switch {
	case a.Is4() && !a.IsLinkLocalUnicast():
		return 0
	case a.Is6() && !a.IsLinkLocalUnicast():
		return 1
	case a.Is4():
		return 2
	}
	return worst
}

const worst = 3

// metadata is [MS-PBSD] 2.2: the device, its model, and that it is a computer, if it is one; else it is a device of Devices
// Profile for Web Services (2006), section 5, whose page is at url.
func (r *Responder) metadata(url string) string {
	section := func(dialect, content string) string {
		return fmt.Sprintf(`<wsx:MetadataSection Dialect="%s/%s">%s</wsx:MetadataSection>`, nsProfile, dialect, content)
	}
	name := escape(r.cfg.Name)
	model := "<wsdp:Manufacturer>Postern</wsdp:Manufacturer><wsdp:ModelName>Postern</wsdp:ModelName>"
	if url != "" {
		model += "<wsdp:PresentationUrl>" + escape(url) + "</wsdp:PresentationUrl>"
	}
	types, computer := "wsdp:Device", ""
	if r.cfg.SMB {
		model += "<pnpx:DeviceCategory>Computers</pnpx:DeviceCategory>"
		types, computer = "pub:Computer", "<pub:Computer>"+name+"/Workgroup:"+escape(r.cfg.Workgroup)+"</pub:Computer>"
	}
	return "<wsx:Metadata>" +
		section("ThisDevice", "<wsdp:ThisDevice><wsdp:FriendlyName>"+name+"</wsdp:FriendlyName><wsdp:FirmwareVersion>1.0</wsdp:FirmwareVersion>"+
			"<wsdp:SerialNumber>"+id(r.cfg.UUID)+"</wsdp:SerialNumber></wsdp:ThisDevice>") +
		section("ThisModel", "<wsdp:ThisModel>"+model+"</wsdp:ThisModel>") +
		section("Relationship", `<wsdp:Relationship Type="`+nsProfile+`/host"><wsdp:Host><wsa:EndpointReference><wsa:Address>`+r.endpoint()+
			`</wsa:Address></wsa:EndpointReference><wsdp:Types>`+types+`</wsdp:Types><wsdp:ServiceId>`+r.endpoint()+`</wsdp:ServiceId>`+
			computer+`</wsdp:Host></wsdp:Relationship>`) +
		"</wsx:Metadata>"
}

// few is a listener of a few connections at once; others wait in the kernel.
type few struct {
	net.Listener
	slots chan struct{}
}

func (f *few) Accept() (net.Conn, error) {
	f.slots <- struct{}{}
	c, err := f.Listener.Accept()
	if err != nil {
		<-f.slots
		return nil, err
	}
	return &counted{Conn: c, left: sync.OnceFunc(func() { <-f.slots })}, nil
}

type counted struct {
	net.Conn
	left func()
}

func (c *counted) Close() error {
	c.left()
	return c.Conn.Close()
}
