package osfs

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/hextext"
	"github.com/postern-nas/postern/smb/vfs"
)

// created is 2023-11-14 22:13:20 UTC.
const created dtyp.Filetime = 133_444_736_000_000_000

// dosVectors are laid out by hand from the NDR rules and Samba's xattr.idl; spaces separate the fields.
var dosVectors = []struct {
	name, hex string
	want      dosInfo
}{
	// attrib_hex, pad, version, discriminant, pad, ...
	{"5", "00 00 0500 0500 0000 11000000 22000000 00006dc64717da01", dosInfo{attributes: vfs.AttrArchive | vfs.AttrHidden, birth: created}},
	{"5 directory", "00 00 0500 0500 0000 11000000 10000000 00006dc64717da01", dosInfo{attributes: 0, birth: created}},
	{"5 attributes only", "00 00 0500 0500 0000 01000000 01000000 00006dc64717da01", dosInfo{attributes: vfs.AttrReadOnly, birth: 7}},
	{"5 time only", "00 00 0500 0500 0000 10000000 01000000 00006dc64717da01", dosInfo{attributes: 7, birth: created}},
	{"5 no time", "00 00 0500 0500 0000 11000000 04020000 0000000000000000", dosInfo{attributes: vfs.AttrSystem | vfs.AttrSparse, birth: 7}},
	{"4", "00 00 0400 0400 0000 51000000 20000000 1122334455667708 00006dc64717da01", dosInfo{attributes: vfs.AttrArchive, birth: created}},
	{
		"3", "00 00 0300 0300 0000 11000000 21000000 00000000 0010000000000000 0020000000000000 00006dc64717da01 0000000000000000",
		dosInfo{attributes: vfs.AttrArchive | vfs.AttrReadOnly, birth: created},
	},
	// With the text, which Samba 3 wrote before: "0x21\0", pad, version, discriminant, pad.
	{
		"3 with text", "3078323100 00 0300 0300 0000 11000000 21000000 00000000 0010000000000000 0020000000000000 00006dc64717da01 0000000000000000",
		dosInfo{attributes: vfs.AttrArchive | vfs.AttrReadOnly, birth: created},
	},
	{
		"2", "00 00 0200 0200 0000 01000000 02000000 00000000 0010000000000000 0020000000000000 00006dc64717da01 0000000000000000 0000000000000000 00",
		dosInfo{attributes: vfs.AttrHidden, birth: created},
	},
	{
		"1", "00 00 0100 0100 0000 02000000 00000000 0010000000000000 0020000000000000 00006dc64717da01 0000000000000000",
		dosInfo{attributes: vfs.AttrHidden, birth: created},
	},
	{
		"5 with a time of change", "00 00 0500 0500 0000 11000000 22000000 00006dc64717da01 0100000000000000 0200000000000000",
		dosInfo{attributes: vfs.AttrArchive | vfs.AttrHidden, birth: created, change: 1, noted: 2},
	},
	{
		"5 with something else", "00 00 0500 0500 0000 11000000 22000000 00006dc64717da01 0100000000000000 02000000000000",
		dosInfo{attributes: vfs.AttrArchive | vfs.AttrHidden, birth: created},
	},
	{
		"5 with times before 1601", "00 00 0500 0500 0000 11000000 22000000 00006dc64717da01 0100000000000000 0200000000000080",
		dosInfo{attributes: vfs.AttrArchive | vfs.AttrHidden, birth: created},
	},
	{"text", "30783232", dosInfo{attributes: vfs.AttrHidden | vfs.AttrArchive, birth: 7}},
	{"text terminated", "3078323200", dosInfo{attributes: vfs.AttrHidden | vfs.AttrArchive, birth: 7}},
}

func TestDOSAttrib(t *testing.T) {
	for _, c := range dosVectors {
		got := dosInfo{attributes: 7, birth: 7}
		if !decodeDOS(hextext.Bytes(c.hex), &got) || got != c.want {
			t.Errorf("version %s: %+v, want %+v", c.name, got, c.want)
		}
	}
	if got, want := encodeDOS(dosInfo{attributes: vfs.AttrArchive | vfs.AttrHidden, birth: created}, false), hextext.Bytes(dosVectors[0].hex); string(got) != string(want) {
		t.Errorf("wrote %x, want %x", got, want)
	}
	if got, want := encodeDOS(dosInfo{attributes: 0, birth: created}, true), hextext.Bytes(dosVectors[1].hex); string(got) != string(want) {
		t.Errorf("wrote %x, want %x", got, want)
	}
	// Cut anywhere before its last field is whole, a value says nothing.
	whole := hextext.Bytes(dosVectors[0].hex)
	for n := range whole {
		got := dosInfo{attributes: 7, birth: 7}
		if decodeDOS(whole[:n], &got) || got != (dosInfo{attributes: 7, birth: 7}) {
			t.Errorf("cut at %d: %+v", n, got)
		}
	}
	for _, bad := range []string{"00 00 0600 0600 0000 11000000 22000000 00006dc64717da01", "00 00 0500 0400 0000 11000000 22000000 00006dc64717da01", "41", "4100", "3078666666666666666666", ""} {
		got := dosInfo{attributes: 7, birth: 7}
		if decodeDOS(hextext.Bytes(bad), &got) {
			t.Errorf("%s: %+v", bad, got)
		}
	}
}

func FuzzDOSAttrib(f *testing.F) {
	for _, c := range dosVectors {
		f.Add(hextext.Bytes(c.hex))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got := dosInfo{birth: created}
		if !decodeDOS(b, &got) {
			return
		}
		again := dosInfo{}
		if !decodeDOS(encodeDOS(got, false), &again) || again != got {
			t.Fatalf("%+v came back as %+v", got, again)
		}
	})
}

// TestDOSAttribOnDisk meets values that Samba would have written, and looks at ours.
func TestDOSAttribOnDisk(t *testing.T) {
	dir := t.TempDir()
	v := volume(t, dir)
	path := filepath.Join(dir, "f")
	if err := os.WriteFile(path, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	attr := func() vfs.Attr {
		f := mustOpen(t, v, "f", vfs.How{Access: dtyp.ReadAttributes})
		defer f.Close()
		a, err := f.Attr(context.Background(), vfs.WantAll)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	if a := attr(); a.Attributes != vfs.AttrArchive || a.Birth == 0 {
		t.Fatalf("without xattr: %+v", a)
	}
	if err := unix.Setxattr(path, "user.DOSATTRIB", hextext.Bytes(dosVectors[5].hex), 0); err != nil {
		t.Skip(err)
	}
	if a := attr(); a.Attributes != vfs.AttrArchive || a.Birth != created {
		t.Fatalf("version 4: %+v", a)
	}
	if err := unix.Setxattr(path, "user.DOSATTRIB", []byte("garbage"), 0); err != nil {
		t.Fatal(err)
	}
	if a := attr(); a.Attributes != vfs.AttrArchive || a.Birth == created {
		t.Fatalf("garbage: %+v", a)
	}
	f := mustOpen(t, v, "f", vfs.How{Access: dtyp.FileWrite})
	defer f.Close()
	if err := f.SetAttr(context.Background(), vfs.Attr{Attributes: vfs.AttrArchive | vfs.AttrHidden, Birth: created}, vfs.WantAttributes|vfs.SetBirth); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 100)
	n, err := unix.Getxattr(path, "user.DOSATTRIB", b)
	if want := hextext.Bytes(dosVectors[0].hex); err != nil || string(b[:n]) != string(want) {
		t.Fatalf("on disk %x, %v; want %x", b[:max(n, 0)], err, want)
	}
}

// TestNoXattr is a filesystem that keeps no user xattrs: read-only is kept in the permission bits.
func TestNoXattr(t *testing.T) {
	dir := t.TempDir()
	v := volume(t, dir, func(c *config) { c.noXattr = true })
	ctx := context.Background()
	f := mustOpen(t, v, "f", vfs.How{Disposition: vfs.Create, Access: dtyp.FileWrite, Attributes: vfs.AttrArchive})
	defer f.Close()
	d := mustOpen(t, v, "d", vfs.How{Disposition: vfs.Create, Directory: true, Attributes: vfs.AttrReadOnly})
	defer d.Close()
	for _, want := range []uint32{vfs.AttrArchive, vfs.AttrArchive | vfs.AttrReadOnly, vfs.AttrArchive} {
		if err := f.SetAttr(ctx, vfs.Attr{Attributes: want | vfs.AttrHidden, Birth: created}, vfs.WantAttributes|vfs.SetBirth); err != nil {
			t.Fatal(err)
		}
		a, err := f.Attr(ctx, vfs.WantAll)
		if err != nil || a.Attributes != want || a.Birth == 0 {
			t.Fatalf("%+v, %v; want attributes %#x", a, err, want)
		}
		st, err := os.Stat(filepath.Join(dir, "f"))
		if err != nil || (st.Mode()&0o222 == 0) != (want&vfs.AttrReadOnly != 0) {
			t.Fatalf("mode %v, %v", st.Mode(), err)
		}
	}
	if a, err := d.Attr(ctx, vfs.WantAll); err != nil || a.Attributes != vfs.AttrDirectory {
		t.Fatalf("%+v, %v", a, err)
	}
}

// TestEntryXattr: a link's own xattr, which it cannot have, is not that of the file it leads to.
func TestEntryXattr(t *testing.T) {
	dir := t.TempDir()
	v := volume(t, dir)
	f := mustOpen(t, v, "f", vfs.How{Disposition: vfs.Create, Attributes: vfs.AttrSystem, Access: dtyp.FileAll})
	defer f.Close()
	if err := os.Symlink("f", filepath.Join(dir, "l")); err != nil {
		t.Fatal(err)
	}
	room := dirBufs.Get().(*dirBuf)
	if a, err := v.attrAt(v.root, "f", vfs.WantAll, room); err != nil || a.Attributes != vfs.AttrSystem {
		t.Errorf("%+v, %v", a, err)
	}
	if a, err := v.attrAt(v.root, "l", vfs.WantAll, room); err != nil || a.Attributes != vfs.AttrReparsePoint {
		t.Errorf("link: %+v, %v", a, err)
	}
	switch _, err := getxattrat(v.root, "l", &room.xattr); err {
	case unix.ENOSYS:
		t.Skip(err)
	case unix.ENODATA:
	default:
		t.Errorf("through a link: %v", err)
	}
}
