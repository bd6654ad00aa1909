package srvsvc

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf16"

	"github.com/postern-nas/postern/smb/hextext"
	"github.com/postern-nas/postern/smb/rpc"
)

type source struct {
	shares      []Share
	server      Server
	sessions    []Session
	connections []Connection
	files       []File
	ended       *[]string
}

func (s source) Sessions(context.Context) []Session       { return s.sessions }
func (s source) Connections(context.Context) []Connection { return s.connections }
func (s source) Files(context.Context) []File             { return s.files }

func (s source) Transports(context.Context) []Transport {
	return []Transport{{Name: `\Device\TCP`, Address: "10.0.0.1:445", Connections: 3}}
}

func (s source) Statistics(context.Context) Statistics {
	return Statistics{Start: time.Unix(1000, 0), FilesOpened: 2, Sessions: 3, Errors: 4, WrongPasswords: 5}
}

func (s source) EndSessions(_ context.Context, gone func(*Session) bool) (n int) {
	for _, ses := range s.sessions {
		if gone(&ses) {
			*s.ended = append(*s.ended, ses.User+"@"+ses.Client)
			n++
		}
	}
	return n
}

func (s source) CloseFile(_ context.Context, id uint32) bool {
	for _, f := range s.files {
		if f.ID == id {
			*s.ended = append(*s.ended, f.Path)
			return true
		}
	}
	return false
}

func (s source) Shares(context.Context) []Share { return s.shares }
func (s source) Server(context.Context) Server  { return s.server }

var demo = source{
	shares: []Share{
		{Name: "disk", Comment: "Files", Path: `C:\disk`, Flags: 0x30, Uses: 2},
		{Name: "IPC$", Comment: "Remote IPC", Type: TypeIPC | TypeSpecial},
		{Name: "Ü", MaxUses: 5},
	},
	server: Server{Name: "NAS", Comment: "box", Major: 10},
}

func admin() source {
	s := demo
	s.server.Admin = true
	return s
}

func call(t testing.TB, s Source, opnum uint16, stub []byte) []byte {
	t.Helper()
	out, err := New(s).Call(t.Context(), opnum, stub)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (s source) AddShare(_ context.Context, name, path, comment string) rpc.Win32 {
	*s.ended = append(*s.ended, fmt.Sprintf("add %s %s %q", name, path, comment))
	return rpc.Win32Success
}

func (s source) SetShareComment(_ context.Context, name, comment string) rpc.Win32 {
	*s.ended = append(*s.ended, fmt.Sprintf("set %s %q", name, comment))
	return rpc.Win32Success
}

func (s source) RemoveShare(_ context.Context, name string) rpc.Win32 {
	*s.ended = append(*s.ended, "remove "+name)
	return rpc.NerrNetNameNotFound
}

// NetrShareEnum level 1 as a client that lists shares sends it, from the IDL of [MS-SRVS] and C706 chapter 14.
const enumRequest = `
	00000200 04000000 00000000 04000000 5c005c006e000000 # "\\n"
	01000000 01000000 04000200 00000000 00000000         # level, union, container of none
	ffffffff 08000200 00000000                           # everything, from the start
	`

func TestShareEnumVector(t *testing.T) {
	src := source{shares: demo.shares[:2]}
	want := hextext.Bytes(`
		01000000 01000000 00000200 02000000 04000200 # level, union, container of 2
		02000000                                     # array of 2
		08000200 00000000 0c000200                   # disk: name, type, comment
		10000200 03000080 14000200                   # IPC$
		05000000 00000000 05000000 6400690073006b000000 0000
		06000000 00000000 06000000 460069006c00650073000000
		05000000 00000000 05000000 49005000430024000000 0000
		0b000000 00000000 0b000000 520065006d006f007400650020004900500043000000 0000
		02000000 18000200 00000000 00000000          # total, resume handle, success
	`)
	if got := call(t, src, 15, hextext.Bytes(enumRequest)); !bytes.Equal(got, want) {
		t.Errorf("% x, want\n% x", got, want)
	}
}

// A reading takes replies apart with nothing but offsets, so that it and the writer do not share mistakes.
type reading struct {
	t   *testing.T
	b   []byte
	off int
}

func (r *reading) u32() uint32 {
	r.t.Helper()
	r.off = (r.off + 3) &^ 3
	if r.off+4 > len(r.b) {
		r.t.Fatalf("reply ends at %d", r.off)
	}
	r.off += 4
	return binary.LittleEndian.Uint32(r.b[r.off-4:])
}

func (r *reading) text() string {
	r.t.Helper()
	size, offset, n := r.u32(), r.u32(), r.u32()
	if size != n || offset != 0 || n == 0 || r.off+2*int(n) > len(r.b) {
		r.t.Fatalf("string of %d, %d, %d", size, offset, n)
	}
	u := make([]uint16, n)
	for i := range u {
		u[i] = binary.LittleEndian.Uint16(r.b[r.off+2*i:])
	}
	r.off += 2 * int(n)
	if u[n-1] != 0 {
		r.t.Fatal("no terminator")
	}
	return string(utf16.Decode(u[:n-1]))
}

// end checks that all was read and returns the error code.
func (r *reading) end() uint32 {
	r.t.Helper()
	v := r.u32()
	if r.off != len(r.b) {
		r.t.Fatalf("%d bytes after the end", len(r.b)-r.off)
	}
	return v
}

// shareFields says for each level which fields there are: n, c, p are texts, others numbers.
var shareFields = map[uint32]string{
	0:    "n",
	1:    "ntc",
	2:    "ntcmxup0",
	501:  "ntcf",
	502:  "ntcmxup0s0",
	503:  "ntcmxup0hs0",
	1004: "c",
	1005: "f",
	1006: "x",
}

// shares reads n shares of a level.
func (r *reading) shares(level uint32, n int) (list []Share) {
	list = make([]Share, n)
	for i := range list {
		for _, f := range shareFields[level] {
			v := r.u32()
			switch f {
			case 't':
				list[i].Type = v
			case 'f':
				list[i].Flags = v
			case 'u':
				list[i].Uses = v
			case 'x':
				if list[i].MaxUses = v; v == 0xFFFFFFFF {
					list[i].MaxUses = 0
				}
			case 'n', 'c', 'p', 'h':
				if v == 0 {
					r.t.Error("null string")
				}
			default:
				if v != 0 {
					r.t.Errorf("%c is %#x", f, v)
				}
			}
		}
	}
	for i := range list {
		for _, f := range shareFields[level] {
			switch f {
			case 'n':
				list[i].Name = r.text()
			case 'c':
				list[i].Comment = r.text()
			case 'p':
				list[i].Path = r.text()
			case 'h':
				if host := r.text(); host != "*" {
					r.t.Errorf("server %q", host)
				}
			}
		}
	}
	return list
}

// known returns s with only the fields that a level has.
func known(s Share, level uint32) (out Share) {
	for _, f := range shareFields[level] {
		switch f {
		case 'n':
			out.Name = s.Name
		case 'c':
			out.Comment = s.Comment
		case 'p':
			out.Path = s.Path
		case 't':
			out.Type = s.Type
		case 'f':
			out.Flags = s.Flags
		case 'u':
			out.Uses = s.Uses
		case 'x':
			out.MaxUses = s.MaxUses
		}
	}
	return out
}

func enum(level, preferred uint32, resume int64) []byte {
	var w rpc.Writer
	w.Pointer(true)
	w.String(`\\server`)
	w.U32(level)
	w.U32(level)
	w.Pointer(true)
	w.U32(0)
	w.Pointer(false)
	w.U32(preferred)
	w.Pointer(resume >= 0)
	if resume >= 0 {
		w.U32(uint32(resume))
	}
	return w.Bytes()
}

func TestShareEnumLevels(t *testing.T) {
	for _, c := range []struct {
		level       uint32
		user, admin uint32
	}{{0, 0, 0}, {1, 0, 0}, {2, 5, 0}, {501, 0, 0}, {502, 5, 0}, {503, 5, 0}, {1004, 124, 124}, {1005, 124, 124}, {1501, 124, 124}} {
		for src, want := range map[Source]uint32{&demo: c.user, ptr(admin()): c.admin} {
			for _, op := range []uint16{15, 36} {
				if op == 36 && c.level == 501 { // not among the sticky ones
					want = 124
				}
				r := &reading{t: t, b: call(t, src, op, enum(c.level, 0xFFFFFFFF, 0))}
				if number, union := r.u32(), r.u32(); number != c.level || union != c.level {
					t.Errorf("level %d: answered %d, %d", c.level, number, union)
				}
				var list []Share
				total := uint32(0)
				if container := r.u32(); container != 0 {
					n := r.u32()
					if array := r.u32(); array == 0 || r.u32() != n {
						t.Fatalf("level %d: %d shares, array %#x", c.level, n, array)
					}
					list, total = r.shares(c.level, int(n)), n
				}
				if n := r.u32(); n != total {
					t.Errorf("level %d: total %d of %d", c.level, n, total)
				}
				if pointer, resume := r.u32(), r.u32(); pointer == 0 || resume != 0 {
					t.Errorf("level %d: resume handle %d at %#x", c.level, resume, pointer)
				}
				if got := r.end(); got != want {
					t.Errorf("level %d: error %d, want %d", c.level, got, want)
				}
				if want != 0 {
					if list != nil {
						t.Errorf("level %d: %d shares with an error", c.level, len(list))
					}
					continue
				}
				for i := range demo.shares {
					if i >= len(list) || list[i] != known(demo.shares[i], c.level) {
						t.Fatalf("level %d: %+v", c.level, list)
					}
				}
			}
		}
	}
}

func ptr(s source) *source { return &s }

func TestShareEnumEmpty(t *testing.T) {
	r := &reading{t: t, b: call(t, source{}, 15, enum(1, 0xFFFFFFFF, -1))}
	for i, want := range []uint32{1, 1, 0x20000, 0, 0, 0, 0} { // container, no shares, no array, total, no resume handle
		if got := r.u32(); got != want {
			t.Errorf("word %d is %#x", i, got)
		}
	}
	if r.end() != 0 {
		t.Error("not a success")
	}
}

// TestShareEnumResume lists many shares in pieces of every size.
func TestShareEnumResume(t *testing.T) {
	var src source
	for i := range 30 {
		src.shares = append(src.shares, Share{Name: fmt.Sprintf("share%d", i), Comment: strings.Repeat("c", i)})
	}
	for _, preferred := range []uint32{0, 1, 40, 100, 1000, 5000} {
		var all []Share
		var resume uint32
		for calls := 0; ; calls++ {
			if calls > len(src.shares) {
				t.Fatalf("preferring %d: no end", preferred)
			}
			r := &reading{t: t, b: call(t, src, 15, enum(1, preferred, int64(resume)))}
			r.u32()
			r.u32()
			r.u32()
			n := r.u32()
			r.u32()
			r.u32()
			all = append(all, r.shares(1, int(n))...)
			if total := r.u32(); total != uint32(len(src.shares))-resume {
				t.Errorf("total %d from %d", total, resume)
			}
			r.u32()
			resume = r.u32()
			if result := r.end(); result == 0 {
				break
			} else if result != 234 || int(resume) != len(all) {
				t.Fatalf("preferring %d: error %d, resume at %d after %d", preferred, result, resume, len(all))
			}
		}
		if !reflect.DeepEqual(all, src.shares) {
			t.Errorf("preferring %d: %d shares", preferred, len(all))
		}
	}
	// A handle from nowhere is the end.
	r := &reading{t: t, b: call(t, src, 15, enum(1, 100, 0xFFFFFFFF))}
	for i, want := range []uint32{1, 1, 0x20000, 0, 0, 0, 0x20004, 0} {
		if got := r.u32(); got != want {
			t.Errorf("word %d is %#x", i, got)
		}
	}
	if r.end() != 0 {
		t.Error("not a success")
	}
}

// TestSEC12ReplyBound: a reply is bounded whatever the client prefers and however much there is.
func TestSEC12ReplyBound(t *testing.T) {
	var src source
	for range 100 {
		src.shares = append(src.shares, Share{Name: "s", Comment: strings.Repeat("c", 32000)})
	}
	if out := call(t, src, 15, enum(1, 0xFFFFFFFF, 0)); len(out) > rpc.MaxList+1000 {
		t.Errorf("%d bytes", len(out))
	}
}

func shareGetInfo(name string, level uint32) []byte {
	var w rpc.Writer
	w.Pointer(false)
	w.String(name)
	w.U32(level)
	return w.Bytes()
}

func TestShareGetInfo(t *testing.T) {
	for _, c := range []struct {
		src   Source
		name  string
		level uint32
		want  uint32
		share int
	}{
		{demo, "disk", 0, 0, 0},
		{demo, "DISK", 1, 0, 0},
		{demo, "ü", 1, 0, 2},
		{demo, "ipc$", 501, 0, 1},
		{demo, "disk", 1005, 0, 0},
		{demo, "disk", 2, 5, 0},
		{demo, "disk", 502, 5, 0},
		{admin(), "disk", 2, 0, 0},
		{admin(), "disk", 502, 0, 0},
		{demo, "nothing", 1, 2310, 0},
		{demo, "", 1, 2310, 0},
		{demo, "disk", 503, 5, 0},
		{admin(), "disk", 503, 0, 0},
		{demo, "disk", 1004, 0, 0},
		{demo, "disk", 1006, 5, 0},
		{admin(), "Ü", 1006, 0, 2},
		{demo, "disk", 1501, 5, 0},
		{demo, "disk", 1007, 5, 0},
	} {
		r := &reading{t: t, b: call(t, c.src, 16, shareGetInfo(c.name, c.level))}
		if r.u32() != c.level {
			t.Errorf("%s, level %d: another answered", c.name, c.level)
		}
		if pointer := r.u32(); (pointer != 0) != (c.want == 0) {
			t.Fatalf("%s, level %d: pointer %#x", c.name, c.level, pointer)
		}
		if c.want == 0 {
			if got := r.shares(c.level, 1)[0]; got != known(demo.shares[c.share], c.level) {
				t.Errorf("%s, level %d: %+v", c.name, c.level, got)
			}
		}
		if got := r.end(); got != c.want {
			t.Errorf("%s, level %d: error %d, want %d", c.name, c.level, got, c.want)
		}
	}
}

func serverGetInfo(level uint32) []byte {
	var w rpc.Writer
	w.Pointer(true)
	w.String(`\\NAS`)
	w.U32(level)
	return w.Bytes()
}

func TestServerGetInfo(t *testing.T) {
	for _, c := range []struct {
		src         Source
		level, want uint32
	}{
		{demo, 100, 0},
		{demo, 101, 0},
		{demo, 102, 5},
		{admin(), 102, 0},
		{source{server: Server{Name: "NAS", Comment: "box"}}, 101, 0}, // no version is 10.0
		{demo, 103, 124},
		{demo, 502, 124},
	} {
		r := &reading{t: t, b: call(t, c.src, 21, serverGetInfo(c.level))}
		if r.u32() != c.level {
			t.Errorf("level %d: another answered", c.level)
		}
		if pointer := r.u32(); (pointer != 0) != (c.want == 0) {
			t.Fatalf("level %d: pointer %#x", c.level, pointer)
		}
		if c.want == 0 {
			words := []uint32{500, 0x20004}
			if c.level >= 101 {
				words = append(words, 10, 0, 0x9003, 0x20008)
			}
			if c.level == 102 {
				words = append(words, 0xFFFFFFFF, 0xFFFFFFFF, 0, 240, 3000, 0, 0x2000C)
			}
			for i, want := range words {
				if got := r.u32(); got != want {
					t.Errorf("level %d: word %d is %#x, want %#x", c.level, i, got, want)
				}
			}
			texts := []string{"NAS", "box", `c:\`}[:c.level-99]
			for _, want := range texts {
				if got := r.text(); got != want {
					t.Errorf("level %d: %q, want %q", c.level, got, want)
				}
			}
		}
		if got := r.end(); got != c.want {
			t.Errorf("level %d: error %d, want %d", c.level, got, c.want)
		}
	}
}

func TestRemoteTOD(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // the clock is at 2000-01-01 00:00 UTC, a Saturday
		time.Sleep(90*time.Minute + 5*time.Second + 670*time.Millisecond)
		r := &reading{t: t, b: call(t, demo, 28, []byte{0, 0, 0, 0})}
		const unix = 946684800 + 5405
		_, east := time.Now().Zone()
		ms := int64(unix)*1000 + 670
		for i, want := range []uint32{
			0x20000, unix, uint32(ms), 1, 30, 5, 67, uint32(int32(-east / 60)), 310, 1, 1, 2000, 6,
		} {
			if got := r.u32(); got != want {
				t.Errorf("word %d is %d, want %d", i, got, want)
			}
		}
		if r.end() != 0 {
			t.Error("not a success")
		}
	})
}

// TestUnknownLevel: a level that the IDL has no arm for cannot be answered.
func TestUnknownLevel(t *testing.T) {
	for _, level := range []uint32{3, 77, 1008, 0xFFFFFFFF} {
		for op, stub := range map[uint16][]byte{15: enum(level, 100, 0), 16: shareGetInfo("disk", level), 21: serverGetInfo(level)} {
			if _, err := New(admin()).Call(t.Context(), op, stub); !errors.Is(err, rpc.FaultInvalidTag) {
				t.Errorf("operation %d, level %d: %v", op, level, err)
			}
		}
	}
}

func TestUnknownOperation(t *testing.T) {
	for _, op := range []uint16{0, 22, 35, 37, 0xFFFF} {
		if _, err := New(demo).Call(t.Context(), op, make([]byte, 100)); !errors.Is(err, rpc.FaultOpRange) {
			t.Errorf("operation %d: %v", op, err)
		}
	}
}

// TestCutStubs cuts every request anywhere: a fault, and nothing else.
func TestCutStubs(t *testing.T) {
	for op, stub := range map[uint16][]byte{15: hextext.Bytes(enumRequest), 16: shareGetInfo("disk", 1), 21: {0, 0, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 101, 0, 0, 0}} {
		call(t, demo, op, stub)
		for n := range stub {
			if _, err := New(demo).Call(t.Context(), op, stub[:n]); !errors.Is(err, rpc.FaultBadStub) {
				t.Errorf("operation %d cut at %d: %v", op, n, err)
			}
		}
	}
	for name, change := range map[string]func(b []byte){
		"union of another level": func(b []byte) { b[28] = 2 },
		"shares from the client": func(b []byte) { b[40] = 1 },
		"server of 4 G":          func(b []byte) { copy(b[4:], "\xff\xff\xff\xff\x00\x00\x00\x00\xff\xff\xff\xff") },
	} {
		b := hextext.Bytes(enumRequest)
		change(b)
		if _, err := New(demo).Call(t.Context(), 15, b); !errors.Is(err, rpc.FaultBadStub) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestOverPipe lists shares as a client does: bind, call, read.
func TestOverPipe(t *testing.T) {
	p := rpc.NewPipe([]rpc.Interface{New(demo)})
	bind := hextext.Bytes(`
		05 00 0b 03 10000000 4800 0000 01000000 d016 d016 00000000 01 000000
		0000 01 00 c84f324b7016d30112785a47bf6ee188 0300 0000 045d888aeb1cc9119fe808002b104860 0200 0000`)
	out, _, err := p.Transact(t.Context(), bind, 4280)
	if err != nil || out[2] != 12 || !bytes.Contains(out, []byte("\\PIPE\\srvsvc\x00")) {
		t.Fatalf("% x, %v", out, err)
	}
	stub := hextext.Bytes(enumRequest)
	req := hextext.Bytes(`05 00 00 03 10000000 0000 0000 02000000 00000000 0000 0f00`)
	req = append(req, stub...)
	binary.LittleEndian.PutUint16(req[8:], uint16(len(req)))
	out, more, err := p.Transact(t.Context(), req, 4280)
	if err != nil || more || out[2] != 2 || !bytes.Equal(out[24:], call(t, demo, 15, stub)) {
		t.Errorf("% x, %v, %v", out, more, err)
	}
}

func FuzzCall(f *testing.F) {
	f.Add(uint16(15), hextext.Bytes(enumRequest), false)
	f.Add(uint16(15), enum(502, 10, 1), true)
	f.Add(uint16(16), shareGetInfo("disk", 2), true)
	f.Add(uint16(21), []byte{0, 0, 0, 0, 102, 0, 0, 0}, true)
	f.Add(uint16(28), []byte{0, 0, 0, 0}, false)
	f.Add(uint16(8), ask(1, "disk"), true)
	f.Add(uint16(9), ask(3, "-", "alice"), true)
	f.Add(uint16(12), ask(502, `\\10.0.0.1`, "-"), true)
	f.Add(uint16(13), ask(0, "alice")[:40], true)
	f.Add(uint16(23), make([]byte, 28), true)
	f.Add(uint16(26), ask(1), true)
	f.Add(uint16(33), append(shareGetInfo("disk", 9), 0, 0, 0, 0), false)
	f.Add(uint16(14), changeStub("", 502, addLayout), true)
	f.Add(uint16(17), changeStub("disk", 1004, []any{"c"}), true)
	f.Add(uint16(18), shareGetInfo("disk", 0), true)
	f.Fuzz(func(t *testing.T, opnum uint16, stub []byte, isAdmin bool) {
		src, _ := busy()
		src.server.Admin = isAdmin
		out, err := New(src).Call(t.Context(), opnum, stub)
		if err == nil && len(out) < 4 {
			t.Errorf("a reply of %d bytes", len(out))
		}
		var fault rpc.Fault
		if err != nil && !errors.As(err, &fault) {
			t.Error(err)
		}
	})
}
