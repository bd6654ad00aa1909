package boot

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRaiseLimits(t *testing.T) {
	sys := t.TempDir()
	instances := filepath.Join(sys, "fs/inotify/max_user_instances")
	if err := os.MkdirAll(filepath.Dir(instances), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(instances, []byte("128\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	raiseLimits(sys, slog.New(slog.NewTextHandler(&said, nil)))
	if b, err := os.ReadFile(instances); err != nil || string(b) != "4096" {
		t.Errorf("%q, %v", b, err)
	}
	// The other is not there, and is not made.
	if !strings.Contains(said.String(), "max_user_watches") || strings.Count(said.String(), "\n") != 1 {
		t.Errorf("said %q", said.String())
	}
}
