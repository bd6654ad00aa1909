package smb_test

import (
	"context"
	"errors"
	"net"
	"os"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/smbtest"
	"github.com/postern-nas/postern/smb/wire"
)

// swallow reads what comes and says when, counted from start, the connection ended.
func swallow(p *smbtest.Peer, start time.Time) <-chan time.Duration {
	ended := make(chan time.Duration, 1)
	go func() {
		for {
			// A deadline is smbtest's own patience.
			if _, err := p.Recv(); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
				ended <- time.Since(start)
				return
			}
		}
	}()
	return ended
}

// Whoever waits for a break waits the shorter the less there is of its holder.
func TestSilence(t *testing.T) {
	for name, c := range map[string]struct {
		heard func() (uint64, bool) // of the holder's first channel
		spare bool                  // the holder has a second channel, and answers there
		waits time.Duration
		ended time.Duration // of the holder's first channel; 0: it stays
		level uint8         // that who waited has then
	}{
		"its machine answers, it does not": {func() (uint64, bool) { return 7, false }, false, 35 * time.Second, 0, wire.OplockLevel2},
		"nobody knows":                     {nil, false, 35 * time.Second, 0, wire.OplockLevel2},
		"nothing comes":                    {func() (uint64, bool) { return 7, true }, false, 30 * time.Second, 30 * time.Second, wire.OplockBatch},
		"slow, but there":                  {counter(), false, 35 * time.Second, 0, wire.OplockLevel2},
		"nothing comes by one of two":      {func() (uint64, bool) { return 7, true }, true, 1500 * time.Millisecond, 1500 * time.Millisecond, wire.OplockLevel2},
		"slow, but there, one of two":      {counter(), true, 35 * time.Second, 0, wire.OplockLevel2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHouse(t, nil)
				h.info.Heard = c.heard
				holder := h.pipe("alice")
				h.info.Heard = nil
				id := create(t, holder, asking("f", wire.OplockBatch)).FileID
				start := time.Now()
				ended := swallow(holder, start)
				if c.spare {
					second := h.pipeBound(holder)
					go func() {
						for {
							if m, err := second.Recv(); err == nil && m.Command == wire.CmdOplockBreak {
								ackOplock(second, id, wire.OplockLevel2)
								return
							} else if err != nil && t.Context().Err() != nil {
								return
							}
						}
					}()
				}
				waiter := h.pipe("bob")
				send(waiter, wire.CmdCreate, asking("f", wire.OplockBatch))
				var m smbtest.Message
				for {
					var err error
					if m, err = waiter.Recv(); err == nil && m.Status != nt.Pending {
						break
					}
				}
				resp := &wire.CreateResponse{}
				if m.Status != nt.Success || resp.Decode(m.Raw) != nil || resp.OplockLevel != c.level {
					t.Errorf("%v, oplock %#x, want %#x", m.Status, resp.OplockLevel, c.level)
				}
				if d := time.Since(start); d < c.waits || d > c.waits+100*time.Millisecond {
					t.Errorf("waited %v, want %v", d, c.waits)
				}
				synctest.Wait()
				select {
				case d := <-ended:
					if c.ended == 0 || d < c.ended || d > c.ended+100*time.Millisecond {
						t.Errorf("the holder's connection ended after %v, want %v", d, c.ended)
					}
				default:
					if c.ended != 0 {
						t.Error("the holder's connection is still there")
					}
				}
			})
		})
	}
}

// counter is of a client from which something comes all the time.
func counter() func() (uint64, bool) {
	var n atomic.Uint64
	return func() (uint64, bool) { return n.Add(1), true }
}

// pipeBound is bound over a pipe, for tests whose time is not the clock's.
func (h *house) pipeBound(first *smbtest.Peer) *smbtest.Peer {
	h.t.Helper()
	client, server := net.Pipe()
	go h.server.ServeConn(context.Background(), server, h.info)
	h.t.Cleanup(func() { client.Close() })
	p := smbtest.New(h.t, client)
	p.Signing, p.Cipher, p.Client, p.Capabilities = first.Signing, first.Cipher, first.Client, first.Capabilities
	p.Negotiate(first.Dialect)
	if s := p.Bind(first, "alice", "secret"); s != nt.Success {
		h.t.Fatalf("binding: %v", s)
	}
	return p
}
