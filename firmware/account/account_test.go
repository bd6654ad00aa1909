package account

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/postern-nas/postern/firmware/state"
	"github.com/postern-nas/postern/smb/auth"
	"github.com/postern-nas/postern/smb/auth/ntlm"
	"github.com/postern-nas/postern/smb/dtyp"
)

var _ ntlm.Accounts = (*Store)(nil)

func open(t *testing.T, dir string) (*Store, *bytes.Buffer) {
	t.Helper()
	var log bytes.Buffer
	s, err := Open(dir, slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	if err != nil {
		t.Fatal(err)
	}
	return s, &log
}

func add(t *testing.T, s *Store, name, password string) User {
	t.Helper()
	u, err := s.Add(name, password)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestAddLookupAndAgainAfterRestart(t *testing.T) {
	dir := t.TempDir()
	s, _ := open(t, dir)
	if s.GUID() == [16]byte{} {
		t.Error("no GUID")
	}
	if !regexp.MustCompile(`^S-1-5-21-\d+-\d+-\d+$`).MatchString(s.Machine().String()) {
		t.Errorf("machine SID %v", s.Machine())
	}
	a := add(t, s, "Alice", "correct horse")
	b := add(t, s, "bob", "battery staple")
	if a.SID != s.Machine().Child(1000) || b.SID != s.Machine().Child(1001) {
		t.Errorf("SIDs %v, %v", a.SID, b.SID)
	}
	again, log := open(t, dir)
	if again.GUID() != s.GUID() || again.Machine() != s.Machine() || again.DerivedKey("x") != s.DerivedKey("x") {
		t.Error("another machine after a restart")
	}
	if s.DerivedKey("x") == s.DerivedKey("y") || s.DerivedKey("x") == s.key() {
		t.Error("derived keys are not apart")
	}
	for _, s := range []*Store{s, again} {
		for _, name := range []string{"Alice", "ALICE", "alice"} {
			hash, id, err := s.Lookup(t.Context(), name, "ANYWHERE")
			if err != nil || hash != ntlm.NTHash("correct horse") || id.User != "Alice" || id.SID != a.SID {
				t.Errorf("Lookup(%s) = %+v, %v", name, id, err)
			}
		}
		for _, name := range []string{"", "mallory", "Alice ", "ALICE\x00"} {
			if hash, _, err := s.Lookup(t.Context(), name, ""); err == nil || hash != [16]byte{} {
				t.Errorf("Lookup(%q) found someone", name)
			}
		}
	}
	if log.Len() > 0 {
		t.Errorf("a clean start says: %s", log)
	}
	for _, name := range []string{"state.key", "identity.json", "users.json"} {
		if st, err := os.Stat(filepath.Join(dir, name)); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, st.Mode(), err)
		}
	}
}

// An administrator is in the group from the next logon on; what a session of before proved stands no more.
func TestAdmin(t *testing.T) {
	dir := t.TempDir()
	s, _ := open(t, dir)
	add(t, s, "alice", "correct horse")
	add(t, s, "bob", "correct horse")
	logon := func(user string) *auth.Identity {
		t.Helper()
		_, id, err := s.Lookup(t.Context(), user, "")
		if err != nil {
			t.Fatal(err)
		}
		return &id
	}
	before, bob := logon("alice"), logon("bob")
	if slices.Contains(before.Groups, dtyp.Administrators) || !s.Stands(before) {
		t.Errorf("a user from the start: %+v", before)
	}
	if err := s.SetAdmin("ALICE", true); err != nil {
		t.Fatal(err)
	}
	after := logon("alice")
	if !slices.Contains(after.Groups, dtyp.Administrators) || !s.Stands(after) || s.Stands(before) || !s.Stands(bob) {
		t.Errorf("promoted: %+v", after)
	}
	s, _ = open(t, dir)
	if u := s.Users(); !u[0].Admin || u[1].Admin {
		t.Errorf("read again: %+v", u)
	}
	if err := s.SetAdmin("alice", false); err != nil {
		t.Fatal(err)
	}
	if s.Stands(after) || !s.Stands(before) || slices.Contains(logon("alice").Groups, dtyp.Administrators) {
		t.Error("demoted, and an administrator still")
	}
	if err := s.SetDisabled("bob", true); err != nil || s.Stands(bob) {
		t.Errorf("a disabled user stands; %v", err)
	}
}

func TestChanges(t *testing.T) {
	dir := t.TempDir()
	s, _ := open(t, dir)
	add(t, s, "alice", "correct horse")
	if _, err := s.Add("ALICE", "another password"); !errors.Is(err, ErrExists) {
		t.Errorf("second alice: %v", err)
	}
	if err := s.SetPassword("Alice", "a new password"); err != nil {
		t.Fatal(err)
	}
	if hash, _, _ := s.Lookup(t.Context(), "alice", ""); hash != ntlm.NTHash("a new password") {
		t.Error("the password did not change")
	}
	if err := s.SetDisabled("alice", true); err != nil {
		t.Fatal(err)
	}
	if hash, _, err := s.Lookup(t.Context(), "alice", ""); err == nil || hash != [16]byte{} {
		t.Error("a disabled user was found")
	}
	if err := s.SetDisabled("alice", false); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Lookup(t.Context(), "alice", ""); err != nil {
		t.Error(err)
	}
	for _, err := range []error{s.SetPassword("eve", "correct horse"), s.SetDisabled("eve", true), s.SetAdmin("eve", true), s.Remove("eve")} {
		if !errors.Is(err, ErrNoUser) {
			t.Errorf("unknown user: %v", err)
		}
	}
	if err := s.Remove("Alice"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Lookup(t.Context(), "alice", ""); !errors.Is(err, ErrNoUser) {
		t.Errorf("removed: %v", err)
	}
	// Nobody gets her number, also not after a restart.
	s, _ = open(t, dir)
	if u := add(t, s, "alice", "correct horse"); u.SID != s.Machine().Child(1001) {
		t.Errorf("SID %v given again", u.SID)
	}
	// Nor after the list of users was lost.
	if err := os.WriteFile(filepath.Join(dir, "users.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, _ = open(t, dir)
	if u := add(t, s, "bob", "correct horse"); u.SID != s.Machine().Child(1002) {
		t.Errorf("SID %v given again", u.SID)
	}
}

// TestTwoProcesses: the server and `postern user` each have a Store on one folder.
func TestTwoProcesses(t *testing.T) {
	dir := t.TempDir()
	server, _ := open(t, dir)
	command, _ := open(t, dir)
	add(t, command, "alice", "correct horse")
	if _, _, err := server.Lookup(t.Context(), "alice", ""); err == nil {
		t.Error("seen before Reload")
	}
	if err := server.Reload(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := server.Lookup(t.Context(), "alice", ""); err != nil {
		t.Error(err)
	}
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			s, err := Open(dir, slog.New(slog.DiscardHandler))
			for j := 0; j < 5 && err == nil; j++ {
				_, err = s.Add(fmt.Sprintf("user%d%d", i, j), "correct horse")
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	s, _ := open(t, dir)
	seen := make(map[string]bool)
	for _, u := range s.Users() {
		seen[u.SID.String()] = true
	}
	if len(seen) != 21 {
		t.Errorf("%d SIDs for 21 users", len(seen))
	}
}

func TestNamesAndPasswords(t *testing.T) {
	s, _ := open(t, t.TempDir())
	for _, c := range []struct{ name, password, want string }{
		{"", "correct horse", "a user needs a name"},
		{"a/b", "correct horse", `user name "a/b": none of " / \ [ ] : ; | = , + * ? < > @ % and nothing that cannot be printed`},
		{"a\x1b", "correct horse", `user name "a\x1b": none of " / \ [ ] : ; | = , + * ? < > @ % and nothing that cannot be printed`},
		{"a\u202eb", "correct horse", `user name "a\u202eb": none of " / \ [ ] : ; | = , + * ? < > @ % and nothing that cannot be printed`},
		{" a", "correct horse", `user name " a": no space at either end, no dot at the end`},
		{"a.", "correct horse", `user name "a.": no space at either end, no dot at the end`},
		{strings.Repeat("x", 21), "correct horse", `user name "xxxxxxxxxxxxxxxxxxxxx": at most 20 characters`},
		{"a\xff", "correct horse", `user name "a\xff": at most 20 characters`},
		{"alice", "", "the password is too short: at least 10 characters"},
		{"alice", "123456789", "the password is too short: at least 10 characters"},
		{"alice", strings.Repeat("x", 257), "the password is too long: at most 256 characters"},
		{"alice", "correct\x00horse", "the password has characters in it that cannot be typed"},
		{"alice.cooper", "Alice.Cooper", "the password is the user's name"},
	} {
		if _, err := s.Add(c.name, c.password); err == nil || err.Error() != c.want {
			t.Errorf("Add(%q, %q) = %v, want %s", c.name, c.password, err, c.want)
		}
	}
	if err := s.SetPassword("alice", "short"); err == nil {
		t.Error("a short password was set")
	}
	if n := len(s.Users()); n != 0 {
		t.Errorf("%d users", n)
	}
	for _, name := range []string{"Jürgen Müller", "😀", "x.y-z_1", strings.Repeat("x", 20)} {
		add(t, s, name, "pässwörter")
	}
}

func TestDamagedFilesAreSetAside(t *testing.T) {
	for _, c := range []struct{ file, contents string }{
		{"users.json", ""},
		{"users.json", "null and void"},
		{"users.json", `{"version":2,"users":[]}`},
		{"users.json", `{"version":1,"users":[],"more":1}`},
		{"users.json", `{"version":1,"users":[]}{}`},
		{"users.json", `{"version":1,"users":[{"name":"a","rid":999,"hash":""}]}`},
		{"users.json", `{"version":1,"users":[{"name":"a","rid":1000,"hash":""},{"name":"A","rid":1001,"hash":""}]}`},
		{"users.json", `{"version":1,"users":[{"name":"","rid":1000,"hash":""}]}`},
		{"state.key", "too short"},
		{"identity.json", `{"guid":"00","machine_sid":"S-1-5-21-1-2-3","next_rid":1000}`},
		{"identity.json", `{"guid":"000102030405060708090a0b0c0d0e0f","machine_sid":"S-1-5-21-1-2","next_rid":1000}`},
		{"identity.json", `{"guid":"000102030405060708090a0b0c0d0e0f","machine_sid":"S-1-5-21-1-2-3","next_rid":1}`},
		{"identity.json", "\x00\x00\x00\x00"},
	} {
		dir := t.TempDir()
		s, _ := open(t, dir)
		add(t, s, "alice", "correct horse")
		if err := os.WriteFile(filepath.Join(dir, c.file), []byte(c.contents), 0o600); err != nil {
			t.Fatal(err)
		}
		whole := copyFolder(t, dir)
		if err := os.RemoveAll(state.CopyName(filepath.Join(dir, c.file))); err != nil {
			t.Fatal(err)
		}
		guid := s.GUID()
		s, log := open(t, dir)
		found, _ := filepath.Glob(filepath.Join(dir, c.file+".corrupt-*"))
		if len(found) != 1 {
			t.Fatalf("%s %q: set aside as %q", c.file, c.contents, found)
		}
		if got, _ := os.ReadFile(found[0]); string(got) != c.contents {
			t.Errorf("set aside with %q in it", got)
		}
		if !strings.Contains(log.String(), "level=ERROR") || !strings.Contains(log.String(), c.file+".corrupt-") {
			t.Errorf("%s: the log says %q", c.file, log)
		}
		if _, _, err := s.Lookup(t.Context(), "alice", ""); (err == nil) != (c.file == "identity.json") {
			t.Errorf("%s %q: alice: %v", c.file, c.contents, err)
		}
		// Life goes on, and what was made is there after the next start.
		add(t, s, "bob", "correct horse")
		s, log = open(t, dir)
		if _, _, err := s.Lookup(t.Context(), "bob", ""); err != nil {
			t.Errorf("%s %q: %v", c.file, c.contents, err)
		}
		if c.file != "state.key" && log.Len() > 0 {
			t.Errorf("%s: the next start says %s", c.file, log)
		}
		if c.file == "state.key" {
			continue
		}
		// With its copy nothing is lost, and it is told all the same.
		s, log = open(t, whole)
		if _, _, err := s.Lookup(t.Context(), "alice", ""); err != nil || s.GUID() != guid || !strings.Contains(log.String(), "from its copy") {
			t.Errorf("%s %q, with a copy: %v; the log says %s", c.file, c.contents, err, log)
		}
	}
}

func copyFolder(t *testing.T, from string) (to string) {
	t.Helper()
	to = filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	return to
}

// TestHashesAreBoundToNames: whoever can write the list of users, but has not the key, cannot give one user
// another one's password.
func TestHashesAreBoundToNames(t *testing.T) {
	dir := t.TempDir()
	s, _ := open(t, dir)
	add(t, s, "alice", "correct horse")
	add(t, s, "admin", "battery staple")
	path := filepath.Join(dir, "users.json")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var file userFile
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	file.Users[1].Hash = file.Users[0].Hash
	data, _ = json.Marshal(file)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	s, log := open(t, dir)
	if _, _, err := s.Lookup(t.Context(), "admin", ""); err == nil {
		t.Error("admin has alice's password")
	}
	if _, _, err := s.Lookup(t.Context(), "alice", ""); err != nil {
		t.Error(err)
	}
	if !strings.Contains(log.String(), "user=admin") {
		t.Errorf("the log says %q", log)
	}
	if err := s.SetPassword("admin", "a new password"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Lookup(t.Context(), "admin", ""); err != nil {
		t.Errorf("after a new password: %v", err)
	}
}

// TestSEC60SecretsInLogs: no password, hash or key is found in logs, printed values, or files, in any form.
func TestSEC60SecretsInLogs(t *testing.T) {
	const password = "xyzzy plugh 42"
	hash := ntlm.NTHash(password)
	dir := t.TempDir()
	s, log := open(t, dir)
	add(t, s, "alice", password)
	_, _ = s.Add("alice", password)
	_, _ = s.Add("bad/name", password)
	_ = s.SetPassword("nobody", password)
	_ = s.SetPassword("alice", password)
	_, _, _ = s.Lookup(t.Context(), "alice", "")

	var out bytes.Buffer
	out.Write(log.Bytes())
	for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		l := slog.New(h)
		l.Info("a user", "user", s.Users()[0], "hash", Hash(hash), "pointer", &s.Users()[0], "users", s.Users(), "store", s, "entries", s.users)
	}
	h := Hash(hash)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "% x"} {
		fmt.Fprintf(&out, verb+"\n", h)
		fmt.Fprintf(&out, verb+"\n", &h)
		fmt.Fprintf(&out, verb+"\n", struct{ H Hash }{h})
		fmt.Fprintf(&out, verb+"\n", []Hash{h})
		fmt.Fprintf(&out, verb+"\n", s)
		fmt.Fprintf(&out, verb+"\n", s.users)
	}
	if _, err := json.Marshal(h); err == nil {
		t.Error("a hash can be written as JSON")
	}
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && d.Name() != "state.key" {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Error(err)
			}
			out.Write(data)
		}
		return nil
	})
	key := s.key()
	for what, secret := range map[string][]byte{"password": []byte(password), "hash": hash[:], "key": key[:]} {
		for _, form := range []string{
			string(secret), hex.EncodeToString(secret), strings.ToUpper(hex.EncodeToString(secret)), fmt.Sprintf("% x", secret),
			base64.StdEncoding.EncodeToString(secret), base64.RawURLEncoding.EncodeToString(secret), strings.Trim(fmt.Sprint(secret), "[]"),
			strings.Trim(fmt.Sprintf("%#v", secret), "[]byte{}"),
		} {
			if bytes.Contains(out.Bytes(), []byte(form)) {
				t.Errorf("the %s is found as %q", what, form)
			}
		}
	}
}

func TestNewPassword(t *testing.T) {
	form := regexp.MustCompile(`^[a-z2-9]{4}(-[a-z2-9]{4}){3}$`)
	seen := make(map[string]bool)
	var count [256]int
	for range 2000 {
		p := NewPassword()
		if !form.MatchString(p) || seen[p] {
			t.Fatalf("%q", p)
		}
		seen[p] = true
		for i := range len(p) {
			count[p[i]]++
		}
	}
	for _, l := range []byte(letters) { // 32,000 letters, 1,032 each, standard deviation 32
		if count[l] < 800 || count[l] > 1270 {
			t.Errorf("%q came %d times", l, count[l])
		}
	}
	for _, l := range "01ilo" {
		if count[l] > 0 {
			t.Errorf("%q is in it", l)
		}
	}
	if _, err := hashOf("alice", NewPassword()); err != nil {
		t.Error(err)
	}
}
