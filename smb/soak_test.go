package smb_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/smbtest"
	"github.com/postern-nas/postern/smb/wire"
)

// TestSoakCaches: eight clients that keep what they write to themselves for as long as leases and oplocks let them, on
// eight files. What was written, wherever it is kept, is what the next client reads that opens the file. Five minutes
// with -soak, and -race is how it is meant to run.
func TestSoakCaches(t *testing.T) {
	span := 2 * time.Second
	if *soak {
		span = 5 * time.Minute
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	h := newHouse(t, nil)
	files := make([]*common, 8)
	setup := h.logon("alice", "disk")
	for i := range files {
		files[i] = &common{name: fmt.Sprintf("shared-%d", i)}
		id := setup.Open(files[i].name, all, wire.FileCreate, 0)
		write(t, setup, id, 0, make([]byte, 8))
		setup.Close(id)
	}
	var count tally
	var wg sync.WaitGroup
	end := time.Now().Add(span)
	for i := range 8 {
		c := &cacher{
			Peer: h.logon([]string{"alice", "bob"}[i%2], "disk"), id: byte(i), rng: rand.New(rand.NewPCG(seed, uint64(i))), count: &count,
			held: make(map[*common]*handle), stash: make(map[uint64]smbtest.Message), early: make(map[any]bool),
		}
		wg.Go(func() {
			if err := c.run(files, end); err != nil {
				t.Errorf("client %d: %v", c.id, err)
			}
		})
	}
	wg.Wait()
	t.Logf("%d opens, %d reads, %d writes of which %d were kept back, %d breaks answered", count.opens.Load(), count.reads.Load(),
		count.writes.Load(), count.kept.Load(), count.breaks.Load())
	if !count.telling() {
		t.Error("nothing was kept back, or nothing broken: the test shows nothing")
	}
	for _, f := range files {
		id := setup.Open(f.name, all, wire.FileOpen, 0)
		if got := binary.LittleEndian.Uint64(read(t, setup, id, 0, 8)); got != f.written.Load() {
			t.Errorf("%s holds version %d, the last one written is %d", f.name, got, f.written.Load())
		}
		setup.Close(id)
	}
}

type tally struct{ opens, reads, writes, kept, breaks atomic.Int64 }

// telling reports whether something was kept back, and something broken.
func (c *tally) telling() bool { return c.kept.Load() > 0 && c.breaks.Load() > 0 }

// A common file holds the number of its version.
type common struct {
	name    string
	writing sync.Mutex // who writes; it is never waited for, since its holder may wait for an answer of ours
	written atomic.Uint64
}

// A handle is a client's open of a file, and what it may keep to itself.
type handle struct {
	id    wire.FileID
	key   byte // of its lease; 0: an oplock
	write bool // writes may be kept back
	dirty bool // version is not on the server yet
	value uint64

	putting uint64 // the message that writes it, while it is not answered
}

// A cacher is a client.
type cacher struct {
	*smbtest.Peer
	id    byte
	rng   *rand.Rand
	count *tally
	held  map[*common]*handle
	stash map[uint64]smbtest.Message // answers that came while another was waited for
	early map[any]bool               // lease keys and file ids whose break came while their CREATE was in the stash
}

func (c *cacher) run(files []*common, end time.Time) error {
	// On a machine that is slow now it goes on until it has shown something.
	for time.Now().Before(end) || !c.count.telling() && time.Now().Before(end.Add(30*time.Second)) {
		f := files[c.rng.IntN(len(files))]
		if c.held[f] == nil {
			if err := c.open(f); err != nil {
				return err
			}
		}
		for range c.rng.IntN(8) {
			if err := c.use(f, c.held[f]); err != nil {
				return err
			}
		}
		if c.rng.IntN(8) > 0 { // else it stays open, and its lease is broken meanwhile
			if err := c.close(f); err != nil {
				return err
			}
		}
	}
	for f := range c.held {
		if err := c.close(f); err != nil {
			return err
		}
	}
	return nil
}

func (c *cacher) use(f *common, h *handle) (err error) {
	switch c.rng.IntN(5) {
	case 0, 1:
		return c.write(f, h)
	case 2, 3:
		return c.read(f, h)
	}
	// Nothing of its own: what comes is answered.
	_, err = c.call(wire.CmdEcho, &wire.EchoRequest{})
	return err
}

// call sends a request and waits for its answer. Breaks that come meanwhile are answered first.
func (c *cacher) call(cmd wire.Command, body smbtest.Body) (smbtest.Message, error) {
	hdr := c.Request(cmd, 0)
	c.Send(smbtest.Element{Header: hdr, Body: body})
	m, err := c.await(hdr.MessageID)
	delete(c.stash, hdr.MessageID)
	return m, err
}

// await waits for an answer, and leaves it in the stash.
func (c *cacher) await(id uint64) (smbtest.Message, error) {
	for {
		if m, ok := c.stash[id]; ok {
			return m, nil
		}
		m, err := c.Recv()
		switch {
		case err != nil:
			return m, err
		case m.Command == wire.CmdOplockBreak && m.MessageID == wire.BreakMessageID:
			if err := c.broken(m); err != nil {
				return m, err
			}
		case m.Status != nt.Pending:
			c.stash[m.MessageID] = m
		}
	}
}

// broken writes back what was kept and acknowledges.
func (c *cacher) broken(m smbtest.Message) error {
	c.count.breaks.Add(1)
	var lease wire.LeaseBreakNotification
	var oplock wire.OplockBreak
	var ack smbtest.Body
	var match func(*handle) bool
	var of any
	may, found := false, false
	if wire.IsLeaseBreak(m.Raw) {
		if err := lease.Decode(m.Raw); err != nil {
			return err
		}
		of = lease.Key
		match = func(h *handle) bool { return h.key != 0 && [16]byte{h.key} == lease.Key }
		may = lease.NewState&wire.LeaseWrite != 0
		if lease.Flags&wire.LeaseAckRequired != 0 {
			ack = &wire.LeaseBreakAck{Key: lease.Key, State: lease.NewState}
		}
	} else {
		if err := oplock.Decode(m.Raw); err != nil {
			return err
		}
		of = oplock.FileID
		match = func(h *handle) bool { return h.key == 0 && h.id == oplock.FileID }
		ack = &wire.OplockBreak{FileID: oplock.FileID, OplockLevel: oplock.OplockLevel}
	}
	for _, h := range c.held {
		if !match(h) {
			continue
		}
		found = true
		if !h.write && ack != nil && !wire.IsLeaseBreak(m.Raw) {
			ack = nil // level II goes without an answer
		}
		h.write = h.write && may
		if h.putting != 0 { // what is on its way is there before the acknowledgment is
			if _, err := c.await(h.putting); err != nil {
				return err
			}
		}
		if err := c.flush(h); err != nil {
			return err
		}
	}
	c.early[of] = !found
	if ack == nil {
		return nil
	}
	switch m, err := c.call(wire.CmdOplockBreak, ack); {
	case err != nil:
		return err
	case m.Status != nt.Success && m.Status != nt.FileClosed && m.Status != nt.ObjectNameNotFound && m.Status != nt.Unsuccessful && m.Status != nt.InvalidOplockProtocol && m.Status != nt.InvalidDeviceState:
		return fmt.Errorf("acknowledgment: %w", m.Status)
	}
	return nil
}

// flush writes back what was kept.
func (c *cacher) flush(h *handle) error {
	if !h.dirty {
		return nil
	}
	h.dirty = false
	return c.put(h)
}

func (c *cacher) put(h *handle) error {
	h.putting = c.MessageID
	m, err := c.call(wire.CmdWrite, &wire.WriteRequest{FileID: h.id, Data: binary.LittleEndian.AppendUint64(nil, h.value)})
	h.putting = 0
	if err == nil && m.Status != nt.Success {
		err = fmt.Errorf("WRITE: %w", m.Status)
	}
	return err
}

func (c *cacher) open(f *common) error {
	c.count.opens.Add(1)
	before := f.written.Load()
	h := &handle{}
	var req *wire.CreateRequest
	switch kind := c.rng.IntN(6); kind {
	case 0:
		req = asking(f.name, wire.OplockNone)
	case 1, 2:
		req = asking(f.name, []uint8{wire.OplockExclusive, wire.OplockBatch}[kind-1])
	default:
		h.key = c.id<<4 | f.name[len(f.name)-1]&0xF | 0x80
		req = leasing(f.name, h.key, []uint32{leaseRW, leaseRWH, leaseRH}[kind-3], 0)
	}
	clear(c.early)
	m, err := c.call(wire.CmdCreate, req)
	if err != nil || m.Status != nt.Success {
		return errors.Join(err, m.Status)
	}
	var resp wire.CreateResponse
	if err := resp.Decode(m.Raw); err != nil {
		return err
	}
	h.id = resp.FileID
	h.write = resp.OplockLevel == wire.OplockExclusive || resp.OplockLevel == wire.OplockBatch
	if resp.OplockLevel == wire.OplockLease {
		h.write = granted(c.T.(*testing.T), &resp).State&wire.LeaseWrite != 0
	}
	if c.early[h.id] || h.key != 0 && c.early[[16]byte{h.key}] {
		h.write = false
	}
	c.held[f] = h
	return c.fetch(f, h, before)
}

// fetch reads from the server. At least version must be there.
func (c *cacher) fetch(f *common, h *handle, version uint64) error {
	c.count.reads.Add(1)
	m, err := c.call(wire.CmdRead, &wire.ReadRequest{FileID: h.id, Length: 8})
	if err != nil || m.Status != nt.Success {
		return errors.Join(err, m.Status)
	}
	var resp wire.ReadResponse
	if err := resp.Decode(m.Raw); err != nil || len(resp.Data) != 8 {
		return errors.Join(err, io.ErrUnexpectedEOF)
	}
	got := binary.LittleEndian.Uint64(resp.Data)
	if got < version {
		return fmt.Errorf("%s: read version %d after version %d was written", f.name, got, version)
	}
	if !h.dirty { // else a write of its own came between
		h.value = got
	}
	return nil
}

func (c *cacher) read(f *common, h *handle) error {
	version := f.written.Load()
	if !h.write {
		return c.fetch(f, h, version)
	}
	// Nobody else may have written: what is kept is what there is.
	if h.value < version {
		return fmt.Errorf("%s: holds version %d alone, but version %d was written", f.name, h.value, version)
	}
	return nil
}

func (c *cacher) write(f *common, h *handle) error {
	if !f.writing.TryLock() {
		return nil
	}
	defer f.writing.Unlock()
	c.count.writes.Add(1)
	h.value = f.written.Load() + 1
	if h.write {
		c.count.kept.Add(1)
		h.dirty = true
	} else if err := c.put(h); err != nil {
		return err
	}
	f.written.Store(h.value)
	return nil
}

func (c *cacher) close(f *common) error {
	h := c.held[f]
	if err := c.flush(h); err != nil {
		return err
	}
	delete(c.held, f)
	m, err := c.call(wire.CmdClose, &wire.CloseRequest{FileID: h.id})
	if err == nil && m.Status != nt.Success {
		err = m.Status
	}
	return err
}
