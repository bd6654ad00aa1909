package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/postern-nas/postern/firmware/account"
	"github.com/postern-nas/postern/firmware/cert"
	"github.com/postern-nas/postern/firmware/config"
	"github.com/postern-nas/postern/firmware/keys"
	"github.com/postern-nas/postern/smb/auth"
	"github.com/postern-nas/postern/ui"
	"github.com/postern-nas/postern/ui/web"
)

// A userRow is a user as `postern user list` tells.
type userRow struct {
	Name          string `json:"name"`
	SID           string `json:"sid"`
	Disabled      bool   `json:"disabled"`
	Administrator bool   `json:"administrator"`
	Owner         bool   `json:"owner"`
	NoPassword    bool   `json:"needs_password"`
}

func userRows(users []account.User) []userRow {
	list := make([]userRow, len(users))
	for i, u := range users {
		list[i] = userRow{u.Name, u.SID.String(), u.Disabled, u.Admin, u.Owner, !u.HasPassword}
	}
	return list
}

// changeUser is one change of a user, at a running server and without one.
func changeUser(ctx context.Context, u web.Users, verb, name, password string) error {
	switch verb {
	case "add":
		return u.AddUser(ctx, name, password)
	case "password":
		return u.SetPassword(ctx, name, password)
	case "disable", "enable":
		return u.SetDisabled(ctx, name, verb == "disable")
	case "own", "disown":
		return u.SetOwner(ctx, name, verb == "own")
	case "promote", "demote":
		return u.SetAdmin(ctx, name, verb == "promote")
	case "remove":
		return u.RemoveUser(ctx, name)
	}
	return fmt.Errorf("there is no change of users called %q", verb)
}

// userVerbs are changeUser's.
var userVerbs = []string{"add", "password", "disable", "enable", "promote", "demote", "own", "disown", "remove"}

// quietUsers are the users of a server that does not run.
type quietUsers struct{ *account.Store }

func (q quietUsers) AddUser(_ context.Context, name, password string) error {
	_, err := q.Add(name, password)
	return err
}

func (q quietUsers) SetPassword(_ context.Context, name, password string) error {
	return q.Store.SetPassword(name, password)
}

func (q quietUsers) SetDisabled(_ context.Context, name string, on bool) error {
	return q.Store.SetDisabled(name, on)
}

func (q quietUsers) SetOwner(_ context.Context, name string, on bool) error {
	return q.Store.SetOwner(name, on)
}

func (q quietUsers) SetAdmin(_ context.Context, name string, on bool) error {
	return q.Store.SetAdmin(name, on)
}

func (q quietUsers) RemoveUser(_ context.Context, name string) error { return q.Remove(name) }

func (c *control) userCommands(on func(string, answerer)) {
	on("/user/list", func(context.Context, ask) (any, error) { return userRows(c.users.Users()), nil })
	for _, verb := range userVerbs {
		on("/user/"+verb, func(ctx context.Context, a ask) (any, error) {
			return done(changeUser(ctx, c.house, verb, a.User, a.Password))
		})
	}
	on("/user/close", func(_ context.Context, a ask) (any, error) {
		if !c.isUser(a.User) {
			return nil, fmt.Errorf("there is no user %q", a.User)
		}
		c.server.EndSessions(func(id *auth.Identity) bool { return strings.EqualFold(id.User, a.User) })
		return done(nil)
	})
}

func (c *control) isUser(name string) bool {
	return slices.ContainsFunc(c.users.Users(), func(u account.User) bool { return strings.EqualFold(u.Name, name) })
}

// A shareChange is what a command says of a share. What is nil stays as it is.
type shareChange struct {
	Name       string    `json:"name"`
	Path       string    `json:"path,omitempty"` // of a new one
	Comment    *string   `json:"comment,omitempty"`
	ReadOnly   *bool     `json:"read_only,omitempty"`
	Encrypt    *bool     `json:"encrypt,omitempty"`
	Hidden     *bool     `json:"hidden,omitempty"`
	Restricted *bool     `json:"restricted,omitempty"`
	Read       *[]string `json:"read,omitempty"`
	Write      *[]string `json:"write,omitempty"`
}

func put[T any](to *T, from *T) {
	if from != nil {
		*to = *from
	}
}

// of is a share with the change.
func (s *shareChange) of(old ui.Share) ui.Share {
	put(&old.Comment, s.Comment)
	put(&old.ReadOnly, s.ReadOnly)
	put(&old.Encrypt, s.Encrypt)
	put(&old.Hidden, s.Hidden)
	put(&old.Restricted, s.Restricted)
	if !old.Restricted {
		old.Read, old.Write = nil, nil
	}
	put(&old.Read, s.Read)
	put(&old.Write, s.Write)
	return old
}

// shareOf is a share as it is served now.
func shareOf(sh config.Share) ui.Share {
	read, write := sh.Lists()
	return ui.Share{
		Name: sh.Name, Path: sh.Path, Comment: sh.Comment, ReadOnly: sh.ReadOnly, Encrypt: sh.Encrypt, Hidden: sh.Hidden,
		Restricted: sh.Restricted(), Read: read, Write: write,
	}
}

// A shareRow is a share as `postern share list` tells.
type shareRow struct {
	Name       string   `json:"name"`
	Path       string   `json:"path"`
	Comment    string   `json:"comment"`
	ReadOnly   bool     `json:"read_only"`
	Encrypt    bool     `json:"encrypt"`
	Hidden     bool     `json:"hidden"`
	Restricted bool     `json:"restricted"`
	Read       []string `json:"read"`
	Write      []string `json:"write"`
}

func shareRows(shares []config.Share) []shareRow {
	list := make([]shareRow, len(shares))
	for i, sh := range shares {
		s := shareOf(sh)
		list[i] = shareRow{s.Name, s.Path, s.Comment, s.ReadOnly, s.Encrypt, s.Hidden, s.Restricted, append([]string{}, s.Read...), append([]string{}, s.Write...)}
	}
	return list
}

func (c *control) shareCommands(on func(string, answerer)) {
	on("/share/list", func(context.Context, ask) (any, error) { return shareRows(c.house.w.shares.list()), nil })
	changed := func(do func(context.Context, ui.Share) error, old func(name string) (ui.Share, error)) answerer {
		return func(ctx context.Context, a ask) (any, error) {
			if a.Share == nil {
				return nil, errors.New("which share?")
			}
			before, err := old(a.Share.Name)
			if err != nil {
				return nil, err
			}
			for _, list := range []*[]string{a.Share.Read, a.Share.Write} {
				for _, name := range deref(list) {
					if !c.isUser(name) {
						return nil, fmt.Errorf("there is no user %q", name)
					}
				}
			}
			return done(do(ctx, a.Share.of(before)))
		}
	}
	on("/share/add", func(ctx context.Context, a ask) (any, error) {
		return changed(c.house.AddShare, func(name string) (ui.Share, error) { return ui.Share{Name: name, Path: a.Share.Path}, nil })(ctx, a)
	})
	on("/share/set", changed(c.house.SetShare, func(name string) (ui.Share, error) {
		sh, there := c.house.w.shares.lookup(name)
		if !there {
			return ui.Share{}, fmt.Errorf("there is no share %q", name)
		}
		return shareOf(sh), nil
	}))
	on("/share/remove", func(ctx context.Context, a ask) (any, error) { return done(c.house.RemoveShare(ctx, a.ID)) })
	on("/share/close", func(ctx context.Context, a ask) (any, error) { return done(c.house.closeShare(ctx, a.ID)) })
}

func deref[T any](p *[]T) []T {
	if p == nil {
		return nil
	}
	return *p
}

// A madeRequest is a request for a certificate, whose key stays on the box.
type madeRequest struct {
	ID  string `json:"id"`
	PEM string `json:"pem"`
}

// A takenCertificate is one that was taken in.
type takenCertificate struct {
	ID     string   `json:"id"`
	Serves []string `json:"serves"`
	Sealed bool     `json:"sealed"` // its key, in the box
}

func (c *control) certCommands(on func(string, answerer)) {
	on("/cert/show", func(context.Context, ask) (any, error) { return shownCertificates(c.dir) })
	on("/cert/list", func(context.Context, ask) (any, error) {
		return certificateList(c.dir, c.house.w.cfg.CertificateFile, c.certs.certs.names, time.Now())
	})
	on("/cert/csr", func(_ context.Context, a ask) (any, error) { return newRequest(c.certs.ring, a.Names) })
	on("/cert/import", func(ctx context.Context, a ask) (any, error) {
		taken, err := takeCertificate(c.certs.certs, c.dir, c.certs.ring, a.Chain, a.Key)
		if err != nil {
			return nil, err
		}
		return taken, c.certs.done(ctx, fmt.Sprintf("%s for %s", taken.ID, strings.Join(taken.Serves, ", ")))
	})
	on("/cert/remove", func(ctx context.Context, a ask) (any, error) {
		if err := cert.Remove(c.dir, a.ID, c.certs.ring); err != nil {
			return nil, err
		}
		return done(c.certs.done(ctx, a.ID+" removed"))
	})
}

// newRequest makes a request for names, with a key that stays here.
func newRequest(ring *keys.Ring, names []string) (madeRequest, error) {
	if len(names) == 0 {
		return madeRequest{}, errors.New("for which names?")
	}
	for _, name := range names {
		if !config.DNSName(strings.TrimPrefix(name, "*.")) {
			return madeRequest{}, fmt.Errorf("%q is no DNS name", name)
		}
	}
	id, text, err := cert.Request(ring, names)
	return madeRequest{id, string(text)}, err
}

// takeCertificate takes in a chain, and its key if that is given: both as PEM.
func takeCertificate(c *certificates, dir string, ring *keys.Ring, chain, keyText []byte) (t takenCertificate, err error) {
	key, err := parseKey(keyText)
	if err != nil {
		return t, err
	}
	t.ID, t.Serves, err = c.take(dir, ring, chain, key, time.Now())
	s, _ := ring.State().Get()
	t.Sealed = s.Where != keys.OnDisk
	return t, err
}
