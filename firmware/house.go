package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/postern-nas/postern/firmware/account"
	"github.com/postern-nas/postern/firmware/audit"
	"github.com/postern-nas/postern/firmware/config"
	"github.com/postern-nas/postern/smb/auth"
	"github.com/postern-nas/postern/ui"
)

// A house is what the page changes: shares, users and settings. What it changes is kept, and is so for clients that are
// connected. It implements web.Shares, web.Users and web.Settings.
type house struct {
	w     *world
	state string // folder
	at    places
	door  *door

	mu sync.Mutex // changes take turns
}

// newShares is where shares are made that are only given a name, on a machine that does other things, too.
func newShares(state string) string { return filepath.Join(state, "shares") }

// folder finds or makes the folder of a new share.
func (h *house) folder(name, path string) (string, error) {
	if path == "" {
		base := newShares(h.state)
		if roots := h.at.roots(); len(roots) > 0 {
			base = roots[0]
		}
		path = filepath.Join(base, name)
	}
	if !filepath.IsAbs(path) {
		return "", fmt.Errorf("%q: write the folder whole, beginning with /", path)
	}
	path = filepath.Clean(path)
	if err := h.allowed(path); err != nil {
		return "", err
	}
	if err := os.MkdirAll(path, 0o755); err != nil {
		return "", fmt.Errorf("the folder cannot be made: %w", err)
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", err
	}
	return path, h.allowed(real)
}

// allowed refuses folders in which keys and passwords lie, and on a box what is on no disk of its owner's.
func (h *house) allowed(path string) error {
	state, err := filepath.Abs(h.state)
	if err != nil {
		return err
	}
	if real, err := filepath.EvalSymlinks(state); err == nil {
		state = real
	}
	within := func(dir, path string) bool {
		rel, err := filepath.Rel(dir, path)
		return err == nil && rel != ".." && !strings.HasPrefix(rel, "../")
	}
	if within(path, state) || within(state, path) && !within(newShares(state), path) && !within(filepath.Join(state, "disk"), path) {
		return errors.New("this folder holds Postern's own keys; choose another")
	}
	if roots := h.at.roots(); len(roots) > 0 && !slices.ContainsFunc(roots, func(root string) bool { return within(root, path) }) {
		return fmt.Errorf("choose a folder in %s", strings.Join(roots, " or "))
	}
	return nil
}

// AddShare implements web.Shares.
func (h *house) AddShare(ctx context.Context, s ui.Share) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := config.CheckShareName(s.Name); err != nil {
		return err
	}
	if _, there := h.w.shares.lookup(s.Name); there {
		return fmt.Errorf("there is a share %s already; choose another name", s.Name)
	}
	path, err := h.folder(s.Name, s.Path)
	if err != nil {
		return err
	}
	sh := settled(config.Share{Name: s.Name, Path: path}, s)
	made, err := openShare(sh)
	if err != nil {
		return err
	}
	if err := config.AddShare(h.state, sh); err != nil {
		return err
	}
	if err := h.w.server.AddShare(made); err != nil {
		return errors.Join(err, config.RemoveShare(h.state, sh.Name))
	}
	h.w.shares.put(sh)
	h.w.record(ctx, audit.Event{ID: audit.ShareAdded, OK: true, Share: sh.Name, Text: path})
	h.w.nudge()
	return nil
}

// settled is a share with what the page can set of it.
func settled(sh config.Share, s ui.Share) config.Share {
	sh.Comment, sh.ReadOnly, sh.Encrypt, sh.Hidden = s.Comment, s.ReadOnly, s.Encrypt, s.Hidden
	return sh.Restrict(s.Restricted, s.Read, s.Write)
}

// SetShare implements web.Shares.
func (h *house) SetShare(ctx context.Context, s ui.Share) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.setShare(ctx, s.Name, func(sh config.Share) config.Share { return settled(sh, s) })
}

func (h *house) setShare(ctx context.Context, name string, change func(config.Share) config.Share) error {
	old, there := h.w.shares.lookup(name)
	if !there {
		return fmt.Errorf("there is no share %s any more", name)
	}
	sh := change(old)
	if err := config.SetShare(h.state, sh); err != nil {
		return err
	}
	var err error
	if sh.Encrypt != old.Encrypt || sh.Hidden != old.Hidden {
		made, wrong := openShare(sh)
		if wrong != nil {
			return wrong
		}
		err = h.w.server.ReplaceShare(made)
	} else {
		err = errors.Join(h.w.server.SetComment(sh.Name, sh.Comment), h.w.server.SetRights(sh.Name, rights(sh)))
	}
	if err != nil {
		return fmt.Errorf("it is kept, and counts from the next start on: %w", err)
	}
	h.w.shares.put(sh)
	h.w.record(ctx, audit.Event{ID: audit.ShareChanged, OK: true, Share: sh.Name})
	h.w.nudge()
	return nil
}

// closeShare ends what is open in a share. Who is connected to it connects again.
func (h *house) closeShare(ctx context.Context, name string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	sh, there := h.w.shares.lookup(name)
	if !there {
		return fmt.Errorf("there is no share %s", name)
	}
	made, err := openShare(sh)
	if err != nil {
		return err
	}
	if err := h.w.server.ReplaceShare(made); err != nil {
		return err
	}
	h.w.record(ctx, audit.Event{ID: audit.ShareChanged, OK: true, Share: sh.Name, Text: "what was open in it was closed"})
	return nil
}

// RemoveShare implements web.Shares. The files stay.
func (h *house) RemoveShare(ctx context.Context, name string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := config.RemoveShare(h.state, name); err != nil {
		return err
	}
	err := h.w.server.RemoveShare(name)
	h.w.shares.drop(name)
	h.w.record(ctx, audit.Event{ID: audit.ShareRemoved, OK: true, Share: name})
	h.w.nudge()
	return err
}

// settle ends the sessions of users for whom something else holds now, and has the change seen.
func (h *house) settle(ctx context.Context, e audit.Event, gone func(*auth.Identity) bool) {
	if gone == nil {
		gone = func(id *auth.Identity) bool { return !h.w.users.Stands(id) }
	}
	h.w.server.EndSessions(gone)
	e.OK = true
	h.w.record(ctx, e)
	h.w.nudge()
}

// AddUser implements web.Users.
func (h *house) AddUser(ctx context.Context, name, password string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, err := h.w.users.Add(name, password); err != nil {
		return err
	}
	h.settle(ctx, audit.Event{ID: audit.UserAdded, User: name}, nil)
	return nil
}

// SetPassword implements web.Users. Who is signed in with the one before is signed out.
func (h *house) SetPassword(ctx context.Context, name, password string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.w.users.SetPassword(name, password); err != nil {
		return err
	}
	h.settle(ctx, audit.Event{ID: audit.PasswordChanged, User: name}, func(id *auth.Identity) bool { return strings.EqualFold(id.User, name) })
	return nil
}

// SetDisabled implements web.Users.
func (h *house) SetDisabled(ctx context.Context, name string, disabled bool) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	e := audit.Event{ID: audit.UserEnabled, User: name}
	if disabled {
		e.ID = audit.UserDisabled
		if err := h.w.users.MayLose(name); err != nil {
			return err
		}
	}
	if err := h.w.users.SetDisabled(name, disabled); err != nil {
		return err
	}
	h.settle(ctx, e, nil)
	return nil
}

// SetOwner implements web.Users.
func (h *house) SetOwner(ctx context.Context, name string, owner bool) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	text := "owner"
	if !owner {
		text = "owner no more"
		if err := h.w.users.MayLose(name); err != nil {
			return err
		}
	}
	if err := h.w.users.SetOwner(name, owner); err != nil {
		return err
	}
	h.settle(ctx, audit.Event{ID: audit.ConfigChanged, User: name, Text: text}, nil)
	return nil
}

// SetAdmin implements web.Users.
func (h *house) SetAdmin(ctx context.Context, name string, admin bool) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.w.users.SetAdmin(name, admin); err != nil {
		return err
	}
	e := audit.Event{ID: audit.AdminAdded, User: name}
	if !admin {
		e.ID = audit.AdminRemoved
	}
	h.settle(ctx, e, nil)
	return nil
}

// RemoveUser implements web.Users. The user's name goes from the shares' lists as well: another user of that name would find
// doors open.
func (h *house) RemoveUser(ctx context.Context, name string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.w.users.MayLose(name); err != nil {
		return err
	}
	for _, sh := range h.w.shares.list() {
		if slices.ContainsFunc(sh.Users(), func(u string) bool { return strings.EqualFold(u, name) }) {
			if err := h.setShare(ctx, sh.Name, func(s config.Share) config.Share { return s.Without(name) }); err != nil {
				return err
			}
		}
	}
	for _, d := range h.w.desk.Devices() {
		if strings.EqualFold(d.Owner, name) { // as above: the next one of that name is somebody else
			if err := (houseDevices{h.w}).setOwner(ctx, d.ID, ""); err != nil {
				return err
			}
		}
	}
	if err := h.w.users.Remove(name); err != nil && !errors.Is(err, account.ErrNoUser) {
		return err
	}
	h.settle(ctx, audit.Event{ID: audit.UserRemoved, User: name}, nil)
	return nil
}
