package bundle

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strings"
	"unicode"

	"github.com/postern-nas/postern/images"
)

// What a signed document is.
const (
	whatUpdate = "postern update"
	whatFeed   = "postern feed"
)

// Names of the ways to boot, in Manifest.Measured: images.Chain in words.
const (
	ChainEDK2   = "edk2"
	ChainLoader = "edk2+systemd-boot"
	ChainUBoot  = "u-boot"
)

// chunkSize is how many bytes of the compressed image have one hash.
const chunkSize = 1 << 20

// A Release is what an image calls itself.
type Release struct {
	Board string `json:"board"`
	// Number only rises from release to release: a box that has run one installs none below it.
	Number  uint64 `json:"number"`
	Version string `json:"version"` // for people
}

// MaxNumber bounds a release's number. The counter in a TPM that keeps it goes up one by one.
const MaxNumber = 1_000_000

// A Manifest says what a bundle brings.
type Manifest struct {
	What string `json:"what"`
	Release
	Image Image `json:"image"`
	// Measured foretells a TPM's registers in lower-case hexadecimal, by the way to boot and by number: what the running
	// system needs if it is to give its secrets to this one. A way to boot with " " and the name of a device tree behind it is
	// for boxes that the image has a tree for.
	Measured map[string]map[int]string `json:"measured,omitempty"`
	// Approvals are what whoever released this signed for the TPM; package bundle does not look into them.
	Approvals json.RawMessage `json:"approvals,omitempty"`
}

// Foretold is what Measured has for a box that boots by chain, and whose device tree first calls itself tree; "" for none.
func (m Manifest) Foretold(chain, tree string) map[int]string {
	if pcrs, ok := m.Measured[chain+" "+tree]; ok {
		return pcrs
	}
	return m.Measured[chain]
}

// An Image is a file for a slot: how it comes, and what it is.
type Image struct {
	Size   int64    `json:"size"`   // bytes of the file
	SHA256 string   `json:"sha256"` // of the file, lower-case hexadecimal
	Stored int64    `json:"stored"` // bytes as it comes, compressed
	Chunks []string `json:"chunks"` // SHA-256 of each MiB of that
}

// Sum is the image's hash.
func (i Image) Sum() (sum [32]byte) {
	b, _ := hex.DecodeString(i.SHA256) // check has seen it
	copy(sum[:], b)
	return sum
}

// parseManifest reads a manifest that has been verified. Fields that it does not know are for later versions.
func parseManifest(document []byte) (m Manifest, err error) {
	if err := json.Unmarshal(document, &m); err != nil {
		return m, fmt.Errorf("%w: its manifest cannot be read: %v", ErrFormat, err)
	}
	if m.What != whatUpdate {
		return m, fmt.Errorf("%w: what was signed is %q", ErrFormat, m.What)
	}
	if err := m.check(); err != nil {
		return m, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	return m, nil
}

func (m Manifest) check() error {
	i := m.Image
	switch {
	case m.Release.check() != nil:
		return m.Release.check()
	case i.Size <= 0 || i.Size > images.MaxUKI:
		return fmt.Errorf("an image of %d bytes; a slot takes %d", i.Size, images.MaxUKI)
	case i.Stored <= 0 || i.Stored > images.MaxUKI:
		return fmt.Errorf("%d bytes to receive", i.Stored)
	case int64(len(i.Chunks)) != (i.Stored+chunkSize-1)/chunkSize:
		return fmt.Errorf("%d hashes for %d bytes", len(i.Chunks), i.Stored)
	}
	for _, s := range append([]string{i.SHA256}, i.Chunks...) {
		if b, err := hex.DecodeString(s); err != nil || len(b) != sha256.Size {
			return errors.New("a hash that is none")
		}
	}
	return nil
}

// check: the texts reach logs, the panel and the page.
func (r Release) check() error {
	for _, s := range []string{r.Board, r.Version} {
		if s == "" || len(s) > 64 || strings.ContainsFunc(s, func(c rune) bool { return !unicode.IsPrint(c) || c > '~' }) {
			return fmt.Errorf("a name %q", s)
		}
	}
	if r.Number == 0 || r.Number > MaxNumber {
		return fmt.Errorf("the number %d", r.Number)
	}
	return nil
}

// ParseRelease reads what an image says of itself, a Release as JSON.
func ParseRelease(text []byte) (r Release, err error) {
	if err = json.Unmarshal(text, &r); err == nil {
		err = r.check()
	}
	return r, err
}

func (r Release) String() string { return fmt.Sprintf("%s (%d)", r.Version, r.Number) }

// lines yields the lines that say something, with their numbers.
func lines(text string) iter.Seq2[int, string] {
	return func(yield func(int, string) bool) {
		n := 0
		for line := range strings.Lines(text) {
			n++
			line = strings.TrimSpace(line)
			if line == "" || line[0] == '#' || strings.HasPrefix(line, "untrusted comment:") {
				continue
			}
			if !yield(n, line) {
				return
			}
		}
	}
}
