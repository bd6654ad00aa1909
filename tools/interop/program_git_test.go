package interop

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	smb2 "github.com/cloudsoda/go-smb2"

	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/tools/postern"
)

// TestProgramGit carries a repository over the wire as git writes one: objects under other names first, and then renamed;
// refs in a lock file that is made exclusively. git itself judges what has arrived, clones it from the server's disk,
// and judges once more what is carried back.
func TestProgramGit(t *testing.T) {
	eachLink(t, func(t *testing.T, _ *postern.Server, tgt goTarget, l link) { programGit(t, tgt, l) })
}

func git(t *testing.T, dir string, args ...string) string {
	t.Helper()
	// By -C and not by cmd.Dir: dir may be one that this process serves, and while it makes another one it serves nothing.
	cmd := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=alice", "-c", "user.email=alice@nas.test", "-c", "safe.directory=*"}, args...)...)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %q: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// TestProgramGitMounted has git itself at work on a share that is mounted: it clones a repository into it, commits,
// merges, packs, and finds all in order, there and in the server's folder.
func TestProgramGitMounted(t *testing.T) {
	eachLink(t, func(t *testing.T, _ *postern.Server, tgt goTarget, l link) {
		origin := repository(t)
		share := mounted(t, tgt.mount(t, l))
		git(t, share, "clone", "-q", "--no-local", origin, "work")
		work, there := filepath.Join(share, "work"), filepath.Join(tgt.dir, "work")
		if got, want := git(t, work, "rev-parse", "HEAD"), git(t, origin, "rev-parse", "HEAD"); got != want {
			t.Errorf("HEAD of the clone is %s, want %s", got, want)
		}
		git(t, work, "checkout", "-q", "-b", "side")
		for i, branch := range []string{"side", "main", "side"} {
			git(t, work, "checkout", "-q", branch)
			for j := range 5 {
				path := filepath.Join(work, fmt.Sprintf("dir-%d", j), fmt.Sprintf("%s-%d", branch, i))
				if err := os.WriteFile(path, pattern(uint64(i*100+j), 150_000*j+17), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			git(t, work, "rm", "-q", fmt.Sprintf("dir-%d/file-%d", i, i))
			git(t, work, "add", "-A")
			git(t, work, "commit", "-qm", fmt.Sprintf("on %s, %d", branch, i))
		}
		git(t, work, "checkout", "-q", "main")
		git(t, work, "merge", "-q", "--no-edit", "side")
		git(t, work, "gc", "-q")
		git(t, work, "push", "-q", "origin", "main:pushed")
		head := git(t, work, "rev-parse", "HEAD")
		if got := git(t, origin, "rev-parse", "pushed"); got != head {
			t.Errorf("pushed %s, want %s", got, head)
		}
		for _, dir := range []string{work, there, origin} {
			git(t, dir, "fsck", "--full", "--strict")
		}
		if got := git(t, there, "rev-parse", "HEAD"); got != head {
			t.Errorf("HEAD on the server is %s, want %s", got, head)
		}
		for _, dir := range []string{work, there} {
			if out := git(t, dir, "status", "--porcelain"); out != "" {
				t.Errorf("in %s the work tree differs:\n%s", dir, out)
			}
		}
	})
}

// repository makes one with some history, part of it packed.
func repository(t *testing.T) string {
	t.Helper()
	here := t.TempDir()
	git(t, here, "init", "-q", "-b", "main")
	for i := range 12 {
		for j := range 5 {
			path := filepath.Join(here, fmt.Sprintf("dir-%d", j), fmt.Sprintf("file-%d", i%7))
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, pattern(uint64(i*10+j), 200*(i+1)), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		git(t, here, "add", "-A")
		git(t, here, "commit", "-qm", fmt.Sprintf("commit %d", i))
		if i == 6 {
			git(t, here, "gc", "-q") // some of it in a pack
		}
	}
	return here
}

func programGit(t *testing.T, tgt goTarget, l link) {
	here := repository(t)
	head := git(t, here, "rev-parse", "HEAD")

	share := tgt.mount(t, l)
	carryGit(t, share, here)
	there := tgt.dir
	if got := git(t, there, "rev-parse", "HEAD"); got != head {
		t.Errorf("HEAD is %s, was %s", got, head)
	}
	git(t, there, "fsck", "--full", "--strict")
	if out := git(t, there, "status", "--porcelain"); out != "" {
		t.Errorf("the work tree differs:\n%s", out)
	}
	clone := t.TempDir()
	git(t, clone, "clone", "-q", "--no-local", there, "clone")
	if got := git(t, filepath.Join(clone, "clone"), "rev-parse", "HEAD"); got != head {
		t.Errorf("the clone's HEAD is %s, was %s", got, head)
	}

	// And back.
	back := t.TempDir()
	var fetch func(path string)
	fetch = func(path string) {
		infos, err := share.ReadDir(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, fi := range infos {
			p := strings.TrimPrefix(path+`\`+fi.Name(), `\`)
			to := filepath.Join(back, strings.ReplaceAll(p, `\`, "/"))
			if fi.IsDir() {
				if err := os.Mkdir(to, 0o755); err != nil {
					t.Fatal(err)
				}
				fetch(p)
				continue
			}
			b, err := share.ReadFile(p)
			if err == nil {
				err = os.WriteFile(to, b, 0o644)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	fetch("")
	git(t, back, "fsck", "--full", "--strict")
	if got := git(t, back, "rev-parse", "HEAD"); got != head {
		t.Errorf("HEAD came back as %s, was %s", got, head)
	}
}

// carryGit copies a repository and its work tree.
func carryGit(t *testing.T, share *smb2.Share, dir string) {
	t.Helper()
	n := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(dir, path)
		if err != nil || rel == "." {
			return err
		}
		to := strings.ReplaceAll(rel, "/", `\`)
		if d.IsDir() {
			return share.Mkdir(to, 0o755)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		temp := to + ".lock"
		if strings.Contains(to, `\objects\`) {
			n++
			temp = to[:strings.LastIndexByte(to, '\\')+1] + fmt.Sprintf("tmp_obj_%06d", n)
		}
		f, err := share.OpenFile(temp, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o444)
		if err != nil {
			return err
		}
		if _, err := f.Write(b); err != nil {
			return err
		}
		if err := f.Sync(); err != nil {
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
		return share.Rename(temp, to)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestProgramLockFiles lets four clients count in one file, each time under a lock file that only one can make: none
// counts twice, and none in vain.
func TestProgramLockFiles(t *testing.T) {
	eachLink(t, func(t *testing.T, _ *postern.Server, tgt goTarget, l link) {
		const clients, each = 4, 15
		setup := tgt.mount(t, l)
		if err := setup.WriteFile("count", []byte("0"), 0o644); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for range clients {
			share := tgt.mount(t, l)
			wg.Go(func() {
				for range each {
					if err := countOne(share); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		if got := tgt.onDisk(t, "count"); !bytes.Equal(got, []byte(strconv.Itoa(clients*each))) {
			t.Errorf("counted to %s, want %d", got, clients*each)
		}
	})
}

// patience is how often a client looks again for what another one still has.
const patience = 5000

// again calls f until the file is not another client's any more: made by it, or being renamed this moment.
func again(f func() error) (err error) {
	for range patience {
		err = f()
		var resp *smb2.ResponseError
		busy := errors.As(err, &resp) && nt.Status(resp.Code) == nt.SharingViolation
		if err == nil || !busy && !errors.Is(err, fs.ErrExist) && !errors.Is(err, fs.ErrPermission) {
			return err
		}
	}
	return err
}

func countOne(share *smb2.Share) error {
	var lock *smb2.File
	var b []byte
	var n int
	return steps(
		func() error {
			return again(func() (err error) {
				lock, err = share.OpenFile("count.lock", os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o644)
				return err
			})
		},
		func() error { return again(func() (err error) { b, err = share.ReadFile("count"); return err }) },
		func() (err error) { n, err = strconv.Atoi(string(b)); return err },
		func() error { _, err := lock.Write([]byte(strconv.Itoa(n + 1))); return err },
		func() error { return lock.Close() },
		// The client library's Rename does not replace.
		func() error { return again(func() error { return share.Remove("count") }) },
		func() error { return share.Rename("count.lock", "count") },
	)
}
