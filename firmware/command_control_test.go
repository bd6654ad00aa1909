package main

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"rsc.io/qr"
)

// Every command that talks to the server explains itself, is in the help and in the completion, and says what to do when
// there is no server.
func TestRemoteCommands(t *testing.T) {
	run := func(words ...string) (code int, out, errs string) {
		var o, e bytes.Buffer
		code = command(words, strings.NewReader(""), &o, &e)
		return code, o.String(), e.String()
	}
	_, help, _ := run("help")
	_, fish, _ := run("completion", "fish")
	dir := t.TempDir()
	for _, c := range remoteCommands {
		if !strings.Contains(help, "postern -state DIR "+c.words) || !strings.Contains(help, c.does) {
			t.Errorf("the help does not speak of %s", c.words)
		}
		words := strings.Fields(c.words)
		for _, w := range words {
			if !strings.Contains(fish, "-a "+w+"\n") {
				t.Errorf("no completion for %s", w)
			}
		}
		if code, out, _ := run(append(append([]string{"-state", dir}, words...), "-h")...); code != exitOK || !strings.Contains(out, c.does) {
			t.Errorf("%s -h: %d %q", c.words, code, out)
		}
		if code, _, errs := run(append(append([]string{"-state", dir}, words...), "-nonsense")...); code != exitUsage || !strings.Contains(errs, c.takes) {
			t.Errorf("%s -nonsense: %d %q", c.words, code, errs)
		}
	}
	for _, words := range []string{
		"status", "access list", "access grant -issuer CN=x", "device list", "pair", "unpair x", "audit", "audit -export csv", "session list", "session close 1",
		"openfile list", "openfile close 1",
	} {
		if code, _, errs := run(append([]string{"-state", dir}, strings.Fields(words)...)...); code != exitFailed || !strings.Contains(errs, errNotRunning.Error()) {
			t.Errorf("%s without a server: %d %q", words, code, errs)
		}
	}
	for _, words := range []string{
		"access grant", "access grant a b -issuer CN=x", "unpair", "unpair x -all", "session close", "audit -event nothing", "audit -since yesterday",
		"audit -export xml", "completion tcsh", "access", "session",
	} {
		if code, _, errs := run(append([]string{"-state", dir}, strings.Fields(words)...)...); code != exitUsage {
			t.Errorf("%s: %d %q", words, code, errs)
		}
	}
	t.Setenv("POSTERN_STATE", dir)
	if code, _, errs := run("status"); code != exitFailed || !strings.Contains(errs, errNotRunning.Error()) {
		t.Errorf("with $POSTERN_STATE: %d %q", code, errs)
	}
}

// What completes is a script that its shell can read.
func TestCompletionIsAScript(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		var b bytes.Buffer
		if err := completion(&b, shell); err != nil {
			t.Fatal(err)
		}
		path, err := exec.LookPath(shell)
		if err != nil {
			continue // bash is everywhere where the tests run; the others are not
		}
		cmd := exec.Command(path, "-n")
		cmd.Stdin = &b
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", shell, err, out)
		}
	}
	if _, err := exec.LookPath("bash"); err != nil {
		return
	}
	var b bytes.Buffer
	_ = completion(&b, "bash")
	b.WriteString("\nCOMP_WORDS=(postern access g); COMP_CWORD=2; _postern; echo \"${COMPREPLY[@]}\"\nCOMP_WORDS=(postern un); COMP_CWORD=1; _postern; echo \"${COMPREPLY[@]}\"\n")
	cmd := exec.Command("bash", "--norc")
	cmd.Stdin = &b
	if out, err := cmd.Output(); err != nil || string(out) != "grant\nunpair\n" {
		t.Errorf("bash completes %q, %v", out, err)
	}
}

// The socket works in a folder whose name is longer than a socket's may be, is for its owner alone, and a process that was
// killed leaves nothing in the way.
func TestControlSocket(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("a-long-name/", 20))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, controlName)
	if err := os.WriteFile(path, nil, 0o644); err != nil { // of who was killed
		t.Fatal(err)
	}
	b := openDoorBox(t)
	c := &control{dir: dir, server: b.quic.server, door: b.door, log: b.quic.log, began: time.Now()}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- c.run(ctx) }()
	var s Status
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		err := line{dir}.ask(t.Context(), "/status", ask{}, &s)
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	if s.Version == "" || s.Devices != 0 {
		t.Errorf("%+v", s)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 || st.Mode().Type() != os.ModeSocket {
		t.Error(st, err)
	}
	if err := (line{dir}).ask(t.Context(), "/nothing", ask{}, &s); err == nil || !strings.Contains(err.Error(), "another version") {
		t.Error(err)
	}
	if err := (line{dir}).ask(t.Context(), "/user/changed", ask{ID: "nonsense"}, &s); err == nil {
		t.Error("a change that is none")
	}
	// What is no request costs nothing but its connection.
	name, free, err := socket(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer free()
	for _, words := range []string{"", "GET / HTTP/1.1\r\n\r\n", "POST /status HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n{", strings.Repeat("x", 100000)} {
		conn, err := net.Dial("unix", name)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = conn.Write([]byte(words))
		_ = conn.Close()
	}
	if err := (line{dir}).ask(t.Context(), "/status", ask{}, &s); err != nil {
		t.Error(err)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Error("the socket is left behind", err)
	}
}

// The code drawn in a terminal is the code: each dark module dark, with a light border.
func TestDrawQR(t *testing.T) {
	code, err := qr.Encode("https://192.168.100.100:8443/p/AAAAAAAAAAAAAAAAAAAAAA", qr.L)
	if err != nil || code.Size != 29 {
		t.Fatal(code.Size, err)
	}
	var b bytes.Buffer
	drawQR(&b, code)
	lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
	for y := -2; y < code.Size+2; y++ {
		row := []rune(strings.TrimSuffix(strings.TrimPrefix(lines[(y+2)/2], "\x1b[30;107m"), "\x1b[0m"))
		for x := -2; x < code.Size+2; x++ {
			dark := []rune{'█', '▀'}
			if (y+2)%2 == 1 {
				dark = []rune{'█', '▄'}
			}
			if slices.Contains(dark, row[x+2]) != code.Black(x, y) {
				t.Fatalf("module %d, %d is wrong", x, y)
			}
		}
	}
}
