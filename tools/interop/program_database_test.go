package interop

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/smbtest"
	"github.com/postern-nas/postern/smb/wire"
	"github.com/postern-nas/postern/tools/postern"
)

// TestProgramDatabase lets clients do on one file what SQLite does with a rollback journal: locks on bytes past the end
// (reserved, pending, shared), pages read and written at random, a journal that is flushed before and deleted as the
// commit. Money moves between accounts and none is made. In the middle of it the server is killed; what the journal
// says is put back, and every commit that was answered has happened.
func TestProgramDatabase(t *testing.T) {
	needsPostern(t)
	span, rounds := 500*time.Millisecond, 1
	if *soak {
		span, rounds = 5*time.Second, 20
	}
	eachLink(t, func(t *testing.T, srv *postern.Server, tgt goTarget, l link) {
		b := &bank{name: "bank.db", accounts: 64}
		b.make(tgt.peer(t, l))
		for range rounds {
			b.run(t, srv, tgt, l, span)
		}
	})
}

const (
	bankPage   = 4096
	bankMoney  = 1000 // of each account at the start
	bankMagic  = 0xD9D505F920A163D7
	lockByte   = 0x40000000 // as SQLite has them
	lockShared = lockByte + 2
	sharedSize = 510
)

// A bank is one database: page 0 counts the transactions, the others are accounts.
type bank struct {
	name      string
	accounts  int
	committed atomic.Uint64 // transactions whose commit was answered
	asked     atomic.Uint64 // transactions whose commit was asked for
}

func page(value uint64) []byte {
	return bytes.Repeat(binary.LittleEndian.AppendUint64(nil, value), bankPage/8)
}

// value reads a page; one that is half of another transaction is an error.
func value(b []byte) (uint64, error) {
	if len(b) != bankPage || !bytes.Equal(b[8:], b[:bankPage-8]) {
		return 0, fmt.Errorf("a page of %d bytes is torn", len(b))
	}
	return binary.LittleEndian.Uint64(b), nil
}

func (b *bank) make(p *smbtest.Peer) {
	id := p.Open(b.name, everything, wire.FileCreate, 0)
	peerWrite(p, id, 0, page(0))
	for i := range b.accounts {
		peerWrite(p, id, int64(i+1)*bankPage, page(bankMoney))
	}
	peerFlush(p, id)
	p.Close(id)
}

func (b *bank) run(t *testing.T, srv *postern.Server, tgt goTarget, l link, span time.Duration) {
	var conns []net.Conn
	var wg sync.WaitGroup
	pid := srv.PID()
	first := make(chan struct{})
	var once sync.Once
	for i := range 4 {
		p := tgt.peer(t, l)
		conns = append(conns, p.Conn)
		c := &teller{Peer: p, bank: b, rng: rand.New(rand.NewPCG(uint64(i), b.committed.Load()))}
		wg.Go(func() {
			for {
				err := c.transfer()
				if err == nil {
					once.Do(func() { close(first) })
				}
				if c.rng.IntN(4) == 0 && err == nil {
					err = c.audit()
				}
				if err != nil {
					if srv.PID() == pid || errors.Is(err, errBank) {
						t.Errorf("before the server was killed, or by itself: %v", err)
					}
					return
				}
			}
		})
	}
	time.Sleep(span) // how long work goes on; on a machine that is slow now, until it has shown something
	select {
	case <-first:
	case <-time.After(30 * time.Second):
	}
	if err := srv.Kill(); err != nil {
		t.Fatal(err)
	}
	for _, c := range conns {
		c.Close() // over QUIC nobody would hear of it for a while
	}
	wg.Wait()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := srv.Start(ctx); err != nil {
		t.Fatal(err)
	}
	c := &teller{Peer: tgt.peer(t, l), bank: b}
	rolled, err := c.recover()
	if err == nil {
		err = c.audit()
	}
	if err != nil {
		t.Fatal(err)
	}
	count, err := c.count()
	t.Logf("%d transactions; the last one was rolled back: %v", count, rolled)
	if err != nil || count < b.committed.Load() || count > b.asked.Load() {
		t.Errorf("%d transactions are there (%v); %d were committed, %d asked to be", count, err, b.committed.Load(), b.asked.Load())
	}
	if b.committed.Load() == 0 {
		t.Error("none was committed: the test shows nothing")
	}
	b.committed.Store(count)
	b.asked.Store(count)
	c.Conn.Close()
}

// errBank says that the database is wrong, whatever became of the server.
var errBank = errors.New("the books do not balance")

// A teller is one client.
type teller struct {
	*smbtest.Peer
	bank *bank
	rng  *rand.Rand
	gone error // why there is no connection any more
}

// call sends a request and returns its answer; resp may be nil.
func (c *teller) call(cmd wire.Command, body smbtest.Body, resp smbtest.Decoder) (nt.Status, error) {
	if c.gone != nil {
		return 0, c.gone
	}
	hdr := c.Request(cmd, 0)
	c.Send(smbtest.Element{Header: hdr, Body: body})
	for {
		m, err := c.Recv()
		switch {
		case err != nil:
			c.gone = err
			return 0, err
		case m.Status == nt.Pending:
		case m.MessageID != hdr.MessageID:
			return 0, fmt.Errorf("answer to %d, not to %d", m.MessageID, hdr.MessageID)
		case m.Status != nt.Success || resp == nil:
			return m.Status, nil
		default:
			return m.Status, resp.Decode(m.Raw)
		}
	}
}

// must is call that must succeed.
func (c *teller) must(cmd wire.Command, body smbtest.Body, resp smbtest.Decoder) error {
	s, err := c.call(cmd, body, resp)
	if err == nil && s != nt.Success {
		err = fmt.Errorf("%v: %w", cmd, s)
	}
	return err
}

func (c *teller) open(name string, disposition uint32) (wire.FileID, error) {
	var resp wire.CreateResponse
	err := c.must(wire.CmdCreate, smbtest.OpenAs(name, everything, disposition, 0), &resp)
	return resp.FileID, err
}

// lock locks or unlocks, waiting if it must.
func (c *teller) lock(id wire.FileID, off, n uint64, flags uint32) error {
	return c.must(wire.CmdLock, &wire.LockRequest{FileID: id, Locks: []wire.LockElement{{Offset: off, Length: n, Flags: flags}}}, nil)
}

func (c *teller) read(id wire.FileID, n int) (uint64, error) {
	var resp wire.ReadResponse
	if err := c.must(wire.CmdRead, &wire.ReadRequest{FileID: id, Offset: uint64(n) * bankPage, Length: bankPage}, &resp); err != nil {
		return 0, err
	}
	v, err := value(resp.Data)
	if err != nil {
		err = fmt.Errorf("%w: page %d: %w", errBank, n, err)
	}
	return v, err
}

func (c *teller) write(id wire.FileID, off int, b []byte) error {
	return c.must(wire.CmdWrite, &wire.WriteRequest{FileID: id, Offset: uint64(off), Data: b}, nil)
}

func (c *teller) flush(id wire.FileID) error {
	return c.must(wire.CmdFlush, &wire.FlushRequest{FileID: id}, nil)
}

func (c *teller) close(id wire.FileID) error {
	return c.must(wire.CmdClose, &wire.CloseRequest{FileID: id}, nil)
}

// steps does one after the other until one fails.
func steps(all ...func() error) error {
	for _, step := range all {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// shared takes the lock of readers, for which nobody may be about to write.
func (c *teller) shared(id wire.FileID) error {
	return steps(
		func() error { return c.lock(id, lockByte, 1, wire.LockShared) },
		func() error { return c.lock(id, lockShared, sharedSize, wire.LockShared) },
		func() error { return c.lock(id, lockByte, 1, wire.LockUnlock) },
	)
}

// transfer moves money from one account to others, in one transaction.
func (c *teller) transfer() error {
	db, err := c.open(c.bank.name, wire.FileOpen)
	if err != nil {
		return err
	}
	defer c.close(db)
	if err := c.lock(db, lockByte+1, 1, wire.LockExclusive); err != nil { // reserved: one writer
		return err
	}
	if err := c.shared(db); err != nil {
		return err
	}
	pages := c.rng.Perm(c.bank.accounts)[:2+c.rng.IntN(6)]
	pages = append(pages, -1)
	before := make([]uint64, len(pages))
	for i, p := range pages {
		if before[i], err = c.read(db, p+1); err != nil {
			return err
		}
	}
	after := append([]uint64(nil), before...)
	for i := 1; i < len(pages)-1; i++ {
		sum := min(uint64(c.rng.IntN(20)), after[0])
		after[0], after[i] = after[0]-sum, after[i]+sum
	}
	after[len(pages)-1]++

	journal, err := c.open(c.bank.name+"-journal", wire.FileCreate)
	if err != nil {
		return err
	}
	head := binary.LittleEndian.AppendUint64(nil, bankMagic)
	head = binary.LittleEndian.AppendUint64(head, uint64(len(pages)))
	for i, p := range pages {
		entry := binary.LittleEndian.AppendUint64(nil, uint64(p+1))
		if err := c.write(journal, bankPage+i*(8+bankPage), append(entry, page(before[i])...)); err != nil {
			return err
		}
	}
	err = steps(
		func() error { return c.flush(journal) },
		func() error { return c.write(journal, 0, head) }, // the journal holds from here on
		func() error { return c.flush(journal) },
		func() error { return c.lock(db, lockByte, 1, wire.LockExclusive) }, // pending: no new readers
		func() error { return c.lock(db, lockShared, sharedSize, wire.LockUnlock) },
		func() error { return c.lock(db, lockShared, sharedSize, wire.LockExclusive) },
	)
	if err != nil {
		return err
	}
	for i, p := range pages {
		if err := c.write(db, (p+1)*bankPage, page(after[i])); err != nil {
			return err
		}
	}
	err = steps(
		func() error { return c.flush(db) },
		func() error {
			return c.must(wire.CmdSetInfo, &wire.SetInfoRequest{
				FileID: journal, InfoType: wire.InfoFile, InfoClass: uint8(fscc.FileDispositionInformation), Buffer: []byte{1},
			}, nil)
		},
	)
	if err != nil {
		return err
	}
	c.bank.asked.Add(1)
	if err := c.close(journal); err != nil { // the commit
		return err
	}
	c.bank.committed.Add(1)
	return nil // the close of the file gives the locks back
}

// audit reads all accounts, while nobody writes.
func (c *teller) audit() error {
	db, err := c.open(c.bank.name, wire.FileOpen)
	if err != nil {
		return err
	}
	defer c.close(db)
	if err := c.shared(db); err != nil {
		return err
	}
	sum := uint64(0)
	for i := range c.bank.accounts {
		v, err := c.read(db, i+1)
		if err != nil {
			return err
		}
		sum += v
	}
	if want := uint64(c.bank.accounts) * bankMoney; sum != want {
		return fmt.Errorf("%w: %d instead of %d", errBank, sum, want)
	}
	return nil
}

func (c *teller) count() (uint64, error) {
	db, err := c.open(c.bank.name, wire.FileOpen)
	if err != nil {
		return 0, err
	}
	defer c.close(db)
	return c.read(db, 0)
}

// recover puts back what a journal says that was left, and deletes it.
func (c *teller) recover() (rolled bool, err error) {
	journal, err := c.open(c.bank.name+"-journal", wire.FileOpen)
	if errors.Is(err, nt.ObjectNameNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	db, err := c.open(c.bank.name, wire.FileOpen)
	if err != nil {
		return false, err
	}
	defer c.close(db)
	var resp wire.ReadResponse
	s, err := c.call(wire.CmdRead, &wire.ReadRequest{FileID: journal, Length: 16}, &resp)
	if err != nil {
		return false, err
	}
	if s == nt.Success && len(resp.Data) == 16 && binary.LittleEndian.Uint64(resp.Data) == bankMagic {
		rolled = true
		for i := range int(binary.LittleEndian.Uint64(resp.Data[8:])) {
			var entry wire.ReadResponse
			off := uint64(bankPage + i*(8+bankPage))
			if err := c.must(wire.CmdRead, &wire.ReadRequest{FileID: journal, Offset: off, Length: 8 + bankPage}, &entry); err != nil {
				return rolled, err
			}
			if _, err := value(entry.Data[8:]); err != nil {
				return rolled, fmt.Errorf("%w: the journal was flushed: %w", errBank, err)
			}
			if err := c.write(db, int(binary.LittleEndian.Uint64(entry.Data))*bankPage, entry.Data[8:]); err != nil {
				return rolled, err
			}
		}
		if err := c.flush(db); err != nil {
			return rolled, err
		}
	}
	peerDelete(c.Peer, journal)
	return rolled, nil
}
