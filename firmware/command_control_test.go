package main

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"rsc.io/qr"
)

// Every command explains itself, is in the help, in that of its noun and in the completion, knows -json, and says what to
// do when there is no server.
func TestEveryCommand(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	_, all, _ := mustRun(t, "help")
	_, fish, _ := mustRun(t, "completion", "fish")
	dir := t.TempDir()
	abouts := make(map[string]bool)
	for _, n := range nouns {
		abouts[n.noun] = true
	}
	for _, v := range verbs() {
		if !strings.Contains(all, "postern "+v.words) || !strings.Contains(all, v.does) {
			t.Errorf("the help does not speak of %s", v.words)
		}
		words := strings.Fields(v.words)
		if _, help, _ := mustRun(t, "help", words[0]); !strings.Contains(help, v.does) || abouts[words[0]] && !strings.Contains(help, "For example:") {
			t.Errorf("help %s: %q", words[0], help)
		}
		for _, w := range words {
			if !strings.Contains(fish, "-a "+w+"\n") && !strings.Contains(fish, "-o "+strings.TrimLeft(w, "-")+"\n") {
				t.Errorf("no completion for %s", w)
			}
		}
		if v.min == 0 && v.max > 1 || v.does == "" {
			t.Errorf("%+v", v)
		}
		for f := range strings.FieldsSeq(v.flags) {
			if !slices.ContainsFunc(flagKinds, func(k flagKind) bool { return k.name == f }) {
				t.Errorf("%s: no flag is called %s", v.words, f)
			}
		}
		with := func(more ...string) []string { return slices.Concat([]string{"-state", dir}, words, more) }
		if out, _, code := run(t, "", with("-h")...); code != exitOK || !strings.Contains(out, v.does) || !strings.Contains(out, "-json") {
			t.Errorf("%s -h: %d %q", v.words, code, out)
		}
		if _, errs, code := run(t, "", with("-nonsense")...); code != exitUsage || !strings.Contains(errs, v.does) {
			t.Errorf("%s -nonsense: %d %q", v.words, code, errs)
		}
	}
	for _, words := range []string{
		"status", "access list", "access grant -issuer CN=x", "device list", "device promote x", "pair", "unpair x", "audit", "audit -export csv", "audit -follow",
		"session list", "session close 1", "openfile list", "openfile close 1", "share close x", "user close x", "share add x",
	} {
		if _, errs, code := run(t, "", append([]string{"-state", dir}, strings.Fields(words)...)...); code != exitFailed || !strings.Contains(errs, errNotRunning.Error()) {
			t.Errorf("%s without a server: %d %q", words, code, errs)
		}
	}
	for _, words := range []string{
		"access grant", "access grant a b -issuer CN=x", "unpair", "unpair x -all", "session close", "audit -event nothing", "audit -since yesterday",
		"audit -export xml", "audit -export csv -follow", "completion tcsh", "access", "session", "share set x -everybody -read a", "help nothing", "help a b",
		"-box x status", "box add x", "box add http://x -cert a -key b", "pair --with x", "pair --with http://x 1", "cert csr a_b",
	} {
		if _, errs, code := run(t, "", append([]string{"-state", dir}, strings.Fields(words)...)...); code != exitUsage {
			t.Errorf("%s: %d %q", words, code, errs)
		}
	}
	if _, errs, code := run(t, "", "status"); code != exitUsage || !strings.Contains(errs, "-box") {
		t.Errorf("without a door: %d %q", code, errs)
	}
	if _, errs, code := run(t, "", "-box", "nas.test", "status"); code != exitFailed || !strings.Contains(errs, "pair --with nas.test") {
		t.Errorf("an unknown box: %d %q", code, errs)
	}
	t.Setenv("POSTERN_STATE", dir)
	if _, errs, code := run(t, "", "status"); code != exitFailed || !strings.Contains(errs, errNotRunning.Error()) {
		t.Errorf("with $POSTERN_STATE: %d %q", code, errs)
	}
}

func mustRun(t *testing.T, words ...string) (code int, out, errs string) {
	t.Helper()
	out, errs, code = run(t, "", words...)
	if code != exitOK || errs != "" {
		t.Fatalf("%q: %d %s", words, code, errs)
	}
	return code, out, errs
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
		err := line{dir: dir}.ask(t.Context(), "/status", ask{}, &s)
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
	if err := (line{dir: dir}).ask(t.Context(), "/nothing", ask{}, &s); err == nil || !strings.Contains(err.Error(), "another version") {
		t.Error(err)
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
	if err := (line{dir: dir}).ask(t.Context(), "/status", ask{}, &s); err != nil {
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
