package postern

import (
	"bytes"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
)

// Build builds ./firmware of the module that the working directory is in and returns the binary's path. It builds
// once a process; the binary lies in the user's cache, one for each checkout, so that a warm build is Go's own
// quick check. $POSTERN_BINARY names another one to be used, for example one built with -race.
func Build() (string, error) {
	if path := os.Getenv("POSTERN_BINARY"); path != "" {
		return filepath.Abs(path)
	}
	return build()
}

var build = sync.OnceValues(func() (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(root))
	dir := filepath.Join(cache, "postern", "bin", hex.EncodeToString(sum[:6]))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	// Two test processes may build at once: each makes its own file and renames it into place.
	fresh := filepath.Join(dir, fmt.Sprintf("postern.%d", os.Getpid()))
	defer os.Remove(fresh)
	cmd := exec.Command("go", "build", "-o", fresh, "./firmware")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build ./firmware: %w\n%s", err, bytes.TrimSpace(out))
	}
	path := filepath.Join(dir, "postern")
	return path, os.Rename(fresh, path)
})

// Raced reports whether the binary has the race detector in it, which takes many times the memory of what it watches: 20 MiB
// of a server's own are 290 MiB then. Nothing can be said about such a server's memory from outside.
func Raced() (bool, error) {
	binary, err := Build()
	if err != nil {
		return false, err
	}
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		return false, err
	}
	return slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}), nil
}

// Root returns the top folder of the module that the working directory is in.
func Root() (string, error) {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOMOD: %w", err)
	}
	mod := strings.TrimSpace(string(out))
	if mod == "" || mod == os.DevNull {
		return "", errors.New("the working directory is in no Go module")
	}
	return filepath.Dir(mod), nil
}
