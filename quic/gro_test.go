package quic_test

import (
	"bytes"
	"encoding/binary"
	"net"
	"testing"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"

	"github.com/postern-nas/postern/quic"
)

// control is a control message as Linux lays it out on 64-bit machines: length with its header, level, type, data,
// padding.
func control(level, kind int, data ...byte) []byte {
	b := binary.NativeEndian.AppendUint64(nil, uint64(unix.CmsgLen(len(data))))
	b = binary.NativeEndian.AppendUint32(b, uint32(level))
	b = binary.NativeEndian.AppendUint32(b, uint32(kind))
	b = append(b, data...)
	return append(b, make([]byte, unix.CmsgSpace(len(data))-len(b))...)
}

func native(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }

func TestSegment(t *testing.T) {
	merged := control(unix.IPPROTO_UDP, unix.UDP_GRO, native(1200)...)
	tos := control(unix.IPPROTO_IP, unix.IP_TOS, 2)
	for _, test := range []struct {
		name string
		oob  []byte
		want int
	}{
		{"nothing", nil, 5000},
		{"merged", merged, 1200},
		{"behind another", append(bytes.Clone(tos), merged...), 1200},
		{"not merged", tos, 5000},
		{"of no length", control(unix.IPPROTO_UDP, unix.UDP_GRO, native(0)...), 5000},
		{"negative", control(unix.IPPROTO_UDP, unix.UDP_GRO, native(1<<31)...), 5000},
		{"too short for its value", control(unix.IPPROTO_UDP, unix.UDP_GRO, 1, 2), 5000},
		{"cut", merged[:len(merged)-8], 5000},
		{"cut in its header", merged[:7], 5000},
		{"longer than it says", append(bytes.Clone(merged), 1, 2, 3), 1200},
	} {
		if got := quic.Segment(test.oob, 5000); got != test.want {
			t.Errorf("%s: %d, want %d", test.name, got, test.want)
		}
	}
}

// mergingPair is a socket that has packets merged, as it is and as quic-go sees it, and one that sends to it.
func mergingPair(t *testing.T) (udp *net.UDPConn, merging interface {
	ReadBatch([]ipv4.Message, int) (int, error)
}, sender *net.UDPConn,
) {
	t.Helper()
	udp = loopback(t)
	t.Cleanup(func() { _ = udp.Close() })
	merging, ok := quic.MergePackets(udp).(interface {
		ReadBatch([]ipv4.Message, int) (int, error)
	})
	if !ok {
		t.Skip("this kernel does not merge packets (Linux 5.0 does)")
	}
	sender, err := net.DialUDP("udp", nil, udp.LocalAddr().(*net.UDPAddr))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sender.Close() })
	return udp, merging, sender
}

// burst sends b as packets of size bytes each, with ECN bits, in a way that the kernel keeps together.
func burst(t *testing.T, c *net.UDPConn, b []byte, size int, ecn byte) {
	t.Helper()
	oob := control(unix.IPPROTO_UDP, unix.UDP_SEGMENT, binary.NativeEndian.AppendUint16(nil, uint16(size))...)
	oob = append(oob, control(unix.IPPROTO_IP, unix.IP_TOS, ecn)...)
	if _, _, err := c.WriteMsgUDP(b, oob, nil); err != nil {
		t.Fatal(err)
	}
}

// A merged piece reaches quic-go as the packets that were sent, in their order, each with address and ECN bits, however
// few it takes at a time.
func TestMergedPacketsComeApart(t *testing.T) {
	udp, merging, sender := mergingPair(t)
	raw, err := udp.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	_ = raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_RECVTOS, 1) })
	if err != nil {
		t.Fatal(err)
	}
	type packet struct {
		size int
		ecn  byte
		fill byte
	}
	var want []packet
	send := func(size, n, last int, ecn, fill byte) {
		t.Helper()
		burst(t, sender, bytes.Repeat([]byte{fill}, size*n+last), size, ecn)
		for range n {
			want = append(want, packet{size, ecn, fill})
		}
		if last > 0 {
			want = append(want, packet{last, ecn, fill})
		}
	}
	send(1200, 11, 100, 2, 'a')
	send(1452, 1, 0, 0, 'b')
	send(1252, 13, 0, 1, 'c')
	send(30, 3, 7, 2, 'd')
	if _, err := sender.Write(nil); err != nil { // a datagram may be empty
		t.Fatal(err)
	}
	want = append(want, packet{})
	send(1200, 2, 1199, 3, 'e')

	ms := make([]ipv4.Message, 4)
	for i := range ms {
		ms[i].Buffers, ms[i].OOB = [][]byte{make([]byte, 1452)}, make([]byte, 128)
	}
	for len(want) > 0 {
		n, err := merging.ReadBatch(ms, 0)
		if err != nil || n == 0 || n > len(want) {
			t.Fatalf("%d packets with %d to come: %v", n, len(want), err)
		}
		for i, m := range ms[:n] {
			got := packet{size: m.N, ecn: tosOf(m.OOB[:m.NN])}
			if m.N > 0 {
				got.fill = m.Buffers[0][0]
			}
			if got != want[i] || bytes.Count(m.Buffers[0][:m.N], []byte{got.fill}) != m.N {
				t.Errorf("packet %+v, want %+v", got, want[i])
			}
			if m.Addr.String() != sender.LocalAddr().String() {
				t.Errorf("packet from %v, want %v", m.Addr, sender.LocalAddr())
			}
		}
		want = want[n:]
	}
}

// tosOf finds the ECN bits among control messages.
func tosOf(oob []byte) byte {
	for len(oob) > 0 {
		h, data, rest, err := unix.ParseOneSocketControlMessage(oob)
		if err != nil {
			return 0xFF
		}
		if h.Level == unix.IPPROTO_IP && h.Type == unix.IP_TOS {
			return data[0]
		}
		oob = rest
	}
	return 0
}

// The kernel does merge for a listener's socket: else all of this would be for nothing, and nobody would notice.
func TestKernelMerges(t *testing.T) {
	udp, _, sender := mergingPair(t)
	burst(t, sender, make([]byte, 5000), 1000, 0)
	b := make([]byte, 8000)
	n, err := udp.Read(b)
	if err != nil || n != 5000 {
		t.Errorf("5 packets of 1000 bytes came as %d bytes: %v", n, err)
	}
}
