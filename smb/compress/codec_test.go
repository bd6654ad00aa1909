package compress

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/postern-nas/postern/smb/hextext"
)

// samples are what files are made of, with the lengths at which the formats change their ways.
func samples() map[string][]byte {
	rnd := rand.New(rand.NewPCG(1, 2))
	random := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(rnd.Uint32())
		}
		return b
	}
	list := map[string][]byte{
		"text": listing(), "random": random(200_000), "zeros": make([]byte, 300_000),
		"base64":  []byte(strings.Repeat(fmt.Sprintf("%x", random(100)), 400)),
		"records": nil, "skewed": make([]byte, 150_000), "far": nil, "mixed": nil,
	}
	for i := range 5000 {
		list["records"] = append(list["records"], byte(i), byte(i>>8), 0, 0, byte(i*7), 1, 0, 0, 0, 0, 0, 0)
	}
	for i := range list["skewed"] { // counts as far apart as they can be: the longest codes
		n := 0
		for n < 25 && rnd.Uint32()&1 == 0 {
			n++
		}
		list["skewed"][i] = byte(n)
	}
	block := random(60_000)
	list["far"] = append(append(append([]byte{}, block...), block...), block...)
	list["mixed"] = append(append(append([]byte{}, block[:5000]...), make([]byte, 9000)...), block[:3000]...)
	for _, n := range []int{1, 2, 3, 4, 5, 11, 12, 13, 14, 17, 31, 32, 33, 63, 64, 65, 4095, 4096, 4097, 65535, 65536, 65537, 131072} {
		list[fmt.Sprintf("text %d", n)] = bytes.Repeat(listing(), 2)[:n]
		list[fmt.Sprintf("zeros %d", n)] = make([]byte, n)
		list[fmt.Sprintf("random %d", n)] = random(n)
	}
	for n := range 70 { // every length that the formats write in another way
		for _, base := range []int{10, 265, 500} {
			list[fmt.Sprintf("run %d", base+n)] = append(append([]byte("begin"), make([]byte, base+n)...), "end"...)
		}
	}
	return list
}

func TestRoundTrip(t *testing.T) {
	for name, plain := range samples() {
		for _, c := range codecs {
			plain := plain
			if c.name == "lznt1" {
				plain = plain[:min(len(plain), 3*lznt1Chunk+1)] // the tests' own encoder is slow
			}
			packed := make([]byte, 2*len(plain)+1000)
			n, ok := c.encode(packed, plain)
			if !ok {
				t.Errorf("%s %s: not encoded", c.name, name)
				continue
			}
			got := make([]byte, len(plain))
			if err := c.decode(got, packed[:n]); err != nil || !bytes.Equal(got, plain) {
				t.Errorf("%s %s (%d bytes): %v", c.name, name, len(plain), err)
			}
		}
	}
}

// What does not fit is refused, and nothing is written beyond.
func TestEncodeInto(t *testing.T) {
	plain := listing()[:3000]
	for _, c := range codecs {
		if c.name == "lznt1" {
			continue // the tests' own
		}
		whole := make([]byte, 2*len(plain))
		full, _ := c.encode(whole, plain)
		for n := range full + 40 {
			b := bytes.Repeat([]byte{0xA5}, n+16)
			got, ok := c.encode(b[:n:n], plain)
			if ok && (got != full || !bytes.Equal(b[:got], whole[:full])) {
				t.Fatalf("%s into %d bytes: %d, another result", c.name, n, got)
			}
			if ok && n < full || !ok && n == full+39 {
				t.Fatalf("%s into %d bytes, needs %d: %v", c.name, n, full, ok)
			}
			if !bytes.Equal(b[n:], bytes.Repeat([]byte{0xA5}, 16)) {
				t.Fatalf("%s into %d bytes: wrote beyond", c.name, n)
			}
		}
	}
}

// SEC-10: output exactly as long as announced, from input exactly as long as came.
func TestSEC10Lengths(t *testing.T) {
	for i, v := range vectors(t) {
		c, packed := codecNamed(v.codec), hextext.Bytes(v.packed)
		n := len(v.plain)
		for cut := range packed {
			if n == 0 {
				break
			}
			if err := c.decode(make([]byte, n), packed[:cut]); !errors.Is(err, ErrCorrupt) {
				t.Fatalf("%d %s cut at %d of %d: %v", i, v.codec, cut, len(packed), err)
			}
		}
		for _, wrong := range []int{0, 1, n / 2, n - 2, n - 1, n + 1, n + 2, 2 * n, n + 70000} {
			if wrong < 0 || wrong == n {
				continue
			}
			if err := c.decode(make([]byte, wrong), packed); !errors.Is(err, ErrCorrupt) {
				t.Errorf("%d %s: %d bytes announced, %d came: %v", i, v.codec, wrong, n, err)
			}
		}
		for _, more := range []string{"x", "xy", "xyz", "xxxxx", strings.Repeat("\xFF", 300)} {
			if err := c.decode(make([]byte, n), append(bytes.Clone(packed), more...)); !errors.Is(err, ErrCorrupt) {
				t.Errorf("%d %s with %d bytes behind: %v", i, v.codec, len(more), err)
			}
		}
	}
}

func TestMalformed(t *testing.T) {
	huff := func(lengths map[int]string, rest string) string { return codeLengths(lengths) + rest }
	for _, m := range []struct {
		name, codec, packed string
		plain               int
	}{
		{"nothing", "lz77", "", 10},
		{"half of the flags", "lz77", "0000", 10},
		{"a match before the start", "lz77", "00000080 0000", 3},
		{"a match before the start, after one literal", "lz77", "00000040 61 0800", 4},
		{"a match longer than announced", "lz77", "00000040 61 0300", 4},
		{"a match of a word that is too small", "lz77", "ffffff7f 61 0700 0f ff 1500", 100},
		{"a match of four billion bytes", "lz77", "ffffff7f 61 0700 0f ff 0000 ffffffff", 100},
		{"a match of a double word that is too small", "lz77", "ffffff7f 61 0700 0f ff 0000 05000000", 100},
		{"no half byte", "lz77", "ffffff7f 61 0700", 100},
		{"no length byte", "lz77", "ffffff7f 61 0700 0f", 100},
		{"no length word", "lz77", "ffffff7f 61 0700 0f ff 26", 100},
		{"no length double word", "lz77", "ffffff7f 61 0700 0f ff 0000 261526", 100},

		{"half of a table", "lz77huffman", strings.Repeat("11", 128), 10},
		{"an empty table", "lz77huffman", huff(nil, "0000000000000000"), 10},
		{"too many codes", "lz77huffman", huff(map[int]string{0: "1111"}, "0000000000000000"), 10},
		{"all codes of 15 bits", "lz77huffman", strings.Repeat("ff", 256) + "ffffffffffff", 10},
		{"a code that is none", "lz77huffman", huff(map[int]string{0: "01"}, "ffffffffffff"), 10},
		{"a match before the start", "lz77huffman", huff(map[int]string{0: "01", 128: "01"}, "ffffffffffff"), 10},
		{"a far match", "lz77huffman", huff(map[int]string{0: "01", 248: "01"}, "ff7fffff00000000"), 10},
		{"no end", "lz77huffman", huff(map[int]string{0: "01", 128: "01"}, "00000000"), 8},
		{"no length", "lz77huffman", huff(map[int]string{0: "01", 135: "10"}, "00400000"), 30},
		{"a length that is too small", "lz77huffman", huff(map[int]string{0: "01", 135: "10"}, "00400000 ff 0e00"), 30},

		{"half a header", "lznt1", "38", 10},
		{"no signature", "lznt1", "0280 00616263", 3},
		{"a chunk longer than what came", "lznt1", "0430 616263", 3},
		{"an uncompressed chunk of another length", "lznt1", "0330 61626364", 3},
		{"a match before the start", "lznt1", "02b0 01 0000", 3},
		{"half a match", "lznt1", "02b0 02 61 00", 4},
		{"a match too far back", "lznt1", "03b0 02 61 0010", 4},
		{"a match longer than announced", "lznt1", "03b0 02 61 0f00", 4},
		{"a literal beyond", "lznt1", "03b0 00 616263", 2},
		{"a short chunk in the middle", "lznt1", "03b0 00 616263 03b0 00 616263", 5000},

		{"nothing", "lz4", "", 0},
		{"no literals", "lz4", "50 6162", 5},
		{"no length", "lz4", "f0", 100},
		{"a length without end", "lz4", "f0" + strings.Repeat("ff", 1000), 100},
		{"distance 0", "lz4", "1f 61 0000 05 50 6161616161", 30},
		{"a match before the start", "lz4", "1f 61 0200 05 50 6161616161", 30},
		{"half a distance", "lz4", "1f 61 01", 30},
		{"a match at the end", "lz4", "11 61 0100", 6},
		{"a match longer than announced", "lz4", "1f 61 0100 ff ff 05", 30},
	} {
		b := bytes.Repeat([]byte{0xA5}, m.plain+64)
		if err := codecNamed(m.codec).decode(b[:m.plain], hextext.Bytes(m.packed)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %s: %v", m.codec, m.name, err)
		}
		if !bytes.Equal(b[m.plain:], bytes.Repeat([]byte{0xA5}, 64)) {
			t.Errorf("%s: %s: wrote beyond", m.codec, m.name)
		}
	}
}

// SEC-09, SEC-10: the most that the least input can ask for takes no longer than filling that much memory a few times.
func TestSEC10Bomb(t *testing.T) {
	const n = 8 << 20
	plain := make([]byte, n)
	for _, c := range codecs {
		packed := make([]byte, n)
		if c.name == "lznt1" {
			chunk := hextext.Bytes("03b0 02 00 fc0f") // a zero, and 4095 more of it
			packed = bytes.Repeat(chunk, n/lznt1Chunk)
		} else {
			k, ok := c.encode(packed, plain)
			if !ok {
				t.Fatal(c.name)
			}
			packed = packed[:k]
		}
		start := time.Now()
		if err := c.decode(plain, packed); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("%s: %d bytes into %d take %v", c.name, len(packed), n, took)
		}
	}
}

func TestDecodeAllocatesNothing(t *testing.T) {
	plain := listing()[:20_000]
	got := make([]byte, len(plain))
	for _, c := range codecs {
		packed := make([]byte, 2*len(plain))
		n, _ := c.encode(packed, plain)
		if allocs := testing.AllocsPerRun(5, func() { _ = c.decode(got, packed[:n]) }); allocs != 0 {
			t.Errorf("%s: %v allocations", c.name, allocs)
		}
	}
}

func TestRuns(t *testing.T) {
	for n := range 40 {
		for k := range n + 1 {
			b := bytes.Repeat([]byte{7}, n)
			if k < n {
				b[k] = 8
				if got := Leading(b); got != k && k > 0 {
					t.Errorf("Leading of %v: %d", b, got)
				}
				if got := Trailing(b); got != n-1-k && k < n-1 {
					t.Errorf("Trailing of %v: %d", b, got)
				}
			} else if Leading(b) != n || Trailing(b) != n {
				t.Errorf("of %d alike: %d, %d", n, Leading(b), Trailing(b))
			}
		}
	}
}

func TestWorthwhile(t *testing.T) {
	list := samples()
	for name, want := range map[string]bool{"random": false, "far": false, "text": true, "zeros": true, "records": true, "mixed": true, "random 64": true} {
		if got := Worthwhile(list[name]); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// FuzzDecode looks for input that makes a decoder panic, write beyond its destination, or leave some of it unwritten.
func FuzzDecode(f *testing.F) {
	for i, v := range vectors(f) {
		for k, c := range codecs {
			if c.name == v.codec {
				f.Add(uint8(k), uint32(len(v.plain)), hextext.Bytes(v.packed))
				f.Add(uint8(k), uint32(len(v.plain)+i), hextext.Bytes(v.packed))
			}
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, n uint32, packed []byte) {
		c, size := codecs[int(which)%len(codecs)], int(n%200_000)
		a, b := bytes.Repeat([]byte{0xA5}, size+16), bytes.Repeat([]byte{0x5A}, size+16)
		err := c.decode(a[:size], packed)
		if again := c.decode(b[:size], packed); err != again {
			t.Fatalf("%v, then %v", err, again)
		}
		if err == nil && !bytes.Equal(a[:size], b[:size]) {
			t.Error("some of the output was never written")
		}
		if !bytes.Equal(a[size:], bytes.Repeat([]byte{0xA5}, 16)) {
			t.Error("wrote beyond")
		}
	})
}

// FuzzRoundTrip looks for data that an encoder breaks.
func FuzzRoundTrip(f *testing.F) {
	for k := range codecs {
		f.Add(uint8(k), uint16(1), listing()[:300])
		f.Add(uint8(k), uint16(700), []byte("abc"))
	}
	f.Fuzz(func(t *testing.T, which uint8, times uint16, piece []byte) {
		c := codecs[int(which)%len(codecs)]
		plain := piece
		if len(piece) > 0 {
			plain = bytes.Repeat(piece, min(int(times)+1, 150_000/len(piece)+1))
		}
		if c.name == "lznt1" {
			plain = plain[:min(len(plain), 9000)] // the tests' own encoder is slow
		}
		packed := make([]byte, 2*len(plain)+1000)
		n, ok := c.encode(packed, plain)
		if !ok {
			t.Fatal("not encoded")
		}
		got := make([]byte, len(plain))
		if err := c.decode(got, packed[:n]); err != nil || !bytes.Equal(got, plain) {
			t.Fatalf("%s of %d bytes: %v", c.name, len(plain), err)
		}
		if _, ok := c.encode(make([]byte, n/2), plain); ok && n > 2 && c.name != "lznt1" {
			t.Error("fits into half")
		}
	})
}

func BenchmarkCodecs(b *testing.B) {
	list := samples()
	for _, kind := range []string{"text", "records", "zeros", "random"} {
		plain := bytes.Repeat(list[kind], 1<<20/len(list[kind])+1)[:1<<20]
		if kind == "random" {
			plain = make([]byte, 1<<20)
			rand.NewChaCha8([32]byte{}).Read(plain)
		}
		b.Run("probe/"+kind, func(b *testing.B) {
			b.SetBytes(int64(len(plain)))
			for b.Loop() {
				Worthwhile(plain)
			}
		})
		for _, c := range codecs {
			if c.name == "lznt1" && kind == "random" {
				continue
			}
			packed := make([]byte, 2*len(plain))
			n, _ := c.encode(packed, plain)
			if c.name != "lznt1" {
				b.Run("encode/"+kind+"/"+c.name, func(b *testing.B) {
					b.SetBytes(int64(len(plain)))
					for b.Loop() {
						c.encode(packed, plain)
					}
					b.ReportMetric(float64(n)/float64(len(plain)), "ratio")
				})
			}
			got := make([]byte, len(plain))
			b.Run("decode/"+kind+"/"+c.name, func(b *testing.B) {
				b.SetBytes(int64(len(plain)))
				for b.Loop() {
					if err := c.decode(got, packed[:n]); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
