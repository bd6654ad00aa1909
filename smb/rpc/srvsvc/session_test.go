package srvsvc

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postern-nas/postern/smb/hextext"
	"github.com/postern-nas/postern/smb/rpc"
)

// busy is an administrator's view of a server with three users.
func busy() (source, *[]string) {
	ended := new([]string)
	return source{
		shares: demo.shares, server: Server{Name: "NAS", Admin: true}, ended: ended,
		sessions: []Session{
			{Client: "10.0.0.1", User: "alice", Transport: `\Device\QUIC`, Opens: 2, Active: 90 * time.Second, Idle: 1500 * time.Millisecond},
			{Client: "10.0.0.2", User: "bob", Transport: `\Device\TCP`, Active: time.Hour, Idle: -time.Second},
			{Client: "10.0.0.2", User: "alice"},
		},
		connections: []Connection{
			{ID: 1, Opens: 4, Type: TypeDisk, Active: time.Minute, User: "alice", Share: "disk", Client: "10.0.0.1"},
			{ID: 2, Type: TypeIPC | TypeSpecial, User: "bob", Share: "IPC$", Client: "10.0.0.2"},
		},
		files: []File{
			{ID: 7, Permissions: PermissionRead, Path: `C:\disk\a`, User: "alice"},
			{ID: 9, Permissions: PermissionRead | PermissionWrite, Locks: 2, Path: `C:\disk\sub\b`, User: "bob"},
		},
	}, ended
}

// ask makes the stub of an enumeration with texts (a nil pointer for "-") before it.
func ask(level uint32, texts ...string) []byte {
	var w rpc.Writer
	for _, t := range append([]string{`\\server`}, texts...) {
		w.Pointer(t != "-")
		if t != "-" {
			w.String(t)
		}
	}
	w.U32(level)
	w.U32(level)
	w.Pointer(true)
	w.U32(0)
	w.Pointer(false)
	w.U32(0xFFFFFFFF)
	w.Pointer(false)
	return w.Bytes()
}

// rows reads the answer of an enumeration whose structures have the fields of layout, n for a number and t for a text,
// and writes each as its fields with commas.
func (r *reading) rows(level uint32, layout string) (list []string, result uint32) {
	r.t.Helper()
	if a, b := r.u32(), r.u32(); a != level || b != level {
		r.t.Fatalf("level %d: answered %d, %d", level, a, b)
	}
	if r.u32() != 0 {
		n := r.u32()
		if there := r.u32() != 0; there != (n > 0) || there && r.u32() != n {
			r.t.Fatal("rows or not?")
		}
		list = r.structures(layout, int(n))
	}
	if total := r.u32(); int(total) != len(list) {
		r.t.Errorf("total %d of %d", total, len(list))
	}
	if r.u32() != 0 {
		r.t.Error("a resume handle")
	}
	return list, r.end()
}

func (r *reading) structures(layout string, n int) (list []string) {
	r.t.Helper()
	all := make([][]string, n)
	for i := range all {
		for _, f := range layout {
			if v := r.u32(); f == 'n' {
				all[i] = append(all[i], fmt.Sprint(v))
			} else if all[i] = append(all[i], ""); v == 0 {
				r.t.Error("a null text")
			}
		}
	}
	for i := range all {
		for j, f := range layout {
			if f == 't' {
				all[i][j] = r.text()
			}
		}
		list = append(list, strings.Join(all[i], ","))
	}
	return list
}

func TestEnumerations(t *testing.T) {
	src, _ := busy()
	for _, c := range []struct {
		name   string
		op     uint16
		level  uint32
		texts  []string
		layout string
		result uint32
		want   []string
	}{
		{"sessions 0", 12, 0, []string{"-", "-"}, "t", 0, []string{"10.0.0.1", "10.0.0.2", "10.0.0.2"}},
		{"sessions 1", 12, 1, []string{"-", "-"}, "ttnnnn", 0, []string{"10.0.0.1,alice,2,90,1,0", "10.0.0.2,bob,0,3600,0,0", "10.0.0.2,alice,0,0,0,0"}},
		{"sessions 2", 12, 2, []string{"-", "bob"}, "ttnnnnt", 0, []string{"10.0.0.2,bob,0,3600,0,0,"}},
		{"sessions 10", 12, 10, []string{`\\10.0.0.2`, "ALICE"}, "ttnn", 0, []string{"10.0.0.2,alice,0,0"}},
		{"sessions 502", 12, 502, []string{"10.0.0.1", "-"}, "ttnnnntt", 0, []string{`10.0.0.1,alice,2,90,1,0,,\Device\QUIC`}},
		{"sessions of nobody", 12, 1, []string{"-", "carol"}, "", 2221, nil},
		{"sessions from nowhere", 12, 1, []string{"10.9.9.9", "-"}, "", 2312, nil},
		{"connections 0", 8, 0, []string{"DISK"}, "n", 0, []string{"1"}},
		{"connections 1", 8, 1, []string{"disk"}, "nnnnntt", 0, []string{"1,0,4,1,60,alice,10.0.0.1"}},
		{"connections of a client", 8, 1, []string{`\\10.0.0.2`}, "nnnnntt", 0, []string{"2,2147483651,0,1,0,bob,IPC$"}},
		{"connections of no share", 8, 1, []string{"nothing"}, "", 2310, nil},
		{"connections of nothing", 8, 1, []string{"-"}, "", 87, nil},
		{"files 2", 9, 2, []string{"-", "-"}, "n", 0, []string{"7", "9"}},
		{"files 3", 9, 3, []string{"-", "-"}, "nnntt", 0, []string{`7,1,0,C:\disk\a,alice`, `9,3,2,C:\disk\sub\b,bob`}},
		{"files beneath", 9, 3, []string{`c:\DISK\sub`, "-"}, "nnntt", 0, []string{`9,3,2,C:\disk\sub\b,bob`}},
		{"files of a user", 9, 2, []string{"-", "Alice"}, "n", 0, []string{"7"}},
		{"files of nobody", 9, 2, []string{"-", "carol"}, "n", 0, nil},
	} {
		stub := ask(c.level, c.texts...)
		r := &reading{t: t, b: call(t, src, c.op, stub)}
		if got, result := r.rows(c.level, c.layout); result != c.result || !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, error %d; want %q, %d", c.name, got, result, c.want, c.result)
		}
		// Whoever is no administrator is told nothing at all.
		user := src
		user.server.Admin = false
		r = &reading{t: t, b: call(t, user, c.op, stub)}
		if got, result := r.rows(c.level, ""); result != 5 || got != nil {
			t.Errorf("%s for a user: %q, error %d", c.name, got, result)
		}
		for n := range stub {
			if _, err := New(src).Call(t.Context(), c.op, stub[:n]); !errors.Is(err, rpc.FaultBadStub) {
				t.Errorf("%s cut at %d: %v", c.name, n, err)
			}
		}
	}
	for op, level := range map[uint16]uint32{8: 2, 9: 0, 12: 3, 26: 4} {
		texts := map[uint16][]string{8: {"-"}, 9: {"-", "-"}, 12: {"-", "-"}}[op]
		if _, err := New(src).Call(t.Context(), op, ask(level, texts...)); !errors.Is(err, rpc.FaultInvalidTag) {
			t.Errorf("operation %d, level %d: %v", op, level, err)
		}
	}
}

func TestFileGetInfo(t *testing.T) {
	src, _ := busy()
	stub := func(id, level uint32) []byte {
		var w rpc.Writer
		w.Pointer(false)
		w.U32(id)
		w.U32(level)
		return w.Bytes()
	}
	for _, c := range []struct {
		id, level uint32
		admin     bool
		result    uint32
		want      []string
	}{
		{9, 3, true, 0, []string{`9,3,2,C:\disk\sub\b,bob`}},
		{9, 3, false, 5, nil},
		{8, 3, true, 2314, nil},
	} {
		s := src
		s.server.Admin = c.admin
		r := &reading{t: t, b: call(t, s, 10, stub(c.id, c.level))}
		var got []string
		if r.u32(); r.u32() != 0 {
			got = r.structures("nnntt", 1)
		}
		if result := r.end(); result != c.result || !slices.Equal(got, c.want) {
			t.Errorf("%+v: %q, error %d", c, got, result)
		}
	}
	if _, err := New(src).Call(t.Context(), 10, stub(9, 1)); !errors.Is(err, rpc.FaultInvalidTag) {
		t.Errorf("level 1: %v", err)
	}
}

// What ends sessions and opens: for administrators, and only what they name.
func TestEnding(t *testing.T) {
	del := func(texts ...string) []byte {
		var w rpc.Writer
		for _, t := range append([]string{"-"}, texts...) {
			w.Pointer(t != "-")
			if t != "-" {
				w.String(t)
			}
		}
		return w.Bytes()
	}
	file := func(id uint32) []byte {
		var w rpc.Writer
		w.Pointer(false)
		w.U32(id)
		return w.Bytes()
	}
	for _, c := range []struct {
		name   string
		op     uint16
		stub   []byte
		result uint32
		ended  []string
	}{
		{"a client", 13, del(`\\10.0.0.2`, "-"), 0, []string{"bob@10.0.0.2", "alice@10.0.0.2"}},
		{"a user", 13, del("-", "alice"), 0, []string{"alice@10.0.0.1", "alice@10.0.0.2"}},
		{"a user there", 13, del("10.0.0.2", "alice"), 0, []string{"alice@10.0.0.2"}},
		{"nobody", 13, del("10.0.0.9", "alice"), 2312, nil},
		{"everybody", 13, del("-", "-"), 87, nil},
		{"everybody, empty", 13, del("", ""), 87, nil},
		{"a file", 11, file(9), 0, []string{`C:\disk\sub\b`}},
		{"no file", 11, file(8), 2314, nil},
	} {
		src, ended := busy()
		r := &reading{t: t, b: call(t, src, c.op, c.stub)}
		if result := r.end(); result != c.result || !slices.Equal(*ended, c.ended) {
			t.Errorf("%s: error %d, ended %q", c.name, result, *ended)
		}
		src, ended = busy()
		src.server.Admin = false
		r = &reading{t: t, b: call(t, src, c.op, c.stub)}
		if result := r.end(); result != 5 || *ended != nil {
			t.Errorf("%s by a user: error %d, ended %q", c.name, result, *ended)
		}
		for n := range c.stub {
			if _, err := New(src).Call(t.Context(), c.op, c.stub[:n]); !errors.Is(err, rpc.FaultBadStub) {
				t.Errorf("%s cut at %d: %v", c.name, n, err)
			}
		}
	}
}

func TestShareCheck(t *testing.T) {
	for _, c := range []struct {
		path         string
		src          Source
		kind, result uint32
	}{
		{`c:\DISK`, admin(), TypeDisk, 0}, {`C:\other`, admin(), 0, 2311}, {`C:\disk`, demo, 0, 5},
	} {
		var w rpc.Writer
		w.Pointer(false)
		w.String(c.path)
		r := &reading{t: t, b: call(t, c.src, 20, w.Bytes())}
		if kind, result := r.u32(), r.end(); kind != c.kind || result != c.result {
			t.Errorf("%q: type %d, error %d", c.path, kind, result)
		}
	}
}

// The disk is a varying string in a varying array, unlike all others.
func TestServerDiskEnum(t *testing.T) {
	stub := hextext.Bytes("00000000 00000000 00000000 00000000 ffffffff 00000200 00000000")
	want := hextext.Bytes(`
		02000000 00000200 02000000 00000000 02000000 # two entries
		00000000 03000000 43003a000000 0000           # C:
		00000000 01000000 0000 0000                   # the end
		02000000 04000200 00000000 00000000`)
	if got := call(t, admin(), 23, stub); !slices.Equal(got, want) {
		t.Errorf("% x, want\n% x", got, want)
	}
	r := &reading{t: t, b: call(t, demo, 23, stub)}
	for i, want := range []uint32{0, 0, 0, 0x20000, 0} {
		if got := r.u32(); got != want {
			t.Errorf("for a user: word %d is %#x", i, got)
		}
	}
	if result := r.end(); result != 5 {
		t.Errorf("for a user: error %d", result)
	}
	level1 := slices.Clone(stub)
	level1[4] = 1
	if b := call(t, admin(), 23, level1); b[len(b)-4] != 124 {
		t.Errorf("level 1: % x", b)
	}
	full := slices.Clone(stub)
	copy(full[12:], "\x01\x00\x00\x00\x05\x00\x00\x00")
	for n := range stub {
		if _, err := New(admin()).Call(t.Context(), 23, stub[:n]); !errors.Is(err, rpc.FaultBadStub) {
			t.Errorf("cut at %d: %v", n, err)
		}
	}
	if _, err := New(admin()).Call(t.Context(), 23, full); !errors.Is(err, rpc.FaultBadStub) {
		t.Errorf("disks from the client: %v", err)
	}
}

func TestServerTransportEnum(t *testing.T) {
	for level, last := range map[uint32]string{0: "", 1: "t"} {
		r := &reading{t: t, b: call(t, admin(), 26, ask(level))}
		r.u32()
		r.u32()
		r.u32()
		if r.u32() != 1 {
			t.Fatal("not one transport")
		}
		r.u32()
		r.u32()
		words := []uint32{3, 0x20008, 0x2000C, 12, 0x20010}
		if last != "" {
			words = append(words, 0x20014)
		}
		for i, want := range words {
			if got := r.u32(); got != want {
				t.Errorf("level %d: word %d is %#x, want %#x", level, i, got, want)
			}
		}
		if name := r.text(); name != `\Device\TCP` {
			t.Errorf("name %q", name)
		}
		n := r.u32()
		address := string(r.b[r.off : r.off+int(n)])
		r.off += int(n)
		if network := r.text(); address != "10.0.0.1:445" || network != address {
			t.Errorf("address %q, %q", address, network)
		}
		if last != "" && r.text() != "" {
			t.Error("a domain")
		}
		if total, resume, result := r.u32(), r.u32(), r.end(); total != 1 || resume != 0 || result != 0 {
			t.Error(total, resume, result)
		}
	}
	r := &reading{t: t, b: call(t, admin(), 26, ask(2))}
	if _, result := r.rows(2, ""); result != 124 {
		t.Errorf("level 2: error %d", result)
	}
}

func TestServerStatisticsGet(t *testing.T) {
	stub := hextext.Bytes("00000000 00000200 02000000 00000000 02000000 53000000 00000000 00000000")
	r := &reading{t: t, b: call(t, admin(), 24, stub)}
	for i, want := range []uint32{0x20000, 1000, 2, 0, 0, 3, 0, 4, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0} {
		if got := r.u32(); got != want {
			t.Errorf("word %d is %#x", i, got)
		}
	}
	if r.end() != 0 {
		t.Error("no success")
	}
	r = &reading{t: t, b: call(t, demo, 24, stub)}
	if pointer, result := r.u32(), r.end(); pointer != 0 || result != 5 {
		t.Errorf("for a user: %#x, %d", pointer, result)
	}
}

func TestNameValidate(t *testing.T) {
	for _, c := range []struct {
		name        string
		kind, flags uint32
		want        uint32
	}{
		{"alice", 1, 0, 0},
		{"al/ice", 1, 0, 123},
		{"", 1, 0, 123},
		{strings.Repeat("a", 256), 1, 0, 0},
		{strings.Repeat("a", 257), 1, 0, 123},
		{strings.Repeat("a", 20), 1, 0x80000000, 0},
		{strings.Repeat("a", 21), 1, 0x80000000, 123},
		{strings.Repeat("s", 80), 9, 0, 0},
		{strings.Repeat("s", 81), 9, 0, 123},
		{strings.Repeat("s", 13), 9, 0x80000000, 123},
		{"a\tb", 9, 0, 123},
		{"", 2, 0, 0},
		{"NAS", 4, 0, 0},
		{"my nas", 4, 0, 123},
		{"x", 0, 0, 87},
		{"x", 14, 0, 87},
		{"x", 1, 1, 87},
	} {
		var w rpc.Writer
		w.Pointer(false)
		w.String(c.name)
		w.U32(c.kind)
		w.U32(c.flags)
		r := &reading{t: t, b: call(t, demo, 33, w.Bytes())}
		if got := r.end(); got != c.want {
			t.Errorf("%q, type %d, flags %#x: error %d, want %d", c.name, c.kind, c.flags, got, c.want)
		}
	}
}
