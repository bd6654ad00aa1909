package interop

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
)

// TestSmbclientProtection: dialects, signing and encryption, each with a file there and back.
func TestSmbclientProtection(t *testing.T) {
	for _, tgt := range startSamba(t, share{name: "disk"}, share{name: "sealed", encrypt: true}) {
		t.Run(tgt.transport, func(t *testing.T) {
			type way struct {
				name    string
				options []string
				share   string
				sealed  bool // every message after the logon has to be
			}
			ways := []way{{"encrypt", []string{"--client-protection=encrypt"}, "disk", true}}
			for _, c := range []string{"AES-128-GCM", "AES-128-CCM", "AES-256-GCM", "AES-256-CCM"} {
				ways = append(ways, way{"encrypt " + c, []string{
					"--client-protection=encrypt", "--option=client smb3 encryption algorithms=" + c,
				}, "disk", true})
			}
			for _, c := range []string{"AES-128-GMAC", "AES-128-CMAC", "HMAC-SHA256"} {
				ways = append(ways, way{"sign " + c, []string{
					"--client-protection=sign", "--option=client smb3 signing algorithms=" + c,
				}, "disk", false})
			}
			switch tgt.transport {
			case "quic":
				// Samba's client encrypts inside QUIC by its own wish; Windows does not.
				ways = append(ways,
					way{"encryption over quic", []string{"--option=client smb encryption over quic=yes"}, "disk", true},
					way{"no encryption over quic", []string{"--option=client smb encryption over quic=no"}, "disk", false})
			case "tcp":
				for _, d := range []string{"SMB2_02", "SMB2_10", "SMB3_00", "SMB3_02", "SMB3_11"} {
					ways = append(ways, way{"dialect " + d, []string{"--option=client max protocol=" + d}, "disk", false})
				}
				for _, d := range []string{"SMB3_00", "SMB3_02"} {
					ways = append(ways, way{"encrypt dialect " + d, []string{
						"--client-protection=encrypt", "--option=client max protocol=" + d,
					}, "disk", true})
				}
			}
			if !*againstSMBD {
				ways = append(ways, way{"sealed share", nil, "sealed", true})
			}
			for i, w := range ways {
				t.Run(w.name, func(t *testing.T) {
					t.Parallel()
					tgt := tgt.with(w.options...)
					var tap *wiretap
					if tgt.transport == "tcp" { // inside QUIC nobody can listen
						tap = startTap(t, tgt.tcp)
						tgt = tgt.with("--option=client smb transports=tcp:" + portOf(t, tap.addr))
					}
					b := tgt.bench(t, w.share, fmt.Sprintf("%s-%d", tgt.transport, i))
					secret := pattern(uint64(i), 300_000)
					b.write(t, "x", secret)
					b.do(t, "put x", "ls", "get x back")
					b.same(t, "x", secret)
					if got, err := os.ReadFile(b.local.Sub("back").Host); err != nil || !bytes.Equal(got, secret) {
						t.Errorf("%d bytes came back as %d others (%v)", len(secret), len(got), err)
					}
					if tap != nil {
						tap.check(t, w.sealed, secret)
					}
				})
			}
		})
	}
}

// A wiretap is a TCP relay that notes what kinds of messages pass.
type wiretap struct {
	addr string

	mu    sync.Mutex
	plain map[uint16]int // SMB2 messages in the clear, by command
	seals int            // encrypted messages
	other int            // neither
	bytes bytes.Buffer   // all of it
}

// Commands of [MS-SMB2] 2.2.1.2 that are in the clear even when all else is encrypted: the way to the keys.
var beforeKeys = []uint16{0, 1} // NEGOTIATE, SESSION_SETUP

func startTap(t *testing.T, to string) *wiretap {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tap := &wiretap{addr: l.Addr().String(), plain: map[uint16]int{}}
	var all sync.WaitGroup
	t.Cleanup(func() {
		l.Close()
		all.Wait()
	})
	all.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return // closed
			}
			server, err := net.Dial("tcp", to)
			if err != nil {
				t.Error(err)
				client.Close()
				return
			}
			for _, way := range [][2]net.Conn{{client, server}, {server, client}} {
				all.Go(func() {
					defer way[1].Close()
					tap.relay(way[1], way[0])
				})
			}
		}
	})
	return tap
}

// relay copies frames of [MS-SMB2] 2.1 until either side ends.
func (tap *wiretap) relay(to io.Writer, from io.Reader) {
	for {
		var frame bytes.Buffer
		if _, err := io.CopyN(&frame, from, 4); err != nil {
			return
		}
		if _, err := io.CopyN(&frame, from, int64(binary.BigEndian.Uint32(frame.Bytes())&0xFFFFFF)); err != nil {
			return
		}
		tap.note(frame.Bytes()[4:])
		if _, err := to.Write(frame.Bytes()); err != nil {
			return
		}
	}
}

func (tap *wiretap) note(msg []byte) {
	tap.mu.Lock()
	defer tap.mu.Unlock()
	switch {
	case len(msg) >= 64 && string(msg[:4]) == "\xfeSMB":
		tap.plain[binary.LittleEndian.Uint16(msg[12:])]++
	case len(msg) >= 52 && string(msg[:4]) == "\xfdSMB":
		tap.seals++
	default:
		tap.other++
	}
	tap.bytes.Write(msg)
}

// check holds what passed against what the connection was to be; secret is what a listener must not see if sealed.
func (tap *wiretap) check(t *testing.T, sealed bool, secret []byte) {
	t.Helper()
	tap.mu.Lock()
	defer tap.mu.Unlock()
	if tap.other > 0 {
		t.Errorf("%d messages are no SMB2", tap.other)
	}
	seen := bytes.Contains(tap.bytes.Bytes(), secret[len(secret)/2:][:64])
	if !sealed {
		if tap.seals > 0 || !seen {
			t.Errorf("%d messages are encrypted without need (contents in the clear: %v)", tap.seals, seen)
		}
		return
	}
	if tap.seals == 0 || seen {
		t.Errorf("%d messages are encrypted, contents in the clear: %v", tap.seals, seen)
	}
	var clear []string
	for command, n := range tap.plain {
		// A share that asks for encryption does so in the answer to TREE_CONNECT (3), which cannot be encrypted yet.
		if !slices.Contains(beforeKeys, command) && command != 3 {
			clear = append(clear, fmt.Sprintf("%d of command %d", n, command))
		}
	}
	if len(clear) > 0 {
		t.Errorf("in the clear: %s", strings.Join(clear, ", "))
	}
}
