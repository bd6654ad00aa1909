package pairing

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/postern-nas/postern/ui/web"
)

// What the handler serves. All of it is for the local network; the page of the box serves /p/TOKEN and /pair, where a
// person looks at it, and calls Desk.Visit by itself or these:
//
//	POST /pair/visit    {"code": token or typed code, "device": name}  ->  {"secret": ..., "until": ...}
//	GET  /pair/state    ->  {"phase": ..., "device": ..., "reason": ..., "until": ...}
//	POST /pair/request  a PKCS #10 request, and Postern-Commitment     ->  the box's nonce, base64
//	POST /pair/open     nothing, but Postern-Nonce                     ->  nothing; the owner is asked now
//	POST /pair/enrol    nothing                                        ->  the certificate, PEM, when the owner has said yes
//	POST /pair/renew    a PKCS #10 request, and the two headers below  ->  the certificate, PEM
//	POST /pair/unpair   nothing, but with the client certificate       ->  nothing; it is let in no more
//	GET  /pair/ca.cer  ->  the authority's certificate, DER
//	GET  /pair/postern-pair.cmd, /pair/postern-unpair.cmd, /pair/postern-renew.cmd  ->  the scripts for Windows
//
// State, request, open, enrol and the pairing script are for who holds a Ticket: its secret comes as "Authorization: Bearer SECRET", or
// in the cookie that visit sets. Errors are {"error": text}.
const (
	// CookieName is the cookie that holds a Ticket's secret in a browser.
	CookieName = "postern_pair"

	HeaderDevice      = "Postern-Device"      // of request: the computer's name, percent-encoded
	HeaderCommitment  = "Postern-Commitment"  // of request: what Commit makes, in base64
	HeaderNonce       = "Postern-Nonce"       // of open: the device's Nonce, in base64
	headerCertificate = "Postern-Certificate" // of renew: SHA-256 of the certificate in use, in hexadecimal
	headerSignature   = "Postern-Signature"   // of renew: Desk.Renew's proof, in base64
)

// Handler serves the paths above. script says what the scripts are made for, besides what the desk knows by itself.
func (d *Desk) Handler(script func() Script) http.Handler {
	h := &handler{desk: d, script: script}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /pair/visit", h.visit)
	mux.HandleFunc("GET /pair/state", h.state)
	mux.HandleFunc("POST /pair/request", h.request)
	mux.HandleFunc("POST /pair/open", h.open)
	mux.HandleFunc("POST /pair/enrol", h.enrol)
	mux.HandleFunc("POST /pair/renew", h.renew)
	mux.HandleFunc("POST /pair/unpair", h.unpair)
	mux.HandleFunc("GET /pair/ca.cer", h.authority)
	mux.HandleFunc("GET /pair/postern-pair.cmd", h.pairScript)
	mux.HandleFunc("GET /pair/postern-unpair.cmd", h.unpairScript)
	mux.HandleFunc("GET /pair/postern-renew.cmd", h.renewScript)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Referrer-Policy", "no-referrer")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if !d.cfg.Local(remote(r)) {
			fail(w, ErrOutside)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

type handler struct {
	desk   *Desk
	script func() Script
}

// remote is where a request comes from. No header is asked: nothing stands in front of the box.
func remote(r *http.Request) netip.Addr {
	a, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return a.Addr().Unmap()
}

// secret is the ticket's that a request brings.
func secret(r *http.Request) string {
	if s, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		return s
	}
	if c, err := r.Cookie(CookieName); err == nil {
		return c.Value
	}
	return ""
}

func (h *handler) visit(w http.ResponseWriter, r *http.Request) {
	// A form of another site cannot send this type, and a script of another site is not let.
	if t, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); t != "application/json" {
		http.Error(w, "application/json is wanted", http.StatusUnsupportedMediaType)
		return
	}
	var in struct {
		Code   string `json:"code"`
		Device string `json:"device"`
	}
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4<<10))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&in); err != nil {
		http.Error(w, "this is not what is wanted here", http.StatusBadRequest)
		return
	}
	t, err := h.desk.Visit(r.Context(), remote(r), in.Code, in.Device)
	if err != nil {
		fail(w, err)
		return
	}
	http.SetCookie(w, Cookie(t))
	web.Answer(w, http.StatusOK, map[string]any{"secret": t.Secret, "until": t.Until.UTC()})
}

// Cookie is how a browser keeps a Ticket.
func Cookie(t Ticket) *http.Cookie {
	return &http.Cookie{
		Name: CookieName, Value: t.Secret, Path: "/pair", MaxAge: max(1, int(time.Until(t.Until).Seconds())),
		Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode,
	}
}

func (h *handler) state(w http.ResponseWriter, r *http.Request) {
	a, err := h.desk.Look(remote(r), secret(r))
	if err != nil {
		fail(w, err)
		return
	}
	web.Answer(w, http.StatusOK, map[string]any{"phase": a.Phase.String(), "device": a.Device, "reason": a.Reason, "until": a.Until.UTC()})
}

func (h *handler) request(w http.ResponseWriter, r *http.Request) {
	csr, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxRequest))
	if err != nil {
		fail(w, ErrRequest)
		return
	}
	committed, ok := bytes32(r.Header.Get(HeaderCommitment))
	if !ok {
		fail(w, fmt.Errorf("%w: the header %s is missing, or not 32 bytes in base64", ErrRequest, HeaderCommitment))
		return
	}
	device, err := url.PathUnescape(r.Header.Get(HeaderDevice))
	if err != nil {
		device = ""
	}
	nonce, err := h.desk.Request(remote(r), secret(r), csr, committed, device)
	if err != nil {
		fail(w, err)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.WriteString(w, base64.StdEncoding.EncodeToString(nonce[:]))
}

func (h *handler) open(w http.ResponseWriter, r *http.Request) {
	nonce, ok := bytes32(r.Header.Get(HeaderNonce))
	if !ok {
		fail(w, fmt.Errorf("%w: the header %s is missing, or not 32 bytes in base64", ErrRequest, HeaderNonce))
		return
	}
	if err := h.desk.Open(remote(r), secret(r), nonce); err != nil {
		fail(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (h *handler) enrol(w http.ResponseWriter, r *http.Request) {
	// A server that bounds the time of a reply must not bound this one: a person is being asked.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(Lifetime + time.Minute))
	_, der, err := h.desk.Enrol(r.Context(), remote(r), secret(r))
	if err != nil {
		fail(w, err)
		return
	}
	certificate(w, der)
}

// bytes32 reads 32 bytes in base64.
func bytes32(s string) (b [32]byte, ok bool) {
	raw, err := base64.StdEncoding.DecodeString(s)
	if err != nil || len(raw) != len(b) {
		return b, false
	}
	return [32]byte(raw), true
}

func (h *handler) renew(w http.ResponseWriter, r *http.Request) {
	csr, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxRequest))
	if err != nil {
		fail(w, ErrRequest)
		return
	}
	sum, err := hex.DecodeString(r.Header.Get(headerCertificate))
	if err != nil || len(sum) != 32 {
		fail(w, ErrProof)
		return
	}
	proof, err := base64.StdEncoding.DecodeString(r.Header.Get(headerSignature))
	if err != nil {
		fail(w, ErrProof)
		return
	}
	_, der, err := h.desk.Renew(r.Context(), [32]byte(sum), csr, proof)
	if err != nil {
		fail(w, err)
		return
	}
	certificate(w, der)
}

// unpair is for a device that leaves by itself. TLS has proved that the key is its own.
func (h *handler) unpair(w http.ResponseWriter, r *http.Request) {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		fail(w, ErrProof)
		return
	}
	if err := h.desk.Leave(r.TLS.PeerCertificates[0]); err != nil {
		fail(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (h *handler) authority(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/x-x509-ca-cert")
	_, _ = w.Write(h.desk.cfg.Issuer.Certificate().Raw)
}

func (h *handler) pairScript(w http.ResponseWriter, r *http.Request) {
	a, err := h.desk.Look(remote(r), secret(r))
	if err == nil && a.over() {
		err = ErrRefused
	}
	if err != nil {
		fail(w, err)
		return
	}
	s := h.script()
	s.CA, s.Secret = h.desk.cfg.Issuer.Certificate(), secret(r)
	if a.User != "" {
		s.User = a.User
	}
	download(w, "postern-pair.cmd", func() ([]byte, error) {
		b, err := s.Pair()
		if err == nil {
			h.desk.gave(s.Secret, b)
		}
		return b, err
	})
}

func (h *handler) unpairScript(w http.ResponseWriter, _ *http.Request) {
	s := h.script()
	s.CA = h.desk.cfg.Issuer.Certificate()
	download(w, "postern-unpair.cmd", s.Unpair)
}

func (h *handler) renewScript(w http.ResponseWriter, _ *http.Request) {
	s := h.script()
	s.CA = h.desk.cfg.Issuer.Certificate()
	download(w, "postern-renew.cmd", s.Renew)
}

func (a *Attempt) over() bool { return a.Phase == Paired || a.Phase == Refused }

func download(w http.ResponseWriter, name string, make func() ([]byte, error)) {
	b, err := make()
	if err != nil {
		fail(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Disposition", `attachment; filename="`+name+`"`)
	_, _ = w.Write(b)
}

func certificate(w http.ResponseWriter, der []byte) {
	w.Header().Set("Content-Type", "application/x-pem-file")
	_ = pem.Encode(w, &pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// fail tells why not. Only errors of this package are told as they are.
func fail(w http.ResponseWriter, err error) {
	code, text := Status(err)
	web.Answer(w, code, web.Problem(text))
}

// Status is the HTTP status for an error of a Desk, and what may be told of it.
func Status(err error) (code int, text string) {
	for _, known := range []struct {
		err  error
		code int
	}{
		{ErrOutside, http.StatusForbidden},
		{ErrNone, http.StatusNotFound},
		{ErrCode, http.StatusForbidden},
		{ErrToken, http.StatusForbidden},
		{ErrTaken, http.StatusConflict},
		{ErrBusy, http.StatusConflict},
		{ErrRefused, http.StatusGone},
		{ErrUsed, http.StatusGone},
		{ErrBetween, http.StatusConflict},
		{ErrFull, http.StatusConflict},
		{ErrUnknown, http.StatusNotFound},
		{ErrProof, http.StatusForbidden},
		{ErrTooEarly, http.StatusConflict},
	} {
		if errors.Is(err, known.err) {
			return known.code, known.err.Error()
		}
	}
	switch {
	case errors.Is(err, ErrRequest):
		return http.StatusBadRequest, err.Error()
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return http.StatusRequestTimeout, "it took too long"
	}
	return http.StatusInternalServerError, "the box could not do it; its log says why"
}
