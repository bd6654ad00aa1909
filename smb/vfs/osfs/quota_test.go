package osfs

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/vfs"
)

var _ vfs.Quotas = (*Volume)(nil)

// A filesystem without quotas says so, whatever it is asked.
func TestNoQuotas(t *testing.T) {
	onFilesystems(t, func(t *testing.T, s *shed) {
		ctx := context.Background()
		_, policy := s.v.QuotaPolicy(ctx)
		if policy == nil {
			t.Skip("this one has quotas")
		}
		_, of := s.v.Quota(ctx, unixUsers.Child(1))
		for what, err := range map[string]error{
			"policy": policy, "set policy": s.v.SetQuotaPolicy(ctx, vfs.QuotaPolicy{}), "quota": of,
			"set quota": s.v.SetQuota(ctx, vfs.Quota{Owner: unixUsers.Child(1)}),
			"list":      s.v.EachQuota(ctx, "", func(vfs.Quota) bool { t.Error("an entry"); return true }),
		} {
			if !errors.Is(err, nt.NotSupported) {
				t.Errorf("%s: %v", what, err)
			}
		}
	})
}

// What the kernel has in blocks, with none as no limit, the wire has in bytes; and the structure is as long as the kernel's.
func TestQuotaLimits(t *testing.T) {
	if n := unsafe.Sizeof(dqblk{}); n != 72 {
		t.Errorf("%d bytes", n)
	}
	for _, c := range []struct {
		bytes  int64
		blocks uint64
		back   int64
	}{{fscc.NoQuota, 0, fscc.NoQuota}, {fscc.ForgetQuota, 0, fscc.NoQuota}, {0, 1, 1024}, {1, 1, 1024}, {1024, 1, 1024}, {1025, 2, 2048}, {1 << 40, 1 << 30, 1 << 40}} {
		b := blocks(c.bytes)
		d := dqblk{hard: b, space: 5}
		if q := d.quota(dtyp.Everyone); b != c.blocks || q.Limit != c.back || q.Used != 5 || q.Threshold != fscc.NoQuota {
			t.Errorf("%d is %d blocks, and those %+v", c.bytes, b, q)
		}
	}
	for s, want := range map[dtyp.SID]bool{unixUsers.Child(0): true, unixUsers.Child(1000): true, unixUsers: false, unixUsers.Child(^uint32(0)): false, dtyp.Everyone: false, "": false} {
		if _, ok := userOf(s); ok != want {
			t.Errorf("%v is a user: %t", s, ok)
		}
	}
}

// quotaDir returns a folder on a filesystem that keeps quotas of users: the one that is named by the environment, for
// machines that have one mounted, or one in a file.
func quotaDir(t *testing.T) string {
	t.Helper()
	if dir := os.Getenv("POSTERN_QUOTA_DIR"); dir != "" {
		return dir
	}
	dir := t.TempDir()
	image := filepath.Join(t.TempDir(), "image")
	check(t, os.WriteFile(image, nil, 0o600))
	check(t, os.Truncate(image, 64<<20))
	for _, cmd := range [][]string{{"mkfs.ext4", "-q", "-O", "quota", "-E", "quotatype=usrquota", image}, {"mount", "-o", "loop,usrquota", image, dir}} {
		if out, err := exec.Command(cmd[0], cmd[1:]...).CombinedOutput(); err != nil {
			t.Skipf("no filesystem with quotas to be had (the kernel may lack CONFIG_QFMT_V2): %v: %v: %s", cmd, err, out)
		}
	}
	t.Cleanup(func() { exec.Command("umount", dir).Run() })
	return dir
}

// TestQuotaWriter is what TestQuotasOfFilesystem runs as another user: it writes as much as it can.
func TestQuotaWriter(t *testing.T) {
	file := os.Getenv("POSTERN_QUOTA_FILE")
	if file == "" {
		t.Skip("run by another test")
	}
	if err := os.WriteFile(file, make([]byte, 300<<10), 0o644); !errors.Is(err, unix.EDQUOT) {
		t.Errorf("writing ended with %v", err)
	}
}

// On a filesystem that counts: what a user has is seen, a limit is set, and the kernel keeps to it.
func TestQuotasOfFilesystem(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("root sets quotas")
	}
	dir := quotaDir(t)
	v := volume(t, dir)
	ctx, user := context.Background(), unixUsers.Child(12345)
	if p, err := v.QuotaPolicy(ctx); err != nil || !p.Track || !p.Enforce {
		t.Fatalf("%+v %v", p, err)
	}
	file := filepath.Join(dir, "file")
	check(t, os.WriteFile(file, make([]byte, 100<<10), 0o644))
	check(t, os.Chown(file, 12345, 0))
	unix.Sync()
	if q, err := v.Quota(ctx, user); err != nil || q.Used < 100<<10 || q.Limit != fscc.NoQuota {
		t.Fatalf("%+v %v", q, err)
	}
	check(t, v.SetQuota(ctx, vfs.Quota{Owner: user, Limit: 200 << 10, Threshold: 150 << 10}))
	check(t, v.SetQuota(ctx, vfs.Quota{Owner: unixUsers.Child(54321), Limit: 1 << 20, Threshold: fscc.NoQuota}))
	var listed []vfs.Quota
	each := func(q vfs.Quota) bool { listed = append(listed, q); return true }
	check(t, v.EachQuota(ctx, unixUsers.Child(0), each))
	if len(listed) != 2 || listed[0].Owner != user || listed[0].Limit != 200<<10 || listed[0].Threshold != 150<<10 || listed[1].Limit != 1<<20 {
		t.Errorf("%+v", listed)
	}
	listed = nil
	if check(t, v.EachQuota(ctx, user, each)); len(listed) != 1 || listed[0].Owner != unixUsers.Child(54321) {
		t.Errorf("after the first: %+v", listed)
	}
	if err := v.SetQuota(ctx, vfs.Quota{Owner: dtyp.Everyone}); !errors.Is(err, nt.NoneMapped) {
		t.Errorf("of everyone: %v", err)
	}
	if q, err := v.Quota(ctx, dtyp.Everyone); err != nil || q.Used != 0 || q.Limit != fscc.NoQuota {
		t.Errorf("of everyone: %+v %v", q, err)
	}
	if err := v.SetQuotaPolicy(ctx, vfs.QuotaPolicy{}); !errors.Is(err, nt.AccessDenied) {
		t.Errorf("setting the policy: %v", err)
	}
	full := filepath.Join(dir, "full")
	check(t, os.WriteFile(full, nil, 0o644))
	check(t, os.Chown(full, 12345, 0))
	check(t, os.Chmod(dir, 0o777))
	self, err := os.ReadFile("/proc/self/exe")
	check(t, err)
	program := filepath.Join(dir, "test") // where the other user can get at it
	check(t, os.WriteFile(program, self, 0o755))
	writer := exec.Command(program, "-test.run", "^TestQuotaWriter$")
	writer.Dir, writer.Env = dir, append(os.Environ(), "POSTERN_QUOTA_FILE="+full, "TMPDIR="+dir)
	writer.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 12345, Gid: 12345}}
	if out, err := writer.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
