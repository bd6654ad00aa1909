package interop

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/postern-nas/postern/quic/quictest"
)

// TestSmbclientRefused: who must not get in does not, is told so in the right words, and the owner can read in the
// server's log who it was and why.
func TestSmbclientRefused(t *testing.T) {
	targets := startSamba(t, share{name: "disk"}, share{name: "fixed", readOnly: true}, share{name: "bobs", only: bob},
		share{name: "sealed", encrypt: true})
	stranger := targets[0].peers.TempDir(t).Sub("stranger.pem")
	if err := os.WriteFile(stranger.Host, quictest.NewCA("Stranger").PEM(), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tgt := range targets {
		t.Run(tgt.transport, func(t *testing.T) {
			for _, c := range []struct {
				name    string
				login   string // user%password; "": alice's own
				host    string // "": nas.test
				share   string
				options []string
				command string // "": ls; mkdir, to be refused alone, does not reach smbclient's exit status
				on      string // the only transport where it makes sense
				status  string // a pattern for what the client says
				log     string // a pattern for a line of the server's log; "": none is due
			}{
				{
					name: "wrong password", login: alice + "%wrong", share: "disk",
					status: `session setup failed: NT_STATUS_LOGON_FAILURE`, log: `logon refused.*alice.*wrong password`,
				},
				{
					name: "empty password", login: alice + "%", share: "disk",
					status: `session setup failed: NT_STATUS_LOGON_FAILURE`, log: `logon refused.*alice.*wrong password`,
				},
				{
					name: "unknown user", login: "mallory%wrong", share: "disk",
					status: `session setup failed: NT_STATUS_LOGON_FAILURE`, log: `logon refused.*mallory.*no such user`,
				},
				{
					name: "anonymous", login: "%", share: "disk",
					status: `NT_STATUS_(ACCESS_DENIED|LOGON_FAILURE)`, log: `logon refused.*anonymous`,
				},
				{
					name: "no such share", share: "nothing",
					status: `tree connect failed: NT_STATUS_BAD_NETWORK_NAME`, log: `tree connect refused.*nothing.*no share`,
				},
				{
					name: "another's share", share: "bobs",
					status: `tree connect failed: NT_STATUS_ACCESS_DENIED`, log: `tree connect refused.*alice.*bobs`,
				},
				{
					name: "write to a read-only share", share: "fixed", command: "mkdir x",
					status: `NT_STATUS_(ACCESS_DENIED|MEDIA_WRITE_PROTECTED) making remote directory`,
				},
				{
					name: "encryption is beyond the client", share: "sealed", on: "tcp",
					options: []string{"--option=client max protocol=SMB2_10"},
					status:  `tree connect failed: NT_STATUS_ACCESS_DENIED`, log: `tree connect refused.*sealed.*encryption`,
				},
				{
					name: "SMB1 only", share: "disk", on: "tcp",
					options: []string{"--option=client min protocol=NT1", "--option=client max protocol=NT1"},
					status:  `NT_STATUS_|protocol negotiation failed`, log: `connection dropped.*SMB1`,
				},
				{
					name: "certificate for another name", host: "other.test", share: "disk", on: "quic",
					status: `NT_STATUS_`, log: `connection refused.*unknown server name.*other\.test`,
				},
				{
					name: "untrusted CA", share: "disk", on: "quic",
					options: trust(stranger),
					status:  `NT_STATUS_`, log: `connection refused.*(client left|client refused us)`,
				},
			} {
				if c.on != "" && c.on != tgt.transport || *againstSMBD && !strings.Contains("disk nothing", c.share) {
					continue
				}
				t.Run(c.name, func(t *testing.T) {
					login, host, command := c.login, c.host, c.command
					if login == "" {
						login = alice + "%" + alicePassword
					}
					if host == "" {
						host = serverName
					}
					if command == "" {
						command = "ls"
					}
					before := len(tgt.log())
					out, err := tgt.with(c.options...).tryAs(t, login, host, c.share, command)
					if (err == nil && c.command == "") || !regexp.MustCompile(c.status).MatchString(out) {
						t.Errorf("want a refusal with %s; smbclient ended with %v and said:\n%s", c.status, err, out)
					}
					if c.log != "" && (!*againstSMBD || c.host != "" || c.name == "untrusted CA") {
						wantLog(t, func() string { return tgt.log()[before:] }, c.log)
					}
				})
			}
			tgt.do(t, "disk", "ls") // whoever belongs there still gets in
		})
	}
}

// wantLog waits for a line of the log; the server may write it after the client has its answer.
func wantLog(t *testing.T, log func() string, pattern string) {
	t.Helper()
	re := regexp.MustCompile(pattern)
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		for line := range strings.Lines(log()) {
			if re.MatchString(line) {
				t.Logf("the server logs: %s", line)
				return
			}
		}
	}
	t.Errorf("no line of the server's log has %s; it logged:\n%s", pattern, log())
}
