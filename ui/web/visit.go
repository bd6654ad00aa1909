package web

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/postern-nas/postern/ui"
)

// visitPage is what a device sees that is to be paired: at first a question, so that programs that look at addresses in advance
// use nothing up; then the code to compare; then how to go on.
func (s *Server) visitPage(w http.ResponseWriter, r *http.Request) {
	code := r.PathValue("code")
	look, err := s.box.Pairings.Look(r)
	switch {
	case err == nil && code == "" && (look.Phase != ui.Refused || !r.URL.Query().Has("again")):
		s.showVisit(w, r, look)
	default:
		form := url.Values{"code": {code}, "device": {deviceName(r.UserAgent())}}
		if code != "" {
			form.Set("linked", "true")
		}
		s.ask(w, r, "pair", http.StatusOK, nil, form)
	}
}

func (s *Server) showVisit(w http.ResponseWriter, r *http.Request, look Visit) {
	v := &view{Page: "pair", Token: s.sessions.forms(w, r), Form: make(url.Values), Data: struct {
		Visit
		Refresh bool
		Windows bool
	}{look, look.Phase <= ui.Issuing, strings.Contains(r.UserAgent(), "Windows")}}
	s.render(w, "pair", http.StatusOK, v)
}

func (s *Server) visit(w http.ResponseWriter, r *http.Request) {
	v, err := readForm(w, r)
	if err == nil && !s.sessions.genuine(r, v.Get("token")) {
		err = errToken
	}
	from := address(r.RemoteAddr)
	if err == nil {
		if wait := s.limit.try(from); wait > 0 {
			err = &statusError{http.StatusTooManyRequests, "too many wrong codes from here; try again in " + waitText(wait)}
		}
	}
	if err == nil {
		var c *http.Cookie
		if c, err = s.box.Pairings.Visit(r.Context(), from, strings.TrimSpace(v.Get("code")), v.Get("device")); err == nil {
			s.limit.forgive(from)
			http.SetCookie(w, c)
			http.Redirect(w, r, "/pair", http.StatusSeeOther)
			return
		}
	}
	v.Del("linked")
	v.Del("code")
	s.ask(w, r, "pair", statusOf(err), err, v)
}

// deviceName guesses what to call a device by what its browser says of it.
func deviceName(agent string) string {
	for _, d := range []struct{ word, name string }{
		{"Windows", "Windows PC"}, {"iPhone", "iPhone"}, {"iPad", "iPad"}, {"Android", "Android"}, {"CrOS", "Chromebook"}, {"Macintosh", "Mac"}, {"Linux", "Linux PC"},
	} {
		if strings.Contains(agent, d.word) {
			return d.name
		}
	}
	return ""
}
