package samr

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"testing"
	"unicode/utf16"

	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/hextext"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/rpc"
)

var machine = dtyp.NewSID(5, 21, 1, 2, 3)

type source []User

func (source) Machine() (string, dtyp.SID) { return "NAS", machine }
func (s source) Users() []User             { return s }

var people = source{{RID: 1000, Name: "alice", Admin: true}, {RID: 1001, Name: "Jürgen"}, {RID: 1002, Name: "old", Disabled: true}}

func le32(b []byte, v ...uint32) []byte {
	for _, n := range v {
		b = binary.LittleEndian.AppendUint32(b, n)
	}
	return b
}

// A client builds stubs and takes replies apart with offsets alone, so that it and the service share no mistakes.
type client struct {
	t     testing.TB
	iface rpc.Interface
	b     []byte
	off   int
}

func (c *client) call(opnum uint16, stub []byte) {
	c.t.Helper()
	out, err := c.iface.Call(c.t.Context(), opnum, stub)
	if err != nil {
		c.t.Fatalf("operation %d: %v", opnum, err)
	}
	c.b, c.off = out, 0
}

func (c *client) take(n int) []byte {
	c.t.Helper()
	if c.off+n > len(c.b) {
		c.t.Fatalf("the reply ends at %d: %x", c.off, c.b)
	}
	c.off += n
	return c.b[c.off-n : c.off]
}

func (c *client) u32() uint32 {
	c.t.Helper()
	c.off = (c.off + 3) &^ 3
	return binary.LittleEndian.Uint32(c.take(4))
}

func (c *client) u16() uint16 {
	c.t.Helper()
	c.off = (c.off + 1) &^ 1
	return binary.LittleEndian.Uint16(c.take(2))
}

// want reads numbers.
func (c *client) want(words ...uint32) {
	c.t.Helper()
	for i, want := range words {
		if got := c.u32(); got != want {
			c.t.Errorf("word %d is %#x, want %#x", i, got, want)
		}
	}
}

// there reads a pointer that is not null.
func (c *client) there() {
	c.t.Helper()
	if c.u32() == 0 {
		c.t.Fatalf("a null pointer at %d of %x", c.off-4, c.b)
	}
}

// head reads an RPC_UNICODE_STRING's fixed part, which has a text.
func (c *client) head() int {
	c.t.Helper()
	c.off = (c.off + 3) &^ 3
	n, size := c.u16(), c.u16()
	if n != size {
		c.t.Errorf("text of %d in %d bytes", n, size)
	}
	c.there()
	return int(n)
}

func (c *client) body(n int) string {
	c.t.Helper()
	c.want(uint32(n/2), 0, uint32(n/2))
	u := make([]uint16, n/2)
	for i := range u {
		u[i] = c.u16()
	}
	return string(utf16.Decode(u))
}

// texts reads n strings one behind the other: heads, then bodies.
func (c *client) texts(n int) (list []string) {
	c.t.Helper()
	sizes := make([]int, n)
	for i := range sizes {
		sizes[i] = c.head()
	}
	for _, size := range sizes {
		list = append(list, c.body(size))
	}
	return list
}

func (c *client) handle() []byte {
	c.t.Helper()
	return bytes.Clone(c.take(20))
}

func (c *client) status(want nt.Status) {
	c.t.Helper()
	if got := nt.Status(c.u32()); got != want || c.off != len(c.b) {
		c.t.Fatalf("%v at %d of %d bytes, want %v", got, c.off, len(c.b), want)
	}
}

const maximum = 0x02000000

// connected is a client with a handle to the server.
func connected(t testing.TB, src Source) (c *client, server []byte) {
	t.Helper()
	c = &client{t: t, iface: New(src)}
	c.call(opConnect5, hextext.Bytes(`00000200 02000000 00000000 02000000 5c000000 00000002 01000000 01000000 03000000 00000000`))
	c.want(1, 1, 3, 0)
	server = c.handle()
	c.status(nt.Success)
	return c, server
}

// opened is a client with handles to both domains.
func opened(t testing.TB, src Source) (c *client, account, builtin []byte) {
	t.Helper()
	c, server := connected(t, src)
	account, builtin = c.domain(server, machine), c.domain(server, builtinSID)
	return c, account, builtin
}

func sidStub(b []byte, sid dtyp.SID) []byte { return append(le32(b, uint32(sid[1])), sid...) }

func (c *client) domain(server []byte, sid dtyp.SID) []byte {
	c.t.Helper()
	c.call(opOpenDomain, sidStub(le32(bytes.Clone(server), maximum), sid))
	h := c.handle()
	c.status(nt.Success)
	return h
}

func (c *client) open(op uint16, domain []byte, rid uint32) []byte {
	c.t.Helper()
	c.call(op, le32(bytes.Clone(domain), maximum, rid))
	h := c.handle()
	c.status(nt.Success)
	return h
}

// Every way to connect, and the rights that it may be asked for.
func TestConnect(t *testing.T) {
	c, _ := connected(t, people)
	for access, want := range map[uint32]nt.Status{
		maximum: nt.Success, 0x00000031: nt.Success, 0x80000000: nt.Success, 0x00000008: nt.AccessDenied, 0x10000000: nt.AccessDenied,
		0x40000000: nt.AccessDenied, 0x000F003F: nt.AccessDenied, 0x01000000: nt.AccessDenied,
	} {
		for op, stub := range map[uint16][]byte{
			opConnect:  hextext.Bytes("00000200 5c000000"),
			opConnect2: hextext.Bytes("00000000"),
			opConnect4: hextext.Bytes("00000200 02000000 00000000 02000000 5c000000 02000000"),
		} {
			c.call(op, le32(stub, access))
			null := bytes.Equal(c.handle(), make([]byte, 20))
			if c.status(want); null != (want != nt.Success) {
				t.Errorf("operation %d, access %#x: handle %x", op, access, c.b[:20])
			}
		}
	}
}

func TestDomains(t *testing.T) {
	c, server := connected(t, people)
	c.call(opEnumDomains, le32(bytes.Clone(server), 0, 0xFFFFFFFF))
	c.want(0)
	c.there()
	c.want(2)
	c.there()
	c.want(2, 0)
	n := c.head()
	c.want(0)
	m := c.head()
	if a, b := c.body(n), c.body(m); a != "NAS" || b != "Builtin" {
		t.Errorf("domains %q, %q", a, b)
	}
	c.want(2)
	c.status(nt.Success)

	for name, want := range map[string]dtyp.SID{"nas": machine, "BUILTIN": builtinSID, "other": "", "": ""} {
		u := utf16.Encode([]rune(name))
		stub := le32(bytes.Clone(server), uint32(2*len(u))|uint32(2*len(u))<<16, 1, uint32(len(u)), 0, uint32(len(u)))
		for _, v := range u {
			stub = binary.LittleEndian.AppendUint16(stub, v)
		}
		c.call(opLookupDomain, stub)
		if want == "" {
			c.want(0)
			c.status(map[bool]nt.Status{true: nt.InvalidParameter, false: nt.NoSuchDomain}[name == ""])
			continue
		}
		c.there()
		c.want(uint32(want[1]))
		if got := dtyp.SID(c.take(len(want))); got != want {
			t.Errorf("%q is %v", name, got)
		}
		c.status(nt.Success)
	}
	c.call(opOpenDomain, sidStub(le32(bytes.Clone(server), maximum), dtyp.NewSID(5, 21, 9, 9, 9)))
	c.handle()
	c.status(nt.NoSuchDomain)
}

// list enumerates with as little as the client prefers at a time.
func (c *client) list(op uint16, domain []byte, preferred uint32, extra ...uint32) (all []string) {
	c.t.Helper()
	var from uint32
	for range 100 {
		c.call(op, le32(le32(le32(bytes.Clone(domain), from), extra...), preferred))
		next := c.u32()
		c.there()
		n := c.u32()
		if c.u32() != 0 {
			c.want(n)
		}
		rids, sizes := make([]uint32, n), make([]int, n)
		for i := range rids {
			rids[i], sizes[i] = c.u32(), c.head()
		}
		for i := range rids {
			all = append(all, fmt.Sprintf("%s:%d", c.body(sizes[i]), rids[i]))
		}
		c.want(n)
		if next == 0 {
			c.status(nt.Success)
			return all
		}
		c.status(nt.MoreEntries)
		if next <= from {
			c.t.Fatal("no progress")
		}
		from = next
	}
	c.t.Fatal("no end")
	return nil
}

func TestEnumerate(t *testing.T) {
	c, account, builtin := opened(t, people)
	for _, x := range []struct {
		op     uint16
		domain []byte
		extra  []uint32
		want   string
	}{
		{opEnumUsers, account, []uint32{0}, "[alice:1000 Jürgen:1001 old:1002]"},
		{opEnumUsers, account, []uint32{controlNormal}, "[alice:1000 Jürgen:1001 old:1002]"},
		{opEnumUsers, account, []uint32{0x80}, "[]"}, // machine accounts
		{opEnumUsers, builtin, []uint32{0}, "[]"},
		{opEnumGroups, account, nil, "[None:513]"},
		{opEnumGroups, builtin, nil, "[]"},
		{opEnumAliases, account, nil, "[]"},
		{opEnumAliases, builtin, nil, "[Administrators:544 Users:545 Guests:546]"},
	} {
		for _, preferred := range []uint32{0, 1, 30, 0xFFFFFFFF} {
			if got := fmt.Sprint(c.list(x.op, x.domain, preferred, x.extra...)); got != x.want {
				t.Errorf("operation %d, preferring %d: %s, want %s", x.op, preferred, got, x.want)
			}
		}
	}
	// From nowhere there is nothing.
	c.call(opEnumGroups, le32(bytes.Clone(account), 0xFFFFFFFF, 100))
	c.want(0)
	c.there()
	c.want(0, 0, 0)
	c.status(nt.Success)
}

func namesStub(domain []byte, names ...string) []byte {
	b := le32(bytes.Clone(domain), uint32(len(names)), 1000, 0, uint32(len(names)))
	for _, n := range names {
		u := uint32(2 * len(utf16.Encode([]rune(n))))
		b = le32(b, u|u<<16, min(u, 1))
	}
	for _, n := range names {
		u := utf16.Encode([]rune(n))
		if len(u) == 0 {
			continue
		}
		b = le32(b, uint32(len(u)), 0, uint32(len(u)))
		for _, v := range u {
			b = binary.LittleEndian.AppendUint16(b, v)
		}
		for len(b)%4 != 0 {
			b = append(b, 0)
		}
	}
	return b
}

func (c *client) longs() []uint32 {
	c.t.Helper()
	n := c.u32()
	if there := c.u32() != 0; there != (n > 0) || there && c.u32() != n {
		c.t.Fatal("numbers or not?")
	}
	list := make([]uint32, n)
	for i := range list {
		list[i] = c.u32()
	}
	return list
}

func TestLookup(t *testing.T) {
	c, account, builtin := opened(t, people)
	for _, x := range []struct {
		domain     []byte
		names      []string
		rids, uses []uint32
		status     nt.Status
	}{
		{account, []string{"ALICE", "jürgen", "none"}, []uint32{1000, 1001, 513}, []uint32{1, 1, 2}, nt.Success},
		{account, []string{"alice", "nobody", ""}, []uint32{1000, 0, 0}, []uint32{1, 8, 8}, nt.SomeNotMapped},
		{account, []string{"Administrators"}, []uint32{0}, []uint32{8}, nt.NoneMapped},
		{builtin, []string{"administrators"}, []uint32{544}, []uint32{4}, nt.Success},
		{account, nil, []uint32{}, []uint32{}, nt.Success},
	} {
		c.call(opLookupNames, namesStub(x.domain, x.names...))
		if rids, uses := c.longs(), c.longs(); !slices.Equal(rids, x.rids) || !slices.Equal(uses, x.uses) {
			t.Errorf("%q: %d, %d", x.names, rids, uses)
		}
		c.status(x.status)
	}
	c.call(opLookupIDs, le32(bytes.Clone(account), 3, 1000, 0, 3, 1001, 7, 513))
	c.want(3)
	c.there()
	c.want(3)
	if got := fmt.Sprintf("%q", c.texts(3)); got != `["Jürgen" "" "None"]` {
		t.Errorf("names %s", got)
	}
	if uses := c.longs(); !slices.Equal(uses, []uint32{1, 8, 2}) {
		t.Errorf("uses %d", uses)
	}
	c.status(nt.SomeNotMapped)
}

func TestMembership(t *testing.T) {
	c, account, builtin := opened(t, people)
	alice, juergen := machine.Child(1000), machine.Child(1001)
	for _, x := range []struct {
		domain []byte
		sids   []dtyp.SID
		want   []uint32
	}{
		{builtin, []dtyp.SID{alice}, []uint32{544, 545}},
		{builtin, []dtyp.SID{juergen}, []uint32{545}},
		{builtin, []dtyp.SID{juergen, alice, dtyp.Everyone}, []uint32{544, 545}},
		{builtin, []dtyp.SID{dtyp.Everyone}, []uint32{}},
		{builtin, nil, []uint32{}},
		{account, []dtyp.SID{alice}, []uint32{}},
	} {
		n := uint32(len(x.sids))
		stub := le32(bytes.Clone(x.domain), n, 1, n)
		for range x.sids {
			stub = le32(stub, 2)
		}
		for _, s := range x.sids {
			stub = sidStub(stub, s)
		}
		c.call(opGetAliasMembership, stub)
		if got := c.longs(); !slices.Equal(got, x.want) {
			t.Errorf("%v: %d, want %d", x.sids, got, x.want)
		}
		c.status(nt.Success)
	}

	c.call(opGetMembersInAlias, c.open(opOpenAlias, builtin, 544))
	c.want(1)
	c.there()
	c.want(1)
	c.there()
	c.want(5)
	if got := dtyp.SID(c.take(len(alice))); got != alice {
		t.Errorf("administrator %v", got)
	}
	c.status(nt.Success)

	c.call(opGetMembersInGroup, c.open(opOpenGroup, account, 513))
	c.there()
	c.want(3)
	c.there()
	c.there()
	c.want(3, 1000, 1001, 1002, 3, 7, 7, 7)
	c.status(nt.Success)

	c.call(opGetGroupsForUser, c.open(opOpenUser, account, 1001))
	c.there()
	c.want(1)
	c.there()
	c.want(1, 513, 7)
	c.status(nt.Success)
}

// class asks for an information class and returns how much the reply is, from the arm on, without the status.
func (c *client) class(op uint16, handle []byte, class uint16, want nt.Status) bool {
	c.t.Helper()
	c.call(op, binary.LittleEndian.AppendUint16(bytes.Clone(handle), class))
	if want != nt.Success {
		c.want(0)
		c.status(want)
		return false
	}
	c.there()
	if got := c.u16(); got != class {
		c.t.Fatalf("class %d: answered %d", class, got)
	}
	c.off = (c.off + 3) &^ 3
	return true
}

func (c *client) hours(body bool) {
	c.t.Helper()
	if !body {
		c.off = (c.off + 3) &^ 3
		if n := c.u16(); n != 168 {
			c.t.Errorf("a week of %d hours", n)
		}
		c.there()
		return
	}
	c.want(1260, 0, 21)
	if got := c.take(21); !bytes.Equal(got, bytes.Repeat([]byte{0xFF}, 21)) {
		c.t.Errorf("hours %x", got)
	}
}

func TestQueryUser(t *testing.T) {
	c, account, _ := opened(t, people)
	alice, old := c.open(opOpenUser, account, 1000), c.open(opOpenUser, account, 1002)

	// All there is.
	c.class(opQueryUser2, alice, userAll, nt.Success)
	c.want(0, 0, 0, 0, 0, 0, 0xFFFFFFFF, 0x7FFFFFFF, 0, 0, 0xFFFFFFFF, 0x7FFFFFFF)
	sizes := make([]int, 10)
	for i := range sizes {
		sizes[i] = c.head()
	}
	c.want(0, 0, 0, 0) // hashes
	sizes = append(sizes, c.head())
	c.want(0, 0, 1000, 513, 0x210, 0x00FFFFFF)
	c.hours(false)
	for range 4 {
		if c.u16() != 0 {
			t.Error("a count")
		}
	}
	if got := c.take(4); !bytes.Equal(got, make([]byte, 4)) {
		t.Errorf("flags %x", got)
	}
	for i, size := range sizes {
		if got, want := c.body(size), []string{"alice", ""}[min(i, 1)]; got != want {
			t.Errorf("text %d is %q", i, got)
		}
	}
	c.hours(true)
	c.status(nt.Success)

	for class, n := range map[uint16]int{
		userName: 2, userAccountName: 1, userFullName: 1, userHome: 2, userScript: 1, userProfile: 1, userAdminComment: 1,
		userWorkStations: 1, userParameters: 1,
	} {
		c.class(opQueryUser, alice, class, nt.Success)
		got := c.texts(n)
		if named := class == userName || class == userAccountName; named != (got[0] == "alice") {
			t.Errorf("class %d: %q", class, got)
		}
		c.status(nt.Success)
	}
	c.class(opQueryUser, old, userControl, nt.Success)
	c.want(0x211)
	c.status(nt.Success)
	c.class(opQueryUser, alice, userPrimaryGroup, nt.Success)
	c.want(513)
	c.status(nt.Success)
	c.class(opQueryUser, alice, userExpires, nt.Success)
	c.want(0xFFFFFFFF, 0x7FFFFFFF)
	c.status(nt.Success)
	c.class(opQueryUser, alice, userGeneral, nt.Success)
	sizes = []int{c.head(), c.head()}
	c.want(513)
	sizes = append(sizes, c.head(), c.head())
	for i, size := range sizes {
		if got := c.body(size); (got == "alice") != (i == 0) {
			t.Errorf("general %d: %q", i, got)
		}
	}
	c.status(nt.Success)
	c.class(opQueryUser, alice, userLogonHours, nt.Success)
	c.hours(false)
	c.hours(true)
	c.status(nt.Success)
	for _, class := range []uint16{userPreferences, userLogon, userAccount} {
		c.class(opQueryUser, alice, class, nt.Success)
		if last := c.b[len(c.b)-4:]; !bytes.Equal(last, make([]byte, 4)) {
			t.Errorf("class %d: %x", class, last)
		}
	}
	// Passwords, and what does not exist.
	for _, class := range []uint16{0, 15, 18, 19, 22, 23, 24, 25, 26, 27, 99} {
		c.class(opQueryUser, alice, class, nt.InvalidInfoClass)
	}
	c.call(opGetUserPasswordInfo, alice)
	c.want(10, 0)
	c.status(nt.Success)
}

func TestQueryDomain(t *testing.T) {
	c, account, builtin := opened(t, people)
	for op, name := range map[uint16]string{opQueryDomain: "NAS", opQueryDomain2: "NAS"} {
		c.class(op, account, domainGeneral, nt.Success)
		c.want(0, 0x80000000)
		sizes := []int{c.head(), c.head(), c.head()}
		c.want(0, 0, 1, 3, 1, 3, 1, 0) // users, groups, aliases behind UasCompatibilityRequired
		if got := []string{c.body(sizes[0]), c.body(sizes[1]), c.body(sizes[2])}; got[1] != name || got[0]+got[2] != "" {
			t.Errorf("names %q", got)
		}
		c.status(nt.Success)
	}
	c.class(opQueryDomain, builtin, domainName, nt.Success)
	if got := c.texts(1); got[0] != "Builtin" {
		t.Errorf("%q", got)
	}
	c.status(nt.Success)
	c.class(opQueryDomain, account, domainPassword, nt.Success)
	c.want(10, 0, 0, 0x80000000, 0, 0)
	c.status(nt.Success)
	// These hold hypers, and begin at a multiple of eight.
	c.class(opQueryDomain, account, domainLockout, nt.Success)
	c.off = 8
	c.want(0xCF1DCC00, 0xFFFFFFFB, 0xCF1DCC00, 0xFFFFFFFB)
	if c.u16() != 0 {
		t.Error("a threshold")
	}
	c.status(nt.Success)
	c.class(opQueryDomain, account, domainGeneral2, nt.Success)
	c.off = 8
	c.want(0, 0x80000000)
	for class, n := range map[uint16]int{domainLogoff: 8, domainServerRole: 4, domainModified: 16, domainState: 4, domainModified2: 24} {
		c.class(opQueryDomain, account, class, nt.Success)
		c.take(n)
		c.status(nt.Success)
	}
	for _, class := range []uint16{0, 10, 14, 0xFFFF} {
		c.class(opQueryDomain, account, class, nt.InvalidInfoClass)
	}
}

func TestQueryGroupAndAlias(t *testing.T) {
	c, account, builtin := opened(t, people)
	group, alias := c.open(opOpenGroup, account, 513), c.open(opOpenAlias, builtin, 545)
	c.class(opQueryGroup, group, 1, nt.Success)
	n := c.head()
	c.want(7, 3)
	if name, comment := n, c.head(); c.body(name) != "None" || c.body(comment) != "" {
		t.Error("name or comment of the group")
	}
	c.status(nt.Success)
	c.class(opQueryAlias, alias, 1, nt.Success)
	n = c.head()
	c.want(3)
	if name, comment := n, c.head(); c.body(name) != "Users" || c.body(comment) != "" {
		t.Error("name or comment of the alias")
	}
	c.status(nt.Success)
	c.class(opQueryGroup, group, 3, nt.Success)
	c.want(7)
	c.status(nt.Success)
	for op, x := range map[uint16]struct {
		handle  []byte
		name    string
		comment uint16
		none    uint16
	}{opQueryGroup: {group, "None", 4, 6}, opQueryAlias: {alias, "Users", 3, 4}} {
		for class, want := range map[uint16]string{2: x.name, x.comment: ""} {
			c.class(op, x.handle, class, nt.Success)
			if got := c.texts(1); got[0] != want {
				t.Errorf("operation %d, class %d: %q", op, class, got)
			}
			c.status(nt.Success)
		}
		c.class(op, x.handle, x.none, nt.InvalidInfoClass)
		c.class(op, x.handle, 0, nt.InvalidInfoClass)
	}
}

func TestQueryDisplay(t *testing.T) {
	c, account, builtin := opened(t, people)
	ask := func(domain []byte, class uint16, from, most, preferred uint32) (list []string, status nt.Status) {
		t.Helper()
		stub := le32(append(binary.LittleEndian.AppendUint16(bytes.Clone(domain), class), 0, 0), from, most, preferred)
		c.call(opQueryDisplay3, stub)
		c.u32()
		c.u32()
		if c.u16() != class {
			t.Fatal("another class")
		}
		n := c.u32()
		if c.u32() != 0 {
			c.want(n)
		}
		texts := map[uint16]int{displayUser: 3, displayGroup: 2}[class]
		rows, sizes := make([]string, n), []int{}
		for i := range rows {
			rows[i] = fmt.Sprintf("%d:%d:%#x", c.u32(), c.u32(), c.u32())
			for range texts {
				sizes = append(sizes, c.head())
			}
		}
		for i := range rows {
			for j := range texts {
				rows[i] += ":" + c.body(sizes[i*texts+j])
			}
		}
		status = nt.Status(c.u32())
		if c.off != len(c.b) {
			t.Errorf("%d of %d bytes", c.off, len(c.b))
		}
		return rows, status
	}
	for _, x := range []struct {
		domain                []byte
		class                 uint16
		from, most, preferred uint32
		want                  string
		status                nt.Status
	}{
		{account, displayUser, 0, 100, 10000, "[1:1000:0x210:alice:: 2:1001:0x210:Jürgen:: 3:1002:0x211:old::]", nt.Success},
		{account, displayUser, 1, 100, 10000, "[2:1001:0x210:Jürgen:: 3:1002:0x211:old::]", nt.Success},
		{account, displayUser, 0, 1, 10000, "[1:1000:0x210:alice::]", nt.MoreEntries},
		{account, displayUser, 0, 100, 1, "[1:1000:0x210:alice::]", nt.MoreEntries},
		{account, displayUser, 9, 100, 1, "[]", nt.Success},
		{account, displayMachine, 0, 100, 10000, "[]", nt.Success},
		{account, displayGroup, 0, 100, 10000, "[1:513:0x7:None:]", nt.Success},
		{builtin, displayUser, 0, 100, 10000, "[]", nt.Success},
		{account, 4, 0, 100, 10000, "[]", nt.InvalidInfoClass},
	} {
		if got, status := ask(x.domain, x.class, x.from, x.most, x.preferred); fmt.Sprint(got) != x.want || status != x.status {
			t.Errorf("class %d from %d, %d, %d: %s, %v", x.class, x.from, x.most, x.preferred, got, status)
		}
	}
}

func TestSecurity(t *testing.T) {
	c, account, _ := opened(t, people)
	user := c.open(opOpenUser, account, 1000)
	c.call(opQuerySecurity, le32(bytes.Clone(user), 7))
	c.there()
	n := c.u32()
	c.there()
	c.want(n)
	sd, err := dtyp.DecodeSecurityDescriptor(c.take(int(n)))
	if err != nil || sd.Owner != dtyp.Administrators || len(sd.DACL.ACEs) != 2 {
		t.Errorf("%+v, %v", sd, err)
	}
	c.status(nt.Success)
	c.call(opQuerySecurity, le32(bytes.Clone(user), 8)) // the SACL
	c.want(0)
	c.status(nt.AccessDenied)
	c.call(opRIDToSID, le32(bytes.Clone(user), 1001))
	c.there()
	c.want(5)
	if got := dtyp.SID(c.take(28)); got != machine.Child(1001) {
		t.Errorf("%v", got)
	}
	c.status(nt.Success)
}

// Handles are of one kind and of one pipe, are gone when closed, and are not without end.
func TestHandles(t *testing.T) {
	c, account, builtin := opened(t, people)
	other, _, _ := opened(t, people)
	user := c.open(opOpenUser, account, 1000)
	fault := func(who *client, op uint16, stub []byte, want rpc.Fault) {
		t.Helper()
		if _, err := who.iface.Call(t.Context(), op, stub); !errors.Is(err, want) {
			t.Errorf("operation %d: %v, want %v", op, err, want)
		}
	}
	class := []byte{1, 0}
	fault(c, opQueryUser, append(bytes.Clone(account), class...), rpc.FaultBadContext)
	fault(c, opQueryDomain, append(bytes.Clone(user), class...), rpc.FaultBadContext)
	fault(other, opQueryUser, append(bytes.Clone(user), class...), rpc.FaultBadContext)
	fault(c, opClose, make([]byte, 20), rpc.FaultBadContext)
	fault(c, 99, make([]byte, 100), rpc.FaultOpRange)
	for op := range refused {
		fault(c, op, user, rpc.FaultAccessDenied)
	}
	for op, x := range map[uint16]struct {
		domain []byte
		rid    uint32
		want   nt.Status
	}{
		opOpenUser: {account, 513, nt.NoSuchUser}, opOpenGroup: {account, 1000, nt.NoSuchGroup}, opOpenAlias: {builtin, 1, nt.NoSuchAlias},
	} {
		c.call(op, le32(bytes.Clone(x.domain), maximum, x.rid))
		if h := c.handle(); !bytes.Equal(h, make([]byte, 20)) {
			t.Errorf("operation %d: handle %x", op, h)
		}
		c.status(x.want)
	}
	c.call(opOpenUser, le32(bytes.Clone(account), 0x00000004, 1000)) // to write
	c.handle()
	c.status(nt.AccessDenied)
	c.call(opClose, user)
	if h := c.handle(); !bytes.Equal(h, make([]byte, 20)) {
		t.Errorf("a closed handle is %x", h)
	}
	c.status(nt.Success)
	fault(c, opQueryUser, append(bytes.Clone(user), class...), rpc.FaultBadContext)
	for i := 0; ; i++ {
		c.call(opOpenUser, le32(bytes.Clone(account), maximum, 1000))
		c.handle()
		if status := nt.Status(c.u32()); status == nt.InsufficientResources && i >= 16 {
			break
		} else if status != nt.Success || i > 1000 {
			t.Fatalf("handle %d: %v", i, status)
		}
	}
}

// requests are one of each shape, cut anywhere by TestCut and changed by FuzzCall.
func requests(c *client, server, account, builtin []byte) map[uint16][]byte {
	return map[uint16][]byte{
		opConnect2:           le32(nil, 0, maximum),
		opConnect5:           le32(nil, 0, maximum, 1, 1, 3, 0),
		opEnumDomains:        le32(bytes.Clone(server), 0, 100),
		opOpenDomain:         sidStub(le32(bytes.Clone(server), maximum), machine),
		opLookupDomain:       append(le32(bytes.Clone(server), 6|6<<16, 1, 3, 0, 3), 'N', 0, 'A', 0, 'S', 0),
		opQueryDomain:        append(bytes.Clone(account), 2, 0),
		opEnumUsers:          le32(bytes.Clone(account), 0, 0, 100),
		opLookupNames:        namesStub(account, "alice", "bob"),
		opLookupIDs:          le32(bytes.Clone(account), 2, 1000, 0, 2, 1000, 1001),
		opGetAliasMembership: sidStub(le32(bytes.Clone(builtin), 1, 1, 1, 1), machine.Child(1000)),
		opQueryDisplay:       le32(append(bytes.Clone(account), 1, 0, 0, 0), 0, 100, 1000),
		opOpenUser:           le32(bytes.Clone(account), maximum, 1000),
		opQuerySecurity:      le32(bytes.Clone(account), 7),
		opClose:              bytes.Clone(builtin),
	}
}

// What is cut off anywhere, or counts more than there is, is a fault and nothing else.
func TestCut(t *testing.T) {
	c, server := connected(t, people)
	account, builtin := c.domain(server, machine), c.domain(server, builtinSID)
	for op, stub := range requests(c, server, account, builtin) {
		if op == opLookupNames {
			stub = namesStub(account, "alic") // without padding at its end
		}
		for n := range stub {
			if _, err := c.iface.Call(t.Context(), op, stub[:n]); !errors.Is(err, rpc.FaultBadStub) {
				t.Errorf("operation %d cut at %d: %v", op, n, err)
			}
		}
	}
	for name, x := range map[string]struct {
		op   uint16
		stub []byte
	}{
		"1001 names":       {opLookupNames, append(le32(bytes.Clone(account), 1001, 1001, 0, 1001), make([]byte, 8008)...)},
		"4 G names":        {opLookupNames, le32(bytes.Clone(account), 0xFFFFFFFF, 0xFFFFFFFF, 0, 0xFFFFFFFF)},
		"names at 1":       {opLookupNames, le32(bytes.Clone(account), 1, 1000, 1, 1, 0, 0)},
		"fewer than said":  {opLookupIDs, le32(bytes.Clone(account), 2, 1000, 0, 1, 1)},
		"4 G SIDs":         {opGetAliasMembership, le32(bytes.Clone(builtin), 0xFFFFFFFF, 1, 0xFFFFFFFF)},
		"a null SID":       {opGetAliasMembership, le32(bytes.Clone(builtin), 1, 1, 1, 0)},
		"16 in a SID":      {opOpenDomain, le32(bytes.Clone(server), maximum, 16, 0, 0)},
		"another revision": {opConnect5, le32(nil, 0, maximum, 2, 2, 3, 0)},
	} {
		if _, err := c.iface.Call(t.Context(), x.op, x.stub); !errors.Is(err, rpc.FaultBadStub) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzCall(f *testing.F) {
	zero := make([]byte, 20)
	for op, stub := range requests(nil, zero, zero, zero) {
		f.Add(op, bytes.TrimPrefix(stub, zero), uint8(op))
	}
	f.Fuzz(func(t *testing.T, op uint16, stub []byte, kind uint8) {
		c, server := connected(t, people)
		account, builtin := c.domain(server, machine), c.domain(server, builtinSID)
		handles := [][]byte{server, account, builtin, c.open(opOpenUser, account, 1000), c.open(opOpenGroup, account, 513), c.open(opOpenAlias, builtin, 544)}
		if operations[op].run != nil {
			stub = append(bytes.Clone(handles[int(kind)%len(handles)]), stub...)
		}
		out, err := c.iface.Call(t.Context(), op, stub)
		var fault rpc.Fault
		if err != nil && !errors.As(err, &fault) {
			t.Error(err)
		}
		if err == nil && (len(out) < 4 || len(out) > 400*len(stub)+4000) {
			t.Errorf("%d bytes for %d", len(out), len(stub))
		}
	})
}
