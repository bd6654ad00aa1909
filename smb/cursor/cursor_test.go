package cursor

import (
	"bytes"
	"errors"
	"math"
	"testing"
	"unicode/utf8"
)

func TestReads(t *testing.T) {
	b := []byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18}
	r := New(b)
	if v := r.U8(); v != 1 {
		t.Errorf("U8 %#x", v)
	}
	if v := r.U16(); v != 0x0302 {
		t.Errorf("U16 %#x", v)
	}
	if v := r.U32(); v != 0x07060504 {
		t.Errorf("U32 %#x", v)
	}
	if r.Align(4); r.Offset() != 8 || r.Len() != 10 {
		t.Errorf("at %d, %d left", r.Offset(), r.Len())
	}
	if r.Align(4); r.Offset() != 8 {
		t.Errorf("aligned to %d", r.Offset())
	}
	if v := r.U64(); v != 0x100f0e0d0c0b0a09 {
		t.Errorf("U64 %#x", v)
	}
	rest := r.Rest()
	if !bytes.Equal(rest, []byte{17, 18}) || cap(rest) != 2 || r.Len() != 0 || r.Err() != nil {
		t.Errorf("rest % x of %d, %v", rest, cap(rest), r.Err())
	}
	r.Seek(3)
	if v := r.Bytes(2); !bytes.Equal(v, []byte{4, 5}) || cap(v) != 2 {
		t.Errorf("% x of %d", v, cap(v))
	}
	if v := r.At(16, 2); !bytes.Equal(v, []byte{17, 18}) || r.Offset() != 5 {
		t.Errorf("At % x, then at %d", v, r.Offset())
	}
	var zero Reader
	if zero.Len() != 0 || len(zero.Rest()) != 0 || zero.Err() != nil {
		t.Errorf("the zero Reader has %d bytes, %v", zero.Len(), zero.Err())
	}
}

// TestSticky: whatever fails first is what Err says, and nothing is read after it.
func TestSticky(t *testing.T) {
	boom := errors.New("boom")
	for name, fail := range map[string]func(r *Reader){
		"U8":     func(r *Reader) { r.Seek(4); r.U8() },
		"U16":    func(r *Reader) { r.Seek(3); r.U16() },
		"U32":    func(r *Reader) { r.Seek(1); r.U32() },
		"U64":    func(r *Reader) { r.U64() },
		"Bytes":  func(r *Reader) { r.Bytes(5) },
		"minus":  func(r *Reader) { r.Bytes(-1) },
		"most":   func(r *Reader) { r.Seek(1); r.Bytes(math.MaxInt) },
		"Skip":   func(r *Reader) { r.Skip(5) },
		"Seek":   func(r *Reader) { r.Seek(5) },
		"far":    func(r *Reader) { r.Seek(1 << 63) },
		"Align":  func(r *Reader) { r.Seek(1); r.Align(8) },
		"At":     func(r *Reader) { r.At(4, 1) },
		"offset": func(r *Reader) { r.At(math.MaxUint64, 1) },
		"wrap":   func(r *Reader) { r.At(2, math.MaxUint64-1) },
	} {
		r := New([]byte{1, 2, 3, 4})
		fail(r)
		if !errors.Is(r.Err(), ErrShort) {
			t.Errorf("%s: %v", name, r.Err())
		}
		r.Fail(boom)
		r.Seek(0)
		if r.U8() != 0 || r.U16() != 0 || r.U32() != 0 || r.U64() != 0 || r.Bytes(0) != nil || r.At(0, 1) != nil || r.Len() != 0 ||
			!errors.Is(r.Err(), ErrShort) {
			t.Errorf("%s: it reads on", name)
		}
	}
	r := New(nil)
	r.Fail(boom)
	r.U8()
	if r.Err() != boom {
		t.Errorf("%v", r.Err())
	}
	r = New([]byte{1})
	if r.At(1<<40, 0) != nil || r.Err() != nil {
		t.Error("an empty range somewhere is no failure")
	}
}

// TestSEC05Slice: offsets and lengths at every edge.
func TestSEC05Slice(t *testing.T) {
	b := make([]byte, 10, 20)
	for _, c := range []struct {
		off, n uint64
		ok     bool
	}{
		{0, 0, true},
		{0, 10, true},
		{10, 0, true},
		{9, 1, true},
		{0, 11, false},
		{9, 2, false},
		{10, 1, false},
		{11, 0, false},
		{1, math.MaxUint32, false},
		{math.MaxUint32 - 1, 4, false},
		{1, math.MaxUint64, false},
		{math.MaxUint64, 1, false},
		{math.MaxUint64, math.MaxUint64, false},
		{1 << 63, 1 << 63, false},
	} {
		s, ok := Slice(b, c.off, c.n)
		if ok != c.ok || ok && (uint64(len(s)) != c.n || cap(s) != len(s)) {
			t.Errorf("Slice(%d, %d) = %d of %d, %v", c.off, c.n, len(s), cap(s), ok)
		}
	}
}

func TestUTF16(t *testing.T) {
	for _, c := range []struct {
		in   string
		want string
		ok   bool
	}{
		{"", "", true},
		{"a\x00b\x00", "ab", true},
		{"\xe9\x00\x00\x00", "é\x00", true},
		{"\x3d\xd8\x00\xde", "😀", true},
		{"\xff\xff", "\uffff", true},
		{"a", "", false},
		{"a\x00b", "", false},
		{"\x3d\xd8", "", false},         // high alone
		{"\x3d\xd8a\x00", "", false},    // high before a letter
		{"\x00\xde", "", false},         // low alone
		{"\x00\xde\x3d\xd8", "", false}, // low before high
		{"\x3d\xd8\x3d\xd8", "", false}, // high twice
	} {
		got, err := UTF16([]byte(c.in))
		if got != c.want || c.ok != (err == nil) || err != nil && !errors.Is(err, ErrUTF16) {
			t.Errorf("UTF16(% x) = %q, %v", c.in, got, err)
		}
		if c.ok {
			if back := AppendUTF16([]byte("x"), got); string(back) != "x"+c.in || UTF16Len(got) != len(c.in) {
				t.Errorf("%q became % x, said to be %d", got, back, UTF16Len(got))
			}
		}
	}
	if got := AppendUTF16(nil, "a\xffb"); !bytes.Equal(got, []byte("a\x00\xfd\xffb\x00")) || UTF16Len("a\xffb") != 6 {
		t.Errorf("not UTF-8: % x", got)
	}
}

func FuzzUTF16(f *testing.F) {
	f.Add([]byte("a\x00\x3d\xd8\x00\xde"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := UTF16(b)
		if err == nil && (!utf8.ValidString(s) || !bytes.Equal(AppendUTF16(nil, s), b) || UTF16Len(s) != len(b)) {
			t.Errorf("% x became %q", b, s)
		}
		if got := AppendUTF16(nil, string(b)); len(got) != UTF16Len(string(b)) {
			t.Errorf("%q: %d bytes, said to be %d", b, len(got), UTF16Len(string(b)))
		}
	})
}

// FuzzReader makes the reads that a program of bytes asks for.
func FuzzReader(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8}, []byte("some bytes to read from"))
	f.Fuzz(func(t *testing.T, program, b []byte) {
		r := New(b)
		for i, op := range program {
			arg := uint64(0)
			if i+1 < len(program) {
				arg = uint64(program[i+1])
			}
			failed := r.Err() != nil
			var n int
			switch op % 9 {
			case 0:
				r.U8()
			case 1:
				r.U16()
			case 2:
				r.U32()
			case 3:
				r.U64()
			case 4:
				n = len(r.Bytes(int(arg) - 1))
			case 5:
				r.Align(int(arg%16) + 1)
			case 6:
				r.Seek(arg)
			case 7:
				n = len(r.At(arg, uint64(op)))
			case 8:
				n = len(r.Rest())
			}
			if r.Offset() > len(b) || r.Len() > len(b) || failed && (r.Err() == nil || n > 0) {
				t.Fatalf("after %d: at %d, %d left, %v", op, r.Offset(), r.Len(), r.Err())
			}
		}
	})
}
