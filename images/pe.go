package images

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"slices"
)

// Offsets and numbers of Microsoft's "PE Format". All of it is little-endian.
const (
	peDOSHeader      = 64 // the least a file begins with
	peOffsetAt       = 0x3c
	peSignature      = "PE\x00\x00"
	coffHeader       = 20
	optionalPlus     = 0x20b // PE32+
	optionalFixed    = 112   // the PE32+ optional header up to its data directories
	sectionHeader    = 40
	directoryEntry   = 8
	certificateTable = 4 // index of its data directory

	optInitializedData  = 8
	optSectionAlignment = 32
	optFileAlignment    = 36
	optImageSize        = 56
	optHeadersSize      = 60
	optChecksum         = 64
	optDirectories      = 108

	sectionReadableData = 0x40000040 // IMAGE_SCN_CNT_INITIALIZED_DATA | IMAGE_SCN_MEM_READ

	// MachineARM64 is the only machine that we make images for.
	MachineARM64 = 0xaa64

	// maxSections bounds what a file may claim. Stubs have six, and the format gives a boot loader no reason to have many.
	maxSections = 96
	// maxImage bounds a whole image. Firmware reads it into memory at once, and our boards begin at 512 MiB of it.
	maxImage = 256 << 20
)

// ErrPE says that a file is not an arm64 PE32+ image that can be read or extended.
var ErrPE = errors.New("not a usable arm64 PE32+ image")

// A section is one row of the section table.
type section struct {
	name                 string
	virtualSize, address uint32
	rawSize, rawOffset   uint32
}

// A peFile is a parsed image: where its headers and sections lie. Nothing in it points outside of data.
type peFile struct {
	data     []byte
	coff     int // offset of the COFF header
	optional int // offset of the optional header
	table    int // offset of the section table
	sections []section
}

// parsePE reads the headers of an arm64 PE32+ image.
func parsePE(data []byte) (*peFile, error) {
	bad := func(format string, args ...any) (*peFile, error) {
		return nil, fmt.Errorf("%w: %s", ErrPE, fmt.Sprintf(format, args...))
	}
	if len(data) < peDOSHeader || data[0] != 'M' || data[1] != 'Z' {
		return bad("no MZ header")
	}
	if len(data) > maxImage {
		return bad("%d bytes, more than %d", len(data), maxImage)
	}
	le := binary.LittleEndian
	at := uint64(le.Uint32(data[peOffsetAt:]))
	if at+uint64(len(peSignature))+coffHeader+optionalFixed > uint64(len(data)) {
		return bad("the PE header at %#x is outside of the file", at)
	}
	if string(data[at:at+4]) != peSignature {
		return bad("no PE signature at %#x", at)
	}
	f := &peFile{data: data, coff: int(at) + len(peSignature)}
	f.optional = f.coff + coffHeader
	if m := le.Uint16(data[f.coff:]); m != MachineARM64 {
		return bad("machine %#x", m)
	}
	count, optSize := int(le.Uint16(data[f.coff+2:])), int(le.Uint16(data[f.coff+16:]))
	f.table = f.optional + optSize
	switch {
	case count == 0 || count > maxSections:
		return bad("%d sections", count)
	case optSize < optionalFixed || f.table+count*sectionHeader > len(data):
		return bad("the section table is outside of the file")
	case le.Uint16(data[f.optional:]) != optionalPlus:
		return bad("the optional header is not PE32+")
	}
	if n := le.Uint32(data[f.optional+optDirectories:]); uint64(n)*directoryEntry > uint64(optSize-optionalFixed) {
		return bad("%d data directories do not fit", n)
	}
	for _, alignment := range []int{optSectionAlignment, optFileAlignment} {
		// Powers of two up to 64 KiB are what the format allows a loader to be asked for.
		if a := f.opt(alignment); a == 0 || a&(a-1) != 0 || a > 64<<10 {
			return bad("an alignment of %d", a)
		}
	}
	if h := f.opt(optHeadersSize); uint64(h) > uint64(len(data)) || uint64(h) < uint64(f.table+count*sectionHeader) {
		return bad("headers of %d bytes", h)
	}
	for i := range count {
		row := data[f.table+i*sectionHeader:]
		s := section{
			name:        nameOf(row[:8]),
			virtualSize: le.Uint32(row[8:]), address: le.Uint32(row[12:]),
			rawSize: le.Uint32(row[16:]), rawOffset: le.Uint32(row[20:]),
		}
		if s.rawSize > 0 && uint64(s.rawOffset)+uint64(s.rawSize) > uint64(len(data)) {
			return bad("section %q is outside of the file", s.name)
		}
		if uint64(s.address)+uint64(s.virtualSize) > 1<<31 {
			return bad("section %q ends beyond 2 GiB", s.name)
		}
		f.sections = append(f.sections, s)
	}
	return f, nil
}

func nameOf(b []byte) string {
	for i, c := range b {
		if c == 0 {
			return string(b[:i])
		}
	}
	return string(b)
}

func (f *peFile) opt(offset int) uint32 {
	return binary.LittleEndian.Uint32(f.data[f.optional+offset:])
}

// contents returns the bytes of a section as the loader sees them: VirtualSize of them. What the file does not hold is
// zero there, which no section that we read has.
func (f *peFile) contents(s section) ([]byte, error) {
	if s.virtualSize > s.rawSize {
		return nil, fmt.Errorf("%w: section %q is longer in memory than in the file", ErrPE, s.name)
	}
	return f.data[s.rawOffset : s.rawOffset+s.virtualSize], nil
}

// Authenticode returns the SHA-256 that firmware measures and signatures cover, as Microsoft's "Windows Authenticode
// Portable Executable Signature Format" defines it: the file without its checksum, its certificate table's directory
// entry and the certificates themselves, padded to 8 bytes.
func Authenticode(image []byte) (digest [32]byte, err error) {
	f, err := parsePE(image)
	if err != nil {
		return digest, err
	}
	h := sha256.New()
	sum := f.optional + optChecksum
	h.Write(image[:sum])
	headers := int(f.opt(optHeadersSize))
	certificates := 0
	if f.opt(optDirectories) > certificateTable {
		entry := f.optional + optionalFixed + certificateTable*directoryEntry
		certificates = int(binary.LittleEndian.Uint32(image[entry+4:]))
		h.Write(image[sum+4 : entry])
		h.Write(image[entry+directoryEntry : headers])
	} else {
		h.Write(image[sum+4 : headers])
	}
	hashed := headers
	rows := slices.Clone(f.sections)
	slices.SortStableFunc(rows, func(a, b section) int { return int(int64(a.rawOffset) - int64(b.rawOffset)) })
	for _, s := range rows {
		if s.rawSize > 0 {
			h.Write(image[s.rawOffset : s.rawOffset+s.rawSize])
			hashed += int(s.rawSize)
		}
	}
	return digest, finish(h, image, hashed, certificates, &digest)
}

// finish hashes what lies behind the last section, without the certificates at the end.
func finish(h hash.Hash, image []byte, hashed, certificates int, digest *[32]byte) error {
	rest := len(image) - certificates - hashed
	if rest < 0 {
		return fmt.Errorf("%w: sections or certificates overlap", ErrPE)
	}
	h.Write(image[hashed : hashed+rest])
	if odd := (hashed + rest) % 8; odd != 0 {
		h.Write(make([]byte, 8-odd))
	}
	h.Sum(digest[:0])
	return nil
}
