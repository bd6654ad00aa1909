// Package network keeps a box on the network: it takes every port up as it appears, gives it an address by DHCP, by
// configuration or, where nobody answers, by itself (link-local), and says at any time what addresses there are. It
// waits for the kernel to tell of changes and never asks again and again.
//
// Around it are firewall (what may come in), mdns and wsd (so that others find the box by its name), and portmap (so that
// the router lets QUIC through).
package network

import (
	"net/netip"
	"slices"
	"time"
)

// A Source says where an address comes from.
type Source string

// Sources.
const (
	DHCP      Source = "dhcp"
	Static    Source = "static"
	LinkLocal Source = "link-local" // 169.254.0.0/16 or fe80::/10
	Router    Source = "router"     // IPv6, announced by a router
	Other     Source = "other"      // not ours: the kernel's, or an administrator's
)

// State is the network as it is. It is shared: nobody changes one that was handed out.
type State struct {
	Ports []Port // by name
}

// A Port is an Ethernet port of the box.
type Port struct {
	Name      string
	MAC       string
	Cable     bool   // a cable is in, with something at its other end
	Mbit      int    // 0: the kernel does not say
	Mode      Source // what it is set to: DHCP or Static
	Addresses []Address
	Gateway   netip.Addr // invalid: none
	DNS, NTP  []netip.Addr
	Search    []string  // domains that names without a dot are completed with
	Until     time.Time // end of the lease; zero: there is none
	Problem   string    // one sentence for the owner; "" if all is well
}

// An Address is one of a port's.
type Address struct {
	Prefix netip.Prefix // the address, and how many of its bits name the network
	Source Source
}

// Addresses returns all addresses, those to tell a person first: IPv4 of a network before IPv6, both before link-local.
func (s State) Addresses() (all []netip.Addr) {
	for _, p := range s.Ports {
		for _, a := range p.Addresses {
			all = append(all, a.Prefix.Addr())
		}
	}
	rank := func(a netip.Addr) (r int) {
		if a.Is6() {
			r = 1
		}
		if a.IsLinkLocalUnicast() {
			r += 2
		}
		return r
	}
	slices.SortStableFunc(all, func(a, b netip.Addr) int { return rank(a) - rank(b) })
	return all
}

// Networks returns the networks that the ports are in, without repetition.
func (s State) Networks() (all []netip.Prefix) {
	for _, p := range s.Ports {
		for _, a := range p.Addresses {
			if n := a.Prefix.Masked(); !slices.Contains(all, n) {
				all = append(all, n)
			}
		}
	}
	return all
}

// NTP returns the time servers that the network named, without repetition.
func (s State) NTP() (all []netip.Addr) {
	for _, p := range s.Ports {
		for _, a := range p.NTP {
			if !slices.Contains(all, a) {
				all = append(all, a)
			}
		}
	}
	return all
}

// Problems returns what its owner should know, with the port's name in front.
func (s State) Problems() (all []string) {
	for _, p := range s.Ports {
		if p.Problem != "" {
			all = append(all, p.Name+": "+p.Problem)
		}
	}
	return all
}

// equal compares two snapshots.
func (s State) equal(o State) bool {
	return slices.EqualFunc(s.Ports, o.Ports, func(a, b Port) bool {
		return a.Name == b.Name && a.MAC == b.MAC && a.Cable == b.Cable && a.Mbit == b.Mbit && a.Mode == b.Mode &&
			slices.Equal(a.Addresses, b.Addresses) && a.Gateway == b.Gateway && slices.Equal(a.DNS, b.DNS) &&
			slices.Equal(a.NTP, b.NTP) && slices.Equal(a.Search, b.Search) && a.Until.Equal(b.Until) && a.Problem == b.Problem
	})
}
