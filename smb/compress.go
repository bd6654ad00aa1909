package smb

import (
	"context"
	"slices"

	"github.com/postern-nas/postern/smb/compress"
	"github.com/postern-nas/postern/smb/wire"
)

// Compressed messages, [MS-SMB2] 3.1.4.4, 3.1.5.3 and 3.3.5.2.1.2. What is compressed has been signed before, and is
// sealed afterwards.

// Bounds of what is decompressed (SEC-10).
const (
	// maxInflated is the largest OriginalCompressedSegmentSize, [MS-SMB2] 3.3.5.2.1.2: nothing is allocated for more.
	maxInflated = maxIO + 256 + wire.CompressionHeaderSize
	// maxPayloads is how many parts a chained message may have. Windows makes four: the header, a pattern, data, a pattern.
	maxPayloads = 32
)

// maxInflating is how many large messages of one connection are decompressed at a time, or wait for the memory: a hundred
// bytes can ask for 8 MiB, so the memory that they came in is no bound. The reader waits, and the peer with it.
const maxInflating = 4

// What is worth compressing.
const (
	minDeflate = 4 << 10 // a shorter message fits into few packets anyhow
	minMiddle  = 1 << 10 // data between patterns
	minPattern = 64      // bytes that are alike; a payload for them takes 16
	minSaved   = 16      // at least one part in so many has to be saved
)

// compressions is what we prefer, cheapest first: the processor of a NAS is sooner spent than its network. Replies are
// compressed with the first that the client knows, too, and that can be encoded.
var compressions = []uint16{
	wire.CompressionPatternV1, wire.CompressionLZ4, wire.CompressionLZ77, wire.CompressionLZ77Huffman, wire.CompressionLZNT1,
}

var decoders = map[uint16]func(dst, src []byte) error{
	wire.CompressionLZNT1: compress.DecodeLZNT1, wire.CompressionLZ77: compress.DecodeLZ77,
	wire.CompressionLZ77Huffman: compress.DecodeLZ77Huffman, wire.CompressionLZ4: compress.DecodeLZ4,
}

var encoders = map[uint16]func(dst, src []byte) (int, bool){
	wire.CompressionLZ77: compress.EncodeLZ77, wire.CompressionLZ77Huffman: compress.EncodeLZ77Huffman,
	wire.CompressionLZ4: compress.EncodeLZ4,
}

// A compression is what NEGOTIATE agreed on: Connection.CompressionIds and Connection.SupportsChainedCompression.
type compression struct {
	ids     []uint16 // none: no message is compressed
	chained bool
}

// chooseCompression answers with all that both sides know, in our order. Pattern_V1 is of use in a chain only.
func (n *negotiation) chooseCompression(data []byte) error {
	var asked wire.Compression
	if err := asked.Decode(data); err != nil {
		return malformed(err)
	}
	if !n.conn.srv.cfg.Compression {
		return nil
	}
	chosen := wire.Compression{Flags: asked.Flags & wire.CompressionChained}
	n.compression.chained = chosen.Flags != 0
	for _, id := range compressions {
		if slices.Contains(asked.Algorithms, id) && (id != wire.CompressionPatternV1 || n.compression.chained) {
			n.compression.ids = append(n.compression.ids, id)
		}
	}
	if chosen.Algorithms = n.compression.ids; len(chosen.Algorithms) == 0 {
		chosen = wire.Compression{Algorithms: []uint16{wire.CompressionNone}}
	}
	n.add(wire.ContextCompression, &chosen)
	return nil
}

func (p *compression) has(id uint16) bool { return slices.Contains(p.ids, id) }

// inflate returns what the compressed message msg was, in a buffer of its own. What it cannot be made from ends the
// connection.
func (c *conn) inflate(ctx context.Context, msg []byte) (*buffer, error) {
	if len(c.compression.ids) == 0 {
		return nil, drop("compressed message, but compression was not agreed on")
	}
	if !c.known.Load() {
		return nil, drop("compressed message before there is a session")
	}
	var h wire.CompressionHeader
	if err := h.Decode(msg); err != nil {
		return nil, errPeer{err}
	}
	size := uint64(h.OriginalSize)
	if h.Flags&wire.CompressionFlagChained == 0 {
		size += uint64(h.Offset)
	}
	if h.OriginalSize > maxInflated || size > maxFrame || size < wire.HeaderSize {
		return nil, drop("compressed message announces %d bytes behind %d", h.OriginalSize, h.Offset)
	}
	buf, err := c.srv.pool.inflate(ctx, int(size))
	if err != nil {
		return nil, err
	}
	if err := c.compression.unpack(buf.b, msg, &h); err != nil {
		buf.release()
		return nil, err
	}
	return buf, nil
}

// unpack decompresses msg, which h is the header of, into dst, all of it.
func (p *compression) unpack(dst, msg []byte, h *wire.CompressionHeader) error {
	if h.Flags&wire.CompressionFlagChained == 0 {
		data := msg[wire.CompressionHeaderSize:] // Offset has been found to be within
		copy(dst, data[:h.Offset])
		return p.decode(h.Algorithm, dst[h.Offset:], data[h.Offset:])
	}
	if !p.chained {
		return drop("chained message, but chains were not agreed on")
	}
	rest := msg[wire.CompressionChainStart:]
	for n := 0; len(rest) > 0; n++ {
		if n == maxPayloads {
			return drop("more than %d parts in a compressed message", maxPayloads)
		}
		var part wire.CompressionPayload
		var err error
		// Windows leaves whatever was there in the Flags of parts after the first.
		if rest, err = part.Decode(rest); err != nil {
			return errPeer{err}
		}
		var size uint32
		switch part.Algorithm {
		case wire.CompressionNone:
			if size = uint32(len(part.Data)); uint64(size) > uint64(len(dst)) {
				return drop("compressed message is longer than announced")
			}
			copy(dst, part.Data)
		case wire.CompressionPatternV1:
			var pattern wire.PatternV1
			if err := pattern.Decode(part.Data); err != nil {
				return errPeer{err}
			}
			if size = pattern.Repetitions; !p.has(part.Algorithm) || len(part.Data) != wire.PatternV1Size || uint64(size) > uint64(len(dst)) {
				return drop("pattern of %d bytes, not agreed on or longer than announced", size)
			}
			fill(dst[:size], pattern.Pattern)
		default:
			if size = part.OriginalSize; uint64(size) > uint64(len(dst)) {
				return drop("compressed message is longer than announced")
			}
			if err := p.decode(part.Algorithm, dst[:size], part.Data); err != nil {
				return err
			}
		}
		dst = dst[size:]
	}
	if len(dst) > 0 {
		return drop("compressed message is %d bytes shorter than announced", len(dst))
	}
	return nil
}

func (p *compression) decode(id uint16, dst, src []byte) error {
	decode := decoders[id]
	if decode == nil || !p.has(id) {
		return drop("compressed by algorithm %d, which was not agreed on", id)
	}
	if err := decode(dst, src); err != nil {
		return errPeer{err}
	}
	return nil
}

func fill(b []byte, v byte) {
	if len(b) == 0 {
		return
	}
	b[0] = v
	for n := 1; n < len(b); n *= 2 {
		copy(b[n:], b[:n])
	}
}

// decompress goes on with what was inside of a compressed message, which came plain or inside of a seal.
func (f *frame) decompress(msg []byte) error {
	c := f.conn
	buf, err := c.inflate(c.ctx, msg)
	f.in.release()
	f.in = buf
	if err != nil {
		f.release()
		return err
	}
	if [4]byte(buf.b[:4]) != [4]byte{0xFE, 'S', 'M', 'B'} {
		f.release()
		return drop("no SMB2 message inside of a compressed one") // above all no second one
	}
	return c.accept(f, buf.b)
}

// compressReply reports whether the answer may be compressed, [MS-SMB2] 3.3.1.13 Request.CompressReply: to a READ if the
// client asks for it, and to what lists and describes where the share is told to.
func (r *request) compressReply() bool {
	switch r.hdr.Command {
	case wire.CmdRead:
		return r.compress
	case wire.CmdQueryDirectory, wire.CmdQueryInfo, wire.CmdIoctl, wire.CmdChangeNotify:
		return r.tree != nil && r.tree.share.Compress
	}
	return false
}

// deflate compresses the reply in out if that is wanted and pays. It takes over out and returns what is to be sent.
func (f *frame) deflate(out *buffer) *buffer {
	c, msg := f.conn, out.b[headroom:]
	wanted := func(e element) bool { return e.req.compressReply() }
	if len(c.compression.ids) == 0 || len(msg) < minDeflate || !slices.ContainsFunc(f.elements, wanted) {
		return out
	}
	// The reply's own share of memory goes over to the compressed one. While there are both, the second has to be had
	// without waiting: who waits here would hold the first.
	pool, extra := c.srv.pool, int64(len(msg))
	if !pool.replies.TryAcquire(extra) {
		return out
	}
	defer pool.replies.Release(extra)
	packed := pool.get(headroom + len(msg))
	b, ok := c.compression.pack(packed.b[:headroom], msg, wire.HeaderSize+wire.ReadResponseHead)
	if !ok {
		packed.release()
		return out
	}
	packed.b = b
	c.srv.stats.saved.Add(uint64(headroom + len(msg) - len(b)))
	out.release()
	return packed
}

// pack appends msg compressed to b, whose capacity is enough for msg as it is; false if too little is saved. What is
// before head is left as it is.
func (p *compression) pack(b, msg []byte, head int) ([]byte, bool) {
	limit := len(b) + len(msg) - len(msg)/minSaved
	data := msg[head:]
	front, back := 0, 0
	if p.has(wire.CompressionPatternV1) {
		if front = compress.Leading(data); front < minPattern {
			front = 0
		}
		if back = compress.Trailing(data[front:]); back < minPattern {
			back = 0
		}
	}
	middle := data[front : len(data)-back]
	id := uint16(0)
	if i := slices.IndexFunc(p.ids, func(id uint16) bool { return encoders[id] != nil }); i >= 0 && len(middle) >= minMiddle && compress.Worthwhile(middle) {
		id = p.ids[i]
	}
	if !p.chained {
		if id == 0 {
			return nil, false
		}
		h := wire.CompressionHeader{OriginalSize: uint32(len(data)), Algorithm: id, Offset: uint32(head)}
		b = append(h.Append(b), msg[:head]...)
		n, ok := encoders[id](b[len(b):limit], data)
		return b[:len(b)+n], ok
	}
	b = wire.AppendCompressionChain(b, uint32(len(msg)))
	b = (&wire.CompressionPayload{Flags: wire.CompressionFlagChained, Data: msg[:head]}).Append(b)
	if front > 0 {
		b = appendPattern(b, data[0], front)
	}
	if id != 0 {
		at := len(b)
		b = (&wire.CompressionPayload{Algorithm: id, OriginalSize: uint32(len(middle))}).Append(b)
		if n, ok := encoders[id](b[len(b):max(len(b), limit)], middle); ok {
			b = b[:len(b)+n]
			wire.PutCompressionLength(b[at:], uint32(n))
			middle = nil
		} else {
			b = b[:at]
		}
	}
	if len(middle) > 0 {
		if len(b)+len(middle) > limit {
			return nil, false
		}
		b = (&wire.CompressionPayload{Data: middle}).Append(b)
	}
	if back > 0 {
		b = appendPattern(b, msg[len(msg)-1], back)
	}
	return b, len(b) <= limit
}

func appendPattern(b []byte, v byte, n int) []byte {
	var data [wire.PatternV1Size]byte
	(&wire.PatternV1{Pattern: v, Repetitions: uint32(n)}).Append(data[:0])
	return (&wire.CompressionPayload{Algorithm: wire.CompressionPatternV1, Data: data[:]}).Append(b)
}
