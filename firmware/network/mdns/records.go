package mdns

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

// Lives of records in seconds (RFC 6762 10).
const (
	hostTTL   = 120
	otherTTL  = 4500
	legacyTTL = 10 // RFC 6762 6.7
)

// flush is the top bit of a record's class: it replaces what was known before (RFC 6762 10.2). In a question it asks for an
// answer to the asker alone (5.4).
const flush = 1 << 15

const typeNSEC dnsmessage.Type = 47

// A record is one of ours. Its body is as on the wire, uncompressed, as RFC 6762 8.2 compares them.
type record struct {
	name   string // with a dot at the end
	kind   dnsmessage.Type
	ttl    uint32
	unique bool // nobody else may have the name
	body   []byte
}

func (r record) key() string { return strings.ToLower(r.name) + "\x00" + r.kind.String() }

// same compares what two records say.
func (r record) same(o record) bool {
	return strings.EqualFold(r.name, o.name) && r.kind == o.kind && bytes.Equal(r.body, o.body)
}

// A Service is something that is offered.
type Service struct {
	Type string // as in "_smb._tcp"
	Port uint16
	Text []string // "key=value" each, at most 255 bytes
}

// names are what we call ourselves now.
type names struct{ host, instance string }

func (n names) hostName() string { return n.host + ".local." }

func (n names) service(s Service) string { return escape(n.instance) + "." + s.Type + ".local." }

// escape makes one label of an instance's name, which may hold anything (RFC 6763 4.3). dnsmessage takes no escapes and
// splits at dots, so a dot becomes a hyphen.
func escape(s string) string {
	s = strings.ReplaceAll(s, ".", "-")
	for len(s) > 63 {
		s = s[:len(s)-1]
	}
	return strings.ToValidUTF8(s, "")
}

// packName is a name on the wire, uncompressed.
func packName(name string) []byte {
	var b []byte
	for l := range strings.SplitSeq(strings.TrimSuffix(name, "."), ".") {
		l = l[:min(len(l), 63)]
		b = append(b, byte(len(l)))
		b = append(b, l...)
	}
	return append(b, 0)
}

// hostRecords are addresses of one port.
func hostRecords(n names, addrs []netip.Addr) (all []record) {
	have := map[dnsmessage.Type]bool{}
	for _, a := range addrs {
		kind := dnsmessage.TypeA
		if a.Is6() {
			kind = dnsmessage.TypeAAAA
		}
		have[kind] = true
		all = append(all, record{n.hostName(), kind, hostTTL, true, a.WithZone("").AsSlice()})
		all = append(all, record{reverse(a), dnsmessage.TypePTR, hostTTL, true, packName(n.hostName())})
	}
	if len(addrs) > 0 {
		all = append(all, nsec(n.hostName(), hostTTL, have))
	}
	return all
}

// nsec says which types a name has, so that nobody waits for the others (RFC 6762 6.1).
func nsec(name string, ttl uint32, have map[dnsmessage.Type]bool) record {
	body := packName(name)
	var bits [32]byte
	last := 0
	for t := range have {
		bits[t/8] |= 0x80 >> (t % 8)
		last = max(last, int(t/8))
	}
	body = append(body, 0, byte(last+1))
	return record{name, typeNSEC, ttl, true, append(body, bits[:last+1]...)}
}

// serviceRecords are those of all services.
func serviceRecords(n names, services []Service) (all []record) {
	for _, s := range services {
		kind := s.Type + ".local."
		all = append(
			all,
			record{"_services._dns-sd._udp.local.", dnsmessage.TypePTR, otherTTL, false, packName(kind)},
			record{kind, dnsmessage.TypePTR, otherTTL, false, packName(n.service(s))},
			record{n.service(s), dnsmessage.TypeSRV, hostTTL, true, append([]byte{0, 0, 0, 0, byte(s.Port >> 8), byte(s.Port)}, packName(n.hostName())...)},
			record{n.service(s), dnsmessage.TypeTXT, otherTTL, true, packText(s.Text)},
			nsec(n.service(s), otherTTL, map[dnsmessage.Type]bool{dnsmessage.TypeSRV: true, dnsmessage.TypeTXT: true}),
		)
	}
	return all
}

func packText(texts []string) (b []byte) {
	for _, t := range texts {
		t = t[:min(len(t), 255)]
		b = append(b, byte(len(t)))
		b = append(b, t...)
	}
	if len(b) == 0 {
		b = []byte{0} // RFC 6763 6.1
	}
	return b
}

// reverse is an address's name in the other direction.
func reverse(a netip.Addr) string {
	b := a.AsSlice()
	var s strings.Builder
	for i := len(b) - 1; i >= 0; i-- {
		if a.Is4() {
			fmt.Fprintf(&s, "%d.", b[i])
		} else {
			fmt.Fprintf(&s, "%x.%x.", b[i]&15, b[i]>>4)
		}
	}
	if a.Is4() {
		return s.String() + "in-addr.arpa."
	}
	return s.String() + "ip6.arpa."
}

// next is another name after a conflict (RFC 6762 9): attic, attic-2, attic-3.
func next(name, separator string, n int) string { return fmt.Sprintf("%s%s%d", name, separator, n) }
