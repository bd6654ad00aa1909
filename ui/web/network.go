package web

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// network are the pages by which a port is set otherwise. Whoever has the token of a trial may keep it: the browser that comes to
// the new address has no session there.
func (s *Server) network() {
	if s.box.Network == nil {
		return
	}
	s.mux.HandleFunc("POST /settings/network", s.signedIn(s.tryPort))
	s.mux.HandleFunc("GET /network/keep/{token}", func(w http.ResponseWriter, r *http.Request) {
		s.ask(w, r, "keep", http.StatusOK, nil, url.Values{"keep": {r.PathValue("token")}})
	})
	s.mux.HandleFunc("POST /network/keep", s.keepPort)
}

// tryView is what the page says while a port is tried.
type tryView struct {
	Port    string
	Seconds int
	Links   []string // where the box may be, the likeliest first
	Go      bool     // the first of them is where it will be
}

func (s *Server) tryPort(w http.ResponseWriter, r *http.Request, ses *session) {
	v, err := s.posted(w, r, ses)
	var t PortTrial
	if err == nil {
		t, err = s.box.Network.Try(r.Context(), PortSettings{
			Name: v.Get("name"), Fixed: v.Get("mode") == "fixed", Address: v.Get("address"), Gateway: v.Get("gateway"), DNS: v.Get("dns"),
		})
	}
	if err != nil {
		if v == nil {
			v = make(url.Values)
		}
		v.Set("form", "/settings/network")
		s.show(w, r, ses, "settings", statusOf(err), err, v)
		return
	}
	page, err := s.view(r, ses, "trying")
	if err != nil {
		s.log.Warn("the state is not known", "error", err)
	}
	d := tryView{Port: v.Get("name"), Seconds: int(time.Until(t.Until).Seconds()), Go: t.Address != ""}
	host, port, err := net.SplitHostPort(r.Host)
	if err != nil {
		host, port = r.Host, ""
	}
	for _, h := range append([]string{t.Address}, append(page.State.Names, strings.Trim(host, "[]"))...) {
		if h == "" {
			continue
		}
		at := h
		switch {
		case port != "":
			at = net.JoinHostPort(h, port)
		case strings.Contains(h, ":"):
			at = "[" + h + "]"
		}
		d.Links = append(d.Links, fmt.Sprintf("https://%s/network/keep/%s", at, t.Token))
	}
	page.Data = d
	s.render(w, "trying", http.StatusOK, page)
}

func (s *Server) keepPort(w http.ResponseWriter, r *http.Request) {
	v, err := readForm(w, r)
	if err == nil && !s.sessions.genuine(r, v.Get("token")) {
		err = errToken
	}
	if err == nil {
		_, by := s.who(r, false)
		if by.User == "" {
			by = Actor{User: "whoever has set it", From: address(r.RemoteAddr)}
		}
		err = s.box.Network.Keep(as(r.Context(), by), v.Get("keep"))
	}
	if err != nil {
		s.ask(w, r, "keep", statusOf(err), err, v)
		return
	}
	s.ask(w, r, "keep", http.StatusOK, nil, url.Values{"kept": {"true"}})
}
