package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/postern-nas/postern/firmware/cert"
	"github.com/postern-nas/postern/firmware/watch"
	"github.com/postern-nas/postern/quic"
)

// certificates keeps what clients are shown up to date, each of our names with its own: the owner's certificate from the
// configuration for the names it covers, else one that the owner has taken in, else one by our own authority. A new one has
// to prove itself before it replaces the old; connections that stand notice nothing.
type certificates struct {
	authority *cert.Authority
	keys      cert.Keys
	dir       string // where imported ones are; "" for nowhere
	names     []string
	file, key string           // the owner's in the configuration; "" for none
	clients   *quic.ClientAuth // what clients have to show; nil: nothing
	store     *quic.Store
	log       *slog.Logger
	expiry    watch.Value[[]cert.Serving] // what is served, for those who show it

	mu     sync.Mutex
	served []served // what is in the store, the first with the default name
	proved map[[32]byte]bool
	told   map[[32]byte]cert.Urgency // what was said of its end
}

// served is one certificate and what for.
type served struct {
	id    string // as cert.Serving's
	chain tls.Certificate
	names []string
}

// refresh fills the store. What is wrong with the owner's certificates is logged, and leaves the earlier ones where they
// are; on the first call our own stands in. An error means that the store is as it was.
func (c *certificates) refresh(now time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	ours, _, err := c.authority.Renew(c.names, now, func(chain tls.Certificate) error { return c.prove(chain, c.names, now) })
	if err != nil {
		return err
	}
	if err := c.prove(ours, c.names, now); err != nil {
		return err
	}
	next := c.assign(append(c.owners(now), served{"own", ours, c.names}))
	var mappings []quic.Mapping
	for i, s := range next {
		mappings = append(mappings, quic.Mapping{Names: s.names, Certificate: s.chain, Default: i == 0, ClientAuth: c.clients})
	}
	if err := c.store.Set(mappings...); err != nil {
		return err
	}
	for _, s := range next {
		c.tell(s)
	}
	c.served = next
	c.watchExpiry(now)
	return nil
}

// assign gives each of our names to the first that covers it, and leaves out who has none.
func (c *certificates) assign(list []served) (out []served) {
	rest := slices.Clone(c.names)
	for _, s := range list {
		s.names, rest = split(s.chain.Leaf, rest)
		if len(s.names) > 0 {
			out = append(out, s)
		}
	}
	// Who sends no name gets the first name's.
	i := slices.IndexFunc(out, func(s served) bool { return slices.Contains(s.names, c.names[0]) })
	out[0], out[max(i, 0)] = out[max(i, 0)], out[0]
	return out
}

// owners are the owner's certificates that can be served: the configuration's first, then the one that holds longest.
func (c *certificates) owners(now time.Time) (list []served) {
	add := func(id string, load func() (tls.Certificate, error)) {
		chain, err := load()
		if err == nil {
			covered, _ := split(chain.Leaf, c.names)
			if err = c.prove(chain, covered, now); len(covered) == 0 {
				err = fmt.Errorf("it is for %s, and none of these is a name of this server", strings.Join(chain.Leaf.DNSNames, ", "))
			}
		}
		if err != nil {
			c.log.Error(c.complaint(id), "id", id, "error", err)
			i := slices.IndexFunc(c.served, func(s served) bool { return s.id == id })
			if i < 0 || now.After(c.served[i].chain.Leaf.NotAfter) {
				return
			}
			chain = c.served[i].chain
		}
		list = append(list, served{id: id, chain: chain})
	}
	if c.file != "" {
		add("file", func() (tls.Certificate, error) { return cert.Load(c.file, c.key, now) })
	}
	first := len(list)
	if c.dir != "" {
		ids, err := cert.Imported(c.dir)
		if err != nil {
			c.log.Error("looking for certificates", "error", err)
		}
		for _, id := range ids {
			add(id, func() (tls.Certificate, error) { return cert.LoadImported(c.dir, id, c.keys, now) })
		}
	}
	longestFirst(list[first:])
	return list
}

func longestFirst(list []served) {
	slices.SortStableFunc(list, func(a, b served) int { return b.chain.Leaf.NotAfter.Compare(a.chain.Leaf.NotAfter) })
}

func (c *certificates) complaint(id string) string {
	if id == "file" {
		return "the certificate in [certificate] cannot be used"
	}
	return "a certificate that was taken in cannot be used"
}

// prove makes sure that a certificate can be served: by the rules that Windows clients have, and by a handshake with
// ourselves for each name. One that has proved itself for these names does not have to again.
func (c *certificates) prove(chain tls.Certificate, names []string, now time.Time) error {
	if len(names) == 0 {
		return errors.New("it is for none of this server's names")
	}
	sum := sha256.New()
	for _, der := range chain.Certificate {
		sum.Write(der)
	}
	sum.Write([]byte(strings.Join(names, " ")))
	id := [32]byte(sum.Sum(nil))
	if c.proved[id] && now.Before(chain.Leaf.NotAfter) {
		return nil
	}
	if _, err := quic.Prove(quic.Mapping{Names: names, Certificate: chain}, now); err != nil {
		return err
	}
	for _, name := range names {
		if err := cert.Handshake(chain, name); err != nil {
			return err
		}
	}
	if c.proved == nil || len(c.proved) > 1000 { // years of renewals
		c.proved = make(map[[32]byte]bool)
	}
	c.proved[id] = true
	return nil
}

// split tells those names that leaf covers from the rest.
func split(leaf *x509.Certificate, names []string) (covered, rest []string) {
	for _, name := range names {
		if leaf.VerifyHostname(name) == nil {
			covered = append(covered, name)
		} else {
			rest = append(rest, name)
		}
	}
	return covered, rest
}

// tell logs a certificate that is new in the store.
func (c *certificates) tell(now served) {
	for _, old := range c.served {
		if bytes.Equal(old.chain.Leaf.Raw, now.chain.Leaf.Raw) && slices.Equal(old.names, now.names) {
			return
		}
	}
	what := "the owner's certificate"
	if now.id == "own" {
		what = "our certificate"
	}
	c.log.Info(what, "id", now.id, "serves", now.names, "until", now.chain.Leaf.NotAfter.Format(time.DateOnly))
}

// watchExpiry publishes what is served, and logs once when one comes closer to its end.
func (c *certificates) watchExpiry(now time.Time) {
	var list []cert.Serving
	told := make(map[[32]byte]cert.Urgency)
	for _, s := range c.served {
		v := describe(s.id, s.chain.Leaf, s.names, now)
		list = append(list, v)
		sum := sha256.Sum256(s.chain.Leaf.Raw)
		if told[sum] = v.Urgency; v.Urgency > c.told[sum] {
			level := slog.LevelWarn
			if v.Urgency >= cert.Dire {
				level = slog.LevelError
			}
			c.log.Log(context.Background(), level, "a certificate ends soon", "id", v.ID, "serves", v.Serves, "days_left", v.DaysLeft)
		}
	}
	c.told = told
	c.expiry.Set(list)
}

func describe(id string, leaf *x509.Certificate, names []string, now time.Time) cert.Serving {
	days, urgency := cert.Days(leaf.NotAfter, now)
	return cert.Serving{
		ID: id, Names: leaf.DNSNames, Serves: names, NotAfter: leaf.NotAfter, DaysLeft: days, Own: id == "own",
		SHA256: fmt.Sprintf("%X", sha256.Sum256(leaf.Raw)), Urgency: urgency,
	}
}
