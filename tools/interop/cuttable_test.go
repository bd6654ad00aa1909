package interop

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/postern-nas/postern/tools/peers/peers"
)

// A cuttable is a relay between smbtorture and the server for tests that cut off channels while they wait. They would
// have iptables drop what a port of theirs sends, which takes an administrator of the network; here a script plays
// iptables' part, and the relay looks at what it says. What the server sends comes through, as it does with iptables.
type cuttable struct {
	network, server, port string
	rules                 peers.Folder // has a file for each port that is cut off, and the script
}

// cutter is iptables as far as smbtorture uses it to cut off: -I chain -p tcp --sport port -j DROP, or -D.
const cutter = `[ "$5" = --sport ] || exit 0
case $1 in
-I) : > "${0%/*}/$6" ;;
-D) rm -f "${0%/*}/$6" ;;
esac
`

// startCuttable runs one before the target until the test is over.
func startCuttable(t *testing.T, tgt *sambaTarget) *cuttable {
	t.Helper()
	r := &cuttable{network: "tcp", server: tgt.tcp, rules: tgt.peers.TempDir(t)}
	if err := os.WriteFile(r.rules.Sub("iptables").Host, []byte(cutter), 0o644); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.port = portOf(t, l.Addr().String())
	var wg sync.WaitGroup
	t.Cleanup(func() {
		l.Close()
		wg.Wait()
	})
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				if !errors.Is(err, net.ErrClosed) {
					t.Error(err)
				}
				return
			}
			wg.Go(func() { r.carry(c) })
		}
	})
	return r
}

// cutOff reports whether nothing more is to come from a client's address.
func (r *cuttable) cutOff(a net.Addr) bool {
	_, port, err := net.SplitHostPort(a.String())
	if err != nil {
		return false
	}
	_, err = os.Stat(r.rules.Sub(port).Host)
	return err == nil
}

// carry carries one connection. One that was cut off stays so: part of what it said is lost.
func (r *cuttable) carry(client net.Conn) {
	defer client.Close()
	server, err := net.Dial(r.network, r.server)
	if err != nil {
		return
	}
	var back sync.WaitGroup
	back.Go(func() {
		io.Copy(client, server)
		client.Close()
	})
	buf, lost := make([]byte, 64<<10), false
	for {
		n, err := client.Read(buf)
		lost = lost || r.cutOff(client.RemoteAddr())
		if n > 0 && !lost {
			if _, err := server.Write(buf[:n]); err != nil {
				break
			}
		}
		if err != nil {
			break
		}
	}
	server.Close()
	back.Wait()
}

// through makes of a target's options those that lead through the relay.
func (r *cuttable) through(connect []string) (options []string) {
	for _, o := range connect {
		if strings.HasPrefix(o, "--option=client smb transports=") {
			o = fmt.Sprintf("--option=client smb transports=%s:%s", r.network, r.port)
		}
		options = append(options, o)
	}
	return append(options, "--option=torture:use_iptables=yes", "--option=torture:iptables_command=sh "+r.rules.Sub("iptables").Inside)
}
