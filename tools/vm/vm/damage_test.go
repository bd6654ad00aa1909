package vm

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/postern-nas/postern/images"
)

// stateFile copies the state partition out of a disk.
func stateFile(t *testing.T, disk string) (file string) {
	t.Helper()
	l, i := stateAt(t)
	f, err := os.Open(disk)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	data := make([]byte, l.Partitions[i].Size)
	if _, err := f.ReadAt(data, l.Start(i)); err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "state")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// putState copies it back.
func putState(t *testing.T, disk, file string) {
	t.Helper()
	l, i := stateAt(t)
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(disk, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt(data, l.Start(i))
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

func stateAt(t *testing.T) (images.Layout, int) {
	t.Helper()
	board, _ := images.FindBoard("qemu")
	for i, p := range board.Layout.Partitions {
		if p.Name == images.StateName {
			return board.Layout, i
		}
	}
	t.Fatal("the layout has no state")
	return images.Layout{}, 0
}

// e2tool runs a program of e2fsprogs.
func e2tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(sbin(name), args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// fillState leaves hardly a block free on the state partition, as a share there does that somebody fills.
func fillState(t *testing.T, disk string) {
	t.Helper()
	file := stateFile(t, disk)
	about := e2tool(t, "dumpe2fs", "-h", file)
	number := func(what string) int {
		t.Helper()
		m := regexp.MustCompile(`(?m)^` + what + `:\s+(\d+)$`).FindStringSubmatch(about)
		if m == nil {
			t.Fatalf("dumpe2fs does not tell of %q:\n%s", what, about)
		}
		n, _ := strconv.Atoi(m[1])
		return n
	}
	const left = 100 // blocks, less than the box wants
	filler := filepath.Join(t.TempDir(), "filler")
	if err := os.WriteFile(filler, bytes.Repeat([]byte{0x55}, (number("Free blocks")-left)*number("Block size")), 0o600); err != nil {
		t.Fatal(err)
	}
	e2tool(t, "debugfs", "-w", "-R", "write "+filler+" filler", file)
	putState(t, disk, file)
}

// TestDamagedState: every file of the state is cut in half at once, but for those with the sealed keys. The box starts,
// serves, and says what it has set aside. With these damaged too it starts, serves nobody, and says why. One file at a time
// is a test of the server's own (firmware, TestDamagedState).
func TestDamagedState(t *testing.T) {
	needsVM(t)
	if !*soak {
		t.Skip("three boots: -soak")
	}
	t.Parallel()
	built := image(t)
	m := machine(t, built, "")
	first := start(t, m, built)
	off(t, m)

	vault := regexp.MustCompile(`^(keys\.sealed|tpm\.anchor)`)
	spoilFiles(t, m.Disk, func(name string) bool { return !vault.MatchString(name) })
	second := start(t, m, built)
	if second == first {
		t.Error("nothing was damaged")
	}
	told := m.console.said("time=")
	for _, name := range []string{"identity.json", "users.json", "ca.pem"} {
		if !slices.ContainsFunc(told, func(line string) bool { return strings.Contains(line, "level=ERROR") && strings.Contains(line, name) }) {
			t.Errorf("nothing is said of %s", name)
		}
	}
	second.ca(t, t.Context(), m.QUIC) // it answers as the authority that it has named; with no settings it has no share
	m.Cut()

	spoilFiles(t, m.Disk, vault.MatchString)
	if err := m.Start(t.Output()); err != nil {
		t.Fatal(err)
	}
	hear(t, m, boot, "keys are shut, and nothing is served.*trouble=damaged")
	m.Cut()
}

// spoilFiles cuts the files of the state partition's own folder in half that which says.
func spoilFiles(t *testing.T, disk string, which func(name string) bool) {
	t.Helper()
	dir := t.TempDir()
	e2tool(t, "debugfs", "-R", "rdump / "+dir, stateFile(t, disk))
	n := 0
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		if strings.HasPrefix(name, "disk/") || name == "spare" || !which(name) {
			return nil
		}
		st, err := e.Info()
		n++
		return errors.Join(err, os.Truncate(path, st.Size()/2))
	})
	if err != nil || n == 0 {
		t.Fatal(fmt.Errorf("%d files were damaged: %w", n, err))
	}
	if err := os.RemoveAll(filepath.Join(dir, "lost+found")); err != nil {
		t.Fatal(err)
	}
	writeStateFolder(t, disk, dir)
}
