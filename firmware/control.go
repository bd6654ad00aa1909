package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/postern-nas/postern/firmware/access"
	"github.com/postern-nas/postern/firmware/account"
	"github.com/postern-nas/postern/firmware/audit"
	"github.com/postern-nas/postern/firmware/pairing"
	"github.com/postern-nas/postern/firmware/supervise"
	"github.com/postern-nas/postern/firmware/update"
	"github.com/postern-nas/postern/smb"
	"github.com/postern-nas/postern/ui/web"
)

// controlName is the socket in the state folder by which `postern status` and its like talk to the server that runs.
const controlName = "control.sock"

// control answers commands: HTTP with JSON, over a Unix socket to who may read the state folder, and below the page's
// address /command/ to devices that administer the box. A request is POST /noun/verb with a JSON object, its answer a JSON
// value, an error {"error": text}.
type control struct {
	dir    string
	server *smb.Server
	users  *account.Store
	door   *door
	log    *slog.Logger
	began  time.Time
	api    http.Handler // the page's, under /api/; nil: the page is off

	house   *house
	devices houseDevices
	certs   *houseCertificates
	updates *update.Updater // nil: this is no box
}

// socket gives listening and dialing a name that is short enough for any folder: a socket's has at most 107 bytes.
func socket(dir string) (name string, done func(), err error) {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", fd, controlName), func() { _ = unix.Close(fd) }, nil
}

// run is the service.
func (c *control) run(ctx context.Context) error {
	name, done, err := socket(c.dir)
	if err != nil {
		return err
	}
	defer done()
	path := filepath.Join(c.dir, controlName)
	_ = os.Remove(path) // of a process that was killed: the state folder's lock says that it is gone
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: name, Net: "unix"})
	if err != nil {
		return err
	}
	l.SetUnlinkOnClose(false) // by a name that is gone then
	defer os.Remove(path)
	if err := os.Chmod(path, 0o600); err != nil {
		_ = l.Close()
		return err
	}
	srv := &http.Server{
		Handler: c.local(), ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 16 << 10,
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	defer context.AfterFunc(ctx, func() { _ = srv.Close() })()
	supervise.Healthy(ctx)
	if err := srv.Serve(owners{l, c.log}); !errors.Is(err, http.ErrServerClosed) && ctx.Err() == nil {
		return err
	}
	return nil
}

// owners lets in who runs as the server's own user, or as root: the file's mode says so, too, but not everywhere is it
// asked.
type owners struct {
	*net.UnixListener
	log *slog.Logger
}

func (o owners) Accept() (net.Conn, error) {
	for {
		c, err := o.AcceptUnix()
		if err != nil {
			return nil, err
		}
		if peer, err := peerOf(c); err == nil && (peer == 0 || int(peer) == os.Geteuid()) {
			return c, nil
		}
		o.log.Warn("a stranger at the control socket")
		_ = c.Close()
	}
}

func peerOf(c *net.UnixConn) (uid uint32, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	if failed := raw.Control(func(fd uintptr) {
		cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); failed != nil || err != nil {
		return 0, errors.Join(failed, err)
	}
	return cred.Uid, nil
}

// byCommand is who did it, for the audit log: somebody who is root at the machine.
const byCommand = "command"

// ask is what any command may bring.
type ask struct {
	ID     string `json:"id,omitempty"`
	Accept bool   `json:"accept,omitempty"`
	User   string `json:"user,omitempty"`
	All    bool   `json:"all,omitempty"`

	Password string   `json:"password,omitempty"`
	Names    []string `json:"names,omitempty"`
	Chain    []byte   `json:"chain,omitempty"`
	Key      []byte   `json:"key,omitempty"`

	Entry *access.Entry `json:"entry,omitempty"`
	Rule  *ruleChange   `json:"rule,omitempty"`
	Share *shareChange  `json:"share,omitempty"`
	Query *audit.Query  `json:"query,omitempty"`
	As    audit.Format  `json:"as,omitempty"`
	Seen  *uint64       `json:"seen,omitempty"` // events up to this number are known
}

// maxAsk bounds a request: a chain of certificates and its key are the longest.
const maxAsk = 1 << 20

// Status is what `postern status` tells.
type Status struct {
	Version      string    `json:"version"`
	Since        time.Time `json:"since"`
	Connections  int       `json:"connections"`
	Sessions     int       `json:"sessions"`
	OpenFiles    int64     `json:"open_files"`
	Logons       uint64    `json:"logons"`
	LogonsFailed uint64    `json:"logons_failed"`
	Devices      int       `json:"devices"`
	Certificate  bool      `json:"certificate_required"` // of clients over QUIC, for some server name at least
	Outside      string    `json:"outside,omitempty"`    // how it is reached from there, in words
	Pairing      string    `json:"pairing,omitempty"`    // the attempt's phase
	SyslogSent   uint64    `json:"syslog_sent,omitempty"`
	SyslogLost   uint64    `json:"syslog_dropped,omitempty"`
}

// local is what the socket offers: the commands, and what only who is at the machine may do.
func (c *control) local() http.Handler {
	mux := http.NewServeMux()
	if c.api != nil {
		mux.Handle("/api/", c.api)
	}
	mux.Handle("/", c.handler())
	answersOn(mux)("/update/install", c.installUpdate)
	return mux
}

// installUpdate installs the file that a.ID names.
func (c *control) installUpdate(ctx context.Context, a ask) (any, error) {
	if c.updates != nil {
		return done(c.updates.InstallFile(ctx, a.ID))
	}
	c.door.updated(ctx, update.Event{Kind: update.Refused, Why: update.ErrNoBox.Error()})
	return nil, update.ErrNoBox
}

// answersOn is what has commands answered on mux.
func answersOn(mux *http.ServeMux) func(path string, f answerer) {
	return func(path string, f answerer) {
		mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
			var a ask
			dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxAsk))
			dec.DisallowUnknownFields()
			err := dec.Decode(&a)
			var out any
			if err == nil {
				out, err = f(context.WithValue(r.Context(), commandKey{}, true), a)
			}
			w.Header().Set("Content-Type", "application/json")
			if err != nil {
				w.WriteHeader(http.StatusConflict)
				out = map[string]string{"error": err.Error()}
			}
			_ = json.NewEncoder(w).Encode(out)
		})
	}
}

// handler answers the commands, the same by either way.
func (c *control) handler() http.Handler {
	mux := http.NewServeMux()
	on := answersOn(mux)
	on("/status", func(context.Context, ask) (any, error) { return c.status(), nil })
	c.accessCommands(on)
	c.pairCommands(on)
	c.auditCommands(on, mux)
	c.userCommands(on)
	c.shareCommands(on)
	c.certCommands(on)
	c.sessionCommands(on)
	return mux
}

// An answerer does what one command asks.
type answerer = func(ctx context.Context, a ask) (any, error)

func done(err error) (any, error) { return struct{}{}, err }

func (c *control) accessCommands(on func(string, answerer)) {
	on("/access/list", func(context.Context, ask) (any, error) { return c.door.access.Entries(), nil })
	on("/access/rules", func(context.Context, ask) (any, error) { return c.door.ruleRows(), nil })
	on("/access/set", func(ctx context.Context, a ask) (any, error) {
		if a.Rule == nil {
			return nil, errors.New("which rule?")
		}
		return done(c.house.setAccess(ctx, *a.Rule, c.certs.certs.names))
	})
	entry := func(deny bool, f func(access.Entry, string) error) answerer {
		return func(ctx context.Context, a ask) (any, error) {
			if a.Entry == nil {
				return nil, errors.New("which entry?")
			}
			a.Entry.Deny = deny
			return done(f(*a.Entry, byWhom(ctx)))
		}
	}
	on("/access/grant", entry(false, c.door.access.Add))
	on("/access/revoke", entry(false, c.door.access.Remove))
	on("/access/block", entry(true, c.door.access.Add))
	on("/access/unblock", entry(true, c.door.access.Remove))
}

func (c *control) pairCommands(on func(string, answerer)) {
	on("/device/list", func(context.Context, ask) (any, error) { return c.door.desk.Devices(), nil })
	on("/device/unpair", func(ctx context.Context, a ask) (any, error) {
		if a.All {
			return done(c.door.desk.RevokeAll(ctx))
		}
		id, err := findDevice(c.door.desk.Devices(), a.ID)
		if err != nil {
			return nil, err
		}
		return done(c.door.desk.Revoke(ctx, id))
	})
	owner := func(may bool) answerer {
		return func(ctx context.Context, a ask) (any, error) {
			id, err := findDevice(c.door.desk.Devices(), a.ID)
			if err == nil && may && a.User == "" {
				a.User, err = c.ownerFor(ctx, id)
			}
			if err != nil {
				return nil, err
			}
			if !may {
				a.User = ""
			}
			return done(c.devices.setOwner(ctx, id, a.User))
		}
	}
	on("/device/promote", owner(true))
	on("/device/demote", owner(false))
	on("/pair/start", func(ctx context.Context, a ask) (any, error) { return c.door.desk.Start(ctx, a.User) })
	on("/pair/look", func(context.Context, ask) (any, error) {
		a, _ := c.door.desk.Current().Get()
		return a, nil
	})
	on("/pair/answer", func(ctx context.Context, a ask) (any, error) { return done(c.door.desk.Answer(ctx, a.ID, a.Accept)) })
	on("/pair/stop", func(ctx context.Context, a ask) (any, error) { return done(c.door.desk.Stop(ctx, a.ID)) })
}

// ownerFor says for whom a device is to administer the box if nobody is named: for who asks, for whom it was paired, or for
// the only owner.
func (c *control) ownerFor(ctx context.Context, id string) (string, error) {
	if by := web.By(ctx).User; by != "" {
		return by, nil
	}
	for _, d := range c.door.desk.Devices() {
		if _, owner := c.users.Mark(d.User); d.ID == id && owner {
			return d.User, nil
		}
	}
	var owners []string
	for _, u := range c.users.Users() {
		if _, ok := c.users.Mark(u.Name); ok {
			owners = append(owners, u.Name)
		}
	}
	switch len(owners) {
	case 0:
		return "", errors.New("this box has no owner yet; postern user own NAME makes one")
	case 1:
		return owners[0], nil
	}
	return "", fmt.Errorf("for which owner? %s", strings.Join(owners, " or "))
}

func (c *control) auditCommands(on func(string, answerer), mux *http.ServeMux) {
	on("/audit/query", func(ctx context.Context, a ask) (any, error) {
		if a.Query == nil {
			a.Query = &audit.Query{}
		}
		c.door.audit.Flush()
		return c.door.audit.Query(ctx, *a.Query)
	})
	on("/audit/wait", func(ctx context.Context, a ask) (any, error) {
		if a.Query == nil || a.Seen == nil {
			return nil, errors.New("which events?")
		}
		ctx, cancel := context.WithTimeout(ctx, auditWait)
		defer cancel()
		return c.newEvents(ctx, *a.Query, *a.Seen)
	})
	mux.HandleFunc("POST /audit/export", func(w http.ResponseWriter, r *http.Request) {
		var a ask
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10)).Decode(&a); err != nil || a.Query == nil {
			http.Error(w, `{"error":"which events?"}`, http.StatusConflict)
			return
		}
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(exportTime)) // longer than for an answer
		c.door.audit.Flush()
		_ = c.door.audit.Export(r.Context(), w, *a.Query, a.As)
	})
}

const (
	auditWait  = 25 * time.Second // within what an answer may take
	exportTime = 10 * time.Minute
)

// A freshPage is what came after the events that are known, the newest first, and what is known then.
type freshPage struct {
	Events []audit.Event `json:"events"`
	Seen   uint64        `json:"seen"`
}

// newEvents waits for events behind seen that q wants, until ctx ends. 0 is the newest that there is.
func (c *control) newEvents(ctx context.Context, q audit.Query, seen uint64) (p freshPage, err error) {
	newest := c.door.audit.Newest()
	now, version := newest.Get()
	if p.Seen, p.Events = seen, []audit.Event{}; seen == 0 {
		p.Seen = now
	}
	for {
		if now > p.Seen {
			q.Limit, q.Before = 1000, 0
			c.door.audit.Flush()
			page, err := c.door.audit.Query(ctx, q)
			if err != nil && ctx.Err() == nil {
				return p, err
			}
			for _, e := range page.Events {
				if e.Seq > p.Seen {
					p.Events = append(p.Events, e)
				}
			}
			p.Seen = max(now, p.Seen)
			if len(p.Events) > 0 {
				p.Seen = max(p.Seen, p.Events[0].Seq)
				return p, nil
			}
		}
		if now, version, err = newest.Wait(ctx, version); err != nil {
			return p, nil // nothing, so far
		}
	}
}

func (c *control) sessionCommands(on func(string, answerer)) {
	on("/session/list", func(context.Context, ask) (any, error) { return c.server.Sessions(), nil })
	on("/session/close", func(ctx context.Context, a ask) (any, error) {
		id, err := strconv.ParseUint(a.ID, 0, 64)
		if err != nil || !c.server.CloseSession(id, byWhom(ctx)) {
			return nil, fmt.Errorf("there is no session %q", a.ID)
		}
		return done(nil)
	})
	on("/openfile/list", func(ctx context.Context, _ ask) (any, error) { return c.server.Files(ctx), nil })
	on("/openfile/close", func(ctx context.Context, a ask) (any, error) {
		id, err := strconv.ParseUint(a.ID, 0, 32)
		if err != nil || !c.server.CloseFile(ctx, uint32(id), byWhom(ctx)) {
			return nil, fmt.Errorf("there is no open file %q", a.ID)
		}
		return done(nil)
	})
}

// findDevice finds a device by its id, or by its name if no other has that.
func findDevice(list []pairing.Device, what string) (string, error) {
	if i := slices.IndexFunc(list, func(d pairing.Device) bool { return d.ID == what }); i >= 0 {
		return list[i].ID, nil
	}
	var found []string
	for _, d := range list {
		if strings.EqualFold(d.Name, what) {
			found = append(found, d.ID)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return "", fmt.Errorf("%q: %w", what, pairing.ErrUnknown)
	}
	return "", fmt.Errorf("%d devices are called %q: say which by its ID", len(found), what)
}

func (c *control) status() Status {
	st := c.server.Stats()
	s := Status{
		Version: version(), Since: c.began, Connections: st.Connections, Sessions: st.Sessions, OpenFiles: st.Opens,
		Logons: st.Logons, LogonsFailed: st.LogonsFailed, Devices: len(c.door.desk.Devices()), Certificate: c.door.access.Required(""),
	}
	if c.house != nil {
		now, _ := c.house.w.now.Get()
		s.Outside = fromOutside(now.Outside)
	}
	if a, _ := c.door.desk.Current().Get(); a != nil {
		s.Pairing = a.Phase.String()
	}
	if c.door.syslog != nil {
		s.SyslogSent, s.SyslogLost = c.door.syslog.Stats()
	}
	return s
}
