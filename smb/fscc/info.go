package fscc

import (
	"encoding/binary"

	"github.com/postern-nas/postern/smb/cursor"
	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/nt"
)

// Times with a meaning in BasicInfo that is set, [MS-FSCC] 2.4.
const (
	TimeKeep   dtyp.Filetime = 0             // leave the time as it is
	TimeFreeze dtyp.Filetime = 1<<64 - 1     // -1: and let no later operation through this open move it
	TimeThaw   dtyp.Filetime = 1<<64 - 1 - 1 // -2: let them move it again
	timeFirst                = TimeThaw      // negative times below are invalid
	timeSign   dtyp.Filetime = 1 << 63
)

// fixed starts reading a structure of which n bytes must be there.
func fixed(b []byte, n int) (*cursor.Reader, error) {
	if len(b) < n {
		return nil, nt.InfoLengthMismatch
	}
	return cursor.New(b), nil
}

func boolByte(v bool) byte {
	if v {
		return 1
	}
	return 0
}

// BasicInfo is FILE_BASIC_INFORMATION, [MS-FSCC] 2.4: queried and set, 40 bytes.
type BasicInfo struct {
	Creation, LastAccess, LastWrite, Change dtyp.Filetime
	Attributes                              uint32 // 0 when set: leave them as they are
}

// Append encodes i.
func (i BasicInfo) Append(b []byte) []byte {
	for _, t := range [...]dtyp.Filetime{i.Creation, i.LastAccess, i.LastWrite, i.Change} {
		b = binary.LittleEndian.AppendUint64(b, uint64(t))
	}
	return append(binary.LittleEndian.AppendUint32(b, i.Attributes), 0, 0, 0, 0)
}

// Decode reads i. Times below -2 are nt.InvalidParameter, [MS-FSA] 2.1.5.15.2.
func (i *BasicInfo) Decode(b []byte) error {
	*i = BasicInfo{}
	r, err := fixed(b, 40)
	if err != nil {
		return err
	}
	for _, t := range [...]*dtyp.Filetime{&i.Creation, &i.LastAccess, &i.LastWrite, &i.Change} {
		if *t = dtyp.Filetime(r.U64()); *t >= timeSign && *t < timeFirst {
			return nt.InvalidParameter
		}
	}
	i.Attributes = r.U32()
	return nil
}

// StandardInfo is FILE_STANDARD_INFORMATION, [MS-FSCC] 2.4: queried, 24 bytes.
type StandardInfo struct {
	AllocationSize, EndOfFile int64
	Links                     uint32
	DeletePending, Directory  bool
}

// Append encodes i.
func (i StandardInfo) Append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(i.AllocationSize))
	b = binary.LittleEndian.AppendUint64(b, uint64(i.EndOfFile))
	b = binary.LittleEndian.AppendUint32(b, i.Links)
	return append(b, boolByte(i.DeletePending), boolByte(i.Directory), 0, 0)
}

// Decode reads i.
func (i *StandardInfo) Decode(b []byte) error {
	*i = StandardInfo{}
	r, err := fixed(b, 24)
	if err != nil {
		return err
	}
	i.AllocationSize, i.EndOfFile, i.Links = int64(r.U64()), int64(r.U64()), r.U32()
	i.DeletePending, i.Directory = r.U8() != 0, r.U8() != 0
	return nil
}

// StandardLinkInfo is FILE_STANDARD_LINK_INFORMATION: queried, 12 bytes.
type StandardLinkInfo struct {
	AccessibleLinks, TotalLinks uint32
	DeletePending, Directory    bool
}

// Append encodes i.
func (i StandardLinkInfo) Append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, i.AccessibleLinks)
	b = binary.LittleEndian.AppendUint32(b, i.TotalLinks)
	return append(b, boolByte(i.DeletePending), boolByte(i.Directory), 0, 0)
}

// Decode reads i.
func (i *StandardLinkInfo) Decode(b []byte) error {
	*i = StandardLinkInfo{}
	r, err := fixed(b, 12)
	if err != nil {
		return err
	}
	i.AccessibleLinks, i.TotalLinks = r.U32(), r.U32()
	i.DeletePending, i.Directory = r.U8() != 0, r.U8() != 0
	return nil
}

// InternalInfo is FILE_INTERNAL_INFORMATION, [MS-FSCC] 2.4: the 64-bit file ID, 8 bytes.
type InternalInfo struct{ FileID uint64 }

// Append encodes i.
func (i InternalInfo) Append(b []byte) []byte { return binary.LittleEndian.AppendUint64(b, i.FileID) }

// Decode reads i.
func (i *InternalInfo) Decode(b []byte) error { return decode64(b, &i.FileID) }

// IDInfo is FILE_ID_INFORMATION, [MS-FSCC] 2.4: 24 bytes. 128-bit IDs are FileID with zeros above.
type IDInfo struct{ VolumeSerial, FileID uint64 }

// Append encodes i.
func (i IDInfo) Append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, i.VolumeSerial)
	b = binary.LittleEndian.AppendUint64(b, i.FileID)
	return append(b, zeros[:8]...)
}

// Decode reads i.
func (i *IDInfo) Decode(b []byte) error {
	*i = IDInfo{}
	r, err := fixed(b, 24)
	if err != nil {
		return err
	}
	i.VolumeSerial, i.FileID = r.U64(), r.U64()
	return nil
}

// EAInfo is FILE_EA_INFORMATION, [MS-FSCC] 2.4: the size of all extended attributes, 4 bytes.
type EAInfo struct{ Size uint32 }

// Append encodes i.
func (i EAInfo) Append(b []byte) []byte { return binary.LittleEndian.AppendUint32(b, i.Size) }

// Decode reads i.
func (i *EAInfo) Decode(b []byte) error { return decode32(b, &i.Size) }

// AccessInfo is FILE_ACCESS_INFORMATION, [MS-FSCC] 2.4: what the open was granted, 4 bytes.
type AccessInfo struct{ Access dtyp.Access }

// Append encodes i.
func (i AccessInfo) Append(b []byte) []byte {
	return binary.LittleEndian.AppendUint32(b, uint32(i.Access))
}

// Decode reads i.
func (i *AccessInfo) Decode(b []byte) error { return decode32(b, &i.Access) }

// PositionInfo is FILE_POSITION_INFORMATION, [MS-FSCC] 2.4: queried and set, 8 bytes. Negative is
// nt.InvalidParameter.
type PositionInfo struct{ Offset int64 }

// Append encodes i.
func (i PositionInfo) Append(b []byte) []byte {
	return binary.LittleEndian.AppendUint64(b, uint64(i.Offset))
}

// Decode reads i.
func (i *PositionInfo) Decode(b []byte) error { return decodeSize(b, &i.Offset) }

// Bits of ModeInfo, [MS-FSCC] 2.4. Which of them may be set is for the object store to say, [MS-FSA] 2.1.5.15.
const (
	ModeWriteThrough          uint32 = 0x0002
	ModeSequentialOnly        uint32 = 0x0004
	ModeNoIntermediateBuffer  uint32 = 0x0008
	ModeSynchronousIOAlert    uint32 = 0x0010
	ModeSynchronousIONonalert uint32 = 0x0020
	ModeDeleteOnClose         uint32 = 0x1000
)

// ModeInfo is FILE_MODE_INFORMATION, [MS-FSCC] 2.4: queried and set, 4 bytes.
type ModeInfo struct{ Mode uint32 }

// Append encodes i.
func (i ModeInfo) Append(b []byte) []byte { return binary.LittleEndian.AppendUint32(b, i.Mode) }

// Decode reads i.
func (i *ModeInfo) Decode(b []byte) error { return decode32(b, &i.Mode) }

// AlignmentInfo is FILE_ALIGNMENT_INFORMATION, [MS-FSCC] 2.4: one less than what buffers are aligned to, 4 bytes.
type AlignmentInfo struct{ Requirement uint32 }

// Append encodes i.
func (i AlignmentInfo) Append(b []byte) []byte {
	return binary.LittleEndian.AppendUint32(b, i.Requirement)
}

// Decode reads i.
func (i *AlignmentInfo) Decode(b []byte) error { return decode32(b, &i.Requirement) }

// NameInfo is FILE_NAME_INFORMATION, [MS-FSCC] 2.1.7: what FileNameInformation, FileNormalizedNameInformation and
// FileAlternateNameInformation answer, and FileShortNameInformation sets. 4 bytes and the name.
type NameInfo struct{ Name string }

// Append encodes i.
func (i NameInfo) Append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(cursor.UTF16Len(i.Name)))
	return cursor.AppendUTF16(b, i.Name)
}

// Decode reads i.
func (i *NameInfo) Decode(b []byte) (err error) {
	*i = NameInfo{}
	if len(b) < 4 {
		return nt.InfoLengthMismatch
	}
	i.Name, err = name(b, 4, binary.LittleEndian.Uint32(b))
	return err
}

// AllInfo is FILE_ALL_INFORMATION, [MS-FSCC] 2.4: 100 bytes and the name, which [MS-SMB2] 3.3.5.20.1 would rather
// see empty.
type AllInfo struct {
	BasicInfo
	StandardInfo
	InternalInfo
	EAInfo
	AccessInfo
	PositionInfo
	ModeInfo
	AlignmentInfo
	NameInfo
}

// Append encodes i.
func (i AllInfo) Append(b []byte) []byte {
	b = i.BasicInfo.Append(b)
	b = i.StandardInfo.Append(b)
	b = i.InternalInfo.Append(b)
	b = i.EAInfo.Append(b)
	b = i.AccessInfo.Append(b)
	b = i.PositionInfo.Append(b)
	b = i.ModeInfo.Append(b)
	b = i.AlignmentInfo.Append(b)
	return i.NameInfo.Append(b)
}

// Decode reads i.
func (i *AllInfo) Decode(b []byte) error {
	*i = AllInfo{}
	if len(b) < 100 {
		return nt.InfoLengthMismatch
	}
	for _, part := range [...]struct {
		off    int
		decode func([]byte) error
	}{
		{0, i.BasicInfo.Decode},
		{40, i.StandardInfo.Decode},
		{64, i.InternalInfo.Decode},
		{72, i.EAInfo.Decode},
		{76, i.AccessInfo.Decode},
		{80, i.PositionInfo.Decode},
		{88, i.ModeInfo.Decode},
		{92, i.AlignmentInfo.Decode},
		{96, i.NameInfo.Decode},
	} {
		if err := part.decode(b[part.off:]); err != nil {
			return err
		}
	}
	return nil
}

// NetworkOpenInfo is FILE_NETWORK_OPEN_INFORMATION, [MS-FSCC] 2.4: queried, 56 bytes.
type NetworkOpenInfo struct {
	Creation, LastAccess, LastWrite, Change dtyp.Filetime
	AllocationSize, EndOfFile               int64
	Attributes                              uint32
}

// Append encodes i.
func (i NetworkOpenInfo) Append(b []byte) []byte {
	for _, t := range [...]dtyp.Filetime{i.Creation, i.LastAccess, i.LastWrite, i.Change} {
		b = binary.LittleEndian.AppendUint64(b, uint64(t))
	}
	b = binary.LittleEndian.AppendUint64(b, uint64(i.AllocationSize))
	b = binary.LittleEndian.AppendUint64(b, uint64(i.EndOfFile))
	return append(binary.LittleEndian.AppendUint32(b, i.Attributes), 0, 0, 0, 0)
}

// Decode reads i.
func (i *NetworkOpenInfo) Decode(b []byte) error {
	*i = NetworkOpenInfo{}
	r, err := fixed(b, 56)
	if err != nil {
		return err
	}
	for _, t := range [...]*dtyp.Filetime{&i.Creation, &i.LastAccess, &i.LastWrite, &i.Change} {
		*t = dtyp.Filetime(r.U64())
	}
	i.AllocationSize, i.EndOfFile, i.Attributes = int64(r.U64()), int64(r.U64()), r.U32()
	return nil
}

// AttributeTagInfo is FILE_ATTRIBUTE_TAG_INFORMATION, [MS-FSCC] 2.4: queried, 8 bytes.
type AttributeTagInfo struct{ Attributes, ReparseTag uint32 }

// Append encodes i.
func (i AttributeTagInfo) Append(b []byte) []byte {
	return binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(b, i.Attributes), i.ReparseTag)
}

// Decode reads i.
func (i *AttributeTagInfo) Decode(b []byte) error {
	*i = AttributeTagInfo{}
	r, err := fixed(b, 8)
	if err != nil {
		return err
	}
	i.Attributes, i.ReparseTag = r.U32(), r.U32()
	return nil
}

// CompressionInfo is FILE_COMPRESSION_INFORMATION, [MS-FSCC] 2.4: queried, 16 bytes.
type CompressionInfo struct {
	CompressedSize                      int64
	Format                              uint16
	UnitShift, ChunkShift, ClusterShift uint8
}

// Append encodes i.
func (i CompressionInfo) Append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(i.CompressedSize))
	b = binary.LittleEndian.AppendUint16(b, i.Format)
	return append(b, i.UnitShift, i.ChunkShift, i.ClusterShift, 0, 0, 0)
}

// Decode reads i.
func (i *CompressionInfo) Decode(b []byte) error {
	*i = CompressionInfo{}
	r, err := fixed(b, 16)
	if err != nil {
		return err
	}
	i.CompressedSize, i.Format = int64(r.U64()), r.U16()
	i.UnitShift, i.ChunkShift, i.ClusterShift = r.U8(), r.U8(), r.U8()
	return nil
}

// PipeInfo is FILE_PIPE_INFORMATION, [MS-FSCC] 2.4: queried and set, 8 bytes.
type PipeInfo struct {
	ReadMode       uint32 // 0 stream, 1 message
	CompletionMode uint32 // 0 wait, 1 do not
}

// Append encodes i.
func (i PipeInfo) Append(b []byte) []byte {
	return binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(b, i.ReadMode), i.CompletionMode)
}

// Decode reads i. Modes there are not are nt.InvalidParameter.
func (i *PipeInfo) Decode(b []byte) error {
	*i = PipeInfo{}
	r, err := fixed(b, 8)
	if err != nil {
		return err
	}
	i.ReadMode, i.CompletionMode = r.U32(), r.U32()
	if i.ReadMode > 1 || i.CompletionMode > 1 {
		return nt.InvalidParameter
	}
	return nil
}

// PipeLocalInfo is FILE_PIPE_LOCAL_INFORMATION, [MS-FSCC] 2.4: queried, 40 bytes.
type PipeLocalInfo struct {
	Type, Configuration         uint32 // 1 message; 2 full duplex
	MaxInstances, Instances     uint32
	InboundQuota, ReadAvailable uint32
	OutboundQuota, WriteQuota   uint32
	State                       uint32 // 3 connected
	End                         uint32 // 0 client, 1 server
}

// Append encodes i.
func (i PipeLocalInfo) Append(b []byte) []byte {
	for _, v := range [...]uint32{
		i.Type, i.Configuration, i.MaxInstances, i.Instances, i.InboundQuota,
		i.ReadAvailable, i.OutboundQuota, i.WriteQuota, i.State, i.End,
	} {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	return b
}

// Decode reads i.
func (i *PipeLocalInfo) Decode(b []byte) error {
	*i = PipeLocalInfo{}
	r, err := fixed(b, 40)
	if err != nil {
		return err
	}
	for _, v := range [...]*uint32{
		&i.Type, &i.Configuration, &i.MaxInstances, &i.Instances, &i.InboundQuota,
		&i.ReadAvailable, &i.OutboundQuota, &i.WriteQuota, &i.State, &i.End,
	} {
		*v = r.U32()
	}
	return nil
}

func decode32[T ~uint32](b []byte, v *T) error {
	*v = 0
	if len(b) < 4 {
		return nt.InfoLengthMismatch
	}
	*v = T(binary.LittleEndian.Uint32(b))
	return nil
}

func decode64(b []byte, v *uint64) error {
	*v = 0
	if len(b) < 8 {
		return nt.InfoLengthMismatch
	}
	*v = binary.LittleEndian.Uint64(b)
	return nil
}

// decodeSize reads a size or offset, which must not be negative.
func decodeSize(b []byte, v *int64) error {
	*v = 0
	if len(b) < 8 {
		return nt.InfoLengthMismatch
	}
	if *v = int64(binary.LittleEndian.Uint64(b)); *v < 0 {
		return nt.InvalidParameter
	}
	return nil
}
