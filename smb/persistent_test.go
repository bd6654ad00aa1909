package smb

import (
	"bytes"
	"slices"
	"testing"

	"github.com/postern-nas/postern/smb/fsa"
)

// aRecord has something in every field.
func aRecord() *record {
	id := bytes.Repeat([]byte{7}, 16)
	return &record{
		Volatile: 5, Share: "disk", Path: []string{"a dir", "a \u00fc\u2603 file"}, Object: 1 << 63, Client: id, Create: id, Owner: "S-1-5-21-1-2-3-1000",
		User: "alice", Access: 0x1F01FF, Maximal: 0x1F01FF, Options: 0x40, Mode: 2, Action: 2, Needs: 3, Shared: 1, DeleteOnClose: true, Doomed: true,
		Wrote: true, Cache: 7, Lease: id, Parent: id, V2: true, Epoch: 9, App: id, AppHigh: 1 << 63, AppLow: 1, AppVersioned: true, Timeout: 60_000,
		Locks: []fsa.Lock{{Range: fsa.Range{Offset: 1<<64 - 1, Length: 1}, Exclusive: true}},
	}
}

func TestRecord(t *testing.T) {
	b, err := aRecord().encode()
	if err != nil {
		t.Fatal(err)
	}
	r, err := decodeRecord(b)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := r.encode(); err != nil || !bytes.Equal(again, b) {
		t.Errorf("%s\n%s", again, b)
	}
	for n := range b {
		if _, err := decodeRecord(b[:n]); err == nil {
			t.Errorf("cut at %d: taken", n)
		}
	}
	for why, spoil := range map[string]func(*record){
		"owner":     func(r *record) { r.Owner = "alice" },
		"no client": func(r *record) { r.Client = nil },
		"create":    func(r *record) { r.Create = r.Create[1:] },
		"lease":     func(r *record) { r.Lease = r.Lease[1:] },
		"parent":    func(r *record) { r.Parent = append(r.Parent, 1) },
		"app":       func(r *record) { r.App = r.App[1:] },
		"id":        func(r *record) { r.Volatile = 0 },
		"no id":     func(r *record) { r.Volatile = 1<<64 - 1 },
		"cache":     func(r *record) { r.Cache = 8 },
		"root":      func(r *record) { r.Path = nil },
	} {
		r := aRecord()
		spoil(r)
		b, err := r.encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := decodeRecord(b); err == nil {
			t.Errorf("%s: taken", why)
		}
	}
	r = aRecord()
	r.Locks = slices.Repeat(r.Locks, maxRecordLocks+1)
	if _, err := r.encode(); err == nil {
		t.Error("too many byte ranges")
	}
	r = aRecord()
	r.Path = []string{string(make([]byte, maxRecord))}
	if _, err := r.encode(); err == nil {
		t.Error("too long")
	}
}

func FuzzRecord(f *testing.F) {
	b, err := aRecord().encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeRecord(b)
		if err != nil {
			return
		}
		first, err := r.encode()
		if err != nil {
			return // longer than it was: escaped
		}
		again, err := decodeRecord(first)
		if err != nil {
			t.Fatal(err)
		}
		if second, err := again.encode(); err != nil || !bytes.Equal(first, second) {
			t.Fatalf("%s\n%s %v", first, second, err)
		}
	})
}
