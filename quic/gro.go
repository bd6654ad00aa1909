package quic

import (
	"encoding/binary"
	"net"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

// The kernel can hand over packets of one flow, which came one after another, as one piece (UDP_GRO of udp(7)): one call,
// one address and one walk through its layers for some dozen packets. It merges only what agrees in ECN bits and
// addresses, and all but the last are equally long.
const (
	groBatch = 8        // pieces received with one call: as many as quic-go takes packets
	groSize  = 64 << 10 // of a piece, at most: a UDP datagram's length field
	groOOB   = 128      // of control messages with one: quic-go's own buffer for them
)

// A groConn is a socket whose merged packets are taken apart again. quic-go reads through ReadBatch, from one goroutine,
// and does everything else, ECN and segmentation offload among it, with the socket itself.
type groConn struct {
	*net.UDPConn
	batch *ipv4.PacketConn

	room   [groBatch]ipv4.Message
	pieces []ipv4.Message // of room: received, and not all given out
	rest   []byte         // of the first one
	size   int            // of each packet in rest but its last
}

// mergePackets has the kernel merge what comes to a socket. It returns the socket as it is where that cannot be had.
func mergePackets(packets net.PacketConn) net.PacketConn {
	udp, ok := packets.(*net.UDPConn)
	if !ok {
		return packets
	}
	raw, err := udp.SyscallConn()
	if err != nil {
		return packets
	}
	var refused error
	if err := raw.Control(func(fd uintptr) {
		refused = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_GRO, 1)
	}); err != nil || refused != nil {
		return packets
	}
	c := &groConn{UDPConn: udp, batch: ipv4.NewPacketConn(udp)}
	for i := range c.room {
		c.room[i].Buffers = [][]byte{make([]byte, groSize)}
		c.room[i].OOB = make([]byte, groOOB)
	}
	return c
}

// ReadBatch fills ms with packets, one each, and returns how many there are. It waits only if there is none.
func (c *groConn) ReadBatch(ms []ipv4.Message, flags int) (int, error) {
	if len(c.pieces) == 0 {
		n, err := c.batch.ReadBatch(c.room[:], flags)
		if err != nil {
			return 0, err
		}
		c.begin(c.room[:n])
	}
	n := 0
	for n < len(ms) && len(c.pieces) > 0 {
		c.next(&ms[n])
		n++
	}
	return n, nil
}

// begin makes pieces what is given out next.
func (c *groConn) begin(pieces []ipv4.Message) {
	c.pieces = pieces
	if len(pieces) > 0 {
		p := &pieces[0]
		c.rest = p.Buffers[0][:p.N]
		c.size = segment(p.OOB[:p.NN], p.N)
	}
}

// next copies one packet, with what came with its piece, to m.
func (c *groConn) next(m *ipv4.Message) {
	p := &c.pieces[0]
	packet := c.rest[:min(c.size, len(c.rest))]
	c.rest = c.rest[len(packet):]
	m.N = copy(m.Buffers[0], packet)
	m.NN = copy(m.OOB, p.OOB[:p.NN])
	m.Addr, m.Flags = p.Addr, p.Flags
	if len(c.rest) == 0 {
		c.begin(c.pieces[1:])
	}
}

// segment finds in control messages how long the packets are that a piece of n bytes was merged from; n, if it was not.
func segment(oob []byte, n int) int {
	for len(oob) > 0 {
		h, data, rest, err := unix.ParseOneSocketControlMessage(oob)
		if err != nil {
			break
		}
		if h.Level == unix.IPPROTO_UDP && h.Type == unix.UDP_GRO && len(data) >= 4 {
			if size := int64(binary.NativeEndian.Uint32(data)); 0 < size && size < int64(n) {
				return int(size)
			}
		}
		oob = rest
	}
	return n
}
