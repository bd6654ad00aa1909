package interop

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/postern-nas/postern/tools/peers/peers"
	"github.com/postern-nas/postern/tools/postern"
)

// run runs another of Samba's clients, with the target's options behind args, and returns all that it printed.
func (tgt *sambaTarget) run(t *testing.T, program string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	cmd := tgt.peers.Command(ctx, program, append(args, tgt.connect...)...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	_ = cmd.Run() // what it printed says how it went
	if ctx.Err() != nil {
		t.Fatalf("%s %q hangs; so far:\n%s", program, args, &out)
	}
	return out.String()
}

// TestRPC asks what administrators and users ask, with Samba's rpcclient, net and smbcacls.
func TestRPC(t *testing.T) {
	for _, tgt := range startSamba(t, share{name: "disk"}) {
		t.Run(tgt.transport, func(t *testing.T) {
			b := tgt.bench(t, "disk", "rpc-"+tgt.transport)
			b.put(t, "letter", []byte("Dear Sirs"))
			as := func(login string) func(commands ...string) string {
				return func(commands ...string) string {
					return tgt.run(t, "rpcclient", "//"+serverName, "-U"+login, "-c", strings.Join(commands, "; "))
				}
			}
			user, admin := as(alice+"%"+alicePassword), as(carol+"%"+carolPassword)
			for _, c := range []struct {
				name     string
				ask      func(...string) string
				commands []string
				want     []string // regular expressions, each on a line
			}{
				{"browsing", user, []string{"srvinfo", "netshareenumall 1", "netsharegetinfo disk 1", "wkssvc_enumeratecomputernames"}, []string{
					`NAS\s+Wk Sv NT SNT\s+Postern`, `os version\s+:\s+10\.0`, `netname: disk`, `netname: IPC\$`, `name: 0 NAS`,
				}},
				{"paths are for administrators", user, []string{"netshareenumall 502"}, []string{`WERR_ACCESS_DENIED`}},
				{"sessions are for administrators", user, []string{"netsessenum"}, []string{`WERR_ACCESS_DENIED`}},
				{"files are for administrators", user, []string{"netfileenum"}, []string{`WERR_ACCESS_DENIED`}},
				{"looking after it", admin, []string{"netshareenumall 502", "netsessenum", "netfileenum", "netconnenum", "netdiskenum"}, []string{
					`path:\s+C:\\disk`, `Received [1-9]\d* entries`, `\\PIPE\\srvsvc`,
				}},
				{
					"users and groups", user,
					[]string{
						"enumdomains", "enumdomusers", "enumdomgroups", "enumalsgroups builtin", "queryuser alice", "queryusergroups 1000",
						"queryaliasmem builtin 544", "querygroup 513", "querygroupmem 513", "querydispinfo", "querydominfo", "lookupdomain NAS",
						"samlookupnames domain alice", "samlookuprids domain 1000", "getdompwinfo", "samquerysecobj 1000",
					},
					[]string{
						`name:\[Builtin\]`, `user:\[alice\] rid:\[0x3e8\]`, `user:\[bob\] rid:\[0x3e9\]`, `group:\[None\] rid:\[0x201\]`,
						`group:\[Administrators\] rid:\[0x220\]`, `User Name   :\s+alice`, `user_rid :\s+0x3e8`, `group_rid:\s+0x201`,
						`acb_info :\s+0x00000210`, `group rid:\[0x201\] attr:\[0x7\]`, `sid:\[S-1-5-21-.*-1002\]`, `Num Members:3`,
						`rid:\[0x3ea\] attr:\[0x7\]`, `Account: alice\s+Name:\s+Desc:`, `Total Users:\s+3`, `Domain Name: NAS Domain SID: S-1-5-21-`,
						`name alice: 0x3e8 \(1\)`, `rid 0x3e8: alice \(1\)`, `min_password_length: 10`, `SID: S-1-5-32-544`,
					},
				},
				{"names", user, []string{"lookupnames alice Everyone", "lookupsids S-1-5-32-544 S-1-5-18", "getusername", "lsaquery"}, []string{
					`alice S-1-5-21-.*-1000 \(User: 1\)`, `Everyone S-1-1-0 \(Well-known Group: 5\)`, `S-1-5-32-544 BUILTIN\\Administrators \(4\)`,
					`S-1-5-18 NT AUTHORITY\\SYSTEM \(5\)`, `Account Name: alice, Authority Name: NAS`, `Domain Name: WORKGROUP`,
				}},
				{"users are not made", admin, []string{"createdomuser eve"}, []string{`NT_STATUS_ACCESS_DENIED`}},
				{"secrets are not told", admin, []string{"querysecret x"}, []string{`NT_STATUS_ACCESS_DENIED`}},
			} {
				out := c.ask(c.commands...)
				for _, want := range c.want {
					if !regexp.MustCompile(want).MatchString(out) {
						t.Errorf("%s: %q has no %s:\n%s", c.name, c.commands, want, out)
					}
				}
				if regexp.MustCompile(`PANIC|INTERNAL ERROR|RPC_FAULT|PROCNUM_OUT_OF_RANGE|INVALID_NETWORK_RESPONSE`).MatchString(out) {
					t.Errorf("%s: %q:\n%s", c.name, c.commands, out)
				}
			}

			login := "-U" + alice + "%" + alicePassword
			if out := tgt.run(t, "net", "rpc", "share", "list", "-S", serverName, login); !regexp.MustCompile(`(?m)^disk$`).MatchString(out) {
				t.Errorf("net rpc share list:\n%s", out)
			}
			if out := tgt.run(t, "net", "rpc", "user", "-S", serverName, login); !regexp.MustCompile(`(?m)^alice$`).MatchString(out) {
				t.Errorf("net rpc user:\n%s", out)
			}
			if out := tgt.run(t, "smbcacls", "//"+serverName+"/disk", b.dir+`\letter`, login); !strings.Contains(out, `OWNER:NAS\alice`) {
				t.Errorf("smbcacls shows no names:\n%s", out)
			}
		})
	}
}

// TestShareChanges has an administrator make a share with Samba's net, use it, find it again after a restart, and take
// it away again; a user may do none of it.
func TestShareChanges(t *testing.T) {
	p := peers.Require(t)
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "Folder"), 0o755); err != nil {
		t.Fatal(err)
	}
	srv := postern.Run(t, postern.Config{
		Name: serverName, Shares: []postern.Share{{Name: "disk", Path: dir, Read: []string{carol}, Write: []string{carol}}},
		Users: []postern.User{{Name: bob, Password: bobPassword}, {Name: carol, Password: carolPassword, Admin: true}},
	})
	tgt := &sambaTarget{peers: p, transport: "tcp", connect: []string{"--option=client smb transports=tcp:" + portOf(t, srv.TCP)}}
	user, admin := "-U"+bob+"%"+bobPassword, "-U"+carol+"%"+carolPassword
	config := func() string {
		t.Helper()
		b, err := os.ReadFile(filepath.Join(srv.State, "postern.toml"))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	before := config()
	share := func(login string, args ...string) string {
		t.Helper()
		return tgt.run(t, "net", append([]string{"rpc", "share", "-S", serverName, login}, args...)...)
	}
	use := func(login string) string {
		t.Helper()
		out, _ := tgt.tryAs(t, strings.TrimPrefix(login, "-U"), serverName, "new", "mkdir inside", "ls")
		return out
	}
	if out := share(user, "add", `new=C:\disk\folder`); !strings.Contains(out, "Access is denied") || config() != before {
		t.Errorf("a user adds a share:\n%s", out)
	}
	if out := share(admin, "add", `new=C:\etc`); !strings.Contains(out, "failed") || config() != before {
		t.Errorf("sharing what is not shared:\n%s", out)
	}
	if out := share(admin, "add", `new=C:\disk\folder`, "--comment=Made by net"); strings.Contains(out, "failed") {
		t.Fatalf("adding a share:\n%s\n%s", out, srv.Log())
	}
	want := before + "\n[[share]]\nname = \"new\"\npath = \"" + dir + "\"\ncomment = \"Made by net\"\n" +
		"folder = \"Folder\"\nread = [\"carol\"]\nwrite = [\"carol\"]\n"
	if got := config(); got != want {
		t.Errorf("postern.toml became\n%s\nwant\n%s", got, want)
	}
	for range 2 {
		if out := use(admin); !strings.Contains(out, "inside") {
			t.Errorf("using it:\n%s", out)
		}
		if out := use(user); !strings.Contains(out, "NT_STATUS_ACCESS_DENIED") {
			t.Errorf("those who may not use the disk use it:\n%s", out)
		}
		if out := share(admin, "list"); !regexp.MustCompile(`(?m)^new$`).MatchString(out) {
			t.Errorf("the list has it not:\n%s", out)
		}
		if err := srv.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := srv.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "Folder", "inside")); err != nil {
		t.Error(err)
	}
	if out := share(user, "delete", "new"); config() != want {
		t.Errorf("a user removes a share:\n%s", out)
	}
	share(admin, "delete", "new")
	if got := config(); strings.TrimSpace(got) != strings.TrimSpace(before) {
		t.Errorf("postern.toml is then\n%s\nwant\n%s", got, before)
	}
	if out := use(admin); !strings.Contains(out, "NT_STATUS_BAD_NETWORK_NAME") {
		t.Errorf("using what was removed:\n%s", out)
	}
}
