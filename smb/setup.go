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
	ch    *channel // the session's over this connection, or to become that
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
		resp.SessionFlags |= wire.SessionFlagEncryptData
	}
	if s.id.Anonymous() {
		resp.SessionFlags |= wire.SessionFlagNull
	}
	return resp, nil
}

// decode refuses who cannot encrypt where everyone must, [MS-SMB2] 3.3.5.5 steps 1 and 2.
func (s *setup) decode() error {
	if err := s.req.Decode(s.msg); err != nil {
		return malformed(err)
	}
	c := s.conn
	if c.srv.cfg.RequireEncryption && !c.sealedEnough() && c.cipher == 0 {
		return because(nt.AccessDenied, "encryption is required and the client offers none")
	}
	return nil
}

// sealedEnough reports whether the transport's encryption stands in for SMB's own, [MS-SMB2] 3.3.5.5.3.
func (c *conn) sealedEnough() bool { return c.info.Secure && c.transportOK }

// find makes a session, or goes on with one: a further leg, a reauthentication, or another connection's to bind to.
func (s *setup) find() error {
	c := s.conn
	switch {
	case s.req.Flags&wire.SessionBinding != 0:
		if err := s.findBinding(); err != nil {
			return err
		}
	case s.hdr.SessionID == 0:
		fresh, err := c.newSession()
		if err != nil {
			return err
		}
		s.channel, s.session, s.hdr.SessionID = fresh, fresh.session, fresh.session.id
		s.ch, s.s = fresh, fresh.session
	case s.session == nil:
		return because(nt.UserSessionDeleted, "no session %#x", s.hdr.SessionID)
	default:
		s.ch, s.s = s.channel, s.session
	}
	if s.ch.acceptor == nil {
		s.ch.acceptor = auth.NewAcceptor(c.srv.cfg.Mechanisms, auth.Channel{
			RemoteAddr: c.nc.RemoteAddr().String(), Bindings: c.info.Bindings, Peer: c.info.Peer,
		})
	}
	if s.ch.signer.Load() == nil {
		s.ch.preauth.Update(s.msg) // the hash covers every leg but the last reply
	}
	return nil
}

// exchange hands the client's token to the mechanism.
func (s *setup) exchange() (err error) {
	s.reply, s.id, err = s.ch.acceptor.Accept(s.ctx, s.req.SecurityBuffer)
	if err != nil {
		s.reply = nil
		s.ch.acceptor = nil
		s.giveUp()
		// A refused reauthentication ends the session, and is still signed with its key if the request was: otherwise
		// the client could not tell it from what anyone could send.
		s.conn.srv.stats.logonsFailed.Add(1)
		s.conn.log.Warn("logon refused", "session", sessionTag(s.s.id), "why", err)
		s.conn.audit(LogonRefused, nil, "", err)
		s.wait(s.conn.srv.cfg.FailedLogonDelay)
		var known nt.Status
		if !errors.As(err, &known) {
			return fmt.Errorf("%w: %w", nt.LogonFailure, err)
		}
		return err
	}
	if s.id == nil {
		if s.ch.signer.Load() == nil {
			s.preauth = s.ch.preauth.Update
		}
		if s.reply == nil {
			s.reply = []byte{}
		}
		return nt.MoreProcessingRequired
	}
	s.ch.acceptor = nil
	return nil
}

// giveUp ends the session that cannot be proved to be anyone's. One that was only to be bound is another connection's,
// and whole.
func (s *setup) giveUp() {
	if s.req.Flags&wire.SessionBinding != 0 {
		delete(s.conn.binding, s.s.id)
		return
	}
	s.s.end()
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
	if s.id.Anonymous() && !c.info.Anonymous {
		s.giveUp()
		return because(nt.AccessDenied, "anonymous logons are not offered here")
	}
	switch {
	case s.req.Flags&wire.SessionBinding != 0:
		return s.bind()
	case ses.keys.Load() != nil:
		return s.reauthenticate()
	}
	keys, err := c.deriveKeys(s.id.SessionKey, s.ch.preauth)
	if err != nil {
		ses.end()
		return err
	}
	cfg := &c.srv.cfg
	ses.encrypt.Store(cfg.RequireEncryption && !c.sealedEnough())
	ses.owner = s.id
	ses.identity.Store(s.id)
	s.ch.signer.Store(keys.signer)
	ses.keys.Store(keys)
	if !s.id.Anonymous() { // whose key protects nothing: such a session signs when its client does, and is not told that it can
		ses.signingRequired.Store((c.securityMode()|uint16(s.req.SecurityMode))&wire.SigningRequired != 0)
		s.signWith = keys.signer
		c.known.Store(true)
	}
	c.srv.mu.Lock()
	over := ses.over() // who has the keys may log off before we say that it may
	if !over {
		c.srv.sessions[ses.id] = ses
	}
	previous := c.srv.sessions[s.req.PreviousSessionID]
	c.srv.mu.Unlock()
	if over {
		return because(nt.UserSessionDeleted, "the session ended meanwhile")
	}
	// Only its own user may replace a session, and only now that this is proved ([MS-SMB2] 3.3.5.5.3, SEC-23).
	if previous != nil && previous != ses && !s.id.Anonymous() {
		if previous.owner.SID == s.id.SID {
			previous.lose()
			c.log.Info("session replaced", "session", sessionTag(previous.id), "by", sessionTag(ses.id))
		}
	}
	c.srv.stats.logons.Add(1)
	c.audit(LoggedOn, s.id, "", nil)
	c.log.Info("logon", "session", sessionTag(ses.id), "user", s.id.User, "domain", s.id.Domain,
		"workstation", s.id.Workstation, "dialect", fmt.Sprintf("%#04x", c.dialect.Load()), "signing", c.signing.String(),
		"encrypt", ses.encrypt.Load())
	return nil
}

// reauthenticate refreshes who is behind a valid session, [MS-SMB2] 3.3.5.5.2. That may not change, but for becoming
// nobody for a while, and the keys do not. Handles keep the access that they were granted; what is opened from now on is
// judged by the new identity, and not at all through a share in which it has other rights (SEC-24).
func (s *setup) reauthenticate() error {
	ses := s.s
	switch {
	case s.id.Anonymous() && !ses.owner.Anonymous():
		s.id.Expires = ses.identity.Load().Expires // nobody renews what somebody proved
	case s.id.SID != ses.owner.SID:
		ses.end()
		return because(nt.AccessDenied, "session of %s reauthenticated as %s", ses.owner.User, s.id.User)
	}
	ses.identity.Store(s.id)
	ses.judgeTrees(s.id)
	if s.frame.sealed == nil {
		s.signWith = s.ch.signer.Load()
	}
	s.conn.log.Info("reauthenticated", "session", sessionTag(ses.id), "user", s.id.User)
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

// sessionTag names a session in logs.
func sessionTag(id uint64) string { return fmt.Sprintf("%08x", id) }
