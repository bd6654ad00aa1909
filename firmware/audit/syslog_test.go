package audit_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/postern-nas/postern/firmware/audit"
	"github.com/postern-nas/postern/quic/quictest"
)

// syslogd takes frames as RFC 5425 has them.
type syslogd struct {
	t        *testing.T
	l        net.Listener
	messages chan string
}

func newSyslogd(t *testing.T, addr string, ca *quictest.CA) *syslogd {
	t.Helper()
	l, err := tls.Listen("tcp", addr, &tls.Config{Certificates: []tls.Certificate{ca.Leaf([]string{"localhost"})}, MinVersion: tls.VersionTLS13})
	if err != nil {
		t.Fatal(err)
	}
	d := &syslogd{t: t, l: l, messages: make(chan string, 100)}
	t.Cleanup(func() { _ = l.Close() })
	return d
}

// serve takes one connection, and cuts it after n messages.
func (d *syslogd) serve(n int) {
	c, err := d.l.Accept()
	if err != nil {
		return
	}
	defer c.Close()
	r := bufio.NewReader(c)
	for ; n > 0; n-- {
		length, err := r.ReadString(' ')
		if err != nil {
			return
		}
		size, err := strconv.Atoi(strings.TrimSuffix(length, " "))
		if err != nil || size > 64<<10 {
			d.t.Errorf("a frame of %q", length)
			return
		}
		message := make([]byte, size)
		if _, err := io.ReadFull(r, message); err != nil {
			return
		}
		d.messages <- string(message)
	}
}

func (d *syslogd) next() string {
	d.t.Helper()
	select {
	case m := <-d.messages:
		return m
	case <-time.After(20 * time.Second):
		d.t.Fatal("no message came")
		return ""
	}
}

func TestSyslog(t *testing.T) {
	ca := quictest.NewCA("logs")
	d := newSyslogd(t, "127.0.0.1:0", ca)
	_, port, _ := net.SplitHostPort(d.l.Addr().String())
	s := audit.NewSyslog(audit.SyslogConfig{Address: "localhost:" + port, Roots: ca.Pool(), Host: "postern.local"})
	l := open(t, audit.Config{Send: s.Send})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()

	go d.serve(2)
	l.Record(audit.Event{ID: audit.LogonFailed, User: `evil"]\` + "\n<0>1", Share: "disk"})
	l.Record(audit.Event{ID: audit.Paired, OK: true, Device: "LAPTOP"})
	form := regexp.MustCompile(`^<84>1 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z postern\.local postern \d+ logon-failed ` +
		`\[postern@32473 id="4625" seq="1" ok="false" user="evil\\"\\\]\\\\\\\\x0a<0>1" share="disk"\] ` + "\ufeff" + `\{"time":.*\}$`)
	if m := d.next(); !form.MatchString(m) {
		t.Errorf("message is\n%s", m)
	}
	if m := d.next(); !strings.HasPrefix(m, "<85>1 ") || !strings.Contains(m, ` paired [postern@32473 id="4887"`) {
		t.Errorf("message is\n%s", m)
	}
	// The server hangs up; events that come meanwhile are sent when it is back.
	time.Sleep(500 * time.Millisecond)
	go d.serve(100)
	for i := range 20 {
		l.Record(audit.Event{ID: audit.LogonOK, OK: true, User: fmt.Sprint("user", i)})
	}
	for i := range 20 {
		if m := d.next(); !strings.Contains(m, fmt.Sprintf(`user="user%d"`, i)) {
			t.Errorf("message %d is\n%s", i, m)
		}
	}
	// The last one is counted a moment after it has arrived.
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		sent, dropped := s.Stats()
		if sent >= 22 && dropped == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(sent, dropped)
		}
	}
}

// A server that is not there costs nothing but what is too much to keep, and that is counted. A stranger gets nothing.
func TestSyslogAway(t *testing.T) {
	d := newSyslogd(t, "127.0.0.1:0", quictest.NewCA("a stranger"))
	go d.serve(1)
	_, port, _ := net.SplitHostPort(d.l.Addr().String())
	s := audit.NewSyslog(audit.SyslogConfig{Address: "localhost:" + port, Roots: quictest.NewCA("logs").Pool()})
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	begin := time.Now()
	for range 5000 {
		s.Send(audit.Event{ID: audit.LogonOK})
	}
	if took := time.Since(begin); took > time.Second {
		t.Errorf("it took %v", took)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if sent, dropped := s.Stats(); sent != 0 || dropped < 3900 {
		t.Error(sent, dropped)
	}
	if len(d.messages) > 0 {
		t.Error("a stranger got a message")
	}
}
