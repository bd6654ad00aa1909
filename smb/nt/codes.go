package nt

// The statuses that Postern speaks of, in the order of their values.
const (
	Success                     Status = 0x00000000
	Pending                     Status = 0x00000103
	MoreEntries                 Status = 0x00000105
	SomeNotMapped               Status = 0x00000107
	OplockBreakInProgress       Status = 0x00000108
	NotifyCleanup               Status = 0x0000010B
	NotifyEnumDir               Status = 0x0000010C
	BufferOverflow              Status = 0x80000005
	NoMoreFiles                 Status = 0x80000006
	NoMoreEAs                   Status = 0x80000012
	InvalidEAName               Status = 0x80000013
	EAListInconsistent          Status = 0x80000014
	NoMoreEntries               Status = 0x8000001A
	StoppedOnSymlink            Status = 0x8000002D
	Unsuccessful                Status = 0xC0000001
	NotImplemented              Status = 0xC0000002
	InvalidInfoClass            Status = 0xC0000003
	InfoLengthMismatch          Status = 0xC0000004
	InvalidHandle               Status = 0xC0000008
	InvalidParameter            Status = 0xC000000D
	NoSuchDevice                Status = 0xC000000E
	NoSuchFile                  Status = 0xC000000F
	InvalidDeviceRequest        Status = 0xC0000010
	EndOfFile                   Status = 0xC0000011
	InvalidViewSize             Status = 0xC000001F
	MoreProcessingRequired      Status = 0xC0000016
	NoMemory                    Status = 0xC0000017
	AccessDenied                Status = 0xC0000022
	BufferTooSmall              Status = 0xC0000023
	ObjectTypeMismatch          Status = 0xC0000024
	ObjectNameInvalid           Status = 0xC0000033
	ObjectNameNotFound          Status = 0xC0000034
	ObjectNameCollision         Status = 0xC0000035
	PortDisconnected            Status = 0xC0000037
	ObjectPathInvalid           Status = 0xC0000039
	ObjectPathNotFound          Status = 0xC000003A
	ObjectPathSyntaxBad         Status = 0xC000003B
	DataError                   Status = 0xC000003E
	CrcError                    Status = 0xC000003F
	SharingViolation            Status = 0xC0000043
	QuotaExceeded               Status = 0xC0000044
	EAsNotSupported             Status = 0xC000004F
	EATooLarge                  Status = 0xC0000050
	NonexistentEAEntry          Status = 0xC0000051
	NoEAsOnFile                 Status = 0xC0000052
	FileLockConflict            Status = 0xC0000054
	LockNotGranted              Status = 0xC0000055
	DeletePending               Status = 0xC0000056
	InvalidOwner                Status = 0xC000005A
	InvalidPrimaryGroup         Status = 0xC000005B
	PrivilegeNotHeld            Status = 0xC0000061
	NoSuchUser                  Status = 0xC0000064
	NoSuchGroup                 Status = 0xC0000066
	WrongPassword               Status = 0xC000006A
	LogonFailure                Status = 0xC000006D
	AccountRestriction          Status = 0xC000006E
	InvalidLogonHours           Status = 0xC000006F
	InvalidWorkstation          Status = 0xC0000070
	PasswordExpired             Status = 0xC0000071
	AccountDisabled             Status = 0xC0000072
	NoneMapped                  Status = 0xC0000073
	InvalidACL                  Status = 0xC0000077
	InvalidSID                  Status = 0xC0000078
	InvalidSecurityDescr        Status = 0xC0000079
	RangeNotLocked              Status = 0xC000007E
	DiskFull                    Status = 0xC000007F
	InsufficientResources       Status = 0xC000009A
	MediaWriteProtected         Status = 0xC00000A2
	BadImpersonationLevel       Status = 0xC00000A5
	InstanceNotAvailable        Status = 0xC00000AB
	PipeNotAvailable            Status = 0xC00000AC
	InvalidPipeState            Status = 0xC00000AD
	PipeBusy                    Status = 0xC00000AE
	PipeDisconnected            Status = 0xC00000B0
	PipeClosing                 Status = 0xC00000B1
	IOTimeout                   Status = 0xC00000B5
	FileForcedClosed            Status = 0xC00000B6
	FileIsADirectory            Status = 0xC00000BA
	NotSupported                Status = 0xC00000BB
	DuplicateName               Status = 0xC00000BD
	BadNetworkPath              Status = 0xC00000BE
	NetworkNameDeleted          Status = 0xC00000C9
	NetworkAccessDenied         Status = 0xC00000CA
	BadNetworkName              Status = 0xC00000CC
	TooManySessions             Status = 0xC00000CE
	RequestNotAccepted          Status = 0xC00000D0
	NotSameDevice               Status = 0xC00000D4
	NoSecurityOnObject          Status = 0xC00000D7
	PipeEmpty                   Status = 0xC00000D9
	NoSuchDomain                Status = 0xC00000DF
	OplockNotGranted            Status = 0xC00000E2
	InvalidOplockProtocol       Status = 0xC00000E3
	InternalError               Status = 0xC00000E5
	UnexpectedIOError           Status = 0xC00000E9
	DirectoryNotEmpty           Status = 0xC0000101
	NotADirectory               Status = 0xC0000103
	NameTooLong                 Status = 0xC0000106
	TooManyOpenedFiles          Status = 0xC000011F
	Cancelled                   Status = 0xC0000120
	CannotDelete                Status = 0xC0000121
	FileDeleted                 Status = 0xC0000123
	FileClosed                  Status = 0xC0000128
	InvalidLevel                Status = 0xC0000148
	PipeBroken                  Status = 0xC000014B
	NoSuchAlias                 Status = 0xC0000151
	LogonTypeNotGranted         Status = 0xC000015B
	InvalidDeviceState          Status = 0xC0000184
	IODeviceError               Status = 0xC0000185
	AccountExpired              Status = 0xC0000193
	FSDriverRequired            Status = 0xC000019C
	InvalidLockRange            Status = 0xC00001A1
	NoUserSessionKey            Status = 0xC0000202
	UserSessionDeleted          Status = 0xC0000203
	InsufficientServerResources Status = 0xC0000205
	InvalidBufferSize           Status = 0xC0000206
	PasswordMustChange          Status = 0xC0000224
	NotFound                    Status = 0xC0000225
	DuplicateObjectID           Status = 0xC000022A
	AccountLockedOut            Status = 0xC0000234
	UserMappedFile              Status = 0xC0000243
	PathNotCovered              Status = 0xC0000257
	TooManyLinks                Status = 0xC0000265
	DFSUnavailable              Status = 0xC000026D
	VolumeDismounted            Status = 0xC000026E
	NotAReparsePoint            Status = 0xC0000275
	IOReparseTagInvalid         Status = 0xC0000276
	IOReparseTagMismatch        Status = 0xC0000277
	IOReparseDataInvalid        Status = 0xC0000278
	IOReparseTagNotHandled      Status = 0xC0000279
	VolumeNotUpgraded           Status = 0xC000029C
	ObjectIDNotFound            Status = 0xC00002F0
	NetworkSessionExpired       Status = 0xC000035C
	RequestOutOfSequence        Status = 0xC000042A
	FileNotAvailable            Status = 0xC0000467
	ReparsePointEncountered     Status = 0xC000050B
	FileTooLarge                Status = 0xC0000904
	InvalidSignature            Status = 0xC000A000
	SMBNoPreauthHashOverlap     Status = 0xC05D0000
	SMBBadCluster               Status = 0xC05D0001
)

var names = map[Status]string{
	Success:                     "STATUS_SUCCESS",
	Pending:                     "STATUS_PENDING",
	MoreEntries:                 "STATUS_MORE_ENTRIES",
	SomeNotMapped:               "STATUS_SOME_NOT_MAPPED",
	OplockBreakInProgress:       "STATUS_OPLOCK_BREAK_IN_PROGRESS",
	NotifyCleanup:               "STATUS_NOTIFY_CLEANUP",
	NotifyEnumDir:               "STATUS_NOTIFY_ENUM_DIR",
	BufferOverflow:              "STATUS_BUFFER_OVERFLOW",
	NoMoreFiles:                 "STATUS_NO_MORE_FILES",
	NoMoreEAs:                   "STATUS_NO_MORE_EAS",
	InvalidEAName:               "STATUS_INVALID_EA_NAME",
	EAListInconsistent:          "STATUS_EA_LIST_INCONSISTENT",
	NoMoreEntries:               "STATUS_NO_MORE_ENTRIES",
	StoppedOnSymlink:            "STATUS_STOPPED_ON_SYMLINK",
	Unsuccessful:                "STATUS_UNSUCCESSFUL",
	NotImplemented:              "STATUS_NOT_IMPLEMENTED",
	InvalidInfoClass:            "STATUS_INVALID_INFO_CLASS",
	InfoLengthMismatch:          "STATUS_INFO_LENGTH_MISMATCH",
	InvalidHandle:               "STATUS_INVALID_HANDLE",
	InvalidParameter:            "STATUS_INVALID_PARAMETER",
	NoSuchDevice:                "STATUS_NO_SUCH_DEVICE",
	NoSuchFile:                  "STATUS_NO_SUCH_FILE",
	InvalidDeviceRequest:        "STATUS_INVALID_DEVICE_REQUEST",
	EndOfFile:                   "STATUS_END_OF_FILE",
	InvalidViewSize:             "STATUS_INVALID_VIEW_SIZE",
	MoreProcessingRequired:      "STATUS_MORE_PROCESSING_REQUIRED",
	NoMemory:                    "STATUS_NO_MEMORY",
	AccessDenied:                "STATUS_ACCESS_DENIED",
	BufferTooSmall:              "STATUS_BUFFER_TOO_SMALL",
	ObjectTypeMismatch:          "STATUS_OBJECT_TYPE_MISMATCH",
	ObjectNameInvalid:           "STATUS_OBJECT_NAME_INVALID",
	ObjectNameNotFound:          "STATUS_OBJECT_NAME_NOT_FOUND",
	ObjectNameCollision:         "STATUS_OBJECT_NAME_COLLISION",
	PortDisconnected:            "STATUS_PORT_DISCONNECTED",
	ObjectPathInvalid:           "STATUS_OBJECT_PATH_INVALID",
	ObjectPathNotFound:          "STATUS_OBJECT_PATH_NOT_FOUND",
	ObjectPathSyntaxBad:         "STATUS_OBJECT_PATH_SYNTAX_BAD",
	DataError:                   "STATUS_DATA_ERROR",
	CrcError:                    "STATUS_CRC_ERROR",
	SharingViolation:            "STATUS_SHARING_VIOLATION",
	QuotaExceeded:               "STATUS_QUOTA_EXCEEDED",
	EAsNotSupported:             "STATUS_EAS_NOT_SUPPORTED",
	EATooLarge:                  "STATUS_EA_TOO_LARGE",
	NonexistentEAEntry:          "STATUS_NONEXISTENT_EA_ENTRY",
	NoEAsOnFile:                 "STATUS_NO_EAS_ON_FILE",
	FileLockConflict:            "STATUS_FILE_LOCK_CONFLICT",
	LockNotGranted:              "STATUS_LOCK_NOT_GRANTED",
	DeletePending:               "STATUS_DELETE_PENDING",
	InvalidOwner:                "STATUS_INVALID_OWNER",
	InvalidPrimaryGroup:         "STATUS_INVALID_PRIMARY_GROUP",
	PrivilegeNotHeld:            "STATUS_PRIVILEGE_NOT_HELD",
	NoSuchUser:                  "STATUS_NO_SUCH_USER",
	NoSuchGroup:                 "STATUS_NO_SUCH_GROUP",
	WrongPassword:               "STATUS_WRONG_PASSWORD",
	LogonFailure:                "STATUS_LOGON_FAILURE",
	AccountRestriction:          "STATUS_ACCOUNT_RESTRICTION",
	InvalidLogonHours:           "STATUS_INVALID_LOGON_HOURS",
	InvalidWorkstation:          "STATUS_INVALID_WORKSTATION",
	PasswordExpired:             "STATUS_PASSWORD_EXPIRED",
	AccountDisabled:             "STATUS_ACCOUNT_DISABLED",
	NoneMapped:                  "STATUS_NONE_MAPPED",
	InvalidACL:                  "STATUS_INVALID_ACL",
	InvalidSID:                  "STATUS_INVALID_SID",
	InvalidSecurityDescr:        "STATUS_INVALID_SECURITY_DESCR",
	RangeNotLocked:              "STATUS_RANGE_NOT_LOCKED",
	DiskFull:                    "STATUS_DISK_FULL",
	InsufficientResources:       "STATUS_INSUFFICIENT_RESOURCES",
	MediaWriteProtected:         "STATUS_MEDIA_WRITE_PROTECTED",
	BadImpersonationLevel:       "STATUS_BAD_IMPERSONATION_LEVEL",
	InstanceNotAvailable:        "STATUS_INSTANCE_NOT_AVAILABLE",
	PipeNotAvailable:            "STATUS_PIPE_NOT_AVAILABLE",
	InvalidPipeState:            "STATUS_INVALID_PIPE_STATE",
	PipeBusy:                    "STATUS_PIPE_BUSY",
	PipeDisconnected:            "STATUS_PIPE_DISCONNECTED",
	PipeClosing:                 "STATUS_PIPE_CLOSING",
	IOTimeout:                   "STATUS_IO_TIMEOUT",
	FileForcedClosed:            "STATUS_FILE_FORCED_CLOSED",
	FileIsADirectory:            "STATUS_FILE_IS_A_DIRECTORY",
	NotSupported:                "STATUS_NOT_SUPPORTED",
	DuplicateName:               "STATUS_DUPLICATE_NAME",
	BadNetworkPath:              "STATUS_BAD_NETWORK_PATH",
	NetworkNameDeleted:          "STATUS_NETWORK_NAME_DELETED",
	NetworkAccessDenied:         "STATUS_NETWORK_ACCESS_DENIED",
	BadNetworkName:              "STATUS_BAD_NETWORK_NAME",
	TooManySessions:             "STATUS_TOO_MANY_SESSIONS",
	RequestNotAccepted:          "STATUS_REQUEST_NOT_ACCEPTED",
	NotSameDevice:               "STATUS_NOT_SAME_DEVICE",
	NoSecurityOnObject:          "STATUS_NO_SECURITY_ON_OBJECT",
	PipeEmpty:                   "STATUS_PIPE_EMPTY",
	NoSuchDomain:                "STATUS_NO_SUCH_DOMAIN",
	OplockNotGranted:            "STATUS_OPLOCK_NOT_GRANTED",
	InvalidOplockProtocol:       "STATUS_INVALID_OPLOCK_PROTOCOL",
	InternalError:               "STATUS_INTERNAL_ERROR",
	UnexpectedIOError:           "STATUS_UNEXPECTED_IO_ERROR",
	DirectoryNotEmpty:           "STATUS_DIRECTORY_NOT_EMPTY",
	NotADirectory:               "STATUS_NOT_A_DIRECTORY",
	NameTooLong:                 "STATUS_NAME_TOO_LONG",
	TooManyOpenedFiles:          "STATUS_TOO_MANY_OPENED_FILES",
	Cancelled:                   "STATUS_CANCELLED",
	CannotDelete:                "STATUS_CANNOT_DELETE",
	FileDeleted:                 "STATUS_FILE_DELETED",
	FileClosed:                  "STATUS_FILE_CLOSED",
	InvalidLevel:                "STATUS_INVALID_LEVEL",
	PipeBroken:                  "STATUS_PIPE_BROKEN",
	NoSuchAlias:                 "STATUS_NO_SUCH_ALIAS",
	LogonTypeNotGranted:         "STATUS_LOGON_TYPE_NOT_GRANTED",
	InvalidDeviceState:          "STATUS_INVALID_DEVICE_STATE",
	IODeviceError:               "STATUS_IO_DEVICE_ERROR",
	AccountExpired:              "STATUS_ACCOUNT_EXPIRED",
	FSDriverRequired:            "STATUS_FS_DRIVER_REQUIRED",
	InvalidLockRange:            "STATUS_INVALID_LOCK_RANGE",
	NoUserSessionKey:            "STATUS_NO_USER_SESSION_KEY",
	UserSessionDeleted:          "STATUS_USER_SESSION_DELETED",
	InsufficientServerResources: "STATUS_INSUFF_SERVER_RESOURCES",
	InvalidBufferSize:           "STATUS_INVALID_BUFFER_SIZE",
	PasswordMustChange:          "STATUS_PASSWORD_MUST_CHANGE",
	NotFound:                    "STATUS_NOT_FOUND",
	DuplicateObjectID:           "STATUS_DUPLICATE_OBJECTID",
	AccountLockedOut:            "STATUS_ACCOUNT_LOCKED_OUT",
	UserMappedFile:              "STATUS_USER_MAPPED_FILE",
	PathNotCovered:              "STATUS_PATH_NOT_COVERED",
	TooManyLinks:                "STATUS_TOO_MANY_LINKS",
	DFSUnavailable:              "STATUS_DFS_UNAVAILABLE",
	VolumeDismounted:            "STATUS_VOLUME_DISMOUNTED",
	NotAReparsePoint:            "STATUS_NOT_A_REPARSE_POINT",
	IOReparseTagInvalid:         "STATUS_IO_REPARSE_TAG_INVALID",
	IOReparseTagMismatch:        "STATUS_IO_REPARSE_TAG_MISMATCH",
	IOReparseDataInvalid:        "STATUS_IO_REPARSE_DATA_INVALID",
	IOReparseTagNotHandled:      "STATUS_IO_REPARSE_TAG_NOT_HANDLED",
	VolumeNotUpgraded:           "STATUS_VOLUME_NOT_UPGRADED",
	ObjectIDNotFound:            "STATUS_OBJECTID_NOT_FOUND",
	NetworkSessionExpired:       "STATUS_NETWORK_SESSION_EXPIRED",
	RequestOutOfSequence:        "STATUS_REQUEST_OUT_OF_SEQUENCE",
	FileNotAvailable:            "STATUS_FILE_NOT_AVAILABLE",
	ReparsePointEncountered:     "STATUS_REPARSE_POINT_ENCOUNTERED",
	FileTooLarge:                "STATUS_FILE_TOO_LARGE",
	InvalidSignature:            "STATUS_INVALID_SIGNATURE",
	SMBNoPreauthHashOverlap:     "STATUS_SMB_NO_PREAUTH_INTEGRITY_HASH_OVERLAP",
	SMBBadCluster:               "STATUS_SMB_BAD_CLUSTER_DIALECT",
}
