package main

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/postern-nas/postern/firmware/storage"
)

// TestDiskPlaces: only what is empty or a pool is offered; never the box's own disk, one that is used, or one that has no name.
func TestDiskPlaces(t *testing.T) {
	s := storage.State{
		Disks: []storage.Disk{
			{Name: "mmcblk0", ID: "S", System: true, Bytes: 1 << 30},
			{Name: "sda", ID: "A", Model: "Big", Bay: "1", Bytes: 4 << 40},
			{Name: "sdb", ID: "B", Bytes: 2 << 40},
			{Name: "sdc", ID: "C", Holds: []string{"partitions"}},
			{Name: "sdd", ID: "D", Pool: "u"},
			{Name: "sde"},
			{Name: "sdf", ID: "F", Removable: true},
			{Name: "sdg", ID: "G", Health: storage.Failed},
			{Name: "sdh", ID: "H", ReadOnly: true},
		},
		Pools: []storage.Pool{{UUID: "u", Name: "old", Disks: []string{"sdd"}, Health: storage.Good}, {UUID: "v", Name: "gone"}},
	}
	var got []string
	for _, p := range diskPlaces(s) {
		got = append(got, p.ID)
		if p.Note == "" || p.Label == "" {
			t.Errorf("%+v", p)
		}
		if strings.HasPrefix(p.ID, mirrorPlace) && p.Total != 2<<40 {
			t.Errorf("%+v", p)
		}
	}
	if want := "pool u|mirror A\x1fB|disk A|disk B"; strings.Join(got, "|") != want {
		t.Errorf("%q", got)
	}
	if s.Pools, s.Disks = nil, nil; len(diskPlaces(s)) > 0 {
		t.Error("offers nothing's")
	}
}

func TestPreparePlace(t *testing.T) {
	if path, err := preparePlace(t.Context(), nil, "/x"); err != nil || path != "/x" {
		t.Errorf("%q (%v)", path, err)
	}
	m := storage.New(storage.Config{}, slog.New(slog.DiscardHandler))
	if path, err := preparePlace(t.Context(), m, "/x"); err != nil || path != "/x" {
		t.Errorf("%q (%v)", path, err)
	}
	for _, gone := range []string{"disk A", "pool u", "mirror A\x1fB", ""} {
		if path, err := preparePlace(t.Context(), m, gone); err == nil {
			t.Errorf("%q became %q", gone, path)
		}
	}
}
