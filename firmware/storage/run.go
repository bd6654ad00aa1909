package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// How long the programs of the image may take.
const (
	smartTime  = 30 * time.Second
	formatTime = 10 * time.Minute // a large disk may discard all its blocks
)

// maxOutput bounds what is kept of what a program says.
const maxOutput = 1 << 20

var errNoProgram = errors.New("the program is not in this image")

// find looks for a program where images and Debian have it. Nothing a client sends gets here: names are constants, and
// arguments are device names of the kernel's and what checkName let through.
func find(name string) (string, error) {
	for _, dir := range []string{"/sbin", "/usr/sbin", "/bin", "/usr/bin"} {
		path := filepath.Join(dir, name)
		if st, err := os.Stat(path); err == nil && st.Mode().IsRegular() {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s: %w", name, errNoProgram)
}

// run runs a program within a time. A process that a broken disk keeps in the kernel is left behind.
func run(ctx context.Context, limit time.Duration, name string, args ...string) ([]byte, error) {
	path, err := find(name)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var out bounded
	cmd := exec.Command(path, args...)
	cmd.Stdout, cmd.Stderr, cmd.Env = &out, &out, []string{"PATH=/sbin:/usr/sbin:/bin:/usr/bin", "LC_ALL=C"}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	select {
	case err = <-done:
	case <-ctx.Done():
		_ = cmd.Process.Kill()
		select {
		case <-done:
		case <-time.After(2 * time.Second): // it is stuck in the kernel; out is its own now
			return nil, fmt.Errorf("%s: %w", name, context.Cause(ctx))
		}
		return out.b.Bytes(), fmt.Errorf("%s: %w", name, context.Cause(ctx))
	}
	if err != nil {
		return out.b.Bytes(), fmt.Errorf("%s: %w: %s", name, err, printable(tailOf(out.b.String())))
	}
	return out.b.Bytes(), nil
}

// tailOf is the last lines, where programs say what was wrong.
func tailOf(s string) string {
	s = strings.TrimSpace(s)
	return s[max(0, len(s)-400):]
}

// bounded keeps the first bytes that are written to it.
type bounded struct{ b bytes.Buffer }

func (w *bounded) Write(p []byte) (int, error) {
	w.b.Write(p[:min(len(p), maxOutput-w.b.Len())])
	return len(p), nil
}
