package quic

import (
	"log/slog"
	"net"
	"os"
	"sync"
	"syscall"
)

// wantBuffer is the size, in bytes, that quic-go asks the kernel for in each direction of its socket: what arrives
// within some tens of milliseconds at full speed, while we are busy elsewhere.
const wantBuffer = 7 << 20

// quietBuffers keeps quic-go from printing its own warning about small buffers with package log, on a page of its
// wiki. We say it through the logger we were given.
var quietBuffers = sync.OnceFunc(func() {
	_ = os.Setenv("QUIC_GO_DISABLE_RECEIVE_BUFFER_WARNING", "true")
})

var warnOnce sync.Once

// warnBuffers says, once in a process's life, if the kernel gave less than what was asked for.
func warnBuffers(packets net.PacketConn, log *slog.Logger) {
	raw, ok := packets.(syscall.Conn)
	if !ok {
		return
	}
	sc, err := raw.SyscallConn()
	if err != nil {
		return
	}
	var read, write int
	var rerr, werr error
	if err := sc.Control(func(fd uintptr) {
		read, rerr = syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF)
		write, werr = syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_SNDBUF)
	}); err != nil || rerr != nil || werr != nil {
		return
	}
	if read >= wantBuffer && write >= wantBuffer {
		return
	}
	warnOnce.Do(func() {
		log.Warn("UDP socket buffers are small: large transfers may lose packets; "+
			"raise net.core.rmem_max and net.core.wmem_max",
			"read", read, "write", write, "want", wantBuffer)
	})
}
