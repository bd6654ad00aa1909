package client

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/postern-nas/postern/smb/auth/ntlm/ntlmtest"
	"github.com/postern-nas/postern/smb/crypt"
	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/wire"
)

// mode is what the client says of signing: that it can.
const mode = wire.SigningEnabled

// A body is of a request, or of a NEGOTIATE context.
type body interface{ Append([]byte) []byte }

// A logon is what comes before the Client's receive: NEGOTIATE and SESSION_SETUP, one after the other.
type logon struct {
	*Client
	preauth crypt.Preauth
}

// logon sets the session up.
func (c *Client) logon(user, password string) error {
	if err := c.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	l := &logon{Client: c}
	if err := l.negotiate(); err != nil {
		return fmt.Errorf("NEGOTIATE: %w", err)
	}
	ntlm := &ntlmtest.Client{User: user, Password: password}
	last, err := l.authenticate(ntlm)
	if err == nil {
		err = l.keys(ntlm.SessionKey(), last)
	}
	if err != nil {
		return fmt.Errorf("SESSION_SETUP: %w", err)
	}
	return nil
}

// turn sends a request and takes its answer.
func (l *logon) turn(cmd wire.Command, req body) (*Frame, error) {
	h := wire.Header{Command: cmd, MessageID: l.next, Credits: credits, CreditCharge: 1, SessionID: l.session}
	l.next++
	l.credits--
	msg := req.Append(h.Append(nil))
	l.preauth.Update(msg)
	if _, err := l.conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(msg))), msg...)); err != nil {
		return nil, err
	}
	f, err := l.frame()
	if err != nil {
		return nil, err
	}
	if err := f.Header.Decode(f.Msg); err != nil {
		return nil, err
	}
	l.credits += int(f.Credits)
	return f, nil
}

// negotiate agrees on 3.1.1 and what signs.
func (l *logon) negotiate() error {
	context := func(kind uint16, b body) wire.NegotiateContext {
		return wire.NegotiateContext{Type: kind, Data: b.Append(nil)}
	}
	f, err := l.turn(wire.CmdNegotiate, &wire.NegotiateRequest{
		SecurityMode: mode, Capabilities: wire.CapEncryption | wire.CapLargeMTU, ClientGUID: dtyp.GUID{0xBE, 0xAC}, Dialects: []uint16{wire.Dialect311},
		Contexts: []wire.NegotiateContext{
			context(wire.ContextPreauthIntegrity, &wire.PreauthIntegrity{HashAlgorithms: []uint16{wire.HashSHA512}, Salt: make([]byte, 32)}),
			context(wire.ContextEncryption, &wire.Encryption{Ciphers: []uint16{wire.CipherAES128GCM}}),
			context(wire.ContextSigning, &wire.Signing{Algorithms: []uint16{uint16(l.signing), uint16(crypt.AESCMAC)}}),
		},
	})
	if err != nil {
		return err
	}
	var got wire.NegotiateResponse
	if err := got.Decode(f.Msg); err != nil {
		return err
	}
	if got.Dialect != wire.Dialect311 {
		return fmt.Errorf("dialect %#x", got.Dialect)
	}
	l.preauth.Update(f.Msg)
	l.MaxIO = int(min(got.MaxRead, got.MaxWrite, got.MaxTransact))
	for _, ctx := range got.Contexts {
		if ctx.Type == wire.ContextSigning {
			var s wire.Signing
			if err := s.Decode(ctx.Data); err != nil || len(s.Algorithms) != 1 {
				return fmt.Errorf("signing %v (%w)", s.Algorithms, err)
			}
			l.signing = crypt.SigningAlg(s.Algorithms[0])
		}
	}
	return nil
}

// authenticate runs SESSION_SETUP and returns the last answer.
func (l *logon) authenticate(ntlm *ntlmtest.Client) (*Frame, error) {
	f, err := l.turn(wire.CmdSessionSetup, &wire.SessionSetupRequest{SecurityMode: mode, SecurityBuffer: ntlm.Negotiate()})
	if err != nil {
		return nil, err
	}
	if f.Status != nt.MoreProcessingRequired {
		return nil, f.Status
	}
	var challenge wire.SessionSetupResponse
	if err := challenge.Decode(f.Msg); err != nil {
		return nil, err
	}
	l.preauth.Update(f.Msg)
	l.session = f.SessionID
	token, err := ntlm.Authenticate(challenge.SecurityBuffer)
	if err != nil {
		return nil, err
	}
	f, err = l.turn(wire.CmdSessionSetup, &wire.SessionSetupRequest{SecurityMode: mode, SecurityBuffer: token})
	if err == nil && f.Status != nt.Success {
		err = f.Status
	}
	return f, err
}

// keys makes the session's, and sees whether the last answer is signed with them.
func (l *logon) keys(session []byte, last *Frame) (err error) {
	k := crypt.Derive(wire.Dialect311, session, l.preauth[:], crypt.AES128GCM)
	if l.signer, err = crypt.NewSigner(l.signing, k.Signing); err != nil {
		return err
	}
	if !l.signer.Verify(last.Msg) {
		return errors.New("the answer is not signed with the session's key")
	}
	if l.sealer, err = crypt.NewSealer(crypt.AES128GCM, k.Decryption); err != nil {
		return err
	}
	l.opener, err = crypt.NewSealer(crypt.AES128GCM, k.Encryption)
	return err
}
