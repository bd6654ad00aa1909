package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"slices"
	"time"
)

// A boxRow is a box as `postern box list` tells.
type boxRow struct {
	URL     string    `json:"url"`
	Device  string    `json:"device"`
	Until   time.Time `json:"until"` // when this computer's certificate ends
	Default bool      `json:"default"`
}

func (r *remote) boxList([]string) error {
	book, err := readBoxes()
	if err != nil {
		return err
	}
	list := make([]boxRow, len(book.Boxes))
	for i, k := range book.Boxes {
		list[i] = boxRow{URL: k.URL, Device: k.Device, Default: k.URL == book.Default}
		if own, err := tls.X509KeyPair([]byte(k.Certificate), []byte(k.Key)); err == nil {
			list[i].Until = own.Leaf.NotAfter
		}
	}
	return r.show(list, "BOX\tTHIS COMPUTER\tUNTIL\t", func(w io.Writer) {
		for _, b := range list {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", plain(b.URL), plain(b.Device), b.Until.Format(time.DateOnly), map[bool]string{true: "without -box"}[b.Default])
		}
	})
}

// boxAdd takes a certificate that there is already, and tries it.
func (r *remote) boxAdd(words []string) error {
	base, err := boxURL(words[0])
	if err != nil {
		return err
	}
	if r.certFile == "" || r.keyFile == "" {
		return errUsage("-cert and -key say where this computer's certificate is; usage:\n" + usageOf(r.verb))
	}
	k := knownBox{URL: base}
	chain, err := readPEM(r.certFile, r.in)
	if err != nil {
		return err
	}
	key, err := readPEM(r.keyFile, r.in)
	if err != nil {
		return err
	}
	own, err := tls.X509KeyPair(chain, key)
	if err != nil {
		return fmt.Errorf("%s and %s: %w", r.certFile, r.keyFile, err)
	}
	k.Certificate, k.Key, k.Device = string(chain), string(key), own.Leaf.Subject.CommonName
	e := &enrolment{r: r, base: base}
	if r.ca != "" {
		e.ca, err = readPEM(r.ca, r.in)
	} else {
		err = e.trust()
	}
	if err != nil {
		return err
	}
	k.CA = string(e.ca)
	r.box = &k
	var s Status
	if err := r.ask(r.ctx, "/status", ask{}, &s); err != nil {
		return fmt.Errorf("%s is not taken in: %w", base, err)
	}
	if err := changeBoxes(func(b *boxBook) error { return b.remember(k) }); err != nil {
		return err
	}
	return r.said()
}

// said is the answer of a command that has nothing to tell.
func (r *remote) said() error {
	if r.json {
		fmt.Fprintln(r.out, "{}")
	}
	return nil
}

func (r *remote) boxUse(words []string) error {
	if err := changeBoxes(func(b *boxBook) error {
		i, err := b.find(words[0])
		if err == nil {
			b.Default = b.Boxes[i].URL
		}
		return err
	}); err != nil {
		return err
	}
	return r.said()
}

func (r *remote) boxForget(words []string) error {
	if err := changeBoxes(func(b *boxBook) error {
		i, err := b.find(words[0])
		if err != nil {
			return err
		}
		if b.Boxes[i].URL == b.Default {
			b.Default = ""
		}
		b.Boxes = slices.Delete(b.Boxes, i, i+1)
		return nil
	}); err != nil {
		return err
	}
	return r.said()
}
