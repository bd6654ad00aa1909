package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"rsc.io/qr"

	"github.com/postern-nas/postern/firmware/access"
	"github.com/postern-nas/postern/firmware/audit"
	"github.com/postern-nas/postern/firmware/config"
	"github.com/postern-nas/postern/firmware/pairing"
	"github.com/postern-nas/postern/smb"
)

// errNotRunning says that there is nobody to talk to.
var errNotRunning = errors.New("no server runs on this state folder; start it with postern -state DIR")

// A line is one connection to the running server.
type line struct{ dir string }

// raw sends a request and returns the answer's body, to be closed.
func (l line) raw(ctx context.Context, path string, a ask) (io.ReadCloser, error) {
	body, err := json.Marshal(a)
	if err != nil {
		return nil, err
	}
	name, done, err := socket(l.dir)
	if err != nil {
		return nil, err
	}
	defer done()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", name)
	}}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://postern"+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	switch {
	case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ECONNREFUSED):
		return nil, errNotRunning
	case err != nil:
		return nil, err
	}
	if resp.StatusCode == http.StatusOK {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	var bad struct{ Error string }
	if json.NewDecoder(io.LimitReader(resp.Body, 64<<10)).Decode(&bad) != nil || bad.Error == "" {
		return nil, fmt.Errorf("the running server does not know this: %s; is it of another version?", resp.Status)
	}
	return nil, errors.New(bad.Error)
}

// ask is raw for answers in JSON.
func (l line) ask(ctx context.Context, path string, a ask, out any) error {
	body, err := l.raw(ctx, path, a)
	if err != nil {
		return err
	}
	defer body.Close()
	return json.NewDecoder(body).Decode(out)
}

// remoteCommands are those that talk to the running server, with what they take.
var remoteCommands = []struct{ words, takes, does string }{
	{"status", "", "what the server is doing"},
	{"access list", "", "who is granted and blocked, beside the paired devices"},
	{"access grant", "[SERVER] -sha256 HASH | -issuer NAME [-description TEXT]", "let clients in by their certificate or its issuer"},
	{"access revoke", "[SERVER] -sha256 HASH | -issuer NAME", "take a grant back"},
	{"access block", "[SERVER] -sha256 HASH | -issuer NAME [-description TEXT]", "keep clients out, whoever grants them access"},
	{"access unblock", "[SERVER] -sha256 HASH | -issuer NAME", "take a block back"},
	{"device list", "", "the paired devices"},
	{"pair", "[USER]", "let a device in: shows the code, waits, and asks before it is given its certificate; with -json each change is a line"},
	{"unpair", "DEVICE | -all", "keep a paired device out, by its name or ID, and cut its connections"},
	{"audit", "[-event NAME] [-user NAME] [-device NAME] [-text TEXT] [-failed] [-since DURATION] [-limit N] [-export csv|jsonl]", "what has happened"},
	{"share list", "", "what is shared, as the configuration says"},
	{"session list", "", "who is connected"},
	{"session close", "ID", "end a session and what it has open"},
	{"openfile list", "", "what is open"},
	{"openfile close", "ID", "close a file that a client has open"},
	{"completion", "bash | zsh | fish", "the completion of these commands for a shell"},
}

// remoteUsage is their part of the help.
func remoteUsage() string {
	var b strings.Builder
	for _, c := range remoteCommands {
		fmt.Fprintf(&b, "  postern -state DIR %s\n        %s\n", strings.TrimSpace(c.words+" "+c.takes), c.does)
	}
	return b.String()
}

// A remote is one such command on its way.
type remote struct {
	line
	ctx       context.Context
	in        io.Reader
	out, errs io.Writer
	flags     *flag.FlagSet
	json      bool

	sha256, issuer, description          string
	all, failed                          bool
	event, user, device, text, as, since string
	limit                                int
}

// findRemote reports whether words are a command that talks to the running server, and of how many of them it consists.
func findRemote(words []string) (name string, n int) {
	for n := min(2, len(words)); n > 0; n-- {
		name := strings.Join(words[:n], " ")
		for _, c := range remoteCommands {
			if c.words == name {
				return name, n
			}
		}
	}
	return "", 0
}

// runRemote runs one.
func runRemote(ctx context.Context, dir, name string, args []string, in io.Reader, out, errs io.Writer) error {
	r := &remote{line: line{dir}, ctx: ctx, in: in, out: out, errs: errs, flags: flag.NewFlagSet(name, flag.ContinueOnError)}
	f := r.flags
	f.SetOutput(io.Discard)
	f.BoolVar(&r.json, "json", false, "write JSON")
	switch noun, _, _ := strings.Cut(name, " "); noun {
	case "access":
		f.StringVar(&r.sha256, "sha256", "", "")
		f.StringVar(&r.issuer, "issuer", "", "")
		f.StringVar(&r.description, "description", "", "")
	case "unpair":
		f.BoolVar(&r.all, "all", false, "")
	case "audit":
		f.StringVar(&r.event, "event", "", "")
		f.StringVar(&r.user, "user", "", "")
		f.StringVar(&r.device, "device", "", "")
		f.StringVar(&r.text, "text", "", "")
		f.BoolVar(&r.failed, "failed", false, "")
		f.StringVar(&r.since, "since", "", "")
		f.StringVar(&r.as, "export", "", "")
		f.IntVar(&r.limit, "limit", 0, "")
	}
	// Flags may stand before and behind the words.
	var words []string
	for len(args) > 0 {
		if err := f.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				fmt.Fprint(out, "Usage:\n"+usageOf(name))
				return err
			}
			return errUsage(fmt.Sprintf("%v; usage:\n%s", err, usageOf(name)))
		}
		if args = f.Args(); len(args) > 0 {
			words, args = append(words, args[0]), args[1:]
		}
	}
	if want := map[string][2]int{
		"access grant": {0, 1}, "access revoke": {0, 1}, "access block": {0, 1}, "access unblock": {0, 1}, "pair": {0, 1}, "unpair": {0, 1},
		"session close": {1, 1}, "openfile close": {1, 1}, "completion": {1, 1},
	}[name]; len(words) < want[0] || len(words) > want[1] {
		return errUsage("usage:\n" + usageOf(name))
	}
	word := ""
	if len(words) > 0 {
		word = words[0]
	}
	switch name {
	case "status":
		return r.status()
	case "access list":
		return r.accessList()
	case "access grant", "access revoke", "access block", "access unblock":
		if (r.sha256 == "") == (r.issuer == "") {
			return errUsage("one of -sha256 and -issuer says whom; usage:\n" + usageOf(name))
		}
		e := access.Entry{Server: word, SHA256: r.sha256, Issuer: r.issuer, Description: r.description}
		return r.do("/"+strings.ReplaceAll(name, " ", "/"), ask{Entry: &e})
	case "device list":
		return r.deviceList()
	case "pair":
		return r.pair(word)
	case "unpair":
		if (word == "") == !r.all {
			return errUsage("a device or -all; usage:\n" + usageOf(name))
		}
		return r.do("/device/unpair", ask{ID: word, All: r.all})
	case "audit":
		return r.audit()
	case "share list":
		return r.shareList()
	case "session list":
		return r.sessionList()
	case "openfile list":
		return r.fileList()
	case "session close", "openfile close":
		return r.do("/"+strings.ReplaceAll(name, " ", "/"), ask{ID: word})
	case "completion":
		return completion(out, word)
	}
	return errUsage(fmt.Sprintf("%q is no command", name))
}

func usageOf(name string) string {
	for _, c := range remoteCommands {
		if c.words == name {
			return fmt.Sprintf("  postern -state DIR %s [-json]\n        %s\n", strings.TrimSpace(c.words+" "+c.takes), c.does)
		}
	}
	return ""
}

// do is a command that only says whether it worked.
func (r *remote) do(path string, a ask) error {
	var nothing struct{}
	if err := r.ask(r.ctx, path, a, &nothing); err != nil {
		return err
	}
	if r.json {
		fmt.Fprintln(r.out, "{}")
	}
	return nil
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

func (r *remote) status() error {
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

func (r *remote) accessList() error {
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

func (r *remote) deviceList() error {
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
	return r.show(shown, "DEVICE\tUSER\tPAIRED\tUNTIL\tLAST SEEN\tFROM\tID", func(w io.Writer) {
		for _, d := range list {
			from := "-"
			if d.Address.IsValid() {
				from = d.Address.String()
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", plain(d.Name), plain(d.User), d.Issued.Format(time.DateOnly), d.NotAfter.Format(time.DateOnly),
				moment(d.LastSeen), from, d.ID)
		}
	})
}

// pair leads through a pairing at the terminal.
func (r *remote) pair(user string) error {
	var a *pairing.Attempt
	if err := r.ask(r.ctx, "/pair/start", ask{User: user}, &a); err != nil {
		return err
	}
	id := a.ID
	say := func(format string, args ...any) {
		if !r.json {
			fmt.Fprintf(r.out, format, args...)
		}
	}
	tell := func(a *pairing.Attempt) { // with -json: the attempt, a line for each change
		if r.json {
			_ = json.NewEncoder(r.out).Encode(a)
		}
	}
	tell(a)
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.ctx), 5*time.Second)
		defer cancel()
		var nothing struct{}
		_ = r.ask(ctx, "/pair/stop", ask{ID: id}, &nothing) // it may be over already
	}()
	if a.URL != "" && !r.json {
		if code, err := qr.Encode(a.URL, qr.L); err == nil {
			drawQR(r.out, code)
		}
	}
	say("On the PC, in the same network, open\n\n  %s\n\nand type  %s\n\nWaiting until %s. Ctrl-C stops.\n", a.Page, a.Typed, a.Until.Local().Format("15:04"))
	lines := bufio.NewReader(r.in)
	asked := false
	for {
		var now *pairing.Attempt
		if err := r.ask(r.ctx, "/pair/look", ask{}, &now); err != nil {
			return err
		}
		if now == nil || now.ID != id {
			return errors.New("the pairing was stopped")
		}
		switch now.Phase {
		case pairing.Asking:
			if asked {
				break
			}
			asked = true
			tell(now)
			say("\n%s at %s asks. It has to show this code:\n\n  %s\n\nLet it in? Type yes or no: ", plain(now.Device), now.Address, now.Confirm)
			word, err := lines.ReadString('\n')
			if err != nil && word == "" {
				return err
			}
			var nothing struct{}
			if err := r.ask(r.ctx, "/pair/answer", ask{ID: id, Accept: strings.EqualFold(strings.TrimSpace(word), "yes")}, &nothing); err != nil {
				return err
			}
			continue
		case pairing.Paired:
			tell(now)
			say("%s is paired.\n", plain(now.Device))
			return nil
		case pairing.Refused:
			tell(now)
			return errors.New("not paired: " + now.Reason)
		}
		select {
		case <-r.ctx.Done():
			return errors.New("stopped")
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// drawQR draws a code with half blocks, two rows a line, dark on light whatever the terminal's colours are.
func drawQR(w io.Writer, code *qr.Code) {
	const quiet = 2
	for y := -quiet; y < code.Size+quiet; y += 2 {
		var b strings.Builder
		b.WriteString("\x1b[30;107m")
		for x := -quiet; x < code.Size+quiet; x++ {
			b.WriteString(map[[2]bool]string{
				{false, false}: " ", {true, false}: "▀", {false, true}: "▄", {true, true}: "█",
			}[[2]bool{code.Black(x, y), code.Black(x, y+1)}])
		}
		fmt.Fprintln(w, b.String()+"\x1b[0m")
	}
}

func (r *remote) audit() error {
	q := audit.Query{User: r.user, Device: r.device, Text: r.text, Failed: r.failed, Limit: cmp.Or(r.limit, 50)}
	if r.event != "" {
		for name := range strings.SplitSeq(r.event, ",") {
			id, ok := audit.ParseID(strings.TrimSpace(name))
			if !ok {
				var known []string
				for _, id := range audit.Known() {
					known = append(known, id.String())
				}
				return errUsage(fmt.Sprintf("no event is called %q; there are %s", name, strings.Join(known, ", ")))
			}
			q.IDs = append(q.IDs, id)
		}
	}
	if r.since != "" {
		d, err := time.ParseDuration(r.since)
		if err != nil || d < 0 {
			return errUsage(fmt.Sprintf("-since %q is no time such as 24h or 30m", r.since))
		}
		q.From = time.Now().Add(-d)
	}
	if r.as != "" {
		if !slices.Contains([]audit.Format{audit.CSV, audit.JSONLines}, audit.Format(r.as)) {
			return errUsage(fmt.Sprintf("-export %q: csv and jsonl are known", r.as))
		}
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
			from := ""
			if e.Address.IsValid() {
				from = e.Address.String()
			}
			fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t%s\t%s\t%s\n", moment(e.Time), int(e.ID), e.Name, e.User, e.Device, from, e.Share, e.Text)
		}
	})
}

// shareList needs no server: what is shared stands in the configuration.
func (r *remote) shareList() error {
	cfg, err := config.Load(r.dir)
	if err != nil {
		return err
	}
	type row struct {
		Name, Path, Comment string
		ReadOnly            bool
	}
	list := make([]row, len(cfg.Shares))
	for i, s := range cfg.Shares {
		list[i] = row{s.Name, s.Path, s.Comment, s.ReadOnly}
	}
	return r.show(list, "SHARE\tFOLDER\tCOMMENT", func(w io.Writer) {
		for _, s := range list {
			fmt.Fprintf(w, "%s\t%s\t%s\n", s.Name, s.Path, s.Comment)
		}
	})
}

func (r *remote) sessionList() error {
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

func (r *remote) fileList() error {
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

// completion writes a shell's completion of the commands' words.
func completion(w io.Writer, shell string) error {
	first := map[string][]string{"user": {"add", "password", "disable", "enable", "promote", "demote", "remove", "list"}, "cert": {"show"}, "version": nil, "help": nil}
	for _, c := range remoteCommands {
		noun, verb, _ := strings.Cut(c.words, " ")
		if first[noun] == nil {
			first[noun] = []string{}
		}
		if verb != "" {
			first[noun] = append(first[noun], verb)
		}
	}
	nouns := make([]string, 0, len(first))
	for noun := range first {
		nouns = append(nouns, noun)
	}
	slices.Sort(nouns)
	switch shell {
	case "bash", "zsh":
		if shell == "zsh" {
			fmt.Fprintln(w, "autoload -U +X bashcompinit && bashcompinit")
		}
		fmt.Fprintln(w, "_postern() {\n  local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}\n  case $before in")
		fmt.Fprintln(w, "    -state) COMPREPLY=($(compgen -d -- \"$word\")); return ;;")
		for _, noun := range nouns {
			if len(first[noun]) > 0 {
				fmt.Fprintf(w, "    %s) COMPREPLY=($(compgen -W %q -- \"$word\")); return ;;\n", noun, strings.Join(first[noun], " "))
			}
		}
		fmt.Fprintf(w, "  esac\n  COMPREPLY=($(compgen -W \"-state %s -json\" -- \"$word\"))\n}\ncomplete -F _postern postern\n", strings.Join(nouns, " "))
	case "fish":
		fmt.Fprintln(w, "complete -c postern -f\ncomplete -c postern -o state -r -a '(__fish_complete_directories)'\ncomplete -c postern -o json")
		for _, noun := range nouns {
			fmt.Fprintf(w, "complete -c postern -n 'not __fish_seen_subcommand_from %s' -a %s\n", strings.Join(nouns, " "), noun)
			for _, verb := range first[noun] {
				fmt.Fprintf(w, "complete -c postern -n '__fish_seen_subcommand_from %s' -a %s\n", noun, verb)
			}
		}
	default:
		return errUsage(fmt.Sprintf("no completion for %q: bash, zsh and fish are known", shell))
	}
	return nil
}

// toldUser is user, and tells the server that runs, if one does: what was changed holds at once, and stands in its log.
func toldUser(o options, words []string, in io.Reader, out, errs io.Writer) error {
	if err := user(o, words, in, out, errs); err != nil || len(words) != 2 {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var nothing struct{}
	err := line{o.state}.ask(ctx, "/user/changed", ask{ID: words[0], User: words[1]}, &nothing)
	if errors.Is(err, errNotRunning) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("the change is made, and the running server hears of it when it is restarted: %w", err)
	}
	return nil
}
