package bundle

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"aead.dev/minisign"
	"github.com/klauspost/compress/zstd"
)

// maxWindow bounds the decompressor's memory.
const maxWindow = 8 << 20

// A Reader is a bundle as it comes.
type Reader struct {
	Manifest Manifest
	r        io.Reader
}

// NewReader reads up to the image. An error tells why the bundle is refused.
func NewReader(r io.Reader, trusted []minisign.PublicKey) (*Reader, error) {
	b := bufio.NewReader(r)
	document, err := readSigned(b, bundleMagic, trusted)
	if err != nil {
		return nil, err
	}
	m, err := parseManifest(document)
	if err != nil {
		return nil, err
	}
	return &Reader{m, b}, nil
}

// WriteImage reads the rest and writes the image to w. It has been the right one only if there is no error. progress, if
// any, hears after each piece how many of Manifest.Image.Stored bytes are done.
func (r *Reader) WriteImage(w io.Writer, progress func(done int64)) error {
	image := r.Manifest.Image
	stored := &verified{r: r.r, image: image, progress: progress}
	z, err := zstd.NewReader(stored, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		return err
	}
	defer z.Close()
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(w, h), io.LimitReader(z, image.Size+1))
	switch {
	case stored.err != nil: // what the decompressor makes of it says less
		return stored.err
	case err != nil:
		return err
	case n != image.Size || [32]byte(h.Sum(nil)) != image.Sum():
		return ErrDamaged // and signed so
	}
	if _, err := io.Copy(io.Discard, stored); err != nil { // a checksum, at most
		return stored.err
	}
	switch n, err := r.r.Read(make([]byte, 1)); {
	case n > 0:
		return fmt.Errorf("%w: it goes on behind its end", ErrDamaged)
	case err != nil && !errors.Is(err, io.EOF):
		return err
	}
	return nil
}

// verified gives the compressed image, each chunk after its hash was right.
type verified struct {
	r        io.Reader
	image    Image
	progress func(int64)

	next  int   // chunk
	done  int64 // bytes
	ready []byte
	chunk []byte
	err   error
}

func (v *verified) Read(p []byte) (int, error) {
	if len(v.ready) == 0 && v.err == nil {
		if err := v.fill(); err != nil {
			if err == io.EOF {
				return 0, err
			}
			v.err = err
		}
	}
	if v.err != nil {
		return 0, v.err
	}
	n := copy(p, v.ready)
	v.ready = v.ready[n:]
	return n, nil
}

func (v *verified) fill() error {
	if v.next == len(v.image.Chunks) {
		return io.EOF
	}
	if v.chunk == nil {
		v.chunk = make([]byte, chunkSize)
	}
	b := v.chunk[:min(chunkSize, v.image.Stored-v.done)]
	if _, err := io.ReadFull(v.r, b); err != nil {
		return ended(err)
	}
	if sum := sha256.Sum256(b); hex.EncodeToString(sum[:]) != v.image.Chunks[v.next] {
		return ErrDamaged
	}
	v.next++
	v.done += int64(len(b))
	v.ready = b
	if v.progress != nil {
		v.progress(v.done)
	}
	return nil
}
