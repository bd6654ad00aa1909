package fscc

import "fmt"

// A FileClass is an information class of files and directories, [MS-FSCC] 2.4.
type FileClass uint8

// Classes of files and directories.
const (
	FileDirectoryInformation          FileClass = 0x01
	FileFullDirectoryInformation      FileClass = 0x02
	FileBothDirectoryInformation      FileClass = 0x03
	FileBasicInformation              FileClass = 0x04
	FileStandardInformation           FileClass = 0x05
	FileInternalInformation           FileClass = 0x06
	FileEaInformation                 FileClass = 0x07
	FileAccessInformation             FileClass = 0x08
	FileNameInformation               FileClass = 0x09
	FileRenameInformation             FileClass = 0x0A
	FileLinkInformation               FileClass = 0x0B
	FileNamesInformation              FileClass = 0x0C
	FileDispositionInformation        FileClass = 0x0D
	FilePositionInformation           FileClass = 0x0E
	FileFullEaInformation             FileClass = 0x0F
	FileModeInformation               FileClass = 0x10
	FileAlignmentInformation          FileClass = 0x11
	FileAllInformation                FileClass = 0x12
	FileAllocationInformation         FileClass = 0x13
	FileEndOfFileInformation          FileClass = 0x14
	FileAlternateNameInformation      FileClass = 0x15
	FileStreamInformation             FileClass = 0x16
	FilePipeInformation               FileClass = 0x17
	FilePipeLocalInformation          FileClass = 0x18
	FilePipeRemoteInformation         FileClass = 0x19
	FileCompressionInformation        FileClass = 0x1C
	FileObjectIdInformation           FileClass = 0x1D
	FileQuotaInformation              FileClass = 0x20
	FileReparsePointInformation       FileClass = 0x21
	FileNetworkOpenInformation        FileClass = 0x22
	FileAttributeTagInformation       FileClass = 0x23
	FileIdBothDirectoryInformation    FileClass = 0x25
	FileIdFullDirectoryInformation    FileClass = 0x26
	FileValidDataLengthInformation    FileClass = 0x27
	FileShortNameInformation          FileClass = 0x28
	FileSfioReserveInformation        FileClass = 0x2C
	FileHardLinkInformation           FileClass = 0x2E
	FileNormalizedNameInformation     FileClass = 0x30
	FileStandardLinkInformation       FileClass = 0x36
	FileIdInformation                 FileClass = 0x3B
	FileIdExtdDirectoryInformation    FileClass = 0x3C
	FileDispositionInformationEx      FileClass = 0x40
	FileRenameInformationEx           FileClass = 0x41
	FileLinkInformationEx             FileClass = 0x48
	FileId64ExtdDirectoryInformation  FileClass = 0x4E
	FileId64ExtdBothDirInformation    FileClass = 0x4F
	FileIdAllExtdDirectoryInformation FileClass = 0x50
	FileIdAllExtdBothDirInformation   FileClass = 0x51
	FilePosixInformation              FileClass = 0x64 // of the POSIX extensions
)

func (c FileClass) String() string { return fmt.Sprintf("file class 0x%02X", uint8(c)) }

// An FSClass is an information class of filesystems, [MS-FSCC] 2.5.
type FSClass uint8

// Classes of filesystems.
const (
	FileFsVolumeInformation     FSClass = 0x01
	FileFsLabelInformation      FSClass = 0x02
	FileFsSizeInformation       FSClass = 0x03
	FileFsDeviceInformation     FSClass = 0x04
	FileFsAttributeInformation  FSClass = 0x05
	FileFsControlInformation    FSClass = 0x06
	FileFsFullSizeInformation   FSClass = 0x07
	FileFsObjectIdInformation   FSClass = 0x08
	FileFsDriverPathInformation FSClass = 0x09
	FileFsSectorSizeInformation FSClass = 0x0B
	FileFsPosixInformation      FSClass = 0x64 // of the POSIX extensions
)

func (c FSClass) String() string { return fmt.Sprintf("filesystem class 0x%02X", uint8(c)) }

// QueryMin returns the least output buffer that Windows answers a query of the class into; a smaller one is
// nt.InfoLengthMismatch. A buffer between that and the whole answer is nt.BufferOverflow. It is false for classes
// that cannot be queried: nt.InvalidInfoClass.
func (c FileClass) QueryMin() (int, bool) {
	switch c {
	case FileBasicInformation:
		return 40, true
	case FileStandardInformation:
		return 24, true
	case FileInternalInformation, FileNameInformation, FilePositionInformation, FileAlternateNameInformation,
		FileAttributeTagInformation, FileNormalizedNameInformation, FilePipeInformation:
		return 8, true
	case FileEaInformation, FileAccessInformation, FileModeInformation, FileAlignmentInformation:
		return 4, true
	case FileAllInformation:
		return 104, true
	case FileStreamInformation:
		return 32, true
	case FileCompressionInformation:
		return 16, true
	case FileNetworkOpenInformation:
		return 56, true
	case FilePipeLocalInformation:
		return 40, true
	case FileIdInformation:
		return 24, true
	case FileStandardLinkInformation:
		return 12, true
	case FileFullEaInformation:
		return 0, true
	case FilePosixInformation:
		return posixLeast, true
	}
	return 0, false
}

// SetMin returns the least input buffer that Windows takes for setting the class; a smaller one is
// nt.InfoLengthMismatch. It is false for classes that cannot be set: nt.InvalidInfoClass.
func (c FileClass) SetMin() (int, bool) {
	switch c {
	case FileBasicInformation:
		return 40, true
	case FileRenameInformation, FileLinkInformation, FileRenameInformationEx, FileLinkInformationEx:
		return renameFixed, true
	case FileDispositionInformation:
		return 1, true
	case FileDispositionInformationEx, FileModeInformation, FileShortNameInformation:
		return 4, true
	case FilePositionInformation, FileAllocationInformation, FileEndOfFileInformation,
		FileValidDataLengthInformation, FilePipeInformation:
		return 8, true
	case FileFullEaInformation:
		return 0, true
	}
	return 0, false
}

// DirMin returns the size of an entry of the class without its name, which is also the least output buffer
// ([MS-FSA] 2.1.5.6.3): a smaller one is nt.InfoLengthMismatch. It is false for classes that list no directory:
// nt.InvalidInfoClass.
func (c FileClass) DirMin() (int, bool) {
	if c == FilePosixInformation {
		return posixEntryLeast, true
	}
	l, ok := dirLayouts[c]
	return l.name, ok
}

// QueryMin is FileClass.QueryMin for filesystems.
func (c FSClass) QueryMin() (int, bool) {
	switch c {
	case FileFsVolumeInformation, FileFsSizeInformation:
		return 24, true
	case FileFsDeviceInformation:
		return 8, true
	case FileFsAttributeInformation:
		return 16, true
	case FileFsControlInformation:
		return 48, true
	case FileFsFullSizeInformation:
		return 32, true
	case FileFsObjectIdInformation:
		return 64, true
	case FileFsSectorSizeInformation:
		return 28, true
	case FileFsPosixInformation:
		return 56, true
	}
	return 0, false
}
