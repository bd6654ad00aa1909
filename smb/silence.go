package smb

import "time"

// A break goes to a client that may be gone: its cable is out, and no connection has ended. TCP tells nobody for minutes, and
// [MS-SMB2] 3.3.4.6 and 3.3.4.7 have the break sent by another channel when one fails. So while an acknowledgment is
// awaited, and only then, the server looks whether the client's machine still answers at all.
const (
	// listenEvery is the distance of the looks. In a local network the kernel has sent the notice four times by then; a
	// client loses a channel, which it can make anew, and hears of the break by another one.
	listenEvery = 1500 * time.Millisecond
	// silentWithin is how long a client that has no other way is given, with someone waiting for it. Windows gives up
	// connections sooner. It is less than ackWithin: a client that comes back learns that it has lost what it had open,
	// rather than go on with what it caches.
	silentWithin = 30 * time.Second
)

// A silence is what is known of a connection while a break that it carried is not acknowledged.
type silence struct {
	heard uint64 // packets from the client's machine up to the last look that found some
	since time.Time
}

// listen looks after the connection that a notice goes by until the break is settled or goes by another one.
func (s *Server) listen(ob *object, id uint64, c *conn) {
	if c.info.Heard == nil {
		return
	}
	packets, _ := c.info.Heard()
	quiet := silence{packets, time.Now()}
	var look *time.Timer
	ob.mu.Lock()
	defer ob.mu.Unlock()
	a := ob.awaited[id]
	if a == nil || a.by != c {
		return
	}
	look = time.AfterFunc(listenEvery, func() {
		ob.mu.Lock()
		settled := ob.awaited[id] != a || a.look != look
		ob.mu.Unlock()
		if settled {
			return
		}
		packets, owes := c.info.Heard()
		if packets != quiet.heard || !owes {
			quiet = silence{packets, time.Now()}
		}
		if lasts := time.Since(quiet.since); lasts >= silentWithin || lasts >= listenEvery && c.spare() {
			c.stop(drop("nothing came from the client for %v, not even the receipt of a break", lasts.Round(100*time.Millisecond)))
			return
		}
		look.Reset(listenEvery)
	})
	a.listenBy(look)
}

// listenBy has one timer at a time look. nil: none. Guarded by the object's mu.
func (a *awaited) listenBy(look *time.Timer) {
	if a.look != nil {
		a.look.Stop()
	}
	a.look = look
}

// spare says whether all sessions of the connection have other channels.
func (c *conn) spare() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, ch := range c.channels {
		if _, others := ch.session.uses(c); !others {
			return false
		}
	}
	return true
}
