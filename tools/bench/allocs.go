package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strconv"

	"github.com/postern-nas/postern/smb"
	"github.com/postern-nas/postern/smb/auth"
	"github.com/postern-nas/postern/smb/auth/ntlm"
	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/vfs/memfs"
	"github.com/postern-nas/postern/tools/bench/client"
	"github.com/postern-nas/postern/tools/postern"
)

// allocations counts what the server allocates for a READ or WRITE: smb.Server runs in this process, on memory and over
// TCP, and the client in a child, so that all allocations between two marks are the server's.
func allocations(ctx context.Context, reads int, res *results) error {
	srv, err := smb.NewServer(smb.Config{
		Name:       "bench",
		Mechanisms: []auth.Mechanism{ntlm.New(ntlm.Config{Computer: "BENCH", DNSName: "bench", Accounts: oneAccount{}})},
		Shares:     []smb.Share{{Name: shareName, Volume: memfs.New(), Rights: func(*auth.Identity) dtyp.Access { return dtyp.FileAll }}},
	})
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer l.Close()
	served := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			served <- err
			return
		}
		served <- srv.ServeConn(ctx, c, smb.ConnInfo{ID: "bench", Transport: "tcp"})
	}()

	// The child says when it is ready to read n bytes at a time, reads when told, and says when it is done.
	in, say, err := os.Pipe()
	if err != nil {
		return err
	}
	defer in.Close()
	defer say.Close()
	cmd, out, err := child(in, nil, "child-reader", l.Addr().String(), strconv.Itoa(reads))
	if err != nil {
		return err
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	count := func() (uint64, error) {
		if _, err := out.ReadString('\n'); err != nil { // ready
			return 0, err
		}
		runtime.GC()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if _, err := io.WriteString(say, "go\n"); err != nil {
			return 0, err
		}
		if _, err := out.ReadString('\n'); err != nil { // done
			return 0, err
		}
		runtime.ReadMemStats(&after)
		return after.Mallocs - before.Mallocs, nil
	}
	for _, c := range counted {
		allocs, err := count()
		if err != nil {
			return fmt.Errorf("%c of %d bytes: %w", c.kind, c.size, err)
		}
		// A few are those of the run as a whole.
		res.add(allocsRow(c.kind, c.size), posternTCP, math.Round(10*float64(allocs)/float64(reads))/10)
	}
	if err := cmd.Wait(); err != nil {
		return err
	}
	if err := <-served; err != nil {
		return fmt.Errorf("serving: %w", err)
	}
	return nil
}

// counted are the requests whose allocations are counted.
var counted = []struct {
	kind byte // 'R' or 'W'
	size int
}{{'R', 4 << 10}, {'R', 1 << 20}, {'W', 1 << 20}}

func allocsRow(kind byte, size int) string {
	name := map[byte]string{'R': "READ", 'W': "WRITE"}[kind]
	return fmt.Sprintf("allocations for a %s of %d KiB (in process, signed, memfs)", name, size>>10)
}

// readFor is the child: args are the server's address and the number of READs.
func readFor(args []string) error {
	if len(args) != 2 {
		return errors.New("usage: ADDRESS READS")
	}
	reads, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	t := &target{dial: func(ctx context.Context, from netip.Addr) (net.Conn, error) {
		return postern.DialTCP(ctx, from, args[0])
	}}
	s, err := t.open(context.Background(), netip.Addr{})
	if err != nil {
		return err
	}
	f, err := s.share.Open(bigFile, client.ForWriting)
	if err != nil {
		return err
	}
	if err := f.Write(0, make([]byte, 1<<20)); err != nil {
		return err
	}
	parent := bufio.NewReader(os.Stdin)
	data := make([]byte, 1<<20)
	for _, c := range counted {
		for i := range 100 + reads {
			if i == 100 { // pools are warm
				fmt.Println("ready")
				if _, err := parent.ReadString('\n'); err != nil {
					return err
				}
			}
			var err error
			if c.kind == 'R' {
				err = f.Read(0, c.size)
			} else {
				err = f.Write(0, data[:c.size])
			}
			if err != nil {
				return err
			}
		}
		fmt.Println("done")
	}
	return errors.Join(f.Close(), s.close())
}

// oneAccount knows the bench's user.
type oneAccount struct{}

func (oneAccount) Lookup(_ context.Context, name, _ string) ([16]byte, auth.Identity, error) {
	if name != user {
		return [16]byte{}, auth.Identity{}, nt.NoSuchUser
	}
	return ntlm.NTHash(password), auth.Identity{User: user, SID: dtyp.NewSID(5, 21, 1, 2, 3, 1000)}, nil
}
