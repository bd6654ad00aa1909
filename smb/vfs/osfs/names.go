package osfs

import "github.com/postern-nas/postern/smb/vfs"

// Names on disk and on the wire; see vfs.NameToWire.

const nameMax = vfs.NameMax

func toWire(disk string) string { return vfs.NameToWire(disk) }

func toDisk(name string) (disk, wire string, err error) { return vfs.NameToDisk(name) }
