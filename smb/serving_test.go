package smb_test

import (
	"sync/atomic"
	"testing"

	"github.com/postern-nas/postern/smb"
	"github.com/postern-nas/postern/smb/auth"
	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/vfs/memfs"
	"github.com/postern-nas/postern/smb/wire"
)

// What the owner changes of the shares is so for the next request of each client, and for no client that it does not
// concern.
func TestServing(t *testing.T) {
	h := newHouse(t, nil)
	alice, bob := h.logon("alice", "disk"), h.logon("bob", "disk")
	kept, lost := alice.Open("kept", all, wire.FileCreate, 0), bob.Open("lost", all, wire.FileCreate, 0)
	write := func(at uint64, text string) {
		t.Helper()
		if s := alice.Do(wire.CmdWrite, &wire.WriteRequest{FileID: kept, Offset: at, Data: []byte(text)}, nil); s != nt.Success {
			t.Errorf("write: %v", s)
		}
	}
	write(0, "four")

	var refused atomic.Bool
	refused.Store(true)
	rightsNow := func(id *auth.Identity) dtyp.Access {
		if id.User == "bob" && refused.Load() {
			return 0
		}
		return dtyp.FileAll
	}
	if err := h.server.SetRights("DISK", rightsNow); err != nil {
		t.Fatal(err)
	}
	if s := bob.Do(wire.CmdClose, &wire.CloseRequest{FileID: lost}, nil); s != nt.NetworkNameDeleted && s != nt.FileClosed {
		t.Errorf("bob's open after his rights went: %v", s)
	}
	write(4, "more")
	if st := h.server.Stats(); st.Written != 8 || st.Opens != 1 {
		t.Errorf("%d bytes written, %d opens; want 8 and alice's one", st.Written, st.Opens)
	}

	if err := h.server.AddShare(smb.Share{Name: "more", Volume: memfs.New(), Rights: rights("more")}); err != nil {
		t.Fatal(err)
	}
	h.logon("alice", "more")
	for what, err := range map[string]error{
		"a share twice":       h.server.AddShare(smb.Share{Name: "MORE", Volume: memfs.New(), Rights: rights("more")}),
		"another unknown":     h.server.ReplaceShare(smb.Share{Name: "unknown", Volume: memfs.New(), Rights: rights("more")}),
		"without a volume":    h.server.ReplaceShare(smb.Share{Name: "more", Rights: rights("more")}),
		"removing none":       h.server.RemoveShare("unknown"),
		"removing pipes":      h.server.RemoveShare("IPC$"),
		"rights of pipes":     h.server.SetRights("IPC$", rights("")),
		"a comment to none":   h.server.SetComment("unknown", ""),
		"no rights whatever":  h.server.SetRights("more", nil),
		"pipes as a disk now": h.server.ReplaceShare(smb.Share{Name: "IPC$", Volume: memfs.New(), Rights: rights("more")}),
	} {
		if err == nil {
			t.Errorf("%s: no error", what)
		}
	}
	h.logon("alice", "more") // what failed has changed nothing

	if err := h.server.ReplaceShare(smb.Share{Name: "disk", Volume: memfs.New(), Rights: rights("disk")}); err != nil {
		t.Fatal(err)
	}
	if s := alice.Do(wire.CmdClose, &wire.CloseRequest{FileID: kept}, nil); s != nt.NetworkNameDeleted && s != nt.FileClosed {
		t.Errorf("alice's open after the share was another: %v", s)
	}
	if err := h.server.RemoveShare("more"); err != nil {
		t.Fatal(err)
	}
	if err := h.server.SetComment("disk", "a new one"); err != nil {
		t.Error(err)
	}
}
