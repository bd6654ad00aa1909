package quic_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	quicgo "github.com/quic-go/quic-go"

	"github.com/postern-nas/postern/quic"
	"github.com/postern-nas/postern/quic/quictest"
)

func TestConnBothWays(t *testing.T) {
	noLeaks(t)
	server, client := quictest.Pair(t)
	data := make([]byte, 5<<20) // more than the initial window
	_, _ = rand.Read(data)
	for name, way := range map[string]struct {
		w io.Writer
		r io.Reader
	}{"to the server": {client, server}, "to the client": {server, client}} {
		var sending sync.WaitGroup
		sending.Go(func() {
			if n, err := way.w.Write(data); n != len(data) || err != nil {
				t.Errorf("%s: wrote %d: %v", name, n, err)
			}
		})
		got := make([]byte, len(data))
		if _, err := io.ReadFull(way.r, got); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		sending.Wait()
		if !bytes.Equal(got, data) {
			t.Errorf("%s: bytes differ", name)
		}
	}
	if a := server.RemoteAddr().String(); a != client.LocalAddr().(*net.UDPAddr).String() {
		t.Errorf("client is %v to the server, %v to itself", a, client.LocalAddr())
	}
	if a := server.LocalAddr().String(); a != client.RemoteAddr().String() {
		t.Errorf("server is %v to itself, %v to the client", a, client.RemoteAddr())
	}
}

func TestConnDeadlines(t *testing.T) {
	noLeaks(t)
	server, client := quictest.Pair(t)
	var b [16]byte
	timedOut := func(what string, err error) {
		t.Helper()
		var ne net.Error
		if !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &ne) || !ne.Timeout() {
			t.Errorf("%s: %v, want a timeout", what, err)
		}
	}
	_ = server.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	_, err := server.Read(b[:])
	timedOut("read", err)

	// A write that fills every window waits for the client to read.
	_ = server.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
	n, err := server.Write(make([]byte, 64<<20))
	timedOut("write", err)
	if n == 64<<20 {
		t.Error("a client that does not read was sent everything")
	}

	_ = server.SetDeadline(time.Time{})
	_, _ = client.Write([]byte("still there"))
	if n, err := server.Read(b[:]); err != nil || string(b[:n]) != "still there" {
		t.Errorf("after the deadline was lifted: %q, %v", b[:n], err)
	}
	time.AfterFunc(20*time.Millisecond, func() { _ = server.SetReadDeadline(time.Now()) })
	_, err = server.Read(b[:])
	timedOut("read that was under way", err)
}

// What was written before Close arrives: an answer that says why we hang up must not be lost.
func TestCloseDelivers(t *testing.T) {
	noLeaks(t)
	s := quictest.Serve(t, nil)
	prompt := 0
	for range 20 {
		server, client := s.Connect(t)
		want := bytes.Repeat([]byte("last words "), 300)
		if _, err := server.Write(want); err != nil {
			t.Fatal(err)
		}
		closed := make(chan error, 1)
		go func() { closed <- server.Close() }()
		got, err := io.ReadAll(client)
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("client read %d of %d bytes: %v", len(got), len(want), err)
		}
		start := time.Now()
		_ = client.Close()
		if err := <-closed; err != nil {
			t.Error(err)
		}
		if time.Since(start) < 90*time.Millisecond {
			prompt++
		}
	}
	if prompt == 0 {
		t.Error("Close never saw that the client had left")
	}
	empty(t, s)
}

func TestCloseWakes(t *testing.T) {
	noLeaks(t)
	s := quictest.Serve(t, nil)
	for name, closing := range map[string]func(*quic.Conn){
		"close": func(c *quic.Conn) { _ = c.Close() },
		"abort": (*quic.Conn).Abort,
	} {
		server, _ := s.Connect(t)
		failures := make(chan error, 2)
		go func() {
			_, err := server.Read(make([]byte, 1))
			failures <- err
		}()
		go func() {
			_, err := server.Write(make([]byte, 64<<20))
			failures <- err
		}()
		time.Sleep(50 * time.Millisecond)
		start := time.Now()
		closing(server)
		for range 2 {
			if err := <-failures; !errors.Is(err, net.ErrClosed) {
				t.Errorf("%s: pending call got %v", name, err)
			}
		}
		if d := time.Since(start); d > time.Second {
			t.Errorf("%s: took %v", name, d)
		}
		if _, err := server.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s: read after it: %v", name, err)
		}
		if _, err := server.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s: write after it: %v", name, err)
		}
		if err := server.SetDeadline(time.Now()); !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s: deadline after it: %v", name, err)
		}
		if err := server.Close(); err != nil {
			t.Errorf("%s: second close: %v", name, err)
		}
		select {
		case <-server.Done():
		default:
			t.Errorf("%s: not done", name)
		}
	}
	empty(t, s)
}

func TestClientLeaves(t *testing.T) {
	noLeaks(t)
	s := quictest.Serve(t, nil)
	for _, test := range []struct {
		name  string
		leave func(*quictest.Client)
		eof   bool
	}{
		{"in peace", func(c *quictest.Client) { _ = c.Close() }, true},
		{"end of stream", func(c *quictest.Client) { _ = c.CloseWrite() }, true},
		{"with an error", func(c *quictest.Client) { _ = c.QUIC.CloseWithError(5, "because") }, false},
	} {
		server, client := s.Connect(t)
		test.leave(client)
		_, err := server.Read(make([]byte, 1))
		if (err == io.EOF) != test.eof {
			t.Errorf("%s: read got %v", test.name, err)
		}
		if !test.eof && !strings.Contains(err.Error(), "because") {
			t.Errorf("%s: %v", test.name, err)
		}
		server.Abort()
		_ = client.Close()
	}
	empty(t, s)
}

// A client that moves to another address (a laptop from cable to WLAN) keeps its connection.
func TestMigration(t *testing.T) {
	noLeaks(t)
	server, client := quictest.Pair(t)
	packets, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	second := &quicgo.Transport{Conn: packets}
	t.Cleanup(func() {
		_ = client.Close()
		_ = second.Close()
		_ = packets.Close()
	})
	path, err := client.QUIC.AddPath(second)
	if err != nil {
		t.Fatal(err)
	}
	if err := path.Probe(within(t, 5*time.Second)); err != nil {
		t.Fatal(err)
	}
	if err := path.Switch(); err != nil {
		t.Fatal(err)
	}
	before := server.RemoteAddr().String()
	if _, err := client.Write([]byte("moved")); err != nil {
		t.Fatal(err)
	}
	var b [5]byte
	if _, err := io.ReadFull(server, b[:]); err != nil || string(b[:]) != "moved" {
		t.Fatalf("%q, %v", b, err)
	}
	eventually(t, func() bool { return server.RemoteAddr().String() == packets.LocalAddr().String() }, func() string {
		return "client was " + before + " and is " + server.RemoteAddr().String() + ", not " + packets.LocalAddr().String()
	})
	if _, err := server.Write([]byte("there")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(client, b[:]); err != nil || string(b[:]) != "there" {
		t.Fatalf("%q, %v", b, err)
	}
}

func TestLossyLink(t *testing.T) {
	noLeaks(t)
	packets, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := quictest.ServeOn(t, quictest.Impair(packets, quictest.Impairment{
		Loss: 0.02, Delay: 2 * time.Millisecond, Seed: 1,
	}), nil)
	echo(t, s)
	client := s.Dial(t)
	data := make([]byte, 1<<20)
	_, _ = rand.Read(data)
	var sending sync.WaitGroup
	sending.Go(func() { _, _ = client.Write(data) })
	got := make([]byte, len(data))
	_ = client.SetReadDeadline(time.Now().Add(15 * time.Second))
	if _, err := io.ReadFull(client, got); err != nil {
		t.Fatal(err)
	}
	sending.Wait()
	if !bytes.Equal(got, data) {
		t.Error("bytes differ")
	}
}

// The single stream is all there is, however a client treats it.
func TestSEC46StreamAbuse(t *testing.T) {
	noLeaks(t)
	s := quictest.Serve(t, nil)
	short := func() context.Context { return within(t, 100*time.Millisecond) }

	t.Run("second stream", func(t *testing.T) {
		server, client := s.Connect(t)
		if _, err := client.QUIC.OpenStream(); err == nil {
			t.Error("a second stream could be opened")
		}
		if _, err := client.QUIC.OpenUniStream(); err == nil {
			t.Error("a unidirectional stream could be opened")
		}
		// Not even when the first is over in both directions.
		_ = client.CloseWrite()
		if _, err := io.ReadAll(server); err != nil {
			t.Fatal(err)
		}
		closed := make(chan struct{})
		go func() {
			_ = server.Close()
			close(closed)
		}()
		if _, err := io.ReadAll(client); err != nil {
			t.Fatal(err)
		}
		if _, err := client.QUIC.OpenStreamSync(short()); err == nil {
			t.Error("a second stream could be opened after the first was over")
		}
		_ = client.Close()
		<-closed
	})
	t.Run("streams of the server", func(t *testing.T) {
		_, client := s.Connect(t)
		if _, err := client.QUIC.AcceptStream(short()); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("client was offered a stream: %v", err)
		}
	})
	t.Run("datagrams", func(t *testing.T) {
		_, client := s.Connect(t)
		if client.QUIC.ConnectionState().SupportsDatagrams.Remote {
			t.Error("the server takes datagrams")
		}
	})
	t.Run("reset", func(t *testing.T) {
		server, client := s.Connect(t)
		_, _ = client.Write([]byte{0, 0, 1})
		client.CancelWrite(7)
		_, err := io.ReadAll(server)
		if se, ok := errors.AsType[*quicgo.StreamError](err); !ok || !se.Remote || se.ErrorCode != 7 {
			t.Errorf("read got %v", err)
		}
	})
	t.Run("stop sending", func(t *testing.T) {
		server, client := s.Connect(t)
		client.CancelRead(9)
		var err error
		eventually(t, func() bool {
			_, err = server.Write(make([]byte, 4096))
			return err != nil
		}, func() string { return "writes go on" })
		if se, ok := errors.AsType[*quicgo.StreamError](err); !ok || !se.Remote || se.ErrorCode != 9 {
			t.Errorf("write got %v", err)
		}
		_, _ = client.Write([]byte("and reads?"))
		if _, err := io.ReadFull(server, make([]byte, 10)); err != nil {
			t.Errorf("read got %v", err)
		}
	})
	t.Run("end within a frame", func(t *testing.T) {
		server, client := s.Connect(t)
		_, _ = client.Write([]byte{0, 0, 1, 8, 0xfe, 'S', 'M', 'B'})
		_ = client.CloseWrite()
		if _, err := io.ReadFull(server, make([]byte, 4+264)); err != io.ErrUnexpectedEOF {
			t.Errorf("read got %v", err)
		}
	})
	t.Run("empty stream", func(t *testing.T) {
		client := s.Dial(t)
		_ = client.CloseWrite() // the stream's first and last frame in one
		server, err := s.Accept(within(t, 5*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := server.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("read got %v", err)
		}
		server.Abort()
	})
	t.Run("one byte at a time", func(t *testing.T) {
		server, client := s.Connect(t)
		go func() {
			for i := range 300 {
				_, _ = client.Write([]byte{byte(i)})
			}
		}()
		if _, err := io.ReadFull(server, make([]byte, 300)); err != nil {
			t.Error(err)
		}
	})
	empty(t, s)
}
