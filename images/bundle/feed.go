package bundle

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"aead.dev/minisign"
)

// A Feed says which updates there are.
type Feed struct {
	What string `json:"what"`
	// Made is when it was signed. Who may withhold newer ones cannot make an old one look fresh.
	Made     time.Time `json:"made"`
	Releases []Offer   `json:"releases"`
}

// An Offer is one update, and where it is.
type Offer struct {
	Release
	URL  string `json:"url"`  // of the bundle; may begin at the feed's own
	Size int64  `json:"size"` // bytes of the bundle
}

const (
	// MaxFeed bounds the whole file.
	MaxFeed   = headSize + maxKeys + maxDocument + maxSignature
	maxOffers = 64
	maxURL    = 1024
)

// ReadFeed reads a feed.
func ReadFeed(r io.Reader, trusted []minisign.PublicKey) (f Feed, err error) {
	document, err := readSigned(r, feedMagic, trusted)
	if err != nil {
		return f, err
	}
	if err := json.Unmarshal(document, &f); err != nil {
		return f, fmt.Errorf("%w: the list cannot be read: %v", ErrFormat, err)
	}
	if f.What != whatFeed || len(f.Releases) > maxOffers {
		return f, fmt.Errorf("%w: what was signed is %q with %d releases", ErrFormat, f.What, len(f.Releases))
	}
	for _, o := range f.Releases {
		if err := o.check(); err != nil {
			return f, fmt.Errorf("%w: %w", ErrFormat, err)
		}
		if o.Size <= 0 || o.URL == "" || len(o.URL) > maxURL {
			return f, fmt.Errorf("%w: a release of %d bytes at %.100q", ErrFormat, o.Size, o.URL)
		}
	}
	return f, nil
}

// Newest is the release with the highest number for a board; false if there is none.
func (f Feed) Newest(board string) (best Offer, ok bool) {
	for _, o := range f.Releases {
		if o.Board == board && o.Number > best.Number {
			best, ok = o, true
		}
	}
	return best, ok
}

// WriteFeed writes a feed. f.What is filled in.
func WriteFeed(w io.Writer, f Feed, key minisign.PrivateKey, endorsed []Endorsement) error {
	f.What = whatFeed
	document, err := json.Marshal(f)
	if err != nil {
		return err
	}
	return writeSigned(w, feedMagic, key, endorsed, document)
}
