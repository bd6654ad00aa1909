package fscc

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"

	"github.com/postern-nas/postern/smb/cursor"
	"github.com/postern-nas/postern/smb/nt"
)

// An FSCTL is a control code, [MS-FSCC] 2.3. Those of [MS-SMB2] itself are in wire.
type FSCTL uint32

// Control codes.
const (
	FsctlIsPathnameValid         FSCTL = 0x0009002C
	FsctlGetCompression          FSCTL = 0x0009003C
	FsctlFilesystemGetStatistics FSCTL = 0x00090060
	FsctlGetNTFSVolumeData       FSCTL = 0x00090064
	FsctlGetRetrievalPointers    FSCTL = 0x00090073
	FsctlSetObjectID             FSCTL = 0x00090098
	FsctlGetObjectID             FSCTL = 0x0009009C
	FsctlDeleteObjectID          FSCTL = 0x000900A0
	FsctlSetReparsePoint         FSCTL = 0x000900A4
	FsctlGetReparsePoint         FSCTL = 0x000900A8
	FsctlDeleteReparsePoint      FSCTL = 0x000900AC
	FsctlSetObjectIDExtended     FSCTL = 0x000900BC
	FsctlCreateOrGetObjectID     FSCTL = 0x000900C0
	FsctlSetSparse               FSCTL = 0x000900C4
	FsctlGetIntegrityInformation FSCTL = 0x0009027C
	FsctlQueryFileRegions        FSCTL = 0x00090284
	FsctlQueryAllocatedRanges    FSCTL = 0x000940CF
	FsctlOffloadRead             FSCTL = 0x00094264
	FsctlSetZeroData             FSCTL = 0x000980C8
	FsctlFileLevelTrim           FSCTL = 0x00098208
	FsctlOffloadWrite            FSCTL = 0x00098268
	FsctlDuplicateExtents        FSCTL = 0x00098344
	FsctlDuplicateExtentsEx      FSCTL = 0x000983E8
	FsctlSetCompression          FSCTL = 0x0009C040
	FsctlSetIntegrityInformation FSCTL = 0x0009C280
	FsctlPipeWait                FSCTL = 0x00110018
	FsctlPipePeek                FSCTL = 0x0011400C
	FsctlPipeTransceive          FSCTL = 0x0011C017
)

func (c FSCTL) String() string { return fmt.Sprintf("FSCTL 0x%08X", uint32(c)) }

// DecodeSetSparse reads the body of FsctlSetSparse, [MS-FSCC] 2.3: no body makes sparse.
func DecodeSetSparse(b []byte) bool { return len(b) == 0 || b[0] != 0 }

// ZeroData is the body of FsctlSetZeroData, [MS-FSCC] 2.3: zero [From, Beyond).
type ZeroData struct{ From, Beyond int64 }

// Append encodes z.
func (z ZeroData) Append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(z.From))
	return binary.LittleEndian.AppendUint64(b, uint64(z.Beyond))
}

// Decode reads z. Short, negative or reversed is nt.InvalidParameter.
func (z *ZeroData) Decode(b []byte) error {
	*z = ZeroData{}
	if len(b) < 16 {
		return nt.InvalidParameter
	}
	z.From, z.Beyond = int64(binary.LittleEndian.Uint64(b)), int64(binary.LittleEndian.Uint64(b[8:]))
	if z.From < 0 || z.Beyond < z.From {
		return nt.InvalidParameter
	}
	return nil
}

// A Range is FILE_ALLOCATED_RANGE_BUFFER, [MS-FSCC] 2.3: what FsctlQueryAllocatedRanges asks, and what it
// answers as a list.
type Range struct{ Offset, Length int64 }

// Append encodes r, 16 bytes.
func (r Range) Append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(r.Offset))
	return binary.LittleEndian.AppendUint64(b, uint64(r.Length))
}

// Decode reads r. Short, negative or past the largest offset is nt.InvalidParameter.
func (r *Range) Decode(b []byte) error {
	*r = Range{}
	if len(b) < 16 {
		return nt.InvalidParameter
	}
	r.Offset, r.Length = int64(binary.LittleEndian.Uint64(b)), int64(binary.LittleEndian.Uint64(b[8:]))
	if r.Offset < 0 || r.Length < 0 || r.Length > math.MaxInt64-r.Offset {
		return nt.InvalidParameter
	}
	return nil
}

// DecodeRanges reads the answer of FsctlQueryAllocatedRanges.
func DecodeRanges(b []byte) ([]Range, error) {
	if len(b)%16 != 0 {
		return nil, nt.InvalidParameter
	}
	list := make([]Range, len(b)/16)
	for i := range list {
		if err := list[i].Decode(b[16*i:]); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// DuplicateAtomic asks FsctlDuplicateExtentsEx for all or nothing, [MS-FSCC] 2.3.9.2.
const DuplicateAtomic uint32 = 1

// DuplicateExtents is the body of FsctlDuplicateExtents and its Ex form, [MS-FSCC] 2.3.7.2 and 2.3.9.2: 40 and
// 56 bytes.
type DuplicateExtents struct {
	SourceID                   [16]byte // the SMB2_FILEID of the source
	SourceOffset, TargetOffset int64
	Count                      int64
	Flags                      uint32 // Ex only
}

// Append encodes d for FsctlDuplicateExtents.
func (d DuplicateExtents) Append(b []byte) []byte {
	b = append(b, d.SourceID[:]...)
	for _, v := range [...]int64{d.SourceOffset, d.TargetOffset, d.Count} {
		b = binary.LittleEndian.AppendUint64(b, uint64(v))
	}
	return b
}

// Decode reads d for FsctlDuplicateExtents. Short, negative or past the largest offset is nt.InvalidParameter.
func (d *DuplicateExtents) Decode(b []byte) error {
	*d = DuplicateExtents{}
	if len(b) < 40 {
		return nt.InvalidParameter
	}
	copy(d.SourceID[:], b)
	for i, v := range [...]*int64{&d.SourceOffset, &d.TargetOffset, &d.Count} {
		if *v = int64(binary.LittleEndian.Uint64(b[16+8*i:])); *v < 0 {
			return nt.InvalidParameter
		}
	}
	if d.Count > math.MaxInt64-d.SourceOffset || d.Count > math.MaxInt64-d.TargetOffset {
		return nt.InvalidParameter
	}
	return nil
}

// duplicateExSize is what StructureSize says: that of the native structure, whose source is a handle.
const duplicateExSize = 0x30

// AppendEx encodes d for FsctlDuplicateExtentsEx.
func (d DuplicateExtents) AppendEx(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, duplicateExSize)
	b = d.Append(b)
	return append(binary.LittleEndian.AppendUint32(b, d.Flags), 0, 0, 0, 0)
}

// DecodeEx reads d for FsctlDuplicateExtentsEx. Flags that mean nothing are dropped.
func (d *DuplicateExtents) DecodeEx(b []byte) error {
	*d = DuplicateExtents{}
	if len(b) < 56 || binary.LittleEndian.Uint64(b) != duplicateExSize {
		return nt.InvalidParameter
	}
	if err := d.Decode(b[8:48]); err != nil {
		return err
	}
	d.Flags = binary.LittleEndian.Uint32(b[48:]) & DuplicateAtomic
	return nil
}

// Compression formats, [MS-FSCC] 2.3.
const (
	CompressionNone    uint16 = 0
	CompressionDefault uint16 = 1
	CompressionLZNT1   uint16 = 2
)

// AppendCompression encodes the answer of FsctlGetCompression and the body of FsctlSetCompression, 2 bytes.
func AppendCompression(b []byte, format uint16) []byte {
	return binary.LittleEndian.AppendUint16(b, format)
}

// DecodeCompression reads it. Short or unknown is nt.InvalidParameter.
func DecodeCompression(b []byte) (uint16, error) {
	if len(b) < 2 {
		return 0, nt.InvalidParameter
	}
	f := binary.LittleEndian.Uint16(b)
	if f > CompressionLZNT1 {
		return 0, nt.InvalidParameter
	}
	return f, nil
}

// Trim is the body of FsctlFileLevelTrim, [MS-FSCC] 2.3: 8 bytes and 16 for each range.
type Trim struct {
	Key    uint32
	Ranges []Range
}

// Append encodes t.
func (t Trim) Append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, t.Key)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(t.Ranges)))
	for _, r := range t.Ranges {
		b = r.Append(b)
	}
	return b
}

// Decode reads t. No range, or fewer than it says, is nt.InvalidParameter.
func (t *Trim) Decode(b []byte) error {
	*t = Trim{}
	if len(b) < 8 {
		return nt.InvalidParameter
	}
	t.Key = binary.LittleEndian.Uint32(b)
	n := uint64(binary.LittleEndian.Uint32(b[4:]))
	list, ok := cursor.Slice(b, 8, 16*n)
	if !ok || n == 0 {
		return nt.InvalidParameter
	}
	var err error
	t.Ranges, err = DecodeRanges(list)
	return err
}

// AppendTrimResult encodes the answer of FsctlFileLevelTrim: how many ranges were processed.
func AppendTrimResult(b []byte, n uint32) []byte { return binary.LittleEndian.AppendUint32(b, n) }

// Reparse tags, [MS-FSCC] 2.1.2.1.
const (
	TagMountPoint uint32 = 0xA0000003
	TagSymlink    uint32 = 0xA000000C
	TagNFS        uint32 = 0x80000014
	TagLXSymlink  uint32 = 0xA000001D
)

// MaxReparse bounds a reparse buffer, [MS-FSCC] 2.1.2.2.
const MaxReparse = 16 << 10

// SymlinkRelative says that the target is not an absolute path, [MS-FSCC] 2.1.2.4.
const SymlinkRelative uint32 = 1

// A Symlink is a symbolic link reparse buffer, [MS-FSCC] 2.1.2.4: 20 bytes and both names.
type Symlink struct {
	Substitute string // what is followed, such as `\??\C:\dir`
	Print      string // what is shown; may be empty
	Flags      uint32
}

// Append encodes s. The names must fit into a buffer of MaxReparse bytes: the caller made or checked them.
func (s Symlink) Append(b []byte) []byte {
	sub, print := cursor.UTF16Len(s.Substitute), cursor.UTF16Len(s.Print)
	b = binary.LittleEndian.AppendUint32(b, TagSymlink)
	for _, v := range [...]int{12 + sub + print, 0, 0, sub, sub, print} {
		b = binary.LittleEndian.AppendUint16(b, uint16(v))
	}
	b = binary.LittleEndian.AppendUint32(b, s.Flags)
	return cursor.AppendUTF16(cursor.AppendUTF16(b, s.Substitute), s.Print)
}

// Decode reads s. A tag other than TagSymlink is nt.IOReparseTagNotHandled, a name with NUL or no name at all and
// everything that contradicts itself nt.InvalidParameter.
func (s *Symlink) Decode(b []byte) error {
	*s = Symlink{}
	tag, data, err := DecodeReparse(b)
	if err != nil {
		return err
	}
	if tag != TagSymlink {
		return nt.IOReparseTagNotHandled
	}
	r := cursor.New(data)
	subOff, subLen, printOff, printLen := r.U16(), r.U16(), r.U16(), r.U16()
	s.Flags = r.U32()
	names := r.Rest()
	if r.Err() != nil {
		return nt.InvalidParameter
	}
	if s.Substitute, err = name(names, int(subOff), uint32(subLen)); err != nil {
		return err
	}
	if s.Print, err = name(names, int(printOff), uint32(printLen)); err != nil {
		return err
	}
	if s.Substitute == "" || strings.ContainsRune(s.Substitute+s.Print, 0) {
		return nt.InvalidParameter
	}
	return nil
}

// DecodeReparse splits a reparse buffer of FsctlSetReparsePoint, [MS-FSCC] 2.1.2.2, into its tag and data. data
// aliases b.
func DecodeReparse(b []byte) (tag uint32, data []byte, err error) {
	if len(b) < 8 || len(b) > MaxReparse {
		return 0, nil, nt.InvalidParameter
	}
	tag = binary.LittleEndian.Uint32(b)
	if n := binary.LittleEndian.Uint16(b[4:]); int(n) != len(b)-8 {
		return 0, nil, nt.InvalidParameter
	}
	return tag, b[8:], nil
}

// PipeWait is the body of FsctlPipeWait, [MS-FSCC] 2.3: 14 bytes and the pipe's name.
type PipeWait struct {
	Timeout uint64 // 100 ns; only if Given
	Given   bool
	Name    string
}

// Append encodes w.
func (w PipeWait) Append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, w.Timeout)
	b = binary.LittleEndian.AppendUint32(b, uint32(cursor.UTF16Len(w.Name)))
	return cursor.AppendUTF16(append(b, boolByte(w.Given), 0), w.Name)
}

// Decode reads w.
func (w *PipeWait) Decode(b []byte) (err error) {
	*w = PipeWait{}
	if len(b) < 14 {
		return nt.InvalidParameter
	}
	w.Timeout, w.Given = binary.LittleEndian.Uint64(b), b[12] != 0
	w.Name, err = name(b, 14, binary.LittleEndian.Uint32(b[8:]))
	return err
}

// PipePeek is the answer of FsctlPipePeek, [MS-FSCC] 2.3: 16 bytes and the data peeked at.
type PipePeek struct {
	State         uint32 // 3 connected
	Available     uint32 // bytes
	Messages      uint32
	MessageLength uint32
	Data          []byte
}

// Append encodes p.
func (p PipePeek) Append(b []byte) []byte {
	for _, v := range [...]uint32{p.State, p.Available, p.Messages, p.MessageLength} {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	return append(b, p.Data...)
}

// Decode reads p.
func (p *PipePeek) Decode(b []byte) error {
	*p = PipePeek{}
	if len(b) < 16 {
		return nt.InvalidParameter
	}
	for i, v := range [...]*uint32{&p.State, &p.Available, &p.Messages, &p.MessageLength} {
		*v = binary.LittleEndian.Uint32(b[4*i:])
	}
	p.Data = append([]byte(nil), b[16:]...)
	return nil
}
