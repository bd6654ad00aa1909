package wire

import (
	"bytes"
	"testing"
)

func TestSEC03NextCommand(t *testing.T) {
	const size = 3 * 128
	compound := func(next uint32) []byte {
		msg := encode(CmdFlush, &FlushRequest{})
		PutNextCommand(msg, next)
		return append(msg, make([]byte, size-len(msg))...)
	}
	for _, next := range []uint32{
		1, 7, 8, 56, 63, 64, 65, 66, 71, 127, 129, size - 64, size - 8, size, size + 8, 0x7FFFFFF8, 0x80000000, 0xFFFFFFF8,
		0xFFFFFFFF,
	} {
		first, rest, err := Cut(compound(next))
		mustRefuse(t, err, "NextCommand %#x: %d and %d bytes", next, len(first), len(rest))
	}
	for _, next := range []uint32{72, 88, 128, size - 72} {
		msg := compound(next)
		first, rest, err := Cut(msg)
		if err != nil || len(first) != int(next) || len(rest) != size-int(next) || cap(first) != len(first) {
			t.Errorf("NextCommand %d: %d (of %d) and %d bytes, %v", next, len(first), cap(first), len(rest), err)
		}
	}
	if first, rest, err := Cut(compound(0)); err != nil || len(first) != size || rest != nil {
		t.Errorf("the last one: %d and %d bytes, %v", len(first), len(rest), err)
	}
	for n := range smallest {
		_, _, err := Cut(compound(0)[:n])
		mustRefuse(t, err, "%d bytes", n)
	}
	// Each cut takes bytes away, so 10,000 messages take 10,000 steps and no more.
	one := encode(CmdEcho, &EchoRequest{})
	one = append(one, make([]byte, 72-len(one))...)
	PutNextCommand(one, 72)
	many, steps := bytes.Repeat(one, 10_000), 0
	for len(many) > 0 {
		_, rest, err := Cut(many)
		if err != nil {
			break // the very last points behind the end
		}
		many = rest
		steps++
	}
	if steps != 9_999 {
		t.Errorf("%d steps", steps)
	}
}

// pairs lists where each message has an offset and the length that goes with it, in bytes from the header, and where
// the variable part may start.
var pairs = []struct {
	kind               message
	off, offSize       int
	length, lengthSize int
	start              int
}{
	{&NegotiateResponse{}, 56, 2, 58, 2, 64},
	{&SessionSetupRequest{}, 12, 2, 14, 2, 24},
	{&SessionSetupResponse{}, 4, 2, 6, 2, 8},
	{&TreeConnectRequest{}, 4, 2, 6, 2, 8},
	{&CreateRequest{}, 44, 2, 46, 2, 56},
	{&CreateRequest{}, 48, 4, 52, 4, 56},
	{&CreateResponse{}, 80, 4, 84, 4, 88},
	{&ReadRequest{}, 44, 2, 46, 2, 48},
	{&ReadResponse{}, 2, 1, 4, 4, 16},
	{&WriteRequest{}, 2, 2, 4, 4, 48},
	{&IoctlRequest{}, 24, 4, 28, 4, 56},
	{&IoctlRequest{}, 36, 4, 40, 4, 56},
	{&IoctlResponse{}, 24, 4, 28, 4, 48},
	{&IoctlResponse{}, 32, 4, 36, 4, 48},
	{&QueryDirectoryRequest{}, 24, 2, 26, 2, 32},
	{&QueryDirectoryResponse{}, 2, 2, 4, 4, 8},
	{&ChangeNotifyResponse{}, 2, 2, 4, 4, 8},
	{&QueryInfoRequest{}, 8, 2, 12, 4, 40},
	{&QueryInfoResponse{}, 2, 2, 4, 4, 8},
	{&SetInfoRequest{}, 8, 2, 4, 4, 32},
}

func put(msg []byte, at, size int, v uint64) {
	for i := range size {
		msg[HeaderSize+at+i] = byte(v >> (8 * i))
	}
}

func get(msg []byte, at, size int) (v uint64) {
	for i := range size {
		v |= uint64(msg[HeaderSize+at+i]) << (8 * i)
	}
	return v
}

func TestSEC05OffsetLength(t *testing.T) {
	tested := 0
	for _, p := range pairs {
		for _, s := range samples() {
			if name(s.body) != name(p.kind) {
				continue
			}
			good := encode(s.cmd, s.body)
			off, n := get(good, p.off, p.offSize), get(good, p.length, p.lengthSize)
			end, most := uint64(len(good)), uint64(1)<<(8*p.offSize)-1
			if n == 0 || off < uint64(HeaderSize+p.start) || off+n > end {
				t.Fatalf("%s: the table is wrong: %d bytes at %d of %d", name(p.kind), n, off, end)
			}
			tested++
			for _, bad := range []uint64{
				0, 1, HeaderSize - 1, HeaderSize, uint64(HeaderSize + p.start - 1), end - n + 1, end - 1, end, end + 1,
				most - n, most - n + 1, most - 1, most,
			} {
				msg := bytes.Clone(good)
				if bad > most || bad >= uint64(HeaderSize+p.start) && bad+n <= end {
					continue // does not fit the field, or is no mistake
				}
				put(msg, p.off, p.offSize, bad)
				mustRefuse(t, blank(p.kind).Decode(msg), "%s: %d bytes at %d of %d", name(p.kind), n, bad, end)

				put(msg, p.length, p.lengthSize, 0)
				if err := blank(p.kind).Decode(msg); err != nil {
					t.Errorf("%s: no bytes at %d: %v", name(p.kind), bad, err)
				}
			}
			most = uint64(1)<<(8*p.lengthSize) - 1
			for _, bad := range []uint64{end - off + 1, end - off + 2, end, most - off, most - off + 1, most - 1, most} {
				msg := bytes.Clone(good)
				put(msg, p.length, p.lengthSize, bad)
				mustRefuse(t, blank(p.kind).Decode(msg), "%s: %d bytes at %d of %d", name(p.kind), bad, off, end)
			}
		}
	}
	if tested < len(pairs) {
		t.Errorf("%d of %d pairs tested", tested, len(pairs))
	}

	// WriteChannelInfo needs a sample that has it.
	msg := encode(CmdWrite, &WriteRequest{ChannelInfo: []byte("info"), Data: []byte("data")})
	put(msg, 40, 2, uint64(len(msg)-3))
	mustRefuse(t, new(WriteRequest).Decode(msg), "WriteChannelInfoOffset behind the end")

	// ByteCount has no offset.
	msg = encode(CmdRead, &ErrorResponse{Data: []byte("data")})
	for _, n := range []uint64{5, 0x7FFFFFFF, 0xFFFFFFFF} {
		put(msg, 4, 4, n)
		mustRefuse(t, new(ErrorResponse).Decode(msg), "ByteCount %#x", n)
	}

	// A promise of a compressed message.
	h := (&CompressionHeader{Offset: 1}).Append(nil)
	mustRefuse(t, new(CompressionHeader).Decode(h), "Offset 1 of 0")
	for _, p := range []CompressionPayload{{Algorithm: CompressionLZ77}, {Algorithm: CompressionNone}} {
		b := p.Append(nil)
		for _, n := range []uint32{1, 3, 5, 0xFFFFFFFF} {
			if p.Algorithm == CompressionLZ77 && n == 4 {
				continue
			}
			le.PutUint32(b[4:], n)
			_, err := new(CompressionPayload).Decode(b)
			mustRefuse(t, err, "algorithm %d, length %#x", p.Algorithm, n)
		}
	}
}

func TestSEC06StructureSize(t *testing.T) {
	for _, s := range samples() {
		good := encode(s.cmd, s.body)
		for n := range good {
			mustRefuse(t, blank(s.body).Decode(good[:n:n]), "%s cut at %d of %d", name(s.body), n, len(good))
		}
		size := get(good, 0, 2)
		for _, bad := range []uint64{0, size - 1, size + 1, size ^ 0x8000, 0xFFFF} {
			msg := bytes.Clone(good)
			put(msg, 0, 2, bad)
			mustRefuse(t, blank(s.body).Decode(msg), "%s with StructureSize %d", name(s.body), bad)
		}
	}
	h := (&Header{}).Append(nil)
	for n := range h {
		mustRefuse(t, new(Header).Decode(h[:n]), "header of %d bytes", n)
	}
	for _, at := range []int{0, 3, 4, 5} {
		bad := bytes.Clone(h)
		bad[at] ^= 1
		mustRefuse(t, new(Header).Decode(bad), "header with another byte %d", at)
	}
	for _, s := range structures() {
		good := s.Append(nil)
		for n := range good {
			err := blank(s).Decode(good[:n:n])
			switch v := s.(type) {
			case *NetName:
				if n%2 == 0 {
					continue // any even number of bytes is a name
				}
			case *MaximalAccessRequest:
				if n == 0 {
					continue
				}
			case *Lease:
				if v.V2 && n == leaseV1 {
					continue
				}
			case *ResumeKeyResponse:
				if n >= 28 {
					continue // the context that nobody uses
				}
			case *SnapshotArray:
				if n >= len(good)-2 {
					continue // the terminator of the list
				}
			}
			mustRefuse(t, err, "%s cut at %d of %d", name(s), n, len(good))
		}
	}
	id := (&AppInstanceID{}).Append(nil)
	id[0]++
	mustRefuse(t, new(AppInstanceID).Decode(id), "AppInstanceId")
	version := (&AppInstanceVersion{}).Append(nil)
	version[0]++
	mustRefuse(t, new(AppInstanceVersion).Decode(version), "AppInstanceVersion")
	transform := (&TransformHeader{}).Append(nil)
	transform[0]++
	mustRefuse(t, new(TransformHeader).Decode(transform), "TRANSFORM_HEADER")
	compressed := (&CompressionHeader{}).Append(nil)
	compressed[0]++
	mustRefuse(t, new(CompressionHeader).Decode(compressed), "COMPRESSION_TRANSFORM_HEADER")
}

func TestSEC07NestedLists(t *testing.T) {
	t.Run("create contexts", func(t *testing.T) {
		two := []CreateContext{{CreateTimewarp, make([]byte, 8)}, {CreateAllocationSize, make([]byte, 8)}}
		good := encode(CmdCreate, &CreateRequest{Contexts: two})
		list := int(get(good, 48, 4)) - HeaderSize // in bytes from the body
		for _, c := range []struct {
			what     string
			at, size int
			v        uint64
			want     int // contexts; -1 is an error
		}{
			{"as it is", 4, 0, 0, 2},
			{"Next 0 early", 0, 4, 0, 1},
			{"Next 1", 0, 4, 1, -1},
			{"Next into its own head", 0, 4, 8, -1},
			{"Next short of its data", 0, 4, 16, -1},
			{"Next not aligned", 0, 4, 33, -1},
			{"Next at the end", 0, 4, 64, -1},
			{"Next too near the end", 0, 4, 56, -1},
			{"Next behind the end", 0, 4, 72, -1},
			{"Next backwards", 0, 4, 0xFFFFFFF8, -1},
			{"a second Next of 8", 32, 4, 8, -1},
			{"a second Next backwards", 32, 4, 0xFFFFFFE0, -1},
			{"NameOffset 0", 4, 2, 0, -1},
			{"NameOffset in the head", 4, 2, 15, -1},
			{"NameOffset in the next context", 4, 2, 32, -1},
			{"NameOffset behind the end", 4, 2, 0xFFFF, -1},
			{"NameLength 0", 6, 2, 0, -1},
			{"NameLength 3", 6, 2, 3, -1},
			{"NameLength into the next context", 6, 2, 17, -1},
			{"NameLength behind the end", 6, 2, 0xFFFF, -1},
			{"DataOffset 0", 10, 2, 0, -1},
			{"DataOffset in the next context", 10, 2, 32, -1},
			{"DataOffset behind the end", 10, 2, 0xFFFF, -1},
			{"DataLength 0", 12, 4, 0, 2},
			{"DataLength into the next context", 12, 4, 9, -1},
			{"DataLength behind the end", 12, 4, 0xFFFFFFFF, -1},
			{"the last DataLength behind the end", 44, 4, 9, -1},
		} {
			msg := bytes.Clone(good)
			put(msg, list+c.at, c.size, c.v)
			var r CreateRequest
			switch err := r.Decode(msg); {
			case c.want < 0:
				mustRefuse(t, err, "%s: taken as %+v", c.what, r.Contexts)
			case err != nil || len(r.Contexts) != c.want:
				t.Errorf("%s: %+v, %v", c.what, r.Contexts, err)
			}
		}
		for _, n := range []uint64{1, 15, 16, 31, 32, 47, 48} {
			msg := bytes.Clone(good)
			put(msg, 52, 4, n)
			mustRefuse(t, new(CreateRequest).Decode(msg), "a list of %d bytes", n)
		}
		many := make([]CreateContext, maxCreateContexts+1)
		for i := range many {
			many[i].Name = CreateDiskID
		}
		if err := new(CreateRequest).Decode(encode(CmdCreate, &CreateRequest{Contexts: many[1:]})); err != nil {
			t.Errorf("%d contexts: %v", len(many)-1, err)
		}
		mustRefuse(t, new(CreateRequest).Decode(encode(CmdCreate, &CreateRequest{Contexts: many})), "%d contexts", len(many))
	})

	t.Run("locks", func(t *testing.T) {
		msg := encode(CmdLock, &LockRequest{Locks: make([]LockElement, 2)})
		for _, n := range []uint64{0, 3, 0xFFFF} {
			put(msg, 2, 2, n)
			mustRefuse(t, new(LockRequest).Decode(msg), "LockCount %d", n)
		}
		var r LockRequest
		put(msg, 2, 2, 1)
		if err := r.Decode(msg); err != nil || len(r.Locks) != 1 {
			t.Errorf("LockCount 1: %+v, %v", r, err)
		}
	})

	t.Run("error contexts", func(t *testing.T) {
		data := AppendErrorContexts(nil, ErrorContext{0, []byte("abc")})
		for _, r := range []ErrorResponse{{2, data}, {255, data}, {1, data[:10]}, {1, append([]byte{0xFF, 0xFF, 0xFF, 0xFF}, data[4:]...)}} {
			_, err := r.Contexts()
			mustRefuse(t, err, "%d contexts in %x", r.ContextCount, r.Data)
		}
	})

	t.Run("tree connect contexts", func(t *testing.T) {
		good := encode(CmdTreeConnect, &TreeConnectRequest{
			Flags: TreeConnectExtension, Path: `\\nas\disk`, Contexts: []TreeConnectContext{{1, []byte("abc")}},
		})
		at := get(good, 8, 4)
		for _, c := range []struct {
			at, size int
			v        uint64
		}{
			{4, 2, HeaderSize + 8},             // the path is the extension
			{4, 2, HeaderSize + 23},            // in part
			{8, 4, 0},                          // contexts are the body
			{8, 4, 23},                         // are the extension
			{8, 4, 0xFFFFFFFF},                 // far behind it
			{8, 4, 0xFFFFFFFF - HeaderSize},    // and where it would wrap
			{12, 2, 2},                         // more than there are
			{12, 2, 0xFFFF},                    //
			{int(at) + 2, 2, 4},                // DataLength
			{int(at) + 2, 2, 0xFFFF},           //
			{8, 4, uint64(len(good)) - 64 + 1}, // in bytes from the body
		} {
			msg := bytes.Clone(good)
			put(msg, c.at, c.size, c.v)
			mustRefuse(t, new(TreeConnectRequest).Decode(msg), "%d at %d", c.v, c.at)
		}
	})

	t.Run("copy chunks", func(t *testing.T) {
		b := (&CopyChunkRequest{Chunks: make([]CopyChunk, 2)}).Append(nil)
		for _, n := range []uint32{3, 0xFFFF, 0x0AAAAAAB, 0xFFFFFFFF} {
			le.PutUint32(b[24:], n)
			mustRefuse(t, new(CopyChunkRequest).Decode(b), "ChunkCount %#x", n)
		}
	})

	t.Run("network interfaces", func(t *testing.T) {
		good := AppendNetworkInterfaces(nil, make([]NetworkInterface, 2))
		le.PutUint16(good[24:], familyIPv4)
		le.PutUint16(good[152+24:], familyIPv4)
		if list, err := DecodeNetworkInterfaces(good); err != nil || len(list) != 2 {
			t.Fatalf("%v, %v", list, err)
		}
		for _, next := range []uint32{1, 8, 144, 153, 160, 304, 312, 0xFFFFFFF8} {
			bad := bytes.Clone(good)
			le.PutUint32(bad, next)
			_, err := DecodeNetworkInterfaces(bad)
			mustRefuse(t, err, "Next %d", next)
		}
		bad := bytes.Clone(good)
		le.PutUint16(bad[24:], 99)
		_, err := DecodeNetworkInterfaces(bad)
		mustRefuse(t, err, "another family")
		_, err = DecodeNetworkInterfaces(AppendNetworkInterfaces(nil, make([]NetworkInterface, maxNetworkInterfaces+1)))
		mustRefuse(t, err, "too many")
	})

	t.Run("snapshots", func(t *testing.T) {
		b := (&SnapshotArray{Names: []string{"@GMT-2026.11.22-01.02.03"}}).Append(nil)
		for _, n := range []uint32{2, 3, 0xFFFFFFFF} {
			le.PutUint32(b[4:], n)
			mustRefuse(t, new(SnapshotArray).Decode(b), "%d names", n)
		}
	})

	t.Run("symbolic link", func(t *testing.T) {
		good := (&SymlinkError{Substitute: "abc", Print: "d"}).Append(nil)
		for _, c := range []struct {
			at, size int
			v        uint64
		}{
			{0, 4, uint64(len(good)) - 3},
			{0, 4, 0xFFFFFFFF},
			{4, 4, 0},
			{8, 4, 0},
			{16, 2, 3},
			{16, 2, 0xFFFF},
			{18, 2, 9},
			{18, 2, 0xFFFF},
			{18, 2, 5},
			{20, 2, 7},
			{20, 2, 0xFFFF},
			{22, 2, 3},
			{22, 2, 0xFFFF},
		} {
			bad := append(make([]byte, HeaderSize), good...) // as put counts
			put(bad, c.at, c.size, c.v)
			mustRefuse(t, new(SymlinkError).Decode(bad[HeaderSize:]), "%d at %d", c.v, c.at)
		}
	})
}

func TestSEC14NegotiateContexts(t *testing.T) {
	good := encode(CmdNegotiate, &NegotiateRequest{
		Dialects: []uint16{Dialect311},
		Contexts: []NegotiateContext{
			{ContextPreauthIntegrity, (&PreauthIntegrity{[]uint16{HashSHA512}, nil}).Append(nil)},
			{0xABCD, []byte("of no known type")},
		},
	})
	at := get(good, 28, 4)
	body := int(at) - HeaderSize
	size := uint64(len(good))
	for _, c := range []struct {
		what     string
		at, size int
		v        uint64
		want     int // contexts; -1 is an error
	}{
		{"as it is", 28, 0, 0, 2},
		{"one of two", 32, 2, 1, 1},
		{"none", 32, 2, 0, 0},
		{"one too many", 32, 2, 3, -1},
		{"65,535", 32, 2, 0xFFFF, -1},
		{"offset 0", 28, 4, 0, -1},
		{"offset in the header", 28, 4, HeaderSize - 8, -1},
		{"offset in the fixed part", 28, 4, HeaderSize, -1},
		{"offset in the dialects", 28, 4, HeaderSize + 32, -1},
		{"offset not aligned", 28, 4, at + 1, -1},
		{"offset at the end", 28, 4, (size + 7) &^ 7, -1},
		{"offset far behind it", 28, 4, 0xFFFFFFF8, -1},
		{"DataLength past the next", body + 2, 2, 0xFFFF, -1},
		{"last DataLength past the end", body + 18, 2, 17, -1},
		{"no dialects", 2, 2, 0, 0},
		{"65,535 dialects", 2, 2, 0xFFFF, -1},
		{"no 3.1.1, so no contexts", 36, 2, uint64(Dialect302), 0},
	} {
		msg := bytes.Clone(good)
		put(msg, c.at, c.size, c.v)
		var r NegotiateRequest
		switch err := r.Decode(msg); {
		case c.want < 0:
			mustRefuse(t, err, "%s: taken as %+v", c.what, r)
			if n := testing.AllocsPerRun(10, func() { _ = new(NegotiateRequest).Decode(msg) }); n > 8 {
				t.Errorf("%s: %v allocations", c.what, n)
			}
		case err != nil || len(r.Contexts) != c.want:
			t.Errorf("%s: %+v, %v", c.what, r, err)
		}
	}
	for _, c := range []struct {
		what string
		into message
		data []byte
	}{
		{"no hash", &PreauthIntegrity{}, []byte{0, 0, 0, 0}},
		{"65,535 hashes", &PreauthIntegrity{}, []byte{0xFF, 0xFF, 0, 0, 1, 0}},
		{"salt past the end", &PreauthIntegrity{}, []byte{1, 0, 1, 0, 1, 0}},
		{"no cipher", &Encryption{}, []byte{0, 0}},
		{"65,535 ciphers", &Encryption{}, []byte{0xFF, 0xFF, 1, 0}},
		{"no compression", &Compression{}, make([]byte, 8)},
		{"65,535 compressions", &Compression{}, append([]byte{0xFF, 0xFF}, make([]byte, 8)...)},
		{"no transform", &RDMATransform{}, make([]byte, 8)},
		{"no signing", &Signing{}, []byte{0, 0}},
		{"65,535 signings", &Signing{}, []byte{0xFF, 0xFF, 1, 0}},
		{"a lone surrogate", &NetName{}, []byte{0x00, 0xDC}},
		{"half a flag", &TransportCapabilities{}, []byte{1, 0}},
	} {
		mustRefuse(t, c.into.Decode(c.data), "%s", c.what)
	}
	var p PreauthIntegrity
	if err := p.Decode([]byte{1, 0, 0, 0, 1, 0}); err != nil || len(p.HashAlgorithms) != 1 || p.Salt != nil {
		t.Errorf("no salt: %+v, %v", p, err)
	}
}
