package interop

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	smb2 "github.com/cloudsoda/go-smb2"

	"github.com/postern-nas/postern/tools/postern"
)

// TestGoManyClients lets 64 clients, each on a connection of its own, read and write for 30 s. Each keeps in memory
// what its files must hold and compares at every read; all share one read-only file and one file in which each owns
// every 64th slot. At the end the folder behind the share is compared with all their memories.
func TestGoManyClients(t *testing.T) {
	eachLink(t, func(t *testing.T, _ *postern.Server, tgt goTarget, l link) { goManyClients(t, tgt, l) })
}

const (
	loadClients = 64
	loadShared  = 4 << 20 // bytes of the file that all read
	loadSlot    = 4 << 10
	loadSlots   = 16 // slots of each client in the file that all write
)

func goManyClients(t *testing.T, tgt goTarget, l link) {
	span := 30 * time.Second
	if testing.Short() {
		span = 3 * time.Second
	}
	if *soak {
		span = 10 * time.Minute
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)

	setup := tgt.mount(t, l)
	shared := pattern(seed, loadShared)
	if err := setup.WriteFile("shared-read.bin", shared, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := setup.WriteFile("shared-write.bin", make([]byte, loadClients*loadSlots*loadSlot), 0o666); err != nil {
		t.Fatal(err)
	}

	ctx, cancel := context.WithTimeout(t.Context(), span)
	defer cancel()
	clients := make([]*loadClient, loadClients)
	errs := make([]error, loadClients)
	door := make(chan struct{}, 8) // the server lets in 16 handshakes of one address at a time
	var ops, moved atomic.Int64
	var wg sync.WaitGroup
	for i := range clients {
		c := &loadClient{
			id: i, dir: fmt.Sprintf("client-%02d", i), rng: rand.New(rand.NewPCG(seed, uint64(i))),
			files: map[string][]byte{}, slots: map[int][]byte{}, shared: shared, door: door, ops: &ops, moved: &moved,
		}
		clients[i] = c
		wg.Go(func() {
			if err := c.run(t.Context(), ctx, tgt, l); err != nil {
				errs[i] = err
				cancel() // the others need not go on
			}
		})
	}
	wg.Wait()
	t.Logf("%.0f operations/s, %.1f MB/s", float64(ops.Load())/span.Seconds(), float64(moved.Load())/1e6/span.Seconds())
	for i, err := range errs {
		if err != nil {
			t.Errorf("client %d: %v", i, err)
		}
	}
	if t.Failed() {
		return
	}

	both := tgt.onDisk(t, "shared-write.bin")
	for _, c := range clients {
		entries, err := os.ReadDir(filepath.Join(tgt.dir, c.dir))
		if err != nil {
			t.Fatal(err)
		}
		if len(entries) != len(c.files) {
			t.Errorf("%s has %d files, its client knows of %d", c.dir, len(entries), len(c.files))
		}
		for name, want := range c.files {
			if got := tgt.onDisk(t, c.dir, name); !bytes.Equal(got, want) {
				t.Errorf(`%s\%s on disk: %s`, c.dir, name, difference(got, want))
			}
		}
		for k, want := range c.slots {
			off := c.slotOffset(k)
			if got := both[off : off+loadSlot]; !bytes.Equal(got, want) {
				t.Errorf("slot %d of client %d on disk: %s", k, c.id, difference(got, want))
			}
		}
	}
}

// A loadClient is one client and its memory of what its files hold.
type loadClient struct {
	id     int
	dir    string
	rng    *rand.Rand
	files  map[string][]byte
	slots  map[int][]byte
	shared []byte
	made   int           // files ever made, for fresh names
	door   chan struct{} // lets few log on at a time

	ops, moved *atomic.Int64
}

// run does random operations until load is over. Connections live in ctx, so that no operation is cut in two.
func (c *loadClient) run(ctx, load context.Context, tgt goTarget, l link) (err error) {
	c.door <- struct{}{}
	sess, share, err := tgt.logon(ctx, l)
	<-c.door
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sess.Logoff()) }()
	if err := share.Mkdir(c.dir, 0o755); err != nil {
		return err
	}
	sharedRead, err := share.Open("shared-read.bin")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sharedRead.Close()) }()
	sharedWrite, err := share.OpenFile("shared-write.bin", os.O_RDWR, 0o666)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sharedWrite.Close()) }()

	for load.Err() == nil {
		var what string
		var err error
		switch n := c.rng.IntN(100); {
		case n < 25 || len(c.files) == 0:
			what, err = "write", c.write(share)
		case n < 45:
			what, err = "read", c.read(share)
		case n < 60:
			what, err = "patch", c.patch(share)
		case n < 65:
			what, err = "rename", c.rename(share)
		case n < 70:
			what, err = "remove", c.remove(share)
		case n < 75:
			what, err = "truncate", c.truncate(share)
		case n < 80:
			what, err = "list", c.list(share)
		case n < 90:
			off := c.rng.IntN(len(c.shared) - 64<<10)
			what, err = "shared read", c.compare(sharedRead, int64(off), c.shared[off:off+1+c.rng.IntN(64<<10)])
		default:
			what, err = "slot", c.slot(sharedWrite)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		c.ops.Add(1)
	}
	return nil
}

// pick returns one of the client's files, at random by the client's own seed.
func (c *loadClient) pick() string {
	least, name := ^uint64(0), ""
	salt := c.rng.Uint64()
	for f := range c.files { // the order of a map is not ours to seed; the least of a hash is
		h := salt
		for _, b := range []byte(f) {
			h = (h ^ uint64(b)) * 0x100000001B3
		}
		if h < least || name == "" {
			least, name = h, f
		}
	}
	return name
}

func (c *loadClient) path(name string) string { return c.dir + `\` + name }

func (c *loadClient) write(share *smb2.Share) error {
	name := ""
	if len(c.files) >= 6 {
		name = c.pick() // overwrite
	} else {
		c.made++
		name = fmt.Sprintf("Datei-%d-Ünï.bin", c.made)
	}
	data := pattern(c.rng.Uint64(), c.rng.IntN(128<<10))
	if err := share.WriteFile(c.path(name), data, 0o666); err != nil {
		return err
	}
	c.files[name] = data
	c.moved.Add(int64(len(data)))
	return nil
}

func (c *loadClient) read(share *smb2.Share) error {
	name := c.pick()
	got, err := share.ReadFile(c.path(name))
	if err != nil {
		return err
	}
	c.moved.Add(int64(len(got)))
	if !bytes.Equal(got, c.files[name]) {
		return fmt.Errorf("%s: %s", name, difference(got, c.files[name]))
	}
	return nil
}

// patch writes a piece into a file, perhaps beyond its end, and reads the neighborhood back through the same open.
func (c *loadClient) patch(share *smb2.Share) (err error) {
	name := c.pick()
	old := c.files[name]
	f, err := share.OpenFile(c.path(name), os.O_RDWR, 0o666)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	piece := pattern(c.rng.Uint64(), 1+c.rng.IntN(16<<10))
	off := c.rng.IntN(len(old) + 4<<10)
	if _, err := f.WriteAt(piece, int64(off)); err != nil {
		return err
	}
	data := make([]byte, max(len(old), off+len(piece)))
	copy(data, old)
	copy(data[off:], piece)
	c.files[name] = data
	c.moved.Add(int64(len(piece)))
	from, to := max(0, off-4<<10), min(len(data), off+len(piece)+4<<10)
	return c.compare(f, int64(from), data[from:to])
}

func (c *loadClient) rename(share *smb2.Share) error {
	from := c.pick()
	c.made++
	to := fmt.Sprintf("renamed %d", c.made)
	if err := share.Rename(c.path(from), c.path(to)); err != nil {
		return err
	}
	c.files[to] = c.files[from]
	delete(c.files, from)
	return nil
}

func (c *loadClient) remove(share *smb2.Share) error {
	name := c.pick()
	if err := share.Remove(c.path(name)); err != nil {
		return err
	}
	delete(c.files, name)
	if _, err := share.Stat(c.path(name)); !os.IsNotExist(err) {
		return fmt.Errorf("stat of the removed %s: %v", name, err)
	}
	return nil
}

func (c *loadClient) truncate(share *smb2.Share) error {
	name := c.pick()
	size := c.rng.IntN(128 << 10)
	if err := share.Truncate(c.path(name), int64(size)); err != nil {
		return err
	}
	data := make([]byte, size)
	copy(data, c.files[name])
	c.files[name] = data
	return nil
}

func (c *loadClient) list(share *smb2.Share) error {
	infos, err := share.ReadDir(c.dir)
	if err != nil {
		return err
	}
	if len(infos) != len(c.files) {
		return fmt.Errorf("%d entries, want %d", len(infos), len(c.files))
	}
	for _, fi := range infos {
		if data, ok := c.files[fi.Name()]; !ok || fi.Size() != int64(len(data)) {
			return fmt.Errorf("%s: known %t, size %d, want %d", fi.Name(), ok, fi.Size(), len(data))
		}
	}
	return nil
}

func (c *loadClient) slotOffset(k int) int { return (k*loadClients + c.id) * loadSlot }

// slot reads back one of the client's slots in the file that all write, and writes it anew.
func (c *loadClient) slot(f *smb2.File) error {
	k := c.rng.IntN(loadSlots)
	off := int64(c.slotOffset(k))
	if want := c.slots[k]; want != nil {
		if err := c.compare(f, off, want); err != nil {
			return err
		}
	}
	data := pattern(c.rng.Uint64(), loadSlot)
	if _, err := f.WriteAt(data, off); err != nil {
		return err
	}
	c.slots[k] = data
	c.moved.Add(loadSlot)
	return nil
}

// compare reads len(want) bytes at off and wants want.
func (c *loadClient) compare(f *smb2.File, off int64, want []byte) error {
	got := make([]byte, len(want))
	n, err := f.ReadAt(got, off)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	c.moved.Add(int64(n))
	if !bytes.Equal(got[:n], want) {
		return fmt.Errorf("%s at %d: %s", f.Name(), off, difference(got[:n], want))
	}
	return nil
}

// difference says where got and want part.
func difference(got, want []byte) string {
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			return fmt.Sprintf("differs at byte %d of %d (want %d bytes): % x, want % x",
				i, len(got), len(want), got[i:min(i+8, len(got))], want[i:min(i+8, len(want))])
		}
	}
	return fmt.Sprintf("%d bytes, want %d", len(got), len(want))
}
