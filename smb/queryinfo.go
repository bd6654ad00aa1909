package smb

import (
	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/vfs"
	"github.com/postern-nas/postern/smb/wire"
)

// queryInfo is [MS-SMB2] 3.3.5.20.
func (r *request) queryInfo() (response, error) {
	var req wire.QueryInfoRequest
	if err := req.Decode(r.msg); err != nil {
		return nil, malformed(err)
	}
	o, err := r.find(req.FileID)
	if err != nil {
		return nil, err
	}
	size := int(req.OutputBufferLength)
	if err := r.payload(max(size, len(req.Input))); err != nil {
		return nil, err
	}
	if req.OutputBufferLength > r.conn.maxIO() {
		return nil, because(nt.InvalidParameter, "buffer of %d bytes", req.OutputBufferLength)
	}
	q := &query{request: r, o: o, size: size, info: req.AdditionalInfo, flags: req.Flags, input: req.Input}
	switch req.InfoType {
	case wire.InfoFile:
		if o.pipe != nil {
			return q.pipe(fscc.FileClass(req.InfoClass))
		}
		return q.file(fscc.FileClass(req.InfoClass))
	case wire.InfoFileSystem:
		if o.pipe != nil {
			return nil, because(nt.InvalidInfoClass, "filesystem of a pipe")
		}
		return q.filesystem(fscc.FSClass(req.InfoClass))
	case wire.InfoSecurity:
		return q.security()
	case wire.InfoQuota:
		return q.quotas()
	}
	return nil, because(nt.InvalidParameter, "information type %d", req.InfoType)
}

// A query is one QUERY_INFO.
type query struct {
	*request
	o    *open
	size int
	info uint32

	flags uint32
	input []byte
}

// output answers with b. What does not fit is cut off, as [MS-SMB2] 3.3.5.20.1 has it; the least buffer of the class was
// checked before.
func (q *query) output(b []byte) (response, error) {
	if len(b) > q.size {
		return &wire.QueryInfoResponse{Buffer: b[:q.size]}, because(nt.BufferOverflow, "%d of %d bytes", q.size, len(b))
	}
	return &wire.QueryInfoResponse{Buffer: b}, nil
}

// minimum checks the client's buffer against the least that Windows takes for a class.
func (q *query) minimum(least int, known bool, class any) error {
	switch {
	case !known:
		return because(nt.InvalidInfoClass, "class %v", class)
	case q.size < least:
		return because(nt.InfoLengthMismatch, "%v into %d bytes", class, q.size)
	}
	return nil
}

// fileRights says which rights a handle needs for a class, [MS-FSA] 2.1.5.12. Classes that are not here need none.
var fileRights = map[fscc.FileClass]dtyp.Access{
	fscc.FileBasicInformation: dtyp.ReadAttributes, fscc.FileAllInformation: dtyp.ReadAttributes,
	fscc.FileNetworkOpenInformation: dtyp.ReadAttributes, fscc.FileAttributeTagInformation: dtyp.ReadAttributes,
	fscc.FileFullEaInformation: dtyp.ReadEA, fscc.FilePosixInformation: dtyp.ReadAttributes,
}

// file answers classes of files and directories, [MS-SMB2] 3.3.5.20.1.
func (q *query) file(class fscc.FileClass) (response, error) {
	least, ok := class.QueryMin()
	if err := q.minimum(least, ok, class); err != nil {
		return nil, err
	}
	if class == fscc.FilePosixInformation && !q.o.posix {
		return nil, because(nt.InvalidInfoClass, "%v of an open that is not of the POSIX way", class)
	}
	if need := fileRights[class]; need != 0 {
		if err := q.o.need(need); err != nil {
			return nil, err
		}
	}
	want := vfs.WantAll
	if class == fscc.FileEaInformation || class == fscc.FileAllInformation {
		want |= vfs.WantEA
	}
	a, err := q.o.file.Attr(q.ctx, want)
	if err != nil {
		return nil, err
	}
	q.o.show(q.ctx, &a)
	basic := fscc.BasicInfo{Creation: a.Birth, LastAccess: a.Access, LastWrite: a.Write, Change: a.Change, Attributes: wireAttributes(a.Attributes)}
	var body response
	switch class {
	case fscc.FileBasicInformation:
		body = basic
	case fscc.FileStandardInformation:
		body = q.standard(a)
	case fscc.FileInternalInformation:
		body = fscc.InternalInfo{FileID: a.ID.Object}
	case fscc.FileEaInformation:
		body = fscc.EAInfo{Size: a.EASize}
	case fscc.FileAccessInformation:
		body = fscc.AccessInfo{Access: q.o.access}
	case fscc.FilePositionInformation:
		body = fscc.PositionInfo{Offset: int64(q.o.currentPosition())}
	case fscc.FileModeInformation:
		body = fscc.ModeInfo{Mode: q.o.currentMode()}
	case fscc.FileAlignmentInformation:
		body = fscc.AlignmentInfo{}
	case fscc.FileAllInformation:
		name, err := q.name()
		if err != nil {
			return nil, err
		}
		body = fscc.AllInfo{
			BasicInfo: basic, StandardInfo: q.standard(a), InternalInfo: fscc.InternalInfo{FileID: a.ID.Object},
			EAInfo: fscc.EAInfo{Size: a.EASize}, AccessInfo: fscc.AccessInfo{Access: q.o.access}, PositionInfo: fscc.PositionInfo{Offset: int64(q.o.currentPosition())},
			ModeInfo: fscc.ModeInfo{Mode: q.o.currentMode()}, NameInfo: fscc.NameInfo{Name: `\` + name},
		}
	case fscc.FileNameInformation:
		name, err := q.name()
		if err != nil {
			return nil, err
		}
		body = fscc.NameInfo{Name: `\` + name}
	case fscc.FileNormalizedNameInformation:
		if uint16(q.conn.dialect.Load()) < wire.Dialect311 {
			return nil, because(nt.NotSupported, "normalized names came with 3.1.1")
		}
		name, err := q.name()
		if err != nil {
			return nil, err
		}
		body = fscc.NameInfo{Name: name}
	case fscc.FileAlternateNameInformation:
		return q.alternateName()
	case fscc.FileStreamInformation:
		return q.streams(a)
	case fscc.FileNetworkOpenInformation:
		body = fscc.NetworkOpenInfo{
			Creation: a.Birth, LastAccess: a.Access, LastWrite: a.Write, Change: a.Change,
			AllocationSize: a.Alloc, EndOfFile: a.Size, Attributes: wireAttributes(a.Attributes),
		}
	case fscc.FileAttributeTagInformation:
		body = fscc.AttributeTagInfo{Attributes: wireAttributes(a.Attributes), ReparseTag: a.ReparseTag}
	case fscc.FileCompressionInformation:
		body = compressionInfo(a)
	case fscc.FileFullEaInformation:
		return q.fullEA()
	case fscc.FileIdInformation:
		body = fscc.IDInfo{VolumeSerial: volumeID(q.volume(), a.ID), FileID: a.ID.Object}
	case fscc.FileStandardLinkInformation:
		body = fscc.StandardLinkInfo{AccessibleLinks: a.Links, TotalLinks: a.Links, DeletePending: q.o.deletePending(), Directory: a.Dir()}
	case fscc.FilePosixInformation:
		body = q.posixInfo(a)
	default:
		return nil, because(nt.NotSupported, "%v", class)
	}
	return q.output(body.Append(nil))
}

func (q *query) standard(a vfs.Attr) fscc.StandardInfo {
	pending := q.o.deletePending()
	links := a.Links
	if pending && links > 0 {
		links-- // a name that is going does not count
	}
	return fscc.StandardInfo{AllocationSize: a.Alloc, EndOfFile: a.Size, Links: links, DeletePending: pending, Directory: a.Dir()}
}

// name returns where the object is now, without a leading separator.
func (q *query) name() (string, error) {
	p, err := q.o.file.Path(q.ctx)
	return p.String(), err
}

func (o *open) deletePending() bool {
	o.object.mu.Lock()
	defer o.object.mu.Unlock()
	return o.object.fsa.DeletePending()
}

func (o *open) currentPosition() uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.position
}

func (o *open) currentMode() uint32 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.mode
}

// What a share's volume is cut into, for clients that count in clusters. 4 KiB is what ext4 and btrfs allocate by.
const (
	sectorSize     = 512
	sectorsPerUnit = 8
	unit           = sectorSize * sectorsPerUnit
)

// filesystem answers classes of filesystems, [MS-SMB2] 3.3.5.20.2.
func (q *query) filesystem(class fscc.FSClass) (response, error) {
	least, ok := class.QueryMin()
	if err := q.minimum(least, ok, class); err != nil {
		return nil, err
	}
	vol := q.volume()
	var body response
	switch class {
	case fscc.FileFsVolumeInformation:
		label, serial := q.o.tree.share.Name, uint32(volumeID(vol, q.o.file.ID()))
		if l, ok := vol.(vfs.Labeled); ok {
			if name, s := l.Label(); name != "" {
				label, serial = name, s
			}
		}
		body = fscc.VolumeInfo{Serial: serial, Label: label}
	case fscc.FileFsSizeInformation, fscc.FileFsFullSizeInformation:
		total, free, err := q.usage(vol)
		if err != nil {
			return nil, err
		}
		if class == fscc.FileFsSizeInformation {
			body = fscc.FSSizeInfo{Total: total / unit, Available: free / unit, SectorsPerUnit: sectorsPerUnit, BytesPerSector: sectorSize}
		} else {
			body = fscc.FSFullSizeInfo{Total: total / unit, CallerAvailable: free / unit, ActualAvailable: free / unit, SectorsPerUnit: sectorsPerUnit, BytesPerSector: sectorSize}
		}
	case fscc.FileFsDeviceInformation:
		body = fscc.DeviceInfo{Type: fscc.DeviceDisk, Characteristics: fscc.DeviceMounted}
	case fscc.FileFsAttributeInformation:
		// NTFS is the one name that Windows programs expect long names and large files of.
		attributes := fscc.FSCaseSensitiveSearch | fscc.FSCasePreservedNames | fscc.FSUnicodeOnDisk | fscc.FSSparseFiles
		if _, ok := q.o.file.(vfs.Linker); ok {
			attributes |= fscc.FSHardLinks
		}
		attributes |= features(vol)
		if keepsDescriptors(q.ctx, q.o.file) {
			attributes |= fscc.FSPersistentACLs
		}
		if keepsStreams(q.ctx, q.o) {
			attributes |= fscc.FSNamedStreams
		}
		if keepsObjectIDs(q.ctx, q.o.file) {
			attributes |= fscc.FSObjectIDs
		}
		if keepsEAs(q.ctx, q.o.file) {
			attributes |= fscc.FSExtendedAttributes
		}
		if q.o.tree.rights&dtyp.WriteData == 0 || q.past != nil {
			attributes |= fscc.FSReadOnlyVolume
		}
		body = fscc.FSAttributeInfo{Attributes: attributes, MaxComponent: 255, Name: "NTFS"}
	case fscc.FileFsSectorSizeInformation:
		body = fscc.SectorSizeInfo{
			Logical: sectorSize, PhysicalAtomic: unit, PhysicalPerformance: unit, EffectivePhysicalAtomic: unit,
			Flags: fscc.SectorAlignedDevice | fscc.SectorPartitionAligned | fscc.SectorTrimEnabled,
		}
	case fscc.FileFsPosixInformation:
		info, err := q.posixFilesystem(vol)
		if err != nil {
			return nil, err
		}
		body = info
	case fscc.FileFsControlInformation:
		body = noQuotas
	case fscc.FileFsObjectIdInformation:
		body = fscc.ObjectID{ID: q.volumeGUID(q.o.file.ID())}
	default:
		return nil, because(nt.NotSupported, "%v", class)
	}
	return q.output(body.Append(nil))
}

// pipe answers the few classes that clients ask of a pipe.
func (q *query) pipe(class fscc.FileClass) (response, error) {
	least, ok := class.QueryMin()
	if err := q.minimum(least, ok, class); err != nil {
		return nil, err
	}
	switch class {
	case fscc.FileStandardInformation:
		return q.output(fscc.StandardInfo{AllocationSize: 4096, Links: 1, DeletePending: true}.Append(nil))
	case fscc.FileNameInformation:
		return q.output(fscc.NameInfo{Name: `\` + q.o.name}.Append(nil))
	case fscc.FileAccessInformation:
		return q.output(fscc.AccessInfo{Access: q.o.access}.Append(nil))
	}
	return nil, because(nt.NotSupported, "%v of a pipe", class)
}
