package config

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/postern-nas/postern/firmware/access"
)

// Rules are changed where they stand, for one name or all, and nothing else is.
func TestSetAccess(t *testing.T) {
	for name, before := range map[string]string{
		"the default file":     DefaultFile,
		"no table":             "version = 1\n",
		"its block, of two":    "version = 1\n[access]\n[[access.server]] # theirs\nname = \"other.test\"\nnamed_pipes = \"none\"\n[[access.server]]\nname = \"NAS.test\" # ours\n# stays\n[log]\nlevel = \"warn\"\n",
		"before a share":       "version = 1\n[[access.server]]\nname = \"nas.test\"\nclient_certificate = \"never\" # for now\n\n[[share]]\nname = \"a\"\npath = \"disk\"\n",
		"behind a share":       "version = 1\n[[share]]\nname = \"a\"\npath = \"disk\"\n\n[[access.server]]\nname = \"nas.test\"\n",
		"of an editor's lines": "version = 1\r\n[access]\r\nany_trusted = true\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			dir := home(t)
			path := filepath.Join(dir, FileName)
			if err := os.WriteFile(path, []byte(before), 0o600); err != nil {
				t.Fatal(err)
			}
			was, err := Load(dir)
			if err != nil {
				t.Fatal(err)
			}
			want := was.Access.Of("nas.test")
			want.Certificate, want.Pipes = access.Always, access.PipesAll
			all := was.Access.Rule
			all.Trusted, all.Pipes = !all.Trusted, access.PipesNone
			for range 2 { // the second time there is nothing to do
				if _, err := SetAccess(dir, "nas.test", Setting{Key: "client_certificate", Value: "always"}, Setting{Key: "named_pipes", Value: "all"}, Setting{Key: "any_trusted", Value: want.Trusted}); err != nil {
					t.Fatal(err)
				}
				now, err := SetAccess(dir, "", Setting{Key: "any_trusted", Value: all.Trusted}, Setting{Key: "named_pipes", Value: "none"})
				if err != nil {
					t.Fatal(err)
				}
				if got, err := Load(dir); err != nil || !reflect.DeepEqual(got, now) {
					t.Errorf("what is returned is not what stands there: %v", err)
				}
				if got := now.Access.Of("nas.test"); got != want {
					t.Errorf("%+v, want %+v", got, want)
				}
				if now.Access.Rule != all {
					t.Errorf("all: %+v, want %+v", now.Access.Rule, all)
				}
				if other, had := was.Access.Servers["other.test"]; had && now.Access.Of("other.test").Pipes != other.Pipes {
					t.Error("another name's rule has changed")
				}
				now.Access = was.Access
				if !reflect.DeepEqual(now, was) {
					t.Error("something else has changed")
				}
			}
			after, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if got, had := strings.Count(string(after), "# "), strings.Count(before, "# "); got != had {
				t.Errorf("%d comments of %d", got, had)
			}
		})
	}
	dir := home(t)
	for text, settings := range map[string][]Setting{
		"version = 1\n": {{Key: "named_pipes", Value: "perhaps"}},
		"version = 1\naccess.server = [{name = \"nas.test\"}]\n": {{Key: "named_pipes", Value: "all"}},
	} {
		path := filepath.Join(dir, FileName)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := SetAccess(dir, "nas.test", settings...); err == nil || !strings.Contains(err.Error(), "postern.toml:") {
			t.Errorf("%s: %v", text, err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != text {
			t.Errorf("changed: %s %v", got, err)
		}
	}
}

// A share's block ends where that of a server name begins.
func TestShareBeforeAccess(t *testing.T) {
	dir := home(t)
	const access = "[[access.server]]\nname = \"nas.test\"\nnamed_pipes = \"none\"\n"
	path := filepath.Join(dir, FileName)
	if err := os.WriteFile(path, []byte("version = 1\n[[share]]\nname = \"a\"\npath = \"disk\"\n"+access), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := RemoveShare(dir, "a"); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "version = 1\n"+access {
		t.Errorf("%s %v", got, err)
	}
}
