package main

import (
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// maxQueue bounds the packets that are under way in one direction: 24 MB of full ones, which at 25 ms is 7 Gbit/s.
const maxQueue = 1 << 14

// An impairment forwards IP packets between two ends, each direction by itself: after a delay, and without those that
// chance takes. The same seed takes the same ones, by their number.
type impairment struct{ lines [2]*line }

func newImpairment(delay time.Duration, loss float64, seed uint64) *impairment {
	m := &impairment{}
	for i := range m.lines {
		m.lines[i] = &line{
			delay: delay, loss: loss, random: rand.New(rand.NewPCG(seed, uint64(i))), queue: make(chan packet, maxQueue),
		}
		m.lines[i].free.New = func() any { return new([maxPacket]byte) }
	}
	return m
}

// start forwards until an end is closed.
func (m *impairment) start(a, b io.ReadWriter) {
	m.lines[0].start(a, b)
	m.lines[1].start(b, a)
}

func (m *impairment) String() string {
	var carried, lost, full int64
	for _, l := range m.lines {
		carried, lost, full = carried+l.carried.Load(), lost+l.lost.Load(), full+l.full.Load()
	}
	return fmt.Sprintf("%d packets carried, %d lost on purpose, %d because %d were under way", carried, lost, full, maxQueue)
}

const maxPacket = 1500

// A line is one direction.
type line struct {
	delay  time.Duration
	loss   float64
	random *rand.Rand
	queue  chan packet
	free   sync.Pool // of *[maxPacket]byte

	carried, lost, full atomic.Int64
}

type packet struct {
	due time.Time
	b   *[maxPacket]byte
	n   int
}

func (l *line) start(from io.Reader, to io.Writer) {
	go l.read(from)
	go l.write(to)
}

// read takes packets until there are no more.
func (l *line) read(from io.Reader) {
	defer close(l.queue)
	for {
		b := l.free.Get().(*[maxPacket]byte)
		n, err := from.Read(b[:])
		if err != nil {
			return
		}
		switch {
		case n == 0 || b[0]>>4 != 4: // what IPv6 says to itself must not change who is lost
		case l.random.Float64() < l.loss:
			l.lost.Add(1)
		default:
			select {
			case l.queue <- packet{time.Now().Add(l.delay), b, n}:
				continue
			default:
				l.full.Add(1)
			}
		}
		l.free.Put(b)
	}
}

// write gives each away when it is due.
func (l *line) write(to io.Writer) {
	for p := range l.queue {
		time.Sleep(time.Until(p.due))
		if _, err := to.Write(p.b[:p.n]); err == nil { // an end that is closed takes no more, and is not waited for
			l.carried.Add(1)
		}
		l.free.Put(p.b)
	}
}
