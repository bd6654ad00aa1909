package lsarpc

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"
	"unicode/utf16"

	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/hextext"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/rpc"
)

var machine = dtyp.NewSID(5, 21, 1, 2, 3)

type source struct{}

func (source) Machine() (string, dtyp.SID) { return "NAS", machine }

func (source) Accounts() []Account {
	return []Account{
		{SID: machine.Child(513), Name: "None", Kind: KindGroup},
		{SID: machine.Child(1000), Name: "alice", Kind: KindUser},
		{SID: machine.Child(1001), Name: "Jürgen", Kind: KindUser},
	}
}

// A client builds stubs and takes replies apart with offsets alone, so that it and the service share no mistakes.
type client struct {
	t      *testing.T
	iface  rpc.Interface
	handle []byte
	b      []byte // stub, or reply
	off    int
}

// openRequest has no name, attributes without anything in them, and MAXIMUM_ALLOWED.
const openRequest = "00000000 18000000 00000000 00000000 00000000 00000000 00000000 00000002"

func newClient(t *testing.T) *client {
	t.Helper()
	c := &client{t: t, iface: New(source{}, machine.Child(1000))}
	c.call(opOpenPolicy2, hextext.Bytes(openRequest))
	c.handle = bytes.Clone(c.b[:20])
	c.off = 20
	c.status(nt.Success)
	if bytes.Equal(c.handle, make([]byte, 20)) {
		t.Fatal("a null handle")
	}
	return c
}

func (c *client) call(opnum uint16, stub []byte) {
	c.t.Helper()
	out, err := c.iface.Call(c.t.Context(), opnum, stub)
	if err != nil {
		c.t.Fatalf("operation %d: %v", opnum, err)
	}
	c.b, c.off = out, 0
}

func (c *client) u32() uint32 {
	c.t.Helper()
	c.off = (c.off + 3) &^ 3
	if c.off+4 > len(c.b) {
		c.t.Fatalf("the reply ends at %d: %x", c.off, c.b)
	}
	c.off += 4
	return binary.LittleEndian.Uint32(c.b[c.off-4:])
}

func (c *client) u16() uint16 {
	c.t.Helper()
	c.off = (c.off + 1) &^ 1
	c.off += 2
	return binary.LittleEndian.Uint16(c.b[c.off-2:])
}

// head reads an RPC_UNICODE_STRING's fixed part and returns how many bytes its text has.
func (c *client) head() int {
	c.t.Helper()
	c.off = (c.off + 3) &^ 3
	n, size := c.u16(), c.u16()
	if there := c.u32() != 0; size < n || there != (size > 0) {
		c.t.Fatalf("text of %d in %d bytes", n, size)
	}
	return int(n)
}

func (c *client) body(n int) string {
	c.t.Helper()
	if n == 0 {
		return ""
	}
	if size, off, count := c.u32(), c.u32(), c.u32(); size != count || off != 0 || int(count) != n/2 {
		c.t.Fatalf("text of %d bytes as %d, %d, %d", n, size, off, count)
	}
	u := make([]uint16, n/2)
	for i := range u {
		u[i] = c.u16()
	}
	return string(utf16.Decode(u))
}

func (c *client) sid() dtyp.SID {
	c.t.Helper()
	n := c.u32()
	sid, size, err := dtyp.DecodeSID(c.b[c.off:])
	if err != nil || size != 8+4*int(n) {
		c.t.Fatalf("SID of %d: %v", n, err)
	}
	c.off += size
	return sid
}

func (c *client) status(want nt.Status) {
	c.t.Helper()
	if got := nt.Status(c.u32()); got != want || c.off != len(c.b) {
		c.t.Fatalf("%v at %d of %d bytes, want %v", got, c.off, len(c.b), want)
	}
}

type domain struct {
	name string
	sid  dtyp.SID
}

func (c *client) domains() (list []domain) {
	c.t.Helper()
	if c.u32() == 0 {
		c.t.Fatal("no list of domains")
	}
	n := c.u32()
	if there := c.u32() != 0; there != (n > 0) {
		c.t.Fatal("domains or not?")
	}
	c.u32() // most
	if n == 0 {
		return nil
	}
	if c.u32() != n {
		c.t.Fatal("another number of domains")
	}
	sizes := make([]int, n)
	for i := range sizes {
		sizes[i] = c.head()
		c.u32()
	}
	for _, size := range sizes {
		name := c.body(size)
		list = append(list, domain{name, c.sid()})
	}
	return list
}

func (c *client) array() uint32 {
	c.t.Helper()
	n := c.u32()
	if c.u32() != 0 != (n > 0) {
		c.t.Fatal("entries or not?")
	}
	if n > 0 && c.u32() != n {
		c.t.Fatal("another number of entries")
	}
	return n
}

func le32(b []byte, v ...uint32) []byte {
	for _, n := range v {
		b = binary.LittleEndian.AppendUint32(b, n)
	}
	return b
}

// sidStub asks for SIDs.
func (c *client) sidStub(two bool, sids ...dtyp.SID) []byte {
	b := le32(bytes.Clone(c.handle), uint32(len(sids)), 1, uint32(len(sids)))
	for range sids {
		b = le32(b, 2)
	}
	for _, s := range sids {
		b = append(le32(b, uint32(s[1])), s...)
	}
	b = le32(b, 0, 0, 1, 0)
	if two {
		b = le32(b, 0, 2)
	}
	return b
}

// namesOf looks SIDs up and writes each as DOMAIN\name:kind.
func (c *client) namesOf(opnum uint16, want nt.Status, sids ...dtyp.SID) []string {
	c.t.Helper()
	two := opnum == opLookupSids2
	c.call(opnum, c.sidStub(two, sids...))
	domains := c.domains()
	type entry struct {
		kind, size int
		domain     int32
	}
	list := make([]entry, c.array())
	for i := range list {
		e := &list[i]
		c.off = (c.off + 3) &^ 3
		e.kind, e.size = int(c.u16()), c.head()
		e.domain = int32(c.u32())
		if two {
			c.u32()
		}
	}
	out := []string{}
	for _, e := range list {
		in := "?"
		if e.domain >= 0 {
			in = domains[e.domain].name
		}
		out = append(out, fmt.Sprintf(`%s\%s:%d`, in, c.body(e.size), e.kind))
	}
	c.u32() // mapped
	c.status(want)
	return out
}

func TestLookupSids(t *testing.T) {
	stranger := dtyp.NewSID(5, 21, 9, 9, 9, 1000)
	for _, c := range []struct {
		status nt.Status
		sids   []dtyp.SID
		want   []string
	}{
		{nt.Success, nil, []string{}},
		{nt.Success, []dtyp.SID{machine.Child(1001)}, []string{`NAS\Jürgen:1`}},
		{nt.Success, []dtyp.SID{machine.Child(1000), dtyp.Administrators, machine.Child(513), dtyp.BuiltinUsers}, []string{`NAS\alice:1`, `BUILTIN\Administrators:4`, `NAS\None:2`, `BUILTIN\Users:4`}},
		{nt.Success, []dtyp.SID{dtyp.Everyone, dtyp.CreatorOwner, dtyp.OwnerRights, dtyp.LocalSystem, dtyp.AuthenticatedUsers}, []string{`\Everyone:5`, `\CREATOR OWNER:5`, `\OWNER RIGHTS:5`, `NT AUTHORITY\SYSTEM:5`, `NT AUTHORITY\Authenticated Users:5`}},
		{nt.Success, []dtyp.SID{machine, dtyp.NewSID(5, 32)}, []string{`NAS\NAS:3`, `BUILTIN\BUILTIN:3`}},
		{nt.SomeNotMapped, []dtyp.SID{stranger, dtyp.Everyone, machine.Child(7)}, []string{`?\S-1-5-21-9-9-9-1000:8`, `\Everyone:5`, `?\S-1-5-21-1-2-3-7:8`}},
		{nt.NoneMapped, []dtyp.SID{stranger, dtyp.NewSID(5)}, []string{`?\S-1-5-21-9-9-9-1000:8`, `?\S-1-5:8`}},
	} {
		for _, op := range []uint16{opLookupSids, opLookupSids2} {
			if got := newClient(t).namesOf(op, c.status, c.sids...); fmt.Sprint(got) != fmt.Sprint(c.want) {
				t.Errorf("%d: %v: %q, want %q", op, c.sids, got, c.want)
			}
		}
	}
	// Domains are told once each, with their SIDs.
	c := newClient(t)
	c.call(opLookupSids, c.sidStub(false, machine.Child(1000), dtyp.Administrators, machine.Child(1001), dtyp.Everyone))
	if got, want := c.domains(), []domain{{"NAS", machine}, {"BUILTIN", dtyp.NewSID(5, 32)}, {"", dtyp.NewSID(1)}}; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("domains %v, want %v", got, want)
	}
}

// sidsOf looks names up and writes each as SID:kind.
func (c *client) sidsOf(opnum uint16, want nt.Status, names ...string) []string {
	c.t.Helper()
	b := le32(bytes.Clone(c.handle), uint32(len(names)), uint32(len(names)))
	for _, n := range names {
		u := uint32(len(utf16.Encode([]rune(n))) * 2)
		b = le32(b, u|u<<16, min(u, 1))
	}
	for _, n := range names {
		if u := utf16.Encode([]rune(n)); len(u) > 0 {
			b = le32(b, uint32(len(u)), 0, uint32(len(u)))
			for _, v := range u {
				b = binary.LittleEndian.AppendUint16(b, v)
			}
			for len(b)%4 != 0 {
				b = append(b, 0)
			}
		}
	}
	b = le32(b, 0, 0, 1, 0)
	if opnum != opLookupNames {
		b = le32(b, 0, 2)
	}
	c.call(opnum, b)
	domains := c.domains()
	n := c.array()
	out, whole := []string{}, []bool{}
	for range n {
		c.off = (c.off + 3) &^ 3
		kind, id, in := c.u16(), c.u32(), int32(c.u32())
		if opnum != opLookupNames {
			c.u32()
		}
		sid := "?"
		switch {
		case opnum == opLookupNames3:
			whole = append(whole, id != 0)
		case in < 0:
		case id == 0xFFFFFFFF:
			sid = domains[in].sid.String()
		default:
			sid = domains[in].sid.Child(id).String()
		}
		out = append(out, fmt.Sprintf("%s:%d", sid, kind))
	}
	for i, has := range whole {
		if has {
			out[i] = c.sid().String() + out[i][1:]
		}
	}
	c.u32()
	c.status(want)
	return out
}

func TestLookupNames(t *testing.T) {
	alice := machine.Child(1000).String() + ":1"
	for _, c := range []struct {
		status nt.Status
		names  []string
		want   []string
	}{
		{nt.Success, nil, []string{}},
		{nt.Success, []string{"alice", "ALICE", `nas\Alice`, "alice@NAS"}, []string{alice, alice, alice, alice}},
		{nt.Success, []string{"Jürgen", `BUILTIN\administrators`, "Everyone", "system"}, []string{machine.Child(1001).String() + ":1", "S-1-5-32-544:4", "S-1-1-0:5", "S-1-5-18:5"}},
		{nt.Success, []string{"NAS", `NAS\`, `BUILTIN\`, ""}, []string{machine.String() + ":3", machine.String() + ":3", "S-1-5-32:3", "S-1-5-32:3"}},
		{nt.SomeNotMapped, []string{`OTHER\alice`, "alice"}, []string{"?:8", alice}},
		{nt.NoneMapped, []string{"nobody", `NAS\Everyone`, `x\`}, []string{"?:8", "?:8", "?:8"}},
	} {
		for _, op := range []uint16{opLookupNames, opLookupNames2, opLookupNames3} {
			if got := newClient(t).sidsOf(op, c.status, c.names...); fmt.Sprint(got) != fmt.Sprint(c.want) {
				t.Errorf("%d: %q: %q, want %q", op, c.names, got, c.want)
			}
		}
	}
}

func TestQueryPolicy(t *testing.T) {
	c := newClient(t)
	ask := func(class uint16) uint16 {
		t.Helper()
		c.call(opQueryInformationPolicy, binary.LittleEndian.AppendUint16(bytes.Clone(c.handle), class))
		if c.u32() == 0 {
			return 0
		}
		return c.u16()
	}
	if ask(5) != 5 {
		t.Fatal("no account domain")
	}
	n := c.head()
	if c.u32() == 0 {
		t.Fatal("no SID")
	}
	if name, sid := c.body(n), c.sid(); name != "NAS" || sid != machine {
		t.Errorf("account domain %q %v", name, sid)
	}
	c.status(nt.Success)

	if ask(3) != 3 {
		t.Fatal("no primary domain")
	}
	n = c.head()
	if c.u32() != 0 {
		t.Fatal("a SID")
	}
	if name := c.body(n); name != "WORKGROUP" {
		t.Errorf("primary domain %q", name)
	}
	c.status(nt.Success)

	if ask(12) != 12 {
		t.Fatal("no DNS domain")
	}
	n = c.head()
	for range 2 {
		if c.head() != 0 {
			t.Error("a DNS name")
		}
	}
	c.off += 16
	if c.u32() != 0 || c.body(n) != "WORKGROUP" {
		t.Error("DNS domain")
	}
	c.status(nt.Success)

	if ask(6) != 6 || c.u32() != 3 {
		t.Error("role")
	}
	c.status(nt.Success)
	if ask(2) != 2 {
		t.Fatal("no audit events")
	}
	for range 3 {
		if c.u32() != 0 {
			t.Error("something is audited")
		}
	}
	c.status(nt.Success)
	if ask(4) != 0 {
		t.Error("an answer to a class that is not known")
	}
	c.status(nt.InvalidParameter)
}

func TestGetUserName(t *testing.T) {
	c := newClient(t)
	for _, wants := range []uint32{0, 1} {
		stub := le32(nil, 0, 0, wants)
		if wants != 0 {
			stub = le32(stub, 0)
		}
		c.call(opGetUserName, stub)
		if c.u32() == 0 {
			t.Fatal("no name")
		}
		if name := c.body(c.head()); name != "alice" {
			t.Errorf("I am %q", name)
		}
		if got := c.u32(); got != 0 != (wants != 0) {
			t.Fatal("a domain or not")
		}
		if wants != 0 {
			if c.u32() == 0 {
				t.Fatal("no domain")
			}
			if name := c.body(c.head()); name != "NAS" {
				t.Errorf("in %q", name)
			}
		}
		c.status(nt.Success)
	}
}

func TestHandles(t *testing.T) {
	c := newClient(t)
	fault := func(opnum uint16, stub []byte, want rpc.Fault) {
		t.Helper()
		if _, err := c.iface.Call(t.Context(), opnum, stub); !errors.Is(err, want) {
			t.Errorf("operation %d: %v, want %v", opnum, err, want)
		}
	}
	mine := bytes.Clone(c.handle)
	others := newClient(t).handle
	for _, h := range [][]byte{make([]byte, 20), others} {
		fault(opQueryInformationPolicy, append(bytes.Clone(h), 5, 0), rpc.FaultBadContext)
		fault(opClose, h, rpc.FaultBadContext)
	}
	c.call(opClose, mine)
	if !bytes.Equal(c.b[:20], make([]byte, 20)) {
		t.Error("the handle is not null")
	}
	fault(opClose, mine, rpc.FaultBadContext)
	fault(opQueryInformationPolicy, append(bytes.Clone(mine), 5, 0), rpc.FaultBadContext)
	fault(99, nil, rpc.FaultOpRange)

	// A client that never closes meets a bound.
	open := hextext.Bytes(openRequest)
	for i := 0; ; i++ {
		c.call(opOpenPolicy, open)
		c.off = 20
		if status := nt.Status(c.u32()); status == nt.InsufficientResources && i >= 16 {
			break
		} else if status != nt.Success || i > 1000 {
			t.Fatalf("handle %d: %v", i, status)
		}
	}
}

// What may be asked for when the policy is opened: to look, and nothing else.
func TestOpenPolicy(t *testing.T) {
	c := newClient(t)
	for access, want := range map[uint32]nt.Status{
		0x02000000: nt.Success, 0x00000800: nt.Success, 0x00000801: nt.Success, 0x80000000: nt.Success, 0: nt.Success,
		0x00000010: nt.AccessDenied, 0x10000000: nt.AccessDenied, 0x02000010: nt.AccessDenied, 0x00080000: nt.AccessDenied,
	} {
		// \\, attributes with a quality of service, as Windows sends it.
		c.call(opOpenPolicy2, le32(hextext.Bytes(`00000200 02000000 00000000 02000000 5c000000
			18000000 00000000 00000000 00000000 00000000 04000200 0c000000 0200 01 00`), access))
		c.off = 20
		c.status(want)
		if null := bytes.Equal(c.b[:20], make([]byte, 20)); null != (want != nt.Success) {
			t.Errorf("%#x: handle %x", access, c.b[:20])
		}
	}
	for name, stub := range map[string]string{
		"a root":       "00000000 18000000 01000000 00000000 00000000 00000000 00000000 00000002",
		"a name":       "00000000 18000000 00000000 01000000 00000000 00000000 00000000 00000002",
		"a descriptor": "00000000 18000000 00000000 00000000 00000000 01000000 00000000 00000002",
	} {
		if _, err := c.iface.Call(t.Context(), opOpenPolicy2, hextext.Bytes(stub)); !errors.Is(err, rpc.FaultBadStub) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, op := range []uint16{10, 11, 17, 19, 28, opLookupSids3, opLookupNames4} {
		if _, err := c.iface.Call(t.Context(), op, c.handle); !errors.Is(err, rpc.FaultAccessDenied) {
			t.Errorf("operation %d: %v", op, err)
		}
	}
}

// A level that is none is refused, and nothing is told with it.
func TestLookupLevel(t *testing.T) {
	c := newClient(t)
	for level, want := range map[byte]nt.Status{0: nt.InvalidParameter, 1: nt.Success, 6: nt.Success, 8: nt.InvalidParameter, 255: nt.InvalidParameter} {
		stub := c.sidStub(false, dtyp.Everyone)
		stub[len(stub)-8] = level
		c.call(opLookupSids, stub)
		if domains := c.domains(); (len(domains) == 0) != (want != nt.Success) {
			t.Errorf("level %d: %v", level, domains)
		}
		if want == nt.Success {
			continue
		}
		if c.array() != 0 || c.u32() != 0 {
			t.Errorf("level %d: something is told", level)
		}
		c.status(want)
	}
}

// A user who takes the name of what every machine has does not become it.
func TestBorrowedName(t *testing.T) {
	c := newClient(t)
	c.iface = New(impostor{}, machine.Child(1000))
	c.call(opOpenPolicy2, hextext.Bytes(openRequest))
	c.handle = bytes.Clone(c.b[:20])
	got := c.sidsOf(opLookupNames3, nt.Success, "everyone", `nas\everyone`, "ADMINISTRATORS")
	if want := []string{"S-1-1-0:5", machine.Child(1000).String() + ":1", "S-1-5-32-544:4"}; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%q, want %q", got, want)
	}
}

type impostor struct{ source }

func (impostor) Accounts() []Account {
	return []Account{{SID: machine.Child(1000), Name: "Everyone", Kind: KindUser}, {SID: machine.Child(1001), Name: "Administrators", Kind: KindUser}}
}

// As many SIDs as the IDL allows are answered, in a moment.
func TestLookupManySids(t *testing.T) {
	c := newClient(t)
	sids := make([]dtyp.SID, maxSIDs)
	for i := range sids {
		sids[i] = machine.Child(uint32(1000 + i%4))
	}
	if got := c.namesOf(opLookupSids2, nt.SomeNotMapped, sids...); len(got) != maxSIDs || got[maxSIDs-4] != `NAS\alice:1` {
		t.Errorf("%d names", len(got))
	}
}

// What is cut off anywhere is a fault, and never more.
func TestCut(t *testing.T) {
	c := newClient(t)
	for _, req := range []struct {
		op   uint16
		stub []byte
	}{
		{opLookupSids, c.sidStub(false, dtyp.Everyone, machine.Child(1000))},
		{opLookupSids2, c.sidStub(true, dtyp.Everyone, machine.Child(1000))},
		{opQueryInformationPolicy, append(bytes.Clone(c.handle), 5, 0)},
		{opClose, c.handle},
	} {
		for n := range req.stub {
			if _, err := c.iface.Call(t.Context(), req.op, req.stub[:n]); !errors.Is(err, rpc.FaultBadStub) {
				t.Fatalf("operation %d cut at %d: %v", req.op, n, err)
			}
		}
	}
	many := le32(bytes.Clone(c.handle), maxSIDs+1, 1, maxSIDs+1)
	if _, err := c.iface.Call(t.Context(), opLookupSids, append(many, make([]byte, 1<<19)...)); !errors.Is(err, rpc.FaultBadStub) {
		t.Errorf("too many SIDs: %v", err)
	}
	many = le32(bytes.Clone(c.handle), maxNames+1, maxNames+1)
	if _, err := c.iface.Call(t.Context(), opLookupNames, append(many, make([]byte, 1<<19)...)); !errors.Is(err, rpc.FaultBadStub) {
		t.Errorf("too many names: %v", err)
	}
}

func FuzzCall(f *testing.F) {
	c := &client{handle: make([]byte, 20)}
	f.Add(uint16(opLookupSids), c.sidStub(false, dtyp.Everyone)[20:])
	f.Add(uint16(opLookupSids2), c.sidStub(true, machine.Child(1000), dtyp.Everyone)[20:])
	f.Add(uint16(opLookupNames), le32(nil, 1, 1, 4|4<<16, 1, 2, 0, 2, 0x410041, 0, 0, 1, 0))
	f.Add(uint16(opQueryInformationPolicy), []byte{5, 0})
	f.Add(uint16(opGetUserName), le32(nil, 0, 0, 1, 0))
	f.Add(uint16(opOpenPolicy2), hextext.Bytes(openRequest))
	f.Fuzz(func(t *testing.T, opnum uint16, stub []byte) {
		iface := New(source{}, machine.Child(1000))
		open, err := iface.Call(t.Context(), opOpenPolicy2, hextext.Bytes(openRequest))
		if err != nil {
			t.Fatal(err)
		}
		if opnum != opGetUserName && opnum != opOpenPolicy2 {
			stub = append(open[:20:20], stub...)
		}
		if out, err := iface.Call(t.Context(), opnum, stub); err == nil && len(out) > 400*len(stub)+1000 {
			t.Errorf("%d bytes for %d", len(out), len(stub))
		}
	})
}
