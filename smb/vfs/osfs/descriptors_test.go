package osfs

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/vfs"
)

// TestDescriptorRemembered: what was read long after it was written is remembered, and what anybody does to it after
// that, here or beside Postern, is seen at once.
func TestDescriptorRemembered(t *testing.T) {
	dir := t.TempDir()
	v := volume(t, dir)
	v.unprivileged.Store(true)
	f, sd := protected(t, v, "file")
	if got := descriptorOf(t, f); !bytes.Equal(got, sd) {
		t.Fatalf("%x", got)
	}
	if n := len(v.descriptors.young); n != 0 {
		t.Fatalf("%d remembered that may change within the clock's tick", n)
	}
	settle := func() {
		time.Sleep(distinct + 50*time.Millisecond)
		descriptorOf(t, f)
		if len(v.descriptors.young) == 0 {
			t.Fatal("nothing is remembered")
		}
	}
	settle()
	if got := descriptorOf(t, f); !bytes.Equal(got, sd) {
		t.Fatalf("remembered %x", got)
	}

	path := filepath.Join(dir, "file")
	other := append(bytes.Clone(sd), 0, 0, 0, 0)
	if err := unix.Setxattr(path, ownNTACL, encodeNTACL(other, [32]byte{}), 0); err != nil {
		t.Fatal(err)
	}
	if got := descriptorOf(t, f); !bytes.Equal(got, other) {
		t.Errorf("after a change by somebody else: %x", got)
	}
	settle()
	if err := f.(vfs.Security).SetSecurityDescriptor(t.Context(), sd); err != nil {
		t.Fatal(err)
	}
	if got := descriptorOf(t, f); !bytes.Equal(got, sd) {
		t.Errorf("after a change by us: %x", got)
	}
	settle()
	if err := unix.Removexattr(path, ownNTACL); err != nil {
		t.Fatal(err)
	}
	if got := descriptorOf(t, f); got != nil {
		t.Errorf("after it was taken away: %x", got)
	}
	settle()
	if err := unix.Setxattr(path, ownNTACL, encodeNTACL(sd, [32]byte{}), 0); err != nil {
		t.Fatal(err)
	}
	if got := descriptorOf(t, f); !bytes.Equal(got, sd) {
		t.Errorf("after it came again: %x", got)
	}

	// Another object of the same number: inodes are given out again.
	settle()
	f.Close()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	again, _, err := v.Open(t.Context(), vfs.Path{Names: []string{"file"}}, vfs.How{Disposition: vfs.Open, Access: dtyp.ReadControl})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if got := descriptorOf(t, again); got != nil {
		t.Errorf("of the one before it: %x", got)
	}
}

// TestDescriptorCacheBound: two generations are all there is, and what is asked for survives one.
func TestDescriptorCacheBound(t *testing.T) {
	var d descriptorCache
	st := func(ino uint64) *unix.Statx_t { return &unix.Statx_t{Ino: ino, Ctime: unix.StatxTimestamp{Sec: 1}} }
	d.put(st(0), []byte("asked for"))
	for i := range uint64(5 * maxRemembered) {
		d.put(st(i+1), nil)
		if i%1000 == 0 {
			if b, known := d.get(st(0)); !known || string(b) != "asked for" {
				t.Fatalf("after %d others: %q, %t", i, b, known)
			}
		}
	}
	if n := len(d.young) + len(d.old); n > 2*maxRemembered {
		t.Errorf("%d remembered", n)
	}
	if _, known := d.get(st(1)); known {
		t.Error("what nobody asked for is there still")
	}
	d.put(st(7), make([]byte, longestRemembered+1))
	if b, _ := d.get(st(7)); b != nil {
		t.Error("a huge one is remembered")
	}
}
