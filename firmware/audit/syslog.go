package audit

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// A SyslogConfig says where events go. Address is needed; zero values of the rest mean the defaults named beside them.
type SyslogConfig struct {
	Address string         // host:port; 6514 is the usual port
	Roots   *x509.CertPool // that sign its certificate: the system's
	Host    string         // what we call ourselves: "-"
	Log     *slog.Logger
}

const (
	syslogQueue   = 1000 // events that wait for the server
	syslogTimeout = 10 * time.Second
	syslogRetry   = time.Minute // the longest distance of two attempts to connect
)

// A Syslog sends events to a syslog server over TLS: RFC 5424 messages in RFC 5425 frames. What the server is too slow
// for, or away for too long, is dropped and counted.
type Syslog struct {
	cfg     SyslogConfig
	events  chan Event
	dropped atomic.Uint64
	sent    atomic.Uint64
}

// NewSyslog makes a Syslog; Run sends.
func NewSyslog(cfg SyslogConfig) *Syslog {
	cfg.Host = cmp.Or(header(cfg.Host, 255), "-")
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Syslog{cfg: cfg, events: make(chan Event, syslogQueue)}
}

// Send hands over an event, and never waits.
func (s *Syslog) Send(e Event) {
	select {
	case s.events <- e:
	default:
		s.dropped.Add(1)
	}
}

// Stats returns how many events were sent and how many dropped, since the start.
func (s *Syslog) Stats() (sent, dropped uint64) { return s.sent.Load(), s.dropped.Load() }

// Run sends events until ctx ends. It connects when there is something to send, and again after a failure, ever more
// slowly. An event that was being sent when the connection broke is sent again: it may arrive twice. What the kernel had
// taken by then may be lost, for syslog acknowledges nothing; our own log has it.
func (s *Syslog) Run(ctx context.Context) error {
	var conn net.Conn
	hangUp := func() {
		if conn != nil {
			_ = conn.Close()
			conn = nil
		}
	}
	defer func() { hangUp() }()
	told := false
	for {
		var e Event
		select {
		case e = <-s.events:
		case <-ctx.Done():
			return nil
		}
		frame := s.frame(e)
		for wait := time.Second; ; wait = min(2*wait, syslogRetry) {
			err := error(nil)
			if conn == nil {
				conn, err = s.dial(ctx)
			}
			if err == nil {
				_ = conn.SetWriteDeadline(time.Now().Add(syslogTimeout))
				if _, err = conn.Write(frame); err == nil {
					break
				}
				hangUp()
			}
			if !told { // once, until it works again: the server may be away for the night
				told = true
				s.cfg.Log.Error("the syslog server cannot be reached; events wait, and the oldest stay in our own log", "server", s.cfg.Address, "error", err)
			}
			select {
			case <-time.After(wait):
			case <-ctx.Done():
				return nil
			}
		}
		s.sent.Add(1)
		if told {
			told = false
			s.cfg.Log.Info("the syslog server is there again", "server", s.cfg.Address, "dropped", s.dropped.Load())
		}
	}
}

func (s *Syslog) dial(ctx context.Context) (net.Conn, error) {
	host, _, err := net.SplitHostPort(s.cfg.Address)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, syslogTimeout)
	defer cancel()
	d := tls.Dialer{Config: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: s.cfg.Roots, ServerName: host}}
	conn, err := d.DialContext(ctx, "tcp", s.cfg.Address)
	if err != nil {
		return nil, err
	}
	// A syslog server says nothing. What can be read is the end, and a write after it would be lost unseen.
	go func() {
		_, _ = conn.Read(make([]byte, 1))
		_ = conn.Close()
	}()
	return conn, nil
}

// Syslog's numbers, RFC 5424 6.2.1: the facility for security and authorization, and two severities.
const (
	facility = 10
	notice   = 5
	warning  = 4
)

// frame is an event as RFC 5425 4.3 sends it: length, space, message. The event's own line is the message's text; what a
// filter may want first is structured data besides.
func (s *Syslog) frame(e Event) []byte {
	severity := notice
	if !e.OK {
		severity = warning
	}
	var b strings.Builder
	fmt.Fprintf(&b, "<%d>1 %s %s postern %d %s ", facility*8+severity, e.Time.UTC().Format("2006-01-02T15:04:05.000000Z"),
		s.cfg.Host, os.Getpid(), header(e.Name, 32))
	// 32473 is the number for examples (RFC 5612): we have none of our own.
	fmt.Fprintf(&b, `[postern@32473 id="%d" seq="%d" ok="%t"`, int(e.ID), e.Seq, e.OK)
	for _, p := range []struct{ name, value string }{
		{"user", e.User}, {"device", e.Device}, {"share", e.Share}, {"connection", e.Connection},
	} {
		if p.value != "" {
			fmt.Fprintf(&b, ` %s="%s"`, p.name, parameter.Replace(p.value))
		}
	}
	if e.Address.IsValid() {
		fmt.Fprintf(&b, ` address="%s"`, e.Address)
	}
	b.WriteString("] ")
	if line, err := e.line(); err == nil {
		b.WriteString("\ufeff") // it is UTF-8, RFC 5424 6.4
		b.Write(line[:len(line)-1])
	}
	return append(strconv.AppendInt(nil, int64(b.Len()), 10), " "+b.String()...)
}

// parameter escapes a parameter's value, RFC 5424 6.3.3. The texts of a recorded event have nothing else in them that
// would need it.
var parameter = strings.NewReplacer(`\`, `\\`, `"`, `\"`, `]`, `\]`)

// header makes a text fit for a message's header: printable ASCII without spaces.
func header(s string, max int) string {
	s = strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return -1
		}
		return r
	}, s)
	return s[:min(len(s), max)]
}
