package interop

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSmbclientSnapshots: previous versions as a client shows them, and fetches from them.
func TestSmbclientSnapshots(t *testing.T) {
	if *againstSMBD {
		t.Skip("the peer smbd has no shadow_copy2 set up")
	}
	const old, newer = "@GMT-2015.10.31-19.40.30", "@GMT-2024.02.29-00.00.01"
	targets := startSamba(t, share{name: "disk", kept: ".kept"})
	dir := targets[0].shares["disk"]
	for name, contents := range map[string]string{
		".kept/" + old + "/folder/file": "in 2015", ".kept/2024-02-29_00-00-01/folder/file": "in 2024", "folder/file": "now", "folder/new": "now",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(contents), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, tgt := range targets {
		t.Run(tgt.transport, func(t *testing.T) {
			local := tgt.peers.TempDir(t)
			out := tgt.do(t, "disk", "allinfo folder/file")
			if i, j := strings.Index(out, newer), strings.Index(out, old); i < 0 || j < i || !strings.Contains(out[j:], "size: 7") {
				t.Errorf("allinfo shows:\n%s", out)
			}
			if out := tgt.do(t, "disk", "allinfo folder/new"); strings.Contains(out, "@GMT") {
				t.Errorf("allinfo of a new file shows:\n%s", out)
			}
			tgt.do(t, "disk", "lcd "+local.Inside, `get `+old+`\folder\file a`, `cd folder`, `get `+newer+`\file b`)
			for name, want := range map[string]string{"a": "in 2015", "b": "in 2024"} {
				if b, err := os.ReadFile(local.Sub(name).Host); err != nil || string(b) != want {
					t.Errorf("%s: %q, %v", name, b, err)
				}
			}
			tgt.refused(t, "NT_STATUS_MEDIA_WRITE_PROTECTED", "disk", `mkdir `+old+`\x`)
			tgt.refused(t, "NT_STATUS_OBJECT_NAME_NOT_FOUND", "disk", `ls .kept\*`)
			if out := tgt.do(t, "disk", "ls"); strings.Contains(out, "kept") {
				t.Errorf("the folder of versions is listed:\n%s", out)
			}
		})
	}
}
