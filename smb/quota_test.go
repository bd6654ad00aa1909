package smb_test

import (
	"testing"

	"github.com/postern-nas/postern/smb"
	"github.com/postern-nas/postern/smb/auth"
	"github.com/postern-nas/postern/smb/auth/ntlm"
	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/smbtest"
	"github.com/postern-nas/postern/smb/vfs/memfs"
	"github.com/postern-nas/postern/smb/wire"
)

// Quotas are off, and clients can learn that.
func TestQuotas(t *testing.T) {
	h := newHouse(t, nil)
	const name = `$Extend\$Quota:$Q:$INDEX_ALLOCATION`
	for _, user := range []string{"alice", "reader"} {
		p := h.logon(user, "disk")
		var resp wire.CreateResponse
		wantStatus(t, "open", p.Do(wire.CmdCreate, smbtest.OpenAs(name, dtyp.FileRead, wire.FileOpen, 0), &resp), nt.Success)
		if resp.FileAttributes != 0x36 || resp.CreationTime|resp.LastAccessTime|resp.LastWriteTime|resp.ChangeTime != 0 {
			t.Errorf("%+v", resp)
		}
		id := resp.FileID
		s, b := query(t, p, id, wire.InfoFileSystem, uint8(fscc.FileFsControlInformation), 48)
		var ctl fscc.FSControlInfo
		if err := ctl.Decode(b); s != nt.Success || err != nil || ctl != (fscc.FSControlInfo{DefaultThreshold: fscc.NoQuota, DefaultLimit: fscc.NoQuota}) {
			t.Errorf("%v, %+v", s, ctl)
		}
		s, _ = query(t, p, id, wire.InfoQuota, 0, 1000)
		wantStatus(t, "entries", s, nt.NoMoreEntries)
		// Nothing else can be done with it, and nothing with it goes wrong.
		for _, op := range operations() {
			q := h.logon(user, "disk")
			id := q.Open(name, dtyp.FileRead, wire.FileOpen, 0)
			q.Send(smbtest.Element{Header: q.Request(op.cmd, 0), Body: op.body(id)})
			q.Recv()
			q.Conn.Close()
		}
		for _, access := range []dtyp.Access{dtyp.WriteData, dtyp.FileAll, dtyp.Delete, dtyp.WriteDAC} {
			wantStatus(t, "more access", p.Do(wire.CmdCreate, smbtest.OpenAs(name, access, wire.FileOpen, 0), nil), nt.AccessDenied)
		}
		for _, disposition := range []uint32{wire.FileCreate, wire.FileOverwriteIf, wire.FileSupersede} {
			wantStatus(t, "another disposition", p.Do(wire.CmdCreate, smbtest.OpenAs(name, dtyp.FileRead, disposition, 0), nil), nt.AccessDenied)
		}
		p.Close(id)
	}
	p := h.logon("alice", "disk")
	s, _ := query(t, p, p.Open("", dtyp.FileRead, wire.FileOpen, 0), wire.InfoQuota, 0, 1000)
	wantStatus(t, "quotas of a folder", s, nt.NotSupported)
}

const quotaFile = `$Extend\$Quota:$Q:$INDEX_ALLOCATION`

// quotaHouse is one whose volume counts; bob is an administrator.
func quotaHouse(t *testing.T) *house {
	v := memfs.New()
	v.KeepQuotas()
	return newHouse(t, func(c *smb.Config) {
		c.Mechanisms = []auth.Mechanism{ntlm.New(ntlm.Config{Computer: "NAS", DNSName: "nas.test", Accounts: withAdmin{}})}
		c.Shares[0].Volume = v
		c.Shares = append(c.Shares, smb.Share{
			Name: "readonly", Volume: v, Rights: func(*auth.Identity) dtyp.Access { return dtyp.FileRead | dtyp.FileExecute },
		})
	})
}

// askQuotas asks through a handle, and decodes the answer.
func askQuotas(t *testing.T, p *smbtest.Peer, id wire.FileID, ask wire.QueryQuota, room int) (nt.Status, []fscc.QuotaInfo) {
	t.Helper()
	var resp wire.QueryInfoResponse
	s := p.Do(wire.CmdQueryInfo, &wire.QueryInfoRequest{FileID: id, InfoType: wire.InfoQuota, OutputBufferLength: uint32(room), Input: ask.Append(nil)}, &resp)
	list, err := fscc.DecodeQuotas(resp.Buffer)
	if err != nil {
		t.Fatal(err)
	}
	return s, list
}

func setQuotas(p *smbtest.Peer, id wire.FileID, list ...fscc.QuotaInfo) nt.Status {
	b, _ := fscc.AppendQuotas(nil, 1<<16, list)
	return p.Do(wire.CmdSetInfo, &wire.SetInfoRequest{FileID: id, InfoType: wire.InfoQuota, Buffer: b}, nil)
}

// An administrator sets limits, the storage keeps to them, and who reaches one is told that the disk is full.
func TestQuotaLimits(t *testing.T) {
	h := quotaHouse(t)
	a, b := h.logon("alice", "disk"), h.logon("bob", "disk")
	const page = 64 << 10
	file := a.Open("file", all, wire.FileCreate, 0)
	write(t, a, file, 0, make([]byte, page))
	admin := b.Open(quotaFile, 0x2019F, wire.FileOpen, 0) // as smbclient opens it
	s, list := askQuotas(t, b, admin, wire.QueryQuota{Restart: true}, 4096)
	if s != nt.Success || len(list) != 1 || list[0].Owner != alice || list[0].Used < page || list[0].Limit != fscc.NoQuota {
		t.Fatalf("%v %+v", s, list)
	}
	used := list[0].Used
	wantStatus(t, "set", setQuotas(b, admin, fscc.QuotaInfo{Owner: alice, Limit: used + page, Threshold: used}, fscc.QuotaInfo{Owner: bob, Limit: 0}), nt.Success)
	write(t, a, file, page, make([]byte, page))
	over := &wire.WriteRequest{FileID: file, Offset: 2 * page, Data: make([]byte, page)}
	wantStatus(t, "too much", a.DoCharged(wire.CmdWrite, page, over, nil), nt.DiskFull)
	his := b.Open("his", all, wire.FileCreate, 0)
	wantStatus(t, "nothing allowed", b.Do(wire.CmdWrite, &wire.WriteRequest{FileID: his, Data: []byte("x")}, nil), nt.DiskFull)
	// The limit goes, and with it what it kept away. Its owner was not asked.
	wantStatus(t, "forget", setQuotas(b, admin, fscc.QuotaInfo{Owner: alice, Limit: fscc.ForgetQuota, Threshold: fscc.ForgetQuota}), nt.Success)
	wantStatus(t, "no limit", a.DoCharged(wire.CmdWrite, page, over, nil), nt.Success)
	// A limit for everybody, which is only counted and then enforced.
	policy := fscc.FSControlInfo{DefaultLimit: 0, DefaultThreshold: fscc.NoQuota, Flags: fscc.QuotaTrack}
	for _, want := range []nt.Status{nt.Success, nt.DiskFull} {
		set := &wire.SetInfoRequest{FileID: admin, InfoType: wire.InfoFileSystem, InfoClass: uint8(fscc.FileFsControlInformation), Buffer: policy.Append(nil)}
		wantStatus(t, "policy", b.Do(wire.CmdSetInfo, set, nil), nt.Success)
		s, buf := query(t, a, file, wire.InfoFileSystem, uint8(fscc.FileFsControlInformation), 48)
		var got fscc.FSControlInfo
		if err := got.Decode(buf); s != nt.Success || err != nil || got != policy {
			t.Errorf("%v %+v, want %+v", s, got, policy)
		}
		over.Offset += page
		wantStatus(t, "by the policy", a.DoCharged(wire.CmdWrite, page, over, nil), want)
		policy.Flags |= fscc.QuotaEnforce
	}
	s, buf := query(t, a, file, wire.InfoFileSystem, uint8(fscc.FileFsAttributeInformation), 100)
	var info fscc.FSAttributeInfo
	if err := info.Decode(buf); s != nt.Success || err != nil || info.Attributes&fscc.FSVolumeQuotas == 0 {
		t.Errorf("%v %v %#x", s, err, info.Attributes)
	}
}

// Who is no administrator sees what is his, and sets nothing; nor does anybody through the wrong handle.
func TestSEC31Quotas(t *testing.T) {
	h := quotaHouse(t)
	a, b := h.logon("alice", "disk"), h.logon("bob", "disk")
	for i, p := range []*smbtest.Peer{a, b} {
		file := p.Open([]string{"a", "b"}[i], all, wire.FileCreate, 0)
		write(t, p, file, 0, []byte("x"))
		p.Close(file)
	}
	wantStatus(t, "for writing", a.Do(wire.CmdCreate, smbtest.OpenAs(quotaFile, 0x2019F, wire.FileOpen, 0), nil), nt.AccessDenied)
	wantStatus(t, "in a read-only share", h.logon("bob", "readonly").Do(wire.CmdCreate, smbtest.OpenAs(quotaFile, 0x2019F, wire.FileOpen, 0), nil), nt.AccessDenied)
	mine := a.Open(quotaFile, dtyp.FileRead, wire.FileOpen, 0)
	for _, ask := range []wire.QueryQuota{{}, {Restart: true}, {Restart: true, Start: []byte(bob)}, {Owners: fscc.AppendQuotaOwners(nil, []dtyp.SID{alice})}} {
		if s, list := askQuotas(t, a, mine, ask, 4096); s != nt.Success || len(list) != 1 || list[0].Owner != alice {
			t.Errorf("%+v: %v %+v", ask, s, list)
		}
	}
	s, _ := askQuotas(t, a, mine, wire.QueryQuota{}, 4096)
	wantStatus(t, "no more", s, nt.NoMoreEntries)
	s, _ = askQuotas(t, a, mine, wire.QueryQuota{Owners: fscc.AppendQuotaOwners(nil, []dtyp.SID{alice, bob})}, 4096)
	wantStatus(t, "of another", s, nt.AccessDenied)
	free := fscc.QuotaInfo{Owner: alice, Limit: fscc.NoQuota, Threshold: fscc.NoQuota}
	wantStatus(t, "setting", setQuotas(a, mine, free), nt.AccessDenied)
	reading := b.Open(quotaFile, dtyp.FileRead, wire.FileOpen, 0)
	wantStatus(t, "setting through a handle for reading", setQuotas(b, reading, free), nt.AccessDenied)
	policy := &wire.SetInfoRequest{InfoType: wire.InfoFileSystem, InfoClass: uint8(fscc.FileFsControlInformation), Buffer: make([]byte, 48)}
	for _, c := range []struct {
		p    *smbtest.Peer
		id   wire.FileID
		want nt.Status
	}{{a, mine, nt.AccessDenied}, {b, reading, nt.AccessDenied}, {b, b.Open("b", all, wire.FileOpen, 0), nt.NotSupported}} {
		policy.FileID = c.id
		wantStatus(t, "setting the policy", c.p.Do(wire.CmdSetInfo, policy, nil), c.want)
	}
	// What an administrator sends that is none.
	admin := b.Open(quotaFile, dtyp.FileRead|dtyp.FileWrite, wire.FileOpen, 0)
	good, _ := fscc.AppendQuotas(nil, 1000, []fscc.QuotaInfo{free})
	for n := 1; n < len(good); n++ {
		cut := &wire.SetInfoRequest{FileID: admin, InfoType: wire.InfoQuota, Buffer: good[:n]}
		wantStatus(t, "cut", b.Do(wire.CmdSetInfo, cut, nil), nt.QuotaListInconsistent)
	}
	wantStatus(t, "less than nothing", setQuotas(b, admin, fscc.QuotaInfo{Owner: alice, Limit: -3}), nt.InvalidParameter)
	for n := range 48 {
		cut := &wire.SetInfoRequest{FileID: admin, InfoType: wire.InfoFileSystem, InfoClass: uint8(fscc.FileFsControlInformation), Buffer: make([]byte, n)}
		wantStatus(t, "policy, cut", b.Do(wire.CmdSetInfo, cut, nil), nt.InfoLengthMismatch)
	}
	for _, in := range [][]byte{{1}, make([]byte, 15)} {
		q := &wire.QueryInfoRequest{FileID: admin, InfoType: wire.InfoQuota, OutputBufferLength: 100, Input: in}
		wantStatus(t, "query, cut", b.Do(wire.CmdQueryInfo, q, nil), nt.InvalidParameter)
	}
	s, _ = askQuotas(t, b, admin, wire.QueryQuota{Start: []byte("no SID")}, 100)
	wantStatus(t, "start", s, nt.InvalidSID)
}

// A list that does not fit is told in parts, and one entry at a time to who wants that.
func TestQuotaList(t *testing.T) {
	h := quotaHouse(t)
	b := h.logon("bob", "disk")
	admin := b.Open(quotaFile, dtyp.FileRead|dtyp.FileWrite, wire.FileOpen, 0)
	const many = 50
	owner := func(i int) dtyp.SID { return dtyp.NewSID(5, 21, 1, 2, 3, uint32(i)) }
	for i := range many {
		wantStatus(t, "set", setQuotas(b, admin, fscc.QuotaInfo{Owner: owner(i), Limit: int64(i)}), nt.Success)
	}
	for room, ask := range map[int]wire.QueryQuota{1000: {}, 4096: {Single: true}, 68: {}} {
		seen := 0
		for again := true; ; again = false {
			ask.Restart = again
			s, list := askQuotas(t, b, admin, ask, room)
			if s == nt.NoMoreEntries {
				break
			}
			if s != nt.Success || len(list) == 0 || ask.Single && len(list) != 1 {
				t.Fatalf("into %d: %v %+v", room, s, list)
			}
			for _, q := range list {
				if q.Owner != owner(seen) || q.Limit != int64(seen) {
					t.Fatalf("into %d: %+v is number %d", room, q, seen)
				}
				seen++
			}
		}
		if seen != many {
			t.Errorf("into %d: %d of %d", room, seen, many)
		}
	}
	s, _ := askQuotas(t, b, admin, wire.QueryQuota{Restart: true}, 67)
	wantStatus(t, "no room", s, nt.BufferTooSmall)
	if s, list := askQuotas(t, b, admin, wire.QueryQuota{Start: []byte(owner(many - 2))}, 4096); s != nt.Success || len(list) != 2 || list[0].Owner != owner(many-2) {
		t.Errorf("from the last but one: %v %+v", s, list)
	}
	if s, list := askQuotas(t, b, admin, wire.QueryQuota{Owners: fscc.AppendQuotaOwners(nil, []dtyp.SID{owner(7), dtyp.Everyone})}, 4096); s != nt.Success ||
		len(list) != 2 || list[0].Limit != 7 || list[1].Limit != fscc.NoQuota || list[1].Used != 0 {
		t.Errorf("by name: %v %+v", s, list)
	}
}
