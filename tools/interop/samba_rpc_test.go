package interop

import (
	"bytes"
	"context"
	"regexp"
	"strings"
	"testing"
	"time"
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
