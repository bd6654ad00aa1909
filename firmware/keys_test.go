package main

import (
	"bufio"
	"bytes"
	"crypto/x509"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/postern-nas/postern/firmware/keys"
	"github.com/postern-nas/postern/tpm/tpmtest"
)

var codeLine = regexp.MustCompile(`(?m)^ {4}([A-Z2-7]{4}(?:-[A-Z2-7]{4}){7})$`)

// code returns the recovery code that was printed, "" for none.
func (b *box) code() string {
	if m := codeLine.FindStringSubmatch(b.out.String()); m != nil {
		return m[1]
	}
	return ""
}

// until waits for a line of the log.
func (b *box) until(t *testing.T, text string) {
	t.Helper()
	for !strings.Contains(b.logs.String(), text) {
		select {
		case err := <-b.done:
			b.done <- err
			t.Fatalf("it ended: %v\n%s", err, b.logs.String())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// plainSecrets fails if a file of the state folder holds a private key or the users' key as it is.
func plainSecrets(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() == "state.key" {
			t.Errorf("%s is there", e.Name())
		}
		if b, err := os.ReadFile(filepath.Join(dir, e.Name())); err == nil && bytes.Contains(b, []byte("PRIVATE KEY")) {
			t.Errorf("%s holds a private key", e.Name())
		}
	}
}

// run runs a command line.
func run(t *testing.T, in string, args ...string) (out, errs string, code int) {
	t.Helper()
	var o, e bytes.Buffer
	code = command(args, strings.NewReader(in), &o, &e)
	return o.String(), e.String(), code
}

// TestSealedServer: a server whose keys a TPM has is the same after each restart; with another TPM it is nobody, until its
// owner types the code.
func TestSealedServer(t *testing.T) {
	dir, chip := t.TempDir(), tpmtest.New(t)
	first := startWith(t, dir, chip.Socket)
	password, code := first.said(t, "password"), first.code()
	if code == "" {
		t.Fatalf("no recovery code was shown:\n%s", first.out.String())
	}
	leaf, err := handshake(t, first, dir, "postern.local")
	if err != nil {
		t.Fatal(err)
	}
	same := func(b *box) {
		t.Helper()
		now, err := handshake(t, b, dir, "postern.local")
		if err != nil || !bytes.Equal(now.Raw, leaf.Raw) {
			t.Errorf("another certificate, or none: %v", err)
		}
		if _, err := mount(t, b, "demo", password); err != nil {
			t.Errorf("the user: %v", err)
		}
	}
	same(first)
	first.end(t)
	plainSecrets(t, dir)
	if strings.Contains(first.logs.String(), code) {
		t.Error("the recovery code is in the log")
	}
	chip.Restart(t)
	second := startWith(t, dir, chip.Socket)
	same(second)
	if second.code() != "" {
		t.Error("the code was shown again")
	}
	second.end(t)

	before := files(t, dir)
	other := tpmtest.New(t)
	third := launch(t, dir, other.Socket)
	third.until(t, "trouble=other-tpm")
	if third.address("quic") != "" || third.address("tcp") != "" {
		t.Error("it listens without its keys")
	}
	out, _, exit := run(t, "", "-state", dir, "-tpm", other.Socket, "key", "status", "--json")
	var s keys.Status
	if err := json.Unmarshal([]byte(out), &s); err != nil || exit != 0 || s.Trouble != keys.OtherTPM || !s.Sealed || !s.HasCode {
		t.Errorf("status: exit %d, %s, %v", exit, out, err)
	}
	for name, c := range map[string]struct{ in, want string }{
		"nothing":      {"", "no password on the standard input"},
		"not a code":   {"hello\n", "this is not a recovery code"},
		"another code": {"AAAA-AAAA\n", "this is not a recovery code"},
	} {
		if _, errs, exit := run(t, c.in, "-state", dir, "-tpm", other.Socket, "key", "recover"); exit != 1 || !strings.Contains(errs, c.want) {
			t.Errorf("%s: exit %d, %s", name, exit, errs)
		}
	}
	if _, errs, exit := run(t, "correct horse\n", "-state", dir, "-tpm", other.Socket, "user", "add", "eve"); exit != 1 || !strings.Contains(errs, "not the TPM") {
		t.Errorf("user add: exit %d, %s", exit, errs)
	}
	if after := files(t, dir); after != before {
		t.Errorf("files have changed: %s, before %s", after, before)
	}
	// The owner's code: the same server again, sealed with the new chip.
	if out, errs, exit := run(t, code+"\n", "-state", dir, "-tpm", other.Socket, "key", "recover"); exit != 0 {
		t.Fatalf("recover: %s%s", out, errs)
	}
	third.wait(t)
	same(third)
	third.end(t)
	last := startWith(t, dir, other.Socket)
	same(last)
	plainSecrets(t, dir)
}

// files are the names in a folder, locks left out.
func files(t *testing.T, dir string) (names string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".lock") {
			names += e.Name() + " "
		}
	}
	return names
}

// TestLaterTPM: a server whose keys were in files seals them when it gets a TPM, and stays who it is.
func TestLaterTPM(t *testing.T) {
	dir := t.TempDir()
	b := start(t, dir)
	if !strings.Contains(b.logs.String(), "key not sealed") {
		t.Error("the log does not say that the key is not sealed")
	}
	leaf, err := handshake(t, b, dir, "postern.local")
	if err != nil {
		t.Fatal(err)
	}
	b.end(t)
	b = startWith(t, dir, tpmtest.New(t).Socket)
	if now, err := handshake(t, b, dir, "postern.local"); err != nil || !bytes.Equal(now.Raw, leaf.Raw) {
		t.Errorf("another certificate, or none: %v", err)
	}
	if b.code() == "" {
		t.Error("no recovery code was shown")
	}
	plainSecrets(t, dir)
}

// TestResidentServer: with the key in the chip clients notice nothing; the authority is the same when that is turned on.
func TestResidentServer(t *testing.T) {
	dir, chip := t.TempDir(), tpmtest.New(t)
	b := startWith(t, dir, chip.Socket)
	leaf, err := handshake(t, b, dir, "postern.local")
	if err != nil {
		t.Fatal(err)
	}
	b.end(t)
	path := filepath.Join(dir, "postern.toml")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text = bytes.Replace(text, []byte(`key_store = "auto"`), []byte(`key_store = "resident"`), 1)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	var resident *x509.Certificate
	for range 2 {
		b = startWith(t, dir, chip.Socket)
		now, err := handshake(t, b, dir, "postern.local") // verified with the authority's certificate
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Equal(now.Raw, leaf.Raw) || resident != nil && !bytes.Equal(now.Raw, resident.Raw) {
			t.Error("not the certificate of a key in the chip, or another at the next start")
		}
		resident = now
		b.end(t)
		chip.Restart(t)
	}
}

// TestKeyCommands: what the command line does with keys, beside recovering.
func TestKeyCommands(t *testing.T) {
	dir, chip := t.TempDir(), tpmtest.New(t)
	with := func(words ...string) []string { return append([]string{"-state", dir, "-tpm", chip.Socket}, words...) }
	_, errs, exit := run(t, "correct horse\n", with("user", "add", "alice")...)
	if exit != 0 || !codeLine.MatchString(errs) {
		t.Fatalf("exit %d, %s", exit, errs) // the keys were made and sealed: the code is shown
	}
	plainSecrets(t, dir)
	wantJSON(t, "key code", first(run(t, "", with("key", "code", "-json")...)), `^\{"code":"[-0-9A-Za-z]{20,}"\}$`)
	out, errs, exit := run(t, "", with("key", "code")...)
	if exit != 0 || !codeLine.MatchString(out) || errs != "" {
		t.Errorf("exit %d, %s, %s", exit, out, errs)
	}
	code := codeLine.FindStringSubmatch(out)[1]
	if out, errs, exit := run(t, "", with("key", "status")...); exit != 0 || !strings.Contains(out, "sealed, in "+dir) || !strings.Contains(out, "bound to  chip") {
		t.Errorf("exit %d, %s, %s", exit, out, errs)
	}
	if _, errs, exit := run(t, "", with("key", "reseal")...); exit != 0 {
		t.Errorf("exit %d, %s", exit, errs)
	}
	for _, words := range [][]string{{"key"}, {"key", "dance"}, {"key", "reset"}, {"key", "status", "now"}} {
		if _, errs, exit := run(t, "", with(words...)...); exit != 2 {
			t.Errorf("%v: exit %d, %s", words, exit, errs)
		}
	}
	wantJSON(t, "key reseal", first(run(t, "", with("key", "reseal", "-json")...)), `^\{\}$`)
	// Without a chip the code opens nothing for good, and says so.
	if _, errs, exit := run(t, code, "-state", dir, "-tpm", "none", "key", "recover"); exit != 1 || !strings.Contains(errs, "there is no TPM") {
		t.Errorf("exit %d, %s", exit, errs)
	}
	wantJSON(t, "key reset", first(run(t, "", with("key", "reset", "--yes", "-json")...)), `^\{\}$`)
	if out, _, _ := run(t, "", with("key", "status")...); !strings.Contains(out, "in files") {
		t.Errorf("after a reset: %s", out)
	}
	out, _, exit = run(t, "", with("user", "list")...)
	if exit != 0 || !strings.Contains(out, "alice") || !strings.Contains(out, "needs a new password") {
		t.Errorf("after a reset: exit %d, %s", exit, out)
	}
}

// TestAsProcess is no test: it is postern itself, when a test starts this program again.
func TestAsProcess(t *testing.T) {
	if args := os.Getenv("POSTERN_ARGS"); args != "" {
		os.Exit(command(strings.Split(args, "\n"), os.Stdin, os.Stdout, os.Stderr))
	}
}

// TestProcesses: the same with real processes, which share nothing but the folder and the chip. One is killed.
func TestProcesses(t *testing.T) {
	dir, chip := t.TempDir(), tpmtest.New(t)
	var leaf []byte
	for i, end := range []os.Signal{syscall.SIGKILL, syscall.SIGTERM, syscall.SIGTERM} {
		b := process(t, dir, chip.Socket)
		now, err := handshake(t, b.box, dir, "postern.local")
		if err != nil || leaf != nil && !bytes.Equal(now.Raw, leaf) {
			t.Fatalf("start %d: another certificate, or none: %v", i, err)
		}
		leaf = now.Raw
		plainSecrets(t, dir)
		b.stop(t, end)
	}
}

type proc struct {
	*box
	cmd *exec.Cmd
}

// process starts postern as a process of its own and waits until it listens.
func process(t *testing.T, dir, tpm string) *proc {
	t.Helper()
	args := []string{"-state", dir, "-demo", "-quic", "127.0.0.1:0", "-tcp", "127.0.0.1:0", "-tpm", tpm}
	cmd := exec.Command(os.Args[0], "-test.run=^TestAsProcess$")
	cmd.Env = append(os.Environ(), "POSTERN_ARGS="+strings.Join(args, "\n"))
	p := &proc{box: &box{}, cmd: cmd}
	lines, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout = io.Discard
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	listens := make(chan bool, 1)
	go func() {
		for s := bufio.NewScanner(lines); s.Scan(); {
			_, _ = p.logs.Write(append(s.Bytes(), '\n'))
			if p.address("tcp") != "" {
				select {
				case listens <- true:
				default:
				}
			}
		}
		close(listens)
	}()
	if !<-listens {
		t.Fatalf("it ended:\n%s", p.logs.String())
	}
	return p
}

func (p *proc) stop(t *testing.T, how os.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(how); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Wait(); err != nil && how != syscall.SIGKILL {
		t.Errorf("it ended with %v\n%s", err, p.logs.String())
	}
}
