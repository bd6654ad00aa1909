// Package firewall decides what may come in, and tells the kernel. Everything that is not named is dropped, on every port
// of the box; what leaves is free. What the rules are is computed from a Config alone, without the kernel.
//
// It is nftables' family inet, one table of ours, put in its place as a whole: there is no moment with half of it. DHCP
// for IPv4 needs no hole: its client reads raw packets, in front of the firewall.
package firewall

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// A Config is what is served on this box. A port of 0 is one that is not.
type Config struct {
	QUIC      uint16         // UDP, from anywhere
	Page      uint16         // TCP, from the local networks
	SMB       uint16         // TCP, from the local networks
	Outside   bool           // the page from anywhere too, because the owner said so
	Discovery bool           // mDNS and WS-Discovery, from the local networks
	PortMap   bool           // answers of a router that we look for
	Networks  []netip.Prefix // that the box is in
	Local     []netip.Prefix // that the owner counts as local besides
}

// Ports that have one number by their standards.
const (
	mdnsPort = 5353 // RFC 6762
	wsdPort  = 3702 // WS-Discovery 1.1, UDP
	wsdPage  = 5357 // [MS-PBSD], TCP
	// RFC 8415 section 7.2. We ask a group of all servers, so the kernel does not know whose answer it waits for.
	dhcpClient, dhcpServer = 546, 547
	// SearchPort is where we hear a router that answers from its ssdpPort (UPnP Device Architecture 2.0, 1.3.3).
	SearchPort = 1901
	ssdpPort   = 1900
)

// Chains.
const (
	Early    = "early"     // before connection tracking
	EarlyOut = "early-out" // the same for what leaves
	Input    = "input"
	Forward  = "forward"
	Local    = "local" // what is for local networks only goes here to be looked at
	Neighbor = "neighbor"
)

// A Verdict is what becomes of a packet.
type Verdict string

// Verdicts. One that is none of these is the name of a chain to go on in.
const (
	Accept  Verdict = "accept"
	Drop    Verdict = "drop"
	NoTrack Verdict = "notrack"
)

// A Rule is one line. Zero fields do not matter.
type Rule struct {
	Chain     string
	In        string       // interface
	State     string       // of the connection: "known" (established, related) or "invalid"
	Proto     string       // "tcp", "udp", "icmp", "icmpv6"
	Type      uint8        // of an ICMP message
	To, From  uint16       // ports
	Source    netip.Prefix // of the sender
	PerSecond uint64       // at most that many, the rest goes on to the next rule
	Verdict   Verdict
	Why       string
}

// ICMP messages that are let in (RFC 792, RFC 4443, RFC 4861, RFC 2710, RFC 3810; what to let in: RFC 4890 4.4).
var messages = []struct {
	proto     string
	kind      uint8
	perSecond uint64
	neighbor  bool // only from the same link
	why       string
}{
	{"icmp", 3, 0, false, "destination unreachable, and with it the size that fits"},
	{"icmp", 11, 0, false, "time exceeded"},
	{"icmp", 12, 0, false, "parameter problem"},
	{"icmp", 8, 20, false, "echo request"},
	{"icmpv6", 1, 0, false, "destination unreachable"},
	{"icmpv6", 2, 0, false, "packet too big"},
	{"icmpv6", 3, 0, false, "time exceeded"},
	{"icmpv6", 4, 0, false, "parameter problem"},
	{"icmpv6", 128, 20, false, "echo request"},
	{"icmpv6", 130, 0, true, "multicast listener query"},
	{"icmpv6", 134, 0, true, "router advertisement"},
	{"icmpv6", 135, 0, false, "neighbor solicitation; its sender may be a new address of the link"},
	{"icmpv6", 136, 0, false, "neighbor advertisement"},
}

// Rules returns the lines in the order in which the kernel looks at them. Chains that begin with a policy drop.
func Rules(c Config) (rules []Rule) {
	add := func(r Rule) { rules = append(rules, r) }
	if c.QUIC != 0 {
		// QUIC knows its connections itself. Without this, a stranger who invents senders would fill the kernel's table of
		// connections, and nobody else would get in.
		add(Rule{Chain: Early, Proto: "udp", To: c.QUIC, Verdict: NoTrack, Why: "QUIC"})
		add(Rule{Chain: EarlyOut, Proto: "udp", From: c.QUIC, Verdict: NoTrack, Why: "QUIC"})
	}
	in := func(r Rule) { r.Chain = Input; add(r) }
	in(Rule{In: "lo", Verdict: Accept, Why: "the box itself"})
	if c.QUIC != 0 {
		in(Rule{Proto: "udp", To: c.QUIC, Verdict: Accept, Why: "SMB over QUIC"})
	}
	in(Rule{State: "known", Verdict: Accept, Why: "answers to us"})
	in(Rule{State: "invalid", Verdict: Drop})
	for _, m := range messages {
		v := Accept
		if m.neighbor {
			v = Neighbor
		}
		in(Rule{Proto: m.proto, Type: m.kind, PerSecond: m.perSecond, Verdict: v, Why: m.why})
	}
	in(Rule{Proto: "udp", To: dhcpClient, From: dhcpServer, Verdict: Neighbor, Why: "a DHCPv6 server that answers all of us"})
	if c.Page != 0 {
		v := Verdict(Local)
		if c.Outside {
			v = Accept
		}
		in(Rule{Proto: "tcp", To: c.Page, Verdict: v, Why: "the page"})
	}
	if c.SMB != 0 {
		in(Rule{Proto: "tcp", To: c.SMB, Verdict: Local, Why: "SMB over TCP"})
	}
	if c.Discovery {
		in(Rule{Proto: "udp", To: mdnsPort, Verdict: Local, Why: "mDNS"})
		in(Rule{Proto: "udp", To: wsdPort, Verdict: Local, Why: "WS-Discovery"})
		in(Rule{Proto: "tcp", To: wsdPage, Verdict: Local, Why: "WS-Discovery's metadata"})
	}
	if c.PortMap {
		in(Rule{Proto: "udp", To: SearchPort, From: ssdpPort, Verdict: Local, Why: "a router that answers our search"})
	}
	add(Rule{Chain: Neighbor, Source: netip.MustParsePrefix("fe80::/10"), Verdict: Accept})
	for _, n := range locals(c) {
		add(Rule{Chain: Local, Source: n, Verdict: Accept})
	}
	return rules
}

// maxNetworks bounds how many networks are counted.
const maxNetworks = 64

// locals are the networks whose machines are neighbors. A network of public IPv4 addresses that the box happens to be in
// is a provider's more often than a home's: the owner names it if it is not. IPv6 networks are of the home's router.
func locals(c Config) (all []netip.Prefix) {
	add := func(n netip.Prefix) {
		if n = n.Masked(); n.IsValid() && !slices.Contains(all, n) && len(all) < maxNetworks {
			all = append(all, n)
		}
	}
	add(netip.MustParsePrefix("fe80::/10"))
	add(netip.MustParsePrefix("169.254.0.0/16"))
	for _, n := range c.Local {
		add(n)
	}
	for _, n := range c.Networks {
		a := n.Addr()
		if a.Is4() && a.IsPrivate() || a.Is6() && n.Bits() >= 48 {
			add(n)
		}
	}
	slices.SortFunc(all, func(a, b netip.Prefix) int {
		if c := a.Addr().Compare(b.Addr()); c != 0 {
			return c
		}
		return a.Bits() - b.Bits()
	})
	return all
}

// String is the rule as nft(8) writes it.
func (r Rule) String() string {
	var words []string
	say := func(format string, args ...any) { words = append(words, fmt.Sprintf(format, args...)) }
	if r.In != "" {
		say("iifname %q", r.In)
	}
	switch r.State {
	case "known":
		say("ct state established,related")
	case "invalid":
		say("ct state invalid")
	}
	if r.Source.IsValid() {
		family := "ip"
		if r.Source.Addr().Is6() {
			family = "ip6"
		}
		say("%s saddr %s", family, r.Source)
	}
	switch r.Proto {
	case "icmp", "icmpv6":
		say("%s type %s", r.Proto, typeNames[r.Proto][r.Type])
	case "tcp", "udp":
		if r.From != 0 {
			say("%s sport %d", r.Proto, r.From)
		}
		if r.To != 0 {
			say("%s dport %d", r.Proto, r.To)
		}
	}
	if r.PerSecond != 0 {
		say("limit rate %d/second", r.PerSecond)
	}
	switch r.Verdict {
	case Accept, Drop, NoTrack:
		say("%s", r.Verdict)
	default:
		say("jump %s", r.Verdict)
	}
	return strings.Join(words, " ")
}

// typeNames are nft's for the types above.
var typeNames = map[string]map[uint8]string{
	"icmp": {3: "destination-unreachable", 8: "echo-request", 11: "time-exceeded", 12: "parameter-problem"},
	"icmpv6": {
		1: "destination-unreachable", 2: "packet-too-big", 3: "time-exceeded", 4: "parameter-problem", 128: "echo-request",
		130: "mld-listener-query", 134: "nd-router-advert", 135: "nd-neighbor-solicit", 136: "nd-neighbor-advert",
	},
}
