package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/postern-nas/postern/firmware/state"
)

// errNotRunning says that there is nobody to talk to.
var errNotRunning = errors.New("no server runs on this state folder; start it with postern -state DIR")

// A line is one of the two ways to a running server: the socket in its state folder, or the address of its page, where the
// certificate of a device that administers the box counts. The commands are the same.
type line struct {
	dir string // of the socket
	box *knownBox
}

// raw sends a request and returns the answer's body, to be closed.
func (l line) raw(ctx context.Context, path string, a ask) (io.ReadCloser, error) {
	body, err := json.Marshal(a)
	if err != nil {
		return nil, err
	}
	var client *http.Client
	base := "http://postern"
	if l.box != nil {
		base = l.box.URL + "/command"
		client, err = l.box.client()
	} else {
		var done func()
		if client, done, err = socketClient(l.dir); err == nil {
			defer done()
		}
	}
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, base+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	switch {
	case l.box == nil && (errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ECONNREFUSED)):
		return nil, errNotRunning
	case err != nil:
		return nil, l.explain(err)
	case resp.StatusCode == http.StatusOK:
		return resp.Body, nil
	}
	defer resp.Body.Close()
	return nil, refusal(resp)
}

// socketClient speaks with the server on a state folder.
func socketClient(dir string) (client *http.Client, done func(), err error) {
	name, done, err := socket(dir)
	if errors.Is(err, syscall.ENOENT) {
		err = errNotRunning
	}
	if err != nil {
		return nil, nil, err
	}
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", name)
	}}}, done, nil
}

// refusal is what a server answers that does not do it.
func refusal(resp *http.Response) error {
	text, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return err
	}
	var bad struct{ Error string }
	switch first, _, _ := strings.Cut(strings.TrimSpace(string(text)), "\n"); {
	case json.Unmarshal(text, &bad) == nil && bad.Error != "":
		return errors.New(plain(bad.Error))
	case resp.StatusCode == http.StatusNotFound, first == "":
		return fmt.Errorf("the running server does not know this: %s; is it of another version?", resp.Status)
	default:
		return fmt.Errorf("%s: %s", resp.Status, plain(first))
	}
}

// explain says what may be done about a connection that fails.
func (l line) explain(err error) error {
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	switch {
	case l.box == nil:
		return err
	case errors.As(err, &unknown):
		return fmt.Errorf("%w: %s does not show a certificate of the authority that is remembered for it; if its owner has changed that, "+
			"postern box add takes the new one", err, l.box.URL)
	case errors.As(err, &name):
		return fmt.Errorf("%w: use a name that the box has", err)
	}
	return err
}

// ask is raw for answers in JSON.
func (l line) ask(ctx context.Context, path string, a ask, out any) error {
	body, err := l.raw(ctx, path, a)
	if err != nil {
		return err
	}
	defer body.Close()
	return json.NewDecoder(body).Decode(out)
}

// A knownBox is a box that this computer may administer.
type knownBox struct {
	URL         string `json:"url"`    // of its page: "https://nas.example.net:8443"
	Device      string `json:"device"` // what this computer is called there
	CA          string `json:"ca"`     // PEM: what the box's certificate has to come from
	Certificate string `json:"certificate"`
	Key         string `json:"key"`
}

// A boxBook is boxes.json: whom postern -box knows. It holds keys, and is for its user alone.
type boxBook struct {
	Version int        `json:"version"`
	Default string     `json:"default,omitempty"` // the URL of the one that is meant without -box
	Boxes   []knownBox `json:"boxes"`
}

// Bounds of boxes.json.
const (
	maxBoxes    = 1000
	maxBoxBook  = 16 << 20
	boxDialTime = 10 * time.Second
)

func boxBookPath() (string, error) {
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("there is no place to remember boxes: %w", err)
	}
	return filepath.Join(dir, "postern", "boxes.json"), nil
}

// readBoxes reads boxes.json; nobody is known if there is none.
func readBoxes() (b boxBook, err error) {
	b = boxBook{Version: 1, Boxes: []knownBox{}}
	path, err := boxBookPath()
	if err != nil {
		return b, err
	}
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return b, nil
	}
	if err == nil {
		err = state.DecodeJSON(data, maxBoxBook, &b)
	}
	if err == nil && (b.Version != 1 || len(b.Boxes) > maxBoxes) {
		err = fmt.Errorf("version %d with %d boxes; version 1 with at most %d is understood", b.Version, len(b.Boxes), maxBoxes)
	}
	if err != nil {
		return b, fmt.Errorf("%s: %w", path, err)
	}
	return b, nil
}

// changeBoxes changes boxes.json.
func changeBoxes(do func(*boxBook) error) error {
	path, err := boxBookPath()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	unlock, err := state.Lock(filepath.Dir(path), "boxes.lock", true)
	if err != nil {
		return err
	}
	defer unlock()
	b, err := readBoxes()
	if err == nil {
		err = do(&b)
	}
	if err != nil {
		return err
	}
	return state.WriteJSON(path, b, 0o600)
}

// find finds a box by its address as people type it: whole, or the name alone.
func (b *boxBook) find(what string) (int, error) {
	want, err := boxURL(what)
	if err != nil {
		return 0, err
	}
	var found []int
	for i, known := range b.Boxes {
		u, err := url.Parse(known.URL)
		if known.URL == want {
			return i, nil
		}
		if err == nil && strings.EqualFold(u.Hostname(), what) {
			found = append(found, i)
		}
	}
	if len(found) == 1 {
		return found[0], nil
	}
	if len(found) > 1 {
		return 0, fmt.Errorf("more than one box is called %s: say its port as well", what)
	}
	return 0, fmt.Errorf("%s is no box that this computer knows; postern pair --with %s CODE makes it one, and postern box list says which there are", what, what)
}

// boxURL is the address of a box's page, as it is remembered.
func boxURL(what string) (string, error) {
	if !strings.Contains(what, "://") {
		what = "https://" + what
	}
	u, err := url.Parse(what)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil {
		return "", errUsage(fmt.Sprintf("%q is no address of a box, as in nas.example.net or https://nas.example.net:8443", what))
	}
	host := strings.ToLower(u.Host)
	return "https://" + strings.TrimSuffix(strings.TrimSuffix(host, ":443"), "."), nil
}

// remember keeps a box, the first one as the one that is meant without -box.
func (b *boxBook) remember(k knownBox) error {
	i := slices.IndexFunc(b.Boxes, func(o knownBox) bool { return o.URL == k.URL })
	switch {
	case i >= 0:
		b.Boxes[i] = k
	case len(b.Boxes) >= maxBoxes:
		return fmt.Errorf("%d boxes are known, and no more can be", maxBoxes)
	default:
		b.Boxes = append(b.Boxes, k)
	}
	if b.Default == "" {
		b.Default = k.URL
	}
	return nil
}

// client speaks with the box, and with nobody else: its certificate has to come from the authority that is remembered.
func (k *knownBox) client() (*http.Client, error) {
	own, err := tls.X509KeyPair([]byte(k.Certificate), []byte(k.Key))
	if err != nil {
		return nil, fmt.Errorf("the certificate that is remembered for %s: %w", k.URL, err)
	}
	return pinned(k.URL, []byte(k.CA), &own)
}

// pinned makes a client for one address. A name is checked; an address, which no certificate has, is who shows a
// certificate of the authority.
func pinned(base string, ca []byte, own *tls.Certificate) (*http.Client, error) {
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("no certificate of an authority for %s", base)
	}
	u, err := url.Parse(base)
	if err != nil {
		return nil, err
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: roots}
	if own != nil { // also where the server's list of authorities leaves it out
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return own, nil }
	}
	if net.ParseIP(u.Hostname()) != nil {
		cfg.InsecureSkipVerify = true //nolint:gosec // checked here
		cfg.VerifyConnection = func(s tls.ConnectionState) error {
			between := x509.NewCertPool()
			for _, c := range s.PeerCertificates[1:] {
				between.AddCert(c)
			}
			_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between})
			return err
		}
	}
	return &http.Client{
		Transport: &http.Transport{
			TLSClientConfig: cfg, TLSHandshakeTimeout: boxDialTime, DisableKeepAlives: true,
			DialContext: (&net.Dialer{Timeout: boxDialTime}).DialContext,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}
