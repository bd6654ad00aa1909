package srvsvc

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/postern-nas/postern/smb/rpc"
)

// changeStub makes NetrShareAdd's stub, or with a share's name NetrShareSetInfo's.
func changeStub(name string, level uint32, fields []any) []byte {
	var w rpc.Writer
	w.Pointer(false)
	if name != "" {
		w.String(name)
	}
	w.U32(level)
	w.U32(level)
	w.Pointer(true)
	w.Row(fields)
	w.Pointer(true) // ParmErr
	w.U32(7)
	return w.Bytes()
}

const unlimited = uint32(0xFFFFFFFF)

// addLayout is a SHARE_INFO_502.
var addLayout = []any{"new", TypeDisk, "a folder", uint32(0), unlimited, uint32(0), `C:\disk\sub`, nil, uint32(0), []byte(nil)}

// with returns fields with one of them changed.
func with(fields []any, at int, v any) []any {
	c := slices.Clone(fields)
	c[at] = v
	return c
}

func TestShareChanges(t *testing.T) {
	two := addLayout[:8]
	three := append(slices.Clone(two), "*", uint32(0), []byte(nil))
	remove := func(name string) []byte { return shareGetInfo(name, 0) }
	added := []string{`add new C:\disk\sub "a folder"`}
	for _, c := range []struct {
		name   string
		op     uint16
		stub   []byte
		result uint32
		done   []string
	}{
		{"add 2", 14, changeStub("", 2, two), 0, added},
		{"add as net does", 14, changeStub("", 2, with(two, 4, uint32(0))), 0, added},
		{"add 502", 14, changeStub("", 502, addLayout), 0, added},
		{"add 503", 14, changeStub("", 503, three), 0, added},
		{"add without a comment", 14, changeStub("", 2, with(two, 2, nil)), 0, []string{`add new C:\disk\sub ""`}},
		{"add 1", 14, changeStub("", 1, []any{"new", TypeDisk, ""}), 124, nil},
		{"add no name", 14, changeStub("", 2, with(two, 0, "")), 123, nil},
		{"add a null name", 14, changeStub("", 2, with(two, 0, nil)), 123, nil},
		{"add a wrong name", 14, changeStub("", 2, with(two, 0, `a\b`)), 123, nil},
		{"add a pipe", 14, changeStub("", 2, with(two, 1, TypeIPC)), 87, nil},
		{"add with a limit", 14, changeStub("", 2, with(two, 4, uint32(5))), 50, nil},
		{"add with security", 14, changeStub("", 502, with(with(addLayout, 8, uint32(4)), 9, []byte{1, 2, 3, 4})), 50, nil},
		{"add with a long comment", 14, changeStub("", 2, with(two, 2, strings.Repeat("c", 257))), 87, nil},
		{"set 1", 17, changeStub("disk", 1, []any{"x", TypeDisk, "c"}), 0, []string{`set disk "c"`}},
		{"set 2", 17, changeStub("disk", 2, two), 0, []string{`set disk "a folder"`}},
		{"set 502", 17, changeStub("disk", 502, addLayout), 0, []string{`set disk "a folder"`}},
		{"set 1004", 17, changeStub("disk", 1004, []any{"c"}), 0, []string{`set disk "c"`}},
		{"set 1004 to nothing", 17, changeStub("disk", 1004, []any{nil}), 0, []string{`set disk ""`}},
		{"set 0", 17, changeStub("disk", 0, []any{"x"}), 124, nil},
		{"set 501", 17, changeStub("disk", 501, []any{"x", TypeDisk, "c", uint32(0)}), 124, nil},
		{"set flags", 17, changeStub("disk", 1005, []any{uint32(0)}), 50, nil},
		{"set a limit", 17, changeStub("disk", 1006, []any{uint32(5)}), 50, nil},
		{"set security", 17, changeStub("disk", 1501, []any{uint32(1), []byte{1}}), 50, nil},
		{"remove", 18, remove("disk"), 2310, []string{"remove disk"}},
		{"remove sticky", 19, remove("disk"), 2310, []string{"remove disk"}},
	} {
		src, done := busy()
		r := &reading{t: t, b: call(t, src, c.op, c.stub)}
		if c.op < 18 {
			if pointer, which := r.u32(), r.u32(); pointer == 0 || which != 0 {
				t.Errorf("%s: ParmErr %#x, %d", c.name, pointer, which)
			}
		}
		if result := r.end(); result != c.result || !slices.Equal(*done, c.done) {
			t.Errorf("%s: error %d, %q; want %d, %q", c.name, result, *done, c.result, c.done)
		}
		// Whoever is no administrator changes nothing, whatever is wrong besides.
		src, done = busy()
		src.server.Admin = false
		out := call(t, src, c.op, c.stub)
		if out[len(out)-4] != 5 || *done != nil {
			t.Errorf("%s by a user: % x, %q", c.name, out, *done)
		}
		for n := range c.stub {
			if _, err := New(src).Call(t.Context(), c.op, c.stub[:n]); !errors.Is(err, rpc.FaultBadStub) {
				t.Errorf("%s cut at %d: %v", c.name, n, err)
			}
		}
	}
	src, done := busy()
	null := changeStub("", 2, two)
	copy(null[12:], "\x00\x00\x00\x00") // the union's pointer
	other := changeStub("", 2, two)
	other[8] = 1
	huge := changeStub("", 502, with(addLayout, 9, []byte{1, 2, 3, 4}))
	copy(huge[len(huge)-16:], "\xff\xff\xff\xff")
	for name, x := range map[string]struct {
		stub []byte
		want rpc.Fault
	}{"null": {null, rpc.FaultBadStub}, "another arm": {other, rpc.FaultBadStub}, "4 G of security": {huge, rpc.FaultBadStub}, "no arm": {changeStub("", 7, two), rpc.FaultInvalidTag}} {
		if _, err := New(src).Call(t.Context(), 14, x.stub); !errors.Is(err, x.want) || *done != nil {
			t.Errorf("%s: %v, %q", name, err, *done)
		}
	}
}
