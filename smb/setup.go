package smb

import (
	"errors"
	"fmt"
	"time"

	"github.com/postern-nas/postern/smb/auth"
	"github.com/postern-nas/postern/smb/crypt"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/wire"
)

// A setup is one leg of SESSION_SETUP, [MS-SMB2] 3.3.5.5. It runs on the connection's reader.
type setup struct {
	*request
	req   wire.SessionSetupRequest
	s     *session
	reply []byte
	id    *auth.Identity // set by the last leg
}

func (r *request) sessionSetup() (response, error) {
	s := &setup{request: r}
	for _, step := range []func() error{s.decode, s.find, s.exchange, s.establish} {
		if err := step(); err != nil {
			if s.reply != nil && errors.Is(err, nt.MoreProcessingRequired) {
				return &wire.SessionSetupResponse{SecurityBuffer: s.reply}, err
			}
			return nil, err
		}
	}
	resp := &wire.SessionSetupResponse{SecurityBuffer: s.reply}
	if s.s.encrypt.Load() {
		resp.SessionFlags = wire.SessionFlagEncryptData
	}
	return resp, nil
}

// decode refuses what is not offered: joining a session of another connection (multichannel), [MS-SMB2] 3.3.5.5.
func (s *setup) decode() error {
	if err := s.req.Decode(s.msg); err != nil {
		return malformed(err)
	}
	if s.req.Flags&wire.SessionBinding != 0 {
		return because(nt.RequestNotAccepted, "session binding is not offered")
	}
	c := s.conn
	if c.srv.cfg.RequireEncryption && !c.sealedEnough() && c.cipher == 0 {
		return because(nt.AccessDenied, "encryption is required and the client offers none")
	}
	return nil
}

// sealedEnough reports whether the transport's encryption stands in for SMB's own, [MS-SMB2] 3.3.5.5.3.
func (c *conn) sealedEnough() bool { return c.info.Secure && c.transportOK }

// find makes a session, or goes on with one: a further leg, or a reauthentication.
func (s *setup) find() error {
	c := s.conn
	if s.hdr.SessionID == 0 {
		fresh, err := c.newSession()
		if err != nil {
			return err
		}
		s.s, s.session, s.hdr.SessionID = fresh, fresh, fresh.id
	} else if s.s = s.session; s.s == nil {
		return because(nt.UserSessionDeleted, "no session %#x", s.hdr.SessionID)
	}
	if s.s.acceptor == nil {
		s.s.acceptor = auth.NewAcceptor(c.srv.cfg.Mechanisms, auth.Channel{
			RemoteAddr: c.nc.RemoteAddr().String(), Bindings: c.info.Bindings,
		})
	}
	if s.s.keys.Load() == nil {
		s.s.preauth.Update(s.msg) // the hash covers every leg but the last reply
	}
	return nil
}

// exchange hands the client's token to the mechanism.
func (s *setup) exchange() (err error) {
	s.reply, s.id, err = s.s.acceptor.Accept(s.ctx, s.req.SecurityBuffer)
	if err != nil {
		s.reply = nil
		s.s.acceptor = nil
		s.s.end()
		// A refused reauthentication ends the session, and is still signed with its key if the request was: otherwise
		// the client could not tell it from what anyone could send.
		s.conn.srv.stats.logonsFailed.Add(1)
		s.conn.log.Warn("logon refused", "session", sessionTag(s.s.id), "why", err)
		s.wait(s.conn.srv.cfg.FailedLogonDelay)
		var known nt.Status
		if !errors.As(err, &known) {
			return fmt.Errorf("%w: %w", nt.LogonFailure, err)
		}
		return err
	}
	if s.id == nil {
		if s.s.keys.Load() == nil {
			s.preauth = s.s.preauth.Update
		}
		if s.reply == nil {
			s.reply = []byte{}
		}
		return nt.MoreProcessingRequired
	}
	s.s.acceptor = nil
	return nil
}

// wait lets time pass, unless the connection ends.
func (s *setup) wait(d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-s.ctx.Done():
	}
}

// establish makes the session valid, [MS-SMB2] 3.3.5.5.3.
func (s *setup) establish() error {
	c, ses := s.conn, s.s
	if old := ses.identity.Load(); old != nil { // reauthentication: who is behind it may not change, nor do the keys
		if old.SID != s.id.SID {
			ses.end()
			return because(nt.AccessDenied, "session of %s reauthenticated as %s", old.User, s.id.User)
		}
		ses.identity.Store(s.id)
		s.signNow = s.frame.sealed == nil
		c.log.Info("reauthenticated", "session", sessionTag(ses.id), "user", s.id.User)
		return nil
	}
	keys, err := c.deriveKeys(s.id.SessionKey, ses.preauth)
	if err != nil {
		ses.end()
		return err
	}
	cfg := &c.srv.cfg
	ses.signingRequired.Store((c.securityMode()|uint16(s.req.SecurityMode))&wire.SigningRequired != 0)
	ses.encrypt.Store(cfg.RequireEncryption && !c.sealedEnough())
	ses.identity.Store(s.id)
	ses.keys.Store(keys)
	s.signNow = true
	c.known.Store(true)
	c.srv.mu.Lock()
	c.srv.sessions[ses.id] = ses
	previous := c.srv.sessions[s.req.PreviousSessionID]
	c.srv.mu.Unlock()
	// Only its own user may replace a session, and only now that this is proved ([MS-SMB2] 3.3.5.5.3, SEC-23).
	if previous != nil && previous != ses {
		if id := previous.identity.Load(); id != nil && id.SID == s.id.SID {
			previous.lose()
			c.log.Info("session replaced", "session", sessionTag(previous.id), "by", sessionTag(ses.id))
		}
	}
	c.srv.stats.logons.Add(1)
	c.log.Info("logon", "session", sessionTag(ses.id), "user", s.id.User, "domain", s.id.Domain,
		"workstation", s.id.Workstation, "dialect", fmt.Sprintf("%#04x", c.dialect.Load()), "signing", c.signing.String(),
		"encrypt", ses.encrypt.Load())
	return nil
}

// deriveKeys makes a session's keys as the dialect has it, [MS-SMB2] 3.1.4.2.
func (c *conn) deriveKeys(sessionKey []byte, preauth crypt.Preauth) (*sessionKeys, error) {
	dialect := uint16(c.dialect.Load())
	k := crypt.Derive(dialect, sessionKey, preauth[:], c.cipher)
	signer, err := crypt.NewSigner(c.signing, k.Signing)
	if err != nil {
		return nil, err
	}
	keys := &sessionKeys{signer: signer}
	if c.cipher == 0 {
		return keys, nil
	}
	if keys.open, err = crypt.NewSealer(c.cipher, k.Decryption); err != nil {
		return nil, err
	}
	if keys.seal, err = crypt.NewSealer(c.cipher, k.Encryption); err != nil {
		return nil, err
	}
	return keys, nil
}

// sessionTag names a session in logs without giving away its id, half of what a sealed message needs.
func sessionTag(id uint64) string { return fmt.Sprintf("%08x", uint32(id)^uint32(id>>32)) }
