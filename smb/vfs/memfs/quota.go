package memfs

import (
	"context"
	"slices"
	"syscall"

	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/vfs"
)

// quotas are a Volume's. Files are counted for the owner in their security descriptor.
type quotas struct {
	policy vfs.QuotaPolicy
	own    map[dtyp.SID]vfs.Quota // limits of those that have their own
}

// KeepQuotas has the Volume count, and keep to limits. Before, it has no quotas.
func (v *Volume) KeepQuotas() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.quotas = &quotas{
		policy: vfs.QuotaPolicy{Track: true, Enforce: true, Threshold: fscc.NoQuota, Limit: fscc.NoQuota}, own: map[dtyp.SID]vfs.Quota{},
	}
}

// owner is whom a file is counted for.
func (n *node) owner() dtyp.SID {
	sd, err := dtyp.DecodeSecurityDescriptor(n.sd)
	if err != nil || sd.Owner == "" {
		return dtyp.Administrators
	}
	return sd.Owner
}

// owned sums up what everyone owns.
func (v *Volume) owned() map[dtyp.SID]int64 {
	sum := map[dtyp.SID]int64{}
	seen := map[*node]bool{}
	var walk func(n *node)
	walk = func(n *node) {
		if seen[n] {
			return
		}
		seen[n] = true
		used := n.data.bytes()
		for _, s := range n.streams {
			used += s.data.bytes()
		}
		if used > 0 {
			sum[n.owner()] += used
		}
		for _, e := range n.order {
			walk(e.node)
		}
	}
	walk(v.root.node)
	return sum
}

// of returns an owner's quota.
func (q *quotas) of(owner dtyp.SID, used int64) vfs.Quota {
	own, ok := q.own[owner]
	if !ok {
		own = vfs.Quota{Owner: owner, Threshold: q.policy.Threshold, Limit: q.policy.Limit}
	}
	own.Used = used
	return own
}

// afford refuses contents that would take more than the owner may have: more bytes than the file has so far, up to end.
func (f *File) afford(end int64) error {
	q := f.v.quotas
	if q == nil || !q.policy.Enforce {
		return nil
	}
	more := end - f.data().bytes()
	owner := f.n.owner()
	if has := q.of(owner, f.v.owned()[owner]); more > 0 && has.Limit >= 0 && has.Used+more > has.Limit {
		return syscall.EDQUOT
	}
	return nil
}

// QuotaPolicy implements vfs.Quotas.
func (v *Volume) QuotaPolicy(context.Context) (vfs.QuotaPolicy, error) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	if v.quotas == nil {
		return vfs.QuotaPolicy{}, nt.NotSupported
	}
	return v.quotas.policy, nil
}

// SetQuotaPolicy implements vfs.Quotas.
func (v *Volume) SetQuotaPolicy(_ context.Context, p vfs.QuotaPolicy) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.quotas == nil {
		return nt.NotSupported
	}
	v.quotas.policy = p
	return nil
}

// Quota implements vfs.Quotas.
func (v *Volume) Quota(_ context.Context, owner dtyp.SID) (vfs.Quota, error) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	if v.quotas == nil {
		return vfs.Quota{}, nt.NotSupported
	}
	return v.quotas.of(owner, v.owned()[owner]), nil
}

// SetQuota implements vfs.Quotas.
func (v *Volume) SetQuota(_ context.Context, q vfs.Quota) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case v.quotas == nil:
		return nt.NotSupported
	case q.Limit == fscc.ForgetQuota || q.Threshold == fscc.ForgetQuota:
		delete(v.quotas.own, q.Owner)
	default:
		v.quotas.own[q.Owner] = q
	}
	return nil
}

// EachQuota implements vfs.Quotas: in the order of the SIDs' bytes.
func (v *Volume) EachQuota(_ context.Context, after dtyp.SID, emit func(vfs.Quota) bool) error {
	v.mu.RLock()
	if v.quotas == nil {
		v.mu.RUnlock()
		return nt.NotSupported
	}
	var list []vfs.Quota
	used := v.owned()
	for owner := range v.quotas.own {
		used[owner] += 0
	}
	for owner, n := range used {
		if owner > after {
			list = append(list, v.quotas.of(owner, n))
		}
	}
	v.mu.RUnlock()
	slices.SortFunc(list, func(a, b vfs.Quota) int {
		if a.Owner < b.Owner {
			return -1
		}
		return 1
	})
	for _, q := range list {
		if !emit(q) {
			break
		}
	}
	return nil
}
