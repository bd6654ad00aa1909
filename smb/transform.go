package smb

import (
	"log/slog"

	"github.com/postern-nas/postern/smb/crypt"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/wire"
)

// Sealed messages, [MS-SMB2] 3.3.5.2.1 and 3.3.4.1.4, and how a reply is put together, signed and sent.

// sealer finds the session whose key sealed msg. What cannot be opened ends the connection.
func (c *conn) sealer(msg []byte) (*session, error) {
	id, ok := crypt.TransformSessionID(msg)
	if !ok {
		return nil, drop("truncated transform header")
	}
	s := c.session(id)
	if s == nil {
		return nil, drop("sealed for unknown session %#x", id)
	}
	if k := s.keys.Load(); k == nil || k.open == nil {
		return nil, drop("sealed for session %#x, which has no key for it", id)
	}
	if s.identity.Load().Anonymous() && !c.known.Load() { // [MS-SMB2] Connection.ConstrainedConnection
		return nil, drop("sealed for an anonymous session, and nobody has proved anything on this connection")
	}
	return s, nil
}

// unseal opens the frame's message and goes on with what was inside.
func (c *conn) unseal(f *frame) error {
	plain, err := f.sealed.keys.Load().open.Open(f.in.b)
	if err != nil {
		f.release()
		return errPeer{err}
	}
	if len(plain) >= minFrame && [4]byte(plain[:4]) == [4]byte{0xFC, 'S', 'M', 'B'} {
		return f.decompress(plain)
	}
	if len(plain) < minFrame || [4]byte(plain[:4]) != [4]byte{0xFE, 'S', 'M', 'B'} {
		f.release()
		return drop("no SMB2 message inside of the seal") // above all no second seal
	}
	return c.accept(f, plain)
}

// place returns where in f.out the next element begins.
func (f *frame) place() int {
	if f.out == nil {
		f.out = f.conn.srv.pool.get(1 << minClass)
		f.out.b = f.out.b[:headroom]
	}
	return (len(f.out.b)-headroom+7)&^7 + headroom
}

// room returns n bytes of the reply that is being built, where they will stand behind a header and a fixed part. A
// handler that fills them returns a response that appends nothing but the fixed part and these very bytes: file data
// is read to where it is sent from.
func (r *request) room(fixed, n int) []byte {
	f := r.frame
	start := f.place() + wire.HeaderSize + fixed
	f.out = f.out.grow(start + n)
	return f.out.b[start : start+n : start+n]
}

// reply adds the answer to one request.
func (f *frame) reply(r *request, resp response, err error) {
	c := f.conn
	status := statusOf(err)
	if err != nil && c.log.Enabled(r.ctx, slog.LevelDebug) {
		c.log.Debug("request refused", "command", r.hdr.Command.String(), "why", err)
	}
	r.answeredWith(status)
	r.settle()
	start := f.place()
	if n := len(f.elements); n > 0 {
		out := f.out.b
		for len(out) < start {
			out = append(out, 0)
		}
		f.out.b = out
		wire.PutNextCommand(f.out.b[f.elements[n-1].start:], uint32(start-f.elements[n-1].start))
	}
	h := r.header(status)
	if !r.granted {
		f.owed += int(c.grant(r, status))
	}
	if r.last {
		h.Credits = uint16(min(f.owed, 0xFFFF))
		f.owed -= int(h.Credits)
	}
	signer := r.signer()
	switch {
	case signer != nil:
		h.Flags |= wire.FlagSigned
	case f.sealed == nil && r.hdr.Flags&wire.FlagSigned != 0:
		// No key to sign with: the session is gone, or never was. Windows and Samba hand the signature back as it
		// came, and clients that insist on signed replies take that for "signed, if I only could".
		h.Flags |= wire.FlagSigned
		h.Signature = r.hdr.Signature
	}
	out := h.Append(f.out.b)
	extra, isExtra := resp.(errorReply)
	switch {
	case isExtra && !extra.whole:
		out = wire.AppendErrorResponse(out, extra.contexts, extra.data)
	case resp != nil && (isExtra || !status.IsError() || status == nt.MoreProcessingRequired):
		out = resp.Append(out)
	default:
		out = wire.AppendErrorResponse(out, 0, nil)
	}
	f.out.b = out
	f.elements = append(f.elements, element{start: start, signer: signer, req: r})
}

// An errorReply accompanies an error status: with ErrorData in an ERROR Response, or as a whole body of its own where
// the specification has that (COPYCHUNK's limits).
type errorReply struct {
	whole    bool
	body     response
	contexts uint8
	data     []byte
}

// Append appends the whole body.
func (e errorReply) Append(b []byte) []byte { return e.body.Append(b) }

// signer says with which key the reply is signed, [MS-SMB2] 3.3.4.1.1: nil for none.
func (r *request) signer() *crypt.Signer {
	switch {
	case r.frame.sealed != nil:
		return nil
	case r.signWith != nil:
		return r.signWith
	case r.channel == nil:
		return nil
	}
	if r.hdr.Flags&wire.FlagSigned != 0 && r.verified || r.session.signingRequired.Load() && r.hdr.Command != wire.CmdSessionSetup {
		return r.channel.signer.Load()
	}
	return nil
}

// flush signs, compresses, seals and sends what has been built.
func (f *frame) flush() error {
	out := f.out
	if out == nil || len(f.elements) == 0 {
		return nil
	}
	if len(f.elements) > 1 { // the last of a chain as long as one with a next, as from Windows
		for end := f.place(); len(out.b) < end; {
			out.b = append(out.b, 0)
		}
	}
	for i, e := range f.elements {
		end := len(out.b)
		if i+1 < len(f.elements) {
			end = f.elements[i+1].start
		}
		msg := out.b[e.start:end]
		if e.signer != nil {
			e.signer.Sign(msg)
		}
		if e.req.preauth != nil {
			e.req.preauth(msg)
		}
	}
	f.out = nil
	defer f.sent()
	if e := f.extent; e.n > 0 {
		f.extent, f.elements = extent{}, f.elements[:0]
		return f.conn.writeExtent(out, e)
	}
	out = f.deflate(out)
	f.elements = f.elements[:0]
	return f.conn.send(out, f.sealed)
}

// send seals out if it must be, and writes it.
func (c *conn) send(out *buffer, sealed *session) error {
	if sealed != nil {
		if err := sealed.keys.Load().seal.Seal(out.b[prefixSize:], sealed.id); err != nil {
			out.release()
			return err
		}
	}
	return c.writeFrame(out, sealed != nil)
}
