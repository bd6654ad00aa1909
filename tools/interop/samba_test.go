package interop

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/postern-nas/postern/tools/peers/peers"
	"github.com/postern-nas/postern/tools/postern"
	"github.com/postern-nas/postern/tools/postern/netns"
)

// The tests in samba_*_test.go drive a running postern with Samba's smbclient and smbtorture, over QUIC with the
// server's certificate verified, and over TCP.

var againstSMBD = flag.Bool("smbd", false, "run Samba's clients against Samba's smbd, to try the tests themselves")

// Names and passwords of the accounts. The first password is not ASCII: hashing and the wire both have to get it
// through UTF-16.
const (
	alice, alicePassword = "alice", "pässwörd-パス"
	bob, bobPassword     = "bob", "correct horse"
	carol, carolPassword = "carol", "battery staple" // an administrator
	serverName           = "nas.test"                // known to the chroot as 127.0.0.1
)

// A sambaTarget is a server as Samba's clients see it over one transport.
type sambaTarget struct {
	peers     *peers.Peers
	transport string            // quic, tcp
	connect   []string          // options that choose port, transport and trust
	tcp       string            // the server's TCP address
	ca        peers.Folder      // the server's CA certificate (a file)
	shares    map[string]string // share name to the folder behind it on this machine
	within    map[string]string // of shares with within: the folder as the clients see it
	log       func() string     // what the server has logged
}

// share is one folder of the server under test. With only, nobody else has access.
type share struct {
	name     string
	readOnly bool
	encrypt  bool
	hide     bool // what a user may not read
	lasting  bool // opens can be persistent
	only     string
	extra    string // more of its configuration
	within   bool   // the folder is one that the clients can look into, at the path that tgt.within tells
	btrfs    bool   // the folder is a filesystem that shares blocks and compresses
	links    map[string][]string
	kept     string // a folder in it with previous versions
}

// startSamba starts one server with the shares, open to alice and bob, and returns it once for each transport.
func startSamba(t *testing.T, shares ...share) []*sambaTarget {
	t.Helper()
	return startSambaWith(t, "", nil, shares...)
}

// startSambaWith is startSamba of a server with more lines of configuration for each transport, in a network of its own
// if there is one.
func startSambaWith(t *testing.T, both string, network *netns.Net, shares ...share) []*sambaTarget {
	t.Helper()
	p := peers.Require(t)
	users := []postern.User{{Name: alice, Password: alicePassword}, {Name: bob, Password: bobPassword}, {Name: carol, Password: carolPassword, Admin: true}}
	if *againstSMBD {
		return startSMBD(t, p, users, shares)
	}
	if network != nil {
		p = p.Within(network.Enter())
	}
	cfg := postern.Config{Name: serverName, Users: users, Both: both, Net: network}
	dirs, within := map[string]string{}, map[string]string{}
	for _, s := range shares {
		if s.within {
			f := p.TempDir(t)
			dirs[s.name], within[s.name] = f.Host, f.Inside
		} else {
			dirs[s.name] = t.TempDir()
		}
		if s.btrfs {
			mountBtrfs(t, dirs[s.name])
		}
		ps := postern.Share{
			Name: s.name, Path: dirs[s.name], ReadOnly: s.readOnly, Encrypt: s.encrypt, HideUnread: s.hide, Continuous: s.lasting, Extra: s.extra, Links: s.links,
		}
		if s.kept != "" {
			kept := filepath.Join(ps.Path, s.kept)
			if err := os.Mkdir(kept, 0o755); err != nil {
				t.Fatal(err)
			}
			ps.Extra += fmt.Sprintf("\nsnapshots = %q\n", kept)
		}
		if s.only != "" {
			ps.Read, ps.Write = []string{s.only}, []string{s.only}
		}
		cfg.Shares = append(cfg.Shares, ps)
	}
	srv := postern.Run(t, cfg)
	ca := copyIn(t, p, srv.CA)
	tcp := &sambaTarget{
		peers: p, transport: "tcp", connect: []string{"--option=client smb transports=tcp:" + portOf(t, srv.TCP)},
		tcp: srv.TCP, ca: ca, shares: dirs, within: within, log: srv.Log,
	}
	quic := *tcp
	quic.transport = "quic"
	quic.connect = append(trust(ca), "--option=client smb transports=quic:"+portOf(t, srv.QUIC))
	return []*sambaTarget{&quic, tcp}
}

// mountBtrfs mounts a new btrfs on dir, for the time of the test.
func mountBtrfs(t *testing.T, dir string) {
	t.Helper()
	image := filepath.Join(t.TempDir(), "btrfs")
	for _, argv := range [][]string{
		{"truncate", "-s", "512M", image}, {"mkfs.btrfs", "-q", image}, {"mount", "-o", "loop", image, dir},
	} {
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%q: %v: %s", argv, err, out)
		}
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
}

// trust makes a Samba client take certificates of one CA only, for the name it connects to.
func trust(ca peers.Folder) []string {
	return []string{
		"--option=tls trust system cas=no", "--option=tls cafile=" + ca.Inside, "--option=tls verify peer=ca_and_name",
	}
}

// copyIn puts a file of the host where the clients can read it.
func copyIn(t *testing.T, p *peers.Peers, path string) peers.Folder {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f := p.TempDir(t).Sub(filepath.Base(path))
	if err := os.WriteFile(f.Host, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return f
}

func portOf(t *testing.T, addr string) string {
	t.Helper()
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// with is the target reached with more options.
func (tgt *sambaTarget) with(options ...string) *sambaTarget {
	c := *tgt
	c.connect = append(append([]string{}, tgt.connect...), options...)
	return &c
}

// smbclient makes the process: args come before the options that connect.
func (tgt *sambaTarget) smbclient(ctx context.Context, args ...string) *exec.Cmd {
	return tgt.peers.Command(ctx, "smbclient", append(args, tgt.connect...)...)
}

// try runs smbclient's commands on a share as alice and returns all that it printed, and whether it failed as a
// program. (Its exit status is that of the last command alone.)
func (tgt *sambaTarget) try(t *testing.T, share string, commands ...string) (string, error) {
	t.Helper()
	return tgt.tryAs(t, alice+"%"+alicePassword, serverName, share, commands...)
}

func (tgt *sambaTarget) tryAs(t *testing.T, login, host, share string, commands ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	cmd := tgt.smbclient(ctx, "//"+host+"/"+share, "-U"+login, "-c", strings.Join(commands, "; "))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if ctx.Err() != nil {
		t.Fatalf("smbclient %q hangs; so far:\n%s", commands, &out)
	}
	return out.String(), err
}

// anyStatus finds a complaint of smbclient.
var anyStatus = regexp.MustCompile(`(?m)^.*NT_STATUS_[A-Z_0-9]+(.*)$`)

// noComplaint is what allinfo says where there are no previous versions and no short names, which is in order.
var noComplaint = regexp.MustCompile(`^ getting (shadow copy data|alt name) for `)

// do is try for commands that must all succeed.
func (tgt *sambaTarget) do(t *testing.T, share string, commands ...string) string {
	t.Helper()
	out, err := tgt.try(t, share, commands...)
	for _, m := range anyStatus.FindAllStringSubmatch(out, -1) {
		if !noComplaint.MatchString(m[1]) {
			t.Fatalf("smbclient %q: %s; all it said:\n%s", commands, m[0], out)
		}
	}
	if err != nil {
		t.Fatalf("smbclient %q: %v\n%s", commands, err, out)
	}
	return out
}

// refused is try for commands that must bring a status, alone.
func (tgt *sambaTarget) refused(t *testing.T, status, share string, commands ...string) {
	t.Helper()
	out, _ := tgt.try(t, share, commands...)
	got := regexp.MustCompile(`NT_STATUS_[A-Z_0-9]+`).FindAllString(out, -1)
	if len(got) == 0 {
		t.Errorf("smbclient %q is not refused; want %s; it said:\n%s", commands, status, out)
		return
	}
	for _, g := range got {
		if g != status {
			t.Errorf("smbclient %q: %s, want %s; it said:\n%s", commands, g, status, out)
			return
		}
	}
}

// A bench is one test's own folder on a share, and one for its local files.
type bench struct {
	*sambaTarget
	share string
	dir   string       // the folder's name in the share
	host  string       // the same on this machine
	local peers.Folder // smbclient's current folder
}

// bench makes the folders through the server.
func (tgt *sambaTarget) bench(t *testing.T, share, dir string) *bench {
	t.Helper()
	b := &bench{
		sambaTarget: tgt, share: share, dir: dir, host: filepath.Join(tgt.shares[share], dir), local: tgt.peers.TempDir(t),
	}
	tgt.do(t, share, "mkdir "+dir)
	return b
}

// do runs commands in the folders.
func (b *bench) do(t *testing.T, commands ...string) string {
	t.Helper()
	return b.sambaTarget.do(t, b.share, b.begin(commands)...)
}

func (b *bench) refused(t *testing.T, status string, commands ...string) {
	t.Helper()
	b.sambaTarget.refused(t, status, b.share, b.begin(commands)...)
}

func (b *bench) begin(commands []string) []string {
	return append([]string{"lcd " + b.local.Inside, "cd " + b.dir}, commands...)
}

// put writes a local file and copies it to the server under the same name.
func (b *bench) put(t *testing.T, name string, content []byte) {
	t.Helper()
	b.write(t, name, content)
	b.do(t, fmt.Sprintf("put %q", name))
}

// write makes a local file.
func (b *bench) write(t *testing.T, name string, content []byte) {
	t.Helper()
	if err := os.WriteFile(b.local.Sub(name).Host, content, 0o644); err != nil {
		t.Fatal(err)
	}
}

// same says whether the server's file, as its file system has it, is content.
func (b *bench) same(t *testing.T, name string, content []byte) {
	t.Helper()
	got, err := os.ReadFile(filepath.Join(b.host, name))
	if err != nil {
		t.Error(err)
	} else if !bytes.Equal(got, content) {
		t.Errorf("%s on the server has %d bytes that differ from the %d that were put", name, len(got), len(content))
	}
}

// names lists the server's folder as its file system has it.
func (b *bench) names(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir(b.host)
	if err != nil {
		t.Fatal(err)
	}
	names := []string{}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
