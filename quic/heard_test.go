package quic_test

import (
	"testing"
	"time"

	"github.com/postern-nas/postern/quic/quictest"
)

// What a client is sent it acknowledges, and that counts; of one that has vanished nothing does.
func TestConnHeard(t *testing.T) {
	noLeaks(t)
	server, client := quictest.Pair(t)
	settled := func() uint64 { // until nothing more comes
		for {
			n, _ := server.Heard()
			time.Sleep(200 * time.Millisecond)
			if again, _ := server.Heard(); again == n {
				return n
			}
		}
	}
	before := settled()
	if _, err := server.Write([]byte("break")); err != nil {
		t.Fatal(err)
	}
	if after := settled(); after == before {
		t.Errorf("%d packets before, %d after one was acknowledged", before, after)
	}
	client.Vanish()
	before = settled()
	if _, err := server.Write([]byte("break")); err != nil {
		t.Fatal(err)
	}
	time.Sleep(500 * time.Millisecond)
	if after, owes := server.Heard(); after != before || !owes {
		t.Errorf("%d packets before, %d after; owes one: %v", before, after, owes)
	}
}
