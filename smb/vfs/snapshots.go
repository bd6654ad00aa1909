package vfs

import (
	"context"
	"time"
)

// Snapshots is a Volume that has been kept as it was at some moments: its previous versions.
type Snapshots interface {
	// Snapshots lists the moments, newest first, to the second and at most MaxSnapshots.
	Snapshots(ctx context.Context) ([]time.Time, error)
	// At returns the Volume as it was at one of them, read-only: what would change it is EROFS, or refused by opening
	// it. Its objects have IDs of their own. done is to be called, once, when all its Files are closed. There being
	// nothing of that moment is ObjectNameNotFound.
	At(ctx context.Context, t time.Time) (v Volume, done func(), err error)
}

// MaxSnapshots is how many previous versions a Volume lists: ten years of daily ones, and what clients make room for.
const MaxSnapshots = 4096
