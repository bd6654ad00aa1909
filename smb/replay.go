package smb

import (
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/wire"
)

// A channelState keeps requests in order that a client sends again because a channel of its failed: each failure counts
// the client's sequence number up, and what was sent before it must not be done after what came later. [MS-SMB2] 3.3.1.10
// Open.ChannelSequence, OutstandingRequestCount and OutstandingPreRequestCount. The open's mu guards it.
type channelState struct {
	seq    uint16
	epoch  uint64 // of seq, plus 1: the number itself comes around
	now    int    // requests of this number being worked on
	before int    // and of those before it
}

// next begins a number.
func (s *channelState) next(seq uint16) {
	s.before, s.now = s.before+s.now, 0
	s.seq, s.epoch = seq, s.epoch+1
}

// inSequence judges a request that names an open, [MS-SMB2] 3.3.5.2.10, and counts it.
func (r *request) inSequence(o *open) error {
	if uint16(r.conn.dialect.Load()) < wire.Dialect300 {
		return nil
	}
	var changes bool
	switch r.hdr.Command {
	case wire.CmdWrite, wire.CmdIoctl, wire.CmdSetInfo:
		changes = true
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	s, seq := &o.channel, r.hdr.ChannelSequence()
	switch ahead := seq - s.seq; {
	case ahead > 0x7FFF && changes:
		return because(nt.FileNotAvailable, "channel sequence %d, the open's is %d", seq, s.seq)
	case ahead > 0x7FFF:
		return nil // older, and does no harm
	case ahead > 0:
		s.next(seq)
	}
	if changes && r.hdr.Flags&wire.FlagReplay != 0 && s.before > 0 {
		return because(nt.FileNotAvailable, "replay while %d requests of before are being worked on", s.before)
	}
	s.now++
	r.counted = s.epoch + 1
	return nil
}

// outOfSequence takes the request out of the count again.
func (r *request) outOfSequence() {
	if r.counted == 0 {
		return
	}
	o := r.open
	o.mu.Lock()
	defer o.mu.Unlock()
	if s := &o.channel; r.counted == s.epoch+1 {
		s.now--
	} else {
		s.before--
	}
	r.counted = 0
}
