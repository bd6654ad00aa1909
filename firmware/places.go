package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/postern-nas/postern/board"
	"github.com/postern-nas/postern/firmware/config"
	"github.com/postern-nas/postern/firmware/storage"
	"github.com/postern-nas/postern/ui"
	"github.com/postern-nas/postern/ui/web"
)

// How the first setup's places on disks are called: a pool by its UUID, disks by their own names, so that what is formatted
// is what its owner chose, whatever has been plugged in since.
const (
	poolPlace   = "pool "
	diskPlace   = "disk "
	mirrorPlace = "mirror "
	between     = "\x1f" // the disks of a mirror; no disk has it in its name
)

// newPool is what the pool is called that the first setup makes.
const newPool = "data"

// diskPlaces are what the first setup offers of a box's disks: its pools, two empty disks as a mirror, and each empty disk.
// Disks that hold anything are not offered: what to give up is decided later, and one by one.
func diskPlaces(s storage.State) (all []web.Place) {
	for _, p := range s.Pools {
		if len(p.Disks) > 0 && p.Health != storage.Failed {
			all = append(all, web.Place{ID: poolPlace + p.UUID, Label: "The pool " + p.Name, Note: "What is on it stays.", Health: ui.Health(p.Health), Total: p.Total, Free: p.Free})
		}
	}
	var empty []storage.Disk
	for _, d := range s.Disks {
		if d.ID != "" && !d.System && !d.ReadOnly && !d.Removable && d.Pool == "" && len(d.Holds) == 0 && d.Health != storage.Failed {
			empty = append(empty, d)
		}
	}
	for i, d := range empty {
		for _, e := range empty[i+1:] {
			small := min(d.Bytes, e.Bytes)
			all = append(all, web.Place{
				ID: mirrorPlace + d.ID + between + e.ID, Label: fmt.Sprintf("%s and %s, each with everything", called(d), called(e)),
				Note: "They are empty and will be formatted. If one breaks, nothing is lost.", Health: ui.Health(max(d.Health, e.Health)), Total: small, Free: small,
			})
		}
	}
	for _, d := range empty {
		all = append(all, web.Place{
			ID: diskPlace + d.ID, Label: called(d), Note: "It is empty and will be formatted.", Health: ui.Health(d.Health), Total: d.Bytes, Free: d.Bytes,
		})
	}
	return all
}

// called is a disk as its owner knows it.
func called(d storage.Disk) string {
	name := d.Name
	if d.Bay != "" {
		name = d.Bay
	}
	if d.Model == "" {
		return "Disk " + name
	}
	return fmt.Sprintf("Disk %s (%s)", name, d.Model)
}

// preparePlace makes a place that diskPlaces offered ready, which may take a minute, and returns its folder. Other places are
// folders already.
func preparePlace(ctx context.Context, m *storage.Manager, place string) (string, error) {
	if m == nil {
		return place, nil
	}
	s, version := m.State.Get()
	if !slices.ContainsFunc(diskPlaces(s), func(p web.Place) bool { return p.ID == place }) {
		if filepath.IsAbs(place) {
			return place, nil
		}
		return "", errors.New("the disk that was chosen is not there any more; choose again")
	}
	if id, ok := strings.CutPrefix(place, poolPlace); ok {
		if err := m.Adopt(ctx, id); err != nil {
			return "", err
		}
		return poolPath(ctx, m, func(p storage.Pool) bool { return p.UUID == id })
	}
	r := storage.Request{Name: newPool}
	ids := strings.TrimPrefix(place, diskPlace)
	if list, ok := strings.CutPrefix(place, mirrorPlace); ok {
		ids, r.Mirror = list, true
	}
	for id := range strings.SplitSeq(ids, between) {
		i := slices.IndexFunc(s.Disks, func(d storage.Disk) bool { return d.ID == id })
		r.Disks = append(r.Disks, storage.Choice{Name: s.Disks[i].Name, ID: id}) // it was offered
	}
	for n := 2; slices.ContainsFunc(s.Pools, func(p storage.Pool) bool { return p.Name == r.Name }); n++ {
		r.Name = fmt.Sprintf("%s-%d", newPool, n)
	}
	if err := m.Format(ctx, r); err != nil {
		return "", err
	}
	for {
		s, v, err := m.State.Wait(ctx, version)
		if err != nil {
			m.StopFormat()
			return "", err
		}
		version = v
		if j := s.Job; j != nil && j.Done && j.Pool == r.Name {
			if j.Error != "" {
				return "", errors.New(j.Error)
			}
			return filepath.Join(config.Pools, r.Name), nil
		}
	}
}

// poolPath waits for a pool to be mounted.
func poolPath(ctx context.Context, m *storage.Manager, is func(storage.Pool) bool) (string, error) {
	for version := uint64(0); ; {
		s, v, err := m.State.Wait(ctx, version)
		if err != nil {
			return "", err
		}
		version = v
		if i := slices.IndexFunc(s.Pools, is); i >= 0 && s.Pools[i].Path != "" {
			return s.Pools[i].Path, nil
		}
	}
}

// baysOf are the places for disks of a board that was opened.
func baysOf(h *board.Hardware) []board.Bay {
	if h == nil {
		return nil
	}
	return h.Bays
}
