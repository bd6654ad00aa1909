package pairing

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"crypto/x509"
	"embed"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/template"
	"unicode"
	"unicode/utf8"
)

//go:embed windows
var windows embed.FS

// A Script is what the scripts for a Windows PC are made for. They are .cmd files, to be opened by a double click, that hand
// the PowerShell in them to powershell.exe. What they do is in the folder windows; they use no cmdlet and no parameter of one
// that Microsoft does not document.
type Script struct {
	Server string // DNS name, as in the server's certificate: the public one, if there is one
	Port   uint16 // UDP, of SMB over QUIC, by that name: the router's, if it has another than the box
	Home   string // the name in the local network, in the certificate as well; "" is Server
	AtHome uint16 // the port there; 0 is Port
	Page   string // the page's address in the local network, as in "https://postern.local"
	Share  string // to be mapped
	User   string // to sign in as; "" asks
	Drive  string // the letter to try first, as in "Z:"; "" is that

	// Set by the handler.
	CA     *x509.Certificate
	Secret string
}

// Pair is the script that pairs.
func (s Script) Pair() ([]byte, error) {
	if s.Secret == "" || s.Page == "" || s.Share == "" || s.Port == 0 {
		return nil, errors.New("pairing: a script needs a secret, a page, a share and a port")
	}
	return s.fill("certificate.ps1", "pair.ps1")
}

// Renew is the script that fetches a paired PC its next certificate. It holds nothing secret.
func (s Script) Renew() ([]byte, error) {
	if s.Page == "" {
		return nil, errors.New("pairing: a script needs a page")
	}
	return s.fill("certificate.ps1", "renew.ps1")
}

// Unpair is the script that undoes all of it on the PC, and tells the box. It holds nothing secret.
func (s Script) Unpair() ([]byte, error) {
	if s.Page == "" {
		return nil, errors.New("pairing: a script needs a page")
	}
	return s.fill("unpair.ps1")
}

// fill makes a script out of its parts: each of them tries something, and fails alike. The lines of a .cmd file end in CR LF.
func (s Script) fill(names ...string) ([]byte, error) {
	if s.Server == "" || s.CA == nil {
		return nil, errors.New("pairing: a script needs a server and its authority")
	}
	s.Home, s.AtHome = cmp.Or(s.Home, s.Server), cmp.Or(s.AtHome, s.Port)
	t, err := template.New("").Funcs(template.FuncMap{"ps": quotePowerShell, "rem": quoteRem}).Option("missingkey=error").
		ParseFS(windows, "windows/*")
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	for _, part := range slices.Concat([]string{"wrap.cmd", "common.ps1"}, names, []string{"failed.ps1"}) {
		if err := t.ExecuteTemplate(&b, part, s); err != nil {
			return nil, fmt.Errorf("pairing: %w", err)
		}
	}
	return []byte(strings.ReplaceAll(b.String(), "\n", "\r\n")), nil
}

// Fingerprint is the authority's SHA-256 as Windows writes it.
func (s Script) Fingerprint() string { return fmt.Sprintf("%X", sha256.Sum256(s.CA.Raw)) }

// CABase64 is the authority's certificate.
func (s Script) CABase64() string { return base64.StdEncoding.EncodeToString(s.CA.Raw) }

// Issuer is the authority's name, encoded, as it stands in the certificates that it has issued.
func (s Script) Issuer() string { return base64.StdEncoding.EncodeToString(s.CA.RawSubject) }

// Letters are the drives to try, the best first.
func (s Script) Letters() string {
	const all = "Z: Y: X: W: V: U: T: S: R: Q: P: O: N: M: L: K: J: I: H: G: F: E: D:"
	if len(s.Drive) != 2 || !strings.Contains(all, s.Drive) || s.Drive == "Z:" {
		return all
	}
	return s.Drive + " " + all
}

// quotePowerShell writes a text as a literal of PowerShell, in which nothing is expanded. PowerShell takes four more
// characters for its quote, which are doubled like it.
func quotePowerShell(s string) (string, error) {
	if !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return "", fmt.Errorf("%q cannot stand in a script", s)
	}
	var b strings.Builder
	b.WriteByte('\'')
	for _, r := range s {
		b.WriteRune(r)
		if strings.ContainsRune("'\u2018\u2019\u201a\u201b", r) {
			b.WriteRune(r)
		}
	}
	b.WriteByte('\'')
	return b.String(), nil
}

// quoteRem lets only what means nothing to cmd.exe into a remark.
func quoteRem(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x80 && (unicode.IsLetter(r) || unicode.IsDigit(r) || r == '.' || r == '-') {
			return r
		}
		return '_'
	}, s)
}
