package vfs

import "context"

// A Symlinker is a File that may be, or become, a symbolic link. Links are followed by the Volume, as far as they stay
// beneath its root; only an open with How.Reparse is of the link itself.
//
// A target is a relative path with backslashes, in which "." and ".." may stand. Whether something is there does not
// matter.
type Symlinker interface {
	// Target returns where the link leads: NotAReparsePoint if this is none, AccessDenied if it leads to where no client
	// could follow.
	Target(ctx context.Context) (string, error)
	// SetTarget puts a link in the place of the object, which must be a file without contents, a directory without
	// entries (else DirectoryNotEmpty), or a link. It has no other names, and loses this one: what the File is a handle
	// to is nowhere any more. A target outside of the Volume is AccessDenied.
	SetTarget(ctx context.Context, target string) error
	// ClearTarget is the reverse: an empty file in the place of a link.
	ClearTarget(ctx context.Context) error
}

// Linked is a File that a symbolic link may have led to. What protects an object is where it lies, and not who has put a
// link to it where.
type Linked interface {
	File
	// ByLink tells whether any part of the path that it was opened by was a link.
	ByLink() bool
	// Place returns where the object itself is now, by a path without links. AccessDenied is of one that has no such path.
	Place(ctx context.Context) (Path, error)
}
