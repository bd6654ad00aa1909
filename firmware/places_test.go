package main

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-nas/postern/firmware/storage"
)

// TestDiskPlaces: never the box's own disk, a stick, one that fails or has no name; and what would be erased is said.
func TestDiskPlaces(t *testing.T) {
	s := storage.State{
		Disks: []storage.Disk{
			{Name: "mmcblk0", ID: "S", System: true, Bytes: 1 << 30},
			{Name: "sda", ID: "A", Model: "Big", Bay: "1", Bytes: 4 << 40},
			{Name: "sdc", ID: "C", Bytes: 2 << 40, Holds: []string{"NTFS"}},
			{Name: "sdd", ID: "D", Pool: "u"},
			{Name: "sde"},
			{Name: "sdf", ID: "F", Removable: true},
			{Name: "sdg", ID: "G", Health: storage.Failed},
			{Name: "sdh", ID: "H", ReadOnly: true},
		},
		Pools: []storage.Pool{
			{UUID: "u", Name: "old", Disks: []string{"sdd"}, Health: storage.Good},
			{UUID: "v", Name: "half", Missing: 1},
			{UUID: "w", Name: "served", Known: true, Path: "/srv/served"},
		},
	}
	var got []string
	for _, p := range diskPlaces(s) {
		got = append(got, p.ID)
		if p.Label == "" {
			t.Errorf("%+v", p)
		}
		if erased := strings.Contains(p.Note, "erased"); erased != strings.Contains(p.ID, "sdc=C") {
			t.Errorf("%s: %q", p.ID, p.Note)
		}
		if strings.HasPrefix(p.ID, placeMirror) && p.Total != 2<<40 {
			t.Errorf("%+v", p)
		}
	}
	if want := "pool:u|folder:/srv/served|disk:sda=A|disk:sdc=C|mirror:sda=A,sdc=C"; strings.Join(got, "|") != want {
		t.Errorf("%q", got)
	}
	if places := diskPlaces(storage.State{}); len(places) > 0 {
		t.Errorf("of nothing: %v", places)
	}
}

// TestPrepareOffered: only what is offered is made ready, whatever a browser sends.
func TestPrepareOffered(t *testing.T) {
	m := storage.New(storage.Config{}, slog.New(slog.DiscardHandler))
	for _, disks := range []*storage.Manager{nil, m} {
		for _, id := range []string{"folder:/etc", "/etc", "disk:sda=A", "pool:u", "mirror:sda=A,sdb=B", "disk:", ""} {
			if path, err := (places{state: t.TempDir(), disks: disks}).prepare(t.Context(), id, func(string, int) {}); err == nil {
				t.Errorf("%q became %q", id, path)
			}
		}
	}
}

// TestPlacesWaitForDisks: a page that is open before the disks have been looked at waits for that, and not for ever.
func TestPlacesWaitForDisks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := storage.New(storage.Config{Takes: func(string) bool { return false }}, slog.New(slog.DiscardHandler))
		setup := &firstSetup{h: &house{at: places{state: t.TempDir(), disks: m}}}
		begun := time.Now()
		setup.Places(t.Context())
		if waited := time.Since(begun); waited != lookWait {
			t.Errorf("without a look at the disks it waited %v", waited)
		}
		ctx, stop := context.WithCancel(t.Context())
		stop()
		if err := m.Run(ctx); err != nil {
			t.Fatal(err)
		}
		begun = time.Now()
		setup.Places(t.Context())
		if waited := time.Since(begun); waited != 0 {
			t.Errorf("after a look at the disks it waited %v", waited)
		}
	})
}
