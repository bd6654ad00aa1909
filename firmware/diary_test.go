package main

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/postern-nas/postern/firmware/audit"
	"github.com/postern-nas/postern/ui/web"
)

// TestDiary pages through the whole rotated log as the page does, searches it, and saves it: each event once, the newest first, and
// nothing that a spreadsheet would take for a formula.
func TestDiary(t *testing.T) {
	log, err := audit.Open(audit.Config{Dir: t.TempDir(), Size: 40 << 10, Files: 8})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	const n = 600
	kinds := []audit.ID{audit.LogonOK, audit.LogonFailed, audit.ShareConnected, audit.Paired}
	for i := range n {
		e := audit.Event{ID: kinds[i%len(kinds)], OK: i%len(kinds) != 1, User: fmt.Sprintf("user%d", i%3), Device: "=cmd|' /C calc'!A0", Text: fmt.Sprintf("+%d", i)}
		if i == 300 {
			e = audit.Event{ID: audit.ConfigChanged, OK: true, By: audit.PagePrefix + "user9", Text: "name = attic"}
		}
		log.Record(e)
		if i%50 == 0 {
			log.Flush()
		}
	}
	log.Flush()
	d := diary{log}
	all := func(q web.Search) (seqs []uint64) {
		t.Helper()
		for pages := 0; ; pages++ {
			found, next, err := d.Search(t.Context(), q, 100)
			if err != nil || len(found) > 100 || pages > n/100 {
				t.Fatalf("page %d: %d entries, %v", pages, len(found), err)
			}
			for _, e := range found {
				seqs = append(seqs, e.Seq)
			}
			if q.Before = next; next == 0 {
				return seqs
			}
		}
	}
	seqs := all(web.Search{})
	if len(seqs) < n/2 || !slices.IsSortedFunc(seqs, func(a, b uint64) int { return int(int64(b) - int64(a)) }) || len(slices.Compact(slices.Clone(seqs))) != len(seqs) {
		t.Errorf("%d events of %d, or not in order, or some twice", len(seqs), n)
	}
	if len(all(web.Search{User: "USER9"})) != 1 {
		t.Error("what an owner has changed is not found by the owner's name")
	}
	if got := len(all(web.Search{Event: "logon-failed", User: "user1", Failed: true})); got == 0 || got != len(all(web.Search{Event: "4625", User: "user1"})) {
		t.Errorf("%d failed logons", got)
	}
	if len(all(web.Search{Event: "logon", Failed: true})) != 0 {
		t.Error("a logon that was right has failed")
	}
	if _, _, err := d.Search(t.Context(), web.Search{Event: "nothing"}, 1); err == nil {
		t.Error("an event that there is none of")
	}
	if events := d.Events(); !slices.Contains(events, "paired") || !slices.IsSorted(events) {
		t.Errorf("events %q", events)
	}

	var table, lines bytes.Buffer
	q := web.Search{Event: "paired", Before: 5} // what page one is on does not count
	if err := d.Export(t.Context(), &table, q, "csv"); err != nil {
		t.Fatal(err)
	}
	if err := d.Export(t.Context(), &lines, q, "jsonl"); err != nil {
		t.Fatal(err)
	}
	if err := d.Export(t.Context(), &lines, q, "xml"); err == nil {
		t.Error("a format that there is none of")
	}
	rows, err := csv.NewReader(&table).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	want := len(all(web.Search{Event: "paired"}))
	if len(rows) != want+1 {
		t.Errorf("%d rows of a table for %d events", len(rows), want)
	}
	for _, row := range rows[1:] {
		for _, cell := range row {
			if cell != "" && strings.ContainsRune("=+-@\t\r", rune(cell[0])) {
				t.Fatalf("a formula: %q", cell)
			}
		}
		if !slices.Contains(row, "'=cmd|' /C calc'!A0") {
			t.Fatalf("the device is not in %q", row)
		}
	}
	got := 0
	for s := bufio.NewScanner(&lines); s.Scan(); got++ {
		var e audit.Event
		if err := json.Unmarshal(s.Bytes(), &e); err != nil || e.Name != "paired" {
			t.Fatalf("%s: %v", s.Text(), err)
		}
	}
	if got != want {
		t.Errorf("%d lines for %d events", got, want)
	}
}
