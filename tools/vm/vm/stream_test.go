package vm

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/postern-nas/postern/firmware/config"
	"github.com/postern-nas/postern/tools/bench/client"
	"github.com/postern-nas/postern/tools/postern"
)

// What streams: clients, each with a file of its own, which together are larger than the machine's memory.
const (
	streams    = 8
	streamFile = 80 << 20
	streamPart = 1 << 20
	inFlight   = 4
)

// TestStreaming: eight clients write and read over QUIC at once more than fits into the least memory that a box may have.
// Nothing is killed for want of memory, there is no swap, and the box is well afterwards.
func TestStreaming(t *testing.T) {
	needsVM(t)
	if !*soak {
		t.Skip("goes on for minutes: -soak")
	}
	t.Parallel()
	built := image(t)
	m := machine(t, built, "")
	start(t, m, built)
	off(t, m)
	addPool(t, m)
	s := start(t, m, built)
	hear(t, m, boot, `msg="a pool is mounted" pool=data`)
	ca := s.ca(t, t.Context(), m.QUIC)

	begin := time.Now()
	each(t, func(i int) error { return s.stream(t.Context(), m, ca, i, client.ForWriting, client.File.Write) })
	written := time.Now()
	for range 2 {
		each(t, func(i int) error {
			return s.stream(t.Context(), m, ca, i, client.ForReading, func(f client.File, off int64, part []byte) error { return f.Read(off, len(part)) })
		})
	}
	t.Logf("%d clients wrote %d MiB in %.0f s and read them twice in %.0f s", streams, streams*streamFile>>20, written.Sub(begin).Seconds(), time.Since(written).Seconds())
	for _, bad := range []string{"Out of memory", "oom-kill", "page allocation failure", "panic:"} {
		if said, err := m.console.wait(over(), regexp.MustCompile(bad+".*")); err == nil {
			t.Error(said[0])
		}
	}
	off(t, m)
}

// addPool gives the machine a disk with a pool on it that its owner has named, and a share on that.
func addPool(t *testing.T, m *Machine) {
	t.Helper()
	const id = "3d5b8e2c-7a41-4f0e-9d66-52a1c0f7b914"
	disk := filepath.Join(t.TempDir(), "pool")
	if err := os.WriteFile(disk, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(disk, 2*streams*streamFile); err != nil {
		t.Fatal(err)
	}
	e2tool(t, "mkfs.ext4", "-q", "-U", id, disk)
	m.Disks = append(m.Disks, disk)

	dir := t.TempDir()
	e2tool(t, "debugfs", "-R", "rdump / "+dir, stateFile(t, m.Disk))
	settings := filepath.Join(dir, config.FileName)
	text, err := os.ReadFile(settings)
	if err != nil {
		t.Fatal(err)
	}
	text = fmt.Appendf(text, "\n[[share]]\nname = \"data\"\npath = \"%s/data\"\n", config.Pools)
	err = errors.Join(os.WriteFile(settings, text, 0o600), os.WriteFile(filepath.Join(dir, "pools.json"), []byte(`{"`+id+`": "data"}`), 0o600),
		os.RemoveAll(filepath.Join(dir, "lost+found")))
	if err != nil {
		t.Fatal(err)
	}
	writeStateFolder(t, m.Disk, dir)
}

// each runs all streams side by side.
func each(t *testing.T, do func(i int) error) {
	t.Helper()
	var all errgroup.Group
	for i := range streams {
		all.Go(func() error {
			if err := do(i); err != nil {
				return fmt.Errorf("client %d: %w", i, err)
			}
			return nil
		})
	}
	if err := all.Wait(); err != nil {
		t.Fatal(err)
	}
}

// stream is one client, which opens its file and goes through it from beginning to end, some parts at a time.
func (s served) stream(ctx context.Context, m *Machine, ca string, i int, how client.How, part func(f client.File, off int64, part []byte) error) error {
	ctx, cancel := context.WithTimeout(ctx, boot)
	defer cancel()
	conn, err := postern.DialQUIC(ctx, netip.Addr{}, m.QUIC, "postern.local", ca)
	if err != nil {
		return err
	}
	c, err := client.Dial(conn, "demo", s.password, client.Signed)
	if err != nil {
		return errors.Join(err, conn.Close())
	}
	defer c.Close()
	share, err := c.Mount("data")
	if err != nil {
		return err
	}
	f, err := share.Open(fmt.Sprintf("stream%d", i), how)
	if err != nil {
		return err
	}
	data := make([]byte, streamPart)
	for at := range data {
		data[at] = byte(rand.Uint32())
	}
	var parts errgroup.Group
	parts.SetLimit(inFlight)
	for off := int64(0); off < streamFile; off += streamPart {
		parts.Go(func() error { return part(f, off, data) })
	}
	if err := parts.Wait(); err != nil {
		return err
	}
	return f.Close()
}
