package smb

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// bare is a connection that serves nobody yet.
func bare(t *testing.T) (c *conn, peer net.Conn) {
	t.Helper()
	peer, nc := net.Pipe()
	t.Cleanup(func() { peer.Close(); nc.Close() })
	s := &Server{pool: newPool(1 << 20), log: slog.New(slog.DiscardHandler)}
	c = newConn(context.Background(), s, nc, ConnInfo{})
	t.Cleanup(func() { c.cancel(nil) })
	return c, peer
}

// TestFramesInOrder: what several goroutines send at a time, small frames and large ones, arrives whole, and of each
// goroutine in the order in which it was sent.
func TestFramesInOrder(t *testing.T) {
	const senders, frames = 8, 300
	c, peer := bare(t)
	for range senders {
		c.slots <- struct{}{} // as if all were being worked on
	}
	var wg sync.WaitGroup
	for id := range senders {
		wg.Go(func() {
			for i := range frames {
				n := 16
				if (id+i)%7 == 0 {
					n = smallFrame + i
				}
				b := c.srv.pool.get(headroom + n)
				binary.LittleEndian.PutUint32(b.b[headroom:], uint32(id))
				binary.LittleEndian.PutUint32(b.b[headroom+4:], uint32(i))
				if err := c.writeFrame(b, false); err != nil {
					t.Error(err)
				}
			}
		})
	}
	var next [senders]uint32
	var head [prefixSize]byte
	for range senders * frames {
		if _, err := io.ReadFull(peer, head[:]); err != nil {
			t.Fatal(err)
		}
		msg := make([]byte, binary.BigEndian.Uint32(head[:]))
		if _, err := io.ReadFull(peer, msg); err != nil {
			t.Fatal(err)
		}
		id, i := binary.LittleEndian.Uint32(msg), binary.LittleEndian.Uint32(msg[4:])
		if id >= senders || i != next[id] {
			t.Fatalf("frame %d of %d, want %d", i, id, next[min(id, senders-1)])
		}
		next[id]++
	}
	wg.Wait()
	if c.left != nil {
		t.Error("something is left")
	}
}

// TestLeftIsBounded: who finds no room where small frames are left waits for the transport itself.
func TestLeftIsBounded(t *testing.T) {
	c, _ := bare(t)
	if left, _ := c.leave(make([]byte, smallFrame+1)); left {
		t.Error("a large frame is left")
	}
	const n = 1000
	for i := range leftMost / n {
		if left, first := c.leave(make([]byte, n)); !left || first != (i == 0) {
			t.Fatalf("frame %d: left %t, first %t", i, left, first)
		}
	}
	if left, first := c.leave(make([]byte, n)); left || first || len(c.left.b) != leftMost/n*n {
		t.Errorf("%d bytes are left, and another %t", len(c.left.b), left)
	}
}

// TestWriteDeadline: a peer that takes nothing for chunkWithin is given up, however recently it took something.
func TestWriteDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, peer := bare(t)
		for i := range 50 {
			go io.ReadFull(peer, make([]byte, prefixSize+100))
			if err := c.writeFrame(c.srv.pool.get(headroom+100), false); err != nil {
				t.Fatalf("frame %d: %v", i, err)
			}
			time.Sleep(time.Duration(i) * 100 * time.Millisecond)
		}
		start := time.Now()
		err := c.writeFrame(c.srv.pool.get(headroom+100), false)
		var late net.Error
		if took := time.Since(start); !errors.As(err, &late) || !late.Timeout() || took < chunkWithin || took > chunkWithin*34/32 {
			t.Errorf("given up after %v: %v", took, err)
		}
	})
}

// TestLifetime: a request's context ends by CANCEL and with its connection, whether its end is waited for or not.
func TestLifetime(t *testing.T) {
	type key struct{}
	for _, waited := range []bool{false, true} {
		for _, by := range []string{"request", "connection"} {
			conn, over := context.WithCancel(context.WithValue(t.Context(), key{}, "value"))
			l := &lifetime{parent: conn}
			var done <-chan struct{}
			var child context.Context
			if waited {
				done = l.Done()
				var stop context.CancelFunc
				child, stop = context.WithTimeout(l, time.Hour)
				defer stop()
			}
			if l.Err() != nil || l.waitedFor() != waited || l.Value(key{}) != "value" {
				t.Errorf("new: %v, waited for %t, %v", l.Err(), l.waitedFor(), l.Value(key{}))
			}
			if by == "request" {
				l.cancel()
				l.cancel()
			} else {
				over()
			}
			if l.Err() != context.Canceled {
				t.Errorf("ended by the %s: %v", by, l.Err())
			}
			if waited {
				<-done
				<-child.Done()
			}
			<-l.Done()
			over()
		}
	}
}
