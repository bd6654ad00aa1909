package main

import (
	"cmp"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"reflect"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/postern-nas/postern/firmware/access"
	"github.com/postern-nas/postern/firmware/account"
	"github.com/postern-nas/postern/firmware/audit"
	"github.com/postern-nas/postern/firmware/config"
	"github.com/postern-nas/postern/firmware/observe"
	"github.com/postern-nas/postern/firmware/pairing"
	"github.com/postern-nas/postern/smb"
)

// do is a command that only says whether it worked.
func (r *remote) do(path string, a ask) error {
	var nothing struct{}
	if err := r.ask(r.ctx, path, a, &nothing); err != nil {
		return err
	}
	return r.said()
}

// show writes v as JSON if that was asked for, else as a table; rows writes it.
func (r *remote) show(v any, head string, rows func(w io.Writer)) error {
	if r.json {
		if l := reflect.ValueOf(v); l.Kind() == reflect.Slice && l.IsNil() { // "[]", and not "null"
			v = []struct{}{}
		}
		enc := json.NewEncoder(r.out)
		enc.SetIndent("", "  ")
		return enc.Encode(v)
	}
	w := tabwriter.NewWriter(r.out, 0, 4, 2, ' ', 0)
	if head != "" {
		fmt.Fprintln(w, head)
	}
	rows(w)
	return w.Flush()
}

func (r *remote) status([]string) error {
	var s Status
	if err := r.ask(r.ctx, "/status", ask{}, &s); err != nil {
		return err
	}
	return r.show(s, "", func(w io.Writer) {
		required := "not required over QUIC"
		if s.Certificate {
			required = "required over QUIC"
		}
		fmt.Fprintf(w, "version\t%s\nrunning since\t%s\nconnections\t%d\nsessions\t%d\nopen files\t%d\nlogons\t%d, and %d failed\npaired devices\t%d\nclient certificate\t%s\n",
			s.Version, moment(s.Since), s.Connections, s.Sessions, s.OpenFiles, s.Logons, s.LogonsFailed, s.Devices, required)
		if s.Outside != "" {
			fmt.Fprintf(w, "from outside\t%s\n", plain(s.Outside))
		}
		if s.Pairing != "" {
			fmt.Fprintf(w, "pairing\t%s\n", s.Pairing)
		}
		if s.SyslogSent+s.SyslogLost > 0 {
			fmt.Fprintf(w, "syslog\t%d sent, %d dropped\n", s.SyslogSent, s.SyslogLost)
		}
	})
}

func moment(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.Local().Format("2006-01-02 15:04:05")
}

func (r *remote) accessList([]string) error {
	list := []access.Entry{}
	if err := r.ask(r.ctx, "/access/list", ask{}, &list); err != nil {
		return err
	}
	return r.show(list, "ENTRY\tSERVER\tWHO\tADDED\tDESCRIPTION", func(w io.Writer) {
		for _, e := range list {
			kind, who := "grant", "ISSUER "+e.Issuer
			if e.Deny {
				kind = "block"
			}
			if e.SHA256 != "" {
				who = "SHA256 " + e.SHA256
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", kind, plain(e.Server), plain(who), moment(e.Added), plain(e.Description))
		}
	})
}

// plain makes text fit for a terminal: what a stranger chose moves no cursor.
func plain(s string) string { return audit.Plain(s) }

func (r *remote) deviceList([]string) error {
	var list []pairing.Device
	if err := r.ask(r.ctx, "/device/list", ask{}, &list); err != nil {
		return err
	}
	type row struct {
		pairing.Device
		SHA256 string
	}
	shown := make([]row, len(list))
	for i, d := range list {
		shown[i] = row{d, strings.ToUpper(hex.EncodeToString(d.SHA256[:]))}
	}
	return r.show(shown, "DEVICE\tUSER\tPAIRED\tUNTIL\tLAST SEEN\tFROM\tADMINISTERS FOR\tID", func(w io.Writer) {
		for _, d := range list {
			from := "-"
			if d.Address.IsValid() {
				from = d.Address.String()
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", plain(d.Name), plain(d.User), d.Issued.Format(time.DateOnly), d.NotAfter.Format(time.DateOnly),
				moment(d.LastSeen), from, cmp.Or(plain(d.Owner), "-"), d.ID)
		}
	})
}

func (r *remote) sessionList([]string) error {
	list := []smb.SessionInfo{}
	if err := r.ask(r.ctx, "/session/list", ask{}, &list); err != nil {
		return err
	}
	return r.show(list, "ID\tUSER\tCLIENT\tOVER\tSHARES\tOPEN\tSINCE\tIDLE", func(w io.Writer) {
		for _, s := range list {
			fmt.Fprintf(w, "%#x\t%s\t%s\t%s\t%s\t%d\t%s\t%s\n", s.ID, plain(s.User), s.Client, s.Transport, plain(strings.Join(s.Shares, ",")), s.Opens,
				moment(s.Since), s.Idle.Round(time.Second))
		}
	})
}

func (r *remote) fileList([]string) error {
	list := []smb.FileInfo{}
	if err := r.ask(r.ctx, "/openfile/list", ask{}, &list); err != nil {
		return err
	}
	return r.show(list, "ID\tUSER\tSHARE\tFILE\tWRITES\tLOCKS", func(w io.Writer) {
		for _, f := range list {
			fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%t\t%d\n", f.ID, plain(f.User), plain(f.Share), plain(f.Path), f.Write, f.Locks)
		}
	})
}

// path is where a command is answered.
func (r *remote) path() string { return "/" + strings.ReplaceAll(r.verb.words, " ", "/") }

// byID is a command about one thing.
func (r *remote) byID(words []string) error { return r.do(r.path(), ask{ID: words[0]}) }

func (r *remote) accessChange(words []string) error {
	if (r.sha256 == "") == (r.issuer == "") {
		return errUsage("one of -sha256 and -issuer says whom; usage:\n" + usageOf(r.verb))
	}
	e := access.Entry{SHA256: r.sha256, Issuer: r.issuer, Description: r.description}
	if len(words) > 0 {
		e.Server = words[0]
	}
	return r.do(r.path(), ask{Entry: &e})
}

func (r *remote) unpair(words []string) error {
	if (len(words) == 0) != r.all {
		return errUsage("a device or -all; usage:\n" + usageOf(r.verb))
	}
	return r.do("/device/unpair", ask{ID: strings.Join(words, ""), All: r.all})
}

func (r *remote) deviceOwner(words []string) error {
	a := ask{ID: words[0]}
	if len(words) > 1 {
		a.User = words[1]
	}
	return r.do(r.path(), a)
}

// shareList needs no server: what is shared stands in the configuration.
func (r *remote) shareList([]string) error {
	list := []shareRow{}
	err := r.ask(r.ctx, "/share/list", ask{}, &list)
	if errors.Is(err, errNotRunning) {
		var cfg *config.Config
		if cfg, err = config.Load(r.dir); err == nil {
			list = shareRows(cfg.Shares)
		}
	}
	if err != nil {
		return err
	}
	return r.show(list, "SHARE\tFOLDER\tWHO\tHOW\tCOMMENT", func(w io.Writer) {
		for _, s := range list {
			who, how := "everybody", []string{}
			if s.Restricted {
				who = fmt.Sprintf("%s; read: %s", strings.Join(s.Write, ","), strings.Join(s.Read, ","))
			}
			for _, h := range []struct {
				on   bool
				what string
			}{{s.ReadOnly, "read-only"}, {s.Encrypt, "encrypted"}, {s.Hidden, "hidden"}} {
				if h.on {
					how = append(how, h.what)
				}
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", plain(s.Name), plain(s.Path), plain(who), strings.Join(how, ","), plain(s.Comment))
		}
	})
}

// shareChange is share add and share set.
func (r *remote) shareChange(words []string) error {
	s := &shareChange{Name: words[0]}
	if len(words) > 1 {
		s.Path = words[1]
	}
	if r.given["comment"] {
		s.Comment = &r.comment
	}
	for name, flag := range map[string]struct {
		value bool
		to    **bool
	}{"read-only": {r.readOnly, &s.ReadOnly}, "encrypt": {r.encrypt, &s.Encrypt}, "hidden": {r.hidden, &s.Hidden}} {
		if r.given[name] {
			*flag.to = &flag.value
		}
	}
	for name, list := range map[string]struct {
		text string
		to   **[]string
	}{"read": {r.readers, &s.Read}, "write": {r.writers, &s.Write}} {
		if r.given[name] {
			names := slices.DeleteFunc(strings.Split(list.text, ","), func(n string) bool { return n == "" })
			*list.to = &names
		}
	}
	if restricted := s.Read != nil || s.Write != nil; restricted || r.everybody {
		if restricted && r.everybody {
			return errUsage("-everybody, or -read and -write; usage:\n" + usageOf(r.verb))
		}
		s.Restricted = &restricted
	}
	return r.do(r.path(), ask{Share: s})
}

// quietly opens the users of a server that does not run.
func (r *remote) quietly(do func(*account.Store) error) error {
	ring, _, err := openKeys(r.o, r.errs)
	if err != nil {
		return err
	}
	defer ring.Close()
	store, err := account.OpenWith(ring, r.dir, slog.New(observe.Handler(r.errs, slog.LevelInfo, observe.Text)))
	if err != nil {
		return err
	}
	return do(store)
}

func (r *remote) userList([]string) error {
	list := []userRow{}
	err := r.ask(r.ctx, "/user/list", ask{}, &list)
	if errors.Is(err, errNotRunning) {
		err = r.quietly(func(s *account.Store) error { list = userRows(s.Users()); return nil })
	}
	if err != nil {
		return err
	}
	return r.show(list, "", func(w io.Writer) {
		for _, u := range list {
			text := u.SID
			for _, is := range []struct {
				so   bool
				what string
			}{{u.Disabled, "disabled"}, {u.Administrator, "administrator"}, {u.Owner, "owner"}, {u.NoPassword, "needs a new password"}} {
				if is.so {
					text += " " + is.what
				}
			}
			fmt.Fprintf(w, "%s\t%s\n", plain(u.Name), text)
		}
	})
}

// userChange changes a user: at the server that runs, else in the state folder.
func (r *remote) userChange(words []string) error {
	_, verb, _ := strings.Cut(r.verb.words, " ")
	a := ask{User: words[0]}
	if verb == "add" || verb == "password" {
		var err error
		if a.Password, err = readPassword(r.in, r.errs); err != nil {
			return err
		}
	}
	err := r.do(r.path(), a)
	if !errors.Is(err, errNotRunning) {
		return err
	}
	if err := os.MkdirAll(r.dir, 0o700); err != nil {
		return err
	}
	err = r.quietly(func(s *account.Store) error { return changeUser(r.ctx, quietUsers{s}, verb, a.User, a.Password) })
	if err != nil {
		return err
	}
	return r.said()
}

func (r *remote) userClose(words []string) error { return r.do(r.path(), ask{User: words[0]}) }

func (r *remote) keys([]string) error {
	_, verb, _ := strings.Cut(r.verb.words, " ")
	return keyCommand(r.o, verb, r.json, r.yes, r.in, r.out, r.errs)
}

func (r *remote) updates(words []string) error {
	_, verb, _ := strings.Cut(r.verb.words, " ")
	if verb == "install" {
		return r.updateInstall(words[0])
	}
	return updateCommand(r.o, verb, r.json, r.out, r.errs)
}

// auditQuery is what the flags of audit ask for.
func (r *remote) auditQuery() (q audit.Query, err error) {
	q = audit.Query{User: r.user, Device: r.device, Text: r.text, Failed: r.failed, Limit: cmp.Or(r.limit, 50)}
	if r.event != "" {
		for name := range strings.SplitSeq(r.event, ",") {
			id, ok := audit.ParseID(strings.TrimSpace(name))
			if !ok {
				var known []string
				for _, id := range audit.Known() {
					known = append(known, id.String())
				}
				return q, errUsage(fmt.Sprintf("no event is called %q; there are %s", name, strings.Join(known, ", ")))
			}
			q.IDs = append(q.IDs, id)
		}
	}
	if r.since != "" {
		d, err := time.ParseDuration(r.since)
		if err != nil || d < 0 {
			return q, errUsage(fmt.Sprintf("-since %q is no time such as 24h or 30m", r.since))
		}
		q.From = time.Now().Add(-d)
	}
	if r.as != "" && !slices.Contains([]audit.Format{audit.CSV, audit.JSONLines}, audit.Format(r.as)) {
		return q, errUsage(fmt.Sprintf("-export %q: csv and jsonl are known", r.as))
	}
	if r.as != "" && r.follow {
		return q, errUsage("-export or -follow: one of them")
	}
	return q, nil
}

func (r *remote) audit([]string) error {
	q, err := r.auditQuery()
	switch {
	case err != nil:
		return err
	case r.follow:
		return r.followAudit(q)
	case r.as != "":
		body, err := r.raw(r.ctx, "/audit/export", ask{Query: &q, As: audit.Format(r.as)})
		if err != nil {
			return err
		}
		defer body.Close()
		_, err = io.Copy(r.out, body)
		return err
	}
	var page audit.Page
	if err := r.ask(r.ctx, "/audit/query", ask{Query: &q}, &page); err != nil {
		return err
	}
	return r.show(page.Events, "TIME\tID\tEVENT\tUSER\tDEVICE\tFROM\tSHARE\tTEXT", func(w io.Writer) {
		for _, e := range page.Events {
			fmt.Fprintln(w, eventLine(e))
		}
	})
}

// eventLine is an event as one line, with tabs between its parts.
func eventLine(e audit.Event) string {
	from := ""
	if e.Address.IsValid() {
		from = e.Address.String()
	}
	return fmt.Sprintf("%s\t%d\t%s\t%s\t%s\t%s\t%s\t%s", moment(e.Time), int(e.ID), e.Name, e.User, e.Device, from, e.Share, e.Text)
}

// followAudit writes events as they happen: with -json one a line.
func (r *remote) followAudit(q audit.Query) error {
	for seen := uint64(0); ; {
		var p freshPage
		if err := r.ask(r.ctx, "/audit/wait", ask{Query: &q, Seen: &seen}, &p); err != nil {
			if r.ctx.Err() != nil { // Ctrl-C is how it ends
				return nil
			}
			return err
		}
		seen = p.Seen
		for _, e := range slices.Backward(p.Events) {
			if r.json {
				_ = json.NewEncoder(r.out).Encode(e)
				continue
			}
			fmt.Fprintln(r.out, eventLine(e))
		}
	}
}
