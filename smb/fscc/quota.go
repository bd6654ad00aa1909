package fscc

import (
	"encoding/binary"

	"github.com/postern-nas/postern/smb/cursor"
	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/nt"
)

// ForgetQuota as the limit of a QuotaInfo that is set takes the owner's own limits away, [MS-FSCC] 2.4.41.
const ForgetQuota int64 = -2

// Flags of FSControlInfo, [MS-FSCC] 2.5.2.
const (
	QuotaTrack        uint32 = 0x001
	QuotaEnforce      uint32 = 0x002
	QuotaLogThreshold uint32 = 0x010
	QuotaLogLimit     uint32 = 0x020
	QuotaIncomplete   uint32 = 0x100
	QuotaRebuilding   uint32 = 0x200
)

// A QuotaInfo is FILE_QUOTA_INFORMATION, [MS-FSCC] 2.4.41: how much an owner's files take and may take, in bytes.
type QuotaInfo struct {
	Change           dtyp.Filetime
	Used             int64
	Threshold, Limit int64 // NoQuota: none
	Owner            dtyp.SID
}

// quotaHead is how long an entry is without its SID; getQuotaHead that of a FILE_GET_QUOTA_INFORMATION.
const (
	quotaHead    = 40
	getQuotaHead = 8
)

// Size returns how long a list is, encoded, that is one of size bytes and then q.
func (q QuotaInfo) Size(size int) int { return (size+7)&^7 + quotaHead + len(q.Owner) }

// AppendQuotas encodes the list as far as whole entries fit into limit bytes; all is false when some did not.
func AppendQuotas(b []byte, limit int, list []QuotaInfo) (out []byte, all bool) {
	c := chain{b: b, start: len(b), limit: limit, align: 8}
	le := binary.LittleEndian
	for _, q := range list {
		if !c.begin(quotaHead + len(q.Owner)) {
			return c.b, false
		}
		c.b = le.AppendUint32(append(c.b, 0, 0, 0, 0), uint32(len(q.Owner)))
		for _, v := range [...]int64{int64(q.Change), q.Used, q.Threshold, q.Limit} {
			c.b = le.AppendUint64(c.b, uint64(v))
		}
		c.b = append(c.b, q.Owner...)
	}
	return c.b, true
}

// DecodeQuotas reads the list, as a client sets it; no bytes are no entries. A broken one is nt.QuotaListInconsistent, or
// nt.InvalidSID.
func DecodeQuotas(b []byte) (list []QuotaInfo, err error) {
	if len(b) == 0 {
		return nil, nil
	}
	for e, err := range links(b, quotaHead, 8) {
		if err != nil {
			return nil, nt.QuotaListInconsistent
		}
		r := cursor.New(e)
		r.Skip(4)
		n := r.U32()
		q := QuotaInfo{Change: dtyp.Filetime(r.U64()), Used: int64(r.U64()), Threshold: int64(r.U64()), Limit: int64(r.U64())}
		if q.Owner, err = sidIn(e, quotaHead, n); err != nil {
			return nil, err
		}
		list = append(list, q)
	}
	return list, nil
}

// AppendQuotaOwners encodes the FILE_GET_QUOTA_INFORMATION list, [MS-FSCC] 2.4.41.1, that asks for these owners.
func AppendQuotaOwners(b []byte, owners []dtyp.SID) []byte {
	c := chain{b: b, start: len(b), limit: MaxEATotal, align: 4}
	for _, s := range owners {
		if !c.begin(getQuotaHead + len(s)) {
			break
		}
		c.b = append(binary.LittleEndian.AppendUint32(append(c.b, 0, 0, 0, 0), uint32(len(s))), s...)
	}
	return c.b
}

// DecodeQuotaOwners reads the list of owners that a query asks for. Its errors are those of DecodeQuotas.
func DecodeQuotaOwners(b []byte) (owners []dtyp.SID, err error) {
	if len(b) == 0 {
		return nil, nil
	}
	for e, err := range links(b, getQuotaHead, 4) {
		if err != nil {
			return nil, nt.QuotaListInconsistent
		}
		s, err := sidIn(e, getQuotaHead, binary.LittleEndian.Uint32(e[4:]))
		if err != nil {
			return nil, err
		}
		owners = append(owners, s)
	}
	return owners, nil
}

// sidIn returns the SID of n bytes at off in an entry.
func sidIn(e []byte, off uint64, n uint32) (dtyp.SID, error) {
	b, ok := cursor.Slice(e, off, uint64(n))
	if !ok {
		return "", nt.QuotaListInconsistent
	}
	s, size, err := dtyp.DecodeSID(b)
	if err != nil || size != len(b) {
		return "", nt.InvalidSID
	}
	return s, nil
}
