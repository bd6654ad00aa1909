package web

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/postern-nas/postern/ui"
)

// A change is one thing that an owner can have done: by a form of a page and by the JSON API alike.
type change struct {
	form string // where the form is posted to
	api  string // method and path of the API
	page string // that the form is on
	have func(*Box) bool
	do   func(s *Server, ctx context.Context, v url.Values) (result, error)
}

// A result is what came of a change.
type result struct {
	notice string                      // a word, see words
	about  []any                       // what the notice speaks of
	undo   func(context.Context) error // nil: it cannot be undone
	secret string                      // to be shown once
	data   any                         // for the API; nil: nothing
	page   string                      // to show afterwards, if not the form's
	ends   bool                        // the owner's own session with it
}

// always is for what every box has.
func always(*Box) bool { return true }

func haveShares(b *Box) bool       { return b.Shares != nil }
func haveUsers(b *Box) bool        { return b.Users != nil }
func haveDevices(b *Box) bool      { return b.Devices != nil }
func haveCertificates(b *Box) bool { return b.Certificates != nil }
func haveSettings(b *Box) bool     { return b.Settings != nil }
func haveRecovery(b *Box) bool     { return b.Recovery != nil }

// changes are all of them. What needs a file to come or go is in files.go.
var changes = []change{
	{"/shares/add", "POST /api/shares", "shares", haveShares, addShare},
	{"/shares/set", "PUT /api/shares/{name}", "shares", haveShares, setShare},
	{"/shares/remove", "DELETE /api/shares/{name}", "shares", haveShares, removeShare},
	{"/users/add", "POST /api/users", "users", haveUsers, addUser},
	{"/users/password", "POST /api/users/{name}/password", "users", haveUsers, setPassword},
	{"/users/set", "PUT /api/users/{name}", "users", haveUsers, setUser},
	{"/users/remove", "DELETE /api/users/{name}", "users", haveUsers, removeUser},
	{"/devices/pair", "POST /api/pairing", "devices", haveDevices, startPairing},
	{"/devices/stop", "DELETE /api/pairing/{id}", "devices", haveDevices, stopPairing},
	{"/devices/answer", "POST /api/pairing/{id}/answer", "devices", haveDevices, answerPairing},
	{"/devices/revoke", "DELETE /api/devices/{id}", "devices", haveDevices, revoke},
	{"/devices/administer", "PUT /api/devices/{id}", "devices", haveDevices, administer},
	{"/devices/revoke-all", "POST /api/devices/revoke-all", "devices", haveDevices, revokeAll},
	{"/certificates/renew", "POST /api/certificates/renew", "certificates", haveCertificates, renew},
	{"/certificates/own", "POST /api/certificates/own", "certificates", haveCertificates, useOwn},
	{"/certificates/install", "POST /api/certificates", "certificates", haveCertificates, install},
	{"/settings/set", "PUT /api/settings", "settings", haveSettings, setSettings},
	{"/system/recovery", "POST /api/recovery", "system", haveRecovery, newRecoveryCode},
	{"/system/noted", "POST /api/recovery/noted", "system", haveRecovery, noted},
	{"/system/restart", "POST /api/restart", "system", always, restart},
	{"/system/shutdown", "POST /api/shutdown", "system", always, shutdown},
	{"/system/reset", "POST /api/factory-reset", "system", always, factoryReset},
}

// on says whether a box was ticked, or a value is true.
func on(v url.Values, key string) bool {
	switch strings.ToLower(v.Get(key)) {
	case "on", "true", "1", "yes":
		return true
	}
	return false
}

// shareOf reads a share. A page says for each user what that one may do, under "may.NAME"; a program has lists.
func shareOf(v url.Values) ui.Share {
	s := ui.Share{
		Name: strings.TrimSpace(v.Get("name")), Path: strings.TrimSpace(v.Get("path")), Comment: strings.TrimSpace(v.Get("comment")),
		ReadOnly: on(v, "read_only"), Encrypt: on(v, "encrypt"), Hidden: on(v, "hidden"), Restricted: on(v, "restricted"),
	}
	if !s.Restricted {
		return s
	}
	s.Read, s.Write = slices.Clone(v["read"]), slices.Clone(v["write"])
	for key, may := range v {
		if name, ok := strings.CutPrefix(key, "may."); ok && len(may) > 0 {
			switch may[0] {
			case "read":
				s.Read = append(s.Read, name)
			case "write":
				s.Write = append(s.Write, name)
			}
		}
	}
	slices.Sort(s.Read)
	slices.Sort(s.Write)
	return s
}

// present is a share as it is now.
func (s *Server) present(ctx context.Context, name string) (ui.Share, error) {
	st, err := s.state(ctx)
	if err != nil {
		return ui.Share{}, err
	}
	for _, sh := range st.Shares {
		if strings.EqualFold(sh.Name, name) {
			return sh, nil
		}
	}
	return ui.Share{}, errors.New("there is no share " + name + " any more; look at the list again")
}

func addShare(s *Server, ctx context.Context, v url.Values) (result, error) {
	sh := shareOf(v)
	if err := s.box.Shares.AddShare(ctx, sh); err != nil {
		return result{}, err
	}
	return result{
		notice: "share.added", about: []any{sh.Name},
		undo: func(ctx context.Context) error { return s.box.Shares.RemoveShare(ctx, sh.Name) },
	}, nil
}

func setShare(s *Server, ctx context.Context, v url.Values) (result, error) {
	old, err := s.present(ctx, v.Get("name"))
	if err != nil {
		return result{}, err
	}
	sh := shareOf(v)
	sh.Name, sh.Path = old.Name, old.Path
	if err := s.box.Shares.SetShare(ctx, sh); err != nil {
		return result{}, err
	}
	return result{
		notice: "share.changed", about: []any{sh.Name},
		undo: func(ctx context.Context) error { return s.box.Shares.SetShare(ctx, old) },
	}, nil
}

func removeShare(s *Server, ctx context.Context, v url.Values) (result, error) {
	old, err := s.present(ctx, v.Get("name"))
	if err != nil {
		return result{}, err
	}
	if err := s.box.Shares.RemoveShare(ctx, old.Name); err != nil {
		return result{}, err
	}
	return result{
		notice: "share.removed", about: []any{old.Name},
		undo: func(ctx context.Context) error { return s.box.Shares.AddShare(ctx, old) },
	}, nil
}

func addUser(s *Server, ctx context.Context, v url.Values) (result, error) {
	name := strings.TrimSpace(v.Get("name"))
	if err := s.box.Users.AddUser(ctx, name, v.Get("password")); err != nil {
		return result{}, err
	}
	return result{
		notice: "user.added", about: []any{name},
		undo: func(ctx context.Context) error { return s.box.Users.RemoveUser(ctx, name) },
	}, nil
}

func setPassword(s *Server, ctx context.Context, v url.Values) (result, error) {
	name := v.Get("name")
	if err := s.box.Users.SetPassword(ctx, name, v.Get("password")); err != nil {
		return result{}, err
	}
	// Stands ends the sessions that were begun with the one before.
	return result{notice: "user.password", about: []any{name}, ends: strings.EqualFold(name, By(ctx).User)}, nil
}

func setUser(s *Server, ctx context.Context, v url.Values) (result, error) {
	name := v.Get("name")
	for _, may := range []struct {
		key string
		set func(context.Context, string, bool) error
	}{{"disabled", s.box.Users.SetDisabled}, {"owner", s.box.Users.SetOwner}, {"admin", s.box.Users.SetAdmin}} {
		if !v.Has(may.key) {
			continue
		}
		want := on(v, may.key)
		if err := may.set(ctx, name, want); err != nil {
			return result{}, err
		}
		if may.key == "disabled" {
			r := result{about: []any{name}, notice: "user.enabled", undo: func(ctx context.Context) error { return may.set(ctx, name, !want) }}
			if want {
				r.notice = "user.disabled"
			}
			return r, nil
		}
	}
	return result{notice: "user.changed", about: []any{name}}, nil
}

func removeUser(s *Server, ctx context.Context, v url.Values) (result, error) {
	name := v.Get("name")
	if strings.EqualFold(name, By(ctx).User) {
		return result{}, errors.New("this is the user that you are signed in as; another owner can remove it")
	}
	return result{notice: "user.removed", about: []any{name}}, s.box.Users.RemoveUser(ctx, name)
}

func startPairing(s *Server, ctx context.Context, v url.Values) (result, error) {
	return result{}, s.box.Devices.Pair(ctx, v.Get("user"))
}

func stopPairing(s *Server, ctx context.Context, v url.Values) (result, error) {
	return result{notice: "pairing.stopped"}, s.box.Control.StopPairing(ctx, v.Get("id"))
}

func answerPairing(s *Server, ctx context.Context, v url.Values) (result, error) {
	accept := on(v, "accept")
	r := result{notice: "pairing.refused"}
	if accept {
		r.notice = "pairing.accepted"
	}
	return r, s.box.Control.AnswerPairing(ctx, v.Get("id"), accept)
}

func revoke(s *Server, ctx context.Context, v url.Values) (result, error) {
	return result{notice: "device.revoked"}, s.box.Devices.Revoke(ctx, v.Get("id"))
}

func administer(s *Server, ctx context.Context, v url.Values) (result, error) {
	may := on(v, "administer")
	if may { // who has an open page for a moment must not get in for good
		if err := s.again(ctx, v); err != nil {
			return result{}, err
		}
		return result{notice: "device.promoted"}, s.box.Devices.Administer(ctx, v.Get("id"), true)
	}
	return result{notice: "device.demoted"}, s.box.Devices.Administer(ctx, v.Get("id"), false)
}

func revokeAll(s *Server, ctx context.Context, _ url.Values) (result, error) {
	return result{notice: "device.allRevoked"}, s.box.Control.RevokeAll(ctx)
}

func renew(s *Server, ctx context.Context, _ url.Values) (result, error) {
	return result{notice: "cert.renewed"}, s.box.Certificates.Renew(ctx)
}

func useOwn(s *Server, ctx context.Context, _ url.Values) (result, error) {
	return result{notice: "cert.own"}, s.box.Certificates.UseOwn(ctx)
}

func install(s *Server, ctx context.Context, v url.Values) (result, error) {
	var key []byte
	if k := strings.TrimSpace(v.Get("key")); k != "" {
		key = []byte(k + "\n")
	}
	return result{notice: "cert.installed"}, s.box.Certificates.Install(ctx, []byte(v.Get("chain")), key)
}

func setSettings(s *Server, ctx context.Context, v url.Values) (result, error) {
	all, err := s.box.Settings.Settings(ctx)
	if err != nil {
		return result{}, err
	}
	want := make(map[string]string)
	for _, set := range all {
		switch {
		case set.Kind == KindSwitch && (v.Has(set.Key) || v.Has("had."+set.Key)):
			want[set.Key] = "false" // a box that is not ticked is not sent
			if on(v, set.Key) {
				want[set.Key] = "true"
			}
		case v.Has(set.Key):
			want[set.Key] = strings.TrimSpace(v.Get(set.Key))
		}
		if want[set.Key] == set.Value {
			delete(want, set.Key)
		}
	}
	if len(want) == 0 {
		return result{notice: "set.same"}, nil
	}
	again, err := s.box.Settings.Set(ctx, want)
	r := result{notice: "set.saved"}
	if again {
		r.notice = "set.restart"
	}
	r.data = map[string]bool{"restart": again}
	return r, err
}

func newRecoveryCode(s *Server, ctx context.Context, v url.Values) (result, error) {
	if err := s.again(ctx, v); err != nil {
		return result{}, err
	}
	code, err := s.box.Recovery.NewCode(ctx)
	return result{notice: "recovery.made", secret: code, data: map[string]string{"code": code}}, err
}

func noted(s *Server, ctx context.Context, _ url.Values) (result, error) {
	return result{notice: "recovery.done"}, s.box.Recovery.Noted(ctx)
}

func restart(s *Server, ctx context.Context, _ url.Values) (result, error) {
	return result{notice: "system.restarting", page: s.restarting("")}, s.box.Control.Restart(ctx)
}

func shutdown(s *Server, ctx context.Context, _ url.Values) (result, error) {
	return result{notice: "system.off", page: "/off"}, s.box.Control.Shutdown(ctx)
}

func factoryReset(s *Server, ctx context.Context, v url.Values) (result, error) {
	if err := s.again(ctx, v); err != nil {
		return result{}, err
	}
	return result{notice: "system.restarting", page: s.restarting("")}, s.box.Control.FactoryReset(ctx)
}

// again asks for the owner's password once more, before what cannot be taken back. Who is at the machine, or has shown a
// certificate, has none to show.
func (s *Server) again(ctx context.Context, v url.Values) error {
	by := By(ctx)
	if by.User == "local" || ctx.Value(certifiedKey{}) != nil {
		return nil
	}
	if wait := s.limit.try(by.From); wait > 0 {
		return errors.New("too many wrong passwords; try again in " + waitText(wait))
	}
	if _, ok := s.box.Owners.SignIn(by.User, v.Get("again")); !ok {
		return errors.New("this is not your password; nothing was done")
	}
	s.limit.right(by.From)
	return nil
}

type certifiedKey struct{}

var errGone = &statusError{http.StatusNotFound, "this box does not have that"}

// A statusError is an error with an HTTP status of its own.
type statusError struct {
	status int
	text   string
}

func (e *statusError) Error() string { return e.text }

// statusOf is how HTTP says that an error came of a request.
func statusOf(err error) int {
	var s *statusError
	if errors.As(err, &s) {
		return s.status
	}
	return http.StatusUnprocessableEntity
}
