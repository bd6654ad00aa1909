package web

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/base64"
	"net/http"
	"sync"
	"time"
)

// Sessions are kept in memory: a restart signs everybody out.
const (
	cookieName  = "__Host-postern"
	formCookie  = "__Host-postern-form"
	idleFor     = 30 * time.Minute // without a request
	lastsFor    = 12 * time.Hour
	maxSessions = 64
	undoFor     = 10 * time.Minute
)

// A session is one browser that has signed in, or that does the first setup.
type session struct {
	key         [32]byte          // of the table: the SHA-256 of the cookie
	token       string            // against forged requests
	user        string            // "" during the first setup
	mark        string            // see Owners.Stands
	certificate *x509.Certificate // by which the user is known; nil: by the password
	began       time.Time
	ctx         context.Context // ends with the session
	end         context.CancelFunc

	mu     sync.Mutex
	used   time.Time
	notice string // shown once
	secret string // shown once, and only then: a recovery code
	undo   func(context.Context) error
	until  time.Time // of undo
	plan   Plan      // of the first setup
	step   Step
	work   *work // what the setup does now, or has done and nobody has seen; nil: nothing
	live   int   // event streams
}

// A table holds the sessions.
type table struct {
	secret [32]byte // of tokens

	mu   sync.Mutex
	list map[[32]byte]*session
}

func newTable() *table {
	t := &table{list: make(map[[32]byte]*session)}
	rand.Read(t.secret[:])
	return t
}

// token is what a form must bring along that was made for a browser with this cookie.
func (t *table) token(cookie string) string {
	m := hmac.New(sha256.New, t.secret[:])
	m.Write([]byte(cookie))
	return base64.RawURLEncoding.EncodeToString(m.Sum(nil))
}

// begin makes a session and its cookie. When there are too many, the one that was not used for longest ends.
func (t *table) begin(w http.ResponseWriter, user, mark string, by *x509.Certificate) *session {
	value := newSecret()
	now := time.Now()
	s := &session{key: sha256.Sum256([]byte(value)), token: t.token(value), user: user, mark: mark, certificate: by, began: now, used: now}
	s.ctx, s.end = context.WithCancel(context.Background())
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(t.list) >= maxSessions {
		var oldest *session
		for _, o := range t.list {
			if oldest == nil || o.lastUse().Before(oldest.lastUse()) {
				oldest = o
			}
		}
		t.drop(oldest)
	}
	t.list[s.key] = s
	setCookie(w, cookieName, value, 0)
	return s
}

func (s *session) lastUse() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.used
}

// find returns the session of a request. What only watches does not keep it alive.
func (t *table) find(r *http.Request, watches bool) *session {
	c, err := r.Cookie(cookieName)
	if err != nil {
		return nil
	}
	key, now := sha256.Sum256([]byte(c.Value)), time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.list[key]
	if s == nil {
		return nil
	}
	if now.Sub(s.began) > lastsFor || now.Sub(s.lastUse()) > idleFor {
		t.drop(s)
		return nil
	}
	if !watches {
		s.mu.Lock()
		s.used = now
		s.mu.Unlock()
	}
	return s
}

// finish ends sessions.
func (t *table) finish(which func(*session) bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range t.list {
		if which(s) {
			t.drop(s)
		}
	}
}

// drop is called with t.mu held.
func (t *table) drop(s *session) {
	s.end()
	delete(t.list, s.key)
}

// forms returns the token for the forms of a browser without a session, and gives it a cookie for them if it has none. It is
// not the session's: a browser that followed a link from another site keeps that one to itself (SameSite), and must not lose it.
func (t *table) forms(w http.ResponseWriter, r *http.Request) string {
	if c, err := r.Cookie(formCookie); err == nil && len(c.Value) == len(newSecret()) {
		return t.token(c.Value)
	}
	value := newSecret()
	setCookie(w, formCookie, value, 0)
	return t.token(value)
}

// genuine reports whether a token belongs to the forms' cookie that came with it.
func (t *table) genuine(r *http.Request, token string) bool {
	c, err := r.Cookie(formCookie)
	return err == nil && c.Value != "" && same(t.token(c.Value), token)
}

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

func newSecret() string {
	var b [32]byte
	rand.Read(b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// setCookie sets a cookie that goes back to us alone, and takes it away if age is negative.
func setCookie(w http.ResponseWriter, name, value string, age int) {
	http.SetCookie(w, &http.Cookie{
		Name: name, Value: value, Path: "/", MaxAge: age, Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode,
	})
}

func (s *session) say(notice string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.notice = notice
}

// said hands out what is shown once, and whether there is something to undo.
func (s *session) said() (notice, secret string, undo bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	notice, secret = s.notice, s.secret
	s.notice, s.secret = "", ""
	return notice, secret, notice != "" && s.undo != nil && time.Now().Before(s.until)
}

// offer keeps what undoes the last change.
func (s *session) offer(undo func(context.Context) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.undo, s.until = undo, time.Now().Add(undoFor)
}

// takeUndo hands out what undoes the last change, once.
func (s *session) takeUndo() func(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	undo := s.undo
	if time.Now().After(s.until) {
		undo = nil
	}
	s.undo = nil
	return undo
}
