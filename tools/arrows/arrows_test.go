// Package arrows holds the one test that says who may import whom. Run it with -count=1: Go's test cache does not
// see a new import in another package.
package arrows

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/postern-nas/postern"

// A rule says what of ours the code in a folder may import, and why no more. A name stands for that package alone,
// one that ends in /... also for those beneath it.
type rule struct {
	folder string
	may    []string
	reason string
}

// folders are the rules of the top level. They hold for tests too.
var folders = []rule{
	{"board", []string{"board/..."}, "a leaf: it can be read, tested and reused alone"},
	{"smb", []string{"smb/..."}, "a leaf: it can be read, tested and reused alone"},
	{"quic", []string{"quic/..."}, "a leaf: it can be read, tested and reused alone"},
	{"tpm", []string{"tpm/..."}, "a leaf: it can be read, tested and reused alone"},
	{"images", []string{"images/..."}, "a leaf: it can be read, tested and reused alone"},
	{"ui", []string{"ui/...", "board/..."}, "it draws on displays and hears buttons, and knows no service"},
	{
		"firmware",
		[]string{"firmware/...", "board/...", "smb/...", "quic/...", "tpm/...", "ui/...", "images/..."},
		"it is the join of everything but tools, which nobody imports",
	},
	{"tools", []string{"..."}, "tools may import all, and nobody imports them"},
}

// inside are the rules within smb: downward only. They hold for what is not a test; a test may use any package of
// smb. A package without a rule here is an error: it has no place yet.
var inside = []rule{
	{"smb/cursor", nil, "the bottom: bytes and bounds"},
	{"smb/hextext", nil, "the bottom: vectors of tests"},
	{"smb/nt", nil, "the bottom: a table of numbers"},
	{"smb/dtyp", []string{"smb/cursor", "smb/nt"}, "the bottom: data types that all others are made of"},
	{"smb/fscc", []string{"smb/cursor", "smb/nt", "smb/dtyp"}, "bodies of information classes know no message"},
	{"smb/wire", []string{"smb/cursor", "smb/nt", "smb/dtyp", "smb/fscc"}, "a codec imports no state"},
	{"smb/crypt", []string{"smb/cursor", "smb/nt"}, "keys and tags over bytes; it knows no message and no session"},
	{"smb/compress", []string{"smb/cursor", "smb/nt"}, "bytes in, bytes out"},
	{"smb/fsa", []string{"smb/nt"}, "the pure engine has no wire, storage, connection or clock in it"},
	{"smb/auth", []string{"smb/cursor", "smb/nt", "smb/dtyp"}, "the seam to mechanisms knows none of them"},
	{"smb/auth/ntlm", []string{"smb/auth", "smb/cursor", "smb/nt", "smb/dtyp"}, "a mechanism knows no session and no other mechanism"},
	{"smb/auth/ntlm/ntlmtest", []string{"smb/auth", "smb/auth/ntlm", "smb/cursor", "smb/nt", "smb/dtyp"}, "the client's half, for tests"},
	{"smb/auth/krb", []string{"smb/auth", "smb/cursor", "smb/nt", "smb/dtyp"}, "a mechanism knows no session and no other mechanism"},
	{"smb/rpc", []string{"smb/cursor", "smb/nt", "smb/dtyp"}, "fragments and NDR know no interface"},
	{"smb/rpc/srvsvc", []string{"smb/rpc", "smb/cursor", "smb/nt", "smb/dtyp"}, "an interface knows its own source, not the server"},
	{"smb/rpc/wkssvc", []string{"smb/rpc", "smb/cursor", "smb/nt", "smb/dtyp"}, "an interface knows its own source, not the server"},
	{"smb/rpc/samr", []string{"smb/rpc", "smb/cursor", "smb/nt", "smb/dtyp"}, "an interface knows its own source, not the server"},
	{"smb/rpc/lsarpc", []string{"smb/rpc", "smb/cursor", "smb/nt", "smb/dtyp"}, "an interface knows its own source, not the server"},
	{"smb/vfs", []string{"smb/cursor", "smb/nt", "smb/dtyp", "smb/fscc"}, "storage speaks no SMB2: no wire, no session, no share mode"},
	{"smb/vfs/osfs", []string{"smb/vfs", "smb/cursor", "smb/nt", "smb/dtyp", "smb/fscc"}, "one volume knows no other, and no SMB2"},
	{"smb/vfs/memfs", []string{"smb/vfs", "smb/cursor", "smb/nt", "smb/dtyp", "smb/fscc"}, "one volume knows no other, and no SMB2"},
	{"smb/vfs/vfstest", []string{"smb/vfs", "smb/cursor", "smb/nt", "smb/dtyp", "smb/fscc"}, "the paper asks any volume, so it knows none"},
	{
		"smb",
		[]string{
			"smb/cursor", "smb/nt", "smb/dtyp", "smb/fscc", "smb/wire", "smb/crypt", "smb/compress", "smb/fsa", "smb/auth",
			"smb/rpc", "smb/rpc/lsarpc", "smb/rpc/samr", "smb/rpc/srvsvc", "smb/rpc/wkssvc", "smb/vfs",
		},
		"the server takes any mechanism and any volume; only firmware chooses ntlm, krb and osfs",
	},
	{"smb/smbtest", []string{"smb/..."}, "the peer in the same process, for tests"},
}

// chosen are packages that only these folders may import, whatever else they may.
var chosen = []struct {
	pkg    string
	by     []string
	reason string
}{
	{"smb/auth/ntlm", []string{"firmware", "tools", "smb/auth/ntlm"}, "which mechanisms there are is chosen in firmware alone"},
	{"smb/auth/krb", []string{"firmware", "tools", "smb/auth/krb"}, "which mechanisms there are is chosen in firmware alone"},
	{"smb/vfs/osfs", []string{"firmware", "tools", "smb/vfs/osfs"}, "where shares are stored is chosen in firmware alone"},
}

// top is all there may be at the top level, besides names that begin with a dot.
var top = []string{
	"firmware", "board", "smb", "quic", "tpm", "ui", "images", "tools", "go.mod", "go.sum", "Makefile", "README.md", "LICENSE",
}

// An imported is one import of ours or of the standard library.
type imported struct {
	folder string // of the importing package, from the module's root
	path   string // what it imports; ours without the module's path
	ours   bool
	test   bool
	where  string // file:line
}

func root(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("no go.mod above")
		}
		dir = filepath.Dir(dir)
	}
}

// imports reads every Go file of the module, whatever build tags it has.
func imports(t *testing.T, root string) (all []imported) {
	t.Helper()
	files := token.NewFileSet()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); path != root && (name == "testdata" || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_")) {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		f, err := parser.ParseFile(files, path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		for _, spec := range f.Imports {
			name, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			ours, isOurs := strings.CutPrefix(name, module+"/")
			all = append(all, imported{
				filepath.ToSlash(filepath.Dir(rel)), ours, isOurs, strings.HasSuffix(rel, "_test.go"),
				fmt.Sprintf("%s:%d", rel, files.Position(spec.Pos()).Line),
			})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// judge returns what is wrong with an import, "" if nothing is.
func judge(i imported) string {
	first, _, _ := strings.Cut(i.folder, "/")
	if !i.ours {
		// SEC-25: what a client sends can never become a command line. firmware/boot formats the state partition of a
		// box with a program of its own image, before it serves anyone; firmware/storage has run.go, whose arguments are the
		// kernel's names of disks.
		starts := []string{"tpm/tpmtest", "firmware/boot", "firmware/storage", "firmware/storage/disklab", "firmware/network/netlab"}
		if i.path == "os/exec" && !i.test && first != "tools" && !slices.Contains(starts, i.folder) {
			return "starts other programs: no server package does, so nothing a client sends becomes a command"
		}
		return ""
	}
	if i.path == "tpm/tpmtest" && !i.test && first != "tools" {
		return "runs a TPM in software: for tests"
	}
	if i.path == "firmware/network/netlab" && !i.test && first != "tools" {
		return "makes networks: for tests"
	}
	if i.path == "firmware/storage/disklab" && !i.test && first != "tools" {
		return "makes disks: for tests"
	}
	for _, r := range folders {
		if r.folder == first && !allows(r.may, i.path) {
			return r.reason
		}
	}
	for _, c := range chosen {
		if i.path == c.pkg && !i.test && !slices.ContainsFunc(c.by, func(f string) bool { return within(i.folder, f) }) {
			return c.reason
		}
	}
	if first != "smb" || i.test {
		return ""
	}
	for _, r := range inside {
		if r.folder == i.folder {
			if !allows(r.may, i.path) {
				return r.reason
			}
			return ""
		}
	}
	return "the package has no rule yet: give it a line in `inside`, with its reason"
}

func allows(may []string, path string) bool {
	return slices.ContainsFunc(may, func(m string) bool {
		if prefix, ok := strings.CutSuffix(m, "..."); ok {
			return prefix == "" || within(path, strings.TrimSuffix(prefix, "/"))
		}
		return m == path
	})
}

func within(path, folder string) bool { return path == folder || strings.HasPrefix(path, folder+"/") }

func TestArrows(t *testing.T) {
	all := imports(t, root(t))
	if len(all) < 50 {
		t.Fatalf("only %d imports found: this test looks in the wrong place", len(all))
	}
	for _, i := range all {
		if why := judge(i); why != "" {
			t.Errorf("%s: %s may not import %s: %s", i.where, i.folder, i.path, why)
		}
	}
}

func TestTopLevel(t *testing.T) {
	entries, err := os.ReadDir(root(t))
	if err != nil {
		t.Fatal(err)
	}
	ignore, err := os.ReadFile(filepath.Join(root(t), ".gitignore"))
	if err != nil {
		t.Fatal(err)
	}
	ignored := func(name string) bool { // what a build leaves behind is in nobody's way
		return slices.ContainsFunc(strings.Fields(string(ignore)), func(line string) bool {
			ok, err := filepath.Match(strings.Trim(line, "/"), name)
			return ok && err == nil
		})
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") && !slices.Contains(top, e.Name()) && !ignored(e.Name()) {
			t.Errorf("%s is not one of the names at the top level: a newcomer finds a room by its name, so there are few", e.Name())
		}
	}
}

// TestEveryPackageHasARule: also those that import nothing of ours.
func TestEveryPackageHasARule(t *testing.T) {
	for _, i := range imports(t, root(t)) {
		first, _, _ := strings.Cut(i.folder, "/")
		if !slices.ContainsFunc(folders, func(r rule) bool { return r.folder == first }) {
			t.Errorf("%s: %s has no rule in `folders`", i.where, i.folder)
		}
		if first == "smb" && !slices.ContainsFunc(inside, func(r rule) bool { return r.folder == i.folder }) {
			t.Errorf("%s: %s has no rule in `inside`", i.where, i.folder)
		}
	}
}

// TestJudge: the test itself can fail.
func TestJudge(t *testing.T) {
	for _, c := range []struct {
		folder, path string
		test, ok     bool
	}{
		{"smb", "smb/wire", false, true},
		{"smb", "smb/auth/ntlm", false, false},
		{"smb", "smb/auth/ntlm", true, true},
		{"smb", "smb/vfs/osfs", false, false},
		{"smb", "smb/vfs/memfs", true, true},
		{"smb", "quic", true, false},
		{"smb", "tools/peers", true, false},
		{"smb/wire", "smb", false, false},
		{"smb/wire", "smb/fsa", false, false},
		{"smb/fsa", "smb/wire", false, false},
		{"smb/vfs/memfs", "smb/vfs/osfs", false, false},
		{"smb/vfs", "smb/wire", false, false},
		{"smb/nothing", "smb/nt", false, false},
		{"smb/smbtest", "smb/auth/ntlm", false, false},
		{"smb/smbtest", "smb/auth/ntlm/ntlmtest", false, true},
		{"quic", "quic/quictest", true, true},
		{"quic", "smb/nt", false, false},
		{"tpm", "quic", false, false},
		{"tpm", "tpm/tpmtest", true, true},
		{"firmware", "tpm/tpmtest", false, false},
		{"firmware/boot", "firmware/storage/disklab", false, false},
		{"firmware/boot", "firmware/storage/disklab", true, true},
		{"ui/web", "board", false, true},
		{"ui/web", "firmware/observe", false, false},
		{"firmware", "smb/vfs/osfs", false, true},
		{"firmware/account", "tools/arrows", true, false},
		{"tools/bench", "firmware/config", false, true},
	} {
		if why := judge(imported{folder: c.folder, path: c.path, ours: true, test: c.test}); (why == "") != c.ok {
			t.Errorf("%s imports %s (test %v): %q", c.folder, c.path, c.test, why)
		}
	}
	for folder, ok := range map[string]bool{"smb": false, "firmware": false, "quic": false, "tpm": false, "tpm/tpmtest": true, "tools/peers": true, "firmware/boot": true, "firmware/storage": true, "firmware/network": false} {
		if why := judge(imported{folder: folder, path: "os/exec"}); (why == "") != ok {
			t.Errorf("%s imports os/exec: %q", folder, why)
		}
	}
}
