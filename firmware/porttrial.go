package main

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/postern-nas/postern/firmware/audit"
	"github.com/postern-nas/postern/firmware/config"
	"github.com/postern-nas/postern/firmware/network"
	"github.com/postern-nas/postern/ui/web"
)

// How long an owner has to say that a port's new settings work, before those from before come back: time enough to open the page
// again, and not so much that the box is given up for lost. They begin to count when the page has had its answer.
const (
	portTrialTime  = 75 * time.Second
	portTrialDelay = endAfter
)

// A portTrial sets a network port otherwise, for a time, and for good when the owner says that it works. It implements web.Network.
type portTrial struct {
	h   *house
	net interface { // *network.Manager
		Configure([]network.PortConfig)
		Configured() []network.PortConfig
	}
	state func() network.State
	log   *slog.Logger

	mu    sync.Mutex
	token string // "": nothing is tried
	port  config.Port
	until time.Time
	old   []network.PortConfig
	end   *time.Timer
}

func newPortTrial(h *house, m *network.Manager, log *slog.Logger) *portTrial {
	return &portTrial{h: h, net: m, log: log, state: func() network.State { s, _ := m.State.Get(); return s }}
}

// Ports implements web.Network.
func (p *portTrial) Ports(context.Context) (all []web.Port) {
	set := p.net.Configured()
	for _, port := range p.state().Ports {
		one := web.Port{
			Name: port.Name, MAC: port.MAC, Cable: port.Cable, Mbit: port.Mbit, Until: port.Until, Problem: sentence(port.Problem),
			Set: web.PortSettings{Name: port.Name},
		}
		if port.Gateway.IsValid() {
			one.Gateway = port.Gateway.String()
		}
		for _, a := range port.DNS {
			one.DNS = append(one.DNS, a.String())
		}
		for _, a := range port.Addresses {
			one.Addresses = append(one.Addresses, web.PortAddress{Address: a.Prefix.String(), Source: string(a.Source)})
		}
		for _, c := range set {
			if c.Name == port.Name && c.Address.IsValid() {
				one.Set.Fixed, one.Set.Address = true, c.Address.String()
				if c.Gateway.IsValid() {
					one.Set.Gateway = c.Gateway.String()
				}
				var dns []string
				for _, a := range c.DNS {
					dns = append(dns, a.String())
				}
				one.Set.DNS = strings.Join(dns, " ")
			}
		}
		all = append(all, one)
	}
	return all
}

// Try implements web.Network.
func (p *portTrial) Try(ctx context.Context, s web.PortSettings) (web.PortTrial, error) {
	if !slices.ContainsFunc(p.state().Ports, func(o network.Port) bool { return o.Name == s.Name }) {
		return web.PortTrial{}, errors.New("there is no network port " + s.Name + " any more; look at the list again")
	}
	address := "dhcp"
	if s.Fixed {
		if address = strings.TrimSpace(s.Address); address == "" {
			return web.PortTrial{}, errors.New("write the address, as in 192.168.1.10/24")
		}
	} else {
		s.Gateway, s.DNS = "", ""
	}
	port, err := config.ParsePort(s.Name, address, s.Gateway, s.DNS)
	if err != nil {
		return web.PortTrial{}, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.token != "" {
		return web.PortTrial{}, errors.New("other network settings are being tried; wait until they are kept or taken back")
	}
	p.old = p.net.Configured()
	now := append(slices.DeleteFunc(slices.Clone(p.old), func(o network.PortConfig) bool { return o.Name == port.Name }), network.PortConfig(port))
	p.token, p.port, p.until = rand.Text(), port, time.Now().Add(portTrialDelay+portTrialTime)
	token := p.token
	time.AfterFunc(portTrialDelay, func() { p.net.Configure(now) })
	p.end = time.AfterFunc(portTrialDelay+portTrialTime, func() { p.takeBack(token) })
	p.log.Info("a network port is tried with other settings", "port", port.Name, "address", address, "by", web.By(ctx).User, "for", portTrialTime)
	t := web.PortTrial{Token: p.token, Until: p.until}
	if port.Address.IsValid() {
		t.Address = port.Address.Addr().String()
	}
	return t, nil
}

// takeBack ends a trial that nobody has kept.
func (p *portTrial) takeBack(token string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.token != token {
		return
	}
	p.token = ""
	p.net.Configure(p.old)
	p.log.Warn("a network port has its settings from before: nobody said that the new ones work", "port", p.port.Name)
	if p.h.w.journal != nil {
		p.h.w.journal.Record(audit.Event{ID: audit.ConfigChanged, By: "the box", Text: "network " + p.port.Name + " was taken back"})
	}
}

// Keep implements web.Network.
func (p *portTrial) Keep(ctx context.Context, token string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.token == "" || subtle.ConstantTimeCompare([]byte(p.token), []byte(token)) != 1 {
		return errors.New("there is nothing to keep any more: the settings from before are back; set it again")
	}
	if _, err := config.SetPort(p.h.state, p.port); err != nil {
		return err // they are taken back when their time is over
	}
	p.end.Stop()
	p.token = ""
	what := "by DHCP"
	if p.port.Address.IsValid() {
		what = p.port.Address.String()
	}
	p.h.w.record(ctx, audit.Event{ID: audit.ConfigChanged, OK: true, Text: fmt.Sprintf("network %s = %s", p.port.Name, what)})
	return nil
}

// Trying implements web.Network.
func (p *portTrial) Trying() (port string, until time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.token == "" {
		return "", time.Time{}
	}
	return p.port.Name, p.until
}
