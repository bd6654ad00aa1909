package smb_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postern-nas/postern/smb"
	"github.com/postern-nas/postern/smb/crypt"
	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/smbtest"
	"github.com/postern-nas/postern/smb/wire"
)

var update = flag.Bool("update", false, "write what the server answers into testdata/talks")

// A talk is a file of testdata/talks: a conversation, byte by byte. It consists of
//
//	# text              a comment
//	> name              a message to the server, as hex in the lines that follow
//	< name              the message that must come next
//	< dropped           nothing more may come: the server ends the connection
//	! logon user        both legs of SESSION_SETUP with NTLM, whose bytes are random; then follow, as .> and .<, the four
//	                    messages that went to and fro
//	! return user       the same, in place of the session that the talk had before
//	@ name              what follows goes over another connection: a new one, or the one that has the name
//
// Between spaces stand two digits for a byte, or two letters for one that differs from run to run: ss for one of the
// SessionId, ps of the one before, sg of a signature, h1 of the first FileId that the server gave out, h2 of the second;
// and in what comes from the server tt for one of a time that is now, xx for one that is random. In what goes to the
// server ss, sg and h1 are filled in. Run the test with -update to have everything that the server says written anew.
type talk struct {
	t       *testing.T
	h       *house
	p       *smbtest.Peer
	log     *tee
	over    map[string]*smbtest.Peer // connections that have a name; the first has none
	before  uint64                   // SessionId
	handles [][]byte
	out     strings.Builder
}

// at has what follows said on the connection of that name.
func (k *talk) at(name string) {
	if k.p != nil && k.p.SessionID != 0 {
		k.before = k.p.SessionID
	}
	if k.over[name] == nil {
		p := k.h.dial()
		p.Conn = &tee{Conn: p.Conn}
		k.over[name] = p
	}
	k.p = k.over[name]
	k.log = k.p.Conn.(*tee)
}

// A tee keeps what goes over a connection, in order.
type tee struct {
	net.Conn
	said []said
}

type said struct {
	mine bool
	b    []byte
}

func (c *tee) note(mine bool, b []byte) {
	if n := len(c.said); n > 0 && c.said[n-1].mine == mine {
		c.said[n-1].b = append(c.said[n-1].b, b...)
		return
	}
	c.said = append(c.said, said{mine, bytes.Clone(b)})
}

func (c *tee) Write(b []byte) (int, error) {
	c.note(true, b)
	return c.Conn.Write(b)
}

func (c *tee) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.note(false, b[:n])
	return n, err
}

// settings are what servers have that talks are about; the others compress.
var settings = map[string]func(*smb.Config){
	"persistent": func(cfg *smb.Config) {
		cfg.Handles = &shelf{records: make(map[uint64][]byte)}
		cfg.Shares[0].ContinuouslyAvailable = true
	},
}

func TestTalks(t *testing.T) {
	files, err := filepath.Glob("testdata/talks/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal(err, "no talks")
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txt")
		set := settings[name]
		if set == nil {
			set = compressing
		}
		t.Run(name, func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			k := &talk{t: t, h: newHouse(t, set), over: make(map[string]*smbtest.Peer)}
			k.at("")
			k.run(string(want))
			got := k.out.String()
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			g, w := strings.Split(got, "\n"), strings.Split(string(want), "\n")
			for i := range g {
				if i >= len(w) || g[i] != w[i] {
					t.Fatalf("%s:%d: differs from here on (see -update):\n%s", file, i+1, strings.Join(g[i:min(i+20, len(g))], "\n"))
				}
			}
			if len(w) != len(g) {
				t.Errorf("%s: %d lines, want %d", file, len(g), len(w))
			}
		})
	}
}

// run goes through a talk and writes it anew as it is this time.
func (k *talk) run(text string) {
	k.t.Helper()
	lines := strings.SplitAfter(text, "\n")
	for len(lines) > 0 {
		line := strings.TrimSpace(lines[0])
		n := 1
		for n < len(lines) && isDump(lines[n]) {
			n++
		}
		dump := lines[1:n]
		switch lead, rest, _ := strings.Cut(line, " "); lead {
		case ">":
			k.out.WriteString(lines[0] + strings.Join(dump, ""))
			k.send(dump)
		case "<":
			k.expect(rest)
		case "!":
			k.out.WriteString(lines[0])
			k.logon(rest)
		case "@":
			k.out.WriteString(lines[0])
			k.at(rest)
		case ".>", ".<": // written by logon
		default:
			k.out.WriteString(lines[0])
		}
		lines = lines[n:]
	}
}

// isDump reports whether a line has bytes: an offset of four digits and two spaces begin it.
func isDump(line string) bool {
	if len(line) < 8 || line[4:6] != "  " {
		return false
	}
	_, err := hex.DecodeString(line[:4])
	return err == nil
}

// send fills in what is known only now, signs and sends.
func (k *talk) send(dump []string) {
	k.t.Helper()
	var msg []byte
	run := map[string]int{}
	for _, line := range dump {
		line, _, _ = strings.Cut(line[4:], "|")
		for _, tok := range strings.Fields(line) {
			i := run[tok]
			run[tok]++
			switch {
			case tok == "ss":
				msg = append(msg, byte(k.p.SessionID>>(i%8*8)))
			case tok == "sg":
				msg = append(msg, 0)
			case tok[0] == 'h':
				n := int(tok[1] - '1')
				if n < 0 || n >= len(k.handles) {
					k.t.Fatalf("no handle %s", tok)
				}
				msg = append(msg, k.handles[n][i%16])
			default:
				b, err := hex.DecodeString(tok)
				if err != nil {
					k.t.Fatalf("%q: %v", tok, err)
				}
				msg = append(msg, b...)
			}
		}
	}
	for rest := msg; wire.Protocol(rest) == wire.ProtocolSMB2; {
		one, more, err := wire.Cut(rest)
		if err != nil {
			break
		}
		var hdr wire.Header
		if err := hdr.Decode(one); err != nil {
			k.t.Fatal(err)
		}
		if hdr.Flags&wire.FlagSigned != 0 && hdr.Signature == ([16]byte{}) {
			k.p.Signer.Sign(one)
		}
		if hdr.Command == wire.CmdNegotiate {
			k.p.Preauth.Update(one)
		}
		k.p.MessageID = hdr.MessageID + uint64(max(hdr.CreditCharge, 1))
		rest = more
	}
	switch wire.Protocol(msg) {
	case wire.ProtocolSMB1:
		k.p.MessageID = 1
	case wire.ProtocolCompressed:
		if wire.CompressedSize(msg) > 1<<20 {
			break // it lies
		}
		plain := k.unpack(msg)
		k.p.Signer.Sign(plain)
		copy(msg[packedHead+48:], plain[48:64])
	}
	k.p.SendRaw(msg)
}

// packedHead is where the header stands in a compressed message that leaves it as it is, chained or not.
const packedHead = 16

func (k *talk) unpack(msg []byte) []byte {
	k.t.Helper()
	plain, err := (&smbtest.Compression{Algorithms: everyCompression, Chained: true}).Unpack(msg)
	if err != nil {
		k.t.Fatal(err)
	}
	return plain
}

// expect receives a frame and writes it down.
func (k *talk) expect(name string) {
	k.t.Helper()
	var prefix [4]byte
	k.p.Conn.SetReadDeadline(time.Now().Add(smbtest.Patience))
	if _, err := io.ReadFull(k.p.Conn, prefix[:]); err != nil {
		if name != "dropped" {
			k.t.Fatalf("waiting for %s: %v", name, err)
		}
		fmt.Fprintf(&k.out, "< dropped\n")
		return
	}
	msg := make([]byte, binary.BigEndian.Uint32(prefix[:]))
	if _, err := io.ReadFull(k.p.Conn, msg); err != nil {
		k.t.Fatal(err)
	}
	plain := msg
	if wire.Protocol(msg) == wire.ProtocolCompressed {
		plain = k.unpack(msg)
	}
	k.learn(plain)
	k.write("<", msg)
}

// learn takes from a reply what later messages need, and checks its signature.
func (k *talk) learn(msg []byte) {
	for rest := msg; len(rest) > 0; {
		one, more, err := wire.Cut(rest)
		if err != nil {
			k.t.Fatal(err)
		}
		rest = more
		var hdr wire.Header
		if err := hdr.Decode(one); err != nil {
			k.t.Fatal(err)
		}
		// Without a session there is no key: the signature is the request's then.
		if hdr.Flags&wire.FlagSigned != 0 && hdr.Status != nt.UserSessionDeleted && !k.p.Signer.Verify(one) {
			k.t.Errorf("%v response: wrong signature", hdr.Command)
		}
		switch {
		case hdr.Command == wire.CmdNegotiate && hdr.Status == nt.Success:
			k.negotiated(one)
		case hdr.Command == wire.CmdCreate && hdr.Status == nt.Success:
			h := one[wire.HeaderSize+64 : wire.HeaderSize+80]
			if !slices.ContainsFunc(k.handles, func(known []byte) bool { return bytes.Equal(known, h) }) {
				k.handles = append(k.handles, bytes.Clone(h))
			}
		}
	}
}

func (k *talk) negotiated(msg []byte) {
	var resp wire.NegotiateResponse
	if err := resp.Decode(msg); err != nil {
		k.t.Fatal(err)
	}
	k.p.Dialect = resp.Dialect
	switch {
	case resp.Dialect == wire.DialectWild:
	case resp.Dialect == wire.Dialect311:
		k.p.Preauth.Update(msg)
		k.p.Cipher = crypt.AES128GCM
	case resp.Dialect >= wire.Dialect300:
		k.p.Signing, k.p.Cipher = crypt.AESCMAC, crypt.AES128CCM
	default:
		k.p.Signing, k.p.Cipher = crypt.HMACSHA256, 0
	}
}

func (k *talk) logon(how string) {
	k.t.Helper()
	k.log.said = nil
	previous := uint64(0)
	how, user, _ := strings.Cut(how, " ")
	if how == "return" {
		previous = k.before
	}
	if s := k.p.Logon(user, "secret", previous); s != nt.Success {
		k.t.Fatalf("logon of %s: %v", user, s)
	}
	for _, s := range k.log.said {
		lead := ".<"
		if s.mine {
			lead = ".>"
		}
		k.write(lead, s.b[4:])
	}
}

// write appends a message as a dump: each of its elements by itself, and what differs from run to run as letters.
func (k *talk) write(lead string, msg []byte) {
	tok := make([]string, len(msg))
	for i, b := range msg {
		tok[i] = fmt.Sprintf("%02x", b)
	}
	cover := func(at, n int, name string) {
		for i := range n {
			tok[at+i] = name
		}
	}
	var title []string
	now := dtyp.FiletimeOf(time.Now())
	const hour = 3600 * 1e7
	var starts []int
	rest := msg
	if wire.Protocol(msg) == wire.ProtocolCompressed {
		title, starts, rest = append(title, "COMPRESSED"), []int{0}, nil
		cover(packedHead+40, 8, "ss")
		cover(packedHead+48, 16, "sg")
		for n, h := range k.handles {
			if at := bytes.Index(msg, h); at >= 0 {
				cover(at, 16, fmt.Sprintf("h%d", n+1))
			}
		}
	}
	for len(rest) > 0 {
		start := len(msg) - len(rest)
		starts = append(starts, start)
		one, more, err := wire.Cut(rest)
		if err != nil {
			k.t.Fatal(err)
		}
		rest = more
		var hdr wire.Header
		if err := hdr.Decode(one); err != nil {
			k.t.Fatal(err)
		}
		name := hdr.Command.String()
		if hdr.Flags&wire.FlagServerToRedir != 0 {
			name += " " + strings.TrimPrefix(hdr.Status.String(), "STATUS_")
		}
		title = append(title, name)
		for i := wire.HeaderSize; i+8 <= len(one); i++ {
			if v := binary.LittleEndian.Uint64(one[i:]); v > uint64(now)-hour && v < uint64(now)+hour {
				cover(start+i, 8, "tt")
			}
		}
		for n, h := range k.handles {
			for i := wire.HeaderSize; i+16 <= len(one); i++ {
				if bytes.Equal(one[i:i+16], h) {
					cover(start+i, 16, fmt.Sprintf("h%d", n+1))
				}
			}
		}
		if hdr.SessionID != 0 {
			cover(start+40, 8, "ss")
		}
		if hdr.Signature != ([16]byte{}) {
			cover(start+48, 16, "sg")
		}
		if name == "SESSION_SETUP" && k.before != 0 && binary.LittleEndian.Uint64(one[wire.HeaderSize+16:]) == k.before {
			cover(start+wire.HeaderSize+16, 8, "ps")
		}
		at, n := random(hdr, one)
		cover(start+at, n, "xx")
	}
	fmt.Fprintf(&k.out, "%s %s\n", lead, strings.Join(title, " + "))
	for n, start := range starts {
		end := len(msg)
		if n+1 < len(starts) {
			end = starts[n+1]
		}
		for at := start; at < end; at += 16 {
			to := min(at+16, end)
			text := make([]byte, 0, 16)
			for i := at; i < to; i++ {
				if c := msg[i]; c > ' ' && c < 0x7F && fmt.Sprintf("%02x", c) == tok[i] {
					text = append(text, c)
				} else {
					text = append(text, '.')
				}
			}
			fmt.Fprintf(&k.out, "%04x  %-23s  %-23s  |%s|\n", at, strings.Join(tok[at:min(at+8, to)], " "), strings.Join(tok[min(at+8, to):to], " "), text)
		}
	}
}

// random says which part of a message is random: salts, security tokens, the association group of RPC.
func random(hdr wire.Header, msg []byte) (at, n int) {
	find := func(part []byte) (int, int) { return bytes.Index(msg, part), len(part) }
	response := hdr.Flags&wire.FlagServerToRedir != 0
	switch {
	case hdr.Command == wire.CmdNegotiate && response:
		var resp wire.NegotiateResponse
		if resp.Decode(msg) == nil {
			for _, c := range resp.Contexts {
				var p wire.PreauthIntegrity
				if c.Type == wire.ContextPreauthIntegrity && p.Decode(c.Data) == nil {
					return find(p.Salt)
				}
			}
		}
	case hdr.Command == wire.CmdSessionSetup && response:
		var resp wire.SessionSetupResponse
		if resp.Decode(msg) == nil && len(resp.SecurityBuffer) > 0 {
			return find(resp.SecurityBuffer)
		}
	case hdr.Command == wire.CmdSessionSetup:
		var req wire.SessionSetupRequest
		if req.Decode(msg) == nil {
			return find(req.SecurityBuffer)
		}
	default:
		if ack := bytes.Index(msg, []byte("\x05\x00\x0c\x03\x10\x00\x00\x00")); ack >= 0 {
			return ack + 20, 4
		}
	}
	return 0, 0
}
