package smb_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern-nas/postern/smb"
	"github.com/postern-nas/postern/smb/auth"
	"github.com/postern-nas/postern/smb/auth/ntlm"
	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/smbtest"
	"github.com/postern-nas/postern/smb/wire"
)

// An audit log hears who came, by what name, and why somebody did not.
func TestAudit(t *testing.T) {
	var mu sync.Mutex
	var heard []smb.Audit
	h := newHouse(t, func(c *smb.Config) {
		c.Audit = func(a smb.Audit) {
			mu.Lock()
			defer mu.Unlock()
			heard = append(heard, a)
		}
	})
	p := h.logon("alice", "disk")
	if s := p.Tree("nothing"); s != nt.BadNetworkName {
		t.Error(s)
	}
	q := h.dial()
	q.Negotiate(wire.Dialect311)
	if s := q.Logon("mallory", "wrong", 0); s != nt.LogonFailure {
		t.Error(s)
	}
	if s := p.Do(wire.CmdLogoff, &wire.LogoffRequest{}, nil); s != nt.Success {
		t.Error(s)
	}
	mu.Lock()
	defer mu.Unlock()
	want := []struct {
		kind        smb.AuditKind
		user, share string
		fails       bool
	}{
		{smb.LoggedOn, "alice", "", false},
		{smb.ShareConnected, "alice", "disk", false},
		{smb.ShareRefused, "alice", `nothing`, true},
		{smb.LogonRefused, "mallory", "", true},
		{smb.LoggedOff, "alice", "", false},
	}
	if len(heard) != len(want) {
		t.Fatalf("heard %+v", heard)
	}
	for i, w := range want {
		a := heard[i]
		if a.Kind != w.kind || a.User != w.user || !strings.HasSuffix(a.Share, w.share) || (a.Err != nil) != w.fails ||
			a.Conn.ID != "1" || !strings.HasPrefix(a.Remote, "127.0.0.1:") {
			t.Errorf("%d: %+v, want %+v", i, a, w)
		}
	}
}

// Who is over a bound hears the same as who is wrong, as late, and is not looked at.
func TestLogonGuard(t *testing.T) {
	const delay = 50 * time.Millisecond
	var asked, right int
	refuse := errors.New("over the bound")
	var limit error
	h := newHouse(t, func(c *smb.Config) {
		c.FailedLogonDelay = delay
		c.Mechanisms = []auth.Mechanism{ntlm.New(ntlm.Config{
			Computer: "NAS", DNSName: "nas.test", Accounts: accounts{},
			Guard: func(_ context.Context, user string, ch auth.Channel) (func(bool), error) {
				if user != "alice" || ch.RemoteAddr == "" {
					t.Errorf("asked for %q at %+v", user, ch)
				}
				asked++
				return func(ok bool) {
					if ok {
						right++
					}
				}, limit
			},
		})}
	})
	try := func(password string) (nt.Status, time.Duration) {
		p := h.dial()
		p.Negotiate(wire.Dialect311)
		begin := time.Now()
		return p.Logon("alice", password, 0), time.Since(begin)
	}
	if s, _ := try("secret"); s != nt.Success || right != 1 {
		t.Error(s, right)
	}
	if s, took := try("wrong"); s != nt.LogonFailure || took < delay || right != 1 {
		t.Error(s, took, right)
	}
	limit = refuse
	for _, password := range []string{"secret", "wrong"} {
		if s, took := try(password); s != nt.LogonFailure || took < delay || right != 1 {
			t.Error(s, took, right)
		}
	}
	if asked != 4 {
		t.Errorf("asked %d times", asked)
	}
}

// Over QUIC a paired client may see what there is and change nothing: srvsvc, and nothing else.
func TestPipesReadOnly(t *testing.T) {
	h := newHouse(t, nil)
	h.info.Pipes = smb.SeePipes.Always
	p := h.logon("alice", "IPC$")
	for name, want := range map[string]nt.Status{
		"wkssvc": nt.AccessDenied, "lsarpc": nt.AccessDenied, "samr": nt.AccessDenied, "nothing": nt.AccessDenied, `..\srvsvc`: nt.AccessDenied,
		"SrvSvc": nt.Success,
	} {
		if s := p.Do(wire.CmdCreate, smbtest.OpenAs(name, dtyp.FileRead|dtyp.FileWrite, wire.FileOpen, 0), nil); s != want {
			t.Errorf("pipe %q: %v, want %v", name, s, want)
		}
	}
	// What is taken back is refused to a pipe that is open, and offered to it again.
	h = newHouse(t, nil)
	var offered atomic.Int32
	offered.Store(int32(smb.AllPipes))
	h.info.Pipes = func() smb.Pipes { return smb.Pipes(offered.Load()) }
	p = h.logon("alice", "IPC$")
	pipe := p.Open("srvsvc", dtyp.FileRead|dtyp.FileWrite, wire.FileOpen, 0)
	for _, step := range []struct {
		now  smb.Pipes
		want nt.Status
	}{{smb.SeePipes, nt.AccessDenied}, {smb.NoPipes, nt.AccessDenied}, {smb.AllPipes, nt.Success}} {
		offered.Store(int32(step.now))
		if s := p.Do(wire.CmdWrite, &wire.WriteRequest{FileID: pipe, Data: []byte{5}}, nil); s != step.want {
			t.Errorf("offered %d: %v, want %v", step.now, s, step.want)
		}
	}
	offered.Store(int32(smb.NoPipes))
	for name, s := range map[string]nt.Status{
		"read":       p.Do(wire.CmdRead, &wire.ReadRequest{FileID: pipe, Length: 16}, nil),
		"transceive": p.Do(wire.CmdIoctl, &wire.IoctlRequest{CtlCode: wire.FsctlPipeTransceive, FileID: pipe, MaxOutputResponse: 16, Flags: wire.IoctlIsFsctl}, nil),
	} {
		if s != nt.AccessDenied {
			t.Errorf("%s: %v", name, s)
		}
	}
	p.Close(pipe)
	// An administrator is none here.
	l := &ledger{}
	h = sharingHouse(t, l)
	h.info.Pipes = smb.SeePipes.Always
	bob := h.srvsvc("bob")
	for name, call := range map[string]struct {
		op   uint16
		stub []byte
	}{"add": {shareAdd, addStub("new", `C:\disk`)}, "comment": {shareSetInfo, commentStub("disk", "x")}, "remove": {shareDel, removeStub("disk")}} {
		if _, result := bob.call(call.op, call.stub); result != 5 {
			t.Errorf("%s: error %d", name, result)
		}
	}
	if len(l.done) > 0 {
		t.Error(l.done)
	}
}
