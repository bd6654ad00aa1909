// Package smbtest is the other side of a conversation: it sends wire values and hands back what the server answers. It
// follows the protocol only as far as it is told to, so that tests can break it at any place.
package smbtest

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/postern-nas/postern/smb/auth/ntlm/ntlmtest"
	"github.com/postern-nas/postern/smb/crypt"
	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/wire"
)

// Patience is how long a Peer waits for the server.
const Patience = 10 * time.Second

// A Body can be sent.
type Body interface{ Append([]byte) []byte }

// A Decoder can be received.
type Decoder interface{ Decode(msg []byte) error }

// A Message is what came from the server: one element of a frame.
type Message struct {
	wire.Header
	Raw    []byte // from the header on
	Sealed bool
	Packed int // length of the message that came, if it was compressed
}

// A Peer is one connection. Its fields may be changed between calls.
type Peer struct {
	T    testing.TB
	Conn net.Conn

	Dialect   uint16
	Signing   crypt.SigningAlg
	Cipher    crypt.Cipher
	MessageID uint64
	SessionID uint64
	TreeID    uint32
	Credits   int
	Transport uint32 // flags of a transport capabilities context; 0 sends none
	POSIX     []byte // data of a POSIX extensions context; nil sends none

	Client       dtyp.GUID // of NEGOTIATE; the zero GUID stands for 1
	Capabilities uint32    // of NEGOTIATE, more of them
	Channel      uint16    // the channel sequence of requests
	Flags        wire.Flags

	Signer  *crypt.Signer
	Sealer  *crypt.Sealer // client to server
	Opener  *crypt.Sealer
	Seal    bool          // send sealed
	Blind   bool          // take signatures for right
	Session *crypt.Signer // of the session's first channel: what bindings are signed with
	Preauth crypt.Preauth
	Compression
	queue []Message
	sent  map[[16]byte]bool // signatures: a server without a key hands them back
}

// New returns a Peer on a connection.
func New(t testing.TB, c net.Conn) *Peer { return &Peer{T: t, Conn: c, Credits: 1} }

// SendRaw sends one frame as it is.
func (p *Peer) SendRaw(msg []byte) {
	p.T.Helper()
	frame := append(binary.BigEndian.AppendUint32(nil, uint32(len(msg))), msg...)
	p.Conn.SetWriteDeadline(time.Now().Add(Patience))
	if _, err := p.Conn.Write(frame); err != nil {
		p.T.Logf("send: %v", err)
	}
}

// Element is one request to be sent.
type Element struct {
	Header wire.Header
	Body   Body
}

// Request fills in a header as the connection stands, charging for n bytes of payload.
func (p *Peer) Request(cmd wire.Command, payload int) wire.Header {
	charge := uint16(1)
	if payload > 0 && p.Dialect > wire.Dialect202 {
		charge = uint16((payload-1)/65536 + 1)
	}
	h := wire.Header{
		CreditCharge: charge, Command: cmd, Credits: charge + 64, MessageID: p.MessageID, SessionID: p.SessionID, TreeID: p.TreeID,
		Status: nt.Status(p.Channel), Flags: p.Flags,
	}
	p.MessageID += uint64(charge)
	p.Credits -= int(charge)
	return h
}

// Send sends elements as one compound, signed or sealed as the Peer is set.
func (p *Peer) Send(elements ...Element) {
	p.T.Helper()
	p.SendRaw(p.Encode(elements...))
}

// Encode is Send without sending.
func (p *Peer) Encode(elements ...Element) []byte {
	p.T.Helper()
	var msg []byte
	var starts []int
	for i, e := range elements {
		if i > 0 {
			for len(msg)%8 != 0 {
				msg = append(msg, 0)
			}
			wire.PutNextCommand(msg[starts[i-1]:], uint32(len(msg)-starts[i-1]))
		}
		starts = append(starts, len(msg))
		if p.Signer != nil && !p.Seal {
			e.Header.Flags |= wire.FlagSigned
		}
		msg = e.Body.Append(e.Header.Append(msg))
	}
	if p.Signer != nil && !p.Seal {
		p.sign(msg, starts)
	}
	if p.Compression.Send {
		msg = p.Pack(msg)
	}
	if p.Seal {
		buf := append(make([]byte, wire.TransformHeaderSize), msg...)
		if err := p.Sealer.Seal(buf, p.SessionID); err != nil {
			p.T.Fatal(err)
		}
		return buf
	}
	return msg
}

func (p *Peer) sign(msg []byte, starts []int) {
	for i, start := range starts {
		end := len(msg)
		if i+1 < len(starts) {
			end = starts[i+1]
		}
		p.Signer.Sign(msg[start:end])
		if p.sent == nil {
			p.sent = make(map[[16]byte]bool)
		}
		p.sent[[16]byte(msg[start+48:])] = true
	}
}

// Recv returns the server's next message, checked for its signature if it has one. io.EOF and the like come back as they
// are.
func (p *Peer) Recv() (Message, error) {
	if len(p.queue) == 0 {
		if err := p.recvFrame(); err != nil {
			return Message{}, err
		}
	}
	m := p.queue[0]
	p.queue = p.queue[1:]
	p.Credits += int(m.Header.Credits)
	return m, nil
}

func (p *Peer) recvFrame() error {
	p.Conn.SetReadDeadline(time.Now().Add(Patience))
	var prefix [4]byte
	if _, err := io.ReadFull(p.Conn, prefix[:]); err != nil {
		return err
	}
	msg := make([]byte, binary.BigEndian.Uint32(prefix[:]))
	if _, err := io.ReadFull(p.Conn, msg); err != nil {
		return err
	}
	sealed := wire.Protocol(msg) == wire.ProtocolTransform
	if sealed {
		plain, err := p.Opener.Open(msg)
		if err != nil {
			return err
		}
		msg = plain
	}
	packed := 0
	if wire.Protocol(msg) == wire.ProtocolCompressed {
		packed = len(msg)
		plain, err := p.Unpack(msg)
		if err != nil {
			return err
		}
		msg = plain
	}
	for rest := msg; len(rest) > 0; {
		one, more, err := wire.Cut(rest)
		if err != nil {
			return err
		}
		rest = more
		m := Message{Raw: one, Sealed: sealed, Packed: packed}
		if err := m.Header.Decode(one); err != nil {
			return err
		}
		if m.Flags&wire.FlagServerToRedir == 0 {
			return fmt.Errorf("%v from the server is marked as a request", m.Command)
		}
		if m.Flags&wire.FlagSigned != 0 && p.Signer != nil && !p.Blind && !p.sent[m.Signature] && !p.Signer.Verify(one) {
			return fmt.Errorf("signature of the %v response is wrong", m.Command)
		}
		p.queue = append(p.queue, m)
	}
	return nil
}

// MustRecv is Recv that must succeed.
func (p *Peer) MustRecv() Message {
	p.T.Helper()
	m, err := p.Recv()
	if err != nil {
		p.T.Fatalf("receive: %v", err)
	}
	return m
}

// Final is the next message that is not an interim reply.
func (p *Peer) Final() Message {
	p.T.Helper()
	for {
		if m := p.MustRecv(); m.Status != nt.Pending {
			return m
		}
	}
}

// Do sends one request and returns the status of its answer, decoded into resp if that is not nil and there is one.
func (p *Peer) Do(cmd wire.Command, req Body, resp Decoder) nt.Status {
	p.T.Helper()
	return p.DoCharged(cmd, 0, req, resp)
}

// DoCharged is Do with credits for n bytes of payload.
func (p *Peer) DoCharged(cmd wire.Command, n int, req Body, resp Decoder) nt.Status {
	p.T.Helper()
	h := p.Request(cmd, n)
	p.Send(Element{h, req})
	m := p.Final()
	if m.MessageID != h.MessageID || m.Command != cmd {
		p.T.Fatalf("answer to %v %d is %v %d", cmd, h.MessageID, m.Command, m.MessageID)
	}
	if resp != nil && (!m.Status.IsError() || m.Status == nt.MoreProcessingRequired) {
		if err := resp.Decode(m.Raw); err != nil {
			p.T.Fatalf("%v response: %v", cmd, err)
		}
	}
	return m.Status
}

// Dropped reports whether the server ends the connection now.
func (p *Peer) Dropped() bool {
	for {
		if _, err := p.Recv(); err != nil {
			ne, ok := err.(net.Error)
			return !ok || !ne.Timeout()
		}
	}
}

// NegotiateRequest is what Negotiate sends.
func (p *Peer) NegotiateRequest(dialects ...uint16) *wire.NegotiateRequest {
	req := &wire.NegotiateRequest{
		SecurityMode: wire.SigningEnabled, Capabilities: wire.CapEncryption | wire.CapLargeMTU | p.Capabilities, ClientGUID: p.Client, Dialects: dialects,
	}
	if p.Client == (dtyp.GUID{}) {
		req.ClientGUID = dtyp.GUID{1}
	}
	ctx := func(kind uint16, b Body) {
		req.Contexts = append(req.Contexts, wire.NegotiateContext{Type: kind, Data: b.Append(nil)})
	}
	ctx(wire.ContextPreauthIntegrity, &wire.PreauthIntegrity{HashAlgorithms: []uint16{wire.HashSHA512}, Salt: make([]byte, 32)})
	ciphers := []uint16{wire.CipherAES128GCM}
	if p.Cipher != 0 {
		ciphers = []uint16{uint16(p.Cipher)}
	}
	ctx(wire.ContextEncryption, &wire.Encryption{Ciphers: ciphers})
	ctx(wire.ContextSigning, &wire.Signing{Algorithms: []uint16{uint16(p.Signing)}})
	if p.POSIX != nil {
		req.Contexts = append(req.Contexts, wire.NegotiateContext{Type: wire.ContextPOSIX, Data: p.POSIX})
	}
	if len(p.Algorithms) > 0 {
		ctx(wire.ContextCompression, p.context())
	}
	if p.Transport != 0 {
		ctx(wire.ContextTransportCapabilities, &wire.TransportCapabilities{Flags: p.Transport})
	}
	return req
}

// Negotiate agrees on a dialect.
func (p *Peer) Negotiate(dialects ...uint16) *wire.NegotiateResponse {
	p.T.Helper()
	h := p.Request(wire.CmdNegotiate, 0)
	msg := p.Encode(Element{h, p.NegotiateRequest(dialects...)})
	p.SendRaw(msg)
	m := p.Final()
	if m.Status != nt.Success {
		p.T.Fatalf("NEGOTIATE: %v", m.Status)
	}
	resp := &wire.NegotiateResponse{}
	if err := resp.Decode(m.Raw); err != nil {
		p.T.Fatal(err)
	}
	p.Dialect = resp.Dialect
	switch {
	case p.Dialect == wire.Dialect311:
		p.Preauth.Update(msg)
		p.Preauth.Update(m.Raw)
		if p.Cipher == 0 {
			p.Cipher = crypt.AES128GCM
		}
	case p.Dialect >= wire.Dialect300:
		p.Signing, p.Cipher = crypt.AESCMAC, crypt.AES128CCM
	default:
		p.Signing, p.Cipher = crypt.HMACSHA256, 0
	}
	return resp
}

// Logon sets a session up with NTLM, raw and without SPNEGO, and returns how that went.
func (p *Peer) Logon(user, password string, previous uint64) nt.Status {
	p.T.Helper()
	return p.LogonAs(&ntlmtest.Client{User: user, Password: password}, previous)
}

// LogonAs is Logon of any client.
func (p *Peer) LogonAs(c *ntlmtest.Client, previous uint64) nt.Status {
	p.T.Helper()
	m, k := p.setup(c, wire.SessionSetupRequest{PreviousSessionID: previous})
	if m.Status != nt.Success || p.Signer != nil {
		return m.Status // refused, or a reauthentication: the keys stay
	}
	var err error
	if p.Signer, err = crypt.NewSigner(p.Signing, k.Signing); err != nil {
		p.T.Fatal(err)
	}
	p.Session = p.Signer
	if !c.Anonymous && !p.Signer.Verify(m.Raw) {
		p.T.Error("the final SESSION_SETUP response is not signed right")
	}
	if p.Cipher != 0 {
		if p.Sealer, err = crypt.NewSealer(p.Cipher, k.Decryption); err != nil {
			p.T.Fatal(err)
		}
		if p.Opener, err = crypt.NewSealer(p.Cipher, k.Encryption); err != nil {
			p.T.Fatal(err)
		}
	}
	return nt.Success
}

// setup goes through the legs of SESSION_SETUP and returns the last answer, and the keys if it is a success. req is what
// each leg has beside its token.
func (p *Peer) setup(c *ntlmtest.Client, req wire.SessionSetupRequest) (Message, crypt.Keys) {
	p.T.Helper()
	preauth := p.Preauth
	leg := func(token []byte) (Message, *wire.SessionSetupResponse) {
		req.SecurityMode, req.SecurityBuffer = wire.SigningEnabled, token
		h := p.Request(wire.CmdSessionSetup, 0)
		msg := p.Encode(Element{h, &req})
		p.SendRaw(msg)
		preauth.Update(msg)
		m := p.Final()
		resp := &wire.SessionSetupResponse{}
		if m.Status == nt.Success || m.Status == nt.MoreProcessingRequired {
			if err := resp.Decode(m.Raw); err != nil {
				p.T.Fatal(err)
			}
		}
		return m, resp
	}
	m, resp := leg(c.Negotiate())
	if m.Status != nt.MoreProcessingRequired {
		return m, crypt.Keys{}
	}
	preauth.Update(m.Raw)
	p.SessionID = m.SessionID
	token, err := c.Authenticate(resp.SecurityBuffer)
	if err != nil {
		p.T.Fatal(err)
	}
	if m, _ = leg(token); m.Status != nt.Success {
		return m, crypt.Keys{}
	}
	return m, crypt.Derive(p.Dialect, c.SessionKey(), preauth[:], p.Cipher)
}

// Bind makes the connection, which has negotiated, a channel of another Peer's session. Refused, it is as it was.
func (p *Peer) Bind(to *Peer, user, password string) nt.Status {
	p.T.Helper()
	before, blind := p.SessionID, p.Blind
	signer := p.Signer
	p.SessionID, p.Signer, p.Blind = to.SessionID, to.Session, true
	m, k := p.setup(&ntlmtest.Client{User: user, Password: password}, wire.SessionSetupRequest{Flags: wire.SessionBinding})
	p.Blind = blind
	if m.Status != nt.Success {
		if m.Flags&wire.FlagSigned != 0 && !p.sent[m.Signature] && !to.Session.Verify(m.Raw) {
			p.T.Errorf("the refusal %v is not signed with the session's key", m.Status)
		}
		p.SessionID, p.Signer = before, signer
		return m.Status
	}
	var err error
	if p.Signer, err = crypt.NewSigner(p.Signing, k.Signing); err != nil {
		p.T.Fatal(err)
	}
	if !p.Signer.Verify(m.Raw) {
		p.T.Error("the final SESSION_SETUP response is not signed with the channel's key")
	}
	p.Session, p.Sealer, p.Opener, p.TreeID = to.Session, to.Sealer, to.Opener, to.TreeID
	return nt.Success
}

// Tree connects to \\server\share.
func (p *Peer) Tree(share string) nt.Status {
	p.T.Helper()
	h := p.Request(wire.CmdTreeConnect, 0)
	p.Send(Element{h, &wire.TreeConnectRequest{Path: `\\nas.test\` + share}})
	m := p.Final()
	if m.Status == nt.Success {
		p.TreeID = m.TreeID
	}
	return m.Status
}

// OpenAs is a CREATE request for name.
func OpenAs(name string, access dtyp.Access, disposition, options uint32) *wire.CreateRequest {
	return &wire.CreateRequest{
		ImpersonationLevel: wire.ImpersonationImpersonation, DesiredAccess: access, ShareAccess: wire.ShareRead | wire.ShareWrite | wire.ShareDelete,
		Disposition: disposition, Options: options, Name: name,
	}
}

// Open opens or makes name and must succeed.
func (p *Peer) Open(name string, access dtyp.Access, disposition, options uint32) wire.FileID {
	p.T.Helper()
	var resp wire.CreateResponse
	if s := p.Do(wire.CmdCreate, OpenAs(name, access, disposition, options), &resp); s != nt.Success {
		p.T.Fatalf("CREATE %q: %v", name, s)
	}
	return resp.FileID
}

// Close closes id and must succeed.
func (p *Peer) Close(id wire.FileID) {
	p.T.Helper()
	if s := p.Do(wire.CmdClose, &wire.CloseRequest{FileID: id}, &wire.CloseResponse{}); s != nt.Success {
		p.T.Fatalf("CLOSE: %v", s)
	}
}
