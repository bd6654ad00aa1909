package interop

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postern-nas/postern/tools/peers/peers"
)

// TestSmbclient is an ordinary day at a share. Every case has a folder of its own.
func TestSmbclient(t *testing.T) {
	for _, tgt := range startSamba(t, share{name: "disk"}) {
		t.Run(tgt.transport, func(t *testing.T) {
			for _, c := range []struct {
				name string
				run  func(*testing.T, *bench)
			}{
				{"list", testList},
				{"copy", testCopy},
				{"tree", testTree},
				{"rename", testRename},
				{"delete", testDelete},
				{"names", testNames},
				{"case", testCase},
				{"attributes", testAttributes},
				{"streams", testStreams},
				{"du", testDu},
			} {
				t.Run(c.name, func(t *testing.T) {
					t.Parallel()
					c.run(t, tgt.bench(t, "disk", tgt.transport+"-"+c.name))
				})
			}
		})
	}
}

func testList(t *testing.T, b *bench) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	out, err := b.smbclient(ctx, "-L", "//"+serverName, "-U"+alice+"%"+alicePassword, "--grepable").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{`(?m)^Disk\|disk\|`, `(?m)^IPC\|IPC\$\|`} {
		if !regexp.MustCompile(want).Match(out) {
			t.Errorf("the list has no %s:\n%s", want, out)
		}
	}
}

// testCopy copies files of sizes around every border on the way: none, a block, one and several of the largest READ.
func testCopy(t *testing.T, b *bench) {
	var puts, gets []string
	sizes := []int{0, 1, 4095, 65536, 65537, 1<<20 - 1, 8<<20 + 3}
	for _, n := range sizes {
		name := fmt.Sprintf("f%d", n)
		b.write(t, name, pattern(uint64(n), n))
		puts, gets = append(puts, "put "+name), append(gets, fmt.Sprintf("get %s back%d", name, n))
	}
	b.do(t, append(puts, gets...)...)
	for _, n := range sizes {
		b.same(t, fmt.Sprintf("f%d", n), pattern(uint64(n), n))
		got, err := os.ReadFile(b.local.Sub(fmt.Sprintf("back%d", n)).Host)
		if err != nil || !bytes.Equal(got, pattern(uint64(n), n)) {
			t.Errorf("%d bytes came back as %d others (%v)", n, len(got), err)
		}
	}
	// A shorter file over a longer one leaves nothing of it.
	b.write(t, "short", []byte("short"))
	b.do(t, "put short f65536")
	b.same(t, "f65536", []byte("short"))
	b.refused(t, "NT_STATUS_OBJECT_NAME_NOT_FOUND", "get nothing")
	b.refused(t, "NT_STATUS_OBJECT_PATH_NOT_FOUND", `put short none\short`)
}

func testTree(t *testing.T, b *bench) {
	b.write(t, "leaf", []byte("leaf"))
	b.do(t, "mkdir a", `mkdir a\b`, `mkdir a\b\c`, `put leaf a\b\c\leaf`, `put leaf a\leaf`, "put leaf")
	if fi, err := os.Stat(filepath.Join(b.host, "a/b/c/leaf")); err != nil || fi.Size() != 4 {
		t.Errorf("the leaf on disk: %v", err)
	}
	b.refused(t, "NT_STATUS_OBJECT_NAME_COLLISION", "mkdir a")
	out := b.do(t, "recurse ON", "ls")
	for _, want := range []string{`\` + b.dir + `\a`, `\` + b.dir + `\a\b`, `\` + b.dir + `\a\b\c`} {
		if !slices.Contains(strings.Split(out, "\n"), want) {
			t.Errorf("ls recursed not into %s:\n%s", want, out)
		}
	}
	if n := len(regexp.MustCompile(`(?m)^  leaf +A +4  `).FindAllString(out, -1)); n != 3 {
		t.Errorf("ls shows %d leaves of 3:\n%s", n, out)
	}
	// Patterns are the server's work.
	b.do(t, "put leaf one.txt", "put leaf two.txt", "put leaf three.dat")
	for pattern, want := range map[string]int{"*.txt": 2, "t*": 2, "???.txt": 2, "*": 5 + 2, "one.*": 1} {
		out := b.do(t, "ls "+pattern)
		if n := len(regexp.MustCompile(`(?m)^  \S.*\d\d:\d\d:\d\d \d{4}$`).FindAllString(out, -1)); n != want {
			t.Errorf("ls %s shows %d entries, want %d:\n%s", pattern, n, want, out)
		}
	}
	b.refused(t, "NT_STATUS_NO_SUCH_FILE", "ls nothing*")
}

func testRename(t *testing.T, b *bench) {
	b.write(t, "x", []byte("x"))
	b.do(t, "put x", "put x other", "mkdir d", `put x d\x`)
	b.do(t, "rename x y", `rename y d\y`, "rename d e", "rename other OTHER")
	if got, want := b.names(t), []string{"OTHER", "e"}; !slices.Equal(got, want) {
		t.Errorf("after renaming: %q, want %q", got, want)
	}
	b.same(t, "e/y", []byte("x"))
	b.refused(t, "NT_STATUS_OBJECT_NAME_COLLISION", `rename OTHER e\x`)
	b.do(t, `rename OTHER e\x -f`)
	b.refused(t, "NT_STATUS_OBJECT_NAME_NOT_FOUND", "rename nothing something")
}

func testDelete(t *testing.T, b *bench) {
	b.write(t, "x", []byte("x"))
	b.do(t, "put x", "put x x2", "mkdir d", `mkdir d\e`, `put x d\e\x`, `put x d\x`, "mkdir empty")
	b.refused(t, "NT_STATUS_DIRECTORY_NOT_EMPTY", "rmdir d")
	b.refused(t, "NT_STATUS_NO_SUCH_FILE", "del nothing")
	b.do(t, "del x", "rmdir empty")
	if got, want := b.names(t), []string{"d", "x2"}; !slices.Equal(got, want) {
		t.Errorf("after del and rmdir: %q, want %q", got, want)
	}
	b.do(t, "deltree d")
	if got, want := b.names(t), []string{"x2"}; !slices.Equal(got, want) {
		t.Errorf("after deltree: %q, want %q", got, want)
	}
}

func testNames(t *testing.T, b *bench) {
	names := []string{
		"Übergröße", "日本語のファイル", "Ελληνικά", "русский", "עברית", "emoji 🗄️ cabinet", "𝔘𝔫𝔦", "a b  c", "dot.dot.dot",
		"e\u0301 decomposed", "é composed", "hash#tilde~plus+percent%", "(parens) [brackets] {braces}", "it's, & = ! @ ^",
		strings.Repeat("n", 255), strings.Repeat("ü", 127), strings.Repeat("語", 85),
	}
	slices.Sort(names)
	b.write(t, "x", []byte("x"))
	var commands []string
	for _, n := range names {
		commands = append(commands, fmt.Sprintf(`put x "%s"`, n), fmt.Sprintf(`get "%s" back`, n))
	}
	out := b.do(t, append(commands, "ls")...)
	if got := b.names(t); !slices.Equal(got, names) {
		t.Errorf("on disk: %q\nwant     %q", got, names)
	}
	for _, n := range names {
		if !strings.Contains(out, "\n  "+n+" ") {
			t.Errorf("ls does not show %q", n)
		}
	}
	b.refused(t, "NT_STATUS_OBJECT_NAME_INVALID", fmt.Sprintf(`put x "%s"`, strings.Repeat("n", 256)))
	b.refused(t, "NT_STATUS_OBJECT_NAME_INVALID", `put x "a:b:c:d"`)
	b.do(t, "deltree *")
	if got := b.names(t); len(got) != 0 {
		t.Errorf("deltree left %q", got)
	}
}

func testCase(t *testing.T, b *bench) {
	b.write(t, "x", []byte("x"))
	b.write(t, "y", []byte("longer"))
	b.do(t, "put x ÜberGröße.Txt", "mkdir Ordner", "get üBERgRÖßE.tXT back", "cd oRDNER", "put y ..\\ÜBERGRÖßE.TXT")
	if got, want := b.names(t), []string{"Ordner", "ÜberGröße.Txt"}; !slices.Equal(got, want) {
		t.Errorf("names %q, want %q: case kept, one file", got, want)
	}
	b.same(t, "ÜberGröße.Txt", []byte("longer"))
	b.refused(t, "NT_STATUS_OBJECT_NAME_COLLISION", "mkdir ORDNER")
}

func testAttributes(t *testing.T, b *bench) {
	b.put(t, "x", pattern(1, 12345))
	out := b.do(t, "setmode x +rh-a", "utimes x 2001:02:03-04:05:06 2007:08:09-10:11:12 2011:12:13-14:15:16 -1", "allinfo x")
	for _, want := range []string{
		`(?m)^create_time: .*Feb +3 04:05:06 2001`, `(?m)^access_time: .*Aug +9 10:11:12 2007`,
		`(?m)^write_time: .*Dec 13 14:15:16 2011`, `(?m)^attributes: RH \(3\)`, `(?m)^stream: \[::\$DATA\], 12345 bytes`,
	} {
		if !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("allinfo has no %s:\n%s", want, out)
		}
	}
	// Another client, another connection, the same answers; and read-only means it.
	if again := b.do(t, "allinfo x"); !reflect.DeepEqual(infoLines(again), infoLines(out)) {
		t.Errorf("allinfo differs on a new connection:\n%s\n%s", again, out)
	}
	b.refused(t, "NT_STATUS_CANNOT_DELETE", "del x")
	b.do(t, "setmode x -rh", "del x")
}

// infoLines are the facts that allinfo prints.
func infoLines(out string) []string {
	return regexp.MustCompile(`(?m)^(altname|create_time|write_time|attributes|stream): .*$`).FindAllString(out, -1)
}

func testDu(t *testing.T, b *bench) {
	b.write(t, "x", pattern(1, 1000))
	b.write(t, "y", pattern(1, 70000))
	out := b.do(t, "put x", "put y", "mkdir d", `put y d\y`, "recurse ON", "du *") // a bare du recurses wrongly in this smbclient
	if !strings.Contains(out, "Total number of bytes: 141000") {
		t.Errorf("du does not find 141000 bytes:\n%s", out)
	}
	m := regexp.MustCompile(`(\d+) blocks of size (\d+)\. (\d+) blocks available`).FindStringSubmatch(out)
	if m == nil || m[1] == "0" || m[3] == "0" {
		t.Errorf("no size of the disk:\n%s", out)
	}
}

// TestSmbclientGiB copies a large file there and back. It runs by itself, for its time to mean something.
func TestSmbclientGiB(t *testing.T) {
	size := int64(1 << 30)
	if testing.Short() {
		size = 64 << 20
	}
	targets := startSamba(t, share{name: "disk"})
	local := targets[0].peers.TempDir(t)
	sum := randomFile(t, local.Sub("big"), size)
	for _, tgt := range targets {
		t.Run(tgt.transport, func(t *testing.T) {
			start := time.Now()
			if tgt.transport == "quic" {
				putInPieces(t, tgt, local.Sub("big"))
			} else {
				tgt.do(t, "disk", "lcd "+local.Inside, "put big")
			}
			wrote := time.Since(start)
			path := filepath.Join(tgt.shares["disk"], "big")
			f, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if got := sha(t, f); got != sum {
				t.Errorf("the server has SHA-256 %s, put %s", got, sum)
			}

			// To standard output, and so straight into the hash.
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
			defer cancel()
			start = time.Now()
			cmd := tgt.smbclient(ctx, "//"+serverName+"/disk", "-U"+alice+"%"+alicePassword, "-c", "get big -")
			var said bytes.Buffer
			cmd.Stderr = &said
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			got := sha(t, out)
			if err := cmd.Wait(); err != nil {
				t.Errorf("get: %v\n%s", err, &said)
			}
			if got != sum {
				t.Errorf("SHA-256 %s came back, put %s\n%s", got, sum, &said)
			}
			mb := float64(size) / 1e6
			t.Logf("put %.0f MB/s, get %.0f MB/s", mb/wrote.Seconds(), mb/time.Since(start).Seconds())
			tgt.do(t, "disk", "del big")
		})
	}
}

// putInPieces puts a file piece by piece, each with a connection of its own, and then joins the pieces on the server's
// disk under the file's name. smbclient 4.24.7 keeps all that it has sent on a QUIC connection in a list, and walks
// that list for every packet: 16 MiB take it a second, 128 MiB a minute, 1 GiB would take it an hour, all of it its own
// processor time and the same against any server.
func putInPieces(t *testing.T, tgt *sambaTarget, file peers.Folder) {
	t.Helper()
	const piece = 4 << 20
	in, err := os.Open(file.Host)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	joined, err := os.Create(filepath.Join(tgt.shares["disk"], filepath.Base(file.Host)))
	if err != nil {
		t.Fatal(err)
	}
	defer joined.Close()
	local := tgt.peers.TempDir(t)
	onServer := filepath.Join(tgt.shares["disk"], "piece")
	for {
		b, err := io.ReadAll(io.LimitReader(in, piece))
		if err != nil {
			t.Fatal(err)
		}
		if len(b) == 0 {
			return
		}
		if err := os.WriteFile(local.Sub("piece").Host, b, 0o644); err != nil {
			t.Fatal(err)
		}
		tgt.do(t, "disk", "lcd "+local.Inside, "put piece")
		arrived, err := os.ReadFile(onServer)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := joined.Write(arrived); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(onServer); err != nil { // for the next not to hide behind this one
			t.Fatal(err)
		}
	}
}

// randomFile fills a file with noise, which no layer can compress, skip or mistake, and returns its SHA-256.
func randomFile(t *testing.T, path peers.Folder, size int64) string {
	t.Helper()
	f, err := os.Create(path.Host)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	hash := sha256.New()
	noise := rand.NewChaCha8([32]byte{'p', 'o', 's', 't', 'e', 'r', 'n'})
	if _, err := io.CopyN(io.MultiWriter(f, hash), noise, size); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(hash.Sum(nil))
}

func sha(t *testing.T, r io.Reader) string {
	t.Helper()
	hash := sha256.New()
	if _, err := io.Copy(hash, r); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(hash.Sum(nil))
}
