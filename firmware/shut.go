package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"html/template"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/postern-nas/postern/firmware/boot"
	"github.com/postern-nas/postern/firmware/config"
	"github.com/postern-nas/postern/firmware/keys"
	"github.com/postern-nas/postern/firmware/supervise"
	"github.com/postern-nas/postern/firmware/watch"
	"github.com/postern-nas/postern/ui"
)

// waitForKeys opens the keys. As long as they are shut nothing is served, but panel and page say why, and the page takes the
// recovery code: a box has no other place to type it.
func waitForKeys(ctx context.Context, o options, cfg *config.Config, ring *keys.Ring, log *slog.Logger) error {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	var beside sync.WaitGroup
	beside.Go(func() {
		s, version, err := ring.State().Wait(ctx, 0)
		for err == nil && s.Trouble == keys.None && !s.Open { // before it has tried
			s, version, err = ring.State().Wait(ctx, version)
		}
		if err != nil || s.Open {
			return
		}
		if o.machine != nil { // a box that waits for its owner is well, and must not be reset while the code is looked for
			o.machine.Watch(func() error { return nil })
			defer o.machine.Watch(nil)
		}
		sayShut(ctx, end, o, cfg, ring, log)
		<-ctx.Done()
	})
	err := ring.Wait(ctx, o.hangups)
	why := wanted(context.Cause(ctx))
	end(nil)
	beside.Wait()
	if why != nil {
		return why
	}
	return err
}

// sayShut shows on panel and page what is wrong, until ctx is done.
func sayShut(ctx context.Context, end context.CancelCauseFunc, o options, cfg *config.Config, ring *keys.Ring, log *slog.Logger) {
	var all sync.WaitGroup
	defer all.Wait()
	if h := o.hardware; h != nil && (h.Display != nil || h.Status != nil) {
		source := &shutSource{name: cfg.Name}
		all.Go(func() { source.follow(ctx, ring) })
		if h.Status != nil {
			all.Go(func() { _ = light(h.Status, source, log)(ctx) }) // it ends with ctx alone
		}
		if p := newPanel(h, source, &ownerControl{w: new(world), end: end, machine: o.machine}, log); p != nil {
			all.Go(func() {
				if err := p.Run(ctx); err != nil && ctx.Err() == nil {
					log.Error("the panel", "error", err)
				}
			})
		}
	}
	if cfg.Page == "" {
		return
	}
	f := newPageFace(cfg, o)
	f.log = log
	err := f.listen()
	if err == nil {
		if o.machine != nil {
			all.Go(func() { reachShut(ctx, cfg, o.machine, f.l.Addr(), log) })
		}
		err = serveShut(ctx, f.l, mayVisit(cfg), ring, log)
	}
	if err != nil && ctx.Err() == nil {
		log.Error("the page for the recovery code", "error", err)
	}
}

// reachShut lets those in on a box who may see the page, and nobody to anything else, and tells the network its name.
func reachShut(ctx context.Context, cfg *config.Config, box *boot.Box, page net.Addr, log *slog.Logger) {
	r := &reach{cfg: cfg, box: box, log: log, networks: &box.Network.State, page: portOf(page)}
	services := supervise.Group{Log: log}
	services.Add("firewall", r.firewall)
	if r.announce(); r.names != nil {
		services.Add("mdns", r.names.Run)
	}
	if err := services.Run(ctx); err != nil {
		log.Error("stopping", "error", err)
	}
}

// shutSource is what the panel shows while the keys are shut.
type shutSource struct {
	name  string
	state watch.Value[ui.State]
}

// Next implements ui.Source.
func (s *shutSource) Next(ctx context.Context, seen uint64) (ui.State, uint64, error) {
	return s.state.Wait(ctx, seen)
}

func (s *shutSource) follow(ctx context.Context, ring *keys.Ring) {
	var seen uint64
	for {
		v, newest, err := ring.State().Wait(ctx, seen)
		if err != nil {
			return
		}
		seen = newest
		where, alarms := keysSeen(v)
		s.state.Set(ui.State{Name: s.name, Version: version(), Addresses: ownAddresses(), Keys: where, Alarms: alarms})
	}
}

// Bounds of the page for the recovery code.
const (
	shutBody        = 4 << 10 // of a request
	shutTime        = 10 * time.Second
	shutConnections = 16
)

// few lets in no more connections at one time than room has; the next ones wait.
type few struct {
	net.Listener
	room chan struct{}
}

func (l *few) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.room <- struct{}{} // those that are in have bounded times, so one leaves
	return &counted{Conn: c, leave: sync.OnceFunc(func() { <-l.room })}, nil
}

type counted struct {
	net.Conn
	leave func()
}

func (c *counted) Close() error {
	defer c.leave()
	return c.Conn.Close()
}

// serveShut is a page that says what is wrong and takes the recovery code. Its certificate is one that nobody knows: the
// browser warns, and the page says why. It lives as long as the keys are shut.
func serveShut(ctx context.Context, l net.Listener, may func(netip.Addr) bool, ring *keys.Ring, log *slog.Logger) error {
	throwaway, err := throwawayCertificate(time.Now())
	if err != nil {
		return errors.Join(err, l.Close())
	}
	server := &http.Server{
		Handler: shutHandler(ring, may, log), ReadHeaderTimeout: shutTime, ReadTimeout: shutTime, WriteTimeout: 2 * time.Minute, // a chip takes its time
		IdleTimeout: shutTime, MaxHeaderBytes: 16 << 10, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	stop := context.AfterFunc(ctx, func() {
		// The answer to the code that has just opened the keys is still on its way.
		limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		if server.Shutdown(limit) != nil {
			_ = server.Close()
		}
	})
	err = server.Serve(tls.NewListener(&few{l, make(chan struct{}, shutConnections)}, &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{throwaway}}))
	if !stop() { // it is being shut down: not before that is over is the port free again
		_ = server.Shutdown(context.WithoutCancel(ctx))
	}
	if ctx.Err() != nil || errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// throwawayCertificate is good for nothing but to encrypt.
func throwawayCertificate(now time.Time) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: "Postern, before its keys are open"},
		NotBefore: now.Add(-48 * time.Hour), NotAfter: now.Add(48 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

var shutPage = template.Must(template.New("shut").Parse(`<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
{{if .Open}}<meta http-equiv="refresh" content="10">{{end}}<title>Postern: keys</title></head><body>
{{if .Open}}<h1>The keys are open</h1><p>The server starts now. This page comes back as the usual one in a moment.</p>
{{else}}<h1>Nothing is served: the keys are shut</h1><p>{{.Text}}.</p><p>{{.Advice}}.</p>
{{if .HasCode}}<form method="post" action="/"><p><label>Recovery code <input name="code" size="50" autocomplete="off" autocapitalize="characters" required></label>
<button>Open the keys</button></p></form>
<p>The browser has warned of this page, because the key that proves whose it is, is among those that are shut. Type the code
only if you reach the box in your own network.</p>{{end}}
{{if .Wrong}}<p role="alert"><strong>{{.Wrong}}</strong></p>{{end}}{{end}}
</body></html>
`))

// shutHandler answers on that page.
func shutHandler(ring *keys.Ring, may func(netip.Addr) bool, log *slog.Logger) http.Handler {
	cross := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'")
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Content-Type", "text/html; charset=utf-8")
		from, err := netip.ParseAddrPort(r.RemoteAddr)
		switch {
		case err != nil || !may(from.Addr().Unmap()):
			http.Error(w, "This page is for the local network only.", http.StatusForbidden)
			return
		case cross.Check(r) != nil:
			http.Error(w, "This came from another page.", http.StatusForbidden)
			return
		case r.URL.Path != "/":
			http.Redirect(w, r, "/", http.StatusSeeOther)
			return
		}
		shown := struct {
			keys.State
			Wrong string
		}{}
		status := http.StatusServiceUnavailable
		if r.Method == http.MethodPost {
			r.Body = http.MaxBytesReader(w, r.Body, shutBody)
			err := ring.Recover(r.PostFormValue("code"))
			log.Warn("a recovery code was typed on the page", "from", from.Addr().String(), "opened", err == nil)
			if err != nil {
				shown.Wrong, status = strings.TrimPrefix(err.Error(), "tpm: "), http.StatusForbidden
			}
		}
		if shown.State, _ = ring.State().Get(); shown.Open {
			status = http.StatusOK
		}
		shown.Code = "" // not on this page
		w.WriteHeader(status)
		_ = shutPage.Execute(w, shown)
	})
}
