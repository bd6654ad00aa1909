package interop

import (
	"context"
	_ "embed"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

//go:embed testdata/posix.py
var posixScript []byte

// TestSambaPOSIX drives the POSIX extensions with Samba's client library; Linux's own client cannot be had in a test.
func TestSambaPOSIX(t *testing.T) {
	if *againstSMBD {
		t.Skip("the share of smbd has them by other options")
	}
	for _, tgt := range startSamba(t, share{name: "quic", extra: "posix = true"}, share{name: "tcp", extra: "posix = true"}) {
		t.Run(tgt.transport, func(t *testing.T) {
			script := tgt.peers.TempDir(t).Sub("posix.py")
			if err := os.WriteFile(script.Host, posixScript, 0o644); err != nil {
				t.Fatal(err)
			}
			args := []string{script.Inside, serverName, tgt.transport, alice, alicePassword}
			for _, o := range tgt.connect {
				args = append(args, strings.TrimPrefix(o, "--option="))
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			out, err := tgt.peers.Command(ctx, "python3", args...).CombinedOutput()
			if err != nil || !strings.Contains(string(out), "all as it should be") {
				t.Fatalf("%v\n%s", err, out)
			}
			// What came over the wire is what Linux has.
			for name, mode := range map[string]os.FileMode{"file640": 0o640, "dir1777": os.ModeDir | os.ModeSticky | 0o777, "a:b": 0o644, ` \ `: 0o644, "CASE": 0o644} {
				if fi, err := os.Lstat(filepath.Join(tgt.shares[tgt.transport], name)); err != nil || fi.Mode() != mode {
					t.Errorf("%q on disk: %v, %v", name, fi, err)
				}
			}
		})
	}
}
