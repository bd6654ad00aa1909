package smb

import (
	"context"
	"errors"
	"strings"

	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/vfs"
	"github.com/postern-nas/postern/smb/wire"
)

// Extended attributes, [MS-FSA] 2.1.5.12.14 and 2.1.5.15.5. A file has at most fscc.MaxEATotal of them.

// keepsEAs tells whether the volume behind an open file keeps extended attributes.
func keepsEAs(ctx context.Context, f vfs.File) bool {
	k, ok := f.(vfs.EAs)
	if !ok {
		return false
	}
	_, err := k.EAs(ctx)
	return !errors.Is(err, nt.NotSupported)
}

// parseEAs reads those that a file is to have if it is made or replaced, [MS-SMB2] 3.3.5.9.1.
func (c *creation) parseEAs(b []byte) (err error) {
	if c.path.Stream != "" {
		return because(nt.InvalidParameter, "a stream has no extended attributes of its own")
	}
	c.ctx.eas, err = decodeEAs(b)
	return err
}

// decodeEAs reads a list that is to be set. Nothing can be kept from programs that do not understand an attribute, so
// none is taken that wants it.
func decodeEAs(b []byte) ([]fscc.EA, error) {
	list, err := fscc.DecodeEAs(b)
	if err != nil {
		return nil, err
	}
	for _, e := range list {
		if e.Flags&fscc.NeedEA != 0 {
			return nil, because(nt.EAsNotSupported, "an attribute that must be understood")
		}
	}
	return list, nil
}

func (r *request) setFullEA(o *open, b []byte) error {
	if o.object.base != nil {
		return because(nt.InvalidParameter, "a stream has no extended attributes of its own")
	}
	list, err := decodeEAs(b)
	if err != nil {
		return err
	}
	if err := r.setEAs(o, list); err != nil {
		return err
	}
	r.ownEntryChanged(o)
	return nil
}

func (r *request) setEAs(o *open, list []fscc.EA) error {
	k, ok := o.file.(vfs.EAs)
	if !ok {
		return because(nt.EAsNotSupported, "the volume has no extended attributes")
	}
	err := k.SetEAs(r.ctx, list)
	if errors.Is(err, nt.NotSupported) {
		return because(nt.EAsNotSupported, "%v", err)
	}
	return err
}

// fullEA answers FileFullEaInformation: those that the client names, or from where it last was in the list.
func (q *query) fullEA() (response, error) {
	names, err := fscc.DecodeEANames(q.input)
	if err != nil {
		return nil, err
	}
	k, ok := q.o.file.(vfs.EAs)
	if !ok {
		return nil, because(nt.NoEAsOnFile, "the volume has no extended attributes")
	}
	all, err := k.EAs(q.ctx)
	switch {
	case err != nil && !errors.Is(err, nt.NotSupported):
		return nil, err
	case len(all) == 0 && len(names) == 0:
		return nil, nt.NoEAsOnFile
	}
	if len(names) > 0 {
		all = named(all, names)
	}
	from := 0
	switch {
	case len(names) > 0:
	case q.flags&wire.QueryInfoIndexSpecified != 0:
		// They count from one. [MS-FSA] 2.1.5.12.14
		if q.info == 0 || uint64(q.info) > uint64(len(all)) {
			return nil, nt.NonexistentEAEntry
		}
		from = int(q.info) - 1
	case q.flags&wire.QueryInfoRestartScan == 0:
		from = q.o.nextEA(0, false)
	}
	if from >= len(all) {
		return nil, nt.NoMoreEAs
	}
	all = all[from:]
	if q.flags&wire.QueryInfoReturnSingleEntry != 0 {
		all = all[:1]
	}
	n, end := 0, 0
	for ; n < len(all); n++ {
		if end = (end+3)&^3 + int(fscc.EASize(all[n:n+1])); end > q.size {
			break
		}
	}
	b, _ := fscc.AppendEAs(nil, q.size, all[:n])
	if len(names) == 0 {
		q.o.nextEA(from+n, true)
	}
	switch {
	case n == 0:
		return nil, because(nt.BufferTooSmall, "the next attribute into %d bytes", q.size)
	case n < len(all):
		return &wire.QueryInfoResponse{Buffer: b}, nt.BufferOverflow
	}
	return &wire.QueryInfoResponse{Buffer: b}, nil
}

// named picks those of the names, each once and empty if it is not there, [MS-FSA] 2.1.5.12.14.
func named(all []fscc.EA, names []string) (list []fscc.EA) {
	byName, asked := make(map[string]fscc.EA, len(all)), make(map[string]bool, len(names))
	for _, e := range all {
		byName[strings.ToUpper(e.Name)] = e
	}
	for _, n := range names {
		key := strings.ToUpper(n)
		if asked[key] {
			continue
		}
		asked[key] = true
		e, ok := byName[key]
		if !ok {
			e = fscc.EA{Name: key}
		}
		list = append(list, e)
	}
	return list
}

// nextEA is where the open is in the list of its file's extended attributes, Open.NextEaEntry.
func (o *open) nextEA(n int, set bool) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	if set {
		o.eaIndex = n
	}
	return o.eaIndex
}
