package main

import (
	"crypto"
	"crypto/sha256"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/postern-nas/postern/firmware/cert"
	"github.com/postern-nas/postern/firmware/config"
	"github.com/postern-nas/postern/firmware/keys"
)

// maxPEM bounds a file that is taken in.
const maxPEM = 256 << 10

// certList is cert list. Without a server it tells what lies in the state folder.
func (r *remote) certList([]string) error {
	list := []cert.Serving{}
	err := r.ask(r.ctx, "/cert/list", ask{}, &list)
	if errors.Is(err, errNotRunning) {
		var cfg *config.Config
		if cfg, err = settings(r.o); err != nil {
			return err
		}
		list, err = certificateList(r.dir, cfg.CertificateFile, serverNames(cfg, r.o.demo), time.Now())
	}
	if list == nil {
		return err
	}
	return errors.Join(err, r.show(list, "", func(w io.Writer) {
		for _, s := range list {
			fmt.Fprintf(w, "%s\n  names    %s\n  serves   %s\n  until    %s (%d days)\n  SHA-256  %s\n",
				s.ID, plain(strings.Join(s.Names, ", ")), plain(strings.Join(s.Serves, ", ")), s.NotAfter.Format(time.DateOnly), s.DaysLeft, s.SHA256)
		}
	}))
}

// certificateList is what is on the disk, with those of the names that each would serve. It needs no key. What cannot be
// read is an error beside the list of what can. file is that of the configuration; "" for none.
func certificateList(dir, file string, names []string, now time.Time) ([]cert.Serving, error) {
	c := &certificates{names: names}
	var all []served
	var broken []error
	add := func(id, path string) {
		text, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) && id == "own" {
			return // the first start makes it
		}
		s := served{id: id}
		if err == nil {
			s.chain.Certificate, s.chain.Leaf, err = cert.Chain(text)
		}
		if err != nil {
			broken = append(broken, fmt.Errorf("%s: %w", path, err))
			return
		}
		all = append(all, s)
	}
	if file != "" {
		add("file", file)
	}
	first := len(all)
	ids, err := cert.Imported(dir)
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		add(id, filepath.Join(dir, "cert-"+id+".pem"))
	}
	longestFirst(all[first:])
	add("own", filepath.Join(dir, "server.pem"))
	list := []cert.Serving{}
	serves := make(map[[32]byte][]string)
	if usable := unexpired(all, now); len(usable) > 0 {
		for _, s := range c.assign(usable) {
			serves[sha256.Sum256(s.chain.Leaf.Raw)] = s.names
		}
	}
	for _, s := range all {
		list = append(list, describe(s.id, s.chain.Leaf, serves[sha256.Sum256(s.chain.Leaf.Raw)], now))
	}
	return list, errors.Join(broken...)
}

func unexpired(all []served, now time.Time) (list []served) {
	for _, s := range all {
		if now.Before(s.chain.Leaf.NotAfter) {
			list = append(list, s)
		}
	}
	return list
}

// A shownCertificate is one that clients trust or are shown, as `postern cert show` tells.
type shownCertificate struct {
	Title     string    `json:"title"` // "authority" or "server"
	File      string    `json:"file"`
	Subject   string    `json:"subject"`
	Names     []string  `json:"names"`
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
	SHA256    string    `json:"sha256"`
	PEM       string    `json:"pem"`
}

// shownCertificates are what clients have to trust and what they are shown.
func shownCertificates(dir string) (list []shownCertificate, err error) {
	for _, f := range []struct{ title, name string }{{"authority", "ca.pem"}, {"server", "server.pem"}} {
		path := filepath.Join(dir, f.name)
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("%w (the first run makes it)", err)
		}
		_, c, err := cert.Chain(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		list = append(list, shownCertificate{
			f.title, path, c.Subject.String(), append([]string{}, c.DNSNames...), c.NotBefore, c.NotAfter, fmt.Sprintf("%X", sha256.Sum256(c.Raw)),
			string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})),
		})
	}
	return list, nil
}

// certShow needs no server on this machine.
func (r *remote) certShow([]string) (err error) {
	var list []shownCertificate
	if r.box != nil {
		err = r.ask(r.ctx, "/cert/show", ask{}, &list)
	} else {
		list, err = shownCertificates(r.dir)
	}
	if err != nil {
		return err
	}
	return r.show(list, "", func(w io.Writer) {
		for _, c := range list {
			fmt.Fprintf(w, "%s\n  file     %s\n  subject  %s\n", c.Title, plain(c.File), plain(c.Subject))
			if len(c.Names) > 0 {
				fmt.Fprintf(w, "  names    %s\n", plain(strings.Join(c.Names, ", ")))
			}
			fmt.Fprintf(w, "  valid    %s to %s\n  SHA-256  %s\n", c.NotBefore.Format(time.DateOnly), c.NotAfter.Format(time.DateOnly), c.SHA256)
		}
	})
}

// atRest does something with the keys of a server that does not run.
func (r *remote) atRest(do func(*keys.Ring, *config.Config) error) error {
	ring, cfg, err := openKeys(r.o, r.errs)
	if err != nil {
		return err
	}
	defer ring.Close()
	return do(ring, cfg)
}

// certRequest prints a request whose key stays on the box.
func (r *remote) certRequest(names []string) error {
	for _, name := range names {
		if !config.DNSName(strings.TrimPrefix(name, "*.")) {
			return errUsage(fmt.Sprintf("%q is no DNS name", name))
		}
	}
	var made madeRequest
	err := r.ask(r.ctx, "/cert/csr", ask{Names: names}, &made)
	if errors.Is(err, errNotRunning) {
		err = r.atRest(func(ring *keys.Ring, _ *config.Config) error { made, err = newRequest(ring, names); return err })
	}
	if err != nil || r.json {
		return errors.Join(err, r.showIf(err == nil, made))
	}
	fmt.Fprintf(r.errs, "The request %s; \"postern cert import CHAIN.pem\" takes in what the authority answers.\n", made.ID)
	_, err = io.WriteString(r.out, made.PEM)
	return err
}

// showIf writes v as JSON if so.
func (r *remote) showIf(so bool, v any) error {
	if !so {
		return nil
	}
	return asJSON(r.out, v)
}

// certImport takes in a chain, and its key if that is given.
func (r *remote) certImport(files []string) error {
	chain, err := readPEM(files[0], r.in)
	if err != nil {
		return err
	}
	var key []byte
	if len(files) == 2 {
		if key, err = readPEM(files[1], r.in); err != nil {
			return err
		}
		if _, err := parseKey(key); err != nil {
			return fmt.Errorf("%s: %w", files[1], err)
		}
	}
	var taken takenCertificate
	err = r.ask(r.ctx, "/cert/import", ask{Chain: chain, Key: key}, &taken)
	if errors.Is(err, errNotRunning) {
		err = r.atRest(func(ring *keys.Ring, cfg *config.Config) error {
			c := &certificates{names: serverNames(cfg, r.o.demo), log: slog.New(slog.DiscardHandler)}
			taken, err = takeCertificate(c, r.dir, ring, chain, key)
			return err
		})
	}
	if err != nil || r.json {
		return errors.Join(err, r.showIf(err == nil, taken))
	}
	fmt.Fprintf(r.out, "The certificate %s serves %s.\n", taken.ID, plain(strings.Join(taken.Serves, ", ")))
	if taken.Sealed && key != nil {
		fmt.Fprintf(r.out, "Its key is sealed now; remove %s.\n", files[1])
	}
	return nil
}

func (r *remote) certRemove(words []string) error {
	err := r.do("/cert/remove", ask{ID: words[0]})
	if !errors.Is(err, errNotRunning) {
		return err
	}
	if err := r.atRest(func(ring *keys.Ring, _ *config.Config) error { return cert.Remove(r.dir, words[0], ring) }); err != nil {
		return err
	}
	return r.said()
}

// parseKey reads a private key from PEM; nil for none.
func parseKey(text []byte) (crypto.Signer, error) {
	if len(text) == 0 {
		return nil, nil
	}
	return keys.ParseKey(text)
}

// take takes a certificate in, if it can be served for one of our names at least. key may be nil, see cert.Import. It is
// served from the next refresh on.
func (c *certificates) take(dir string, ring cert.Keys, text []byte, key crypto.Signer, now time.Time) (id string, covered []string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	id, err = cert.Import(dir, ring, text, key, func(chain tls.Certificate) error {
		if covered, _ = split(chain.Leaf, c.names); len(covered) == 0 {
			return fmt.Errorf("the certificate is for %s, and none of these is a name of this server: see name and names in %s",
				strings.Join(chain.Leaf.DNSNames, ", "), config.FileName)
		}
		return c.prove(chain, covered, now)
	}, now)
	return id, covered, err
}

// readPEM reads a file, or the standard input for "-".
func readPEM(path string, in io.Reader) ([]byte, error) {
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, maxPEM+1))
	if err == nil && len(text) > maxPEM {
		err = fmt.Errorf("%s: more than %d bytes", path, maxPEM)
	}
	return text, err
}
