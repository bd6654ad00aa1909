package smb_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/postern-nas/postern/smb"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/smbtest"
	"github.com/postern-nas/postern/smb/vfs/memfs"
	"github.com/postern-nas/postern/smb/wire"
)

var everyCompression = []uint16{
	wire.CompressionPatternV1, wire.CompressionLZ4, wire.CompressionLZ77, wire.CompressionLZ77Huffman, wire.CompressionLZNT1,
}

func compressing(cfg *smb.Config) { cfg.Compression = true }

// packedPeer is logon with compression offered.
func (h *house) packedPeer(share string, c smbtest.Compression) *smbtest.Peer {
	h.t.Helper()
	p := h.dial()
	p.Compression = c
	p.Compression.Send = false
	p.Negotiate(wire.Dialect311)
	if s := p.Logon("alice", "secret", 0); s != nt.Success {
		h.t.Fatalf("logon: %v", s)
	}
	if s := p.Tree(share); s != nt.Success {
		h.t.Fatalf("tree connect: %v", s)
	}
	p.Compression.Send = c.Send
	return p
}

func noise(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

// packedRead reads as a client that would like it compressed, and returns the message's length on the wire if it was.
func packedRead(t *testing.T, p *smbtest.Peer, id wire.FileID, n int, flags uint8) (data []byte, packed int) {
	t.Helper()
	h := p.Request(wire.CmdRead, n)
	p.Send(smbtest.Element{Header: h, Body: &wire.ReadRequest{FileID: id, Length: uint32(n), Flags: flags}})
	m := p.Final()
	var resp wire.ReadResponse
	if m.Status != nt.Success {
		t.Fatalf("READ: %v", m.Status)
	}
	if err := resp.Decode(m.Raw); err != nil {
		t.Fatal(err)
	}
	return resp.Data, m.Packed
}

// Every algorithm, chained and not, plain and within a seal, there and back.
func TestCompression(t *testing.T) {
	h := newHouse(t, compressing)
	text := []byte(strings.Repeat("All work and no play makes Jack a dull boy. ", 7000))
	contents := map[string][]byte{
		"text": text, "zeros": make([]byte, 300_000), "noise": noise(300_000),
		"noise in zeros": append(append(make([]byte, 100_000), noise(50_000)...), make([]byte, 100_000)...),
		"text in zeros":  append(append(make([]byte, 100_000), text[:50_000]...), make([]byte, 100_000)...),
		"short":          []byte("short"), "page of zeros": make([]byte, 4096),
	}
	for _, id := range everyCompression {
		for _, chained := range []bool{false, true} {
			for _, seal := range []bool{false, true} {
				if id == wire.CompressionPatternV1 && !chained {
					continue // of no use by itself
				}
				t.Run(fmt.Sprintf("%d/chained=%v/seal=%v", id, chained, seal), func(t *testing.T) {
					offer := []uint16{id}
					if chained && id != wire.CompressionPatternV1 {
						offer = append(offer, wire.CompressionPatternV1)
					}
					p := h.packedPeer("disk", smbtest.Compression{Algorithms: offer, Chained: chained, Send: id != wire.CompressionPatternV1})
					p.Seal = seal
					for name, want := range contents {
						f := p.Open(fmt.Sprintf("%d%v%v%s", id, chained, seal, name), all, wire.FileCreate, 0)
						write(t, p, f, 0, want)
						got, packed := packedRead(t, p, f, len(want), wire.ReadRequestCompressed)
						if !bytes.Equal(got, want) {
							t.Errorf("%s: came back otherwise", name)
						}
						lz := id != wire.CompressionLZNT1 && id != wire.CompressionPatternV1
						zeros := strings.Contains(name, "zeros")
						if wanted := lz && name != "noise" && name != "short" || chained && zeros; (packed > 0) != wanted || packed > len(want)*4/5 {
							t.Errorf("%s of %d bytes: %d when compressed, wanted %v", name, len(want), packed, wanted)
						}
						if got, packed := packedRead(t, p, f, len(want), 0); packed != 0 || !bytes.Equal(got, want) {
							t.Errorf("%s: compressed without being asked for, or wrong", name)
						}
						p.Close(f)
					}
					p.Conn.Close()
				})
			}
		}
	}
	if h.server.Stats().Saved == 0 {
		t.Error("nothing saved")
	}
}

// A compound goes through compression as a whole, its READ too.
func TestCompressionOfCompound(t *testing.T) {
	h := newHouse(t, compressing)
	p := h.packedPeer("disk", smbtest.Compression{Algorithms: everyCompression, Chained: true, Send: true})
	f := p.Open("file", all, wire.FileCreate, 0)
	want := bytes.Repeat([]byte("abcdefghij"), 5000)
	write(t, p, f, 0, want)
	p.Close(f)
	create := smbtest.Element{Header: p.Request(wire.CmdCreate, 0), Body: smbtest.OpenAs("file", all, wire.FileOpen, 0)}
	rd := smbtest.Element{Header: p.Request(wire.CmdRead, 0), Body: &wire.ReadRequest{FileID: wire.NoFileID, Length: 50000, Flags: wire.ReadRequestCompressed}}
	cl := smbtest.Element{Header: p.Request(wire.CmdClose, 0), Body: &wire.CloseRequest{FileID: wire.NoFileID}}
	rd.Header.Flags |= wire.FlagRelated
	cl.Header.Flags |= wire.FlagRelated
	p.Send(create, rd, cl)
	for _, cmd := range []wire.Command{wire.CmdCreate, wire.CmdRead, wire.CmdClose} {
		m := p.Final()
		if m.Command != cmd || m.Status != nt.Success || m.Packed == 0 || m.Packed > 5000 {
			t.Errorf("%v: %v, %d bytes compressed", m.Command, m.Status, m.Packed)
		}
		var resp wire.ReadResponse
		if cmd == wire.CmdRead && (resp.Decode(m.Raw) != nil || !bytes.Equal(resp.Data, want)) {
			t.Error("wrong data")
		}
	}
}

// The largest WRITE and READ there are fit.
func TestCompressionOfLargest(t *testing.T) {
	h := newHouse(t, compressing)
	p := h.packedPeer("disk", smbtest.Compression{Algorithms: everyCompression, Chained: true, Send: true})
	for range 8 {
		p.Do(wire.CmdEcho, &wire.EchoRequest{}, nil) // credits
	}
	f := p.Open("file", all, wire.FileCreate, 0)
	want := make([]byte, 8<<20)
	copy(want[4<<20:], "in the middle")
	write(t, p, f, 0, want)
	if got, packed := packedRead(t, p, f, len(want), wire.ReadRequestCompressed); !bytes.Equal(got, want) || packed == 0 || packed > 100_000 {
		t.Errorf("%d bytes compressed", packed)
	}
}

func TestNegotiateCompression(t *testing.T) {
	on, off := newHouse(t, compressing), newHouse(t, nil)
	for _, c := range []struct {
		h       *house
		dialect uint16
		offer   smbtest.Compression
		want    string
	}{
		{on, wire.Dialect311, smbtest.Compression{}, "nothing"},
		{off, wire.Dialect311, smbtest.Compression{Algorithms: everyCompression}, "nothing"},
		{on, wire.Dialect302, smbtest.Compression{Algorithms: everyCompression}, "nothing"},
		{on, wire.Dialect311, smbtest.Compression{Algorithms: everyCompression, Chained: true}, "[4 5 2 3 1] 1"},
		{on, wire.Dialect311, smbtest.Compression{Algorithms: []uint16{1, 3, 2, 99, 4}, Chained: true}, "[4 2 3 1] 1"},
		{on, wire.Dialect311, smbtest.Compression{Algorithms: everyCompression}, "[5 2 3 1] 0"},
		{on, wire.Dialect311, smbtest.Compression{Algorithms: []uint16{77}, Chained: true}, "[0] 0"},
		{on, wire.Dialect311, smbtest.Compression{Algorithms: []uint16{4}}, "[0] 0"},
		{on, wire.Dialect311, smbtest.Compression{Algorithms: slices.Repeat([]uint16{2}, 100)}, "[2] 0"},
	} {
		p := c.h.dial()
		p.Compression = c.offer
		got := "nothing"
		for _, ctx := range p.Negotiate(c.dialect).Contexts {
			var w wire.Compression
			if ctx.Type != wire.ContextCompression {
				continue
			}
			if err := w.Decode(ctx.Data); err != nil {
				t.Error(err)
			}
			got = fmt.Sprint(w.Algorithms, w.Flags)
		}
		if got != c.want {
			t.Errorf("%v: answered %s, want %s", c.offer, got, c.want)
		}
	}
}

// The share tells clients to compress if they can, and its own listings are compressed.
func TestShareCompress(t *testing.T) {
	h := newHouse(t, func(cfg *smb.Config) {
		cfg.Compression = true
		cfg.Shares[1].Compress = true
	})
	flags := func(p *smbtest.Peer, share string) uint32 {
		t.Helper()
		var resp wire.TreeConnectResponse
		if s := p.Do(wire.CmdTreeConnect, &wire.TreeConnectRequest{Path: `\\nas\` + share}, &resp); s != nt.Success {
			t.Fatal(s)
		}
		return resp.ShareFlags & wire.ShareFlagCompressData
	}
	p := h.packedPeer("private", smbtest.Compression{Algorithms: []uint16{wire.CompressionLZ77}})
	if flags(p, "disk") != 0 || flags(p, "private") == 0 {
		t.Error("wrong share flags")
	}
	if without := h.logon("alice", "disk"); flags(without, "private") != 0 {
		t.Error("told to compress, and cannot")
	}
	for i := range 200 {
		p.Close(p.Open(fmt.Sprintf("a file with the number %d", i), all, wire.FileCreate, 0))
	}
	for _, c := range []struct {
		share string
		want  bool
	}{{"private", true}, {"disk", false}} {
		p.Tree(c.share)
		dir := p.Open("", all, wire.FileOpen, wire.FileDirectoryFile)
		req := smbtest.Element{Header: p.Request(wire.CmdQueryDirectory, 0), Body: &wire.QueryDirectoryRequest{FileID: dir, InfoClass: 0x25, Pattern: "*", OutputBufferLength: 65536}}
		p.Send(req)
		if m := p.Final(); m.Status != nt.Success || (m.Packed > 0) != c.want {
			t.Errorf("listing of %s: %v, %d bytes compressed", c.share, m.Status, m.Packed)
		}
	}
}

// SEC-10: what must not be decompressed ends the connection, and costs nothing before that.
func TestSEC10Compressed(t *testing.T) {
	h := newHouse(t, func(cfg *smb.Config) {
		cfg.Compression = true
		cfg.MemoryBudget = 64 << 20
	})
	echo := func(p *smbtest.Peer) []byte {
		return p.Encode(smbtest.Element{Header: p.Request(wire.CmdEcho, 0), Body: &wire.EchoRequest{}})
	}
	lz := smbtest.Compression{Algorithms: []uint16{wire.CompressionLZ77}}
	every := smbtest.Compression{Algorithms: everyCompression, Chained: true}
	chain := func(size int, parts ...wire.CompressionPayload) []byte {
		b := wire.AppendCompressionChain(nil, uint32(size))
		for i, p := range parts {
			if i == 0 {
				p.Flags = wire.CompressionFlagChained
			}
			b = p.Append(b)
		}
		return b
	}
	unchained := func(size uint32, id uint16, offset uint32, data []byte) []byte {
		return append((&wire.CompressionHeader{OriginalSize: size, Algorithm: id, Offset: offset}).Append(nil), data...)
	}
	pattern := func(n uint32) wire.CompressionPayload {
		return wire.CompressionPayload{Algorithm: wire.CompressionPatternV1, Data: (&wire.PatternV1{Repetitions: n}).Append(nil)}
	}
	for _, c := range []struct {
		name  string
		offer smbtest.Compression
		make  func(msg []byte) []byte
	}{
		{"not agreed on", smbtest.Compression{}, lz.Pack},
		{"another algorithm", lz, (&smbtest.Compression{Algorithms: []uint16{wire.CompressionLZ4}}).Pack},
		{"a chain that was not agreed on", lz, every.Pack},
		{"a pattern that was not agreed on", smbtest.Compression{Algorithms: lz.Algorithms, Chained: true}, func(m []byte) []byte {
			return chain(len(m)+100, wire.CompressionPayload{Data: m}, pattern(100))
		}},
		{"an algorithm that there is not", every, func(m []byte) []byte { return unchained(uint32(len(m)), 77, 0, m) }},
		{"no algorithm", every, func(m []byte) []byte { return unchained(uint32(len(m)), wire.CompressionNone, 0, m) }},
		{"a pattern without a chain", every, func(m []byte) []byte { return unchained(64, wire.CompressionPatternV1, 0, pattern(64).Data) }},
		{"half a header", every, func([]byte) []byte { return []byte("\xfcSMB\x40\x00\x00\x00\x02\x00") }},
		{"offset beyond", every, func(m []byte) []byte { return unchained(64, wire.CompressionLZ4, uint32(len(m))+1, m) }},
		{"SMBGhost: offset and size wrap around", every, func(m []byte) []byte {
			return unchained(0xFFFFFFFF, wire.CompressionLZ4, 0x10, append(m, make([]byte, 0x100)...))
		}},
		{"the largest offset", every, func(m []byte) []byte { return unchained(64, wire.CompressionLZ4, 0xFFFFFFFF, m) }},
		{"a byte more than there may be", every, func(m []byte) []byte { return unchained(8<<20+256+17, wire.CompressionLZ4, 0, m) }},
		{"a chain of a byte more than there may be", every, func(m []byte) []byte { return chain(8<<20+256+17, pattern(8<<20+256+17)) }},
		{"SMBleed: less than announced", every, func(m []byte) []byte {
			packed := every.Pack(m)
			binary.LittleEndian.PutUint32(packed[4:], uint32(len(m)+1))
			return packed
		}},
		{"more than announced", every, func(m []byte) []byte {
			packed := every.Pack(m)
			binary.LittleEndian.PutUint32(packed[4:], uint32(len(m)-1))
			return packed
		}},
		{"bytes behind", every, func(m []byte) []byte { return append(every.Pack(m), 0) }},
		{"a part behind", every, func(m []byte) []byte {
			return chain(len(m), wire.CompressionPayload{Data: m}, pattern(1))
		}},
		{"a pattern longer than announced", every, func(m []byte) []byte {
			return chain(len(m)+10, wire.CompressionPayload{Data: m}, pattern(0xFFFFFFFF))
		}},
		{"a pattern with more to it", every, func(m []byte) []byte {
			p := pattern(8)
			p.Data = append(p.Data, 0)
			return chain(len(m)+8, wire.CompressionPayload{Data: m}, p)
		}},
		{"a part of LZ longer than announced", every, func(m []byte) []byte {
			return chain(len(m), wire.CompressionPayload{Algorithm: wire.CompressionLZ77, OriginalSize: 0xFFFFFFFF, Data: m})
		}},
		{"too many parts", every, func(m []byte) []byte {
			parts := slices.Repeat([]wire.CompressionPayload{pattern(0)}, 32)
			return chain(len(m), append(parts, wire.CompressionPayload{Data: m})...)
		}},
		{"less than a header", every, func(m []byte) []byte { return chain(60, wire.CompressionPayload{Data: m[:60]}) }},
		{"compressed twice", every, func(m []byte) []byte { return every.Pack(every.Pack(m)) }},
		{"a seal inside", every, func(m []byte) []byte {
			return chain(len(m), wire.CompressionPayload{Data: append([]byte("\xfdSMB"), m[4:]...)})
		}},
		{"SMB1 inside", every, func(m []byte) []byte {
			return chain(len(m), wire.CompressionPayload{Data: append([]byte("\xffSMB"), m[4:]...)})
		}},
		{"noise", every, func(m []byte) []byte { return unchained(500, wire.CompressionLZ77Huffman, 0, noise(400)) }},
	} {
		for _, seal := range []bool{false, true} {
			p := h.packedPeer("disk", c.offer)
			packed := c.make(echo(p))
			var before, after runtime.MemStats
			if seal {
				buf := append(make([]byte, wire.TransformHeaderSize), packed...)
				if err := p.Sealer.Seal(buf, p.SessionID); err != nil {
					t.Fatal(err)
				}
				packed = buf
			}
			runtime.ReadMemStats(&before)
			p.SendRaw(packed)
			if !p.Dropped() {
				t.Errorf("%s, sealed %v: taken", c.name, seal)
			}
			runtime.ReadMemStats(&after)
			if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
				t.Errorf("%s: %d bytes allocated", c.name, n)
			}
		}
	}
	// Before NEGOTIATE, and before there is a session.
	p := h.dial()
	p.SendRaw(every.Pack(echo(p)))
	if !p.Dropped() {
		t.Error("compressed before NEGOTIATE: taken")
	}
	p = h.dial()
	p.Compression = every
	p.Negotiate(wire.Dialect311)
	p.SendRaw(every.Pack(echo(p)))
	if !p.Dropped() {
		t.Error("compressed before there is a session: taken")
	}
	// A compressed message that is none of this is served, so that the above is refused for what it is.
	p = h.packedPeer("disk", every)
	p.SendRaw(every.Pack(echo(p)))
	if m := p.MustRecv(); m.Status != nt.Success {
		t.Errorf("ECHO: %v", m.Status)
	}
	if err := h.server.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := h.server.Idle(); err != nil {
		t.Error(err)
	}
}

// SEC-10: the messages of many connections that are decompressed at a time hold no more than is set aside, and none of
// them waits for ever.
func TestSEC10InflatedBudget(t *testing.T) {
	h := newHouse(t, func(cfg *smb.Config) {
		cfg.Compression = true
		cfg.MemoryBudget = 16 << 20 // 2 MiB for what is decompressed: less than one of these
	})
	offer := smbtest.Compression{Algorithms: everyCompression, Chained: true, Send: true}
	done := make(chan bool)
	const clients = 6
	for i := range clients {
		p := h.packedPeer("disk", offer)
		f := p.Open(fmt.Sprint("file", i), all, wire.FileCreate, 0)
		go func() {
			data := make([]byte, 3<<20)
			ok := true
			for range 5 {
				req := &wire.WriteRequest{FileID: f, Data: data}
				ok = ok && p.DoCharged(wire.CmdWrite, len(data), req, nil) == nt.Success
			}
			done <- ok
		}()
	}
	for range clients {
		if !<-done {
			t.Error("a WRITE failed")
		}
	}
}

// SEC-10: a hundred bytes that ask for a MiB are cheap to send. However many come, only a few are worked on at a time.
func TestSEC10SmallThatAreLarge(t *testing.T) {
	h := newHouse(t, func(cfg *smb.Config) {
		cfg.Compression = true
		cfg.MemoryBudget = 64 << 20 // 8 MiB for what is decompressed
	})
	p := h.packedPeer("disk", smbtest.Compression{Algorithms: everyCompression, Chained: true})
	for range 5 { // credits
		p.Do(wire.CmdEcho, &wire.EchoRequest{}, nil)
	}
	before := runtime.NumGoroutine()
	var all bytes.Buffer
	const messages = 150
	for range messages {
		echo := p.Encode(smbtest.Element{Header: p.Request(wire.CmdEcho, 0), Body: &wire.EchoRequest{}})
		b := wire.AppendCompressionChain(nil, 1<<20)
		b = (&wire.CompressionPayload{Flags: wire.CompressionFlagChained, Data: echo}).Append(b)
		pattern := wire.PatternV1{Repetitions: uint32(1<<20 - len(echo))}
		b = (&wire.CompressionPayload{Algorithm: wire.CompressionPatternV1, Data: pattern.Append(nil)}).Append(b)
		all.Write(frames(b))
	}
	if _, err := p.Conn.Write(all.Bytes()); err != nil {
		t.Fatal(err)
	}
	most := 0
	for range messages {
		if m := p.MustRecv(); m.Status != nt.AccessDenied { // the signature is of a message without what follows it
			t.Fatal(m.Status)
		}
		most = max(most, runtime.NumGoroutine())
	}
	if most > before+70 { // 64 workers, and these
		t.Errorf("%d goroutines, %d before", most, before)
	}
}

// FuzzUnpack looks for compressed messages that make the server panic or hold on to something.
func FuzzUnpack(f *testing.F) {
	every := smbtest.Compression{Algorithms: everyCompression, Chained: true}
	msg := append([]byte("\xfeSMB"), make([]byte, 300)...)
	copy(msg[200:], noise(50))
	f.Add(every.Pack(msg))
	f.Add(every.Pack(append(msg, bytes.Repeat([]byte("text"), 300)...)))
	for _, id := range everyCompression {
		if id != wire.CompressionPatternV1 {
			f.Add((&smbtest.Compression{Algorithms: []uint16{id}}).Pack(msg))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := smb.Unpack(b)
		if err != nil {
			return
		}
		again, err := smb.Unpack(b)
		if err != nil || !bytes.Equal(got, again) {
			t.Error("not the same again: some of it was never written")
		}
		packed, ok := smb.Pack(got, min(len(got), 80))
		if !ok {
			return
		}
		if back, err := smb.Unpack(packed); err != nil || !bytes.Equal(back, got) {
			t.Errorf("our own: %v", err)
		}
	})
}

// FuzzPack looks for messages that do not come back as they were.
func FuzzPack(f *testing.F) {
	f.Add(bytes.Repeat([]byte("ab"), 4000), uint16(500), uint16(500))
	f.Add(noise(5000), uint16(100), uint16(0))
	f.Add([]byte{}, uint16(5000), uint16(0))
	f.Fuzz(func(t *testing.T, middle []byte, front, back uint16) {
		msg := append(append(append([]byte("\xfeSMB"), make([]byte, 76+int(front))...), middle...), bytes.Repeat([]byte{7}, int(back))...)
		packed, ok := smb.Pack(msg, 80)
		if !ok {
			return
		}
		if len(packed) >= len(msg) {
			t.Errorf("%d bytes are %d when compressed", len(msg), len(packed))
		}
		if got, err := smb.Unpack(packed); err != nil || !bytes.Equal(got, msg) {
			t.Error(err)
		}
	})
}

// BenchmarkCompressedRead is a READ of 1 MiB over loopback, signed and sealed, as it is and compressed.
func BenchmarkCompressedRead(b *testing.B) {
	for _, kind := range []string{"text", "noise", "zeros"} {
		data := map[string][]byte{"noise": noise(1 << 20), "zeros": make([]byte, 1<<20)}[kind]
		if kind == "text" {
			for i := 0; len(data) < 1<<20; i++ {
				data = fmt.Appendf(data, "%d: %x of a line with the number %d\n", i%1000, i*i, i)
			}
			data = data[:1<<20]
		}
		for _, seal := range []bool{false, true} {
			for _, id := range []uint16{0, wire.CompressionLZ4, wire.CompressionLZ77, wire.CompressionLZ77Huffman} {
				b.Run(fmt.Sprintf("%s/seal=%v/%d", kind, seal, id), func(b *testing.B) { benchRead(b, data, seal, id) })
			}
		}
	}
}

func benchRead(b *testing.B, data []byte, seal bool, id uint16) {
	var t testing.T
	h := &house{t: &t, info: smb.ConnInfo{Transport: "tcp"}}
	h.server = fuzzServer(b, memfs.New())
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	server, err := l.Accept()
	if err != nil {
		b.Fatal(err)
	}
	go h.server.ServeConn(b.Context(), server, h.info)
	p := smbtest.New(b, client)
	p.Compression = smbtest.Compression{Algorithms: []uint16{wire.CompressionPatternV1, id}, Chained: true}
	flags := wire.ReadRequestCompressed
	if id == 0 {
		p.Compression, flags = smbtest.Compression{}, 0
	}
	p.Negotiate(wire.Dialect311)
	p.Logon("alice", "secret", 0)
	p.Tree("disk")
	p.Seal = seal
	f := p.Open("file", all, wire.FileCreate, 0)
	p.DoCharged(wire.CmdWrite, len(data), &wire.WriteRequest{FileID: f, Data: data}, nil)
	b.SetBytes(int64(len(data)))
	b.ResetTimer()
	var prefix [4]byte
	buf, n := make([]byte, 2<<20), 0
	for b.Loop() {
		p.Send(smbtest.Element{Header: p.Request(wire.CmdRead, len(data)), Body: &wire.ReadRequest{FileID: f, Length: uint32(len(data)), Flags: flags}})
		if _, err := io.ReadFull(client, prefix[:]); err != nil {
			b.Fatal(err)
		}
		n = int(binary.BigEndian.Uint32(prefix[:]))
		if _, err := io.ReadFull(client, buf[:n]); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(n)/float64(len(data)), "ratio")
}
