package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/postern-nas/postern/tools/postern"
)

// profiles are where Postern's processor time went, by load and target.
type profiles struct {
	binary string // with the tag "profile"
	dir    string
	taken  map[string][]string // files, one a round; by what the section is called
}

const (
	profileTop     = 40 // functions of each
	profileWithin  = 10 * time.Second
	profileWritten = 10 * time.Millisecond // between two looks
)

// newProfiles builds a server that can be profiled, and has every Postern that is started from now on be that one.
func newProfiles(ctx context.Context, dir string) (*profiles, error) {
	root, err := postern.Root()
	if err != nil {
		return nil, err
	}
	p := &profiles{binary: filepath.Join(dir, "postern-profile"), dir: dir, taken: map[string][]string{}}
	build := exec.CommandContext(ctx, "go", "build", "-tags", "profile", "-o", p.binary, "./firmware")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("go build -tags profile: %w\n%s", err, bytes.TrimSpace(out))
	}
	return p, errors.Join(os.Setenv("POSTERN_BINARY", p.binary), os.Setenv("POSTERN_PROFILE", dir))
}

// during profiles a target from now until the function it returns is called. A nil p does nothing.
func (p *profiles) during(t *target, load string) (stop func() error, err error) {
	if p == nil || !strings.HasPrefix(t.name, "Postern") {
		return func() error { return nil }, nil
	}
	if err := syscall.Kill(t.pid, syscall.SIGUSR1); err != nil {
		return nil, err
	}
	return func() error {
		if err := syscall.Kill(t.pid, syscall.SIGUSR2); err != nil {
			return err
		}
		name := load + ", " + t.name
		to := filepath.Join(p.dir, fmt.Sprintf("%s-%d.pprof", strings.ReplaceAll(name, " ", "-"), len(p.taken[name])))
		for end := time.Now().Add(profileWithin); ; time.Sleep(profileWritten) {
			err := os.Rename(filepath.Join(p.dir, strconv.Itoa(t.pid)), to)
			if err == nil {
				break
			}
			if !errors.Is(err, os.ErrNotExist) || time.Now().After(end) {
				return fmt.Errorf("the profile of %s: %w", name, err)
			}
		}
		p.taken[name] = append(p.taken[name], to)
		return nil
	}, nil
}

// save writes what each profile has most of, with what it calls, its rounds added up, to results/NAME.profile.txt.
func (p *profiles) save(name string) error {
	var b bytes.Buffer
	for _, what := range slices.Sorted(maps.Keys(p.taken)) {
		args := append([]string{"tool", "pprof", "-top", "-cum", "-nodecount", fmt.Sprint(profileTop), p.binary}, p.taken[what]...)
		out, err := exec.Command("go", args...).Output()
		if err != nil {
			return fmt.Errorf("go tool pprof: %w", err)
		}
		_, table, ok := strings.Cut(string(out), "flat  flat%")
		if !ok {
			return fmt.Errorf("go tool pprof says nothing of %s", what)
		}
		fmt.Fprintf(&b, "# %s\n      flat  flat%%%s\n", what, table)
	}
	path, err := resultPath(name + ".profile")
	if err != nil {
		return err
	}
	return os.WriteFile(path, b.Bytes(), 0o644)
}
