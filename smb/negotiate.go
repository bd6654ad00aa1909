package smb

import (
	"crypto/rand"
	"slices"
	"time"

	"github.com/postern-nas/postern/smb/crypt"
	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/wire"
)

// dialects that TCP clients may choose from, best first. Over QUIC it is 3.1.1 or nothing ([MS-SMB2] 2.1).
var dialects = []uint16{wire.Dialect311, wire.Dialect302, wire.Dialect300, wire.Dialect210, wire.Dialect202}

// What we prefer where the client leaves a choice: authentication without a second pass before the older modes.
var (
	ciphers  = []uint16{wire.CipherAES128GCM, wire.CipherAES256GCM, wire.CipherAES128CCM, wire.CipherAES256CCM}
	signings = []uint16{wire.SigningAESGMAC, wire.SigningAESCMAC, wire.SigningHMACSHA256}
)

// A negotiation is one NEGOTIATE, [MS-SMB2] 3.3.5.4. It runs on the connection's reader.
type negotiation struct {
	*request
	req      wire.NegotiateRequest
	resp     wire.NegotiateResponse
	cipher   uint16
	signing  uint16
	secure   bool // the transport's encryption will do for both
	posix    bool
	contexts []wire.NegotiateContext

	compression compression
}

func (r *request) negotiate() (response, error) {
	n := &negotiation{request: r, signing: wire.SigningAESCMAC}
	for _, step := range []func() error{n.decode, n.chooseDialect, n.chooseContexts, n.answer} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return &n.resp, nil
}

func (n *negotiation) decode() error {
	if n.conn.dialect.Load() != 0 {
		n.fatal = drop("a second NEGOTIATE")
		return n.fatal
	}
	if err := n.req.Decode(n.msg); err != nil {
		return malformed(err)
	}
	if len(n.req.Dialects) == 0 {
		return because(nt.InvalidParameter, "no dialects")
	}
	return nil
}

func (n *negotiation) chooseDialect() error {
	offered := dialects
	if n.conn.info.Transport == "quic" {
		offered = dialects[:1]
	}
	for _, d := range offered {
		if slices.Contains(n.req.Dialects, d) {
			n.resp.Dialect = d
			break
		}
	}
	switch {
	case n.resp.Dialect == 0:
		return because(nt.NotSupported, "no dialect in common: %#04x", n.req.Dialects)
	case n.resp.Dialect < wire.Dialect300:
		n.signing = wire.SigningHMACSHA256
	case n.resp.Dialect < wire.Dialect311 && n.req.Capabilities&wire.CapEncryption != 0:
		n.cipher = wire.CipherAES128CCM
	}
	return nil
}

// chooseContexts answers the negotiate contexts of 3.1.1. Unknown ones are passed over; one that comes twice is an error.
func (n *negotiation) chooseContexts() error {
	if n.resp.Dialect != wire.Dialect311 {
		return nil
	}
	seen := make(map[uint16]bool)
	for _, ctx := range n.req.Contexts {
		step := map[uint16]func([]byte) error{
			wire.ContextPreauthIntegrity:      n.choosePreauth,
			wire.ContextEncryption:            n.chooseCipher,
			wire.ContextSigning:               n.chooseSigning,
			wire.ContextTransportCapabilities: n.chooseTransport,
			wire.ContextCompression:           n.chooseCompression,
			wire.ContextRDMATransform:         ignoreContext,
			wire.ContextNetName:               n.noteName,
			wire.ContextPOSIX:                 n.choosePOSIX,
		}[ctx.Type]
		if step == nil {
			continue
		}
		if seen[ctx.Type] {
			return because(nt.InvalidParameter, "negotiate context %#x comes twice", ctx.Type)
		}
		seen[ctx.Type] = true
		if err := step(ctx.Data); err != nil {
			return err
		}
	}
	if !seen[wire.ContextPreauthIntegrity] {
		return because(nt.InvalidParameter, "no preauthentication integrity context")
	}
	return nil
}

func ignoreContext([]byte) error { return nil }

func (n *negotiation) add(kind uint16, body response) {
	n.contexts = append(n.contexts, wire.NegotiateContext{Type: kind, Data: body.Append(nil)})
}

func (n *negotiation) choosePreauth(data []byte) error {
	var p wire.PreauthIntegrity
	if err := p.Decode(data); err != nil {
		return malformed(err)
	}
	if !slices.Contains(p.HashAlgorithms, wire.HashSHA512) {
		return because(nt.SMBNoPreauthHashOverlap, "no SHA-512 among %v", p.HashAlgorithms)
	}
	salt := make([]byte, 32)
	rand.Read(salt) // never fails: it aborts the program instead
	n.add(wire.ContextPreauthIntegrity, &wire.PreauthIntegrity{HashAlgorithms: []uint16{wire.HashSHA512}, Salt: salt})
	return nil
}

func (n *negotiation) chooseCipher(data []byte) error {
	var e wire.Encryption
	if err := e.Decode(data); err != nil {
		return malformed(err)
	}
	n.cipher = firstCommon(ciphers, e.Ciphers)
	n.add(wire.ContextEncryption, &wire.Encryption{Ciphers: []uint16{n.cipher}}) // 0 says: none in common
	return nil
}

func (n *negotiation) chooseSigning(data []byte) error {
	var s wire.Signing
	if err := s.Decode(data); err != nil {
		return malformed(err)
	}
	for _, alg := range signings {
		if slices.Contains(s.Algorithms, alg) {
			n.signing = alg
			n.add(wire.ContextSigning, &wire.Signing{Algorithms: []uint16{alg}})
			break
		}
	}
	return nil
}

func (n *negotiation) chooseTransport(data []byte) error {
	var t wire.TransportCapabilities
	if err := t.Decode(data); err != nil {
		return malformed(err)
	}
	if t.Flags&wire.TransportSecurity != 0 && n.conn.info.Secure {
		n.secure = true
		n.add(wire.ContextTransportCapabilities, &wire.TransportCapabilities{Flags: wire.TransportSecurity})
	}
	return nil
}

func (n *negotiation) noteName(data []byte) error {
	var name wire.NetName
	if err := name.Decode(data); err == nil { // for the log alone: a bad one harms nobody
		n.conn.log.Debug("client asks for", "name", name.Name)
	}
	return nil
}

func firstCommon(ours, theirs []uint16) uint16 {
	for _, v := range ours {
		if slices.Contains(theirs, v) {
			return v
		}
	}
	return 0
}

// answer settles what the connection is from now on.
func (n *negotiation) answer() error {
	c := n.conn
	n.resp.Contexts = n.contexts
	c.fillNegotiate(&n.resp, n.req.Capabilities, n.cipher != 0)
	if n.resp.Dialect >= wire.Dialect300 && c.info.Multichannel {
		n.resp.Capabilities |= n.req.Capabilities & wire.CapMultiChannel
	}
	if n.resp.Dialect == wire.Dialect311 {
		n.resp.Capabilities |= n.req.Capabilities & wire.CapNotifications
	}
	c.capsAsked, c.modeAsked, c.clientID = n.req.Capabilities, n.req.SecurityMode, n.req.ClientGUID
	c.capsGiven = n.resp.Capabilities
	c.cipher, c.signing, c.transportOK = crypt.Cipher(n.cipher), crypt.SigningAlg(n.signing), n.secure
	c.posix = n.posix
	c.compression = n.compression
	c.dialect.Store(uint32(n.resp.Dialect))
	if n.resp.Dialect == wire.Dialect311 {
		c.preauth.Update(n.msg)
		n.preauth = c.preauth.Update
	}
	return nil
}

// fillNegotiate sets what every NEGOTIATE response says of us.
func (c *conn) fillNegotiate(resp *wire.NegotiateResponse, asked uint32, encryption bool) {
	resp.SecurityMode = c.securityMode()
	resp.ServerGUID = c.srv.cfg.GUID
	resp.SystemTime = dtyp.FiletimeOf(time.Now())
	resp.SecurityBuffer = c.srv.hint
	size := uint32(64 << 10)
	// 3.3.5.4 grants large messages to TCP and RDMA; its own QUIC capture (4.10) has them there too.
	if resp.Dialect != wire.Dialect202 && resp.Dialect != wire.DialectWild {
		resp.Capabilities |= wire.CapLargeMTU | wire.CapLeasing
		size = maxIO
	}
	if resp.Dialect >= wire.Dialect300 && resp.Dialect != wire.DialectWild {
		resp.Capabilities |= wire.CapDirectoryLeasing
		if asked&wire.CapPersistentHandles != 0 && c.srv.offersLasting() {
			resp.Capabilities |= wire.CapPersistentHandles
		}
	}
	if resp.Dialect >= wire.Dialect300 && resp.Dialect != wire.DialectWild && encryption && asked&wire.CapEncryption != 0 {
		resp.Capabilities |= wire.CapEncryption
	}
	if c.srv.namespaces.Load() {
		resp.Capabilities |= wire.CapDFS
	}
	resp.MaxTransact, resp.MaxRead, resp.MaxWrite = size, size, size
}

// securityMode is what we say of signing.
func (c *conn) securityMode() uint16 {
	if c.srv.cfg.SigningOptional && !c.info.Secure {
		return wire.SigningEnabled
	}
	return wire.SigningEnabled | wire.SigningRequired
}

// multiProtocol answers the SMB1 NEGOTIATE with which older clients open a TCP connection, [MS-SMB2] 3.3.5.3. It is
// answered in SMB2 or not at all.
func (c *conn) multiProtocol(msg []byte) error {
	if !c.first || c.info.Transport == "quic" {
		return drop("an SMB1 message")
	}
	names, err := wire.DecodeSMB1Negotiate(msg)
	if err != nil {
		return errPeer{err}
	}
	f := &frame{conn: c}
	r := &request{conn: c, frame: f, last: true, hdr: wire.Header{Command: wire.CmdNegotiate}}
	resp := &wire.NegotiateResponse{}
	switch {
	case slices.Contains(names, wire.SMB1DialectWild):
		resp.Dialect = wire.DialectWild
		c.multi = true // the real NEGOTIATE comes next
	case slices.Contains(names, wire.SMB1Dialect202):
		resp.Dialect = wire.Dialect202
	default:
		return drop("SMB1 only: %q", names)
	}
	c.fillNegotiate(resp, 0, false)
	r.live()
	defer r.life.cancel()
	c.mu.Lock()
	c.window.take(0, 1)
	c.mu.Unlock()
	if resp.Dialect == wire.Dialect202 {
		c.signing = crypt.HMACSHA256
		c.capsGiven = resp.Capabilities
		c.dialect.Store(uint32(wire.Dialect202))
	}
	f.reply(r, resp, nil)
	return f.flush()
}
