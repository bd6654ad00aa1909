package compress

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/postern-nas/postern/smb/hextext"
)

// A codec is one algorithm as the tests see it.
type codec struct {
	name   string
	decode func(dst, src []byte) error
	encode func(dst, src []byte) (int, bool)
}

var codecs = []codec{
	{"lz77", DecodeLZ77, EncodeLZ77},
	{"lz77huffman", DecodeLZ77Huffman, EncodeLZ77Huffman},
	{"lznt1", DecodeLZNT1, encodeLZNT1},
	{"lz4", DecodeLZ4, EncodeLZ4},
}

// encodeLZNT1 is the straightforward way, for tests: every place in the chunk is looked at.
func encodeLZNT1(dst, src []byte) (int, bool) {
	out := dst[:0]
	for len(src) > 0 {
		chunk := src[:min(len(src), lznt1Chunk)]
		src = src[len(chunk):]
		head := len(out)
		out = append(out, 0, 0)
		flagAt, used := 0, 8
		for at := 0; at < len(chunk); used++ {
			if used == 8 {
				flagAt, used = len(out), 0
				out = append(out, 0)
			}
			lengthBits := 12
			for at > 1<<(16-lengthBits) {
				lengthBits--
			}
			best, back := 0, 0
			for from := max(0, at-300); from < at; from++ { // further back only costs time
				n := 0
				for n < min(1<<lengthBits+2, len(chunk)-at) && chunk[from+n] == chunk[at+n] {
					n++
				}
				if n > best {
					best, back = n, at-from
				}
			}
			if best >= 3 {
				v := (back-1)<<lengthBits | (best - 3)
				out = append(out, byte(v), byte(v>>8))
				out[flagAt] |= 1 << used
				at += best
			} else {
				out = append(out, chunk[at])
				at++
			}
		}
		v := 0xB000 | (len(out) - head - 3)
		if len(out)-head-2 > len(chunk) {
			out = append(out[:head+2], chunk...)
			v = 0x3000 | (len(chunk) - 1)
		}
		out[head], out[head+1] = byte(v), byte(v>>8)
	}
	return len(out), len(out) <= len(dst)
}

// listing is text in which much comes again, in many distances.
func listing() []byte {
	var b []byte
	for i := range 4600 {
		b = fmt.Appendf(b, "%d: line %d of %d\n", i%23, i%7, i/1500)
	}
	return b
}

const tune = "F# F# G A A G F# E D D E F# F# E E F# F# G A A G F# E D D E F# E D D E E F# D E F# G F# D E F# G F# E D E A " +
	"F# F# G A A G F# E D D E F# E D D\x00"

// huffTable of [MS-XCA] 3.2, of which only what is not zero is written here.
func codeLengths(set map[int]string) string {
	b := []byte(strings.Repeat("00", huffTable))
	for at, v := range set {
		copy(b[2*at:], v)
	}
	return string(b)
}

type vector struct {
	codec  string
	plain  string
	packed string // hex
	exact  bool   // ours are the same
}

func vectors(t testing.TB) []vector {
	foreign := func(name string, n int) vector {
		b, err := os.ReadFile("testdata/listing." + name)
		if err != nil {
			t.Fatal(err)
		}
		return vector{name, string(listing()[:n]), string(b), false}
	}
	letters, abc := "abcdefghijklmnopqrstuvwxyz", strings.Repeat("abc", 100)
	return []vector{
		// [MS-XCA] 3.1
		{"lz77", letters, "3f000000 6162636465666768696a6b6c6d6e6f707172737475767778797a", true},
		{"lz77", abc, "ffffff1f 616263 1700 0f ff 2601", true},
		// [MS-XCA] 3.2
		{"lz77huffman", letters, codeLengths(map[int]string{48: "50555555555555555555554544" + "04", 128: "04"}) +
			"d8523ed794115be9195ff9d67cdf8d0400000000", true},
		{"lz77huffman", abc, codeLengths(map[int]string{48: "3023", 128: "02", 143: "20"}) + "a8dc0000ff2601", true},
		// [MS-XCA] 3.3
		{"lznt1", tune, `38b088462320002047204100 10a24701a045204400084501 507900c045200524138805b4 024a44ef0358028c
			091601484500be009e000401189000`, false},
		// The format's own description has no vectors; these are put together by its rules.
		{"lz4", "", "00", true},
		{"lz4", "a", "10 61", true},
		{"lz4", strings.Repeat("a", 30), "1f 61 0100 05 50 6161616161", true},
		foreign("lz77", 67000),
		foreign("lz77huffman", 67000),
		foreign("lz4", 8000),
	}
}

func codecNamed(name string) codec {
	for _, c := range codecs {
		if c.name == name {
			return c
		}
	}
	panic(name)
}

func TestVectors(t *testing.T) {
	for i, v := range vectors(t) {
		c, packed := codecNamed(v.codec), hextext.Bytes(v.packed)
		got := bytes.Repeat([]byte{0xA5}, len(v.plain)+8)
		if err := c.decode(got[:len(v.plain):len(v.plain)], packed); err != nil {
			t.Errorf("%d %s: %v", i, v.codec, err)
		} else if string(got[:len(v.plain)]) != v.plain {
			t.Errorf("%d %s: decodes to %q", i, v.codec, got[:len(v.plain)])
		}
		if v.exact {
			b := make([]byte, 2*len(v.plain)+400)
			if n, ok := c.encode(b, []byte(v.plain)); !ok || !bytes.Equal(b[:n], packed) {
				t.Errorf("%d %s: encodes to %x, want %x", i, v.codec, b[:n], packed)
			}
		}
	}
}
