package audit_test

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode"

	"github.com/postern-nas/postern/firmware/audit"
)

func open(t *testing.T, cfg audit.Config) *audit.Log {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	l, err := audit.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func query(t *testing.T, l *audit.Log, q audit.Query) audit.Page {
	t.Helper()
	l.Flush()
	p, err := l.Query(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestRecordAndQuery(t *testing.T) {
	dir := t.TempDir()
	l := open(t, audit.Config{Dir: dir})
	from := netip.MustParseAddr("192.0.2.7")
	l.Record(audit.Event{ID: audit.LogonOK, OK: true, User: "Alice", Address: from})
	l.Record(audit.Event{ID: audit.LogonFailed, User: "bob", Address: from, Text: "wrong password"})
	l.Record(audit.Event{ID: audit.ShareConnected, OK: true, User: "alice", Share: "disk"})
	all := query(t, l, audit.Query{})
	if len(all.Events) != 3 || all.Next != 0 || all.Events[0].Seq != 3 || all.Events[2].Name != "logon" || all.Events[2].Address != from {
		t.Fatalf("%+v", all)
	}
	for name, test := range map[string]struct {
		q    audit.Query
		want string
	}{
		"user":     {audit.Query{User: "ALICE"}, "3 1"},
		"event":    {audit.Query{IDs: []audit.ID{audit.LogonFailed, audit.LogonOK}}, "2 1"},
		"failed":   {audit.Query{Failed: true}, "2"},
		"text":     {audit.Query{Text: "Wrong PASS"}, "2"},
		"nothing":  {audit.Query{Text: "nowhere"}, ""},
		"page":     {audit.Query{Limit: 2}, "3 2"},
		"before":   {audit.Query{Before: 2}, "1"},
		"future":   {audit.Query{From: time.Now().Add(time.Hour)}, ""},
		"past":     {audit.Query{To: time.Now().Add(-time.Hour)}, ""},
		"the hour": {audit.Query{From: time.Now().Add(-time.Hour), To: time.Now().Add(time.Hour)}, "3 2 1"},
	} {
		var got []string
		for _, e := range query(t, l, test.q).Events {
			got = append(got, fmt.Sprint(e.Seq))
		}
		if strings.Join(got, " ") != test.want {
			t.Errorf("%s: %v, want %s", name, got, test.want)
		}
	}
	if p := query(t, l, audit.Query{Limit: 2}); p.Next != 2 {
		t.Errorf("next is %d", p.Next)
	}
	// Numbers go on after a restart, also behind a line that was torn.
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l.Record(audit.Event{ID: audit.LogonOK}) // nothing
	path := filepath.Join(dir, "audit.jsonl")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, cut := range []int{0, 1, 20} {
		if err := os.WriteFile(path, data[:len(data)-cut], 0o600); err != nil {
			t.Fatal(err)
		}
		again := open(t, audit.Config{Dir: dir})
		again.Record(audit.Event{ID: audit.Started, OK: true})
		p := query(t, again, audit.Query{})
		whole := 3
		if cut > 1 {
			whole = 2
		}
		if len(p.Events) != whole+1 || p.Events[0].Seq != uint64(whole)+1 {
			t.Errorf("cut by %d: %+v", cut, p.Events)
		}
		_ = again.Close()
	}
}

// Who did something is found as whom it is about is.
func TestQueryBy(t *testing.T) {
	l := open(t, audit.Config{Dir: t.TempDir()})
	for _, by := range []string{
		audit.By(audit.PagePrefix, "Eve", ""), audit.By(audit.PagePrefix, "eve", "tower"),
		audit.By(audit.CommandPrefix, "eve", "tower at home"), audit.By(audit.CommandPrefix, "evening", ""), "command", "panel",
		audit.By(audit.PagePrefix, "dad at home", "phone"),
	} {
		l.Record(audit.Event{ID: audit.ConfigChanged, OK: true, By: by})
	}
	for name, test := range map[string]struct {
		q    audit.Query
		want string
	}{
		"user":            {audit.Query{User: "EVE"}, "3 2 1"},
		"device":          {audit.Query{Device: "Tower"}, "2"},
		"device, at":      {audit.Query{Device: "tower at home"}, "3"},
		"user and device": {audit.Query{User: "evening", Device: "tower"}, ""},
		"user, at":        {audit.Query{User: "Dad at home"}, "7"},
		"its device":      {audit.Query{Device: "phone"}, "7"},
		"no user":         {audit.Query{User: "command"}, ""},
	} {
		var got []string
		for _, e := range query(t, l, test.q).Events {
			got = append(got, fmt.Sprint(e.Seq))
		}
		if strings.Join(got, " ") != test.want {
			t.Errorf("%s: %v, want %s", name, got, test.want)
		}
	}
}

// However much is recorded, the files stay within their bounds, and the newest events are there.
func TestRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		l, err := audit.Open(audit.Config{Dir: dir, Size: 64 << 10, Files: 3})
		if err != nil {
			t.Fatal(err)
		}
		const n = 3000
		for i := range n {
			l.Record(audit.Event{ID: audit.LogonOK, OK: true, User: fmt.Sprint("user", i), Text: strings.Repeat("x", 200)})
			time.Sleep(time.Second)
		}
		l.Flush()
		files, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil || len(files) != 3 {
			t.Error(files, err)
		}
		for _, f := range files {
			if st, err := os.Stat(f); err != nil || st.Size() > 64<<10 || st.Mode().Perm() != 0o600 {
				t.Error(st, err)
			}
		}
		before, seen := uint64(0), 0
		last := uint64(n + 1)
		for {
			p, err := l.Query(context.Background(), audit.Query{Before: before, Limit: 100})
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range p.Events {
				if e.Seq != last-1 || e.User != fmt.Sprint("user", e.Seq-1) {
					t.Fatalf("%+v after %d", e, last)
				}
				last = e.Seq
				seen++
			}
			if before = p.Next; before == 0 {
				break
			}
		}
		if seen < 300 || seen > 600 {
			t.Errorf("%d events are kept", seen)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
}

// A flood of one kind neither pushes another kind out nor goes unmentioned.
func TestFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, err := audit.Open(audit.Config{Dir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		for range 10000 {
			l.Record(audit.Event{ID: audit.LogonFailed, User: "x"})
		}
		l.Record(audit.Event{ID: audit.Revoked, OK: true, Device: "LAPTOP"})
		time.Sleep(time.Minute)
		l.Record(audit.Event{ID: audit.LogonFailed, User: "x"})
		l.Flush()
		p, err := l.Query(context.Background(), audit.Query{Limit: 1000})
		if err != nil {
			t.Fatal(err)
		}
		if len(p.Events) != 202 || p.Events[0].Skipped != 10000-200 || p.Events[1].Device != "LAPTOP" {
			t.Errorf("%d events, the newest %+v", len(p.Events), p.Events[:2])
		}
		_ = l.Close()
	})
}

// SEC-59: a stranger's text stays within its field and its line, and shows as what it is.
func TestSEC59Injection(t *testing.T) {
	dir := t.TempDir()
	l := open(t, audit.Config{Dir: dir})
	hostile := []string{
		"a\nb", "a\r\n{\"id\":4624}", "\x1b[2J\x1b]0;x\x07", "\u202euser\u2066", `","ok":true,"x":"`, strings.Repeat("\x00", 2000), "\xff\xfe", "\u2028\u2029\u0085\x7f",
		strings.Repeat("\U000e0001", 70000), "=cmd|'/c calc'!A1", "@SUM(1)",
	}
	for _, s := range hostile {
		l.Record(audit.Event{
			ID: audit.LogonFailed, User: s, Domain: s, Workstation: s, Share: s, Device: s, Text: s, Server: s, Connection: s,
			Transport: s, By: s, Entries: []string{s, s, s, s, s, s, s, s},
			Certificates: []audit.Certificate{{Subject: s, Issuer: s, Serial: s, SHA1: s, SHA256: s}, {Subject: s, Issuer: s, Serial: s}},
		})
	}
	l.Flush()
	data, err := os.ReadFile(filepath.Join(dir, "audit.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.Split(bytes.TrimSuffix(data, []byte("\n")), []byte("\n"))
	if len(lines) != len(hostile) {
		t.Fatalf("%d lines for %d events", len(lines), len(hostile))
	}
	for i, line := range lines {
		var e audit.Event
		if err := json.Unmarshal(line, &e); err != nil || e.OK || e.ID != audit.LogonFailed || len(line) > 32<<10 {
			t.Errorf("%q: %v", hostile[i], err)
		}
		for _, r := range string(line) {
			if !unicode.IsPrint(r) {
				t.Errorf("%q: %U in the log", hostile[i], r)
			}
		}
	}
	var b bytes.Buffer
	if err := l.Export(t.Context(), &b, audit.Query{}, audit.CSV); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(&b).ReadAll()
	if err != nil || len(rows) != len(hostile)+1 {
		t.Fatal(len(rows), err)
	}
	for _, row := range rows {
		for _, cell := range row {
			if cell != "" && strings.ContainsRune("=+-@", rune(cell[0])) {
				t.Errorf("%q could be a formula", cell)
			}
		}
	}
	b.Reset()
	if err := l.Export(t.Context(), &b, audit.Query{Limit: 1, Before: 1}, audit.JSONLines); err != nil || bytes.Count(b.Bytes(), []byte("\n")) != len(hostile) {
		t.Error(err, b.Len())
	}
	if err := l.Export(t.Context(), &b, audit.Query{}, "xml"); err == nil {
		t.Error("a format nobody knows")
	}
}

func TestIDs(t *testing.T) {
	seen := map[string]bool{}
	for _, id := range audit.Known() {
		name := id.String()
		if seen[name] || strings.HasPrefix(name, "event-") {
			t.Errorf("%d is called %q", int(id), name)
		}
		seen[name] = true
		for _, s := range []string{name, fmt.Sprint(int(id))} {
			if back, ok := audit.ParseID(s); !ok || back != id {
				t.Errorf("%s is %v", s, back)
			}
		}
	}
	if _, ok := audit.ParseID("nothing"); ok || audit.ID(1).String() != "event-1" {
		t.Error("unknown ones")
	}
}

// Whatever the file has become, what is recorded after it is found, and nothing twice.
func FuzzLog(f *testing.F) {
	f.Add([]byte(`{"time":"2026-11-01T00:00:00Z","seq":7,"id":4624,"event":"logon","ok":true}` + "\n" + `{"seq":8,"id":1}` + "\n{"))
	f.Add([]byte(`{"seq":18446744073709551615,"id":1}`))
	f.Add([]byte(`{"seq":9007199254740991,"id":1}`))
	f.Add([]byte("{\"seq\":2}\n{\"seq\":1}\n{\"seq\":2}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "audit.jsonl"), data, 0o600); err != nil {
			t.Fatal(err)
		}
		l, err := audit.Open(audit.Config{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		l.Record(audit.Event{ID: audit.Revoked, Text: "the newest"})
		l.Flush()
		p, err := l.Query(context.Background(), audit.Query{Limit: 1000})
		if err != nil {
			t.Fatal(err)
		}
		if len(p.Events) == 0 || p.Events[0].Text != "the newest" {
			t.Fatalf("%+v", p.Events)
		}
		for i := 1; i < len(p.Events); i++ {
			if p.Events[i].Seq >= p.Events[i-1].Seq {
				t.Fatalf("%d after %d", p.Events[i].Seq, p.Events[i-1].Seq)
			}
		}
	})
}
