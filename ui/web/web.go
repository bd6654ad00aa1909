// Package web is the page in the browser by which an owner sets a box up and looks after it, and the same as JSON for
// programs. It is made of embedded templates, one style sheet and a little JavaScript without which it works as well; it asks
// no other server for anything.
//
// Who gets in: only peers for whom Config.May holds; only requests whose Host is a name or address of the box (DNS rebinding);
// before the first setup who knows the one-time code on the panel, afterwards owners. Changes are POSTs (JSON also PUT and
// DELETE) that come from the page itself: http.CrossOriginProtection, cookies that are SameSite=Strict, and a token.
package web

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"github.com/postern-nas/postern/ui"
)

// A Config is what a Server is made from.
type Config struct {
	Box Box
	// Hosts reports whether a name in a request's Host is the box's. Addresses need not be asked for: one is right if it is
	// the one that the request came to.
	Hosts func(name string) bool
	// May reports whether a peer is let in at all; nil lets in who is on the LocalNetwork by its address alone.
	May func(peer netip.Addr) bool
	// Devices is the authority of paired devices' certificates; nil asks browsers and programs for none.
	Devices *x509.CertPool
	// Memory keeps the counts of wrong passwords; nil forgets them.
	Memory Memory
	// Signed is told who has signed in, or has tried, with the device if it was by its certificate; nil: nobody listens.
	Signed func(who Actor, ok bool)
	// CodeChanged is called when SetupCode returns another code.
	CodeChanged func()
	Log         *slog.Logger
}

// A Server is the page.
type Server struct {
	cfg      Config
	box      Box
	log      *slog.Logger
	codes    *codes
	limit    *limiter
	sessions *table
	cross    *http.CrossOriginProtection
	mux      *http.ServeMux
	streams  atomic.Int32
	uploads  chan struct{} // one at a time
	run      string        // of this start of the page, so that a browser sees when it is another
}

// New makes a Server.
func New(cfg Config) (*Server, error) {
	if cfg.Box.Source == nil || cfg.Box.Owners == nil || cfg.Box.Control == nil || cfg.Box.Setup == nil {
		return nil, errors.New("web: a box without a source, a control, owners or a setup")
	}
	if cfg.May == nil {
		cfg.May = func(a netip.Addr) bool { return LocalNetwork(a, nil) }
	}
	if cfg.Hosts == nil {
		cfg.Hosts = func(string) bool { return false }
	}
	if cfg.CodeChanged == nil {
		cfg.CodeChanged = func() {}
	}
	if cfg.Signed == nil {
		cfg.Signed = func(Actor, bool) {}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{
		cfg: cfg, box: cfg.Box, log: cfg.Log, codes: newCodes(cfg.CodeChanged), limit: newLimiter(cfg.Memory), sessions: newTable(),
		cross: http.NewCrossOriginProtection(), mux: http.NewServeMux(), uploads: make(chan struct{}, 1),
		run: rand.Text(),
	}
	s.routes()
	return s, nil
}

// SetupCode returns the one-time codes: what stands behind the page's address in a QR code, and what is typed. They are of
// use only as long as the first setup is due.
func (s *Server) SetupCode() (path, digits string) {
	link, digits := s.codes.now()
	return "/s/" + link, digits
}

// Serve answers on l, which gives plain connections, with TLS until ctx is done. certificate is as in tls.Config.
func (s *Server) Serve(ctx context.Context, l net.Listener, certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)) error {
	cfg := &tls.Config{MinVersion: tls.VersionTLS13, GetCertificate: certificate, NextProtos: []string{"http/1.1"}}
	if s.cfg.Devices != nil { // what comes is judged by owner: one that has ended must not keep a browser from the page
		cfg.ClientAuth, cfg.ClientCAs = tls.RequestClientCert, s.cfg.Devices
	}
	secure := tls.NewListener(newDoor(l, s.cfg.May), cfg)
	return s.serve(ctx, secure, s.Handler())
}

func (s *Server) serve(ctx context.Context, l net.Listener, h http.Handler) error {
	server := &http.Server{
		Handler: h, ReadHeaderTimeout: headerTime, ReadTimeout: bodyTime, WriteTimeout: answerTime, IdleTimeout: idleTime,
		MaxHeaderBytes: maxHeader, ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	server.Protocols = new(http.Protocols)
	server.Protocols.SetHTTP1(true)
	stop := context.AfterFunc(ctx, func() {
		soon, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		if server.Shutdown(soon) != nil {
			_ = server.Close()
		}
	})
	defer stop()
	err := server.Serve(l)
	if ctx.Err() != nil {
		return nil
	}
	_ = server.Close()
	return err
}

// Handler is the page for who has come through TLS.
func (s *Server) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		headers(w.Header())
		switch {
		case !s.cfg.May(address(r.RemoteAddr)):
			http.Error(w, "This page is for the local network only.", http.StatusForbidden)
		case !s.ours(r):
			http.Error(w, "This is not a name of this box. Open it by its address, or by its name, as its panel shows them.", http.StatusMisdirectedRequest)
		case s.cross.Check(r) != nil:
			http.Error(w, "This came from another page. Open the box's own page and try again.", http.StatusForbidden)
		default:
			s.mux.ServeHTTP(w, r)
		}
	})
}

// Local is the API alone, for who has come through a socket that only the box's owner can open: nobody has to sign in.
func (s *Server) Local() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		headers(w.Header())
		if !strings.HasPrefix(r.URL.Path, "/api/") {
			http.NotFound(w, r)
			return
		}
		ctx := context.WithValue(r.Context(), actorKey{}, Actor{User: "local"})
		s.mux.ServeHTTP(w, r.WithContext(ctx))
	})
}

// headers keep a page that has been tricked into holding a stranger's text from doing anything with it.
func headers(h http.Header) {
	h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "+
		"form-action 'self'; frame-ancestors 'none'; base-uri 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()")
	h.Set("Cache-Control", "no-store")
	// No Strict-Transport-Security: a browser that does not yet know our authority could not be told to go on.
}

// ours reports whether the request names the box by a name of it, or by the very address that it came to (SEC-50).
func (s *Server) ours(r *http.Request) bool {
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if a, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
		return ok && address(local.String()) == a.Unmap().WithZone("")
	}
	return s.cfg.Hosts(strings.ToLower(strings.TrimSuffix(host, ".")))
}

// who says who asks: a session, or the owner at the machine itself, or a paired device of an owner's. nil is nobody.
func (s *Server) who(r *http.Request, watches bool) (*session, Actor) {
	from := address(r.RemoteAddr)
	if a := By(r.Context()); a.User != "" {
		return nil, a
	}
	if ses := s.sessions.find(r, watches); ses != nil && ses.user != "" {
		if !s.stands(ses) {
			s.sessions.finish(func(o *session) bool { return o == ses })
			return nil, Actor{}
		}
		return ses, Actor{User: ses.user, Device: nameOf(ses.certificate), From: from}
	}
	return nil, Actor{}
}

// stands reports whether what a session began with still holds.
func (s *Server) stands(ses *session) bool {
	if mark, ok := s.box.Owners.Stands(ses.user); !ok || mark != ses.mark {
		return false
	}
	if ses.certificate == nil {
		return true
	}
	name, ok := s.owner(ses.certificate)
	return ok && name == ses.user
}

// owner is for whom a certificate's device administers the box.
func (s *Server) owner(c *x509.Certificate) (name string, ok bool) {
	if s.cfg.Devices == nil {
		return "", false
	}
	if _, err := c.Verify(x509.VerifyOptions{Roots: s.cfg.Devices, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		return "", false
	}
	return s.box.Owners.ByCertificate(c)
}

// shown is the certificate that came with a request; TLS has proved that its key is there. nil: none.
func shown(r *http.Request) *x509.Certificate {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return nil
	}
	return r.TLS.PeerCertificates[0]
}

// byCertificate is the owner whose device shows its certificate.
func (s *Server) byCertificate(r *http.Request) (Actor, bool) {
	c := shown(r)
	if c == nil {
		return Actor{}, false
	}
	name, ok := s.owner(c)
	return Actor{User: name, Device: nameOf(c), From: address(r.RemoteAddr)}, ok
}

// nameOf is what a certificate's device is called; "" without one.
func nameOf(c *x509.Certificate) string {
	if c == nil {
		return ""
	}
	return c.Subject.CommonName
}

// state is the newest State.
func (s *Server) state(ctx context.Context) (ui.State, error) {
	st, _, err := s.box.Source.Next(ctx, 0)
	return st, err
}

// waitText says how long to wait.
func waitText(d time.Duration) string {
	if d > 90*time.Second {
		return fmt.Sprintf("%d minutes", int(d.Minutes()+1))
	}
	return fmt.Sprintf("%d seconds", int(d.Seconds()+1))
}
