package compress

import (
	"encoding/binary"
	"math/bits"
	"slices"
	"sync"
)

// LZ77+Huffman, [MS-XCA] 2.1 and 2.2: blocks that stand for 64 KiB each (the last for what is left). A block begins with
// the lengths of 512 symbols' codes, four bits each. Symbols below 256 are literals. The others are matches: four bits
// of length and four that say how many bits of distance follow; 256 alone ends the last block.
//
// Codes are read from 16-bit words, from the top bit on, of which two are read ahead. Longer lengths are whole bytes
// between the words, wherever the reader has got to by then.
const (
	huffBlock   = 1 << 16
	huffTable   = 256
	huffSymbols = 512
	huffEnd     = 256
	huffMax     = 15 // bits in a code
	huffFast    = 11 // bits that are looked up at once
	huffWindow  = 1<<16 - 1
)

// A huffDecoder is one block's codes.
type huffDecoder struct {
	fast   [1 << huffFast]uint16 // by the next bits: the symbol, and in the low four bits the code's length; 0: longer
	limit  [huffMax + 1]uint32   // by length: the first code that is longer, as 15 bits
	offset [huffMax + 1]int32    // by length: added to a code it gives the place in sorted
	sorted [huffSymbols]uint16   // symbols by length, then by value
}

// init reads the lengths. It reports false if they ask for more codes than there are.
func (d *huffDecoder) init(table []byte) bool {
	var count [huffMax + 1]int32
	for _, b := range table[:huffTable] {
		count[b&15]++
		count[b>>4]++
	}
	count[0] = 0
	var place [huffMax + 1]int32
	code, at := uint32(0), int32(0)
	for n := 1; n <= huffMax; n++ {
		code <<= 1
		d.offset[n] = at - int32(code)
		place[n] = at
		at += count[n]
		code += uint32(count[n])
		if code > 1<<n {
			return false
		}
		d.limit[n] = code << (huffMax - n)
	}
	for symbol := range huffSymbols {
		if n := table[symbol/2] >> (symbol % 2 * 4) & 15; n > 0 {
			d.sorted[place[n]] = uint16(symbol)
			place[n]++
		}
	}
	filled, next := 0, int32(0)
	for n := 1; n <= huffFast; n++ {
		for range count[n] {
			entry := d.sorted[next]<<4 | uint16(n)
			next++
			for range 1 << (huffFast - n) {
				d.fast[filled] = entry
				filled++
			}
		}
	}
	clear(d.fast[filled:])
	return true
}

// slow finds a code of more than huffFast bits; 0 if there is none.
func (d *huffDecoder) slow(next15 uint32) uint16 {
	for n := huffFast + 1; n <= huffMax; n++ {
		if next15 < d.limit[n] {
			return d.sorted[int32(next15>>(huffMax-n))+d.offset[n]]<<4 | uint16(n)
		}
	}
	return 0
}

// DecodeLZ77Huffman decodes LZ77+Huffman that fills dst.
func DecodeLZ77Huffman(dst, src []byte) error {
	var d huffDecoder
	in, out := 0, 0
	for in == 0 || out < len(dst) {
		if len(src)-in < huffTable+4 || !d.init(src[in:]) {
			return ErrCorrupt
		}
		in += huffTable
		var ok bool
		if in, out, ok = d.block(dst, src, in, out); !ok {
			return ErrCorrupt
		}
	}
	if in != len(src) {
		return ErrCorrupt
	}
	return nil
}

// block decodes one block into dst from out on.
func (d *huffDecoder) block(dst, src []byte, in, out int) (nextIn, nextOut int, ok bool) {
	next := uint32(binary.LittleEndian.Uint16(src[in:]))<<16 | uint32(binary.LittleEndian.Uint16(src[in+2:]))
	in += 4
	extra := 16 // bits in next beyond the 16 that there are always
	end := out + min(huffBlock, len(dst)-out)
	for {
		if out >= end && out < len(dst) {
			return in, out, true
		}
		entry := d.fast[next>>(32-huffFast)]
		if entry == 0 {
			if entry = d.slow(next >> (32 - huffMax)); entry == 0 {
				return in, out, false
			}
		}
		n := int(entry & 15)
		next <<= n
		if extra -= n; extra < 0 {
			if len(src)-in < 2 {
				return in, out, false
			}
			next |= uint32(binary.LittleEndian.Uint16(src[in:])) << -extra
			in, extra = in+2, extra+16
		}
		symbol := int(entry >> 4)
		if out == len(dst) { // only the end is left
			return in, out, symbol == huffEnd
		}
		if symbol < 256 {
			dst[out] = byte(symbol)
			out++
			continue
		}
		length, distanceBits := uint64(symbol&15), symbol>>4&15
		if length == 15 {
			if length, in, ok = longLength(src, in, 15); !ok {
				return in, out, false
			}
			length += 15
		}
		length += 3
		distance := 1<<distanceBits + int(next>>1>>(31-distanceBits))
		next <<= distanceBits
		if extra -= distanceBits; extra < 0 {
			if len(src)-in < 2 {
				return in, out, false
			}
			next |= uint32(binary.LittleEndian.Uint16(src[in:])) << -extra
			in, extra = in+2, extra+16
		}
		if distance > out || length > uint64(len(dst)-out) {
			return in, out, false
		}
		repeat(dst, out, distance, int(length))
		out += int(length)
	}
}

// A huffSequence is literals and the match behind them; without a match at the end of a block.
type huffSequence struct{ literals, length, distance int32 }

// A huffEncoder is what encoding a block takes: too much for a stack.
type huffEncoder struct {
	sequences [huffBlock/minMatch + 1]huffSequence
	counts    [huffSymbols]uint32
	lengths   [huffSymbols]uint8
	codes     [huffSymbols]uint16
	leaves    [huffSymbols]uint32 // symbols in order of their counts
	nodes     [2 * huffSymbols]huffNode
}

type huffNode struct {
	count  uint32
	parent uint16
}

var huffEncoders = sync.Pool{New: func() any { return new(huffEncoder) }}

// EncodeLZ77Huffman encodes src as LZ77+Huffman.
func EncodeLZ77Huffman(dst, src []byte) (int, bool) {
	f, ok := newFinder(src, huffWindow)
	if !ok {
		return 0, false
	}
	defer f.close()
	e := huffEncoders.Get().(*huffEncoder)
	defer huffEncoders.Put(e)
	out := 0
	for start := 0; ; {
		if out, start, ok = e.block(dst, out, src, start, f); !ok {
			return 0, false
		}
		if start == len(src) {
			return out, true
		}
	}
}

// block encodes what begins at start, and returns where that ends: a match may go beyond the block.
func (e *huffEncoder) block(dst []byte, out int, src []byte, start int, f *finder) (nextOut, end int, ok bool) {
	clear(e.counts[:])
	stop, end := min(start+huffBlock, len(src)), start
	n, size := 0, 0 // sequences; bits, without codes
	for end < stop {
		m, length, distance := f.next(stop, len(src))
		for _, b := range src[end:m] {
			e.counts[b]++
		}
		e.sequences[n] = huffSequence{int32(m - end), int32(length), int32(distance)}
		n++
		if length > 0 {
			symbol, distanceBits := huffSymbol(length, distance)
			e.counts[symbol]++
			size += distanceBits
			if length-3 >= 15 {
				size += 7 * 8
			}
		}
		end = m + length
	}
	if end == len(src) {
		e.counts[huffEnd]++
	}
	e.assign()
	for symbol, count := range e.counts {
		size += int(count) * int(e.lengths[symbol])
	}
	if len(dst)-out < huffTable+size/8+8 {
		return 0, 0, false
	}
	for i := range huffTable {
		dst[out+i] = e.lengths[2*i] | e.lengths[2*i+1]<<4
	}
	w := newHuffWriter(dst, out+huffTable)
	at := start
	for _, s := range e.sequences[:n] {
		for _, b := range src[at : at+int(s.literals)] {
			w.put(int(e.lengths[b]), uint32(e.codes[b]))
		}
		if at += int(s.literals); s.length == 0 {
			break
		}
		symbol, distanceBits := huffSymbol(int(s.length), int(s.distance))
		w.put(int(e.lengths[symbol]), uint32(e.codes[symbol]))
		if length := int(s.length) - 3; length >= 15 {
			w.out = putLongLength(dst, w.out, length-15, 15)
		}
		w.put(distanceBits, uint32(s.distance)&(1<<distanceBits-1))
		at += int(s.length)
	}
	if end == len(src) {
		w.put(int(e.lengths[huffEnd]), uint32(e.codes[huffEnd]))
	}
	return w.flush(), end, true
}

// huffSymbol returns a match's symbol and how many bits of distance follow it.
func huffSymbol(length, distance int) (symbol, distanceBits int) {
	distanceBits = bits.Len(uint(distance)) - 1
	return 256 | distanceBits<<4 | min(length-3, 15), distanceBits
}

// assign gives each symbol that occurs a code, short ones to those that occur often.
func (e *huffEncoder) assign() {
	used := e.leaves[:0]
	for symbol, n := range e.counts {
		if n > 0 {
			used = append(used, uint32(symbol))
		}
	}
	e.lengths = [huffSymbols]uint8{}
	switch len(used) {
	case 0:
		return
	case 1: // a tree needs two; who decodes may insist that it is whole
		e.lengths[used[0]] = 1
		e.lengths[used[0]^1] = 1
		e.number()
		return
	}
	slices.SortStableFunc(used, func(a, b uint32) int { return int(e.counts[a]) - int(e.counts[b]) })
	// Counts that would make a code too long are made more alike, and it is tried again. It ends: with all of them 1
	// no code is longer than 9 bits.
	for shift := 0; !e.tree(used, shift); shift++ {
	}
	e.number()
}

// tree finds the lengths by Huffman's way, with counts shifted down but not to zero. Leaves are in order of counts and
// inner nodes come about in order, so that the smallest two are always in front.
func (e *huffEncoder) tree(used []uint32, shift int) bool {
	n := len(used)
	for i, symbol := range used {
		e.nodes[i].count = max(e.counts[symbol]>>shift, 1)
	}
	leaf, inner := 0, n
	for next := n; next < 2*n-1; next++ {
		sum := uint32(0)
		for range 2 {
			i := leaf
			if leaf == n || inner < next && e.nodes[inner].count < e.nodes[leaf].count {
				i = inner
				inner++
			} else {
				leaf++
			}
			sum += e.nodes[i].count
			e.nodes[i].parent = uint16(next)
		}
		e.nodes[next].count = sum
	}
	// From the root down a node's depth takes the place of its count.
	e.nodes[2*n-2].count = 0
	for i := 2*n - 3; i >= 0; i-- {
		e.nodes[i].count = e.nodes[e.nodes[i].parent].count + 1
		if i < n {
			if e.nodes[i].count > huffMax {
				return false
			}
			e.lengths[used[i]] = uint8(e.nodes[i].count)
		}
	}
	return true
}

// number hands out the codes: by length, then by symbol.
func (e *huffEncoder) number() {
	var next [huffMax + 2]uint16
	for _, n := range e.lengths {
		if n > 0 {
			next[n+1]++
		}
	}
	for n := 1; n <= huffMax; n++ {
		next[n] = next[n-1]<<1 + next[n]<<1
	}
	for symbol, n := range e.lengths {
		if n > 0 {
			e.codes[symbol] = next[n]
			next[n]++
		}
	}
}

// A huffWriter puts bits where a reader that is two words ahead finds them.
type huffWriter struct {
	dst           []byte
	first, second int // where the word being filled goes, and the one after it
	out           int // where the next byte goes
	bits          uint32
	free          int // in the word being filled
}

func newHuffWriter(dst []byte, out int) huffWriter {
	return huffWriter{dst: dst, first: out, second: out + 2, out: out + 4, free: 16}
}

func (w *huffWriter) put(n int, v uint32) {
	if w.free >= n {
		w.free -= n
		w.bits = w.bits<<n | v
		return
	}
	rest := n - w.free
	binary.LittleEndian.PutUint16(w.dst[w.first:], uint16(w.bits<<w.free|v>>rest))
	w.first, w.second, w.out = w.second, w.out, w.out+2
	w.bits, w.free = v&(1<<rest-1), 16-rest
}

// flush returns where the block ends.
func (w *huffWriter) flush() int {
	binary.LittleEndian.PutUint16(w.dst[w.first:], uint16(w.bits<<w.free))
	binary.LittleEndian.PutUint16(w.dst[w.second:], 0)
	return w.out
}
