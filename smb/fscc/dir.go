package fscc

import (
	"encoding/binary"

	"github.com/postern-nas/postern/smb/cursor"
	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/nt"
)

// A DirEntry is what the directory classes say of one name; each says a part of it.
type DirEntry struct {
	Name                                    string
	FileIndex                               uint32
	Creation, LastAccess, LastWrite, Change dtyp.Filetime
	EndOfFile, AllocationSize               int64
	Attributes                              uint32
	EASize                                  uint32
	ReparseTag                              uint32 // of a reparse point, else 0
	FileID                                  uint64 // 128-bit IDs are this with zeros above
	ShortName                               string // at most 12 characters; empty: none
	Mac                                     *MacInfo
}

// attrReparsePoint is FILE_ATTRIBUTE_REPARSE_POINT, [MS-FSCC] 2.6.
const attrReparsePoint = 0x400

// A dirLayout says where a class has its fields; 0 where it has none. All but FileNames begin alike, with 64 bytes.
type dirLayout struct {
	ea, tag, short, id, id128 int
	name                      int // the end of the fixed part
}

// dirLayouts are the tables of [MS-FSCC] 2.4.
var dirLayouts = map[FileClass]dirLayout{
	FileNamesInformation:              {name: 12},
	FileDirectoryInformation:          {name: 64},
	FileFullDirectoryInformation:      {ea: 64, name: 68},
	FileBothDirectoryInformation:      {ea: 64, short: 68, name: 94},
	FileIdFullDirectoryInformation:    {ea: 64, id: 72, name: 80},
	FileIdBothDirectoryInformation:    {ea: 64, short: 68, id: 96, name: 104},
	FileIdExtdDirectoryInformation:    {ea: 64, tag: 68, id128: 72, name: 88},
	FileId64ExtdDirectoryInformation:  {ea: 64, tag: 68, id: 72, name: 80},
	FileId64ExtdBothDirInformation:    {ea: 64, tag: 68, id: 72, short: 80, name: 106},
	FileIdAllExtdDirectoryInformation: {ea: 64, tag: 68, id: 72, id128: 80, name: 96},
	FileIdAllExtdBothDirInformation:   {ea: 64, tag: 68, id: 72, id128: 80, short: 96, name: 122},
}

// HasEASize reports whether entries of the class say how large their extended attributes are.
func (c FileClass) HasEASize() bool { return dirLayouts[c].ea > 0 }

const maxShortName = 24 // bytes

// A DirWriter fills a QUERY_DIRECTORY answer.
type DirWriter struct {
	chain
	layout dirLayout
}

// NewDirWriter returns a writer that appends entries of class to b, at most limit bytes of them. Other classes than
// those that list directories are nt.InvalidInfoClass. Nothing is allocated if b has the capacity. Entries of the class
// FilePosixInformation are added with AddPOSIX, others with Add.
func NewDirWriter(b []byte, class FileClass, limit int) (DirWriter, error) {
	l, ok := dirLayouts[class]
	if !ok && class != FilePosixInformation {
		return DirWriter{}, nt.InvalidInfoClass
	}
	return DirWriter{chain{b: b, start: len(b), limit: limit, align: 8}, l}, nil
}

// Add appends e, or reports that it does not fit and leaves the list as it was. If already the first does not fit,
// it is for the caller to say so: nt.InfoLengthMismatch below DirMin, else nt.BufferOverflow.
func (w *DirWriter) Add(e *DirEntry) bool {
	l := w.layout
	nameLen := cursor.UTF16Len(e.Name)
	if !w.begin(l.name + nameLen) {
		return false
	}
	at := len(w.b)
	for n := l.name; n > 0; n -= len(zeros) {
		w.b = append(w.b, zeros[:min(n, len(zeros))]...)
	}
	f := w.b[at:]
	le := binary.LittleEndian
	le.PutUint32(f[4:], e.FileIndex)
	if l.name < 64 {
		le.PutUint32(f[8:], uint32(nameLen))
	} else {
		le.PutUint64(f[8:], uint64(e.Creation))
		le.PutUint64(f[16:], uint64(e.LastAccess))
		le.PutUint64(f[24:], uint64(e.LastWrite))
		le.PutUint64(f[32:], uint64(e.Change))
		le.PutUint64(f[40:], uint64(e.EndOfFile))
		le.PutUint64(f[48:], uint64(e.AllocationSize))
		le.PutUint32(f[56:], e.Attributes)
		le.PutUint32(f[60:], uint32(nameLen))
	}
	if l.ea > 0 {
		ea := e.EASize
		if l.tag == 0 && e.Attributes&attrReparsePoint != 0 {
			ea = e.ReparseTag // [MS-FSCC] 2.4: classes without the tag carry it here
		}
		le.PutUint32(f[l.ea:], ea)
	}
	if l.tag > 0 {
		le.PutUint32(f[l.tag:], e.ReparseTag)
	}
	if l.id > 0 {
		le.PutUint64(f[l.id:], e.FileID)
	}
	if l.id128 > 0 {
		le.PutUint64(f[l.id128:], e.FileID)
	}
	if n := cursor.UTF16Len(e.ShortName); l.short > 0 && n <= maxShortName {
		f[l.short] = byte(n)
		cursor.AppendUTF16(f[l.short+2:l.short+2], e.ShortName)
	}
	if e.Mac != nil && l.ea == macAt && l.id == macAt+32 {
		e.Mac.put(f[macAt:], e.Attributes&attrReparsePoint != 0)
	}
	w.b = cursor.AppendUTF16(w.b, e.Name)
	return true
}

// Count returns how many entries have been added.
func (w *DirWriter) Count() int { return w.n }

// Bytes returns the slice given to NewDirWriter with the entries appended.
func (w *DirWriter) Bytes() []byte { return w.b }

// DecodeDir reads a QUERY_DIRECTORY answer.
func DecodeDir(class FileClass, b []byte) ([]DirEntry, error) {
	l, ok := dirLayouts[class]
	if !ok {
		return nil, nt.InvalidInfoClass
	}
	var out []DirEntry
	for f, err := range links(b, l.name, 8) {
		if err != nil {
			return nil, err
		}
		le := binary.LittleEndian
		e := DirEntry{FileIndex: le.Uint32(f[4:])}
		nameLen := le.Uint32(f[8:])
		if l.name >= 64 {
			e.Creation = dtyp.Filetime(le.Uint64(f[8:]))
			e.LastAccess = dtyp.Filetime(le.Uint64(f[16:]))
			e.LastWrite = dtyp.Filetime(le.Uint64(f[24:]))
			e.Change = dtyp.Filetime(le.Uint64(f[32:]))
			e.EndOfFile = int64(le.Uint64(f[40:]))
			e.AllocationSize = int64(le.Uint64(f[48:]))
			e.Attributes = le.Uint32(f[56:])
			nameLen = le.Uint32(f[60:])
		}
		if l.ea > 0 {
			e.EASize = le.Uint32(f[l.ea:])
		}
		if l.tag > 0 {
			e.ReparseTag = le.Uint32(f[l.tag:])
		} else if e.Attributes&attrReparsePoint != 0 {
			e.EASize, e.ReparseTag = 0, e.EASize
		}
		if l.id128 > 0 {
			e.FileID = le.Uint64(f[l.id128:])
		}
		if l.id > 0 {
			e.FileID = le.Uint64(f[l.id:])
		}
		if l.short > 0 {
			if e.ShortName, err = name(f[l.short+2:l.short+2+maxShortName], 0, uint32(f[l.short])); err != nil {
				return nil, err
			}
		}
		if e.Name, err = name(f, l.name, nameLen); err != nil {
			return nil, err
		}
		out = append(out, e)
	}
	return out, nil
}

// name reads n bytes of UTF-16 at off: nt.InvalidParameter if they are not all in b or n is odd,
// nt.ObjectNameInvalid if they are no UTF-16.
func name(b []byte, off int, n uint32) (string, error) {
	u, ok := cursor.Slice(b, uint64(off), uint64(n))
	if !ok || n%2 != 0 {
		return "", nt.InvalidParameter
	}
	s, err := cursor.UTF16(u)
	if err != nil {
		return "", nt.ObjectNameInvalid
	}
	return s, nil
}
