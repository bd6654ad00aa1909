package crypt

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
)

// The SMB2 TRANSFORM_HEADER, [MS-SMB2] 2.2.41.
const (
	// TransformLen is the header's length: the room that Seal wants before the plaintext.
	TransformLen = 52
	// TransformSpare is how much capacity after the message saves Seal and Open from moving it.
	TransformSpare = tagLen

	transformID  = 0x424D53FD // 0xFD 'S' 'M' 'B'
	tagLen       = 16
	offTag       = 4
	offNonce     = 20 // from here to the header's end is what is authenticated beside the message
	offSize      = 36
	offEncrypted = 42
	offSession   = 44

	flagEncrypted = 0x0001

	// maxNonce ends a Sealer's life long before its counter could wrap, even with an Add in flight from every
	// goroutine there can be.
	maxNonce = 1 << 63
)

// Errors of Seal and Open. A connection that sees either is over.
var (
	ErrTransform = errors.New("malformed transform header")
	ErrNonces    = errors.New("all nonces of this key are used up")
)

// A Sealer encrypts and decrypts with one key, [MS-SMB2] 3.1.4.3 and 3.3.5.2.1.1. It may be used by many goroutines at
// once. A key must have one sealing Sealer for as long as it lives, whatever number of connections it serves:
// its counter is what keeps nonces from coming twice.
type Sealer struct {
	cipher  Cipher
	gcm     cipher.AEAD // one of the two
	ccm     *ccm
	counter atomic.Uint64
	pool    sync.Pool // of *sealState
}

// A sealState holds what must lie outside the message while that is moved or altered in place.
type sealState struct {
	header [TransformLen]byte
	saved  [tagLen]byte
}

// NewSealer returns a Sealer for a key of c.KeyLen() bytes.
func NewSealer(c Cipher, key []byte) (*Sealer, error) {
	if c.KeyLen() == 0 {
		return nil, fmt.Errorf("%s: no such cipher", c)
	}
	if len(key) != c.KeyLen() {
		return nil, fmt.Errorf("%s: %w: %d bytes", c, ErrKey, len(key))
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	s := &Sealer{cipher: c}
	s.pool.New = func() any { return new(sealState) }
	if c == AES128GCM || c == AES256GCM {
		s.gcm, err = cipher.NewGCM(block)
	} else {
		s.ccm, err = newCCM(block, 11, tagLen)
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Cipher returns the sealer's cipher.
func (s *Sealer) Cipher() Cipher { return s.cipher }

// Seal encrypts buf[TransformLen:], one SMB2 message or compound, in place and fills in the header before it. The
// capacity of buf is the caller's alone meanwhile: what follows buf in it is borrowed and put back. Without
// TransformSpare bytes there GCM costs two moves of the message, as the standard library puts its tag behind.
//
// ErrNonces means that the key is spent and the session has to end; nothing is sealed then.
func (s *Sealer) Seal(buf []byte, sessionID uint64) error {
	if len(buf) < TransformLen || uint64(len(buf)-TransformLen) > math.MaxUint32 {
		return fmt.Errorf("%w: %d bytes to seal", ErrTransform, len(buf))
	}
	// Counting from 1 under a key that seals one direction of one session is unique and says no more about the
	// traffic than MessageIds do. The nonce is 11 bytes for CCM and 12 for GCM; the rest of its field is zero.
	n := s.counter.Add(1)
	if n >= maxNonce {
		return ErrNonces
	}
	h := buf[:TransformLen]
	clear(h)
	binary.LittleEndian.PutUint32(h, transformID)
	binary.LittleEndian.PutUint64(h[offNonce:], n)
	binary.LittleEndian.PutUint32(h[offSize:], uint32(len(buf)-TransformLen))
	binary.LittleEndian.PutUint16(h[offEncrypted:], flagEncrypted)
	binary.LittleEndian.PutUint64(h[offSession:], sessionID)
	s.seal(buf)
	return nil
}

// seal seals under the header that buf begins with, and puts the tag into it.
func (s *Sealer) seal(buf []byte) {
	if s.ccm != nil {
		h, msg := buf[:TransformLen], buf[TransformLen:]
		s.ccm.seal(msg, h[offTag:offNonce], h[offNonce:offNonce+11], msg, h[offNonce:])
		return
	}
	st := s.pool.Get().(*sealState)
	copy(st.header[:], buf)
	s.sealGCM(buf, st)
	s.pool.Put(st)
}

// sealGCM seals buf, whose header is in st too.
func (s *Sealer) sealGCM(buf []byte, st *sealState) {
	nonce, ad := st.header[offNonce:offNonce+12], st.header[offNonce:]
	n := len(buf)
	if cap(buf)-n >= tagLen {
		tag := buf[n : n+tagLen]
		copy(st.saved[:], tag)
		s.gcm.Seal(buf[TransformLen:TransformLen], nonce, buf[TransformLen:], ad)
		copy(buf[offTag:], tag)
		copy(tag, st.saved[:])
		return
	}
	// No room behind, but plenty before: seal a tag's length further up and move back.
	up := TransformLen - tagLen
	copy(buf[up:], buf[TransformLen:])
	s.gcm.Seal(buf[up:up], nonce, buf[up:n-tagLen], ad)
	copy(st.header[offTag:offNonce], buf[n-tagLen:])
	copy(buf[TransformLen:], buf[up:n-tagLen])
	copy(buf, st.header[:])
}

// Open verifies and decrypts buf in place: a whole transformed message as it came, from its header on. plain
// aliases buf and starts at TransformLen (GCM without TransformSpare bytes of capacity: a tag's length before).
// The header is spent. After an error buf holds nothing of use.
func (s *Sealer) Open(buf []byte) (plain []byte, err error) {
	if _, ok := TransformSessionID(buf); !ok {
		return nil, ErrTransform
	}
	if size := binary.LittleEndian.Uint32(buf[offSize:]); uint64(size) != uint64(len(buf)-TransformLen) {
		return nil, fmt.Errorf("%w: %d bytes announced, %d came", ErrTransform, size, len(buf)-TransformLen)
	}
	if flags := binary.LittleEndian.Uint16(buf[offEncrypted:]); flags != flagEncrypted {
		return nil, fmt.Errorf("%w: flags %#x", ErrTransform, flags)
	}
	if s.ccm != nil {
		msg := buf[TransformLen:]
		if err := s.ccm.open(msg, buf[offTag:offNonce], buf[offNonce:offNonce+11], msg, buf[offNonce:TransformLen]); err != nil {
			return nil, err
		}
		return msg, nil
	}
	st := s.pool.Get().(*sealState)
	copy(st.header[:], buf)
	plain, err = s.openGCM(buf, st)
	s.pool.Put(st)
	return plain, err
}

func (s *Sealer) openGCM(buf []byte, st *sealState) ([]byte, error) {
	tag, nonce, ad := st.header[offTag:offNonce], st.header[offNonce:offNonce+12], st.header[offNonce:]
	n := len(buf)
	if cap(buf)-n < tagLen {
		up := TransformLen - tagLen
		copy(buf[up:], buf[TransformLen:])
		copy(buf[n-tagLen:], tag)
		plain, err := s.gcm.Open(buf[up:up], nonce, buf[up:], ad)
		if err != nil {
			return nil, errOpen
		}
		return plain, nil
	}
	spare := buf[n : n+tagLen]
	copy(st.saved[:], spare)
	copy(spare, tag)
	_, err := s.gcm.Open(buf[TransformLen:TransformLen], nonce, buf[TransformLen:n+tagLen], ad)
	copy(spare, st.saved[:])
	if err != nil {
		return nil, errOpen
	}
	return buf[TransformLen:], nil
}

// TransformSessionID returns the SessionId of the transformed message in buf, and whether buf is long enough for
// one and begins with its ProtocolId. Nothing is authentic yet.
func TransformSessionID(buf []byte) (uint64, bool) {
	if len(buf) < TransformLen || binary.LittleEndian.Uint32(buf) != transformID {
		return 0, false
	}
	return binary.LittleEndian.Uint64(buf[offSession:]), true
}
