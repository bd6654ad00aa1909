package portmap

import (
	"bufio"
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/huin/goupnp"
	"github.com/huin/goupnp/dcps/internetgateway2"
	"github.com/huin/goupnp/soap"

	"github.com/postern-nas/postern/firmware/network/firewall"
)

// Bounds of what a router may say.
const (
	maxPage    = 256 << 10
	maxAnswers = 16
	searchTime = 3 * time.Second
)

// upnp is UPnP's Internet Gateway Device, version 1 or 2.
type upnp struct {
	router, own netip.Addr
	port        uint16
	log         *slog.Logger

	connection connection // nil: not found yet
	gave       uint16
}

func (u *upnp) name() string { return "UPnP" }

// A connection is the router's service that opens ports; there are three of its kind, with the same actions.
type connection interface {
	GetExternalIPAddressCtx(context.Context) (string, error)
	AddPortMappingCtx(ctx context.Context, host string, external uint16, protocol string, internal uint16, client string, on bool, why string, life uint32) error
	DeletePortMappingCtx(ctx context.Context, host string, external uint16, protocol string) error
}

// Error codes of WANIPConnection (WANIPConnection:2 2.5.16).
const (
	upnpConflict  = 718
	upnpPermanent = 725
)

var upnpCodes = map[int]string{
	401: "it does not know how to open ports", 501: "it could not do it", 606: "it does not allow this box to open ports",
	upnpConflict: "the port is taken by another device at home", 724: "it gives no port but the same inside and outside", 728: "it has no room for another open port",
}

func (u *upnp) add(ctx context.Context) (m mapping, err error) {
	if u.connection == nil {
		if u.connection, err = u.find(ctx); err != nil {
			return m, err
		}
	}
	if u.gave == 0 {
		u.gave = u.port
	}
	m.life = lifetime
	for try := 0; ; try++ {
		err = u.connection.AddPortMappingCtx(ctx, "", u.gave, "UDP", u.port, u.own.String(), true, "Postern", uint32(m.life/time.Second))
		switch code := errorCode(err); {
		case err == nil:
		case code == upnpPermanent && m.life > 0:
			m.life = 0
			continue
		case code == upnpConflict && try < 3:
			u.gave = 49152 + (u.port*7+uint16(try)*1009)%16000 // another, of those that are nobody's
			continue
		case code != 0:
			words := upnpCodes[code]
			if words == "" {
				words = "it gives no reason"
			}
			return m, refusal{words, code}
		default:
			u.connection = nil // it may have been started again
			return m, err
		}
		break
	}
	text, err := u.connection.GetExternalIPAddressCtx(ctx)
	if err != nil {
		u.log.Debug("the router's address", "error", err)
	}
	external, _ := netip.ParseAddr(strings.TrimSpace(text)) // without one it is not known
	m.external = netip.AddrPortFrom(external, u.gave)
	return m, nil
}

func (u *upnp) remove(ctx context.Context) error {
	if u.connection == nil {
		return nil
	}
	return u.connection.DeletePortMappingCtx(ctx, "", u.gave, "UDP")
}

// errorCode is what a router's fault says; 0 if it is none.
func errorCode(err error) int {
	var f *soap.SOAPFaultError
	if !errors.As(err, &f) {
		return 0
	}
	if f.Detail.UPnPError.Errorcode == 0 {
		return 501
	}
	return f.Detail.UPnPError.Errorcode
}

// find looks for the service. Only the router that we use is asked, and nothing it says leads to another machine.
func (u *upnp) find(ctx context.Context) (connection, error) {
	places, err := u.search(ctx)
	if err != nil {
		return nil, err
	}
	why := error(errSilent)
	for _, at := range places {
		root, err := u.describe(ctx, at)
		if err != nil {
			why = err
			continue
		}
		if c := u.connections(root, at); c != nil {
			return c, nil
		}
	}
	return nil, why
}

// search asks for gateways (UPnP Device Architecture 2.0, 1.3.2), the router itself and the group, from the port that the
// firewall lets answers to.
func (u *upnp) search(ctx context.Context) (places []*url.URL, err error) {
	var lc net.ListenConfig
	c, err := lc.ListenPacket(ctx, "udp4", net.JoinHostPort(u.own.String(), fmt.Sprint(firewall.SearchPort)))
	if err != nil {
		return nil, err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	if err := c.SetReadDeadline(time.Now().Add(searchTime)); err != nil {
		return nil, err
	}
	for _, host := range []string{u.router.String(), "239.255.255.250"} {
		for _, kind := range []string{"2", "1"} {
			text := "M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nMAN: \"ssdp:discover\"\r\nMX: 1\r\n" +
				"ST: urn:schemas-upnp-org:device:InternetGatewayDevice:" + kind + "\r\n\r\n"
			_, _ = c.WriteTo([]byte(text), &net.UDPAddr{IP: net.ParseIP(host), Port: 1900}) // one of the ways is enough
		}
	}
	for b := make([]byte, 8<<10); len(places) < maxAnswers; {
		n, from, err := c.ReadFrom(b)
		if err != nil {
			break // in time or canceled
		}
		if a, ok := from.(*net.UDPAddr); !ok || a.AddrPort().Addr().Unmap() != u.router {
			continue
		}
		if at := u.location(b[:n]); at != nil {
			places = append(places, at)
			_ = c.SetReadDeadline(time.Now().Add(200 * time.Millisecond)) // those of the other version
		}
	}
	if len(places) == 0 {
		return nil, errSilent
	}
	return places, nil
}

// location reads an answer's place, which has to be on the router itself; nil if it is not one.
func (u *upnp) location(b []byte) *url.URL {
	r, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(b)), nil)
	if err != nil {
		return nil
	}
	r.Body.Close()
	if r.StatusCode != 200 || !strings.Contains(r.Header.Get("ST"), ":InternetGatewayDevice:") {
		return nil
	}
	at, err := url.Parse(r.Header.Get("LOCATION"))
	if err != nil || !u.onRouter(at) {
		return nil
	}
	return at
}

func (u *upnp) onRouter(at *url.URL) bool {
	return at.Scheme == "http" && at.Hostname() == u.router.String()
}

// client asks the router and nobody else, and reads no more than maxPage.
func (u *upnp) client() http.Client {
	return http.Client{
		Timeout: 5 * time.Second, Transport: bound{&http.Transport{DisableKeepAlives: true}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return errors.New("the router sends us elsewhere") },
	}
}

// bound cuts answers.
type bound struct{ http.RoundTripper }

func (b bound) RoundTrip(q *http.Request) (*http.Response, error) {
	r, err := b.RoundTripper.RoundTrip(q)
	if err == nil {
		r.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(r.Body, maxPage), r.Body}
	}
	return r, err
}

// describe reads what the router says that it is.
func (u *upnp) describe(ctx context.Context, at *url.URL) (*goupnp.RootDevice, error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), nil)
	if err != nil {
		return nil, err
	}
	client := u.client()
	r, err := client.Do(q)
	if err != nil {
		return nil, err
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the router's description: %s", r.Status)
	}
	root := new(goupnp.RootDevice)
	d := xml.NewDecoder(r.Body)
	d.DefaultSpace, d.CharsetReader = goupnp.DeviceXMLNamespace, goupnp.CharsetReaderDefault
	if err := d.Decode(root); err != nil {
		return nil, fmt.Errorf("the router's description: %w", err)
	}
	base := at
	if root.URLBaseStr != "" {
		if base, err = url.Parse(root.URLBaseStr); err != nil || !u.onRouter(base) {
			return nil, errors.New("the router's description leads elsewhere")
		}
	}
	root.SetURLBase(base)
	return root, nil
}

// connections picks the service that opens ports.
func (u *upnp) connections(root *goupnp.RootDevice, at *url.URL) connection {
	use := func(c *goupnp.ServiceClient) bool {
		c.SOAPClient.HTTPClient = u.client()
		return u.onRouter(&c.SOAPClient.EndpointURL)
	}
	if list, err := internetgateway2.NewWANIPConnection2ClientsFromRootDevice(root, at); err == nil {
		for _, c := range list {
			if use(&c.ServiceClient) {
				return c
			}
		}
	}
	if list, err := internetgateway2.NewWANIPConnection1ClientsFromRootDevice(root, at); err == nil {
		for _, c := range list {
			if use(&c.ServiceClient) {
				return c
			}
		}
	}
	if list, err := internetgateway2.NewWANPPPConnection1ClientsFromRootDevice(root, at); err == nil {
		for _, c := range list {
			if use(&c.ServiceClient) {
				return c
			}
		}
	}
	return nil
}
