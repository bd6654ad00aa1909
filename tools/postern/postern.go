// Package postern runs the binary `postern` for tests and benchmarks: it builds it once, writes a configuration,
// adds users, starts it, waits until it answers, and stops or kills it. In a test:
//
//	srv := postern.Run(t, postern.Config{
//		Shares: []postern.Share{{Name: "disk", Path: t.TempDir()}},
//		Users:  []postern.User{{Name: "alice", Password: "secret"}},
//	})
//	conn, err := srv.DialQUIC(ctx) // or DialTCP; srv.Name, srv.CA, srv.QUIC and srv.TCP are for foreign clients
//	srv.Kill(); srv.Start(ctx)     // same ports, same state
//
// Outside a test, New makes the state folder and Start begins; the caller stops it.
package postern

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/postern-nas/postern/tools/postern/netns"
)

// A Config says what server to run.
type Config struct {
	Name   string // the server's DNS name, in its certificate; empty: "nas.test"
	Shares []Share
	Users  []User
	Linux  bool     // linux_clients: logons without an integrity code
	Both   string   // more TOML, for each of [quic] and [tcp]
	TCP    string   // more TOML, for [tcp]
	Extra  string   // more TOML, put before the tables [quic] and [tcp] and the shares
	Page   bool     // the page in the browser; else it is off
	Access string   // TOML of [access]; empty: named_pipes = "all", for clients that show no certificate and list shares
	Env    []string // more of the process's environment, as NAME=value
	// Net is the network that the server runs in, with the ports of SMB, 445 and 443, on all addresses, because all are free
	// there. nil: that of this process.
	Net *netns.Net
}

// A Share is one `[[share]]`. Where Read and Write are both nil every user may read and write.
type Share struct {
	Name, Path  string
	ReadOnly    bool
	Encrypt     bool
	HideUnread  bool // hide_unreadable
	Continuous  bool
	Read, Write []string
	Extra       string              // more TOML for the table
	Links       map[string][]string // name to targets; instead of a Path
}

// A User is one account.
type User struct {
	Name, Password string
	Admin          bool // an administrator
}

// A Server is one server: its folder, its addresses, and its process while it runs.
type Server struct {
	State string // folder
	Name  string
	QUIC  string // 127.0.0.1:port, UDP
	TCP   string // 127.0.0.1:port
	Page  string // the same, of the page; "" if it is off
	CA    string // PEM file

	binary string
	env    []string
	net    *netns.Net
	log    *os.File

	mu   sync.Mutex
	cmd  *exec.Cmd
	done chan struct{} // closed when cmd has ended
}

// Run starts a server that ends with the test. When the test fails, the end of the server's log is shown.
func Run(t testing.TB, cfg Config) *Server {
	t.Helper()
	s, err := New(t.TempDir(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("server log (end):\n%s", tail(s.Log(), 8<<10))
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := s.Start(ctx); err != nil {
		t.Fatal(err)
	}
	return s
}

// New builds the binary and makes a server's state folder beneath dir: configuration, users, free ports. Nothing
// runs yet.
func New(dir string, cfg Config) (*Server, error) {
	binary, err := Build()
	if err != nil {
		return nil, err
	}
	s := &Server{State: filepath.Join(dir, "state"), Name: cfg.Name, binary: binary, env: cfg.Env, net: cfg.Net}
	if s.Name == "" {
		s.Name = "nas.test"
	}
	if err := os.MkdirAll(s.State, 0o700); err != nil {
		return nil, err
	}
	if s.log, err = os.OpenFile(filepath.Join(dir, "postern.log"), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600); err != nil {
		return nil, err
	}
	s.CA = filepath.Join(s.State, "ca.pem")
	if s.net != nil {
		s.QUIC, s.TCP = "127.0.0.1:443", "127.0.0.1:445"
	} else if s.QUIC, s.TCP, err = freePorts(); err != nil {
		return nil, err
	}
	if cfg.Page {
		if _, s.Page, err = freePorts(); err != nil {
			return nil, err
		}
	}
	if err := os.WriteFile(filepath.Join(s.State, "postern.toml"), s.toml(cfg), 0o600); err != nil {
		return nil, err
	}
	for _, u := range cfg.Users {
		if err := s.AddUser(u); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// toml writes the configuration file.
func (s *Server) toml(cfg Config) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "version = 1\nname = %q\n%s\n", s.Name, cfg.Extra)
	quic, tcp := s.QUIC, s.TCP
	if s.net != nil {
		quic, tcp = ":443", ":445"
	}
	fmt.Fprintf(&b, "[quic]\nlisten = %q\n%s\n[tcp]\nlisten = %q\nlinux_clients = %t\n%s\n", quic, cfg.Both, tcp, cfg.Linux, cfg.Both+cfg.TCP)
	fmt.Fprintf(&b, "[access]\n%s\n", cmp.Or(cfg.Access, `named_pipes = "all"`))
	fmt.Fprintf(&b, "[page]\nlisten = %q\n", s.Page)
	for _, sh := range cfg.Shares {
		if sh.Links != nil {
			fmt.Fprintf(&b, "\n[[share]]\nname = %q\n", sh.Name)
			for name, targets := range sh.Links {
				fmt.Fprintf(&b, "[[share.link]]\nname = %q\ntargets = %s\n", name, list(targets))
			}
			continue
		}
		fmt.Fprintf(&b, "\n[[share]]\nname = %q\npath = %q\nread_only = %t\nencrypt = %t\nhide_unreadable = %t\ncontinuous = %t\n",
			sh.Name, sh.Path, sh.ReadOnly, sh.Encrypt, sh.HideUnread, sh.Continuous)
		if sh.Read != nil || sh.Write != nil {
			fmt.Fprintf(&b, "read = %s\nwrite = %s\n", list(sh.Read), list(sh.Write))
		}
		fmt.Fprintln(&b, sh.Extra)
	}
	return []byte(b.String())
}

// list writes names as a TOML array of strings.
func list(names []string) string {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = fmt.Sprintf("%q", n)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// AddUser makes an account, as `postern user add` does it.
func (s *Server) AddUser(u User) error {
	cmd := exec.Command(s.binary, "-state", s.State, "user", "add", u.Name)
	cmd.Stdin = strings.NewReader(u.Password + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("postern user add %s: %w\n%s", u.Name, err, out)
	}
	if u.Admin {
		if out, err := exec.Command(s.binary, "-state", s.State, "user", "promote", u.Name).CombinedOutput(); err != nil {
			return fmt.Errorf("postern user promote %s: %w\n%s", u.Name, err, out)
		}
	}
	return nil
}

// Binary is the path of the program.
func (s *Server) Binary() string { return s.binary }

// Command runs `postern -state ... words` and returns what it prints.
func (s *Server) Command(words ...string) (string, error) {
	out, err := exec.Command(s.binary, append([]string{"-state", s.State}, words...)...).CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("postern %s: %w\n%s", strings.Join(words, " "), err, out)
	}
	return string(out), nil
}

// Start starts the process and returns when both of its ports answer.
func (s *Server) Start(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd != nil {
		return errors.New("postern runs already")
	}
	argv := []string{s.binary, "-state", s.State}
	if s.net != nil {
		argv = append(s.net.Enter(), argv...)
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), s.env...)
	cmd.Stdout, cmd.Stderr = s.log, s.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return err
	}
	s.cmd, s.done = cmd, make(chan struct{})
	go func() {
		_ = cmd.Wait() // how it ended is in cmd.ProcessState
		close(s.done)
	}()
	if err := s.ready(ctx); err != nil {
		_ = s.end(syscall.SIGKILL)
		return fmt.Errorf("postern does not answer: %w; its log ends:\n%s", err, tail(s.Log(), 4<<10))
	}
	return nil
}

// ready waits until both ports answer, or the process has ended.
func (s *Server) ready(ctx context.Context) error {
	for _, dial := range []func(context.Context) (net.Conn, error){s.DialTCP, s.DialQUIC} {
		for {
			try, cancel := context.WithTimeout(ctx, 2*time.Second)
			c, err := dial(try)
			cancel()
			if err == nil {
				c.Close()
				break
			}
			select {
			case <-s.done:
				return errors.New("the process ended")
			case <-ctx.Done():
				return err
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
	return nil
}

// Stop ends the process as Ctrl-C does, and says so when it would not end. Stopping a stopped server does nothing.
func (s *Server) Stop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.end(syscall.SIGINT)
}

// Kill ends the process with SIGKILL, as a crash does.
func (s *Server) Kill() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.end(syscall.SIGKILL)
}

// end sends sig and waits. The caller holds s.mu.
func (s *Server) end(sig syscall.Signal) error {
	if s.cmd == nil {
		return nil
	}
	cmd := s.cmd
	s.cmd = nil
	select {
	case <-s.done:
		return fmt.Errorf("postern had ended by itself: %v", cmd.ProcessState)
	default:
	}
	_ = cmd.Process.Signal(sig)
	select {
	case <-s.done:
	case <-time.After(15 * time.Second):
		_ = cmd.Process.Kill()
		<-s.done
		return fmt.Errorf("postern did not end within 15 s of %v", sig)
	}
	if sig == syscall.SIGINT && !cmd.ProcessState.Success() {
		return fmt.Errorf("postern ended badly: %v", cmd.ProcessState)
	}
	return nil
}

// PID returns the process id, or 0 when nothing runs.
func (s *Server) PID() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd == nil {
		return 0
	}
	return s.cmd.Process.Pid
}

// Log returns all that the server has printed, over every start.
func (s *Server) Log() string {
	b, err := os.ReadFile(s.log.Name())
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// freePorts returns a UDP and a TCP address on loopback that nobody used a moment ago.
func freePorts() (udp, tcp string, err error) {
	u, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		return "", "", err
	}
	defer u.Close()
	t, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", "", err
	}
	defer t.Close()
	return u.LocalAddr().String(), t.Addr().String(), nil
}

// tail returns at most the last n bytes of s, from the start of a line.
func tail(s string, n int) string {
	if len(s) <= n {
		return s
	}
	s = s[len(s)-n:]
	if i := strings.IndexByte(s, '\n'); i >= 0 {
		s = s[i+1:]
	}
	return s
}
