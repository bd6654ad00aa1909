package main

import (
	"crypto"
	"crypto/sha256"
	"crypto/tls"
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

// certCommand runs `postern cert ...`, but for cert show.
func certCommand(o options, words []string, in io.Reader, out, errs io.Writer) error {
	words, inJSON := cutFlag(words, "json")
	switch {
	case len(words) == 1 && words[0] == "list":
		return listCertificates(o, inJSON, out)
	case len(words) >= 2 && words[0] == "csr":
		return requestCertificate(o, words[1:], out, errs)
	case (len(words) == 2 || len(words) == 3) && words[0] == "import":
		return importCertificate(o, words[1:], in, out, errs)
	case len(words) == 2 && words[0] == "remove":
		ring, _, err := openKeys(o, errs)
		if err != nil {
			return err
		}
		defer ring.Close()
		return cert.Remove(o.state, words[1], ring)
	}
	return errUsage("cert wants show, list, csr NAME..., import CHAIN.pem [KEY.pem] or remove ID")
}

// listCertificates prints what is on the disk, with the names that each would serve. It needs no key.
func listCertificates(o options, inJSON bool, out io.Writer) error {
	cfg, err := settings(o)
	if err != nil {
		return err
	}
	names, now := serverNames(cfg, o.demo), time.Now()
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
	if cfg.CertificateFile != "" {
		add("file", cfg.CertificateFile)
	}
	first := len(all)
	ids, err := cert.Imported(o.state)
	if err != nil {
		return err
	}
	for _, id := range ids {
		add(id, filepath.Join(o.state, "cert-"+id+".pem"))
	}
	longestFirst(all[first:])
	add("own", filepath.Join(o.state, "server.pem"))
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
	if inJSON {
		if err := asJSON(out, list); err != nil {
			return err
		}
		return errors.Join(broken...)
	}
	for _, s := range list {
		fmt.Fprintf(out, "%s\n  names    %s\n  serves   %s\n  until    %s (%d days)\n  SHA-256  %s\n",
			s.ID, strings.Join(s.Names, ", "), strings.Join(s.Serves, ", "), s.NotAfter.Format(time.DateOnly), s.DaysLeft, s.SHA256)
	}
	return errors.Join(broken...)
}

func unexpired(all []served, now time.Time) (list []served) {
	for _, s := range all {
		if now.Before(s.chain.Leaf.NotAfter) {
			list = append(list, s)
		}
	}
	return list
}

// requestCertificate prints a request whose key stays here.
func requestCertificate(o options, names []string, out, errs io.Writer) error {
	for _, name := range names {
		if !config.DNSName(strings.TrimPrefix(name, "*.")) {
			return errUsage(fmt.Sprintf("%q is no DNS name", name))
		}
	}
	ring, _, err := openKeys(o, errs)
	if err != nil {
		return err
	}
	defer ring.Close()
	id, text, err := cert.Request(ring, names)
	if err != nil {
		return err
	}
	fmt.Fprintf(errs, "The request %s; \"postern -state %s cert import CHAIN.pem\" takes in what the authority answers.\n", id, o.state)
	_, err = out.Write(text)
	return err
}

// importCertificate takes in a chain, and its key if that is given.
func importCertificate(o options, files []string, in io.Reader, out, errs io.Writer) error {
	text, err := readPEM(files[0], in)
	if err != nil {
		return err
	}
	var key crypto.Signer
	if len(files) == 2 {
		keyText, err := readPEM(files[1], in)
		if err != nil {
			return err
		}
		if key, err = keys.ParseKey(keyText); err != nil {
			return fmt.Errorf("%s: %w", files[1], err)
		}
	}
	ring, cfg, err := openKeys(o, errs)
	if err != nil {
		return err
	}
	defer ring.Close()
	c := &certificates{names: serverNames(cfg, o.demo), log: slog.New(slog.DiscardHandler)}
	id, covered, err := c.take(o.state, ring, text, key, time.Now())
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "The certificate %s serves %s. A running server takes notice on SIGHUP.\n", id, strings.Join(covered, ", "))
	if s, _ := ring.State().Get(); len(files) == 2 && s.Where != keys.OnDisk {
		fmt.Fprintf(out, "Its key is sealed now; remove %s.\n", files[1])
	}
	return nil
}

// take takes a certificate in, if it can be served for one of our names at least. key may be nil, see cert.Import.
func (c *certificates) take(dir string, ring cert.Keys, text []byte, key crypto.Signer, now time.Time) (id string, covered []string, err error) {
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
