package smb_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern-nas/postern/smb"
	"github.com/postern-nas/postern/smb/auth"
	"github.com/postern-nas/postern/smb/auth/ntlm"
	"github.com/postern-nas/postern/smb/auth/ntlm/ntlmtest"
	"github.com/postern-nas/postern/smb/crypt"
	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/rpc"
	"github.com/postern-nas/postern/smb/smbtest"
	"github.com/postern-nas/postern/smb/vfs"
	"github.com/postern-nas/postern/smb/vfs/memfs"
	"github.com/postern-nas/postern/smb/wire"
)

// fuzzServer is a server as a fuzz target wants it: quiet, and cheap to make. Nobody may write to "private".
func fuzzServer(t testing.TB, private vfs.Volume) *smb.Server {
	disk := &keeper{memfs.New(), map[int64]*memfs.Volume{in2015.Unix(): memfs.New()}, new(atomic.Int32)}
	t.Helper()
	readOnly := func(*auth.Identity) dtyp.Access { return dtyp.FileRead | dtyp.FileExecute }
	s, err := smb.NewServer(smb.Config{
		Name: "NAS", GUID: dtyp.GUID{9}, Compression: true,
		Mechanisms: []auth.Mechanism{ntlm.New(ntlm.Config{Computer: "NAS", DNSName: "nas.test", Accounts: accounts{}, Anonymous: true})},
		Shares: []smb.Share{
			{
				Name: "disk", Volume: disk, Rights: rights("disk"), POSIX: true, ShortNames: true, HideFiles: []string{".*"},
				AccessBasedEnumeration: true,
			},
			{Name: "private", Volume: private, Rights: readOnly},
			{Name: "all", Links: []smb.Link{{Name: "files", Targets: []string{`\\nas\disk`}}}, Rights: readOnly},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// left fails the test if a connection that is over has left anything behind, or a handler panicked.
func left(t testing.TB, s *smb.Server, goroutines int) {
	t.Helper()
	s.EndSessions(func(*auth.Identity) bool { return true }) // durable opens wait for their clients
	if st := s.Stats(); st.Panics != 0 || st.Connections != 0 || st.Sessions != 0 || st.Opens != 0 {
		t.Errorf("left behind: %+v", st)
	}
	if err := s.Idle(); err != nil {
		t.Error(err)
	}
	for end := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > goroutines; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			stacks := make([]byte, 1<<20)
			t.Fatalf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), goroutines, stacks[:runtime.Stack(stacks, true)])
		}
	}
}

// A script is a connection whose peer says in and then leaves; it counts what it is told.
type script struct {
	in     *bytes.Reader
	mu     sync.Mutex
	told   int
	closed bool
}

func (s *script) Read(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return 0, net.ErrClosed
	}
	return s.in.Read(b)
}

func (s *script) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return 0, net.ErrClosed
	}
	s.told += len(b)
	return len(b), nil
}

func (s *script) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return nil
}

func (*script) LocalAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 445} }

func (*script) RemoteAddr() net.Addr             { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 50000} }
func (*script) SetDeadline(time.Time) error      { return nil }
func (*script) SetReadDeadline(time.Time) error  { return nil }
func (*script) SetWriteDeadline(time.Time) error { return nil }

// A recorder keeps what goes out on a connection.
type recorder struct {
	net.Conn
	sent []byte
}

func (r *recorder) Write(b []byte) (int, error) {
	r.sent = append(r.sent, b...)
	return r.Conn.Write(b)
}

// frames joins messages with their length prefixes.
func frames(msgs ...[]byte) (b []byte) {
	for _, m := range msgs {
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(m))), m...)
	}
	return b
}

// record returns what a peer sends in a conversation with a server of its own.
func record(f *testing.F, dialect uint16, talk func(*smbtest.Peer), offer ...uint16) []byte {
	f.Helper()
	client, server := net.Pipe()
	over := make(chan error, 1)
	s := fuzzServer(f, memfs.New())
	go func() {
		over <- s.ServeConn(context.Background(), server, smb.ConnInfo{Transport: "tcp", Pipes: smb.AllPipes.Always, Multichannel: true, Anonymous: true})
	}()
	r := &recorder{Conn: client}
	p := smbtest.New(f, r)
	p.Signing = crypt.AESGMAC
	p.Compression = smbtest.Compression{Algorithms: offer, Chained: true}
	p.Negotiate(dialect)
	if st := p.Logon("alice", "secret", 0); st != nt.Success {
		f.Fatal(st)
	}
	talk(p)
	client.Close()
	<-over
	return r.sent
}

// Any bytes at all on a connection: no panic, nothing left behind, and an answer that is in proportion.
func FuzzConn(f *testing.F) {
	f.Add([]byte{})
	f.Add(frames(wire.AppendSMB1Negotiate(nil, "NT LM 0.12", wire.SMB1Dialect202, wire.SMB1DialectWild)))
	f.Add(frames(wire.AppendSMB1Negotiate(nil, wire.SMB1Dialect202), []byte("\xffSMBr")))
	f.Add([]byte{0, 0, 64, 0, 0xFE, 'S', 'M', 'B'})
	for _, id := range []string{"\xfdSMB", "\xfcSMB", "\xfeSMB"} {
		f.Add(frames(append([]byte(id), make([]byte, 100)...)))
	}
	for _, dialect := range []uint16{wire.Dialect202, wire.Dialect300, wire.Dialect311} {
		sent := record(f, dialect, func(p *smbtest.Peer) {
			p.Tree("disk")
			p.Seal = dialect >= wire.Dialect300
			id := p.Open("file", all, wire.FileCreate, 0)
			p.Do(wire.CmdWrite, &wire.WriteRequest{FileID: id, Data: []byte("data")}, nil)
			p.Do(wire.CmdRead, &wire.ReadRequest{FileID: id, Length: 100}, nil)
			p.Close(id)
		})
		f.Add(sent)
		f.Add(sent[:len(sent)/2])
		f.Add(sent[:len(sent)/4-1])
	}
	f.Add(record(f, wire.Dialect311, func(p *smbtest.Peer) {
		p.Tree("disk")
		id := p.Open("file", all, wire.FileCreate, 0)
		for _, p.Seal = range []bool{false, true} {
			p.Compression.Send = true
			p.Do(wire.CmdWrite, &wire.WriteRequest{FileID: id, Data: make([]byte, 10000)}, nil)
			p.Compression.Send = false
			p.Do(wire.CmdRead, &wire.ReadRequest{FileID: id, Length: 10000, Flags: wire.ReadRequestCompressed}, nil)
		}
	}, everyCompression...))
	opener := func(dialect uint16) []byte {
		p := smbtest.New(f, nil)
		p.Signing = crypt.AESGMAC
		var msgs [][]byte
		add := func(cmd wire.Command, b smbtest.Body) {
			msgs = append(msgs, p.Encode(smbtest.Element{Header: p.Request(cmd, 0), Body: b}))
		}
		add(wire.CmdNegotiate, p.NegotiateRequest(dialect))
		add(wire.CmdEcho, &wire.EchoRequest{})
		add(wire.CmdSessionSetup, &wire.SessionSetupRequest{SecurityBuffer: (&ntlmtest.Client{}).Negotiate()})
		add(wire.CmdSessionSetup, &wire.SessionSetupRequest{Flags: wire.SessionBinding, SecurityBuffer: (&ntlmtest.Client{}).Negotiate()})
		add(wire.CmdTreeConnect, &wire.TreeConnectRequest{Path: `\\nas\disk`})
		two := []smbtest.Element{{Header: p.Request(wire.CmdEcho, 0), Body: &wire.EchoRequest{}}, {Header: p.Request(wire.CmdLogoff, 0), Body: &wire.LogoffRequest{}}}
		two[1].Header.Flags |= wire.FlagRelated
		return frames(append(msgs, p.Encode(two...))...)
	}
	f.Add(opener(wire.Dialect311))
	f.Add(opener(wire.Dialect210))

	s := fuzzServer(f, memfs.New())
	f.Fuzz(func(t *testing.T, in []byte) {
		before := runtime.NumGoroutine()
		hung := time.AfterFunc(20*time.Second, func() { panic("ServeConn does not return") })
		defer hung.Stop()
		c := &script{in: bytes.NewReader(in)}
		s.ServeConn(t.Context(), c, smb.ConnInfo{Transport: "tcp", Pipes: smb.AllPipes.Always, Multichannel: true, Anonymous: true})
		left(t, s, before)
		// No request that is answered is shorter than a header, no answer here longer than half a KiB and its security token.
		if limit := (len(in)/wire.HeaderSize + 1) * 1024; c.told > limit {
			t.Errorf("%d bytes made us say %d", len(in), c.told)
		}
	})
}

// fileIDAt is where the FileId is in a request's body; sizes are their StructureSize.
var (
	fileIDAt = map[wire.Command]int{
		wire.CmdClose: 8, wire.CmdFlush: 8, wire.CmdRead: 16, wire.CmdWrite: 16, wire.CmdLock: 8, wire.CmdIoctl: 8, wire.CmdQueryDirectory: 8,
		wire.CmdChangeNotify: 8, wire.CmdQueryInfo: 24, wire.CmdSetInfo: 16, wire.CmdOplockBreak: 8,
	}
	sizes = [...]uint16{36, 25, 4, 9, 4, 57, 24, 24, 49, 49, 48, 57, 4, 4, 33, 32, 41, 33, 24}
)

// Bits of an operation of FuzzSession.
const (
	opRelated  = 1 << iota // FlagRelated
	opChained              // in one frame with the operation before it
	opAsync                // FlagAsync
	opRaw                  // neither FileId nor StructureSize are put right
	opPaid                 // a credit charge of 8
	opUnsigned             // sent without a signature
	opPipes                // in the tree of IPC$
	opPrivate              // in the tree of "private"
)

// An op is one request of FuzzSession's input: command, flags, which handle, two bytes of length, body.
type op struct {
	cmd           wire.Command
	flags, handle byte
	body          []byte
}

func appendOps(b []byte, ops ...op) []byte {
	for _, o := range ops {
		b = append(b, byte(o.cmd), o.flags, o.handle, byte(len(o.body)), byte(len(o.body)>>8))
		b = append(b, o.body...)
	}
	return b
}

// maxOps bounds one run.
const maxOps = 48

func parseOps(b []byte) (ops []op) {
	for len(b) >= 5 && len(ops) < maxOps {
		n := min(int(binary.LittleEndian.Uint16(b[3:])), len(b)-5)
		ops = append(ops, op{wire.Command(b[0] % 20), b[1], b[2], b[5 : 5+n]})
		b = b[5+n:]
	}
	return ops
}

// body encodes b as the body of an op.
func opBody(b smbtest.Body) []byte {
	h := wire.Header{}
	return b.Append(h.Append(nil))[wire.HeaderSize:]
}

// A fuzzed is one connection of FuzzSession. It keeps in step: after each frame it waits until all of it is answered,
// or put off.
type fuzzed struct {
	*smbtest.Peer
	t       *testing.T
	trees   [3]uint32 // disk, IPC$, private
	handles []wire.FileID
	waiting map[uint64]bool // message ids without a final answer
	async   []uint64
}

// expect reads until nothing of ids is unanswered; false if the connection was dropped.
func (z *fuzzed) expect(ids []uint64) bool {
	open := make(map[uint64]bool, len(ids))
	for _, id := range ids {
		open[id], z.waiting[id] = true, true
	}
	for len(open) > 0 {
		m, err := z.Recv()
		if err != nil {
			if ne, ok := err.(net.Error); ok && ne.Timeout() {
				z.t.Errorf("no answer to %d requests", len(open))
			}
			return false
		}
		if m.MessageID == wire.BreakMessageID {
			return false // what comes next may wait for an answer that this peer does not know
		}
		if !z.waiting[m.MessageID] {
			z.t.Errorf("%v response to %d, which waits for none", m.Command, m.MessageID)
		}
		delete(open, m.MessageID)
		if m.Status == nt.Pending {
			z.async = append(z.async, m.AsyncID)
			continue
		}
		delete(z.waiting, m.MessageID)
		if m.Command == wire.CmdCreate && m.Status == nt.Success {
			var resp wire.CreateResponse
			if resp.Decode(m.Raw) == nil {
				z.handles = append(z.handles, resp.FileID)
			}
		}
	}
	return true
}

// send sends ops as one frame and waits for the answers.
func (z *fuzzed) send(ops []op) bool {
	var msg []byte
	var starts []int
	var ids []uint64
	for _, o := range ops {
		h := z.Request(o.cmd, 0)
		if o.flags&opPaid != 0 && z.Credits >= 7 {
			h.CreditCharge = 8
			z.MessageID += 7
			z.Credits -= 7
		}
		h.Credits = 200
		if o.flags&opRelated != 0 {
			h.Flags |= wire.FlagRelated
		}
		h.TreeID = z.trees[0]
		if o.flags&opPipes != 0 {
			h.TreeID = z.trees[1]
		} else if o.flags&opPrivate != 0 {
			h.TreeID = z.trees[2]
		}
		if o.flags&opAsync != 0 {
			h.Flags |= wire.FlagAsync
			h.AsyncID = uint64(o.handle)
		}
		if o.cmd == wire.CmdCancel { // it has no id of its own
			z.MessageID -= uint64(h.CreditCharge)
			z.Credits += int(h.CreditCharge)
			h.MessageID -= uint64(o.handle % 8)
			if n := len(z.async); n > 0 && h.Flags&wire.FlagAsync != 0 {
				h.AsyncID = z.async[int(o.handle)%n]
			}
		} else {
			ids = append(ids, h.MessageID)
		}
		body := bytes.Clone(o.body)
		if o.flags&opRaw == 0 {
			if len(body) >= 2 && int(o.cmd) < len(sizes) {
				binary.LittleEndian.PutUint16(body, sizes[o.cmd])
			}
			if at := fileIDAt[o.cmd]; at != 0 && len(body) >= at+16 && o.flags&opRelated == 0 {
				id := z.handles[int(o.handle)%len(z.handles)]
				binary.LittleEndian.PutUint64(body[at:], id.Persistent)
				binary.LittleEndian.PutUint64(body[at+8:], id.Volatile)
			}
		}
		if len(starts) > 0 {
			for len(msg)%8 != 0 {
				msg = append(msg, 0)
			}
			wire.PutNextCommand(msg[starts[len(starts)-1]:], uint32(len(msg)-starts[len(starts)-1]))
		}
		starts = append(starts, len(msg))
		if o.flags&opUnsigned == 0 {
			h.Flags |= wire.FlagSigned
		}
		msg = append(h.Append(msg), body...)
	}
	for i, start := range starts {
		end := len(msg)
		if i+1 < len(starts) {
			end = starts[i+1]
		}
		if ops[i].flags&opUnsigned == 0 {
			z.Signer.Sign(msg[start:end])
		}
	}
	z.Conn.SetWriteDeadline(time.Now().Add(smbtest.Patience))
	if _, err := z.Conn.Write(frames(msg)); err != nil {
		return false
	}
	return z.expect(ids)
}

// canary is a volume with contents, and what they look like.
func canary(t testing.TB) (vfs.Volume, func() string) {
	v := memfs.New()
	ctx := context.Background()
	for _, how := range []vfs.How{{Disposition: vfs.Create, Directory: true}, {Disposition: vfs.Create, Access: dtyp.FileAll}} {
		name := vfs.Path{Names: []string{"dir"}}
		if !how.Directory {
			name.Names = append(name.Names, "canary")
		}
		f, _, err := v.Open(ctx, name, how)
		if err != nil {
			t.Fatal(err)
		}
		if !how.Directory {
			f.WriteAt([]byte("nobody writes here"), 0)
		}
		f.Close()
	}
	return v, func() string {
		var b bytes.Buffer
		for _, names := range [][]string{nil, {"dir"}} {
			f, _, err := v.Open(ctx, vfs.Path{Names: names}, vfs.How{})
			if err != nil {
				return err.Error()
			}
			f.ReadDir(ctx, 0, nil, vfs.WantAll, func(_ uint64, e vfs.Entry) bool {
				fmt.Fprintf(&b, "%s %+v\n", e.Name, e.Attr)
				return true
			})
			f.Close()
		}
		f, _, err := v.Open(ctx, vfs.Path{Names: []string{"dir", "canary"}}, vfs.How{Access: dtyp.ReadData})
		if err != nil {
			return err.Error()
		}
		defer f.Close()
		io.Copy(&b, io.NewSectionReader(f, 0, 100))
		return b.String()
	}
}

// Any sequence of requests of somebody who is logged on: each is answered or ends the connection, nothing is left behind,
// and what may not be written stays as it is.
func FuzzSession(f *testing.F) {
	for _, ops := range sessionSeeds() {
		f.Add(appendOps(nil, ops...))
	}
	private, look := canary(f)
	want := look()
	f.Fuzz(func(t *testing.T, in []byte) {
		ops := parseOps(in)
		if len(ops) == 0 {
			return
		}
		s := fuzzServer(t, private)
		before := runtime.NumGoroutine()
		hung := time.AfterFunc(30*time.Second, func() { panic("the connection does not end") })
		defer hung.Stop()
		client, server := net.Pipe()
		over := make(chan struct{})
		go func() {
			s.ServeConn(context.Background(), server, smb.ConnInfo{Transport: "tcp", Pipes: smb.AllPipes.Always, Multichannel: true, Anonymous: true})
			close(over)
		}()
		z := &fuzzed{Peer: smbtest.New(t, client), t: t, waiting: make(map[uint64]bool)}
		z.prepare()
		converse(z, ops)
		client.Close()
		<-over
		left(t, s, before)
		if got := look(); got != want {
			t.Errorf("a share that nobody may write to changed:\n%s\nwas\n%s", got, want)
		}
	})
}

// prepare logs on and opens one of each: file, directory, root, pipe, and a file that may not be written.
func (z *fuzzed) prepare() {
	z.t.Helper()
	z.Signing, z.POSIX = crypt.AESGMAC, []byte(wire.CreatePOSIX)
	z.Negotiate(wire.Dialect311)
	if s := z.Logon("alice", "secret", 0); s != nt.Success {
		z.t.Fatal(s)
	}
	for i, share := range []string{"disk", "IPC$", "private"} {
		if s := z.Tree(share); s != nt.Success {
			z.t.Fatal(s)
		}
		z.trees[i] = z.TreeID
		switch i {
		case 0:
			file := z.Open("file", all, wire.FileOverwriteIf, 0)
			z.Do(wire.CmdWrite, &wire.WriteRequest{FileID: file, Data: []byte("contents")}, nil)
			dir := z.Open("dir", all, wire.FileOpenIf, wire.FileDirectoryFile)
			z.handles = append(z.handles, file, dir, z.Open("", all, wire.FileOpen, 0))
		case 1:
			z.handles = append(z.handles, z.Open("srvsvc", dtyp.FileRead|dtyp.FileWrite, wire.FileOpen, 0))
		case 2:
			z.handles = append(z.handles, z.Open(`dir\canary`, dtyp.FileRead, wire.FileOpen, 0))
		}
	}
	z.Blind = true // the session may end under us, and its replies then come with a signature that is not one
}

// converse sends ops and in the end logs off, which must answer whatever still waits.
func converse(z *fuzzed, ops []op) {
	for len(ops) > 0 {
		n := 1
		for n < len(ops) && ops[n].flags&opChained != 0 {
			n++
		}
		need := 0
		for _, o := range ops[:n] {
			need++
			if o.flags&opPaid != 0 {
				need += 7
			}
		}
		if z.Credits < need { // a client that overdraws is dropped: nothing to learn
			return
		}
		if !z.send(ops[:n]) {
			return
		}
		ops = ops[n:]
	}
	if z.Credits < 1 || !z.send([]op{{cmd: wire.CmdLogoff, body: []byte{4, 0, 0, 0}}}) {
		return
	}
	var rest []uint64
	for id := range z.waiting {
		rest = append(rest, id)
	}
	slices.Sort(rest)
	z.expect(rest)
}

// bindRequest binds srvsvc; shareEnum is NetrShareEnum at level 1, [MS-SRVS] 3.1.4.8.
var (
	bindRequest = []byte("\x05\x00\x0b\x03\x10\x00\x00\x00\x48\x00\x00\x00\x01\x00\x00\x00\xd0\x16\xd0\x16\x00\x00\x00\x00\x01\x00\x00\x00" +
		"\x00\x00\x01\x00\xc8\x4f\x32\x4b\x70\x16\xd3\x01\x12\x78\x5a\x47\xbf\x6e\xe1\x88\x03\x00\x00\x00" +
		"\x04\x5d\x88\x8a\xeb\x1c\xc9\x11\x9f\xe8\x08\x00\x2b\x10\x48\x60\x02\x00\x00\x00")
	shareEnum = shareEnumRequest()
)

func shareEnumRequest() []byte {
	var w rpc.Writer
	w.Pointer(true)
	w.String(`\\nas`)
	w.U32(1)
	w.U32(1)
	w.Pointer(true)
	w.U32(0)
	w.Pointer(false)
	w.U32(0xFFFFFFFF)
	w.Pointer(false)
	req := append([]byte("\x05\x00\x00\x03\x10\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x00\x00\x0f\x00"), w.Bytes()...)
	binary.LittleEndian.PutUint16(req[8:], uint16(len(req)))
	return req
}

func sessionSeeds() [][]op {
	type B = smbtest.Body
	o := func(cmd wire.Command, flags, handle byte, b B) op { return op{cmd, flags, handle, opBody(b)} }
	create := func(name string, access dtyp.Access, disposition, options uint32, ctx ...wire.CreateContext) B {
		req := smbtest.OpenAs(name, access, disposition, options)
		req.Contexts = ctx
		return req
	}
	set := func(class fscc.FileClass, b interface{ Append([]byte) []byte }) B {
		return &wire.SetInfoRequest{InfoType: wire.InfoFile, InfoClass: uint8(class), Buffer: b.Append(nil)}
	}
	query := func(kind uint8, class uint8, n uint32) B {
		return &wire.QueryInfoRequest{InfoType: kind, InfoClass: class, OutputBufferLength: n, AdditionalInfo: 7}
	}
	ioctl := func(code uint32, in []byte) B {
		return &wire.IoctlRequest{CtlCode: code, Input: in, MaxOutputResponse: 4096, Flags: wire.IoctlIsFsctl}
	}
	const file, dir, root, pipe, guarded = 0, 1, 2, 3, 4
	seeds := [][]op{
		{ // previous versions
			o(wire.CmdCreate, 0, 0, create(token2015, all, wire.FileOpen, 0)), o(wire.CmdIoctl, 0, 5, ioctl(wire.FsctlSrvEnumerateSnapshots, nil)),
			o(wire.CmdSetInfo, 0, 5, set(fscc.FileDispositionInformationEx, fscc.DispositionExInfo{Flags: 1})),
			o(wire.CmdCreate, 0, 0, create(token2015+`\new`, all, wire.FileOpenIf, 0)), o(wire.CmdWrite, 0, 6, &wire.WriteRequest{Data: []byte("x")}),
			o(wire.CmdCreate, 0, 0, create("new", all, wire.FileOpenIf, 0, wire.CreateContext{
				Name: wire.CreateTimewarp, Data: (&wire.Timewarp{Timestamp: dtyp.FiletimeOf(in2015)}).Append(nil),
			})),
			o(wire.CmdCreate, 0, 0, create(`$Extend\$Quota:$Q:$INDEX_ALLOCATION`, dtyp.FileRead, wire.FileOpen, 0)),
		},
		{
			o(wire.CmdCreate, 0, 0, create("new", all, wire.FileCreate, 0)), o(wire.CmdWrite, 0, 5, &wire.WriteRequest{Data: []byte("x"), Offset: 5}),
			o(wire.CmdRead, 0, 5, &wire.ReadRequest{Length: 10}), o(wire.CmdFlush, 0, 5, &wire.FlushRequest{}), o(wire.CmdClose, 0, 5, &wire.CloseRequest{Flags: 1}),
		},
		{ // the POSIX way
			o(wire.CmdCreate, 0, 0, create(`dir/a:\b`, all, wire.FileOpenIf, 0, wire.CreateContext{Name: wire.CreatePOSIX, Data: []byte{0xA4, 1, 0, 0}})),
			o(wire.CmdQueryInfo, 0, 5, query(wire.InfoFile, 0x64, 200)), o(wire.CmdQueryInfo, 0, 5, query(wire.InfoFileSystem, 0x64, 56)),
			o(wire.CmdSetInfo, 0, 5, set(fscc.FileRenameInformation, fscc.RenameInfo{Name: "DIR/x?"})),
			o(wire.CmdCreate, 0, 0, create("", all, wire.FileOpen, 0, wire.CreateContext{Name: wire.CreatePOSIX, Data: make([]byte, 4)})),
			o(wire.CmdQueryDirectory, 0, 6, &wire.QueryDirectoryRequest{InfoClass: 0x64, Pattern: "*", OutputBufferLength: 400}),
		},
		{ // a CHANGE_NOTIFY that would wait in the middle of a compound
			o(wire.CmdCreate, 0, 0, create("", all, wire.FileOpen, wire.FileDirectoryFile)),
			o(wire.CmdChangeNotify, opChained|opRelated, 0, &wire.ChangeNotifyRequest{OutputBufferLength: 100, FileID: wire.NoFileID}),
			o(wire.CmdClose, opChained|opRelated, 0, &wire.CloseRequest{FileID: wire.NoFileID}),
		},
		{ // compounds
			o(wire.CmdCreate, 0, 0, create("c", all, wire.FileOpenIf, wire.FileDeleteOnClose)),
			o(wire.CmdQueryInfo, opChained|opRelated, 0, &wire.QueryInfoRequest{InfoType: 1, InfoClass: 0x12, OutputBufferLength: 500, FileID: wire.NoFileID}),
			o(wire.CmdClose, opChained|opRelated, 0, &wire.CloseRequest{FileID: wire.NoFileID}),
			o(wire.CmdEcho, 0, 0, &wire.EchoRequest{}), o(wire.CmdSessionSetup, opChained, 0, &wire.SessionSetupRequest{SecurityBuffer: (&ntlmtest.Client{}).Negotiate()}),
		},
		{
			o(wire.CmdQueryDirectory, 0, root, &wire.QueryDirectoryRequest{InfoClass: 0x25, Pattern: "*", OutputBufferLength: 1000}),
			o(wire.CmdQueryDirectory, 0, dir, &wire.QueryDirectoryRequest{InfoClass: 0x50, Pattern: "a*", OutputBufferLength: 65536}),
			o(wire.CmdQueryDirectory, 0, file, &wire.QueryDirectoryRequest{InfoClass: 1, Pattern: "*", OutputBufferLength: 200}),
		},
		{ // a pipe that is read before it is written, and a cancel
			o(wire.CmdRead, opPipes, pipe, &wire.ReadRequest{Length: 1000}), o(wire.CmdRead, opPipes, pipe, &wire.ReadRequest{Length: 1000}),
			o(wire.CmdCancel, opAsync, 0, &wire.EchoRequest{}), o(wire.CmdCancel, 0, 1, &wire.EchoRequest{}),
			o(wire.CmdWrite, opPipes, pipe, &wire.WriteRequest{Data: bindRequest}), o(wire.CmdRead, opPipes, pipe, &wire.ReadRequest{Length: 1000}),
			o(wire.CmdIoctl, opPipes, pipe, ioctl(wire.FsctlPipeTransceive, shareEnum)), o(wire.CmdIoctl, opPipes, pipe, ioctl(wire.FsctlPipePeek, nil)),
			o(wire.CmdRead, opPipes, pipe, &wire.ReadRequest{Length: 1000}), o(wire.CmdClose, opPipes, pipe, &wire.CloseRequest{}),
		},
		{ // what must not be written
			o(wire.CmdWrite, opPrivate, guarded, &wire.WriteRequest{Data: []byte("x")}),
			o(wire.CmdSetInfo, opPrivate, guarded, set(fscc.FileEndOfFileInformation, fscc.SizeInfo{})),
			o(wire.CmdSetInfo, opPrivate, guarded, set(fscc.FileLinkInformation, fscc.RenameInfo{Name: "link"})),
			o(wire.CmdSetInfo, opPrivate, guarded, set(fscc.FileRenameInformation, fscc.RenameInfo{Name: "moved"})),
			o(wire.CmdSetInfo, opPrivate, guarded, set(fscc.FileDispositionInformation, fscc.DispositionInfo{Delete: true})),
			o(wire.CmdSetInfo, opPrivate, guarded, set(fscc.FileBasicInformation, fscc.BasicInfo{Attributes: 1, LastWrite: 1})),
			o(wire.CmdCreate, opPrivate, 0, create("new", dtyp.MaximumAllowed, wire.FileOpenIf, 0)),
			o(wire.CmdCreate, opPrivate, 0, create(`dir\canary`, dtyp.MaximumAllowed, wire.FileOverwriteIf, 0)),
			o(wire.CmdCreate, opPrivate, 0, create(`dir\canary`, dtyp.MaximumAllowed, wire.FileOpen, wire.FileDeleteOnClose)),
			o(wire.CmdIoctl, opPrivate, guarded, ioctl(uint32(fscc.FsctlSetSparse), nil)),
			o(wire.CmdIoctl, opPrivate, guarded, ioctl(uint32(fscc.FsctlSetZeroData), fscc.ZeroData{Beyond: 10}.Append(nil))),
			o(wire.CmdIoctl, opPrivate, guarded, ioctl(wire.FsctlSrvCopychunkWrite, make([]byte, 56))),
		},
		{
			o(wire.CmdTreeConnect, 0, 0, &wire.TreeConnectRequest{Path: `\\nas\private`}), o(wire.CmdTreeDisconnect, opPrivate, 0, &wire.TreeDisconnectRequest{}),
			o(wire.CmdLock, 0, file, &wire.LockRequest{Locks: []wire.LockElement{{Length: 1}}}), o(wire.CmdChangeNotify, 0, dir, &wire.ChangeNotifyRequest{OutputBufferLength: 100}),
			o(wire.CmdOplockBreak, 0, file, &wire.OplockBreak{}), o(wire.CmdLogoff, 0, 0, &wire.LogoffRequest{}), o(wire.CmdEcho, opUnsigned, 0, &wire.EchoRequest{}),
			o(wire.CmdRead, 0, file, &wire.ReadRequest{Length: 1}),
		},
		{
			o(wire.CmdCreate, 0, 0, create(`dir\sub`, all, wire.FileOpenIf, wire.FileDirectoryFile, wire.CreateContext{Name: wire.CreateMaximalAccess}, wire.CreateContext{Name: wire.CreateDiskID})),
			o(wire.CmdSetInfo, 0, dir, set(fscc.FileRenameInformation, fscc.RenameInfo{Name: "other", Flags: 1})),
			o(wire.CmdSetInfo, 0, 5, set(fscc.FileDispositionInformationEx, fscc.DispositionExInfo{Flags: 1})),
			o(wire.CmdSetInfo, 0, file, set(fscc.FileRenameInformationEx, fscc.RenameInfo{Name: `other\sub`, Flags: 1})),
			o(wire.CmdNegotiate, 0, 0, &wire.NegotiateRequest{Dialects: []uint16{wire.Dialect311}}),
		},
		{ // durable opens, left by LOGOFF
			o(wire.CmdCreate, 0, 0, lasting(asking("durable", wire.OplockBatch), 1)),
			o(wire.CmdCreate, 0, 0, with(lasting(leasing("leased", 1, 7, 0), 2), wire.CreateAppInstanceID, &wire.AppInstanceID{ID: dtyp.GUID{3}})),
			o(wire.CmdLock, 0, 5, &wire.LockRequest{Locks: []wire.LockElement{{Length: 1, Flags: lockNow}}}),
			o(wire.CmdCreate, 0, 0, lasting(asking("durable", wire.OplockBatch), 1)), o(wire.CmdCreate, 0, 0, again(asking("durable", 0), 1, wire.FileID{Persistent: 1})),
			o(wire.CmdCreate, 0, 0, smbtest.OpenAs("leased", all, wire.FileOpen, 0)), o(wire.CmdLogoff, 0, 0, &wire.LogoffRequest{}),
		},
		{o(wire.CmdSessionSetup, 0, 0, &wire.SessionSetupRequest{SecurityBuffer: []byte("NTLMSSP\x00")}), o(wire.CmdEcho, 0, 0, &wire.EchoRequest{})},
		{o(wire.CmdRead, opPaid, file, &wire.ReadRequest{Length: 512 << 10}), o(wire.CmdRead, opRaw, 0, &wire.ReadRequest{}), o(19, 0, 0, &wire.EchoRequest{})},
	}
	var queries, controls []op
	for _, class := range []uint8{4, 5, 6, 7, 8, 9, 0xE, 0xF, 0x10, 0x11, 0x12, 0x15, 0x16, 0x1C, 0x22, 0x23, 0x30, 0x36, 0x3B} {
		queries = append(queries, o(wire.CmdQueryInfo, 0, class%5, query(wire.InfoFile, class, 100)))
	}
	for class := range uint8(12) {
		queries = append(queries, o(wire.CmdQueryInfo, 0, file, query(wire.InfoFileSystem, class, 200)))
	}
	queries = append(queries, o(wire.CmdQueryInfo, 0, dir, query(wire.InfoSecurity, 0, 10)), o(wire.CmdQueryInfo, 0, dir, query(wire.InfoSecurity, 0, 1000)))
	for _, code := range []uint32{
		wire.FsctlDFSGetReferrals, wire.FsctlQueryNetworkInterfaceInfo, wire.FsctlSrvRequestResumeKey, uint32(fscc.FsctlSetSparse), uint32(fscc.FsctlGetCompression),
		uint32(fscc.FsctlGetReparsePoint), wire.FsctlPipeTransceive, wire.FsctlPipePeek,
	} {
		controls = append(controls, o(wire.CmdIoctl, 0, file, ioctl(code, nil)))
	}
	for _, path := range []string{`\nas\all`, `\nas\all\files\x`} {
		req := wire.ReferralRequest{MaxLevel: 4, Path: path, Site: "here"}
		controls = append(controls, o(wire.CmdIoctl, opPipes, file, ioctl(wire.FsctlDFSGetReferrals, req.Append(nil))),
			o(wire.CmdIoctl, opPipes, file, ioctl(wire.FsctlDFSGetReferralsEx, req.AppendEx(nil))))
	}
	controls = append(controls,
		o(wire.CmdIoctl, 0, file, ioctl(uint32(fscc.FsctlQueryAllocatedRanges), fscc.Range{Length: 1 << 30}.Append(nil))),
		o(wire.CmdIoctl, 0, file, ioctl(uint32(fscc.FsctlSetZeroData), fscc.ZeroData{Beyond: 4}.Append(nil))),
		o(wire.CmdIoctl, 0, file, ioctl(uint32(fscc.FsctlSetCompression), fscc.AppendCompression(nil, 1))),
		o(wire.CmdIoctl, 0, file, ioctl(uint32(fscc.FsctlFileLevelTrim), fscc.Trim{Ranges: []fscc.Range{{Length: 1 << 40}}}.Append(nil))),
		o(wire.CmdIoctl, 0, file, ioctl(uint32(fscc.FsctlDuplicateExtents), fscc.DuplicateExtents{Count: 10}.Append(nil))),
		o(wire.CmdIoctl, 0, file, ioctl(uint32(fscc.FsctlDuplicateExtentsEx), fscc.DuplicateExtents{Count: 10}.AppendEx(nil))),
		o(wire.CmdIoctl, 0, file, ioctl(uint32(fscc.FsctlSetReparsePoint), symlink(`..\target`))),
		o(wire.CmdIoctl, 0, file, ioctl(uint32(fscc.FsctlDeleteReparsePoint), []byte{0x0C, 0, 0, 0xA0, 0, 0, 0, 0})),
		o(wire.CmdIoctl, 0, file, ioctl(wire.FsctlSrvEnumerateSnapshots, nil)),
		o(wire.CmdIoctl, opPipes, pipe, ioctl(wire.FsctlPipeWait, fscc.PipeWait{Name: "srvsvc"}.Append(nil))),
		o(wire.CmdIoctl, 0, file, ioctl(wire.FsctlValidateNegotiateInfo, make([]byte, 26))))
	return append(seeds, queries, controls)
}
