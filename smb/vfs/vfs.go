// Package vfs is what the server asks of storage: a Volume is one exported tree, a File one open of one object.
//
// It is neutral: no SMB2 message, no session, no share mode. Names come as Paths, never as strings to be joined;
// a Volume resolves them beneath its root and nowhere else. Names are matched as Windows matches them: without
// regard to case, kept as they were written.
//
// Errors are nt.Status (wrapped around their cause) where only storage can tell which is right
// (ObjectNameNotFound or ObjectPathNotFound), and errno otherwise; the server maps those in one place. Whatever
// takes a Path refuses one that is none by [MS-FSCC] 2.1.5, or too long for the storage, as ObjectNameInvalid.
package vfs

import (
	"context"
	"io"
	"os"
	"strings"

	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/fscc"
)

// A Path names an object beneath a Volume's root: components in UTF-8, none for the root itself.
type Path struct {
	Names  []string
	Stream string // a named stream, see Streams; empty for the object itself. A Volume without streams: ObjectNameInvalid
}

// String joins the components with backslashes, for logs and for FileNameInformation. It is never opened.
func (p Path) String() string {
	s := strings.Join(p.Names, `\`)
	if p.Stream != "" {
		s += ":" + p.Stream
	}
	return s
}

// Base returns the last component, or "" for the root.
func (p Path) Base() string {
	if len(p.Names) == 0 {
		return ""
	}
	return p.Names[len(p.Names)-1]
}

// An ID tells objects apart: two opens of one object have equal IDs, and an ID is not another object's while an
// open of it lasts. A named stream has a number besides, which is no other stream's meanwhile.
type ID struct{ Volume, Object, Stream uint64 }

// File returns the ID of the file or directory that a stream is of, and any other ID as it is.
func (id ID) File() ID {
	id.Stream = 0
	return id
}

// A Disposition says what Open does about an object that is there, or is not. The dispositions of [MS-SMB2] 2.2.13
// that replace contents are Open followed by File.Overwrite, because share modes are judged between the two.
type Disposition int

// Dispositions.
const (
	Open   Disposition = iota // there, or ObjectNameNotFound
	Create                    // made, or ObjectNameCollision
	OpenIf                    // opened if there, else made
)

// An Action says what Open did.
type Action int

// Actions.
const (
	Opened Action = iota
	Created
)

// How says how to open.
type How struct {
	Disposition Disposition
	// Access is what the open will be used for, generic bits expanded: a Volume opens for reading, writing, both
	// or neither by it. It does not judge rights; the server has.
	Access dtyp.Access
	// Directory insists on a directory, else NotADirectory; for Create it makes one. NonDirectory insists on
	// anything else, else FileIsADirectory. Both at once are InvalidParameter.
	Directory, NonDirectory bool
	// Reparse opens a symbolic link itself instead of what it points to.
	Reparse bool
	// Attributes are the DOS attributes of an object that is made.
	Attributes uint32
	// WriteThrough makes every WriteAt durable before it returns.
	WriteThrough bool
	// POSIX is for a client that opens the POSIX way: names are matched with regard to case, here and in the File's
	// Rename and Link, and what is made gets the permission bits Mode. A storage that cannot keep names apart that
	// differ in case alone says ObjectNameCollision.
	POSIX bool
	Mode  uint32
	// Admit, if not nil, is asked before an object is made: inside is the security descriptor that is stored with the
	// directory it is to lie in, nil for none. It returns what is stored with the new object, before others can open
	// it, or the error that Open returns instead of making it. It may open what is there. A Volume that keeps no
	// descriptors asks as well, and does not store the answer.
	Admit func(inside []byte) (own []byte, err error)
}

// DOS file attributes, [MS-FSCC] 2.6.
const (
	AttrReadOnly     uint32 = 0x0001
	AttrHidden       uint32 = 0x0002
	AttrSystem       uint32 = 0x0004
	AttrDirectory    uint32 = 0x0010
	AttrArchive      uint32 = 0x0020
	AttrNormal       uint32 = 0x0080
	AttrTemporary    uint32 = 0x0100
	AttrSparse       uint32 = 0x0200
	AttrReparsePoint uint32 = 0x0400
	AttrCompressed   uint32 = 0x0800
	AttrOffline      uint32 = 0x1000
	AttrNotIndexed   uint32 = 0x2000
)

// A Mask selects fields of Attr.
type Mask uint32

// What a client may send as a time to be set besides times, [MS-FSCC] 2.4.7: from now on operations through this
// File leave that time as it is (HoldTime), or change it again (FreeTime). Neither changes its value.
const (
	HoldTime dtyp.Filetime = 1<<64 - 1 // -1
	FreeTime dtyp.Filetime = 1<<64 - 2 // -2
)

// AttrSettable are the attributes that SetAttr and How.Attributes can set; others are ignored there.
const AttrSettable = AttrReadOnly | AttrHidden | AttrSystem | AttrArchive | AttrTemporary | AttrOffline | AttrNotIndexed

// TagSymlink is the ReparseTag of a symbolic link, [MS-FSCC] 2.1.2.1.
const TagSymlink = 0xA000000C

// Fields of Attr.
const (
	WantID Mask = 1 << iota
	WantSize
	WantAlloc
	WantTimes // asking: all four
	WantAttributes
	WantLinks
	SetBirth
	SetAccess
	SetWrite
	SetChange
	WantSecurity // in listings: Entry.Security
	WantEA
	SetMode // the permission bits of Mode, those in ModeBits; NotSupported where there are none
	WantMac // in listings: Entry.FinderInfo and Entry.Fork

	WantAll = WantID | WantSize | WantAlloc | WantTimes | WantAttributes | WantLinks
)

// An Attr is what is known of an object. DOS attributes have AttrDirectory set exactly for directories; no other
// attribute set is 0 here (the server turns it into AttrNormal).
type Attr struct {
	ID         ID
	Size       int64 // end of file; 0 for a directory
	Alloc      int64 // bytes on disk
	Birth      dtyp.Filetime
	Access     dtyp.Filetime
	Write      dtyp.Filetime
	Change     dtyp.Filetime
	Attributes uint32
	Links      uint32
	ReparseTag uint32 // 0xA000000C for a symbolic link, else 0
	EASize     uint32 // of all extended attributes, encoded as fscc.AppendEAs does it

	// What Linux clients see, filled in whatever is wanted; Mode is 0 where the storage knows no such things.
	Mode     uint32 // type and permissions, as st_mode of stat(2)
	UID, GID uint32
}

// Dir reports whether the object is a directory.
func (a Attr) Dir() bool { return a.Attributes&AttrDirectory != 0 }

// An Entry is one name in a directory.
type Entry struct {
	Name     string
	Attr     Attr
	Security []byte // as Security.SecurityDescriptor has it; not nil but empty if that failed

	// What Macs keep: the contents of the stream FinderStream, nil for none or more than FinderMax, and how long
	// ForkStream is. Those of a symbolic link are not looked for.
	FinderInfo []byte
	Fork       int64
}

// Streams of Macs: what Finder keeps of a file, and the resource fork.
const (
	FinderStream = "AFP_AfpInfo"
	FinderMax    = 60 // bytes
	ForkStream   = "AFP_Resource"
)

// A Volume is one exported tree. Its methods may be called by any number of goroutines.
type Volume interface {
	// Open opens or makes the object named by p. What a path's parents lack is ObjectPathNotFound, what its last
	// component lacks ObjectNameNotFound. The root is there, always: to Create it is ObjectNameCollision.
	Open(ctx context.Context, p Path, how How) (File, Action, error)
	// Usage returns the size of the filesystem and what a user may still write, in bytes.
	Usage(ctx context.Context) (total, free int64, err error)
}

// A File is one open of one object. All methods may be called by any number of goroutines, but Close only once and
// last; what comes after it is os.ErrClosed and reaches no other file. ReadAt and WriteAt follow io's contracts, as
// far as How.Access went; WriteAt past the end fills the gap with zeros. Contents are a file's: of a directory to
// read, write, resize or overwrite them is FileIsADirectory. The methods with a context work through any open.
type File interface {
	ID() ID
	io.ReaderAt
	io.WriterAt
	// Attr returns at least the fields in want.
	Attr(ctx context.Context, want Mask) (Attr, error)
	// SetAttr sets exactly the fields in set: WantSize truncates or extends, WantAlloc reserves space (and never
	// moves the end of file up; down when the allocation is below it), WantAttributes replaces the settable DOS
	// attributes, and the Set masks one time each. A time set by the client stays: later writes through this File
	// do not move it ([MS-FSA] 2.1.5.15.2); HoldTime means the same without a change of value. A storage that
	// cannot set the Change time leaves it alone.
	SetAttr(ctx context.Context, a Attr, set Mask) error
	// Overwrite empties the file for FILE_OVERWRITE and FILE_SUPERSEDE: size 0, attributes replaced, archive set; its
	// named streams and extended attributes are gone. Of a stream it empties that one and changes nothing else.
	Overwrite(ctx context.Context, attributes uint32) error
	// ReadDir lists from cookie (0 is the start), "." and ".." first. match (nil: all) is asked before an entry
	// costs anything; want says which fields of Entry.Attr must be right. emit gets the cookie that resumes after
	// the entry and stops the listing by returning false, which leaves that entry for the next call. The listing of
	// entries that are neither added nor removed meanwhile is complete and without repeats. Any cookie may be gone
	// back to. A file has no entries: InvalidParameter.
	ReadDir(ctx context.Context, cookie uint64, match func(name string) bool, want Mask, emit func(next uint64, e Entry) bool) error
	// Path returns where the object is now, in the case it is stored in. Once its name is gone, here and for Rename
	// and Unlink, that is FileDeleted.
	Path(ctx context.Context) (Path, error)
	// Rename moves the object to to, whose parent must exist. With replace a file there is replaced atomically;
	// otherwise it is ObjectNameCollision. Only files are replaced, and only by files; that, and a directory moved
	// into itself, is AccessDenied, and so is moving or removing the root. Changing only the case of a name is a rename.
	Rename(ctx context.Context, to Path, replace bool) error
	// Unlink removes the object's name: the one it was opened by, or was renamed to. A directory with entries is
	// DirectoryNotEmpty. The File stays usable until Close.
	Unlink(ctx context.Context) error
	// Sync makes contents and name durable: when it returns nil they survive a power cut.
	Sync(ctx context.Context) error
	Close() error
}

// A Change is what happened to one name beneath a watched directory.
type Change struct {
	// Action is ActionAdded, ActionRemoved, ActionModified, ActionRenamedOld or ActionRenamedNew: the last two as
	// neighbours, for a name within one directory. Who moves to another directory is removed and added. ChangesLost
	// says that more happened than could be told: look anew.
	Action fscc.Action
	Kind   uint32   // what of it changed, Change bits
	Names  []string // its path from the watched directory; none with ChangesLost. Of a stream: the last is file:stream
}

// ChangesLost is the Action of a Change that stands for unknown others.
const ChangesLost fscc.Action = 0

// Kinds of change; the values are those of a CHANGE_NOTIFY's CompletionFilter, [MS-SMB2] 2.2.35.
const (
	ChangeFileName   uint32 = 0x001
	ChangeDirName    uint32 = 0x002
	ChangeAttributes uint32 = 0x004
	ChangeSize       uint32 = 0x008
	ChangeLastWrite  uint32 = 0x010
	ChangeLastAccess uint32 = 0x020
	ChangeCreation   uint32 = 0x040
	ChangeEA         uint32 = 0x080
	ChangeSecurity   uint32 = 0x100

	ChangeStreamName  uint32 = 0x200
	ChangeStreamSize  uint32 = 0x400
	ChangeStreamWrite uint32 = 0x800
)

// ChangedBy returns the kinds of change that SetAttr with set is.
func ChangedBy(set Mask) (kind uint32) {
	for _, k := range [...]struct {
		set  Mask
		kind uint32
	}{
		{WantSize | WantAlloc, ChangeSize},
		{WantAttributes, ChangeAttributes},
		{SetBirth, ChangeCreation},
		{SetAccess, ChangeLastAccess},
		{SetWrite, ChangeLastWrite},
		{SetMode, ChangeSecurity},
	} {
		if set&k.set != 0 {
			kind |= k.kind
		}
	}
	return kind
}

// A Quota is what an owner's files take and may take, in bytes. Used is ignored when it is set.
type Quota struct {
	Owner            dtyp.SID
	Used             int64
	Threshold, Limit int64 // fscc.NoQuota: none. Above the threshold, who owns too much ought to be told
}

// A QuotaPolicy is what holds for owners without limits of their own.
type QuotaPolicy struct {
	Track, Enforce   bool // whether files are counted, and limits kept to
	Threshold, Limit int64
}

// A StreamInfo is one stream of an object.
type StreamInfo struct {
	Name        string
	Size, Alloc int64
}

// What a File or Volume may offer besides, asked for by assertion.
type (
	// OSFile gives the descriptor behind a file, for sendfile and copy_file_range. It stays the File's own.
	OSFile interface{ OSFile() *os.File }
	// Linker makes another name for the object.
	Linker interface {
		Link(ctx context.Context, to Path, replace bool) error
	}
	// Cloner copies n bytes between two files of volumes of one kind without moving them through us. It may do less than
	// asked, and returns how much it did; 0 without an error is the end of the source. Ranges of one file that
	// overlap, and whatever else the storage cannot do, are NotSupported: those are copied by reading and writing.
	Cloner interface {
		CopyRange(ctx context.Context, dst File, srcOff, dstOff, n int64) (int64, error)
	}
	// Allocator makes holes and tells data from holes.
	Allocator interface {
		// Zero makes [off, off+n) read as zeros, as a hole where it can.
		Zero(ctx context.Context, off, n int64) error
		// Ranges calls emit for each range of [off, off+n) that holds data, until emit returns false.
		Ranges(ctx context.Context, off, n int64, emit func(off, n int64) bool) error
		// SetSparse marks the file sparse or not.
		SetSparse(ctx context.Context, on bool) error
	}
	// Watcher is a directory that tells what changes in it.
	Watcher interface {
		// Watch calls emit for every change of what stands in the directory, or with tree anywhere beneath it, from
		// now until stop returns. Changes of the directory itself are not among them. Those that belong together,
		// such as the two names of a rename, come in one call.
		//
		// A change that is made through this Volume has been told when the operation returns. One that is made
		// behind its back is told soon, if the storage notices such; or both as one, if they are alike and at once.
		//
		// emit is called by one goroutine at a time. It must not block and not call the Volume; it may keep what it
		// gets. stop may be called once, and before the File is closed.
		Watch(tree bool, emit func([]Change)) (stop func(), err error)
	}
	// Security keeps a security descriptor with the object: bytes in the self-relative form of [MS-DTYP] 2.4.6, which
	// a Volume stores and does not judge. They stay with the object whatever its name. Both are NotSupported where
	// the storage keeps none.
	Security interface {
		// SecurityDescriptor returns what is stored, nil for nothing.
		SecurityDescriptor(ctx context.Context) ([]byte, error)
		SetSecurityDescriptor(ctx context.Context, b []byte) error
	}
	// Protector is a Volume that remembers the descriptors of directories.
	Protector interface {
		// Protection returns the descriptor that is stored with the directory that names lead to, or else with the
		// nearest above it, and how many of names lead there: nil and 0 if not even the root has one. It is false if
		// that takes opening them: where it is not remembered, and where links or another case lead.
		Protection(names []string) (b []byte, depth int, ok bool)
	}
	// Streams is a File whose object can have named streams, files and directories alike, [MS-FSA] 2.1.1.5. They stay
	// with the object whatever its name, and go with it.
	//
	// An open stream is a File, too. Size, allocation and contents are its own; Attr's other fields (its ID among them,
	// but not AttrDirectory), the security descriptor and the extended attributes are those of the object, and are set
	// there. Its Path is the object's with the stream's name; Unlink removes the stream alone. A stream has no other
	// names and moves nowhere: Rename and Link are NotSupported.
	//
	// Volume.Open opens a stream by a Path with one: the object must be there, and the disposition is the stream's.
	Streams interface {
		// Streams lists the streams of the object in no order, that of a file without a name among them. NotSupported: the
		// storage keeps none.
		Streams(ctx context.Context) ([]StreamInfo, error)
		// OpenStream opens or makes the stream of the object that is called name, in any case, as Volume.Open does.
		// How.Directory is NotADirectory, and How.Admit is not asked.
		OpenStream(ctx context.Context, name string, how How) (File, Action, error)
	}
	// Stream is a File that is a named stream.
	Stream interface {
		// OfDirectory reports whether the object that the stream is of is a directory.
		OfDirectory() bool
		// RenameStream gives the stream another name within its object. One that has the name is ObjectNameCollision,
		// or with replace it goes if it is empty, and is InvalidParameter if not ([MS-FSA] 2.1.5.15.11).
		RenameStream(ctx context.Context, name string, replace bool) error
	}
	// EAs keeps extended attributes with the object, at most fscc.MaxEATotal of them. Names are matched without regard
	// to case. Both are NotSupported where the storage keeps none.
	EAs interface {
		// EAs returns all of them, in an order that stays while they do; none has an empty value.
		EAs(ctx context.Context) ([]fscc.EA, error)
		// SetEAs sets those of the list in turn; an empty value removes. A name that the Volume keeps for itself is
		// AccessDenied, what does not fit in all EATooLarge: then nothing is changed.
		SetEAs(ctx context.Context, list []fscc.EA) error
	}
	// ObjectIDs keeps an object id with the object, whatever its name, and apart from its extended attributes. It is the
	// storage's only to keep: nothing is found by it. Both are NotSupported where it cannot be kept.
	ObjectIDs interface {
		// ObjectID returns what is stored, nil for nothing.
		ObjectID(ctx context.Context) (*fscc.ObjectID, error)
		// SetObjectID stores id, or with nil removes what is stored. No watch is told ([MS-FSA] 2.1.5.10.1).
		SetObjectID(ctx context.Context, id *fscc.ObjectID) error
	}
	// Quotas is a Volume that counts what the files of each owner take. Who owns a file, and that it does not outgrow the
	// owner's limit, is the storage's affair: what is refused is EDQUOT. All are NotSupported where it does not count.
	Quotas interface {
		QuotaPolicy(ctx context.Context) (QuotaPolicy, error)
		// SetQuotaPolicy is AccessDenied where the policy is set otherwise.
		SetQuotaPolicy(ctx context.Context, p QuotaPolicy) error
		// Quota returns what is counted for an owner: for one that has neither files nor limits, nothing and the defaults.
		Quota(ctx context.Context, owner dtyp.SID) (Quota, error)
		// SetQuota sets an owner's limits; those that are fscc.ForgetQuota become the defaults. Of one that can own nothing
		// it is NoneMapped.
		SetQuota(ctx context.Context, q Quota) error
		// EachQuota calls emit for each owner that has files or limits and comes after the one given (none: all), in an
		// order that stays, until emit returns false.
		EachQuota(ctx context.Context, after dtyp.SID, emit func(Quota) bool) error
	}
	// Statfs is a Volume that knows more of its filesystem than Usage says.
	Statfs interface {
		Statfs(ctx context.Context) (Filesystem, error)
	}
	// Labeled is a Volume with a name and serial number of its own.
	Labeled interface {
		Label() (label string, serial uint32)
	}
)
