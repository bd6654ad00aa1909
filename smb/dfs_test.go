package smb_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/postern-nas/postern/smb"
	"github.com/postern-nas/postern/smb/auth"
	"github.com/postern-nas/postern/smb/auth/ntlm"
	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/smbtest"
	"github.com/postern-nas/postern/smb/vfs"
	"github.com/postern-nas/postern/smb/vfs/memfs"
	"github.com/postern-nas/postern/smb/wire"
)

// linked adds the namespaces "all" and "secret", which bob has no rights in.
func linked(cfg *smb.Config) {
	cfg.Shares = append(cfg.Shares,
		smb.Share{Name: "all", Rights: rights("all"), Links: []smb.Link{
			{Name: "Files", Targets: []string{`\\nas.test\disk`}},
			{Name: "deep", Targets: []string{`\\nas2\share\folder`, `\\nas3\share`}},
		}},
		smb.Share{Name: "secret", Rights: rights("private"), Links: []smb.Link{{Name: "x", Targets: []string{`\\a\b`}}}})
}

func ask(p *smbtest.Peer, code uint32, input []byte, room uint32) (*wire.ReferralResponse, nt.Status) {
	var resp wire.IoctlResponse
	req := &wire.IoctlRequest{CtlCode: code, FileID: wire.NoFileID, Input: input, MaxOutputResponse: room, Flags: wire.IoctlIsFsctl}
	s := p.Do(wire.CmdIoctl, req, &resp)
	var r wire.ReferralResponse
	if s == nt.Success {
		if err := r.Decode(resp.Output); err != nil {
			p.T.Error(err)
		}
	}
	return &r, s
}

func TestReferrals(t *testing.T) {
	h := newHouse(t, linked)
	for _, c := range []struct {
		user, path, want string // want: bytes consumed, path, targets
	}{
		{"alice", `\nas.test\all`, `26 \nas.test\all root 3 [\nas.test\all]`},
		{"alice", `\nas.test\all\`, `26 \nas.test\all root 3 [\nas.test\all]`},
		{"alice", `\NAS\ALL`, `16 \NAS\ALL root 3 [\NAS\ALL]`},
		{"alice", `\nas.test\all\files`, `38 \nas.test\all\files link 2 [\nas.test\disk]`},
		{"alice", `\nas.test\all\FILES\a\b c\d`, `38 \nas.test\all\FILES link 2 [\nas.test\disk]`},
		{"bob", `\nas.test\all\deep\x`, `36 \nas.test\all\deep link 2 [\nas2\share\folder \nas3\share]`},
		{"alice", `\nas.test\secret\x`, `36 \nas.test\secret\x link 2 [\a\b]`},
		{"bob", `\nas.test\secret\x`, "NOT_FOUND"},
		{"bob", `\nas.test\secret`, "NOT_FOUND"},
		{"alice", `\nas.test\all\nothing`, "NOT_FOUND"},
		{"alice", `\nas.test\disk`, "NOT_FOUND"},
		{"alice", `\nas.test\IPC$`, "NOT_FOUND"},
		{"alice", `\nas.test\missing\files`, "NOT_FOUND"},
		{"alice", `\nas.test`, "NOT_FOUND"},
		{"alice", `\`, "NOT_FOUND"},
		{"alice", ``, "NOT_FOUND"},
		{"alice", `nas.test\all`, "NOT_FOUND"},
		{"alice", `\\nas.test\all`, "NOT_FOUND"},
		{"alice", `\nas\all\` + strings.Repeat("x", 4096), "INVALID_PARAMETER"},
	} {
		p := h.logon(c.user, "IPC$")
		for _, ex := range []bool{false, true} {
			req := wire.ReferralRequest{MaxLevel: 4, Path: c.path}
			code, in := wire.FsctlDFSGetReferrals, req.Append(nil)
			if ex {
				req.Site = "here"
				code, in = wire.FsctlDFSGetReferralsEx, req.AppendEx(nil)
			}
			r, s := ask(p, code, in, 4096)
			got := strings.TrimPrefix(s.String(), "STATUS_")
			if s == nt.Success {
				kind := map[bool]string{true: "root", false: "link"}[r.Root]
				got = fmt.Sprintf("%d %s %s %d %v", r.PathConsumed, r.Path, kind, r.Flags, r.Targets)
				if r.Version != 4 || r.TTL == 0 {
					t.Errorf("%s: version %d, TTL %d", c.path, r.Version, r.TTL)
				}
			}
			if got != c.want {
				t.Errorf("%s asks for %s: %s, want %s", c.user, c.path, got, c.want)
			}
		}
		p.Conn.Close()
	}

	p := h.logon("alice", "IPC$")
	for level, want := range map[uint16]uint16{1: 1, 2: 2, 3: 3, 4: 4, 5: 4, 0xFFFF: 4} {
		req := wire.ReferralRequest{MaxLevel: level, Path: `\nas\all\deep`}
		r, s := ask(p, wire.FsctlDFSGetReferrals, req.Append(nil), 4096)
		if s != nt.Success || r.Version != want || len(r.Targets) != 2 {
			t.Errorf("level %d: %v, %+v", level, s, r)
		}
		// What does not fit is not cut: the client asks again with more room.
		full := uint32(len(r.Append(nil)))
		for _, room := range []uint32{0, 1, full - 1} {
			if _, s := ask(p, wire.FsctlDFSGetReferrals, req.Append(nil), room); s != nt.BufferOverflow {
				t.Errorf("level %d into %d bytes of %d: %v", level, room, full, s)
			}
		}
		if _, s := ask(p, wire.FsctlDFSGetReferrals, req.Append(nil), full); s != nt.Success {
			t.Errorf("level %d into %d bytes: %v", level, full, s)
		}
	}
	for _, in := range [][]byte{nil, {4, 0}, {0, 0, 0, 0}, {4, 0, 0, 0xD8, 0, 0}, make([]byte, 9)} {
		for _, code := range []uint32{wire.FsctlDFSGetReferrals, wire.FsctlDFSGetReferralsEx} {
			if _, s := ask(p, code, in, 4096); s != nt.InvalidParameter {
				t.Errorf("%x: %v", in, s)
			}
		}
	}
}

// Only a server with a namespace says that it has one.
func TestNamespaceShown(t *testing.T) {
	with, without := newHouse(t, linked), newHouse(t, nil)
	if with.dial().Negotiate(wire.Dialect311).Capabilities&wire.CapDFS == 0 || without.dial().Negotiate(wire.Dialect311).Capabilities&wire.CapDFS != 0 {
		t.Error("wrong capability")
	}
	p := with.logon("alice", "disk")
	for share, want := range map[string]bool{"disk": false, "all": true, "IPC$": false} {
		var resp wire.TreeConnectResponse
		if s := p.Do(wire.CmdTreeConnect, &wire.TreeConnectRequest{Path: `\\nas\` + share}, &resp); s != nt.Success {
			t.Fatal(s)
		}
		if flags := wire.ShareFlagDFS | wire.ShareFlagDFSRoot; (resp.ShareFlags&flags == flags) != want || (resp.Capabilities&wire.ShareCapDFS != 0) != want {
			t.Errorf("%s: flags %#x, capabilities %#x", share, resp.ShareFlags, resp.Capabilities)
		}
	}
	if bob := with.logon("bob", "disk"); bob.Tree("secret") != nt.AccessDenied {
		t.Error("bob connects to a namespace that he has no rights in")
	}
}

func TestNamespaceCreate(t *testing.T) {
	h := newHouse(t, linked)
	p := h.logon("alice", "all")
	create := func(name string, flags wire.Flags, access dtyp.Access, disposition, options uint32) (nt.Status, *wire.CreateResponse) {
		hd := p.Request(wire.CmdCreate, 0)
		hd.Flags |= flags
		p.Send(smbtest.Element{Header: hd, Body: smbtest.OpenAs(name, access, disposition, options)})
		m := p.Final()
		var resp wire.CreateResponse
		if m.Status == nt.Success {
			if err := resp.Decode(m.Raw); err != nil {
				t.Fatal(err)
			}
		}
		return m.Status, &resp
	}
	for _, c := range []struct {
		name        string
		flags       wire.Flags
		access      dtyp.Access
		disposition uint32
		options     uint32
		want        nt.Status
	}{
		{"", 0, dtyp.FileRead, wire.FileOpen, 0, nt.Success},
		{"", wire.FlagDFS, dtyp.FileRead, wire.FileOpen, 0, nt.Success},
		{`nas.test\all`, wire.FlagDFS, dtyp.FileRead, wire.FileOpen, wire.FileDirectoryFile, nt.Success},
		{`nas.test\ALL\`, wire.FlagDFS, dtyp.FileRead, wire.FileOpen, 0, nt.Success},
		{`nas.test\disk`, wire.FlagDFS, dtyp.FileRead, wire.FileOpen, 0, nt.ObjectPathNotFound},
		{`nas.test`, wire.FlagDFS, dtyp.FileRead, wire.FileOpen, 0, nt.ObjectPathNotFound},
		{`\nas.test\all`, wire.FlagDFS, dtyp.FileRead, wire.FileOpen, 0, nt.InvalidParameter},
		{`nas.test\all\files`, wire.FlagDFS, dtyp.FileRead, wire.FileOpen, 0, nt.PathNotCovered},
		{`nas.test\all\FILES\a\b`, wire.FlagDFS, dtyp.FileRead, wire.FileOpen, 0, nt.PathNotCovered},
		{`nas.test\all\files\a`, wire.FlagDFS, dtyp.FileRead, wire.FileCreate, 0, nt.AccessDenied},
		{`nas.test\all\..\x`, wire.FlagDFS, dtyp.FileRead, wire.FileOpen, 0, nt.ObjectPathSyntaxBad},
		{"files", 0, dtyp.FileRead, wire.FileOpen, 0, nt.PathNotCovered},
		{`files\a`, 0, dtyp.FileRead, wire.FileOpen, 0, nt.PathNotCovered},
		{"files", 0, dtyp.ReadAttributes, wire.FileOpen, wire.FileOpenReparsePoint, nt.Success},
		{`nas.test\all\files`, wire.FlagDFS, dtyp.ReadAttributes, wire.FileOpen, wire.FileOpenReparsePoint, nt.Success},
		{"files", 0, dtyp.ReadAttributes, wire.FileOpen, wire.FileOpenReparsePoint | wire.FileNonDirectoryFile, nt.FileIsADirectory},
		{"nothing", 0, dtyp.FileRead, wire.FileOpen, 0, nt.ObjectNameNotFound},
		{`nothing\a`, 0, dtyp.FileRead, wire.FileOpen, 0, nt.ObjectPathNotFound},
		{"", 0, dtyp.FileRead, wire.FileOpen, wire.FileNonDirectoryFile, nt.FileIsADirectory},
		{"", 0, dtyp.FileAll, wire.FileOpen, 0, nt.AccessDenied},
		{"new", 0, dtyp.FileRead, wire.FileCreate, 0, nt.AccessDenied},
		{"new", 0, dtyp.FileRead, wire.FileOpenIf, wire.FileDirectoryFile, nt.ObjectNameNotFound},
		{"files", 0, dtyp.FileRead | dtyp.Delete, wire.FileOpen, wire.FileDeleteOnClose | wire.FileOpenReparsePoint, nt.AccessDenied},
	} {
		if s, _ := create(c.name, c.flags, c.access, c.disposition, c.options); s != c.want {
			t.Errorf("%q, flags %#x, access %#x, disposition %d, options %#x: %v, want %v", c.name, c.flags, uint32(c.access), c.disposition, c.options, s, c.want)
		}
	}
	// Elsewhere the flag means nothing.
	p.Tree("disk")
	if s, _ := create("nas.test", wire.FlagDFS, all, wire.FileCreate, wire.FileDirectoryFile); s != nt.Success {
		t.Errorf("on an ordinary share: %v", s)
	}
}

// The root lists its links as the directories and reparse points that they are, and nothing of it can be changed.
func TestNamespaceRoot(t *testing.T) {
	h := newHouse(t, linked)
	p := h.logon("alice", "all")
	root := p.Open("", dtyp.MaximumAllowed, wire.FileOpen, wire.FileDirectoryFile)
	list := func(pattern string, size uint32) (names []string, s nt.Status) {
		for {
			var resp wire.QueryDirectoryResponse
			req := &wire.QueryDirectoryRequest{FileID: root, InfoClass: uint8(fscc.FileIdBothDirectoryInformation), Pattern: pattern, OutputBufferLength: size}
			if len(names) == 0 {
				req.Flags = wire.QueryReopen
			}
			if s = p.Do(wire.CmdQueryDirectory, req, &resp); s != nt.Success {
				return names, s
			}
			entries, err := fscc.DecodeDir(fscc.FileIdBothDirectoryInformation, resp.Buffer)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				names = append(names, e.Name)
				link := e.Name != "." && e.Name != ".."
				if (e.Attributes == vfs.AttrDirectory|vfs.AttrReparsePoint) != link || (e.ReparseTag == 0x8000000A) != link {
					t.Errorf("%s: attributes %#x, tag %#x", e.Name, e.Attributes, e.ReparseTag)
				}
			}
		}
	}
	for _, c := range []struct {
		pattern string
		size    uint32
		want    []string
		last    nt.Status
	}{
		{"*", 65536, []string{".", "..", "deep", "Files"}, nt.NoMoreFiles},
		{"*", 120, []string{".", "..", "deep", "Files"}, nt.NoMoreFiles}, // one at a time
		{"fi*", 65536, []string{"Files"}, nt.NoMoreFiles},
		{"nothing", 65536, nil, nt.NoSuchFile},
	} {
		if got, s := list(c.pattern, c.size); !slices.Equal(got, c.want) || s != c.last {
			t.Errorf("%s: %q, then %v", c.pattern, got, s)
		}
	}
	for _, class := range []fscc.FileClass{fscc.FileBasicInformation, fscc.FileStandardInformation, fscc.FileAllInformation, fscc.FileNetworkOpenInformation, fscc.FileNormalizedNameInformation} {
		if s := p.Do(wire.CmdQueryInfo, &wire.QueryInfoRequest{FileID: root, InfoType: wire.InfoFile, InfoClass: uint8(class), OutputBufferLength: 1000}, nil); s != nt.Success {
			t.Errorf("%v: %v", class, s)
		}
	}
	for _, class := range []fscc.FSClass{fscc.FileFsVolumeInformation, fscc.FileFsSizeInformation, fscc.FileFsAttributeInformation} {
		if s := p.Do(wire.CmdQueryInfo, &wire.QueryInfoRequest{FileID: root, InfoType: wire.InfoFileSystem, InfoClass: uint8(class), OutputBufferLength: 1000}, nil); s != nt.Success {
			t.Errorf("%v: %v", class, s)
		}
	}
	link := p.Open("deep", dtyp.MaximumAllowed, wire.FileOpen, wire.FileOpenReparsePoint)
	for _, id := range []wire.FileID{root, link} {
		for name, b := range map[string]*wire.SetInfoRequest{
			"times":  {InfoClass: uint8(fscc.FileBasicInformation), Buffer: fscc.BasicInfo{LastWrite: 1 << 56}.Append(nil)},
			"rename": {InfoClass: uint8(fscc.FileRenameInformation), Buffer: fscc.RenameInfo{Name: "moved"}.Append(nil)},
			"delete": {InfoClass: uint8(fscc.FileDispositionInformation), Buffer: []byte{1}},
		} {
			b.FileID, b.InfoType = id, wire.InfoFile
			if s := p.Do(wire.CmdSetInfo, b, nil); s != nt.AccessDenied {
				t.Errorf("%s: %v", name, s)
			}
		}
		p.Close(id)
	}
}

// The largest referral there can be is one that its offsets reach.
func TestNamespaceBounds(t *testing.T) {
	long := func(n int) string { return `\\server\share\` + strings.Repeat("x", n-len(`\\server\share\`)) }
	most := smb.Link{Name: strings.Repeat("n", 255), Targets: slices.Repeat([]string{long(512)}, 16)}
	serve := func(sh smb.Share) error {
		mechanisms := []auth.Mechanism{ntlm.New(ntlm.Config{Computer: "NAS", DNSName: "nas.test", Accounts: accounts{}})}
		_, err := smb.NewServer(smb.Config{Mechanisms: mechanisms, Shares: []smb.Share{sh}})
		return err
	}
	try := func(links ...smb.Link) error {
		return serve(smb.Share{Name: "all", Rights: rights("all"), Links: links})
	}
	ok := []string{`\\a\b`}
	for _, bad := range [][]smb.Link{
		{{Name: "", Targets: ok}},
		{{Name: `a\b`, Targets: ok}},
		{{Name: "a:b", Targets: ok}},
		{{Name: "..", Targets: ok}},
		{{Name: strings.Repeat("n", 256), Targets: ok}},
		{{Name: "a"}},
		{{Name: "a", Targets: []string{`\a\b`}}},
		{{Name: "a", Targets: []string{`\\a`}}},
		{{Name: "a", Targets: []string{`\\a\`}}},
		{{Name: "a", Targets: []string{`\\a\b\\c`}}},
		{{Name: "a", Targets: []string{"//a/b"}}},
		{{Name: "a", Targets: []string{long(513)}}},
		{{Name: "a", Targets: slices.Repeat(ok, 17)}},
		{{Name: "a", Targets: ok}, {Name: "A", Targets: ok}},
		slices.Repeat([]smb.Link{{Name: "a", Targets: ok}}, 4097),
	} {
		if err := try(bad...); err == nil {
			t.Errorf("%.200v: taken", bad)
		}
	}
	if err := try(most); err != nil {
		t.Error(err)
	}
	h := newHouse(t, func(cfg *smb.Config) {
		cfg.Shares = append(cfg.Shares, smb.Share{Name: "all", Rights: rights("all"), Links: []smb.Link{most}})
	})
	p := h.logon("alice", "IPC$")
	server := strings.Repeat("s", 4096-len(`\\all\`)-255)
	req := wire.ReferralRequest{MaxLevel: 4, Path: `\` + server + `\all\` + most.Name}
	r, s := ask(p, wire.FsctlDFSGetReferrals, req.Append(nil), 65536)
	if s != nt.Success || r.Path != req.Path || len(r.Targets) != 16 || r.Targets[15] != most.Targets[15][1:] {
		t.Errorf("%v, %d targets", s, len(r.Targets))
	}
	both := smb.Share{Name: "all", Rights: rights("all"), Links: []smb.Link{{Name: "a", Targets: ok}}, Volume: memfs.New()}
	if serve(both) == nil {
		t.Error("a share with a volume and links: taken")
	}
}
