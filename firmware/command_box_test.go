package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/postern-nas/postern/firmware/audit"
	"github.com/postern-nas/postern/firmware/pairing"
	"github.com/postern-nas/postern/firmware/update"
)

// A remoteBox is a server with its page, and an owner olga, who does everything by commands.
type remoteBox struct {
	*box
	t    *testing.T
	dir  string
	url  string
	line line
}

func startRemote(t *testing.T) *remoteBox {
	return startOwned(t, nil)
}

// startOwned is startRemote with what updates the box.
func startOwned(t *testing.T, updates *update.Updater) *remoteBox {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "postern.toml"), []byte("version = 1\nname = \"localhost\"\n[[share]]\nname = \"disk\"\npath = \"disk\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "disk"), 0o700); err != nil {
		t.Fatal(err)
	}
	b := startPaged(t, dir, updates)
	b.here("correct horse\n", "user", "add", "olga")
	b.here("", "user", "own", "olga")
	return b
}

// startPaged starts a server with its page, and what updates it, if anything does.
func startPaged(t *testing.T, dir string, updates *update.Updater) *remoteBox {
	t.Helper()
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	o := options{state: dir, quic: "127.0.0.1:0", tcp: "127.0.0.1:0", page: "127.0.0.1:0", demo: true, tpm: noTPM, updates: updates}
	b := &remoteBox{box: launchWith(t, o), t: t, dir: dir, line: line{dir: dir}}
	b.wait(t)
	_, port, _ := strings.Cut(b.address("page"), ":")
	b.url = "https://localhost:" + port
	awaitControl(t, dir)
	return b
}

// awaitControl waits until commands are answered, which may be a moment later than the server listens.
func awaitControl(t *testing.T, dir string) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); (line{dir: dir}).ask(t.Context(), "/status", ask{}, new(Status)) != nil; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("no control socket")
		}
	}
}

// here runs a command on the machine itself.
func (b *remoteBox) here(in string, words ...string) string {
	b.t.Helper()
	out, errs, code := run(b.t, in, append([]string{"-state", b.dir}, words...)...)
	if code != exitOK {
		b.t.Fatalf("%q: %d %s", words, code, errs)
	}
	return out
}

// there runs one over the network.
func (b *remoteBox) there(in string, words ...string) (out, errs string, code int) {
	b.t.Helper()
	return run(b.t, in, append([]string{"-box", b.url}, words...)...)
}

// authority is the fingerprint that cert show tells.
func (b *remoteBox) authority() string {
	var list []shownCertificate
	if err := json.Unmarshal([]byte(b.here("", "cert", "show", "-json")), &list); err != nil || len(list) != 2 {
		b.t.Fatal(list, err)
	}
	return list[0].SHA256
}

// pair pairs this computer as a person would: code here, confirmation there.
func (b *remoteBox) pair(address, name string, words ...string) (out string) {
	b.t.Helper()
	var a *pairing.Attempt
	if err := b.line.ask(b.t.Context(), "/pair/start", ask{User: "olga"}, &a); err != nil {
		b.t.Fatal(err)
	}
	var said, errs buffer
	done := make(chan int)
	go func() {
		done <- command(append([]string{"pair", "--with", address, a.Typed, "-name", name}, words...), strings.NewReader("yes\n"), &said, &errs)
	}()
	for now := new(pairing.Attempt); now != nil && now.Phase != pairing.Paired; time.Sleep(10 * time.Millisecond) {
		if err := b.line.ask(b.t.Context(), "/pair/look", ask{}, &now); err != nil {
			b.t.Fatal(err)
		}
		if now.Phase == pairing.Asking && strings.Contains(said.String(), now.Confirm) && now.Device == name {
			_ = b.line.ask(b.t.Context(), "/pair/answer", ask{ID: a.ID, Accept: true}, new(struct{}))
		}
		select {
		case code := <-done:
			if code != exitOK {
				b.t.Fatalf("pair --with: %d %s", code, errs.String())
			}
			return said.String()
		default:
		}
	}
	if code := <-done; code != exitOK {
		b.t.Fatalf("pair --with: %d %s", code, errs.String())
	}
	return said.String()
}

// A Linux computer is paired by a command, and may administer the box by its certificate when an owner says so, and not
// before or after.
func TestCommandsOverTheNetwork(t *testing.T) {
	b := startRemote(t)
	// Another box answers: the code stays here.
	var a *pairing.Attempt
	if err := b.line.ask(t.Context(), "/pair/start", ask{}, &a); err != nil {
		t.Fatal(err)
	}
	for in, words := range map[string][]string{"": {"-fingerprint", strings.Repeat("0", 64)}, "no\n": nil, " ": {"-json"}} {
		if _, errs, code := run(t, in, append([]string{"pair", "--with", b.url, a.Typed}, words...)...); code == exitOK {
			t.Errorf("%q: %s", words, errs)
		}
	}
	var now *pairing.Attempt
	if err := b.line.ask(t.Context(), "/pair/look", ask{}, &now); err != nil || now.Phase != pairing.Waiting || now.Guesses != 0 {
		t.Errorf("%+v, %v", now, err)
	}

	said := b.pair(b.url, "laptop", "-fingerprint", b.authority())
	if !strings.Contains(said, "device promote laptop") {
		t.Errorf("it does not say how to go on:\n%s", said)
	}
	path, _ := boxBookPath()
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Error(st, err)
	}
	refused := func(when string) {
		t.Helper()
		if out, errs, code := b.there("", "status"); code != exitFailed || !strings.Contains(errs, "may not administer the box") || out != "" {
			t.Errorf("%s: %d %q %q", when, code, out, errs)
		}
	}
	refused("paired and not promoted")
	if _, errs, code := run(t, "", "-state", b.dir, "device", "promote", "laptop", "demo"); code != exitFailed || !strings.Contains(errs, "no owner") {
		t.Error("promoted for who is no owner:", errs)
	}
	b.here("", "device", "promote", "laptop")
	for _, what := range [][]string{
		{"share", "list"},
		{"user", "list"},
		{"cert", "list"},
		{"cert", "show"},
		{"session", "list"},
		{"openfile", "list"},
		{"access", "list"},
		{"device", "list"},
		{"audit", "-limit", "3"},
		{"status"},
	} {
		words := append(what, "-json")
		mine, errs, code := b.there("", words...)
		if theirs := b.here("", words...); code != exitOK || mine != theirs || !json.Valid([]byte(mine)) {
			t.Errorf("%q: %d %s\n%s\n%s", what, code, errs, mine, theirs)
		}
		if out, errs, code := b.there("", what...); code != exitOK || out != b.here("", what...) {
			t.Errorf("%q: %d %s", what, code, errs)
		}
	}
	b.changes(t)

	// By its address, by the box that was chosen, and with a name of it alone.
	ip := "127.0.0.1" + b.url[strings.LastIndex(b.url, ":"):]
	b.pair(ip, "desk") // by answering yes
	b.here("", "device", "promote", "desk", "olga")
	if _, errs, code := run(t, "", "-box", ip, "status"); code != exitOK {
		t.Error(errs)
	}
	if out, errs, code := run(t, "", "user", "list"); code != exitOK || !strings.Contains(out, "olga") {
		t.Error("the first box is meant without -box:", errs)
	}
	mustRun(t, "box", "use", ip)
	if _, out, _ := mustRun(t, "box", "list", "-json"); strings.Count(out, `"url"`) != 2 || !regexp.MustCompile(`(?s)127\.0\.0\.1.*"default": true`).MatchString(out) {
		t.Error(out)
	}
	mustRun(t, "box", "forget", "127.0.0.1")
	if _, _, code := run(t, "", "status"); code != exitUsage {
		t.Error("the box that was forgotten is asked")
	}

	// What an owner takes back is gone at once: the right, the owner's own, the device.
	b.here("", "device", "demote", "laptop")
	refused("demoted")
	b.here("", "device", "promote", "laptop", "olga")
	b.here("correct horse\n", "user", "add", "otto")
	b.here("", "user", "own", "otto")
	b.here("", "user", "disown", "olga")
	refused("of who is no owner any more")
	b.here("", "user", "remove", "olga")
	b.here("correct horse\n", "user", "add", "olga")
	b.here("", "user", "own", "olga")
	refused("of another person of that name")
	b.here("", "device", "promote", "laptop", "otto")
	if _, errs, code := b.there("", "status"); code != exitOK {
		t.Error(errs)
	}
	b.here("", "unpair", "laptop")
	refused("unpaired")
}

// changes are made over the network, and stand in the log with who made them.
func (b *remoteBox) changes(t *testing.T) {
	t.Helper()
	do := func(in string, words ...string) string {
		t.Helper()
		out, errs, code := b.there(in, words...)
		if code != exitOK {
			t.Errorf("%q: %d %s", words, code, errs)
		}
		return out
	}
	var follow, followed buffer
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	v, rest, _ := findVerb([]string{"audit", "-follow", "-json", "-event", "share-added,user-added"})
	go func() {
		done <- runVerb(ctx, options{boxAddr: b.url}, v, rest, strings.NewReader(""), &follow, &followed)
	}()
	for deadline := time.Now().Add(20 * time.Second); !strings.Contains(follow.String(), "share-added"); time.Sleep(50 * time.Millisecond) {
		name := "try" + time.Now().Format("150405000000")
		do("", "share", "add", name)
		do("", "share", "remove", name)
		if time.Now().After(deadline) {
			t.Fatal("audit -follow tells nothing: ", followed.String())
		}
	}
	do("correct horse\n", "user", "add", "bob")
	do("battery staple\n", "user", "password", "bob")
	for _, verb := range []string{"disable", "enable", "promote", "demote", "own", "disown", "close"} {
		do("", "user", verb, "bob")
	}
	do("", "share", "add", "photos", "-comment", "Old ones", "-read", "bob", "-write", "olga")
	do("", "share", "set", "photos", "-hidden", "-comment", "Older ones")
	if out := do("", "share", "list"); !strings.Contains(out, "olga; read: bob") || !strings.Contains(out, "hidden") || !strings.Contains(out, "Older ones") {
		t.Errorf("share list: %s", out)
	}
	do("", "share", "set", "photos", "-everybody", "-hidden=false")
	if out := do("", "share", "list"); !regexp.MustCompile(`photos +\S+ +everybody +Older ones`).MatchString(out) {
		t.Errorf("share list: %s", out)
	}
	if _, errs, code := b.there("", "share", "set", "photos", "-read", "nobody"); code != exitFailed || !strings.Contains(errs, "nobody") {
		t.Error("a reader that is no user:", errs)
	}
	do("", "share", "close", "photos")
	do("", "share", "remove", "photos")
	do("", "user", "remove", "bob")
	do("", "access", "block", "-issuer", "CN=Somebody")
	do("", "access", "unblock", "-issuer", "CN=Somebody")
	if out := do("", "cert", "csr", "nas.example.org", "-json"); !strings.Contains(out, "BEGIN CERTIFICATE REQUEST") {
		t.Errorf("cert csr: %s", out)
	}
	if _, errs, code := b.there("", "cert", "remove", "../../x"); code != exitFailed || !strings.Contains(errs, "cert list") {
		t.Error(errs)
	}
	if _, errs, code := b.there("", "key", "status"); code != exitUsage || !strings.Contains(errs, "-state") {
		t.Error("keys over the network:", errs)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	var events []audit.Event
	if err := json.Unmarshal([]byte(do("", "audit", "-limit", "100", "-json")), &events); err != nil {
		t.Fatal(err)
	}
	seen := make(map[audit.ID]string)
	for _, e := range events {
		if seen[e.ID] == "" { // the newest comes first
			seen[e.ID] = e.By + " " + e.Address.String()
		}
		if strings.Contains(e.Text, "correct horse") {
			t.Errorf("a password in the log: %+v", e)
		}
	}
	for _, id := range []audit.ID{
		audit.UserAdded, audit.PasswordChanged, audit.UserDisabled, audit.UserEnabled, audit.AdminAdded, audit.AdminRemoved, audit.UserRemoved,
		audit.ShareAdded, audit.ShareChanged, audit.ShareRemoved,
	} {
		if seen[id] != "command: olga at laptop 127.0.0.1" {
			t.Errorf("%v by %q", id, seen[id])
		}
	}
	if by := seen[audit.AccessChanged]; !strings.HasPrefix(by, "command: olga at laptop") {
		t.Errorf("the access list by %q", by)
	}
	if by := seen[audit.DevicePromoted]; !strings.HasPrefix(by, "command ") {
		t.Errorf("promoted by %q", by)
	}
}
