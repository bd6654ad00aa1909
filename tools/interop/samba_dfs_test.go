package interop

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSmbclientDFS follows links of a namespace to another share, from the root and with a path through them, past a
// target that is not there.
func TestSmbclientDFS(t *testing.T) {
	if *againstSMBD {
		t.Skip("smbd keeps its links in a folder")
	}
	const missing = `\\127.0.0.1\nowhere`
	for _, tgt := range startSamba(t, share{name: "disk"}, share{name: "all", links: map[string][]string{
		"files": {`\\` + serverName + `\disk`}, "deep": {missing, `\\` + serverName + `\disk\folder`},
	}}) {
		t.Run(tgt.transport, func(t *testing.T) {
			folder := filepath.Join(tgt.shares["disk"], "folder")
			if err := os.MkdirAll(folder, 0o777); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(folder, "inside.txt"), []byte("what is inside"), 0o666); err != nil {
				t.Fatal(err)
			}
			if out := tgt.do(t, "all", "ls"); !strings.Contains(out, "files") || !strings.Contains(out, "deep") {
				t.Errorf("the root shows:\n%s", out)
			}
			for _, commands := range [][]string{
				{`get files\folder\inside.txt -`}, {"cd files", "cd folder", "get inside.txt -"}, {`get deep\inside.txt -`}, {"cd deep", "get inside.txt -"},
			} {
				out, err := tgt.try(t, "all", commands...) // the target that is not there is complained of
				if err != nil || !strings.Contains(out, "what is inside") {
					t.Errorf("%q: %v\n%s", commands, err, out)
				}
			}
			local := tgt.peers.TempDir(t)
			if err := os.WriteFile(local.Sub("new").Host, []byte("written through a link"), 0o644); err != nil {
				t.Fatal(err)
			}
			tgt.do(t, "all", "lcd "+local.Inside, `put new files\`+tgt.transport)
			if got, err := os.ReadFile(filepath.Join(tgt.shares["disk"], tgt.transport)); err != nil || string(got) != "written through a link" {
				t.Errorf("%q, %v", got, err)
			}
			tgt.refused(t, "NT_STATUS_ACCESS_DENIED", "all", "mkdir new")
			tgt.refused(t, "NT_STATUS_OBJECT_NAME_NOT_FOUND", "all", "cd nothing")
		})
	}
}
