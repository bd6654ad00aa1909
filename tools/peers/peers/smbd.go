package peers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/postern-nas/postern/tools/postern/netns"
)

// SMBDOptions says what smbd serves. The zero value of each field is a usable default.
type SMBDOptions struct {
	Port    int               // TCP port on 127.0.0.1; 0: a free one
	Users   map[string]string // name (of [Users]) to password; nil: alice with "secret"
	Shares  []string          // names of writable shares, each an empty folder; nil: "share"
	Encrypt string            // "server smb encrypt": "" (smbd's default: if the client wants), "off", "required"
	Global  []string          // more lines for [global], such as "log level = 3"
	Share   []string          // more lines for every share
	Net     *netns.Net        // the network it runs in; nil: that of this process
	Listen  []string          // more addresses to listen on, each with the length of its network: 192.0.2.1/24
}

// SMBD is a running smbd.
type SMBD struct {
	Addr   string            // 127.0.0.1:PORT
	Port   int               //
	Shares map[string]Folder // where each share's files are
	Pid    int               // the first process, 1 of its own PID namespace where the kernel allows one

	dir    Folder
	net    *netns.Net
	cmd    *exec.Cmd
	done   chan struct{}
	output *bytes.Buffer // of smbd; to be read after done
}

// StartSMBD starts Samba's smbd on a loopback TCP port, with all its state in a folder of its own, and returns when
// it answers. It speaks SMB 2.0.2 to 3.1.1, without NetBIOS, SMB1, printers and guests. It dies with this process.
func (p *Peers) StartSMBD(ctx context.Context, o SMBDOptions) (*SMBD, error) {
	if o.Users == nil {
		o.Users = map[string]string{"alice": "secret"}
	}
	if o.Shares == nil {
		o.Shares = []string{"share"}
	}
	for name := range o.Users {
		if !slices.Contains(Users, name) {
			return nil, fmt.Errorf("smbd: user %q is not in the chroot, which has %s", name, strings.Join(Users, ", "))
		}
	}
	if o.Port == 0 {
		port, err := FreePort()
		if err != nil {
			return nil, err
		}
		o.Port = port
	}
	dir, err := p.NewFolder()
	if err != nil {
		return nil, err
	}
	s := &SMBD{
		Addr: fmt.Sprintf("127.0.0.1:%d", o.Port), Port: o.Port, Shares: map[string]Folder{}, dir: dir, net: o.Net,
		done: make(chan struct{}), output: new(bytes.Buffer),
	}
	if err := s.configure(o); err != nil {
		return nil, errors.Join(err, dir.Remove())
	}
	for name, password := range o.Users {
		cmd := p.Command(ctx, "smbpasswd", "-c", dir.Sub("smb.conf").Inside, "-a", "-s", name)
		cmd.Stdin = strings.NewReader(password + "\n" + password + "\n")
		if out, err := cmd.CombinedOutput(); err != nil {
			return nil, errors.Join(fmt.Errorf("smbpasswd %s: %w: %s", name, err, out), dir.Remove())
		}
	}
	if err := s.start(p); err != nil {
		return nil, errors.Join(err, dir.Remove())
	}
	if err := s.wait(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// RunSMBD is [Peers.StartSMBD] for the length of a test.
func (p *Peers) RunSMBD(t testing.TB, o SMBDOptions) *SMBD {
	t.Helper()
	s, err := p.StartSMBD(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// configure lays out the folder and writes smb.conf.
func (s *SMBD) configure(o SMBDOptions) error {
	var conf strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&conf, format+"\n", args...) }
	line("[global]")
	line("server role = standalone server")
	line("netbios name = NAS")
	line("workgroup = WORKGROUP")
	line("server smb transports = tcp:%d", o.Port)
	line("disable netbios = yes")
	line("interfaces = 127.0.0.1/8 %s", strings.Join(o.Listen, " "))
	line("bind interfaces only = yes")
	line("server min protocol = SMB2_02")
	line("map to guest = never")
	line("load printers = no")
	line("printcap name = /dev/null")
	line("disable spoolss = yes")
	line("passdb backend = tdbsam")
	line("logging = file")
	line("log file = %s", s.dir.Sub("log").Inside)
	for option, sub := range map[string]string{
		"private dir": "private", "state directory": "state", "cache directory": "cache",
		"lock directory": "lock", "pid directory": "pid", "ncalrpc dir": "ncalrpc",
	} {
		if err := os.Mkdir(s.dir.Sub(sub).Host, 0o755); err != nil {
			return err
		}
		line("%s = %s", option, s.dir.Sub(sub).Inside)
	}
	if o.Encrypt != "" {
		line("server smb encrypt = %s", o.Encrypt)
	}
	for _, l := range o.Global {
		line("%s", l)
	}
	for _, name := range o.Shares {
		f := s.dir.Sub("share-" + name)
		if err := os.Mkdir(f.Host, 0o755); err != nil {
			return err
		}
		if err := os.Chmod(f.Host, 0o777); err != nil { // whatever the umask: users of smbd are users of Unix
			return err
		}
		s.Shares[name] = f
		line("[%s]", name)
		line("path = %s", f.Inside)
		line("read only = no")
		for _, l := range o.Share {
			line("%s", l)
		}
	}
	return os.WriteFile(s.dir.Sub("smb.conf").Host, []byte(conf.String()), 0o644)
}

// start runs smbd in the foreground, isolated because it starts helpers by itself (samba-dcerpcd and its children),
// which would outlive it.
func (s *SMBD) start(p *Peers) error {
	var argv []string
	if s.net != nil {
		argv = s.net.Enter()
	}
	argv = append(argv, "chroot", p.Root, "smbd", "--foreground", "--no-process-group", "--configfile="+s.dir.Sub("smb.conf").Inside)
	s.cmd = isolated(context.Background(), filepath.Join(p.Root, "proc"), argv...)
	s.cmd.Env = environ
	s.cmd.Stdout, s.cmd.Stderr = s.output, s.output
	if err := s.cmd.Start(); err != nil {
		return fmt.Errorf("smbd: %w", err)
	}
	s.Pid = s.cmd.Process.Pid
	go func() {
		s.cmd.Wait() // it is killed in the end, and its status says only that
		close(s.done)
	}()
	return nil
}

// wait returns when smbd accepts connections.
func (s *SMBD) wait(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	answers := func() error {
		c, err := net.Dial("tcp", s.Addr)
		if err != nil {
			return err
		}
		return c.Close()
	}
	for {
		var err error
		if s.net == nil {
			err = answers()
		} else {
			err = s.net.Do(answers)
		}
		if err == nil {
			return nil
		}
		select {
		case <-s.done:
			return fmt.Errorf("smbd ended at once: %s%s", s.output, s.Log())
		case <-ctx.Done():
			return fmt.Errorf("smbd does not listen on %s: %w: %s", s.Addr, ctx.Err(), s.Log())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Log is what smbd has logged so far.
func (s *SMBD) Log() string {
	b, err := os.ReadFile(filepath.Join(s.dir.Host, "log"))
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// Close kills smbd with all its children and removes its folder, shares included.
func (s *SMBD) Close() error {
	if err := s.cmd.Cancel(); err != nil && !errors.Is(err, syscall.ESRCH) {
		return err
	}
	<-s.done
	if !canUnshare() {
		for _, pid := range s.stragglers() {
			syscall.Kill(pid, syscall.SIGKILL) // it may end by itself at the same time
		}
	}
	return s.dir.Remove()
}

// stragglers are the processes that carry the configuration file, which only this smbd has, in their command line.
func (s *SMBD) stragglers() []int {
	var pids []int
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline") // the pattern is well-formed
	for _, path := range lines {
		b, err := os.ReadFile(path)
		if err != nil || !bytes.Contains(b, []byte(s.dir.Sub("smb.conf").Inside)) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// FreePort is a TCP and UDP port of 127.0.0.1 that was free a moment ago.
func FreePort() (int, error) {
	for range 20 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return 0, err
		}
		port := l.Addr().(*net.TCPAddr).Port
		u, err := net.ListenPacket("udp", l.Addr().String())
		l.Close()
		if err == nil {
			u.Close()
			return port, nil
		}
	}
	return 0, errors.New("no port is free for both TCP and UDP")
}
