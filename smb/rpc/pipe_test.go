package rpc

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"testing"

	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/hextext"
	"github.com/postern-nas/postern/smb/nt"
)

// echo is an interface whose operation 0 answers its stub, 1 with a size it is asked for, 2 fails, 3 faults.
func echo() Interface {
	return Interface{
		UUID:     dtyp.MustGUID("4b324fc8-1670-01d3-1278-5a47bf6ee188"),
		Major:    3,
		Endpoint: `\PIPE\echo`,
		Call: func(_ context.Context, opnum uint16, stub []byte) ([]byte, error) {
			switch opnum {
			case 0:
				return bytes.Clone(stub), nil
			case 1:
				r := NewReader(stub)
				n := r.U32()
				return bytes.Repeat([]byte{0xAB}, int(n)), r.Err()
			case 2:
				return nil, errors.New("no")
			case 3:
				return nil, fmt.Errorf("wrapped: %w", FaultAccessDenied)
			}
			return nil, FaultOpRange
		},
	}
}

// What a Windows client binds srvsvc with: NDR, NDR64 and bind time feature negotiation, a context each.
const windowsBind = `
	05 00 0b 03 10000000 a000 0000 02000000  # BIND, whole, little-endian, 160 bytes, call 2
	b810 b810 00000000                       # fragments of 4280, new association
	03 000000
	0000 01 00 c84f324b7016d30112785a47bf6ee188 0300 0000
	           045d888aeb1cc9119fe808002b104860 0200 0000
	0100 01 00 c84f324b7016d30112785a47bf6ee188 0300 0000
	           33057171babe37498319b5dbef9ccc36 0100 0000
	0200 01 00 c84f324b7016d30112785a47bf6ee188 0300 0000
	           2c1cb76c129840450300000000000000 0100 0000
	`

// What smbclient binds with.
const sambaBind = `
	05 00 0b 03 10000000 4800 0000 01000000
	d016 d016 00000000
	01 000000
	0000 01 00 c84f324b7016d30112785a47bf6ee188 0300 0000
	           045d888aeb1cc9119fe808002b104860 0200 0000
	`

func request(flags uint8, call uint32, context, opnum uint16, stub []byte) []byte {
	body := binary.LittleEndian.AppendUint32(nil, uint32(len(stub)))
	body = binary.LittleEndian.AppendUint16(body, context)
	body = binary.LittleEndian.AppendUint16(body, opnum)
	return appendPDU(nil, ptRequest, flags, call, append(body, stub...))
}

const whole = pfFirst | pfLast

func bound(t testing.TB) *Pipe {
	t.Helper()
	p := NewPipe([]Interface{echo()})
	if out, _, err := p.Transact(t.Context(), hextext.Bytes(sambaBind), 1<<20); err != nil || out[2] != ptBindAck {
		t.Fatalf("% x, %v", out, err)
	}
	return p
}

func TestBindWindows(t *testing.T) {
	p := NewPipe([]Interface{echo()})
	got, more, err := p.Transact(t.Context(), hextext.Bytes(windowsBind), 1024)
	if err != nil || more {
		t.Fatal(more, err)
	}
	if binary.LittleEndian.Uint32(got[20:]) == 0 {
		t.Error("no association group")
	}
	clear(got[20:24]) // random
	want := hextext.Bytes(`
		05 00 0c 03 10000000 7400 0000 02000000
		b810 b810 00000000
		0b00 5c504950455c6563686f00 000000 # \PIPE\echo and padding
		03 000000
		0000 0000 045d888aeb1cc9119fe808002b104860 0200 0000
		0200 0200 00000000000000000000000000000000 0000 0000 # NDR64: not a transfer syntax of ours
		0300 0300 00000000000000000000000000000000 0000 0000 # both features
	`)
	if !bytes.Equal(got, want) {
		t.Errorf("% x, want\n% x", got, want)
	}
	// Context 0 works, the others do not exist.
	for id, ptype := range []byte{ptResponse, ptFault, ptFault} {
		out, _, err := p.Transact(t.Context(), request(whole, 7, uint16(id), 0, []byte("hello")), 1024)
		if err != nil || out[2] != ptype {
			t.Errorf("context %d: % x, %v", id, out, err)
		}
	}
}

func TestBindRefused(t *testing.T) {
	change := func(at int, v ...byte) []byte {
		b := hextext.Bytes(sambaBind)
		copy(b[at:], v)
		return b
	}
	for _, c := range []struct {
		name   string
		in     []byte
		result []byte // of the only context; nil: refused as a whole
		nak    uint16
		broken bool
	}{
		{name: "unknown interface", in: change(32, 0xFF), result: []byte{2, 0, 1, 0}},
		{name: "major version", in: change(48, 4), result: []byte{2, 0, 1, 0}},
		{name: "minor version", in: change(50, 1), result: []byte{2, 0, 1, 0}},
		{name: "unknown transfer syntax", in: change(52, 0xFF), result: []byte{2, 0, 2, 0}},
		{name: "transfer syntax version", in: change(68, 3), result: []byte{2, 0, 2, 0}},
		{name: "no transfer syntax", in: change(30, 0), result: []byte{2, 0, 2, 0}},
		{name: "protocol version", in: change(0, 4), nak: nakVersion},
		{name: "big-endian", in: change(4, 0), nak: nakNotSpecified},
		{name: "authentication", in: change(10, 8), nak: nakAuthType},
		{name: "no context", in: change(24, 0), nak: nakNotSpecified},
		{name: "contexts that are not there", in: change(24, 255), nak: nakNotSpecified},
		{name: "syntaxes that are not there", in: change(30, 255), nak: nakNotSpecified},
		{name: "fragment", in: change(3, pfFirst), nak: nakNotSpecified},
		{name: "alter before bind", in: change(2, ptAlterContext), broken: true},
		{name: "response", in: change(2, ptResponse), broken: true},
		{name: "unknown type", in: change(2, 99), broken: true},
		{name: "length 0", in: change(8, 0, 0), broken: true},
		{name: "length 15", in: change(8, 15, 0), broken: true},
		{name: "length 5841", in: change(8, 0xD1, 0x16), broken: true},
		{name: "request before bind", in: request(whole, 1, 0, 0, nil), broken: true},
		{name: "request of another version", in: append([]byte{4}, request(whole, 1, 0, 0, nil)[1:]...), broken: true},
	} {
		p := NewPipe([]Interface{echo()})
		out, _, err := p.Transact(t.Context(), c.in, 1024)
		switch {
		case c.broken:
			if !errors.Is(err, nt.PipeDisconnected) {
				t.Errorf("%s: %v", c.name, err)
			}
			if err := p.Write(t.Context(), hextext.Bytes(sambaBind)); !errors.Is(err, nt.PipeDisconnected) {
				t.Errorf("%s: then %v", c.name, err)
			}
		case err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.result != nil:
			if out[2] != ptBindAck || !bytes.Equal(out[len(out)-24:len(out)-20], c.result) {
				t.Errorf("%s: % x", c.name, out)
			}
		default:
			if out[2] != ptBindNak || binary.LittleEndian.Uint16(out[16:]) != c.nak {
				t.Errorf("%s: % x", c.name, out)
			}
			// After a BIND_NAK the client may try again.
			if out, _, err := p.Transact(t.Context(), hextext.Bytes(sambaBind), 1024); err != nil || out[2] != ptBindAck {
				t.Errorf("%s: then % x, %v", c.name, out, err)
			}
		}
	}
	if err := bound(t).Write(t.Context(), hextext.Bytes(sambaBind)); !errors.Is(err, nt.PipeDisconnected) {
		t.Errorf("second BIND: %v", err)
	}
}

func TestAlterContext(t *testing.T) {
	p := bound(t)
	b := hextext.Bytes(sambaBind)
	b[2], b[28] = ptAlterContext, 5
	out, _, err := p.Transact(t.Context(), b, 1024)
	if err != nil || out[2] != ptAlterResp || binary.LittleEndian.Uint16(out[24:]) != 0 {
		t.Fatalf("% x, %v", out, err)
	}
	if out, _, err = p.Transact(t.Context(), request(whole, 9, 5, 0, []byte("x")), 1024); err != nil || out[2] != ptResponse {
		t.Errorf("% x, %v", out, err)
	}
	// Contexts are not without end.
	var last []byte
	for id := range 2 * maxContexts {
		b[28] = byte(id)
		if last, _, err = p.Transact(t.Context(), b, 1024); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(last[len(last)-24:len(last)-20], []byte{2, 0, 3, 0}) {
		t.Errorf("context %d: % x", 2*maxContexts, last)
	}
}

// answer reads a whole response and returns its stub and how many fragments it came in.
func answer(t *testing.T, p *Pipe, n int) (stub []byte, fragments int) {
	t.Helper()
	for {
		var f []byte
		for more := true; more; {
			var b []byte
			var err error
			if b, more, err = p.Read(n); err != nil {
				t.Fatal(err)
			}
			f = append(f, b...)
		}
		fragments++
		h := decodeHeader(f)
		if h.ptype != ptResponse || int(h.length) != len(f) || len(f) > maxFragment || h.flags&pfFirst != 0 != (fragments == 1) {
			t.Fatalf("% x", f[:min(len(f), 32)])
		}
		if hint := binary.LittleEndian.Uint32(f[16:]); int(hint) < len(f)-24 {
			t.Errorf("fragment of %d bytes hints at %d", len(f)-24, hint)
		}
		stub = append(stub, f[24:]...)
		if h.flags&pfLast != 0 {
			return stub, fragments
		}
		if (len(f)-24)%8 != 0 {
			t.Errorf("a fragment of %d bytes of stub", len(f)-24)
		}
	}
}

func TestFragments(t *testing.T) {
	for _, size := range []int{0, 1, 5816, 5817, 20_000, maxRequest} {
		for _, step := range []int{1, 100, 5816} {
			if size/step > 3000 {
				continue
			}
			p := bound(t)
			want := bytes.Repeat([]byte("0123456789abcdef!"), size/17+1)[:size]
			for rest, flags := want, uint8(pfFirst); ; flags = 0 {
				n := min(step, len(rest))
				if n == len(rest) {
					flags |= pfLast
				}
				if err := p.Write(t.Context(), request(flags, 3, 0, 0, rest[:n])); err != nil {
					t.Fatal(err)
				}
				if rest = rest[n:]; flags&pfLast != 0 {
					break
				}
				if p.Pending() != 0 {
					t.Fatal("answered before the last fragment")
				}
			}
			got, n := answer(t, p, 1000)
			if !bytes.Equal(got, want) || n != max(1, (size+5815)/5816) || p.Pending() != 0 {
				t.Errorf("%d bytes in steps of %d: %d bytes in %d fragments, %d left", size, step, len(got), n, p.Pending())
			}
		}
	}
}

// TestWriteBytewise: PDUs may be cut anywhere, and several may come at once.
func TestWriteBytewise(t *testing.T) {
	all := hextext.Bytes(sambaBind)
	all = append(all, request(whole, 1, 0, 0, []byte("one"))...)
	all = append(all, appendPDU(nil, ptCancel, whole, 1, nil)...) // a header and nothing else
	all = append(all, request(whole, 2, 0, 0, []byte("two!"))...)
	for step := 1; step <= len(all); step++ {
		p := NewPipe([]Interface{echo()})
		for rest := all; len(rest) > 0; rest = rest[min(step, len(rest)):] {
			if err := p.Write(t.Context(), rest[:min(step, len(rest))]); err != nil {
				t.Fatal(err)
			}
		}
		if _, _, err := p.Read(4096); err != nil {
			t.Fatal(err)
		}
		one, _ := answer(t, p, 4096)
		two, _ := answer(t, p, 4096)
		if string(one) != "one" || string(two) != "two!" {
			t.Errorf("step %d: %q, %q", step, one, two)
		}
		if _, _, err := p.Read(4096); !errors.Is(err, nt.PipeEmpty) {
			t.Errorf("step %d: %v", step, err)
		}
	}
}

func TestReadMessage(t *testing.T) {
	p := bound(t)
	out, more, err := p.Transact(t.Context(), request(whole, 1, 0, 0, make([]byte, 100)), 24)
	if len(out) != 24 || !more || err != nil || p.Pending() != 100 {
		t.Errorf("%d, %v, %v, pending %d", len(out), more, err, p.Pending())
	}
	if b, n := p.Peek(10); len(b) != 10 || n != 100 {
		t.Errorf("peeked at %d of %d", len(b), n)
	}
	if _, _, err := p.Transact(t.Context(), request(whole, 2, 0, 0, nil), 24); !errors.Is(err, nt.PipeBusy) {
		t.Errorf("transaction with an answer to be read: %v", err)
	}
	for _, n := range []int{0, -1} {
		if out, more, err = p.Read(n); len(out) != 0 || !more || err != nil {
			t.Errorf("read of %d: %d, %v, %v", n, len(out), more, err)
		}
	}
	if out, more, err = p.Read(99); len(out) != 99 || !more || err != nil {
		t.Errorf("%d, %v, %v", len(out), more, err)
	}
	if out, more, err = p.Read(1); len(out) != 1 || more || err != nil || p.Pending() != 0 {
		t.Errorf("%d, %v, %v", len(out), more, err)
	}
	if b, n := p.Peek(10); b != nil || n != 0 {
		t.Errorf("peeked at %d of %d", len(b), n)
	}
	// A call that is not whole has no answer yet.
	if _, _, err = p.Transact(t.Context(), request(pfFirst, 3, 0, 0, nil), 24); !errors.Is(err, nt.PipeEmpty) {
		t.Errorf("half a call: %v", err)
	}
}

func TestFaults(t *testing.T) {
	for _, c := range []struct {
		name           string
		context, opnum uint16
		stub           []byte
		want           Fault
		executed       bool
	}{
		{"operation", 0, 99, nil, 0x1C010002, false},
		{"context", 1, 0, nil, 0x1C010003, false},
		{"stub", 0, 1, []byte{1}, 0x000006F7, false},
		{"error", 0, 2, nil, 0x1C000012, true},
		{"wrapped fault", 0, 3, nil, 0x00000005, true},
		{"reply too large", 0, 1, []byte{0, 0, 0x50, 0}, 0x1C000012, true},
	} {
		out, _, err := bound(t).Transact(t.Context(), request(whole, 0x55, c.context, c.opnum, c.stub), 1024)
		if err != nil || len(out) != 32 || out[2] != ptFault || binary.LittleEndian.Uint32(out[12:]) != 0x55 ||
			binary.LittleEndian.Uint16(out[20:]) != c.context {
			t.Errorf("%s: % x, %v", c.name, out, err)
			continue
		}
		if got := Fault(binary.LittleEndian.Uint32(out[24:])); got != c.want || (out[3]&pfDidNotExecute == 0) != c.executed {
			t.Errorf("%s: %v, flags %#x", c.name, got, out[3])
		}
	}
}

func TestFragmentsOutOfOrder(t *testing.T) {
	first := request(pfFirst, 1, 0, 0, []byte("a"))
	for name, second := range map[string][]byte{
		"another call":      request(pfLast, 2, 0, 0, nil),
		"another context":   request(pfLast, 1, 1, 0, nil),
		"another operation": request(pfLast, 1, 0, 1, nil),
		"first again":       request(pfFirst, 1, 0, 0, nil),
		"too short":         appendPDU(nil, ptRequest, pfLast, 1, make([]byte, 7)),
		"no object":         appendPDU(nil, ptRequest, pfLast|pfObject, 1, make([]byte, 8)),
		"authenticated":     append(append(bytes.Clone(request(pfLast, 1, 0, 0, nil)[:10]), 8, 0), request(pfLast, 1, 0, 0, nil)[12:]...),
	} {
		p := bound(t)
		if err := p.Write(t.Context(), first); err != nil {
			t.Fatal(err)
		}
		if err := p.Write(t.Context(), second); !errors.Is(err, nt.PipeDisconnected) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := bound(t).Write(t.Context(), request(pfLast, 1, 0, 0, nil)); !errors.Is(err, nt.PipeDisconnected) {
		t.Errorf("last without first: %v", err)
	}
	// An orphaned call is forgotten; another may follow. An object UUID is passed over.
	p := bound(t)
	withObject := appendPDU(nil, ptRequest, whole|pfObject, 2, append(make([]byte, 8+16), "stub"...))
	for _, b := range [][]byte{first, appendPDU(nil, ptOrphaned, whole, 1, nil), withObject} {
		if err := p.Write(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	if got, _ := answer(t, p, 1000); string(got) != "stub" {
		t.Errorf("%q", got)
	}
}

// TestSEC09PipeBounds: what a client can make a pipe keep is bounded.
func TestSEC09PipeBounds(t *testing.T) {
	p := bound(t)
	flags := uint8(pfFirst)
	var err error
	n := 0
	for ; err == nil && n < 1000; n++ {
		err = p.Write(t.Context(), request(flags, 1, 0, 0, make([]byte, 5000)))
		flags = 0
	}
	if !errors.Is(err, nt.PipeDisconnected) || n*5000 > maxRequest+10_000 {
		t.Errorf("a request of %d bytes: %v", n*5000, err)
	}

	p = bound(t)
	ask := request(whole, 1, 0, 1, []byte{0, 0, 1, 0}) // 64 KiB
	for n, err = 0, nil; err == nil && n < 1000; n++ {
		err = p.Write(t.Context(), ask)
	}
	if !errors.Is(err, nt.PipeDisconnected) || p.Pending() > 2*maxRequest {
		t.Errorf("%d bytes wait to be read: %v", p.Pending(), err)
	}
	for p.Pending() > 0 {
		if _, _, err := p.Read(8192); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := p.Read(8192); !errors.Is(err, nt.PipeDisconnected) {
		t.Errorf("read of a broken pipe: %v", err)
	}
}

func TestBindFragmentSizes(t *testing.T) {
	for _, c := range []struct{ offer, want uint16 }{{0, 1432}, {1432, 1432}, {4280, 4280}, {5840, 5840}, {65535, 5840}} {
		b := hextext.Bytes(sambaBind)
		binary.LittleEndian.PutUint16(b[16:], c.offer)
		binary.LittleEndian.PutUint16(b[18:], c.offer)
		p := NewPipe([]Interface{echo()})
		out, _, err := p.Transact(t.Context(), b, 1024)
		if err != nil || binary.LittleEndian.Uint16(out[16:]) != c.want || binary.LittleEndian.Uint16(out[18:]) != c.want {
			t.Errorf("offer of %d: % x, %v", c.offer, out, err)
		}
		if _, _, err := p.Transact(t.Context(), request(whole, 1, 0, 1, []byte{0, 0, 1, 0}), 1); err != nil {
			t.Fatal(err)
		}
		if got := len(p.out[0]) + 1; got > int(c.want) || got < int(c.want)-8 {
			t.Errorf("offer of %d: a fragment of %d", c.offer, got)
		}
	}
}

func TestNDR(t *testing.T) {
	var w Writer
	w.U16(7)
	w.Pointer(true)
	w.Pointer(false)
	w.Pointer(true)
	w.String("hé")
	w.U32(9)
	want := hextext.Bytes(`
		0700 0000 00000200 00000000 04000200
		03000000 00000000 03000000 6800e9000000 0000 09000000`)
	if !bytes.Equal(w.Bytes(), want) || w.Len() != len(want) {
		t.Errorf("% x, want\n% x", w.Bytes(), want)
	}
	read := func(b []byte) (string, error) {
		r := NewReader(b)
		if r.U16() != 7 && r.Err() == nil {
			t.Error("U16")
		}
		a, b1, c := r.Pointer(), r.Pointer(), r.Pointer()
		s := r.String()
		if n := r.U32(); r.Err() == nil && (!a || b1 || !c || n != 9) {
			t.Error(a, b1, c, n)
		}
		return s, r.Err()
	}
	if s, err := read(want); s != "hé" || err != nil {
		t.Errorf("%q, %v", s, err)
	}
	for n := range want {
		if _, err := read(want[:n]); !errors.Is(err, FaultBadStub) {
			t.Errorf("cut at %d: %v", n, err)
		}
	}
	for name, s := range map[string]string{
		"count above size": `01000000 00000000 02000000 61000000`,
		"offset":           `02000000 01000000 01000000 61000000`,
		"4 G characters":   `ffffffff 00000000 ffffffff 61000000`,
		"half a surrogate": `01000000 00000000 01000000 00d80000`,
	} {
		r := NewReader(hextext.Bytes(s))
		if got := r.String(); got != "" || !errors.Is(r.Err(), FaultBadStub) {
			t.Errorf("%s: %q, %v", name, got, r.Err())
		}
	}
	r := NewReader(hextext.Bytes(`04000000 00000000 04000000 6100000062000000`))
	if got := r.String(); got != "a" || r.Err() != nil {
		t.Errorf("text behind NUL: %q, %v", got, r.Err())
	}
	r = NewReader(hextext.Bytes(`00000000`))
	if s, ok := r.UniqueString(); s != "" || ok || r.Err() != nil {
		t.Errorf("null: %q, %v, %v", s, ok, r.Err())
	}
}

// FuzzPipe writes bytes in two pieces to a pipe that is bound and one that is not, and reads what comes back.
func FuzzPipe(f *testing.F) {
	f.Add(hextext.Bytes(windowsBind), 20)
	f.Add(hextext.Bytes(sambaBind), 3)
	f.Add(append(request(whole, 1, 0, 0, []byte("x")), request(pfFirst, 2, 0, 1, make([]byte, 4))...), 30)
	f.Add(appendPDU(nil, ptOrphaned, whole, 1, nil), 1)
	f.Fuzz(func(t *testing.T, b []byte, cut int) {
		cut = min(max(cut, 0), len(b))
		for _, p := range []*Pipe{NewPipe([]Interface{echo()}), bound(t)} {
			if p.Write(t.Context(), b[:cut]) == nil {
				_ = p.Write(t.Context(), b[cut:])
			}
			for p.Pending() > 0 {
				before := p.Pending()
				out, _, err := p.Read(1000)
				if err != nil || before-len(out) != p.Pending() {
					t.Fatalf("read %d of %d, %v", len(out), before, err)
				}
			}
		}
	})
}

func TestGUIDConstants(t *testing.T) {
	// The bytes that are on the wire, C706 appendix I and [MS-RPCE] 2.2.2.14.
	for g, want := range map[dtyp.GUID]string{
		ndr.uuid: "045d888aeb1cc9119fe808002b104860",
		features: "2c1cb76c129840450000000000000000",
	} {
		if got := hex.EncodeToString(g[:]); got != want {
			t.Errorf("%v is %s", g, got)
		}
	}
}
