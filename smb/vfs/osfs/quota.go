package osfs

import (
	"context"
	"errors"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/vfs"
)

// Quotas are those that the filesystem keeps for users of Linux, who are shown as S-1-22-1 and their number, as Samba
// shows them. What is written over the network belongs to the user that the server runs as, whoever wrote it: a limit of
// that one holds for all of them, unless it is root, to whom the kernel lets limits not apply.
var unixUsers = dtyp.NewSID(22, 1)

// Commands and structures of quotactl_fd, from linux/quota.h and linux/dqblk_xfs.h. Blocks are of 1024 bytes.
const (
	quotaGetStat   = 'X'<<8 | 5 // Q_XGETQSTAT
	quotaGet       = 0x800007
	quotaSet       = 0x800008
	quotaGetNext   = 0x800009
	quotaOfUsers   = 0
	quotaBlock     = 1024
	quotaSetsLimit = 1 // QIF_BLIMITS

	quotaCounted  = 1 // FS_QUOTA_UDQ_ACCT
	quotaEnforced = 2 // FS_QUOTA_UDQ_ENFD
)

// dqblk is struct if_dqblk, and if_nextdqblk, whose id is padding in the other.
type dqblk struct {
	hard, soft uint64 // blocks; 0: no limit
	space      uint64 // bytes
	inodes     [3]uint64
	times      [2]uint64
	valid      uint32
	id         uint32
}

// quotaStat is the beginning of struct fs_quota_stat, and room for the rest.
type quotaStat struct {
	version, pad1 int8
	flags         uint16
	rest          [96]byte
}

// quotactl asks the filesystem. NotSupported: it keeps none.
func (v *Volume) quotactl(command, id uint32, p unsafe.Pointer) error {
	_, _, e := unix.Syscall6(unix.SYS_QUOTACTL_FD, uintptr(v.root), uintptr(command<<8|quotaOfUsers), uintptr(id), uintptr(p), 0, 0)
	switch e {
	case 0:
		return nil
	case unix.ENOSYS, unix.ENOTSUP, unix.ESRCH, unix.ENOTBLK, unix.EINVAL:
		return &statusError{nt.NotSupported, e}
	}
	return e
}

// QuotaPolicy implements vfs.Quotas. Linux has no limits for those without.
func (v *Volume) QuotaPolicy(context.Context) (vfs.QuotaPolicy, error) {
	var st quotaStat
	st.version = 1
	err := v.quotactl(quotaGetStat, 0, unsafe.Pointer(&st))
	runtime.KeepAlive(&st)
	if err == nil && st.flags&quotaCounted == 0 {
		err = nt.NotSupported
	}
	return vfs.QuotaPolicy{Track: true, Enforce: st.flags&quotaEnforced != 0, Threshold: fscc.NoQuota, Limit: fscc.NoQuota}, err
}

// SetQuotaPolicy implements vfs.Quotas: whoever mounts the filesystem has set it.
func (v *Volume) SetQuotaPolicy(ctx context.Context, _ vfs.QuotaPolicy) error {
	if _, err := v.QuotaPolicy(ctx); err != nil {
		return err
	}
	return nt.AccessDenied
}

// userOf returns the user of Linux that a SID is.
func userOf(owner dtyp.SID) (uint32, bool) {
	parent, uid := owner.Split()
	return uid, parent == unixUsers && uid != ^uint32(0)
}

func (d *dqblk) quota(owner dtyp.SID) vfs.Quota {
	limit := func(blocks uint64) int64 {
		if blocks == 0 || blocks > (1<<63-1)/quotaBlock {
			return fscc.NoQuota
		}
		return int64(blocks) * quotaBlock
	}
	return vfs.Quota{Owner: owner, Used: int64(min(d.space, 1<<63-1)), Threshold: limit(d.soft), Limit: limit(d.hard)}
}

// blocks is what a limit in bytes is to the filesystem: at least one, since none would be no limit.
func blocks(limit int64) uint64 {
	if limit < 0 {
		return 0
	}
	return max(1, (uint64(limit)+quotaBlock-1)/quotaBlock)
}

// Quota implements vfs.Quotas.
func (v *Volume) Quota(ctx context.Context, owner dtyp.SID) (vfs.Quota, error) {
	if _, err := v.QuotaPolicy(ctx); err != nil {
		return vfs.Quota{}, err
	}
	var d dqblk
	uid, ok := userOf(owner)
	if !ok {
		return d.quota(owner), nil
	}
	err := v.quotactl(quotaGet, uid, unsafe.Pointer(&d))
	runtime.KeepAlive(&d)
	return d.quota(owner), err
}

// SetQuota implements vfs.Quotas.
func (v *Volume) SetQuota(ctx context.Context, q vfs.Quota) error {
	if _, err := v.QuotaPolicy(ctx); err != nil {
		return err
	}
	uid, ok := userOf(q.Owner)
	if !ok {
		return nt.NoneMapped
	}
	d := dqblk{hard: blocks(q.Limit), soft: blocks(q.Threshold), valid: quotaSetsLimit}
	err := v.quotactl(quotaSet, uid, unsafe.Pointer(&d))
	runtime.KeepAlive(&d)
	return err
}

// EachQuota implements vfs.Quotas: by the users' numbers.
func (v *Volume) EachQuota(ctx context.Context, after dtyp.SID, emit func(vfs.Quota) bool) error {
	if _, err := v.QuotaPolicy(ctx); err != nil {
		return err
	}
	next := uint32(0)
	if uid, ok := userOf(after); ok {
		next = uid + 1
	}
	for ; next != ^uint32(0); next++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		var d dqblk
		err := v.quotactl(quotaGetNext, next, unsafe.Pointer(&d))
		runtime.KeepAlive(&d)
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH) { // ESRCH is no quotas, too; but there are some
			return nil
		}
		if err != nil || d.id < next || !emit(d.quota(unixUsers.Child(d.id))) {
			return err
		}
		next = d.id
	}
	return nil
}
