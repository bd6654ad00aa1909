package wkssvc

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/postern-nas/postern/smb/hextext"
	"github.com/postern-nas/postern/smb/rpc"
)

type source struct{ admin bool }

func (s source) Workstation(context.Context) Workstation {
	return Workstation{Name: "NAS", Admin: s.admin}
}
func (source) Users(context.Context) []string { return []string{"al", "bob"} }

// Requests and replies as the IDL of [MS-WKST] and C706 chapter 14 have them.
var vectors = []struct {
	name     string
	admin    bool
	op       uint16
	in, want string
}{
	{"level 100", false, opGetInfo, "00000000 64000000", `
		64000000 00000200 f4010000 04000200 08000200 0a000000 00000000
		04000000 00000000 04000000 4e00410053000000
		0a000000 00000000 0a000000 57004f0052004b00470052004f00550050000000
		00000000`},
	{"level 101", false, opGetInfo, "00000000 65000000", `
		65000000 00000200 f4010000 04000200 08000200 0a000000 00000000 0c000200
		04000000 00000000 04000000 4e00410053000000
		0a000000 00000000 0a000000 57004f0052004b00470052004f00550050000000
		01000000 00000000 01000000 0000 0000
		00000000`},
	{"level 102 for a user", false, opGetInfo, "00000000 66000000", "66000000 00000000 05000000"},
	{"level 102", true, opGetInfo, "00000000 66000000", `
		66000000 00000200 f4010000 04000200 08000200 0a000000 00000000 0c000200 02000000
		04000000 00000000 04000000 4e00410053000000
		0a000000 00000000 0a000000 57004f0052004b00470052004f00550050000000
		01000000 00000000 01000000 0000 0000
		00000000`},
	{"a client's settings", true, opGetInfo, "00000000 f6010000", "f6010000 00000000 7c000000"},
	{"users", true, opUserEnum, "00000000 00000000 00000000 01000000 00000000 00000000 ffffffff 01000000 00000000", `
		00000000 00000000 00000200 02000000 04000200 02000000 08000200 0c000200
		03000000 00000000 03000000 61006c000000 0000
		04000000 00000000 04000000 62006f0062000000
		02000000 10000200 00000000 00000000`},
	{"users and domains", true, opUserEnum, "00000000 01000000 01000000 01000000 00000000 00000000 00000000 00000000", `
		01000000 01000000 00000200 01000000 04000200 01000000 08000200 0c000200 10000200 14000200
		03000000 00000000 03000000 61006c000000 0000
		04000000 00000000 04000000 4e00410053000000
		01000000 00000000 01000000 0000 0000
		04000000 00000000 04000000 4e00410053000000
		02000000 00000000 ea000000`}, // there is more, and no handle to resume with
	{"users for a user", false, opUserEnum, "00000000 00000000 00000000 01000000 00000000 00000000 ffffffff 00000000", "00000000 00000000 00000000 00000000 00000000 05000000"},
	{"transports", false, opTransportEnum, "00000000 00000000 00000000 01000000 00000000 00000000 ffffffff 00000000", "00000000 00000000 00000200 00000000 00000000 00000000 00000000 00000000"},
	{"uses", true, opUseEnum, "00000000 02000000 02000000 01000000 00000000 00000000 ffffffff 00000000", "02000000 02000000 00000200 00000000 00000000 00000000 00000000 00000000"},
	{"uses for a user", false, opUseEnum, "00000000 02000000 02000000 01000000 00000000 00000000 ffffffff 00000000", "02000000 02000000 00000000 00000000 00000000 05000000"},
	{"join", false, opGetJoinInformation, "00000000 00000000", `
		00000200 0a000000 00000000 0a000000 57004f0052004b00470052004f00550050000000 0200 0000 00000000`},
	{"all names", false, opEnumerateComputerNames, "00000000 0200 0000 00000000", `
		00000200 01000000 04000200 01000000 0600 0600 08000200 03000000 00000000 03000000 4e0041005300 0000 00000000`},
	{"alternate names", false, opEnumerateComputerNames, "00000000 0100 0000 00000000", "00000200 00000000 00000000 00000000"},
	{"names of another kind", false, opEnumerateComputerNames, "00000000 0300 0000 00000000", "00000000 57000000"},
}

func TestVectors(t *testing.T) {
	for _, v := range vectors {
		in := hextext.Bytes(v.in)
		got, err := New(source{v.admin}).Call(t.Context(), v.op, in)
		if want := hextext.Bytes(v.want); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %v\n% x, want\n% x", v.name, err, got, want)
		}
		for n := range in {
			if _, err := New(source{v.admin}).Call(t.Context(), v.op, in[:n]); !errors.Is(err, rpc.FaultBadStub) {
				t.Errorf("%s cut at %d: %v", v.name, n, err)
			}
		}
	}
}

func TestUnknown(t *testing.T) {
	for _, op := range []uint16{1, 3, 6, 8, 22, 31, 0xFFFF} {
		if _, err := New(source{true}).Call(t.Context(), op, make([]byte, 100)); !errors.Is(err, rpc.FaultOpRange) {
			t.Errorf("operation %d: %v", op, err)
		}
	}
	for op, in := range map[uint16]string{opGetInfo: "00000000 67000000", opUserEnum: "00000000 02000000 02000000 00000000 00000000 00000000"} {
		if _, err := New(source{true}).Call(t.Context(), op, hextext.Bytes(in)); !errors.Is(err, rpc.FaultInvalidTag) {
			t.Errorf("operation %d: %v", op, err)
		}
	}
}

func FuzzCall(f *testing.F) {
	for _, v := range vectors {
		f.Add(v.op, hextext.Bytes(v.in), v.admin)
	}
	f.Fuzz(func(t *testing.T, op uint16, stub []byte, admin bool) {
		out, err := New(source{admin}).Call(t.Context(), op, stub)
		var fault rpc.Fault
		if err != nil && !errors.As(err, &fault) {
			t.Error(err)
		}
		if err == nil && (len(out) < 4 || len(out) > 1000) {
			t.Errorf("a reply of %d bytes", len(out))
		}
	})
}
