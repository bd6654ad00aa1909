package rpc

import (
	"bytes"
	"errors"
	"testing"

	"github.com/postern-nas/postern/smb/hextext"
)

// A row is numbers and pointers first, and behind all rows what the pointers point to, in the same order.
func TestRow(t *testing.T) {
	var w Writer
	rows := []Row{{uint32(7), "a", []byte("xyz"), nil, []byte(nil)}, {uint32(8), "", []byte{}, nil, []byte(nil)}}
	w.Row(rows...)
	w.U32(9)
	want := hextext.Bytes(`
		07000000 00000200 04000200 00000000 00000000
		08000000 08000200 0c000200 00000000 00000000
		02000000 00000000 02000000 61000000
		03000000 78797a 00
		01000000 00000000 01000000 0000 0000
		00000000
		09000000`)
	if !bytes.Equal(w.Bytes(), want) {
		t.Errorf("% x, want\n% x", w.Bytes(), want)
	}
	if a, b := rows[0].Size(), rows[1].Size(); a != 20+4+3 || b != 20+2 {
		t.Errorf("sizes %d, %d", a, b)
	}
}

func TestWriteAligned(t *testing.T) {
	var w Writer
	w.U8(1)
	w.U64(2)
	w.U8(3)
	w.Time(1<<32 | 4)
	w.Name("")
	w.Name("b")
	w.NameBody("")
	w.NameBody("b")
	w.Handle(Handle{0: 9, 19: 9})
	w.U8(5)
	w.Align(8)
	want := hextext.Bytes(`
		01 00000000000000 0200000000000000 03 000000 04000000 01000000
		0000 0000 00000200 0200 0200 04000200
		00000000 00000000 00000000 01000000 00000000 01000000 6200 0000
		09000000000000000000000000000000 00000009 05 000000`)
	if !bytes.Equal(w.Bytes(), want) {
		t.Errorf("% x, want\n% x", w.Bytes(), want)
	}
}

// listOf is the end of an enumeration's request.
func listOf(level, union, preferred uint32, resume ...uint32) []byte {
	var w Writer
	w.U32(level)
	w.U32(union)
	w.Pointer(true)
	w.U32(0)
	w.Pointer(false)
	w.U32(preferred)
	w.Pointer(len(resume) > 0)
	for _, r := range resume {
		w.U32(r)
	}
	return w.Bytes()
}

func TestReadList(t *testing.T) {
	stub := listOf(2, 2, 100, 5)
	r := NewReader(stub)
	if l, err := r.List(1, 2); err != nil || l != (List{2, 100, 5, true}) {
		t.Errorf("%+v, %v", l, err)
	}
	for n := range stub {
		if _, err := NewReader(stub[:n]).List(1, 2); !errors.Is(err, FaultBadStub) {
			t.Errorf("cut at %d: %v", n, err)
		}
	}
	if _, err := NewReader(listOf(3, 3, 100)).List(1, 2); !errors.Is(err, FaultInvalidTag) {
		t.Errorf("no arm: %v", err)
	}
	if _, err := NewReader(listOf(2, 1, 100)).List(1, 2); !errors.Is(err, FaultBadStub) {
		t.Errorf("another arm: %v", err)
	}
	if l, err := NewReader(listOf(2, 2, 0xFFFFFFFF)).List(2); err != nil || l != (List{Level: 2, preferred: MaxList}) {
		t.Errorf("all there is: %+v, %v", l, err)
	}
}

func TestInfo(t *testing.T) {
	var w Writer
	if r := w.Info(5, Win32Success, Row{uint32(1)}); r != Win32Success || !bytes.Equal(w.Bytes(), hextext.Bytes("05000000 00000200 01000000")) {
		t.Errorf("%d, % x", r, w.Bytes())
	}
	w = Writer{}
	if r := w.Info(5, Win32AccessDenied, Row{uint32(1)}); r != Win32AccessDenied || !bytes.Equal(w.Bytes(), hextext.Bytes("05000000 00000000")) {
		t.Errorf("%d, % x", r, w.Bytes())
	}
}

func TestHandleTable(t *testing.T) {
	var h Handles[int]
	a, ok := h.Open(1)
	b, _ := h.Open(2)
	if !ok || a == b || a == (Handle{}) || [4]byte(a[:4]) != [4]byte{} {
		t.Errorf("%x, %x", a, b)
	}
	if v, ok := h.Find(a); v != 1 || !ok {
		t.Error(v, ok)
	}
	h.Close(a)
	if v, ok := h.Find(a); v != 0 || ok {
		t.Error("closed, and still there")
	}
	n := 1
	for ; ; n++ {
		if _, ok := h.Open(n); !ok {
			break
		}
		if n > maxHandles {
			t.Fatal("no bound")
		}
	}
	h.Close(b)
	if _, ok := h.Open(1); n != maxHandles || !ok {
		t.Errorf("%d handles; one closed, another opened: %v", n, ok)
	}
}
