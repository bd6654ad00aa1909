package osfs

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/hextext"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/vfs"
)

// O:S-1-5-21-1-2-3-1000 G:BU D:AI(A;OICI;FA;;;AU)(D;;FR;;;S-1-5-21-1-2-3-1001), as Samba 4.24.7's ndr_pack has it.
const (
	sdBody = `010500000000000515000000010000000200000003000000e8030000
		01020000000000052000000021020000
		0400400002000000 00031400ff011f0001010000000000050b000000 0100240089001200010500000000000515000000010000000200000003000000e9030000`
	sdPlain = `0100048414000000300000000000000040000000` + sdBody
)

// The same in each version of the xattr, from Samba too: hashes count up from 0, and the second from 100.
var ntaclVectors = map[string]string{
	"1": `0100010000000200 010004841c000000380000000000000048000000` + sdBody,
	"2": `0200020000000200 04000200 000102030405060708090a0b0c0d0e0f 01000484300000004c000000000000005c000000` + sdBody,
	"3": `0300030000000200 04000200 0100 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f
		202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f 0000 0100048464000000800000000000000090000000` + sdBody,
	"4": `0400040000000200 04000200 0100 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f
		202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f 706f7369785f61636c00 0000000000000000
		6465666768696a6b6c6d6e6f707172737475767778797a7b7c7d7e7f808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9fa0a1a2a3
		01000484b4000000d000000000000000e0000000` + sdBody,
	"4, an odd description": `0400040000000200 04000200 0100 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f
		202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f 706f7369785f616300 00 0000000000000000
		6465666768696a6b6c6d6e6f707172737475767778797a7b7c7d7e7f808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9fa0a1a2a3
		01000484b4000000d000000000000000e0000000` + sdBody,
}

func TestNTACLFromSamba(t *testing.T) {
	want := hextext.Bytes(sdPlain)
	for name, vector := range ntaclVectors {
		value := hextext.Bytes(vector)
		if got := decodeNTACL(value); !bytes.Equal(got, want) {
			t.Errorf("version %s: %x", name, got)
		}
		// Cut anywhere it is no descriptor, and none is not what it says.
		for n := range value {
			got := decodeNTACL(value[:n])
			if got == nil {
				t.Fatalf("version %s cut at %d is no descriptor at all", name, n)
			}
			if _, err := dtyp.DecodeSecurityDescriptor(got); err == nil {
				t.Fatalf("version %s cut at %d is a descriptor", name, n)
			}
		}
	}
}

func TestNTACLMalformed(t *testing.T) {
	good := hextext.Bytes(ntaclVectors["4"])
	for name, spoil := range map[string]func(b []byte){
		"version 5":                   func(b []byte) { b[0], b[2] = 5, 5 },
		"another discriminant":        func(b []byte) { b[2] = 3 },
		"no union":                    func(b []byte) { clear(b[4:8]) },
		"no descriptor":               func(b []byte) { clear(b[8:12]) },
		"owner before the descriptor": func(b []byte) { b[164] = 4 },
	} {
		bad := bytes.Clone(good)
		spoil(bad)
		if got := decodeNTACL(bad); got == nil || len(got) != 0 {
			t.Errorf("%s: %x", name, got)
		}
	}
}

func TestNTACLEncode(t *testing.T) {
	sd, sum := hextext.Bytes(sdPlain), [32]byte{0: 0xAA, 31: 0xBB}
	got := encodeNTACL(sd, sum)
	if len(got) != ntaclHead+len(sd) || !bytes.Equal(decodeNTACL(got), sd) {
		t.Fatalf("%x", got)
	}
	// As Samba's but for the hashes.
	want := hextext.Bytes(ntaclVectors["4"])
	clear(want[14:78])
	clear(want[96:160])
	copy(want[96:], sum[:])
	if !bytes.Equal(got, want) {
		t.Errorf("got  %x\nwant %x", got, want)
	}
}

func FuzzNTACL(f *testing.F) {
	for _, v := range ntaclVectors {
		f.Add(hextext.Bytes(v))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		sd := decodeNTACL(b)
		if len(sd) < 20 {
			return
		}
		if sd == nil || len(sd) > len(b) {
			t.Fatalf("%d bytes became %d", len(b), len(sd))
		}
		for i := 4; i < 20; i += 4 { // what wraps around is no descriptor of anyone's
			if binary.LittleEndian.Uint32(sd[i:]) > 1<<31 {
				return
			}
		}
		if again := decodeNTACL(encodeNTACL(sd, [32]byte{})); !bytes.Equal(again, sd) {
			t.Errorf("%x became %x", sd, again)
		}
	})
}

// What smbd 4.24.7 made of two objects of root's with POSIX ACLs.
func TestSysACL(t *testing.T) {
	acl := []posixEntry{{aclUserObj, 7, ^uint32(0)}, {aclUser, 7, 0}, {aclGroupObj, 5, ^uint32(0)}, {aclGroup, 5, 0}, {aclMask, 7, ^uint32(0)}, {aclOther, 5, ^uint32(0)}}
	for _, c := range []struct {
		mode uint16
		dir  bool
		want string
	}{
		{0o100775, false, "5dd2b193e43b4dc35157ee98c7526c731dd3e007cf250e67358da2c7ca90748e"},
		{0o040775, true, "0da4270ae6b917c1692ed2e29bf473082239edf9883d68cb10aecc5e00e7ee07"},
	} {
		st := &unix.Statx_t{Mode: c.mode}
		sum := sha256.Sum256(appendSysACL(nil, st, acl, acl, c.dir))
		if got := hex.EncodeToString(sum[:]); got != c.want {
			t.Errorf("mode %o: %s", c.mode, got)
		}
	}
}

// protected makes a file with a descriptor and returns both.
func protected(t *testing.T, v *Volume, name string) (vfs.File, []byte) {
	t.Helper()
	sd := hextext.Bytes(sdPlain)
	how := vfs.How{Disposition: vfs.Create, Access: dtyp.FileAll, Admit: func([]byte) ([]byte, error) { return sd, nil }}
	f, _, err := v.Open(t.Context(), vfs.Path{Names: []string{name}}, how)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f, sd
}

func descriptorOf(t *testing.T, f vfs.File) []byte {
	t.Helper()
	b, err := f.(vfs.Security).SecurityDescriptor(t.Context())
	if errors.Is(err, nt.NotSupported) {
		t.Skip("no user xattrs here")
	}
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestWhichXattr: root writes Samba's and takes the other away; others write their own; each reads either.
func TestWhichXattr(t *testing.T) {
	dir := t.TempDir()
	v := volume(t, dir)
	has := func(name, xattr string) bool {
		_, err := unix.Getxattr(filepath.Join(dir, name), xattr, nil)
		return err == nil
	}

	v.unprivileged.Store(true)
	f, sd := protected(t, v, "own")
	if got := descriptorOf(t, f); !bytes.Equal(got, sd) {
		t.Fatalf("%x", got)
	}
	if !has("own", ownNTACL) || has("own", sambaNTACL) {
		t.Fatal("without privilege, not in the own xattr")
	}
	if os.Geteuid() != 0 {
		t.Skip("the rest needs root")
	}

	v.unprivileged.Store(false)
	if got := descriptorOf(t, f); !bytes.Equal(got, sd) {
		t.Fatalf("root reads %x", got)
	}
	if err := f.(vfs.Security).SetSecurityDescriptor(t.Context(), sd); err != nil {
		t.Fatal(err)
	}
	if v.unprivileged.Load() {
		t.Skip("root of a container")
	}
	if has("own", ownNTACL) || !has("own", sambaNTACL) {
		t.Fatal("with privilege, not in Samba's xattr alone")
	}
	v.unprivileged.Store(true)
	if got := descriptorOf(t, f); !bytes.Equal(got, sd) {
		t.Fatalf("others read %x", got)
	}
}

// TestBrokenXattr: what cannot be read is no missing descriptor, which would open the file to everyone.
func TestBrokenXattr(t *testing.T) {
	dir := t.TempDir()
	v := volume(t, dir)
	v.unprivileged.Store(true)
	f, _ := protected(t, v, "file")
	descriptorOf(t, f)
	for _, value := range []string{"", "x", "0x20"} {
		if err := unix.Setxattr(filepath.Join(dir, "file"), ownNTACL, []byte(value), 0); err != nil {
			t.Fatal(err)
		}
		if got := descriptorOf(t, f); got == nil || len(got) != 0 {
			t.Errorf("%q is %x, nil %t", value, got, got == nil)
		}
	}
}

// TestNoXattrNoDescriptor: a filesystem without xattrs says so, and things can be made on it all the same.
func TestNoXattrNoDescriptor(t *testing.T) {
	v := volume(t, t.TempDir(), func(c *config) { c.noXattr = true })
	asked := false
	f, _, err := v.Open(t.Context(), vfs.Path{Names: []string{"file"}}, vfs.How{
		Disposition: vfs.Create, Access: dtyp.FileAll,
		Admit: func(inside []byte) ([]byte, error) { asked = inside == nil; return []byte("x"), nil },
	})
	if err != nil || !asked {
		t.Fatal(err, asked)
	}
	defer f.Close()
	s := f.(vfs.Security)
	if _, err := s.SecurityDescriptor(t.Context()); !errors.Is(err, nt.NotSupported) {
		t.Error(err)
	}
	if err := s.SetSecurityDescriptor(t.Context(), hextext.Bytes(sdPlain)); !errors.Is(err, nt.NotSupported) {
		t.Error(err)
	}
}

// TestDescriptorSizes: what does not fit, or cannot be one, is refused, and an object that cannot have its descriptor is not left
// behind without one.
func TestDescriptorSizes(t *testing.T) {
	dir := t.TempDir()
	v := volume(t, dir)
	f, sd := protected(t, v, "file")
	descriptorOf(t, f)
	huge := append(hextext.Bytes(sdPlain), make([]byte, xattrMax)...)
	for _, bad := range [][]byte{nil, sd[:descriptorHead-1], huge} {
		if err := f.(vfs.Security).SetSecurityDescriptor(t.Context(), bad); !errors.Is(err, nt.InvalidSecurityDescr) {
			t.Errorf("%d bytes: %v", len(bad), err)
		}
	}
	if got := descriptorOf(t, f); !bytes.Equal(got, sd) {
		t.Errorf("%x", got)
	}
	for _, isDir := range []bool{false, true} {
		_, _, err := v.Open(t.Context(), vfs.Path{Names: []string{"new"}}, vfs.How{
			Disposition: vfs.Create, Access: dtyp.FileAll, Directory: isDir, Admit: func([]byte) ([]byte, error) { return huge, nil },
		})
		if !errors.Is(err, nt.InvalidSecurityDescr) {
			t.Error(err)
		}
		if _, err := os.Lstat(filepath.Join(dir, "new")); !os.IsNotExist(err) {
			t.Errorf("left behind: %v", err)
		}
	}
}
