package interop

import (
	"errors"
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
	t            *testing.T
	server, port string
	rules        peers.Folder // has a file for each port that is cut off, and the script
	wg           sync.WaitGroup
}

// cutter is iptables as far as smbtorture uses it to cut off: -I chain -p tcp --sport port -j DROP, or -D.
const cutter = `[ "$5" = --sport ] || exit 0
case $1 in
-I) : > "${0%/*}/$6" ;;
-D) rm -f "${0%/*}/$6" ;;
esac
`

// transports is the option that says by which transport and port smbtorture connects.
const transports = "--option=client smb transports="

// startCuttable runs one before the target until the test is over, and returns the options that lead through it in place
// of the target's own.
func startCuttable(t *testing.T, tgt *sambaTarget) (connect []string) {
	t.Helper()
	r := &cuttable{t: t, rules: tgt.peers.TempDir(t)}
	if err := os.WriteFile(r.rules.Sub("iptables").Host, []byte(cutter), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, o := range tgt.connect {
		if by, ok := strings.CutPrefix(o, transports); ok {
			transport, port, _ := strings.Cut(by, ":")
			r.server = net.JoinHostPort("127.0.0.1", port)
			if transport == "quic" {
				r.listenUDP()
			} else {
				r.listenTCP()
			}
			o = transports + transport + ":" + r.port
		}
		connect = append(connect, o)
	}
	return append(connect, "--option=torture:use_iptables=yes", "--option=torture:iptables_command=sh "+r.rules.Sub("iptables").Inside)
}

// end has the relay end with the test.
func (r *cuttable) end(l io.Closer) {
	r.t.Cleanup(func() {
		l.Close()
		r.wg.Wait()
	})
}

func (r *cuttable) listenTCP() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	r.port = portOf(r.t, l.Addr().String())
	r.end(l)
	r.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				if !errors.Is(err, net.ErrClosed) {
					r.t.Error(err)
				}
				return
			}
			r.wg.Go(func() { r.carry(c) })
		}
	})
}

// listenUDP carries datagrams, each client's by a socket of its own.
func (r *cuttable) listenUDP() {
	l, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	r.port = portOf(r.t, l.LocalAddr().String())
	r.end(l)
	r.wg.Go(func() {
		servers := map[string]net.Conn{}
		defer func() {
			for _, s := range servers {
				s.Close()
			}
		}()
		buf := make([]byte, 64<<10)
		for {
			n, from, err := l.ReadFrom(buf)
			if err != nil {
				return
			}
			s := servers[from.String()]
			if s == nil {
				if s, err = net.Dial("udp", r.server); err != nil {
					continue
				}
				servers[from.String()] = s
				r.wg.Go(func() {
					buf := make([]byte, 64<<10)
					for {
						n, err := s.Read(buf)
						if errors.Is(err, net.ErrClosed) {
							return
						}
						if err == nil {
							l.WriteTo(buf[:n], from)
						}
					}
				})
			}
			if !r.cutOff(from) {
				s.Write(buf[:n])
			}
		}
	})
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
	server, err := net.Dial("tcp", r.server)
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
