package vfs

import "context"

// A Feature is something that a Volume can do if the filesystem under it can.
type Feature uint32

// Features.
const (
	BlockSharing  Feature = 1 << iota // its Files are Sharers that share
	Compression                       // its Files are Compressors that compress
	SymbolicLinks                     // its Files are Symlinkers that make links
)

// What a File or Volume may offer besides, asked for by assertion.
type (
	// Featured is a Volume that says what its filesystem can. The answer does not change.
	Featured interface{ Features() Feature }
	// Sharer lets two files of one volume have blocks in common, until either is written to there.
	Sharer interface {
		// ShareRange makes n bytes of dst those of the source, all or nothing and without a copy: that is how it differs
		// from a Cloner, which copies where blocks cannot be shared. dst does not become longer. What the storage does
		// not share is NotSupported: ranges past either end, or of one file that overlap, among them. Ranges that do not
		// begin and end with blocks are InvalidParameter.
		ShareRange(ctx context.Context, dst File, srcOff, dstOff, n int64) error
	}
	// Compressor has the storage compress what is written to a file, or to what is made in a directory, from now on.
	// AttrCompressed says that it does.
	Compressor interface {
		SetCompressed(ctx context.Context, on bool) error
	}
)
