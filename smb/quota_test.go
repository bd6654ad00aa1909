package smb_test

import (
	"testing"

	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/smbtest"
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
