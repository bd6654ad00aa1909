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
	watches := filepath.Join(sys, "fs/inotify/max_user_watches")
	if err := os.MkdirAll(filepath.Dir(watches), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(watches, []byte("8192\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	log := slog.New(slog.NewTextHandler(&said, nil))
	raiseLimits(sys, log)
	if b, err := os.ReadFile(watches); err != nil || string(b) != "1048576" || said.Len() > 0 {
		t.Errorf("%q, %v, said %q", b, err, said.String())
	}
	// One that is not there is not made.
	raiseLimits(t.TempDir(), log)
	if !strings.Contains(said.String(), "max_user_watches") || strings.Count(said.String(), "\n") != 1 {
		t.Errorf("said %q", said.String())
	}
}
