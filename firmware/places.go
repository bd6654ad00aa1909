package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/postern-nas/postern/firmware/storage"
	"github.com/postern-nas/postern/ui"
	"github.com/postern-nas/postern/ui/web"
)

// firstPool is what the first setup calls the pool that it makes.
const firstPool = "data"

// formatTime is how long the first setup waits for a pool to be made; that takes seconds.
const formatTime = 45 * time.Second

// lookWait is how long the first setup waits for the first look at the disks: drivers are loaded, and disks spin up.
const lookWait = 40 * time.Second

// places are where shares can be: on a box its pools, and disks that can become one; elsewhere a folder.
type places struct {
	state string           // folder
	disks *storage.Manager // nil: the machine does other things, too
}

// Kinds of place, as their IDs begin. What follows is a folder, a pool's UUID, or disks by name and serial number.
const (
	placeFolder = "folder:"
	placeAdopt  = "pool:"
	placeDisk   = "disk:"
	placeMirror = "mirror:"
)

// roots are the folders that shares have to be in: nil if any may be shared.
func (p places) roots() (all []string) {
	if p.disks == nil {
		return nil
	}
	s, _ := p.disks.State.Get()
	for _, pool := range s.Pools {
		if pool.Path != "" {
			all = append(all, pool.Path)
		}
	}
	if len(all) == 0 {
		all = []string{newShares(p.state)}
	}
	return all
}

// looked waits until the disks have been looked at once. A page that is quicker would say that there is none, and offer the
// box's own small one.
func (p places) looked(ctx context.Context) {
	if p.disks == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, lookWait)
	defer cancel()
	select {
	case <-p.disks.Ready():
	case <-ctx.Done():
	}
}

// offer lists them, those that lose nothing first.
func (p places) offer() (all []web.Place) {
	if p.disks == nil {
		return []web.Place{folderPlace(newShares(p.state), newShares(p.state), "")}
	}
	s, _ := p.disks.State.Get()
	if all = diskPlaces(s); len(all) == 0 {
		all = append(all, folderPlace(newShares(p.state), "The box's own disk", "It is small: put a disk in for files."))
	}
	return all
}

func folderPlace(path, label, note string) web.Place {
	total, free, _ := spaceAt(path)
	return web.Place{ID: placeFolder + path, Label: label, Note: note, Health: ui.Good, Total: total, Free: free}
}

// diskPlaces are what a box's disks offer. What would be lost is said with each; the box's own disk, sticks, what is failing
// and what has no name of its own are left alone.
func diskPlaces(s storage.State) (all []web.Place) {
	for _, pool := range s.Pools {
		switch {
		case pool.Path != "":
			all = append(all, folderPlace(pool.Path, "Pool "+pool.Name, ""))
		case !pool.Known && pool.Missing == 0:
			all = append(all, web.Place{
				ID: placeAdopt + pool.UUID, Label: "Pool " + pool.Name, Health: ui.Health(pool.Health), Total: pool.Total, Free: pool.Free,
				Note: "Its files stay as they are.",
			})
		}
	}
	var free []storage.Disk
	for _, d := range s.Disks {
		if d.System || d.ReadOnly || d.Removable || d.ID == "" || d.Pool != "" || d.Health == storage.Failed {
			continue
		}
		free = append(free, d)
	}
	var names, ids, holds []string
	var sum, largest int64
	for _, d := range free {
		all = append(all, web.Place{ID: placeDisk + d.Name + "=" + d.ID, Label: "Disk " + diskName(d), Total: d.Bytes, Free: d.Bytes, Health: ui.Health(d.Health), Note: erases(d.Holds)})
		names, ids, holds = append(names, diskName(d)), append(ids, d.Name+"="+d.ID), append(holds, d.Holds...)
		sum, largest = sum+d.Bytes, max(largest, d.Bytes)
	}
	if len(free) < 2 {
		return all
	}
	label := "Disks " + strings.Join(names, " and ") + ", one a copy of the other"
	if len(free) > 2 {
		label = "All disks (" + strings.Join(names, ", ") + "), every file on two of them"
	}
	size := min(sum/2, sum-largest) // two copies, never both on one disk
	note := "They are empty, and become a pool."
	if len(holds) > 0 {
		note = "Everything on them is erased: " + strings.Join(holds, ", ") + "."
	}
	return append(all, web.Place{
		ID: placeMirror + strings.Join(ids, ","), Label: label, Total: size, Free: size, Note: note + " If one of them fails, nothing is lost.",
	})
}

// poolName is one that no pool has yet.
func poolName(s storage.State) string {
	for n := 1; ; n++ {
		name := firstPool
		if n > 1 {
			name = fmt.Sprintf("%s-%d", firstPool, n)
		}
		if !slices.ContainsFunc(s.Pools, func(p storage.Pool) bool { return p.Name == name }) {
			return name
		}
	}
}

func diskName(d storage.Disk) string {
	name := d.Bay
	if name == "" {
		name = d.Name
	}
	if d.Model != "" {
		name += " (" + d.Model + ")"
	}
	return name
}

func erases(holds []string) string {
	if len(holds) == 0 {
		return "It is empty, and becomes a pool."
	}
	return "Everything on it is erased: " + strings.Join(holds, ", ") + "."
}

// prepare makes a place ready and returns its folder.
func (p places) prepare(ctx context.Context, id string, tell func(step string, percent int)) (string, error) {
	if !slices.ContainsFunc(p.offer(), func(o web.Place) bool { return o.ID == id }) {
		return "", errors.New("this storage is not there any more; choose again")
	}
	if path, ok := strings.CutPrefix(id, placeFolder); ok {
		return path, nil
	}
	if uuid, ok := strings.CutPrefix(id, placeAdopt); ok {
		if err := p.disks.Adopt(ctx, uuid); err != nil {
			return "", err
		}
		return p.wait(ctx, func(s storage.State) (string, error) {
			for _, pool := range s.Pools {
				if pool.UUID == uuid && pool.Path != "" {
					return pool.Path, nil
				}
			}
			return "", nil
		})
	}
	kind, list, _ := strings.Cut(id, ":")
	now, _ := p.disks.State.Get()
	r := storage.Request{Name: poolName(now), Mirror: kind+":" == placeMirror, Erase: true} // the page has said what is lost
	for one := range strings.SplitSeq(list, ",") {
		name, serial, _ := strings.Cut(one, "=")
		r.Disks = append(r.Disks, storage.Choice{Name: name, ID: serial})
	}
	// Not ctx: whoever asked may close the page, and half a pool is none.
	if err := p.disks.Format(context.WithoutCancel(ctx), r); err != nil {
		return "", err
	}
	return p.wait(ctx, func(s storage.State) (string, error) {
		if s.Job == nil || !s.Job.Done {
			if s.Job != nil {
				tell(s.Job.Step, s.Job.Percent*9/10)
			}
			return "", nil
		}
		if s.Job.Error != "" {
			return "", fmt.Errorf("the disk could not be made ready: %s", s.Job.Error)
		}
		for _, pool := range s.Pools {
			if pool.Name == s.Job.Pool && pool.Path != "" {
				return pool.Path, nil
			}
		}
		return "", nil
	})
}

// wait waits until found says where the folder is, or why there is none.
func (p places) wait(ctx context.Context, found func(storage.State) (string, error)) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, formatTime)
	defer cancel()
	for version := uint64(0); ; {
		s, v, err := p.disks.State.Wait(ctx, version)
		if err != nil {
			return "", errors.New("the storage is not ready yet; wait a minute and finish again")
		}
		version = v
		if path, err := found(s); path != "" || err != nil {
			return filepath.Clean(path), err
		}
	}
}
