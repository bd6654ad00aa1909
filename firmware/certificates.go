package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/postern-nas/postern/firmware/cert"
	"github.com/postern-nas/postern/quic"
)

// certificates keeps what clients are shown up to date: the owner's certificate for the names it covers, our own
// for the others.
type certificates struct {
	authority *cert.Authority
	names     []string
	file, key string // the owner's; "" for none
	store     *quic.Store
	log       *slog.Logger

	ours, owners tls.Certificate // what is in the store
}

// refresh fills the store. What is wrong with the owner's files is logged, and leaves the earlier certificate where
// it is; on the first call our own stands in. An error means that the store is as it was.
func (c *certificates) refresh(now time.Time) error {
	ours, _, err := c.authority.Server(c.names, now)
	if err != nil {
		return err
	}
	owners := c.owners
	if c.file != "" {
		if chain, err := c.load(now); err != nil {
			c.log.Error("the certificate in [certificate] cannot be used", "error", err)
		} else {
			owners = chain
		}
	}
	mappings := []quic.Mapping{{Names: c.names, Certificate: ours, Default: true}}
	if owners.Leaf != nil {
		covered, rest := c.split(owners.Leaf)
		mappings = []quic.Mapping{{Names: covered, Certificate: owners, Default: true}}
		if len(rest) > 0 {
			mappings = append(mappings, quic.Mapping{Names: rest, Certificate: ours})
		}
	}
	if err := c.store.Set(mappings...); err != nil {
		return err
	}
	c.tell("our certificate", c.ours, ours)
	c.tell("the owner's certificate", c.owners, owners)
	c.ours, c.owners = ours, owners
	return nil
}

// load reads the owner's files and proves that they can be served.
func (c *certificates) load(now time.Time) (tls.Certificate, error) {
	chain, err := cert.Load(c.file, c.key, now)
	if err != nil {
		return chain, err
	}
	covered, _ := c.split(chain.Leaf)
	if len(covered) == 0 {
		return chain, fmt.Errorf("it is for %s, and none of these is a name of this server", strings.Join(chain.Leaf.DNSNames, ", "))
	}
	_, err = quic.Prove(quic.Mapping{Names: covered, Certificate: chain}, now)
	return chain, err
}

// split tells those of our names that leaf covers from the rest.
func (c *certificates) split(leaf *x509.Certificate) (covered, rest []string) {
	for _, name := range c.names {
		if leaf.VerifyHostname(name) == nil {
			covered = append(covered, name)
		} else {
			rest = append(rest, name)
		}
	}
	return covered, rest
}

// tell logs a certificate that is new in the store.
func (c *certificates) tell(what string, old, now tls.Certificate) {
	if now.Leaf == nil || old.Leaf != nil && bytes.Equal(old.Leaf.Raw, now.Leaf.Raw) {
		return
	}
	c.log.Info(what, "names", now.Leaf.DNSNames, "until", now.Leaf.NotAfter.Format(time.DateOnly))
}
