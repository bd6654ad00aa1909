package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
)

// A verb is one command, as it is called, explained, completed and run.
type verb struct {
	words string // noun, or noun and verb
	takes string // what follows, for people
	does  string
	flags string // those that it knows beside -json, -state and -box
	min   int    // words that must follow
	max   int    // words that may; more for any number
	run   func(r *remote, words []string) error
}

const more = 1 << 10

// verbs are all commands but those that serve and explain, in the order of the help. One table, and two doors: each does
// the same over the socket in the state folder and over the box's page.
func verbs() []verb {
	entry := "sha256 issuer"
	lists := " comment read-only encrypt hidden read write everybody"
	return []verb{
		{"status", "", "what the server is doing", "", 0, 0, (*remote).status},

		{"share list", "", "what is shared", "", 0, 0, (*remote).shareList},
		{"share add", "NAME [FOLDER]", "share a folder, by default a new one of that name", strings.TrimSpace(lists), 1, 2, (*remote).shareChange},
		{"share set", "NAME", "change what is said by flags, and nothing else", strings.TrimSpace(lists), 1, 1, (*remote).shareChange},
		{"share remove", "NAME", "share it no more; its files stay", "", 1, 1, (*remote).byID},
		{"share close", "NAME", "end what is open in it; who uses it connects again", "", 1, 1, (*remote).byID},

		{"user list", "", "who may sign in", "", 0, 0, (*remote).userList},
		{"user add", "NAME", "make a user; the password is read from the standard input", "", 1, 1, (*remote).userChange},
		{"user password", "NAME", "give a user another password, read from the standard input", "", 1, 1, (*remote).userChange},
		{"user disable", "NAME", "keep a user out for now", "", 1, 1, (*remote).userChange},
		{"user enable", "NAME", "let a user in again", "", 1, 1, (*remote).userChange},
		{"user promote", "NAME", "make a user an administrator, who manages shares and permissions from Windows", "", 1, 1, (*remote).userChange},
		{"user demote", "NAME", "make a user an administrator no more", "", 1, 1, (*remote).userChange},
		{"user own", "NAME", "make a user an owner, who looks after the box by its page", "", 1, 1, (*remote).userChange},
		{"user disown", "NAME", "make a user an owner no more", "", 1, 1, (*remote).userChange},
		{"user remove", "NAME", "forget a user; the files stay", "", 1, 1, (*remote).userChange},
		{"user close", "NAME", "end a user's sessions", "", 1, 1, (*remote).userClose},

		{"session list", "", "who is connected", "", 0, 0, (*remote).sessionList},
		{"session close", "ID", "end a session and what it has open", "", 1, 1, (*remote).byID},
		{"openfile list", "", "what is open", "", 0, 0, (*remote).fileList},
		{"openfile close", "ID", "close a file that a client has open", "", 1, 1, (*remote).byID},

		{"pair", "[USER]", "let a device in: shows a code, waits, and asks before it is given its certificate; with -json each change is a line", "", 0, 1, (*remote).pair},
		{"pair --with", "ADDRESS CODE", "be let in, from this computer: makes a key, and gets it the certificate that -box then uses", "name ca fingerprint", 1, 2, (*remote).pairWith},
		{"unpair", "DEVICE", "keep a paired device out, by its name or ID, and cut its connections", "all", 0, 1, (*remote).unpair},
		{"device list", "", "the paired devices", "", 0, 0, (*remote).deviceList},
		{"device promote", "DEVICE [OWNER]", "let a paired device administer the box for an owner, without a password", "", 1, 2, (*remote).deviceOwner},
		{"device demote", "DEVICE", "let it administer the box no more", "", 1, 1, (*remote).deviceOwner},

		{"access list", "", "who is granted and blocked, beside the paired devices", "", 0, 0, (*remote).accessList},
		{"access rules", "", "which server names ask for a certificate, and what they offer beside files", "", 0, 0, (*remote).accessRules},
		{"access set", "[SERVER]", "change these rules, for one name or for all that have none of their own", "client-certificate any-trusted named-pipes", 0, 1, (*remote).accessSet},
		{"access grant", "[SERVER]", "let clients in by their certificate or its issuer", entry + " description", 0, 1, (*remote).accessChange},
		{"access revoke", "[SERVER]", "take a grant back", entry, 0, 1, (*remote).accessChange},
		{"access block", "[SERVER]", "keep clients out, whoever grants them access", entry + " description", 0, 1, (*remote).accessChange},
		{"access unblock", "[SERVER]", "take a block back", entry, 0, 1, (*remote).accessChange},

		{"cert show", "", "what clients have to trust", "", 0, 0, (*remote).certShow},
		{"cert list", "", "the server's certificates, and how long they hold", "", 0, 0, (*remote).certList},
		{"cert csr", "NAME...", "a request for another authority, with a key that stays on the box", "", 1, more, (*remote).certRequest},
		{"cert import", "CHAIN.pem [KEY.pem]", "serve a certificate of yours for the names it covers; - is the standard input", "", 1, 2, (*remote).certImport},
		{"cert remove", "ID", "serve it no more", "", 1, 1, (*remote).certRemove},

		{"audit", "", "what has happened", "event user device text failed since limit export follow", 0, 0, (*remote).audit},

		{"key status", "", "where the keys are, and what opens them", "", 0, 0, (*remote).keys},
		{"key recover", "", "open them with the recovery code, and seal them again", "", 0, 0, (*remote).keys},
		{"key code", "", "make another recovery code", "", 0, 0, (*remote).keys},
		{"key reseal", "", "bind them to the system that runs now", "", 0, 0, (*remote).keys},
		{"key reset", "", "give up keys that nothing opens: a new identity", "yes", 0, 0, (*remote).keys},
		{"update status", "", "on a box: what it runs", "", 0, 0, (*remote).updates},
		{"update check", "", "whether the feed has something newer", "", 0, 0, (*remote).updates},
		{"update install", "FILE", "write an update; the next restart tries it", "", 1, 1, (*remote).updates},

		{"box list", "", "the boxes that -box knows", "", 0, 0, (*remote).boxList},
		{"box add", "ADDRESS", "know a box by a certificate that you have, as one made by pair --with is known already", "cert key ca fingerprint", 1, 1, (*remote).boxAdd},
		{"box use", "ADDRESS", "mean this box where neither -box nor -state is said", "", 1, 1, (*remote).boxUse},
		{"box forget", "ADDRESS", "forget a box, with this computer's certificate for it", "", 1, 1, (*remote).boxForget},

		{"completion", "bash | zsh | fish | powershell", "the completion of these commands, for a shell", "", 1, 1, (*remote).completion},
	}
}

// nouns explain what each group of commands is about. Those without a line have one command alone.
var nouns = []struct{ noun, about, example string }{
	{"share", "Shares are folders that are served. Every user may use one, unless -read or -write name who may.", `postern share add photos -write alice -read bob,carol -comment "Holidays"`},
	{"user", "Users sign in with a password. Changes hold at once; whom they keep out loses his connections.", "postern user add alice < password.txt"},
	{"session", "A session is a user at one computer.", "postern session list"},
	{"openfile", "What clients have open. A file that is closed here loses what its client has not written.", "postern openfile list --json"},
	{"pair", "A paired device is let in by its certificate, over QUIC. To administer the box by it takes one word more: device promote. A PC undoes its pairing with postern-unpair.cmd, which the box's page has under Connect; unpair, here, keeps a device out without it.", "postern pair alice\n  postern pair --with nas.example.net 12345678"},
	{"device", "Paired devices. One that administers the box does so for an owner: by this command line, and on the page without a password. None does until an owner says so.", "postern device promote laptop olga"},
	{"access", "Beside the paired devices: certificates that are let in or kept out, by SHA-256 or by issuer. A block wins over a grant. Without SERVER it holds for all names of the server. Changes hold at once, also for who is connected.", `postern access block -issuer "CN=Contoso CA, DC=Contoso, DC=com"` + "\n  postern access set nas.example.org -client-certificate always"},
	{"cert", "The server's certificates. Its own authority's renews itself; one of yours is served for the names that it covers.", "postern cert csr nas.example.net > nas.csr"},
	{"audit", "The audit log, the newest event first; with -follow as it happens.", "postern audit -failed -since 24h\n  postern audit -follow -event logon,logon-failed"},
	{"key", "The server's keys, on the machine itself: sealed with its TPM, or in files.", "postern -state DIR key status"},
	{"update", "The system of a box, on the box itself.", "postern -state DIR update check"},
	{"box", "Boxes that this computer administers over the network: those that it was paired with, by pair --with, and that let it, by device promote.", "postern -box nas.example.net status"},
}

// A flagKind is a flag of commands.
type flagKind struct {
	name, takes, does string
	add               func(f *flag.FlagSet, r *remote, name string)
}

var flagKinds = []flagKind{
	{"sha256", "HASH", "the certificate, or one above it", text(func(r *remote) *string { return &r.sha256 })},
	{"issuer", "NAME", "who has signed it, as in CN=Contoso CA, DC=Contoso, DC=com", text(func(r *remote) *string { return &r.issuer })},
	{"description", "TEXT", "for whom it is", text(func(r *remote) *string { return &r.description })},
	{"client-certificate", "paired | always | never", "when a client has to show one", text(func(r *remote) *string { return &r.certificate })},
	{"any-trusted", "", "let in every certificate of a trusted authority; -any-trusted=false takes it back", yes(func(r *remote) *bool { return &r.trusted })},
	{"named-pipes", "paired | all | none", "what there is beside files: the list of shares for who shows a certificate, all, or nothing", text(func(r *remote) *string { return &r.pipes })},
	{"all", "", "all of them", yes(func(r *remote) *bool { return &r.all })},
	{"event", "NAME,...", "only these events", text(func(r *remote) *string { return &r.event })},
	{"user", "NAME", "only of this user", text(func(r *remote) *string { return &r.user })},
	{"device", "NAME", "only of this device", text(func(r *remote) *string { return &r.device })},
	{"text", "TEXT", "only with this anywhere in them", text(func(r *remote) *string { return &r.text })},
	{"failed", "", "only what went wrong", yes(func(r *remote) *bool { return &r.failed })},
	{"since", "DURATION", "only since so long ago, as in 24h", text(func(r *remote) *string { return &r.since })},
	{"limit", "N", "at most so many; 50 if not said", func(f *flag.FlagSet, r *remote, name string) { f.IntVar(&r.limit, name, 0, "") }},
	{"export", "csv | jsonl", "all that match, as a file", text(func(r *remote) *string { return &r.as })},
	{"follow", "", "go on with what happens from now on, until Ctrl-C", yes(func(r *remote) *bool { return &r.follow })},
	{"comment", "TEXT", "what it is, for those who look for shares", text(func(r *remote) *string { return &r.comment })},
	{"read-only", "", "nobody writes; -read-only=false takes it back", yes(func(r *remote) *bool { return &r.readOnly })},
	{"encrypt", "", "over TCP, too, only encrypted", yes(func(r *remote) *bool { return &r.encrypt })},
	{"hidden", "", "in no list", yes(func(r *remote) *bool { return &r.hidden })},
	{"read", "USER,...", "who may read; nobody else may use it then", text(func(r *remote) *string { return &r.readers })},
	{"write", "USER,...", "who may read and write; nobody else may use it then", text(func(r *remote) *string { return &r.writers })},
	{"everybody", "", "every user may use it", yes(func(r *remote) *bool { return &r.everybody })},
	{"name", "NAME", "what this computer is called on the box; its host name if not said", text(func(r *remote) *string { return &r.name })},
	{"ca", "FILE", "PEM of the authority that the box's certificate comes from", text(func(r *remote) *string { return &r.ca })},
	{"fingerprint", "SHA256", "of the box's own authority, as its page and postern cert show tell", text(func(r *remote) *string { return &r.fingerprint })},
	{"cert", "FILE", "PEM of this computer's certificate", text(func(r *remote) *string { return &r.certFile })},
	{"key", "FILE", "PEM of its key", text(func(r *remote) *string { return &r.keyFile })},
	{"yes", "", "it is meant", yes(func(r *remote) *bool { return &r.yes })},
}

func text(to func(*remote) *string) func(*flag.FlagSet, *remote, string) {
	return func(f *flag.FlagSet, r *remote, name string) { f.StringVar(to(r), name, "", "") }
}

func yes(to func(*remote) *bool) func(*flag.FlagSet, *remote, string) {
	return func(f *flag.FlagSet, r *remote, name string) { f.BoolVar(to(r), name, false, "") }
}

// A remote is a command on its way.
type remote struct {
	line
	verb      verb
	ctx       context.Context
	o         options
	in        io.Reader
	out, errs io.Writer
	given     map[string]bool // flags that were said
	json      bool

	sha256, issuer, description              string
	certificate, pipes                       string
	trusted                                  bool
	all, failed, follow, yes                 bool
	event, user, device, text, as, since     string
	limit                                    int
	comment, readers, writers                string
	readOnly, encrypt, hidden, everybody     bool
	name, ca, fingerprint, certFile, keyFile string
}

// findVerb finds the command that words begin with, and what follows it.
func findVerb(words []string) (v verb, rest []string, ok bool) {
	if i := slices.IndexFunc(words, func(w string) bool { return w == "--with" || w == "-with" }); i > 0 && words[0] == "pair" {
		words = slices.Concat([]string{"pair", "--with"}, words[1:i], words[i+1:]) // it is a command of its own
	}
	for n := min(2, len(words)); n > 0; n-- {
		name := strings.Join(words[:n], " ")
		for _, v := range verbs() {
			if v.words == name {
				return v, words[n:], true
			}
		}
	}
	return verb{}, nil, false
}

// isNoun says whether there are commands that begin with a word.
func isNoun(word string) bool {
	return slices.ContainsFunc(verbs(), func(v verb) bool { noun, _, _ := strings.Cut(v.words, " "); return noun == word })
}

// runVerb runs a command with what follows its name.
func runVerb(ctx context.Context, o options, v verb, args []string, in io.Reader, out, errs io.Writer) error {
	r := &remote{verb: v, ctx: ctx, o: o, in: in, out: out, errs: errs, given: make(map[string]bool)}
	f := flag.NewFlagSet(v.words, flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.BoolVar(&r.json, "json", false, "")
	f.StringVar(&r.o.state, "state", o.state, "")
	f.StringVar(&r.o.boxAddr, "box", o.boxAddr, "")
	known := strings.Fields(v.flags)
	for _, k := range flagKinds {
		if slices.Contains(known, k.name) {
			k.add(f, r, k.name)
		}
	}
	// Flags may stand before and behind the words.
	var words []string
	for len(args) > 0 {
		if err := f.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				fmt.Fprint(out, "Usage:\n", usageOf(v))
				return err
			}
			return errUsage(fmt.Sprintf("%v; usage:\n%s", err, usageOf(v)))
		}
		if args = f.Args(); len(args) > 0 {
			words, args = append(words, args[0]), args[1:]
		}
	}
	f.Visit(func(f *flag.Flag) { r.given[f.Name] = true })
	if len(words) < v.min || len(words) > v.max {
		return errUsage("usage:\n" + usageOf(v))
	}
	if !r.atHome() {
		if err := r.open(); err != nil {
			return err
		}
	}
	return v.run(r, words)
}

// atHome says whether a command is about this computer, and needs no server.
func (r *remote) atHome() bool {
	noun, _, _ := strings.Cut(r.verb.words, " ")
	return noun == "box" || noun == "completion" || r.verb.words == "pair --with"
}

// open chooses between the two doors: -state or -box, what the environment says, or the box that was chosen by box use.
func (r *remote) open() error {
	var err error
	if r.dir, r.box, err = r.o.door(); err != nil {
		return err
	}
	noun, _, _ := strings.Cut(r.verb.words, " ")
	if r.box != nil && (noun == "key" || noun == "update") {
		return errUsage(fmt.Sprintf("%s is for the machine itself: say -state DIR there", r.verb.words))
	}
	r.o.state = r.dir
	return nil
}

// usageOf explains one command.
func usageOf(v verb) string {
	var b strings.Builder
	takes := v.takes
	known := strings.Fields(v.flags)
	if len(known) > 0 {
		takes += " [FLAGS]"
	}
	fmt.Fprintf(&b, "  postern %s\n        %s\n", strings.TrimSpace(strings.TrimSpace(v.words+" "+takes)+" [-json]"), v.does)
	for _, k := range flagKinds {
		if slices.Contains(known, k.name) {
			fmt.Fprintf(&b, "          %-22s %s\n", strings.TrimSpace("-"+k.name+" "+k.takes), k.does)
		}
	}
	return b.String()
}

// help explains everything, or a noun.
func help(out io.Writer, words []string) error {
	if len(words) == 0 {
		fmt.Fprint(out, usage)
		for _, v := range verbs() {
			fmt.Fprintf(out, "  postern %-36s %s\n", strings.TrimSpace(v.words+" "+v.takes), v.does)
		}
		fmt.Fprint(out, afterwards)
		return nil
	}
	if len(words) != 1 || !isNoun(words[0]) {
		return errUsage(fmt.Sprintf("there is no help for %q; postern help lists what there is", strings.Join(words, " ")))
	}
	for _, n := range nouns {
		if n.noun == words[0] {
			fmt.Fprintf(out, "%s\n\n", n.about)
			defer fmt.Fprintf(out, "\nFor example:\n\n  %s\n", n.example)
		}
	}
	for _, v := range verbs() {
		if noun, _, _ := strings.Cut(v.words, " "); noun == words[0] {
			fmt.Fprint(out, usageOf(v))
		}
	}
	return nil
}

const afterwards = `
-state DIR, or $POSTERN_STATE, speaks with the server that runs on this machine, as root or as its own user; user and
cert work as well while none runs. -box ADDRESS, or $POSTERN_BOX, speaks with one elsewhere, as a device that administers
it: "postern help box". With -json everything is written as JSON. "postern help NOUN" says more of each.
`
