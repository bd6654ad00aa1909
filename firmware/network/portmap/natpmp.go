package portmap

import (
	"context"
	"net/netip"
	"strings"
	"time"

	natpmp "github.com/jackpal/go-nat-pmp"
)

// natPMP is the NAT Port Mapping Protocol.
type natPMP struct {
	client *natpmp.Client
	port   uint16
	gave   uint16 // the external port of before; 0: none
}

func newNATPMP(router, own netip.Addr, port uint16) *natPMP {
	return &natPMP{client: natpmp.NewClientWithLocalAndTimeout(router.AsSlice(), own.AsSlice(), 4*time.Second), port: port}
}

func (p *natPMP) name() string { return "NAT-PMP" }

func (p *natPMP) add(ctx context.Context) (m mapping, err error) {
	external, err := during(ctx, p.client.GetExternalAddress)
	if err != nil {
		return m, natPMPError(err)
	}
	if p.gave == 0 {
		p.gave = p.port
	}
	got, err := during(ctx, func() (*natpmp.AddPortMappingResult, error) {
		return p.client.AddPortMapping("udp", int(p.port), int(p.gave), int(lifetime/time.Second))
	})
	if err != nil {
		return m, natPMPError(err)
	}
	p.gave = got.MappedExternalPort
	m.life = min(time.Duration(got.PortMappingLifetimeInSeconds)*time.Second, 24*time.Hour)
	m.external = netip.AddrPortFrom(netip.AddrFrom4(external.ExternalIPAddress), got.MappedExternalPort)
	return m, nil
}

func (p *natPMP) remove(ctx context.Context) error {
	_, err := during(ctx, func() (*natpmp.AddPortMappingResult, error) { return p.client.AddPortMapping("udp", int(p.port), 0, 0) })
	return err
}

// during runs a call of the library's, which knows no context and ends within its own time.
func during[T any](ctx context.Context, f func() (T, error)) (T, error) {
	type result struct {
		v   T
		err error
	}
	done := make(chan result, 1)
	go func() {
		v, err := f()
		done <- result{v, err}
	}()
	select {
	case r := <-done:
		return r.v, r.err
	case <-ctx.Done():
		var none T
		return none, context.Cause(ctx)
	}
}

// natPMPError tells refusals from silence: the library has only words (RFC 6886 3.5).
func natPMPError(err error) error {
	for word, r := range map[string]refusal{
		"Not Authorized": {"it does not allow this box to open ports", 2}, "Network Failure": {"it has no connection to the Internet now", 3},
		"Out of resources": {"it has no room for another open port", 4},
	} {
		if strings.Contains(strings.ToLower(err.Error()), strings.ToLower(word)) {
			return r
		}
	}
	return err
}
