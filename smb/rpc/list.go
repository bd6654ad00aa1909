package rpc

import (
	"slices"

	"github.com/postern-nas/postern/smb/cursor"
)

// A Row is a structure in the order of its fields, each of them four bytes long: a uint32, a unique pointer to a string
// (a string), a unique pointer to counted bytes (a []byte, null if it is nil; its length is a field of its own), or a
// null pointer (nil). Nearly all that srvsvc and wkssvc tell has this shape.
type Row []any

// Size is what the row takes of what a client prefers to get at most.
func (row Row) Size() (n uint64) {
	for _, f := range row {
		n += 4
		switch f := f.(type) {
		case string:
			n += uint64(cursor.UTF16Len(f)) + 2
		case []byte:
			n += uint64(len(f))
		}
	}
	return n
}

// Row writes the structures one behind the other, and then what their pointers point to.
func (w *Writer) Row(rows ...Row) {
	for _, row := range rows {
		for _, f := range row {
			switch f := f.(type) {
			case uint32:
				w.U32(f)
			case string:
				w.Pointer(true)
			case []byte:
				w.Pointer(f != nil)
			case nil:
				w.Pointer(false)
			default:
				panic("rpc: a row has a field of another type") // one of our own tables is wrong
			}
		}
	}
	for _, row := range rows {
		for _, f := range row {
			switch f := f.(type) {
			case string:
				w.String(f)
			case []byte:
				if f != nil {
					w.U32(uint32(len(f)))
					w.Raw(f)
				}
			}
		}
	}
}

// MaxList bounds the reply of an enumeration, in bytes of rows, whatever a client prefers.
const MaxList = 1 << 20

// A List is what a client asks of an enumeration in srvsvc or wkssvc: InfoStruct, PreferedMaximumLength and
// ResumeHandle, such as those of NetrShareEnum, [MS-SRVS] 3.1.4.8.
type List struct {
	Level     uint32
	preferred uint64
	resume    uint32
	resumes   bool // there is a resume handle
}

// List reads what ends the request of an enumeration. arms are the levels that its union has; any other cannot even be
// answered, for there is no arm to answer it with, and is FaultInvalidTag.
func (r *Reader) List(arms ...uint32) (l List, err error) {
	l.Level = r.U32()
	if r.U32() != l.Level {
		r.Fail() // the union is not of the level
	}
	if !slices.Contains(arms, l.Level) && r.Err() == nil {
		return l, FaultInvalidTag
	}
	r.emptyList()
	l.preferred = uint64(min(r.U32(), MaxList))
	if l.resumes = r.Pointer(); l.resumes {
		l.resume = r.U32()
	}
	return l, r.Err()
}

// emptyList reads a pointer to a container that the client leaves to be filled in.
func (r *Reader) emptyList() {
	if !r.Pointer() {
		return
	}
	r.U32() // entries
	if r.Pointer() && r.U32() > 0 {
		r.Fail() // entries from the client: they would be thrown away, so none sends them
	}
}

// List answers an enumeration with rows, and returns what the operation returns. Rows are told from the resume handle on,
// which is the index of the one that is next, as many as the client wants at most. With another result than success
// there is nothing to tell.
func (w *Writer) List(l List, result Win32, rows []Row) Win32 {
	told := result == Win32Success
	if !told {
		rows = nil
	}
	rows = rows[min(uint64(l.resume), uint64(len(rows))):]
	total := len(rows)
	var used uint64
	for i, row := range rows {
		// One is always told, or a client that prefers too little would ask for ever.
		if used += row.Size(); used > l.preferred && i > 0 {
			rows, result = rows[:i], Win32MoreData
			break
		}
	}
	next := uint32(0)
	if result == Win32MoreData {
		next = l.resume + uint32(len(rows))
	}
	w.U32(l.Level)
	w.U32(l.Level)
	w.Pointer(told)
	if told {
		w.U32(uint32(len(rows)))
		w.Pointer(len(rows) > 0)
	}
	if len(rows) > 0 {
		w.U32(uint32(len(rows)))
		w.Row(rows...)
	}
	w.U32(uint32(total))
	w.Pointer(l.resumes)
	if l.resumes {
		w.U32(next)
	}
	return result
}

// Info answers a question for one structure at a level: the union's arm, which points to row, or to nothing if the
// result is no success.
func (w *Writer) Info(level uint32, result Win32, row Row) Win32 {
	w.U32(level)
	w.Pointer(result == Win32Success)
	if result == Win32Success {
		w.Row(row)
	}
	return result
}
