package web

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/postern-nas/postern/ui"
)

//go:embed pages/*.html static/* words/en.txt
var embedded embed.FS

// words are what the page says. Another language is another file.
var words = readWords("words/en.txt")

// A wording is a text for each key. Each %s stands for what it is about.
type wording map[string]string

func readWords(name string) wording {
	text, err := embedded.ReadFile(name)
	if err != nil {
		panic(err) // it is in the binary, or the binary was not built
	}
	w := make(wording)
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if key, text, ok := strings.Cut(line, " = "); ok && !strings.HasPrefix(line, "#") {
			w[key] = text
		}
	}
	return w
}

// say returns the text of a key. A key without one stands for itself, and a test finds it.
func (w wording) say(key string, about ...any) string {
	text, ok := w[key]
	if !ok {
		return key
	}
	if len(about) == 0 {
		return text
	}
	return fmt.Sprintf(text, about...)
}

// A view is what a template shows.
type view struct {
	Page    string
	Menu    []string // pages
	Token   string
	User    string
	State   ui.State
	Notice  string
	Secret  string
	Undo    bool
	Problem string
	Form    url.Values // what was posted, when it was refused
	Data    any
	Can     map[string]bool
}

// Old is what a field of a form held when it was refused, or else what stands there.
func (v *view) Old(form, key, now string) string {
	if v.Form != nil && v.Form.Get("form") == form && v.Form.Has(key) {
		return v.Form.Get(key)
	}
	return now
}

// OldOf is Old for one of several things with the same form, by its name.
func (v *view) OldOf(form, name, key, now string) string {
	if v.Refused(form, name) {
		return v.Old(form, key, now)
	}
	return now
}

// Refused reports whether it was this form that was refused, for the thing with this name.
func (v *view) Refused(form, name string) bool {
	return v.Form != nil && v.Form.Get("form") == form && (name == "" || v.Form.Get("name") == name)
}

var functions = template.FuncMap{
	"t":     words.say,
	"size":  ui.Size,
	"used":  func(s ui.Share) int64 { return max(0, s.Total-s.Free) },
	"when":  when,
	"rfc":   func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
	"hex":   grouped,
	"code":  code,
	"may":   may,
	"mine":  func(a, b string) bool { return strings.EqualFold(a, b) },
	"dict":  dict,
	"isSet": func(v string) bool { return v == "true" },
	"has":   func(list []string, v string) bool { return slices.Contains(list, v) },
	"known": func(key string) bool { return words[key] != "" },
}

// shared are no pages, but parts of several.
var shared = []string{"pages/frame.html", "pages/systems.html"}

// templates has one set for each page: what it shows, in the frame that is around all of them.
var templates = parseTemplates()

func parseTemplates() map[string]*template.Template {
	frame := template.Must(template.New("frame").Funcs(functions).ParseFS(embedded, shared...))
	all := make(map[string]*template.Template)
	names, err := fs.Glob(embedded, "pages/*.html")
	if err != nil {
		panic(err)
	}
	for _, name := range names {
		if !slices.Contains(shared, name) {
			base := strings.TrimSuffix(path.Base(name), ".html")
			all[base] = template.Must(template.Must(frame.Clone()).ParseFS(embedded, name))
		}
	}
	return all
}

// render writes a page whole, or an error.
func (s *Server) render(w http.ResponseWriter, name string, status int, v *view) {
	var b bytes.Buffer
	if err := templates[name].ExecuteTemplate(&b, "frame", v); err != nil {
		s.log.Error("a page could not be made", "page", name, "error", err)
		http.Error(w, "This page could not be made. The log says why.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // whoever asked has gone
}

// view is what every page of an owner has.
func (s *Server) view(r *http.Request, ses *session, name string) (*view, error) {
	st, err := s.state(r.Context())
	v := &view{Page: name, Token: ses.token, User: ses.user, State: st, Can: make(map[string]bool)}
	for _, p := range pages {
		if p.have(&s.box) {
			v.Menu = append(v.Menu, p.name)
			v.Can[p.name] = true
		}
	}
	return v, err
}

// show shows an owner a page, after what went wrong if anything did.
func (s *Server) show(w http.ResponseWriter, r *http.Request, ses *session, name string, status int, wrong error, form url.Values) {
	v, err := s.view(r, ses, name)
	for _, p := range pages {
		if p.name == name && p.data != nil && err == nil {
			v.Data, err = p.data(s, r)
		}
	}
	if err != nil && wrong == nil {
		wrong = err
	}
	v.Form = form
	if wrong != nil {
		v.Problem = sentence(wrong.Error())
	} else {
		v.Notice, v.Secret, v.Undo = ses.said()
	}
	s.render(w, name, status, v)
}

// ask shows a form to who has not signed in.
func (s *Server) ask(w http.ResponseWriter, r *http.Request, name string, status int, wrong error, form url.Values) {
	v := &view{Page: name, Token: s.sessions.forms(w, r), Form: form}
	if v.Form == nil {
		v.Form = make(url.Values)
	}
	if wrong != nil {
		v.Problem = sentence(wrong.Error())
	}
	s.render(w, name, status, v)
}

// sentence makes one of an error's text.
func sentence(text string) string {
	for i, r := range text {
		if i == 0 {
			text = strings.ToUpper(string(r)) + text[len(string(r)):]
			break
		}
	}
	if text != "" && !strings.ContainsAny(text[len(text)-1:], ".!?") {
		text += "."
	}
	return text
}

var types = map[string]string{
	".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml",
}

func (s *Server) static(w http.ResponseWriter, r *http.Request) {
	file := path.Base(r.PathValue("file"))
	b, err := embedded.ReadFile("static/" + file)
	if err != nil {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", types[path.Ext(file)])
	w.Header().Set("Cache-Control", "private, max-age=300")
	_, _ = w.Write(b)
}

// when writes a time in UTC; where JavaScript runs, the browser's own way takes its place.
func when(t time.Time) string {
	if t.IsZero() {
		return words.say("never")
	}
	return t.UTC().Format("2006-01-02 15:04 UTC")
}

// grouped breaks a fingerprint into groups that can be compared by eye.
func grouped(s string) string { return spaced(s, 4) }

func spaced(s string, n int) string {
	if n <= 0 || len(s) <= n {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i += n {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(s[i:min(i+n, len(s))])
	}
	return b.String()
}

// code puts a space into the middle of digits, as people read them out.
func code(c string) string {
	if strings.Contains(c, " ") {
		return c
	}
	return spaced(c, (len(c)+1)/2)
}

// may is what a user may do in a share.
func may(s ui.Share, user string) string {
	listed := func(list []string) bool {
		return slices.ContainsFunc(list, func(n string) bool { return strings.EqualFold(n, user) })
	}
	switch {
	case !s.Restricted, listed(s.Write):
		return "write"
	case listed(s.Read):
		return "read"
	}
	return "none"
}

// zoneOf is the owner's time zone; UTC if none was chosen.
func zoneOf(s ui.State) *time.Location {
	if l, err := time.LoadLocation(s.Zone); err == nil && s.Zone != "" {
		return l
	}
	return time.UTC
}

// dict hands several values to a template.
func dict(pairs ...any) (map[string]any, error) {
	if len(pairs)%2 != 0 {
		return nil, fmt.Errorf("dict of %d", len(pairs))
	}
	m := make(map[string]any)
	for i := 0; i < len(pairs); i += 2 {
		key, ok := pairs[i].(string)
		if !ok {
			return nil, fmt.Errorf("dict: %v is no key", pairs[i])
		}
		m[key] = pairs[i+1]
	}
	return m, nil
}
