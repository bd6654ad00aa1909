package main

import (
	"bytes"
	"encoding/json"
	"io"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/postern-nas/postern/firmware/pairing"
	"github.com/postern-nas/postern/quic/quictest"
)

// first is what a command wrote to its standard output.
func first(out, _ string, _ int) string { return out }

// wantJSON says whether a command has written one JSON value, nothing else, and of that shape once it is in one line.
func wantJSON(t *testing.T, what, out, shape string) {
	t.Helper()
	var line bytes.Buffer
	dec := json.NewDecoder(strings.NewReader(out))
	var v any
	if err := dec.Decode(&v); err != nil {
		t.Errorf("%s: no JSON: %v in %q", what, err, out)
		return
	}
	if _, err := dec.Token(); err != io.EOF {
		t.Errorf("%s: more than one value: %q", what, out)
		return
	}
	if err := json.Compact(&line, []byte(out)); err != nil || !regexp.MustCompile(shape).MatchString(strings.TrimSpace(line.String())) {
		t.Errorf("%s: %s is not %s", what, &line, shape)
	}
}

const (
	nothing = `^\{\}$`
	anyList = `^\[.*\]$`
)

// A said is what a command with -json says.
type said struct {
	words string // behind the verb; $x stands for what was found before
	in    string
	shape string // of the one JSON value; "": it fails, and says nothing
	lines bool   // one value a line
}

// inJSON is what each command says with -json. A command that is missing here fails the test.
func inJSON() map[string][]said {
	one := func(words, shape string) []said { return []said{{words: words, shape: shape}} }
	const password = "correct horse\n"
	return map[string][]said{
		"status": one("", `^\{"version":".*"certificate_required":(true|false).*\}$`),

		"share list": one("", `^\[\{"name":"disk","path":".*\}\]$`), "share add": one("photos", nothing), "share set": one("photos -hidden", nothing),
		"share close": one("photos", nothing), "share remove": one("photos", nothing),

		"user list": one("", `^\[\{"name":".*\}\]$`), "user add": {{words: "bob", in: password, shape: nothing}},
		"user password": {{words: "bob", in: password, shape: nothing}},
		"user disable":  one("bob", nothing), "user enable": one("bob", nothing), "user promote": one("bob", nothing), "user demote": one("bob", nothing),
		"user own": one("bob", nothing), "user disown": one("bob", nothing), "user close": one("bob", nothing), "user remove": one("bob", nothing),

		"session list": one("", `^\[\{.*\}\]$`), "session close": one("$session", nothing),
		"openfile list": one("", `^\[\{.*\}\]$`), "openfile close": one("$file", nothing),

		"pair":        {{words: "olga", shape: `^\{.*"Phase":.*\}$`, lines: true}},
		"pair --with": {{words: "$url $code -name desk -fingerprint $authority", shape: `^\{("confirm":"[0-9 ]+"|"box":"https://.*","device":"desk","sha256":"[0-9A-F]{64}","until":".*")\}$`, lines: true}},
		"device list": one("", `^\[\{.*"desk".*\}\]$`), "device promote": one("desk olga", nothing), "device demote": one("desk", nothing),
		"unpair": {{words: "desk", shape: nothing}, {words: "nobody"}},

		"access list": one("", `^\[\{"server":"\*".*\}\]$`), "access rules": one("", `^\[\{"server":"\*","client_certificate":"paired".*\}\]$`),
		"access set": one("-client-certificate paired", nothing), "access grant": one("-issuer CN=x", nothing), "access revoke": one("-issuer CN=x", nothing),
		"access block": one("-issuer CN=y", nothing), "access unblock": one("-issuer CN=y", nothing),

		"cert show": one("", `^\[\{"title":"authority".*\}\]$`), "cert list": one("", `^\[\{"id":.*\}\]$`),
		"cert csr":    one("localhost", `^\{"id":".*","pem":"-----BEGIN CERTIFICATE REQUEST.*\}$`),
		"cert import": one("$chain $key", `^\{"id":".*","serves":\["localhost"\],"sealed":false\}$`), "cert remove": one("$certificate", nothing),

		"audit": {{words: "-limit 3", shape: anyList}, {words: "-text nothing-has-this", shape: `^\[\]$`}, {words: "-export jsonl", shape: `^\{"time":.*\}$`, lines: true}},

		// With a TPM: TestKeyCommands and TestSealedServer.
		"key status": one("", `^\{.*\}$`), "key recover": {{in: "x\n"}}, "key code": {{}}, "key reseal": one("", nothing), "key reset": {{}},
		// On a box: the tests that boot one.
		"update status": {{}}, "update check": {{}}, "update install": {{words: "$update", shape: nothing}, {words: "$update.not"}},

		"box list": one("", `^\[\{"url":"https://.*","device":"desk","until":".*","default":true\}\]$`),
		"box add":  one("$url -cert $owncert -key $ownkey -fingerprint $authority", nothing), "box use": one("$url", nothing), "box forget": one("$url", nothing),

		"completion": nil, // a script is what it is
	}
}

// TestJSONOfEveryCommand runs every command there is with -json, on a server that has something to tell: its standard output
// is one JSON value, or one a line, and empty when it fails; its reason is text on the other one.
func TestJSONOfEveryCommand(t *testing.T) {
	w := newWorkshop(t)
	b := startOwned(t, w.boot("1"))
	all := inJSON()
	for _, v := range verbs() {
		if _, there := all[v.words]; !there {
			t.Errorf("nobody says what %q writes with -json", v.words)
		}
	}
	j := &jsonRun{b, map[string]string{"$url": b.url, "$authority": b.authority(), "$update": write(t, filepath.Join(t.TempDir(), "update"), w.bundle("qemu", 2))}, all}
	j.do("share list", "share add", "share set", "share close", "share remove", "user list", "user add", "user password", "user disable", "user enable",
		"user promote", "user demote", "user own", "user disown", "user close", "user remove", "access grant", "access list", "access revoke", "access block",
		"access unblock", "access set", "access rules", "cert show", "cert list", "cert csr", "update install", "update status", "update check",
		"key status", "key recover", "key code", "key reseal", "key reset")
	j.certificate()
	j.session()
	j.devices()
	j.do("status", "audit")
	delete(j.left, "completion")
	for words := range j.left {
		t.Errorf("%q was not tried", words)
	}
}

// A jsonRun is under way.
type jsonRun struct {
	*remoteBox
	found map[string]string
	left  map[string][]said
}

// words are those of a command, with what was found in them.
func (j *jsonRun) words(verb string, s said) []string {
	words := append(strings.Fields(verb), strings.Fields(s.words)...)
	for i, word := range words {
		if value, there := j.found[word]; there {
			words[i] = value
		}
	}
	return append(words, "-json")
}

// do runs commands.
func (j *jsonRun) do(verbs ...string) {
	j.t.Helper()
	for _, verb := range verbs {
		for _, s := range j.left[verb] {
			words := j.words(verb, s)
			if noun, _, _ := strings.Cut(verb, " "); noun != "box" && verb != "pair --with" {
				words = slices.Concat([]string{"-state", j.dir, "-tpm", noTPM}, words)
			}
			out, errs, code := run(j.t, s.in, words...)
			j.judge(verb, s, out, errs, code)
		}
		delete(j.left, verb)
	}
}

func (j *jsonRun) judge(verb string, s said, out, errs string, code int) {
	j.t.Helper()
	switch {
	case s.shape == "":
		if code == exitOK || out != "" || errs == "" {
			j.t.Errorf("%s %s: %d, %q, %q; it is to fail, and to say so in the other place", verb, s.words, code, out, errs)
		}
	case code != exitOK:
		j.t.Errorf("%s %s: %d %s", verb, s.words, code, errs)
	case s.lines:
		for line := range strings.Lines(out) {
			wantJSON(j.t, verb, line, s.shape)
		}
		if out == "" {
			j.t.Errorf("%s: nothing", verb)
		}
	default:
		wantJSON(j.t, verb, out, s.shape)
	}
}

// certificate takes one in and gives it up.
func (j *jsonRun) certificate() {
	j.t.Helper()
	chain := quictest.NewCA("company").Leaf([]string{"localhost"})
	j.found["$chain"] = write(j.t, filepath.Join(j.t.TempDir(), "chain.pem"), chainPEM(chain))
	j.found["$key"] = write(j.t, filepath.Join(j.t.TempDir(), "key.pem"), keyPEM(j.t, chain))
	j.do("cert import")
	var list []struct {
		ID  string `json:"id"`
		Own bool   `json:"own"`
	}
	if err := json.Unmarshal([]byte(j.here("", "cert", "list", "-json")), &list); err != nil || len(list) != 2 {
		j.t.Fatal(list, err)
	}
	j.found["$certificate"] = list[0].ID
	j.do("cert remove")
}

// session is one with an open file, both of which are ended.
func (j *jsonRun) session() {
	j.t.Helper()
	share, err := mount(j.t, j.box, "olga", "correct horse")
	if err != nil {
		j.t.Fatal(err)
	}
	if _, err := share.Create("open"); err != nil {
		j.t.Fatal(err)
	}
	for name, verb := range map[string]string{"$file": "openfile list", "$session": "session list"} {
		var list []struct {
			ID json.Number `json:"id"`
		}
		if err := json.Unmarshal([]byte(j.here("", append(strings.Fields(verb), "-json")...)), &list); err != nil || len(list) == 0 {
			j.t.Fatal(verb, list, err)
		}
		j.found[name] = list[0].ID.String()
	}
	j.do("openfile list", "session list", "openfile close", "session close")
}

// devices are paired by both ends' commands, and let go of.
func (j *jsonRun) devices() {
	j.t.Helper()
	s := j.left["pair"][0]
	yes, answer := io.Pipe()
	var here, errs buffer
	done := make(chan int, 1)
	go func() {
		done <- command(slices.Concat([]string{"-state", j.dir}, j.words("pair", s)), yes, &here, &errs)
	}()
	var a *pairing.Attempt
	for a == nil {
		if err := j.line.ask(j.t.Context(), "/pair/look", ask{}, &a); err != nil {
			j.t.Fatal(err)
		}
	}
	j.found["$code"] = a.Typed
	go func() { _, _ = io.WriteString(answer, "yes\n") }() // read when somebody asks
	j.do("pair --with")
	j.judge("pair", s, here.String(), errs.String(), <-done)
	if n := strings.Count(here.String(), "\n"); n < 3 {
		j.t.Errorf("pair tells of %d changes: %s", n, here.String())
	}
	delete(j.left, "pair")
	j.do("device list", "device promote", "box list", "box use")
	k := mustBoxes(j.t).Boxes[0]
	j.found["$owncert"] = write(j.t, filepath.Join(j.t.TempDir(), "cert.pem"), []byte(k.Certificate))
	j.found["$ownkey"] = write(j.t, filepath.Join(j.t.TempDir(), "key.pem"), []byte(k.Key))
	j.do("box add", "device demote", "unpair", "box forget")
}
