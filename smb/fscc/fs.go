package fscc

import (
	"encoding/binary"

	"github.com/postern-nas/postern/smb/cursor"
	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/nt"
)

// VolumeInfo is FILE_FS_VOLUME_INFORMATION, [MS-FSCC] 2.5: 18 bytes and the label.
type VolumeInfo struct {
	Creation        dtyp.Filetime
	Serial          uint32
	SupportsObjects bool
	Label           string
}

// Append encodes i.
func (i VolumeInfo) Append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(i.Creation))
	b = binary.LittleEndian.AppendUint32(b, i.Serial)
	b = binary.LittleEndian.AppendUint32(b, uint32(cursor.UTF16Len(i.Label)))
	return cursor.AppendUTF16(append(b, boolByte(i.SupportsObjects), 0), i.Label)
}

// Decode reads i.
func (i *VolumeInfo) Decode(b []byte) error {
	*i = VolumeInfo{}
	r, err := fixed(b, 18)
	if err != nil {
		return err
	}
	i.Creation, i.Serial = dtyp.Filetime(r.U64()), r.U32()
	n := r.U32()
	i.SupportsObjects = r.U8() != 0
	i.Label, err = name(b, 18, n)
	return err
}

// LabelInfo is FILE_FS_LABEL_INFORMATION, [MS-FSCC] 2.5: set, 4 bytes and the label.
type LabelInfo = NameInfo

// FSSizeInfo is FILE_FS_SIZE_INFORMATION, [MS-FSCC] 2.5: 24 bytes, sizes in allocation units.
type FSSizeInfo struct {
	Total, Available               int64
	SectorsPerUnit, BytesPerSector uint32
}

// Append encodes i.
func (i FSSizeInfo) Append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(i.Total))
	b = binary.LittleEndian.AppendUint64(b, uint64(i.Available))
	b = binary.LittleEndian.AppendUint32(b, i.SectorsPerUnit)
	return binary.LittleEndian.AppendUint32(b, i.BytesPerSector)
}

// Decode reads i.
func (i *FSSizeInfo) Decode(b []byte) error {
	*i = FSSizeInfo{}
	r, err := fixed(b, 24)
	if err != nil {
		return err
	}
	i.Total, i.Available, i.SectorsPerUnit, i.BytesPerSector = int64(r.U64()), int64(r.U64()), r.U32(), r.U32()
	return nil
}

// FSFullSizeInfo is FILE_FS_FULL_SIZE_INFORMATION, [MS-FSCC] 2.5: 32 bytes, sizes in allocation units.
type FSFullSizeInfo struct {
	Total                          int64
	CallerAvailable                int64 // what quotas leave the user
	ActualAvailable                int64
	SectorsPerUnit, BytesPerSector uint32
}

// Append encodes i.
func (i FSFullSizeInfo) Append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(i.Total))
	b = binary.LittleEndian.AppendUint64(b, uint64(i.CallerAvailable))
	b = binary.LittleEndian.AppendUint64(b, uint64(i.ActualAvailable))
	b = binary.LittleEndian.AppendUint32(b, i.SectorsPerUnit)
	return binary.LittleEndian.AppendUint32(b, i.BytesPerSector)
}

// Decode reads i.
func (i *FSFullSizeInfo) Decode(b []byte) error {
	*i = FSFullSizeInfo{}
	r, err := fixed(b, 32)
	if err != nil {
		return err
	}
	i.Total, i.CallerAvailable, i.ActualAvailable = int64(r.U64()), int64(r.U64()), int64(r.U64())
	i.SectorsPerUnit, i.BytesPerSector = r.U32(), r.U32()
	return nil
}

// Device types and characteristics, [MS-FSCC] 2.5.
const (
	DeviceDisk uint32 = 0x07
	DevicePipe uint32 = 0x11

	DeviceRemote  uint32 = 0x10
	DeviceMounted uint32 = 0x20
)

// DeviceInfo is FILE_FS_DEVICE_INFORMATION, [MS-FSCC] 2.5: 8 bytes.
type DeviceInfo struct{ Type, Characteristics uint32 }

// Append encodes i.
func (i DeviceInfo) Append(b []byte) []byte {
	return binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(b, i.Type), i.Characteristics)
}

// Decode reads i.
func (i *DeviceInfo) Decode(b []byte) error {
	*i = DeviceInfo{}
	r, err := fixed(b, 8)
	if err != nil {
		return err
	}
	i.Type, i.Characteristics = r.U32(), r.U32()
	return nil
}

// Filesystem attributes, [MS-FSCC] 2.5.
const (
	FSCaseSensitiveSearch uint32 = 0x00000001
	FSCasePreservedNames  uint32 = 0x00000002
	FSUnicodeOnDisk       uint32 = 0x00000004
	FSPersistentACLs      uint32 = 0x00000008
	FSFileCompression     uint32 = 0x00000010
	FSVolumeQuotas        uint32 = 0x00000020
	FSSparseFiles         uint32 = 0x00000040
	FSReparsePoints       uint32 = 0x00000080
	FSRemoteStorage       uint32 = 0x00000100
	FSVolumeIsCompressed  uint32 = 0x00008000
	FSObjectIDs           uint32 = 0x00010000
	FSEncryption          uint32 = 0x00020000
	FSNamedStreams        uint32 = 0x00040000
	FSReadOnlyVolume      uint32 = 0x00080000
	FSSequentialWriteOnce uint32 = 0x00100000
	FSTransactions        uint32 = 0x00200000
	FSHardLinks           uint32 = 0x00400000
	FSExtendedAttributes  uint32 = 0x00800000
	FSOpenByFileID        uint32 = 0x01000000
	FSUSNJournal          uint32 = 0x02000000
	FSIntegrityStreams    uint32 = 0x04000000
	FSBlockRefcounting    uint32 = 0x08000000
	FSSparseVDL           uint32 = 0x10000000
	FSGhosting            uint32 = 0x40000000
)

// FSAttributeInfo is FILE_FS_ATTRIBUTE_INFORMATION, [MS-FSCC] 2.5: 12 bytes and the filesystem's name.
type FSAttributeInfo struct {
	Attributes   uint32
	MaxComponent int32 // characters
	Name         string
}

// Append encodes i.
func (i FSAttributeInfo) Append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, i.Attributes)
	b = binary.LittleEndian.AppendUint32(b, uint32(i.MaxComponent))
	return NameInfo{i.Name}.Append(b)
}

// Decode reads i.
func (i *FSAttributeInfo) Decode(b []byte) error {
	*i = FSAttributeInfo{}
	r, err := fixed(b, 12)
	if err != nil {
		return err
	}
	i.Attributes, i.MaxComponent = r.U32(), int32(r.U32())
	i.Name, err = name(b, 12, r.U32())
	return err
}

// NoQuota is a threshold or limit that is none.
const NoQuota int64 = -1

// FSControlInfo is FILE_FS_CONTROL_INFORMATION, [MS-FSCC] 2.5: 48 bytes.
type FSControlInfo struct {
	StartFiltering, FilterThreshold, StopFiltering int64
	DefaultThreshold, DefaultLimit                 int64
	Flags                                          uint32
}

// Append encodes i.
func (i FSControlInfo) Append(b []byte) []byte {
	for _, v := range [...]int64{
		i.StartFiltering, i.FilterThreshold, i.StopFiltering,
		i.DefaultThreshold, i.DefaultLimit,
	} {
		b = binary.LittleEndian.AppendUint64(b, uint64(v))
	}
	return append(binary.LittleEndian.AppendUint32(b, i.Flags), 0, 0, 0, 0)
}

// Decode reads i.
func (i *FSControlInfo) Decode(b []byte) error {
	*i = FSControlInfo{}
	r, err := fixed(b, 48)
	if err != nil {
		return err
	}
	for _, v := range [...]*int64{
		&i.StartFiltering, &i.FilterThreshold, &i.StopFiltering,
		&i.DefaultThreshold, &i.DefaultLimit,
	} {
		*v = int64(r.U64())
	}
	i.Flags = r.U32()
	return nil
}

// ObjectID is FILE_FS_OBJECTID_INFORMATION, [MS-FSCC] 2.5, and FILE_OBJECTID_BUFFER, [MS-FSCC] 2.1.3: 64 bytes.
type ObjectID struct {
	ID       dtyp.GUID
	Extended [48]byte // of a file: birth volume, birth object, domain; or whatever a client has set
}

// Birth returns where a file was when it got the object id that it was born with, and that id. Both are null until they
// are set.
func (i *ObjectID) Birth() (volume, object dtyp.GUID) {
	return dtyp.GUID(i.Extended[:16]), dtyp.GUID(i.Extended[16:32])
}

// SetBirth sets both. The domain becomes null, which is all that it has ever been ([MS-FSCC] 2.1.3.1).
func (i *ObjectID) SetBirth(volume, object dtyp.GUID) {
	i.Extended = [48]byte{}
	copy(i.Extended[:], volume[:])
	copy(i.Extended[16:], object[:])
}

// Append encodes i.
func (i ObjectID) Append(b []byte) []byte { return append(append(b, i.ID[:]...), i.Extended[:]...) }

// Decode reads i.
func (i *ObjectID) Decode(b []byte) error {
	*i = ObjectID{}
	if len(b) < 64 {
		return nt.InfoLengthMismatch
	}
	copy(i.ID[:], b)
	copy(i.Extended[:], b[16:])
	return nil
}

// Flags of SectorSizeInfo, [MS-FSCC] 2.5.
const (
	SectorAlignedDevice    uint32 = 0x1
	SectorPartitionAligned uint32 = 0x2
	SectorNoSeekPenalty    uint32 = 0x4
	SectorTrimEnabled      uint32 = 0x8
)

// SectorSizeInfo is FILE_FS_SECTOR_SIZE_INFORMATION, [MS-FSCC] 2.5: 28 bytes.
type SectorSizeInfo struct {
	Logical, PhysicalAtomic, PhysicalPerformance uint32
	EffectivePhysicalAtomic                      uint32 // for the filesystem
	Flags                                        uint32
	SectorAlignment, PartitionAlignment          uint32 // offsets, 0 for aligned ones
}

// Append encodes i.
func (i SectorSizeInfo) Append(b []byte) []byte {
	for _, v := range [...]uint32{
		i.Logical, i.PhysicalAtomic, i.PhysicalPerformance, i.EffectivePhysicalAtomic,
		i.Flags, i.SectorAlignment, i.PartitionAlignment,
	} {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	return b
}

// Decode reads i.
func (i *SectorSizeInfo) Decode(b []byte) error {
	*i = SectorSizeInfo{}
	r, err := fixed(b, 28)
	if err != nil {
		return err
	}
	for _, v := range [...]*uint32{
		&i.Logical, &i.PhysicalAtomic, &i.PhysicalPerformance, &i.EffectivePhysicalAtomic,
		&i.Flags, &i.SectorAlignment, &i.PartitionAlignment,
	} {
		*v = r.U32()
	}
	return nil
}
