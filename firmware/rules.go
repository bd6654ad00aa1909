package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/postern-nas/postern/firmware/access"
	"github.com/postern-nas/postern/firmware/audit"
	"github.com/postern-nas/postern/firmware/config"
	"github.com/postern-nas/postern/smb"
	"github.com/postern-nas/postern/ui/web"
)

// byFile is who did it, for the audit log, if somebody has changed postern.toml and sent SIGHUP.
const byFile = "postern.toml"

// rulesOf reads the authorities that [access] names.
func (d *door) rulesOf(a config.Access) (access.Rules, error) {
	r := access.Rules{Rule: a.Of, Authorities: []*x509.Certificate{d.authority}}
	for _, file := range a.Authorities {
		more, err := readAuthorities(file)
		if err != nil {
			return r, err
		}
		r.Authorities = append(r.Authorities, more...)
	}
	return r, nil
}

// setRules makes what [access] says count from now on, also for the connections that stand. The authorities' files are read
// again even if nothing else has changed. e says for the audit log who has changed it.
func (d *door) setRules(a config.Access, e audit.Event) error {
	d.changing.Lock()
	defer d.changing.Unlock()
	r, err := d.rulesOf(a)
	if err != nil {
		return err
	}
	if err := d.access.SetRules(r); err != nil {
		return err
	}
	if told := ruleChanges(d.rules, a); told != "" {
		e.ID, e.OK, e.Text = audit.AccessChanged, true, told
		d.audit.Record(e)
	}
	d.rules = a
	return nil
}

// reread takes over what somebody has written into [access] by hand.
func (d *door) reread(stateDir string) error {
	cfg, err := config.Load(stateDir)
	if err != nil {
		return err
	}
	return d.setRules(cfg.Access, audit.Event{By: byFile})
}

// A ruleRow is what holds for a server name, as `postern access rules` tells.
type ruleRow struct {
	Server      string       `json:"server"` // "*": all that have no line of their own
	Certificate access.When  `json:"client_certificate"`
	AnyTrusted  bool         `json:"any_trusted"`
	Pipes       access.Pipes `json:"named_pipes"`
	Authorities []string     `json:"authorities"` // files; the box's own is trusted beside them
}

func (r ruleRow) String() string {
	return fmt.Sprintf("%s: client_certificate = %s, any_trusted = %t, named_pipes = %s", r.Server, r.Certificate, r.AnyTrusted, r.Pipes)
}

// ruleRows are the rules that count.
func (d *door) ruleRows() []ruleRow {
	d.changing.Lock()
	defer d.changing.Unlock()
	return ruleRows(d.rules)
}

// ruleRows are the rules, those for all names first.
func ruleRows(a config.Access) []ruleRow {
	row := func(name string, r access.Rule) ruleRow {
		return ruleRow{name, r.Certificate, r.Trusted, r.Pipes, append([]string{}, a.Authorities...)}
	}
	list := []ruleRow{row("*", a.Rule)}
	for name, r := range a.Servers {
		list = append(list, row(name, r))
	}
	slices.SortFunc(list, func(a, b ruleRow) int { return strings.Compare(a.Server, b.Server) }) // "*" is before any letter
	return list
}

// ruleChanges says what is new in the rules.
func ruleChanges(old, now config.Access) string {
	var told []string
	before := ruleRows(old)
	for _, r := range ruleRows(now) {
		i := slices.IndexFunc(before, func(b ruleRow) bool { return b.Server == r.Server })
		if i < 0 || before[i].String() != r.String() {
			told = append(told, r.String())
		}
		if i >= 0 {
			before = slices.Delete(before, i, i+1)
		}
	}
	for _, gone := range before {
		told = append(told, gone.Server+": as the others")
	}
	if !reflect.DeepEqual(old.Authorities, now.Authorities) {
		told = append(told, fmt.Sprintf("authorities = %q", now.Authorities))
	}
	return strings.Join(told, "; ")
}

// pipes says what clients of a server name are offered of IPC$; shown, whether they have shown a certificate.
func (d *door) pipes(name string, shown bool) smb.Pipes {
	switch pipes, readOnly := d.access.Pipes(name, shown); {
	case !pipes:
		return smb.NoPipes
	case readOnly:
		return smb.SeePipes
	}
	return smb.AllPipes
}

// A ruleChange is what a command says of a server name's rule. What is nil stays as it is.
type ruleChange struct {
	Server      string  `json:"server,omitempty"` // "": all that have none of their own
	Certificate *string `json:"client_certificate,omitempty"`
	AnyTrusted  *bool   `json:"any_trusted,omitempty"`
	Pipes       *string `json:"named_pipes,omitempty"`
}

// settings are those of postern.toml.
func (c ruleChange) settings() (list []config.Setting) {
	if c.Certificate != nil {
		list = append(list, config.Setting{Key: "client_certificate", Value: *c.Certificate})
	}
	if c.AnyTrusted != nil {
		list = append(list, config.Setting{Key: "any_trusted", Value: *c.AnyTrusted})
	}
	if c.Pipes != nil {
		list = append(list, config.Setting{Key: "named_pipes", Value: *c.Pipes})
	}
	return list
}

// write writes the change into postern.toml. names are the server's.
func (c ruleChange) write(stateDir string, names []string) (*config.Config, error) {
	if c.Server != "" && !slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, c.Server) }) {
		return nil, fmt.Errorf("the server has no name %s; it is called %s", strconv.Quote(c.Server), strings.Join(names, ", "))
	}
	list := c.settings()
	if len(list) == 0 {
		return nil, errors.New("which rule?")
	}
	return config.SetAccess(stateDir, strings.ToLower(c.Server), list...)
}

// setAccess changes the rules of who gets in over QUIC, in postern.toml and for those who are in.
func (h *house) setAccess(ctx context.Context, c ruleChange, names []string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	now, err := c.write(h.state, names)
	if err != nil {
		return err
	}
	return h.applyAccess(ctx, now.Access)
}

// applyAccess makes the rules count that have been written into postern.toml.
func (h *house) applyAccess(ctx context.Context, a config.Access) error {
	if err := h.door.setRules(a, audit.Event{By: byWhom(ctx), Address: web.By(ctx).From}); err != nil {
		return fmt.Errorf("it is kept, and does not count yet: %w", err)
	}
	h.w.nudge()
	return nil
}

// accessRules tells without a server what postern.toml says.
func (r *remote) accessRules([]string) error {
	list := []ruleRow{}
	err := r.ask(r.ctx, "/access/rules", ask{}, &list)
	if errors.Is(err, errNotRunning) {
		var cfg *config.Config
		if cfg, err = settings(r.o); err == nil {
			list = ruleRows(cfg.Access)
		}
	}
	if err != nil {
		return err
	}
	return r.show(list, "SERVER\tCERTIFICATE\tANY TRUSTED\tNAMED PIPES", func(w io.Writer) {
		for _, row := range list {
			fmt.Fprintf(w, "%s\t%s\t%t\t%s\n", plain(row.Server), row.Certificate, row.AnyTrusted, row.Pipes)
		}
	})
}

// accessSet changes postern.toml itself if no server runs.
func (r *remote) accessSet(words []string) error {
	c := ruleChange{Server: strings.Join(words, "")}
	if r.given["client-certificate"] {
		c.Certificate = &r.certificate
	}
	if r.given["any-trusted"] {
		c.AnyTrusted = &r.trusted
	}
	if r.given["named-pipes"] {
		c.Pipes = &r.pipes
	}
	if len(c.settings()) == 0 {
		return errUsage("no rule is said; usage:\n" + usageOf(r.verb))
	}
	err := r.do(r.path(), ask{Rule: &c})
	if !errors.Is(err, errNotRunning) {
		return err
	}
	cfg, err := settings(r.o)
	if err != nil {
		return err
	}
	if _, err := c.write(r.dir, serverNames(cfg, r.o.demo)); err != nil {
		return err
	}
	return r.said()
}
