package bundle

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"

	"aead.dev/minisign"
	"github.com/klauspost/compress/zstd"
)

// Write writes a bundle: the image behind what m says of it. m.What and m.Image are filled in. Equal arguments give equal
// bytes.
func Write(w io.Writer, m Manifest, image []byte, key minisign.PrivateKey, endorsed []Endorsement) error {
	stored, err := Compress(image)
	if err != nil {
		return err
	}
	return WriteCompressed(w, m, image, stored, key, endorsed)
}

// Compress compresses an image as bundles have it.
func Compress(image []byte) ([]byte, error) {
	z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderConcurrency(1),
		zstd.WithWindowSize(maxWindow))
	if err != nil {
		return nil, err
	}
	return z.EncodeAll(image, nil), nil
}

// WriteCompressed is Write for an image that Compress has compressed.
func WriteCompressed(w io.Writer, m Manifest, image, stored []byte, key minisign.PrivateKey, endorsed []Endorsement) error {
	hash := func(b []byte) string {
		s := sha256.Sum256(b)
		return hex.EncodeToString(s[:])
	}
	m.What = whatUpdate
	m.Image = Image{Size: int64(len(image)), SHA256: hash(image), Stored: int64(len(stored))}
	for rest := stored; len(rest) > 0; {
		n := min(chunkSize, len(rest))
		m.Image.Chunks = append(m.Image.Chunks, hash(rest[:n]))
		rest = rest[n:]
	}
	if err := m.check(); err != nil {
		return fmt.Errorf("bundle: %w", err)
	}
	document, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if err := writeSigned(w, bundleMagic, key, endorsed, document); err != nil {
		return err
	}
	_, err = io.Copy(w, bytes.NewReader(stored))
	return err
}
