package web

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/postern-nas/postern/ui"
)

// A page is one that an owner sees when signed in, with the template of the same name.
type page struct {
	name string
	have func(*Box) bool
	data func(s *Server, r *http.Request) (any, error) // nil: the State is enough
}

// pages are in the order of the menu.
var pages = []page{
	{"status", always, nil},
	{"shares", haveShares, nil},
	{"users", haveUsers, nil},
	{"devices", haveDevices, nil},
	{"connect", func(b *Box) bool { return b.Ways != nil }, func(s *Server, _ *http.Request) (any, error) { return s.box.Ways(), nil }},
	{"certificates", haveCertificates, nil},
	{"activity", func(b *Box) bool { return b.Journal != nil }, activity},
	{"logs", func(b *Box) bool { return b.Logs != nil }, logs},
	{"settings", haveSettings, settings},
	{"system", always, system},
}

func (s *Server) routes() {
	m := s.mux
	m.HandleFunc("GET /static/{file}", s.static)
	m.HandleFunc("GET /favicon.ico", http.NotFound)
	m.HandleFunc("GET /{$}", s.home)
	m.HandleFunc("GET /signin", s.signInPage)
	m.HandleFunc("POST /signin", s.signIn)
	m.HandleFunc("POST /signin/certificate", s.signInByCertificate)
	m.HandleFunc("POST /signout", s.signOut)
	m.HandleFunc("GET /s/{code}", s.codePage)
	m.HandleFunc("GET /setup", s.setupPage)
	m.HandleFunc("POST /setup/code", s.enterSetup)
	m.HandleFunc("POST /setup/{step}", s.setupStep)
	m.HandleFunc("GET /restarting", s.restartingPage)
	m.HandleFunc("GET /off", s.plainPage("off"))
	m.HandleFunc("GET /alive", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = io.WriteString(w, s.run)
	})

	for _, p := range pages {
		if p.have(&s.box) {
			m.HandleFunc("GET /"+p.name, s.signedIn(func(w http.ResponseWriter, r *http.Request, ses *session) {
				s.show(w, r, ses, p.name, http.StatusOK, nil, nil)
			}))
		}
	}
	for _, c := range changes {
		if !c.have(&s.box) {
			continue
		}
		m.HandleFunc("POST "+c.form, s.signedIn(func(w http.ResponseWriter, r *http.Request, ses *session) { s.carryOut(w, r, ses, c) }))
		m.HandleFunc(c.api, s.program(func(w http.ResponseWriter, r *http.Request) { s.carryOutAPI(w, r, c) }))
	}
	if s.box.Pairings != nil {
		m.HandleFunc("GET /p/{code}", s.visitPage)
		m.HandleFunc("GET /pair", s.visitPage)
		m.HandleFunc("POST /pair", s.visit)
		m.Handle("/pair/", s.box.Pairings)
	}
	if s.box.Commands != nil {
		m.Handle("POST /command/", s.certified(http.StripPrefix("/command", s.box.Commands)))
	}
	m.HandleFunc("POST /undo", s.signedIn(s.undo))
	m.HandleFunc("GET /events", s.events)
	s.network()
	if s.box.Panel != nil {
		m.HandleFunc("GET /panel.png", s.signedIn(func(w http.ResponseWriter, r *http.Request, _ *session) { s.box.Panel.ServeHTTP(w, r) }))
	}
	s.files()
	s.programs()
}

// home sends a browser to where it belongs.
func (s *Server) home(w http.ResponseWriter, r *http.Request) {
	to := "/status"
	if s.box.Setup.Due() {
		to = "/setup"
	} else if r.URL.Query().Has("back") {
		to = "/signin" // which says that the box is back
	}
	if r.URL.Query().Has("back") {
		to += "?back=1"
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
}

// signedIn lets owners through; others are asked to sign in.
func (s *Server) signedIn(h func(http.ResponseWriter, *http.Request, *session)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ses, by := s.who(r, false)
		if ses == nil {
			to := "/signin"
			if s.box.Setup.Due() {
				to = "/setup"
			}
			if r.Method == http.MethodGet && to == "/signin" && r.URL.Path != "/status" {
				to += "?to=" + url.QueryEscape(r.URL.Path)
			}
			http.Redirect(w, r, to, http.StatusSeeOther)
			return
		}
		h(w, r.WithContext(as(r.Context(), by)), ses)
	}
}

// posted reads a form of a page, and that it is from there.
func (s *Server) posted(w http.ResponseWriter, r *http.Request, ses *session) (url.Values, error) {
	v, err := readForm(w, r)
	if err != nil {
		return nil, err
	}
	if !same(ses.token, v.Get("token")) {
		return nil, errToken
	}
	return v, nil
}

// carryOut does what a form asks for and shows its page again, with what came of it.
func (s *Server) carryOut(w http.ResponseWriter, r *http.Request, ses *session, c change) {
	v, err := s.posted(w, r, ses)
	if err != nil {
		s.show(w, r, ses, c.page, statusOf(err), err, nil)
		return
	}
	done, err := c.do(s, r.Context(), v)
	if err != nil {
		s.log.Info("not done at the page", "what", c.form, "by", By(r.Context()).User, "error", err)
		v.Set("form", c.form)
		s.show(w, r, ses, c.page, statusOf(err), err, v)
		return
	}
	s.log.Info("done at the page", "what", c.form, "by", By(r.Context()).User)
	ses.offer(done.undo)
	if done.notice != "" {
		ses.say(words.say(done.notice, done.about...))
	}
	if done.secret != "" {
		ses.mu.Lock()
		ses.secret = done.secret
		ses.mu.Unlock()
	}
	to := "/" + c.page
	if done.page != "" {
		to = done.page
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
}

func (s *Server) undo(w http.ResponseWriter, r *http.Request, ses *session) {
	v, err := s.posted(w, r, ses)
	to := "status"
	for _, p := range pages {
		if v.Get("page") == p.name && p.have(&s.box) {
			to = p.name
		}
	}
	if err == nil {
		if undo := ses.takeUndo(); undo == nil {
			err = errors.New("there is nothing to undo any more")
		} else {
			err = undo(r.Context())
		}
	}
	if err != nil {
		s.show(w, r, ses, to, statusOf(err), err, nil)
		return
	}
	ses.say(words.say("undone"))
	http.Redirect(w, r, "/"+to, http.StatusSeeOther)
}

func (s *Server) signInPage(w http.ResponseWriter, r *http.Request) {
	if s.box.Setup.Due() {
		http.Redirect(w, r, "/setup", http.StatusSeeOther)
		return
	}
	if ses, _ := s.who(r, false); ses != nil {
		http.Redirect(w, r, "/status", http.StatusSeeOther)
		return
	}
	s.askSignIn(w, r, http.StatusOK, nil, url.Values{"to": {r.URL.Query().Get("to")}, "back": {r.URL.Query().Get("back")}})
}

// askSignIn asks for a password, or offers to do without one to whose device shows its certificate.
func (s *Server) askSignIn(w http.ResponseWriter, r *http.Request, status int, wrong error, v url.Values) {
	v.Del("certificate")
	if by, ok := s.byCertificate(r); ok {
		v.Set("certificate", by.User)
	}
	s.ask(w, r, "signin", status, wrong, v)
}

var errNoCertificate = &statusError{http.StatusForbidden, "this device may not administer the box; sign in with the password"}

// signInByCertificate is for who has no need of the password: TLS has proved that it is the device's key.
func (s *Server) signInByCertificate(w http.ResponseWriter, r *http.Request) {
	v, err := readForm(w, r)
	if err == nil && !s.sessions.genuine(r, v.Get("token")) {
		err = errToken
	}
	by, ok := s.byCertificate(r)
	mark := ""
	if ok {
		mark, ok = s.box.Owners.Stands(by.User)
	}
	if err == nil && !ok {
		err = errNoCertificate
		s.cfg.Signed(Actor{Device: nameOf(shown(r)), From: by.From}, false)
	}
	if err != nil {
		s.askSignIn(w, r, statusOf(err), err, v)
		return
	}
	s.cfg.Signed(by, true)
	s.log.Info("signed in at the page by certificate", "user", by.User, "device", by.Device, "from", by.From)
	s.enter(w, r, v.Get("to"), by.User, mark, shown(r))
}

func (s *Server) signIn(w http.ResponseWriter, r *http.Request) {
	v, err := readForm(w, r)
	if err == nil && !s.sessions.genuine(r, v.Get("token")) {
		err = errToken
	}
	var name, mark string
	if err == nil {
		name, mark, err = s.prove(r, v)
	}
	if err != nil {
		s.askSignIn(w, r, statusOf(err), err, v)
		return
	}
	s.enter(w, r, v.Get("to"), name, mark, nil)
}

// enter begins a session and leads to the page that was wanted.
func (s *Server) enter(w http.ResponseWriter, r *http.Request, to, name, mark string, by *x509.Certificate) {
	s.sessions.begin(w, name, mark, by)
	for _, p := range pages {
		if to == "/"+p.name {
			http.Redirect(w, r, to, http.StatusSeeOther)
			return
		}
	}
	http.Redirect(w, r, "/status", http.StatusSeeOther)
}

var errWrong = &statusError{http.StatusForbidden, "this is not the name and password of an owner"}

// prove checks an owner's password.
func (s *Server) prove(r *http.Request, v url.Values) (name, mark string, err error) {
	from := address(r.RemoteAddr)
	if wait := s.limit.try(from); wait > 0 {
		return "", "", &statusError{http.StatusTooManyRequests, "too many wrong passwords from here; try again in " + waitText(wait)}
	}
	name, ok := s.box.Owners.SignIn(strings.TrimSpace(v.Get("user")), v.Get("password"))
	if ok {
		mark, ok = s.box.Owners.Stands(name)
	}
	if !ok {
		s.cfg.Signed(Actor{User: v.Get("user"), From: from}, false)
		s.log.Warn("wrong password at the page", "user", v.Get("user"), "from", from)
		return "", "", errWrong
	}
	s.limit.right(from)
	s.cfg.Signed(Actor{User: name, From: from}, true)
	s.log.Info("signed in at the page", "user", name, "from", from)
	return name, mark, nil
}

func (s *Server) signOut(w http.ResponseWriter, r *http.Request) {
	if ses, _ := s.who(r, false); ses != nil {
		if _, err := s.posted(w, r, ses); err != nil {
			s.show(w, r, ses, "status", statusOf(err), err, nil)
			return
		}
		s.sessions.finish(func(o *session) bool { return o == ses })
	}
	setCookie(w, cookieName, "", -1)
	http.Redirect(w, r, "/signin", http.StatusSeeOther)
}

// restarting leads to the page that waits until the box has started again. name is what it is called then, if that changes.
func (s *Server) restarting(name string) string {
	v := url.Values{"run": {s.run}}
	if name != "" {
		v.Set("name", name)
		v.Set("mark", s.sessions.token("restarting as "+name))
	}
	return "/restarting?" + v.Encode()
}

// restartingPage is shown to anybody: it says nothing of the box. What is in the address was put there by restarting, or is a
// stranger's: a name counts with its mark.
func (s *Server) restartingPage(w http.ResponseWriter, r *http.Request) {
	d := struct{ Run, Name, URL string }{Run: r.URL.Query().Get("run")}
	host, port, err := net.SplitHostPort(r.Host)
	if err != nil {
		host, port = r.Host, ""
	}
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err != nil && host != "localhost" {
		if name := r.URL.Query().Get("name"); !strings.EqualFold(name, host) && same(r.URL.Query().Get("mark"), s.sessions.token("restarting as "+name)) {
			d.Name, d.URL = name, "https://"+name
			if port != "" {
				d.URL += ":" + port
			}
		}
	}
	s.render(w, "restarting", http.StatusOK, &view{Page: "restarting", Data: d})
}

// plainPage is a page that is shown to anybody: it says nothing of the box.
func (s *Server) plainPage(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { s.render(w, name, http.StatusOK, &view{Page: name}) }
}

func logs(s *Server, r *http.Request) (any, error) {
	text := r.URL.Query().Get("q")
	var found []string
	for _, l := range s.box.Logs.Lines() {
		if text == "" || strings.Contains(strings.ToLower(l), strings.ToLower(text)) {
			found = append(found, l)
		}
	}
	st, err := s.state(r.Context())
	return struct {
		Text  string
		Lines []string
		Crash *ui.Crash
	}{text, found[max(0, len(found)-500):], st.Crash}, err
}

type group struct {
	Name     string
	Settings []Setting
}

// settingsView is what there is to set.
type settingsView struct {
	Groups []group
	Panel  bool
	Ports  []Port
	Trying string // a port whose new settings nobody has kept yet
	Until  time.Time
}

func settings(s *Server, r *http.Request) (any, error) {
	all, err := s.box.Settings.Settings(r.Context())
	v := settingsView{Panel: s.box.Panel != nil}
	if s.box.Network != nil {
		v.Ports = s.box.Network.Ports(r.Context())
		v.Trying, v.Until = s.box.Network.Trying()
	}
	var groups []group
	for _, set := range all {
		if len(groups) == 0 || groups[len(groups)-1].Name != set.Group {
			groups = append(groups, group{Name: set.Group})
		}
		g := &groups[len(groups)-1]
		g.Settings = append(g.Settings, set)
	}
	v.Groups = groups
	return v, err
}

func system(s *Server, _ *http.Request) (any, error) {
	d := struct {
		Updates, Backups, Recovery bool
		RolledBack, Why            string
		Made, Noted                bool
	}{Updates: s.box.Updates != nil, Backups: s.box.Backups != nil, Recovery: s.box.Recovery != nil}
	if d.Updates {
		d.RolledBack, d.Why = s.box.Updates.RolledBack()
	}
	if d.Recovery {
		d.Made, d.Noted = s.box.Recovery.State()
	}
	return d, nil
}

// program lets programs through that show that they act for an owner: at the machine, by a paired device's certificate, or by
// the session of a page, with its token.
func (s *Server) program(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ses, by := s.who(r, false)
		switch {
		case ses != nil:
			if r.Method != http.MethodGet && !same(ses.token, r.Header.Get("X-Postern-Token")) {
				Answer(w, errToken.status, Problem(errToken.text))
				return
			}
		case by.User == "":
			certified, ok := s.byCertificate(r)
			if !ok {
				Answer(w, http.StatusUnauthorized, Problem("sign in, or show the certificate of a device that may administer the box"))
				return
			}
			by = certified
			r = r.WithContext(context.WithValue(r.Context(), certifiedKey{}, true))
		}
		h(w, r.WithContext(as(r.Context(), by)))
	}
}

// certified lets programs through that show the certificate of a device that administers the box. A session does not count:
// no page has anything to do here, and a browser that shows a certificate of its own accord sends no JSON unasked.
func (s *Server) certified(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		by, ok := s.byCertificate(r)
		switch t, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); {
		case !ok && shown(r) == nil:
			Answer(w, http.StatusUnauthorized, Problem("show the certificate of a device that may administer the box"))
		case !ok:
			s.cfg.Signed(Actor{Device: nameOf(shown(r)), From: address(r.RemoteAddr)}, false)
			Answer(w, http.StatusForbidden, Problem("this device may not administer the box; an owner allows it on the page, under Devices, or there with postern device promote"))
		case t != "application/json":
			Answer(w, http.StatusUnsupportedMediaType, Problem("application/json is wanted"))
		default:
			h.ServeHTTP(w, r.WithContext(as(r.Context(), by)))
		}
	})
}

// programs are what the API has beside changes.
func (s *Server) programs() {
	m := s.mux
	get := func(path string, have bool, data func(r *http.Request) (any, error)) {
		if !have {
			return
		}
		m.HandleFunc("GET /api/"+path, s.program(func(w http.ResponseWriter, r *http.Request) {
			d, err := data(r)
			if err != nil {
				Answer(w, statusOf(err), Problem(err.Error()))
				return
			}
			Answer(w, http.StatusOK, d)
		}))
	}
	part := func(path string, have bool, of func(ui.State) any) {
		get(path, have, func(r *http.Request) (any, error) {
			st, err := s.state(r.Context())
			return of(st), err
		})
	}
	part("status", true, func(st ui.State) any { return st })
	part("shares", s.box.Shares != nil, func(st ui.State) any { return list(st.Shares) })
	part("users", s.box.Users != nil, func(st ui.State) any { return list(st.Users) })
	part("devices", s.box.Devices != nil, func(st ui.State) any { return list(st.Devices) })
	part("pairing", s.box.Devices != nil, func(st ui.State) any { return st.Pairing })
	part("certificates", s.box.Certificates != nil, func(st ui.State) any { return list(st.Certificates) })
	get("crash", true, func(r *http.Request) (any, error) {
		st, err := s.state(r.Context())
		if st.Crash == nil {
			return nil, err
		}
		return struct {
			Found time.Time `json:"found"`
			Text  string    `json:"text"`
		}{st.Crash.Found, st.Crash.Text}, err
	})
	get("settings", s.box.Settings != nil, func(r *http.Request) (any, error) { return s.box.Settings.Settings(r.Context()) })
	get("logs", s.box.Logs != nil, func(*http.Request) (any, error) { return list(s.box.Logs.Lines()), nil })
	get("audit", s.box.Journal != nil, func(r *http.Request) (any, error) {
		q, err := search(r.URL.Query(), time.UTC)
		if err != nil {
			return nil, err
		}
		entries, _, err := s.box.Journal.Search(r.Context(), q, 1000)
		return list(entries), err
	})
	m.HandleFunc("/api/", func(w http.ResponseWriter, _ *http.Request) { Answer(w, errGone.status, Problem(errGone.text)) })
}

// list is never null.
func list[T any](l []T) []T { return append([]T{}, l...) }

func (s *Server) carryOutAPI(w http.ResponseWriter, r *http.Request, c change) {
	v, err := readJSON(w, r)
	if err != nil {
		Answer(w, statusOf(err), Problem(err.Error()))
		return
	}
	for _, name := range []string{"name", "id"} {
		if in := r.PathValue(name); in != "" {
			v.Set(name, in)
		}
	}
	done, err := c.do(s, r.Context(), v)
	if err != nil {
		Answer(w, statusOf(err), Problem(err.Error()))
		return
	}
	s.log.Info("done over the API", "what", c.api, "by", By(r.Context()).User)
	out := map[string]any{"ok": true}
	if done.notice != "" {
		out["text"] = words.say(done.notice, done.about...)
	}
	if done.data != nil {
		out["data"] = done.data
	}
	Answer(w, http.StatusOK, out)
}

// Problem is how a program is told what went wrong.
func Problem(text string) any { return map[string]string{"error": text} }

// Answer answers a program with v as JSON.
func Answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	_ = e.Encode(v) // whoever asked has gone
}
