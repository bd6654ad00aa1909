package config

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pelletier/go-toml/v2"

	"github.com/postern-nas/postern/firmware/access"
	"github.com/postern-nas/postern/firmware/logon"
	"github.com/postern-nas/postern/firmware/observe"
	"github.com/postern-nas/postern/smb"
)

// home returns a state folder with a folder "disk" and a file "plain" in it.
func home(t testing.TB) string {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "disk"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "plain"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

var usualUpdate = Update{Every: 24 * time.Hour, At: "03:30", Trial: 2 * time.Minute, Tries: 3}

func TestDefaultFile(t *testing.T) {
	dir := home(t)
	got, err := Parse("postern.toml", []byte(DefaultFile), dir)
	if err != nil {
		t.Fatal(err)
	}
	want := &Config{
		Compression: true, Name: "postern.local", Names: []string{"postern.local"}, NetBIOS: "POSTERN",
		QUIC: ":443", Page: PageAuto, MemoryBudget: 128 << 20, Connections: 1024, ConnectionsPerClient: 128,
		TCPSessions: Sessions{Multichannel: true},
		Access:      Access{Rule: access.Rule{Certificate: access.Paired, Pipes: access.PipesPaired}},
		Logon:       Logon{FailedDelay: 2 * time.Second, NTLM: logon.NTLMEverybody},
		Audit:       Audit{FileSize: 1 << 20, Files: 8},
		LogLevel:    slog.LevelInfo, LogFormat: observe.Text,
		KeyStore: "auto", TPM: DeviceAuto,
		Box: usualBox, Update: usualUpdate,
		Shares: []Share{{Name: "disk", Path: filepath.Join(dir, "disk")}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the default file is\n%+v, want\n%+v", got, want)
	}
	// What it writes out is what is built in.
	short, err := Parse("postern.toml", []byte("version = 1\n[[share]]\nname='disk'\npath='disk'"), dir)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(short, want) {
		t.Errorf("built in is\n%+v, the file says\n%+v", short, want)
	}
	// And it explains every key there is.
	for key := range index([]byte(DefaultFile)) {
		if kind(bare(key)) == "" {
			t.Errorf("%s is no key", key)
		}
	}
	for _, key := range keys(reflect.TypeFor[raw](), "") {
		if name := key[strings.LastIndexByte(key, '.')+1:]; !strings.Contains(DefaultFile, name+" =") {
			t.Errorf("the default file does not speak of %s", key)
		}
	}
}

// keys lists the dotted keys of values in t.
func keys(t reflect.Type, prefix string) (out []string) {
	if t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return []string{prefix}
	}
	for f := range t.Fields() {
		out = append(out, keys(f.Type, prefix+"."+f.Tag.Get("toml"))...)
	}
	return out
}

func TestEveryKeyArrives(t *testing.T) {
	dir := home(t)
	got, err := Parse("postern.toml", []byte(`
version = 1
name = "NAS-with-a-long-name.Example.ORG"
names = ["a.example.org", "localhost"]
compression = false
quic.listen = "[fd00::1]:8443"
quic.multichannel = true
[tcp]
listen = "127.0.0.1:4450"
multichannel = false
anonymous = true
require_encryption = true
[page]
listen = "127.0.0.1:8080"
outside = true
[limits]
memory_mib = 64
connections = 10
connections_per_client = 5
[log]
level = "debug"
format = "json"
[tpm]
device = "swtpm.sock"
[certificate]
key_store = "resident"
file = "plain"
key = "`+dir+`/plain"
[access]
client_certificate = "always"
any_trusted = true
named_pipes = "none"
authorities = ["plain"]
[[access.server]]
name = "A.example.org"
client_certificate = "never"
any_trusted = false
[[access.server]]
name = "localhost"
named_pipes = "all"
[logon]
failed_delay_ms = 10000
ntlm = "paired"
[audit]
file_mib = 2
files = 3
syslog = "logs.example.org:6514"
syslog_ca = "plain"
[[share]]
name = "Ünï code$"
path = "disk/../disk"
comment = "a comment"
read_only = true
encrypt = true
hidden = true
hide_unreadable = true
hide_files = [".*"]
short_names = true
notify = false
keep_acl_flags = true
compress = true
read = ["alice"]
write = []
[[share]]
name = "two"
path = "disk"
write = ["bob"]
[[share]]
name = "all"
[[share.link]]
name = "photos"
targets = ['\\nas2\photos', '\\nas3\photos\sub']
[[share.link]]
name = "work"
targets = ['\\nas4\work']
`), dir)
	if err != nil {
		t.Fatal(err)
	}
	disk, plain := filepath.Join(dir, "disk"), filepath.Join(dir, "plain")
	want := &Config{
		Name: "nas-with-a-long-name.example.org", Names: []string{"nas-with-a-long-name.example.org", "a.example.org", "localhost"},
		Outside: "nas-with-a-long-name.example.org",
		NetBIOS: "NAS-WITH-A-LONG", QUIC: "[fd00::1]:8443", TCP: "127.0.0.1:4450", RequireEncryption: true,
		QUICSessions: Sessions{Multichannel: true}, TCPSessions: Sessions{Anonymous: true},
		MemoryBudget: 64 << 20, Connections: 10, ConnectionsPerClient: 5,
		LogLevel: slog.LevelDebug, LogFormat: observe.JSON, Page: "127.0.0.1:8080", PageOutside: true, CertificateFile: plain, KeyFile: plain, Box: usualBox, Update: usualUpdate,
		KeyStore: "resident", TPM: filepath.Join(dir, "swtpm.sock"),
		Access: Access{
			Rule: access.Rule{Certificate: access.Always, Trusted: true, Pipes: access.PipesNone}, Authorities: []string{plain}, blocks: []string{"a.example.org", "localhost"},
			Servers: map[string]access.Rule{
				"a.example.org": {Certificate: access.Never, Pipes: access.PipesNone},
				"localhost":     {Certificate: access.Always, Trusted: true, Pipes: access.PipesAll},
			},
		},
		Logon: Logon{FailedDelay: 10 * time.Second, NTLM: logon.NTLMPaired},
		Audit: Audit{FileSize: 2 << 20, Files: 3, Syslog: "logs.example.org:6514", SyslogCA: plain},
		Shares: []Share{
			{
				Name: "Ünï code$", Path: disk, Comment: "a comment", ReadOnly: true, Encrypt: true, Hidden: true, Compress: true,
				HideUnreadable: true, HideFiles: []string{".*"}, ShortNames: true, WithoutNotify: true, KeepACLFlags: true,
				restricted: true, read: []string{"alice"}, write: []string{},
			},
			{Name: "two", Path: disk, restricted: true, write: []string{"bob"}},
			{Name: "all", Links: []smb.Link{
				{Name: "photos", Targets: []string{`\\nas2\photos`, `\\nas3\photos\sub`}}, {Name: "work", Targets: []string{`\\nas4\work`}},
			}},
		},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v, want\n%+v", got, want)
	}
}

// TestMistakes: each is named with file, line and key, in words an owner can follow. DIR stands for the folder.
func TestMistakes(t *testing.T) {
	const share = "version = 1\n[[share]]\nname = \"disk\"\npath = \"disk\"\n"
	for _, c := range []struct{ name, doc, want string }{
		{"empty", "", `f.toml:1: version: missing; this Postern writes version = 1`},
		{"no version", "name = \"a\"", `f.toml:1: version: missing; this Postern writes version = 1`},
		{"newer", "\nversion = 2\nfuture = 1", `f.toml:2: version: 2 is from a newer Postern; this one reads up to 1`},
		{"version 0", "version = 0", `f.toml:1: version: must be from 1 to 1`},
		{"version text", `version = "1"`, `f.toml:1: version: must be a whole number`},
		{"syntax", "version = 1\nname = \"x", `f.toml:2: unterminated basic string`},
		{"syntax 2", "version = 1\n\nname postern", `f.toml:3: expected '=' after key`},
		{"not utf-8", "version = 1\nname = \"\xff\"", `f.toml:2: invalid UTF-8 character in basic string`},
		{"twice", "version = 1\nname = \"a\"\nname = \"b\"", `f.toml:3: name: key name is already defined`},

		{"unknown key", "version = 1\nnaem = \"x\"", `f.toml:2: naem: unknown key; ` + known(nil)},
		{"unknown table", "version = 1\n[quick]\nlisten = \":1\"", `f.toml:2: quick: unknown key; ` + known(nil)},
		{"unknown in table", "version = 1\n[quic]\nport = 1", `f.toml:3: quic.port: unknown key; known in quic: listen, multichannel, anonymous`},
		{"one block for many", "version = 1\n[access.server]\nname = \"a\"", `f.toml:2: access.server: must be a block that begins with [[access.server]]`},
		{"certificate when", "version = 1\n[access]\nclient_certificate = \"sometimes\"", `f.toml:3: access.client_certificate: "sometimes" must be one of paired, always, never`},
		{"server's certificate when", "version = 1\n[[access.server]]\nname = \"a\"\nclient_certificate = \"sometimes\"", `f.toml:4: access.server.client_certificate: "sometimes" must be one of paired, always, never`},
		{"server's name", "version = 1\n[[access.server]]\nname = \"10.0.0.1\"", `f.toml:3: access.server.name: "10.0.0.1" must be one of the names in the server's certificate`},
		{"server twice", "version = 1\n[[access.server]]\nname = \"a\"\n[[access.server]]\nname = \"A\"", `f.toml:5: access.server.name: there is another block for a`},
		{"pipes", "version = 1\n[access]\nnamed_pipes = \"some\"", `f.toml:3: access.named_pipes: "some" must be one of paired, all, none`},
		{"delay", "version = 1\n[logon]\nfailed_delay_ms = 10001", `f.toml:3: logon.failed_delay_ms: must be from 0 to 10000`},
		{"ntlm", "version = 1\n[logon]\nntlm = \"no\"", `f.toml:3: logon.ntlm: "no" must be one of everybody, paired, nobody`},
		{"syslog", "version = 1\n[audit]\nsyslog = \"logs\"", `f.toml:3: audit.syslog: "logs" must be a name or address and a port, such as "logs.example.org:6514"`},
		{"syslog's port", "version = 1\n[audit]\nsyslog = \"logs:0\"", `f.toml:3: audit.syslog: "logs:0" must be a name or address and a port, such as "logs.example.org:6514"`},
		{"unknown in share", share + "readonly = true", "f.toml:5: share.readonly: unknown key; " + known(toml.Key{"share", "readonly"})},
		{"path and links", share + "[[share.link]]\nname = \"a\"\ntargets = ['\\\\b\\c']", `f.toml:4: share.path: a share has either a path or links`},
		{"bad link", "version = 1\n[[share]]\nname = \"all\"\n[[share.link]]\nname = \"a\"\ntargets = ['b']", `f.toml:4: share.link: target "b" is not \\server\share or \\server\share\path`},
		{"link twice", "version = 1\n[[share]]\nname = \"all\"\nlink = [{name = \"a\", targets = ['\\\\b\\c']}, {name = \"A\", targets = ['\\\\b\\c']}]", `f.toml:4: share.link.name: there is another link "A"; case makes no difference`},
		{"too deep", "version = 1\nname.first = 1", `f.toml:2: name.first: unknown key; name has no keys in it`},
		{"case", "version = 1\nNAME = \"x\"", `f.toml:2: NAME: unknown key; ` + known(nil)},
		{"two unknown", "version = 1\na = 1\n[log]\nb = 2", "f.toml:2: a: unknown key; " + known(nil) + "\n" +
			`f.toml:4: log.b: unknown key; known in log: level, format`},

		{"number for text", "version = 1\nname = 5", `f.toml:2: name: must be a text in quotes, as in "text"`},
		{"text for number", "version = 1\n[limits]\nmemory_mib = \"64\"", `f.toml:3: limits.memory_mib: must be a whole number`},
		{"fraction", "version = 1\n[limits]\nmemory_mib = 1.5", `f.toml:3: limits.memory_mib: must be a whole number`},
		{"huge", "version = 1\n[limits]\nmemory_mib = 99999999999999999999", `f.toml:3: limits.memory_mib: decimal number is too large to fit in a 64-bit signed integer`},
		{"text for truth", share + "read_only = \"yes\"", `f.toml:5: share.read_only: must be true or false`},
		{"text for list", share + "read = \"alice\"", `f.toml:5: share.read: must be a list of texts, as in ["one", "two"]`},
		{"numbers in list", share + "read = [1]", `f.toml:5: share.read: must be a list of texts, as in ["one", "two"]`},
		{"table for block", "version = 1\n[share]\nname = \"x\"", `f.toml:2: share: must be a block that begins with [[share]]`},
		{"dotted for block", "version = 1\nshare.name = \"x\"\nshare.path = \"disk\"", `f.toml:2: share: must be a block that begins with [[share]]`},
		{"dotted for inner block", "version = 1\n[network]\nport.name = \"eth0\"", `f.toml:3: network.port: must be a block that begins with [[network.port]]`},
		{"block for table", "version = 1\n[[quic]]\nlisten = \":1\"", `f.toml:2: quic: must be a block that begins with [quic]`},
		{"value for table", "version = 1\nquic = \":443\"", `f.toml:2: quic: must be a block that begins with [quic]`},

		{"name", "version = 1\n\nname = \"my nas\"", `f.toml:3: name: "my nas" must be a DNS name such as "nas.example.org": letters, digits and hyphens, and no address`},
		{"address as name", "version = 1\nname = \"192.168.1.1\"", `f.toml:2: name: "192.168.1.1" must be a DNS name such as "nas.example.org": letters, digits and hyphens, and no address`},
		{"names", "version = 1\nnames = [\"a\",\n\"-b\"]", `f.toml:2: names: "-b" must be a DNS name such as "nas.example.org": letters, digits and hyphens, and no address`},
		{"listen", "version = 1\n[quic]\nlisten = \"443\"", `f.toml:3: quic.listen: "443" must be an address and port such as ":443", "192.168.1.10:443" or "[fd00::1]:443"`},
		{"no quic", "version = 1\n[quic]\nlisten = \"\"", `f.toml:3: quic.listen: "" must be an address and port such as ":443", "192.168.1.10:443" or "[fd00::1]:443"`},
		{"port", "version = 1\ntcp = { listen = \":70000\" }", `f.toml:2: tcp.listen: ":70000" must be an address and port such as ":443", "192.168.1.10:443" or "[fd00::1]:443"`},
		{"host name", "version = 1\ntcp.listen = \"nas:445\"", `f.toml:2: tcp.listen: "nas:445" must be an address and port such as ":443", "192.168.1.10:443" or "[fd00::1]:443"`},
		{"quota alone", share + "time_machine_quota = 5", `f.toml:5: share.time_machine_quota: is for shares with time_machine = true`},
		{"quota", share + "time_machine = true\ntime_machine_quota = -1", `f.toml:6: share.time_machine_quota: must be from 0 to 1048576`},
		{"memory", "version = 1\n[limits]\nmemory_mib = 1", `f.toml:3: limits.memory_mib: must be from 16 to 65536`},
		{"connections", "version = 1\n[limits]\nconnections = 0", `f.toml:3: limits.connections: must be from 1 to 65536`},
		{"per client", "version = 1\n[limits]\nconnections_per_client = -1", `f.toml:3: limits.connections_per_client: must be from 1 to 65536`},
		{"level", "version = 1\n[log]\nlevel = \"loud\"", `f.toml:3: log.level: "loud" must be one of debug, info, warn, error`},
		{"level sum", "version = 1\n[log]\nlevel = \"info+1\"", `f.toml:3: log.level: "info+1" must be one of debug, info, warn, error`},
		{"format", "version = 1\n[log]\nformat = \"xml\"", `f.toml:3: log.format: "xml" must be one of text, json`},
		{"place of keys", "version = 1\n[certificate]\nkey_store = \"pocket\"", `f.toml:3: certificate.key_store: "pocket" must be one of auto, sealed, resident, file`},
		{"half a pair", "version = 1\n[certificate]\nfile = \"plain\"", `f.toml:2: certificate.key: missing, while certificate.file is given: they belong together`},
		{"no such file", "version = 1\n[certificate]\nfile = \"plain\"\nkey = \"gone\"", `f.toml:4: certificate.key: stat DIR/gone: no such file or directory`},
		{"folder as file", "version = 1\n[certificate]\nfile = \"disk\"\nkey = \"plain\"", `f.toml:3: certificate.file: DIR/disk is not a file`},

		{"share without name", "version = 1\n[[share]]\npath = \"disk\"", `f.toml:2: share.name: missing: what clients call the share`},
		{"share without path", "version = 1\n[[share]]\nname = \"x\"", `f.toml:2: share.path: missing: which folder is served`},
		{"share name", "version = 1\n[[share]]\nname = \"a/b\"\npath = \"disk\"", `f.toml:3: share.name: "a/b" contains one of \ / : * ? " < > | [ ] + ; , = % or what cannot be printed`},
		{"share name with escape", "version = 1\n[[share]]\nname = \"a\\u001bb\"\npath = \"disk\"", `f.toml:3: share.name: "a\x1bb" contains one of \ / : * ? " < > | [ ] + ; , = % or what cannot be printed`},
		{"long share name", "version = 1\n[[share]]\nname = \"" + strings.Repeat("x", 81) + "\"\npath = \"disk\"", `f.toml:3: share.name: must be at most 80 characters`},
		{"long share name in UTF-16", "version = 1\n[[share]]\nname = \"" + strings.Repeat("😀", 41) + "\"\npath = \"disk\"", `f.toml:3: share.name: must be at most 80 characters`},
		{"ipc", "version = 1\n[[share]]\nname = \"ipc$\"\npath = \"disk\"", `f.toml:3: share.name: IPC$ is Postern's own`},
		{"dots", "version = 1\n[[share]]\nname = \"..\"\npath = \"disk\"", `f.toml:3: share.name: ".." is not a name`},
		{"space", "version = 1\n[[share]]\nname = \"x \"\npath = \"disk\"", `f.toml:3: share.name: "x " begins or ends with a space`},
		{"duplicate", share + "\n[[share]]\nname = \"DISK\"\npath = \"disk\"", `f.toml:7: share.name: there is another share "DISK"; case makes no difference`},
		{"no folder", share + "\n[[share]]\nname = \"b\"\npath = \"gone\"", `f.toml:8: share.path: DIR/gone does not exist`},
		{"file", "version = 1\n[[share]]\nname = \"x\"\npath = \"plain\"", `f.toml:4: share.path: DIR/plain is not a folder`},
		{"below a file", "version = 1\n[[share]]\nname = \"x\"\npath = \"plain/x\"", `f.toml:4: share.path: stat DIR/plain/x: not a directory`},
		{"own folder", "version = 1\n[[share]]\nname = \"x\"\npath = \".\"", `f.toml:4: share.path: DIR contains Postern's own keys; serve a folder in it or elsewhere`},
		{"whole disk", "version = 1\n[[share]]\nname = \"x\"\npath = \"/\"", `f.toml:4: share.path: / contains Postern's own keys; serve a folder in it or elsewhere`},
		{"link to own folder", "version = 1\n[[share]]\nname = \"x\"\npath = \"link\"", `f.toml:4: share.path: DIR/link contains Postern's own keys; serve a folder in it or elsewhere`},
		{"comment", share + "comment = \"a\\nb\"", `f.toml:5: share.comment: must be at most 256 printable characters`},
		{"pattern", share + "hide_files = [\".*\", \"a/b\"]", `f.toml:5: share.hide_files: "a/b" matches no name`},
		{"notify", share + "notify = 1", `f.toml:5: share.notify: must be true or false`},
		{"user", share + "write = [\"\"]", `f.toml:5: share.write: "" is not a user name`},
		{
			"inline", "version = 1\nshare = [{ name = \"a\", path = \"disk\" },\n  { name = \"a\", path = \"disk\" }]",
			`f.toml:3: share.name: there is another share "a"; case makes no difference`,
		},
		{
			"all at once", "version = 1\nname = \"\"\n[log]\nlevel = \"x\"\n[[share]]\nname = \"x\"\npath = \"gone\"",
			`f.toml:2: name: "" must be a DNS name such as "nas.example.org": letters, digits and hyphens, and no address` + "\n" +
				`f.toml:4: log.level: "x" must be one of debug, info, warn, error` + "\n" +
				`f.toml:7: share.path: DIR/gone does not exist`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := home(t)
			if err := os.Symlink(".", filepath.Join(dir, "link")); err != nil {
				t.Fatal(err)
			}
			cfg, err := Parse("f.toml", []byte(c.doc), dir)
			if err == nil {
				t.Fatalf("accepted: %+v", cfg)
			}
			if got := strings.ReplaceAll(err.Error(), dir, "DIR"); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestAccess(t *testing.T) {
	for _, c := range []struct {
		name        string
		share       Share
		user        string
		read, write bool
	}{
		{"no lists", Share{}, "anyone", true, true},
		{"no lists, read only", Share{ReadOnly: true}, "anyone", true, false},
		{"reader", Share{restricted: true, read: []string{"alice"}}, "ALICE", true, false},
		{"not listed", Share{restricted: true, read: []string{"alice"}}, "bob", false, false},
		{"writer", Share{restricted: true, write: []string{"bob"}}, "bob", true, true},
		{"both", Share{restricted: true, read: []string{"bob"}, write: []string{"bob"}}, "bob", true, true},
		{"writer, read only", Share{restricted: true, ReadOnly: true, write: []string{"bob"}}, "bob", true, false},
		{"empty list", Share{restricted: true, write: []string{}}, "bob", false, false},
		{"nobody", Share{restricted: true, write: []string{"bob"}}, "", false, false},
	} {
		if read, write := c.share.Access(c.user); read != c.read || write != c.write {
			t.Errorf("%s: %v, %v; want %v, %v", c.name, read, write, c.read, c.write)
		}
	}
}

func TestMigration(t *testing.T) {
	steps := []migration{
		func(doc []byte) ([]byte, error) {
			return []byte(strings.Replace(string(doc), "hostname", "name", 1)), nil
		},
		func(doc []byte) ([]byte, error) { return append(doc, "# step 2\n"...), nil },
	}
	for doc, want := range map[string]string{
		"version = 1\nhostname = \"x\"\n": "version = 1\nname = \"x\"\n# step 2\n",
		"version = 2\nhostname = \"x\"\n": "version = 2\nhostname = \"x\"\n# step 2\n",
		"version = 3\n":                   "version = 3\n",
	} {
		if got, err := migrate("f.toml", []byte(doc), steps); err != nil || string(got) != want {
			t.Errorf("%q became %q, %v", doc, got, err)
		}
	}
	sick := []migration{func([]byte) ([]byte, error) { return nil, errors.New("no") }}
	if _, err := migrate("f.toml", []byte("version = 1"), sick); err == nil || err.Error() != "f.toml: from version 1: no" {
		t.Errorf("failed step: %v", err)
	}
}

func TestLoadWithoutFile(t *testing.T) {
	if _, err := Load(t.TempDir()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Load = %v", err)
	}
}

// TestFlippedBit: one bit gone wrong on the disk never opens a share to those it was closed to.
func TestFlippedBit(t *testing.T) {
	dir := home(t)
	doc := []byte("version = 1\n[[share]]\nname = \"disk\"\npath = \"disk\"\nread_only = true\nread = [\"alice\"]\n")
	if _, err := Parse("f.toml", doc, dir); err != nil {
		t.Fatal(err)
	}
	for i := range doc {
		for bit := range 8 {
			doc[i] ^= 1 << bit
			if cfg, err := Parse("f.toml", doc, dir); err == nil {
				for _, s := range cfg.Shares {
					if read, _ := s.Access("mallory"); read {
						t.Errorf("open to mallory:\n%s", doc)
					}
				}
			}
			doc[i] ^= 1 << bit
		}
	}
}

// A folder in a path is names, and nothing that leads elsewhere.
func TestSEC27Folder(t *testing.T) {
	dir := home(t)
	const share = "version = 1\n[[share]]\nname = \"d\"\npath = \"disk\"\nfolder = "
	for folder, want := range map[string][]string{"": nil, "a": {"a"}, "a/B c/\uf03a": {"a", "B c", "\uf03a"}} {
		cfg, err := Parse("f.toml", []byte(share+strconv.Quote(folder)), dir)
		if err != nil {
			t.Fatal(err)
		}
		if got := cfg.Shares[0].Folder; !slices.Equal(got, want) {
			t.Errorf("%q: %q", folder, got)
		}
	}
	for _, folder := range []string{"/", "/etc", "a/", "a//b", ".", "..", "a/../..", `a\b`, "a:b", "a\x00"} {
		doc := share + "\"" + strings.NewReplacer(`\`, `\\`, "\x00", `\u0000`).Replace(folder) + "\""
		if _, err := Parse("f.toml", []byte(doc), dir); err == nil || !strings.Contains(err.Error(), "f.toml:5: share.folder") {
			t.Errorf("%q: %v", folder, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	dir := home(f)
	f.Add([]byte(DefaultFile))
	f.Add([]byte("version = 1\nshare = [{ name = \"a\", path = \"disk\", read = [\"x\"] }]"))
	f.Add([]byte("version = 1\n[[share.x]]\n[share.y]\n[[a.b]]\n[a.b.c]\nd.e = {f = [[{}]]}"))
	f.Fuzz(func(t *testing.T, doc []byte) {
		cfg, err := Parse("f.toml", doc, dir)
		if (cfg == nil) == (err == nil) {
			t.Fatalf("%v, %v", cfg, err)
		}
		if cfg != nil && (!DNSName(cfg.Name) || !Address(cfg.QUIC)) {
			t.Fatalf("unchecked: %+v", cfg)
		}
	})
}

func TestSnapshots(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{"disk", "kept/photos"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	const share = "version = 1\n[[share]]\nname = \"disk\"\npath = \"disk\"\nsnapshots = "
	for pattern, want := range map[string][2]string{
		"": {"", ""}, "kept": {filepath.Join(dir, "kept"), ""}, "kept/*": {filepath.Join(dir, "kept"), ""},
		"kept/*/a/b/": {filepath.Join(dir, "kept"), "a/b"}, dir + "/kept/*/a": {filepath.Join(dir, "kept"), "a"}, "*/photos": {dir, "photos"},
	} {
		cfg, err := Parse("f.toml", []byte(share+strconv.Quote(pattern)), dir)
		if err != nil {
			t.Errorf("%q: %v", pattern, err)
			continue
		}
		if got := [2]string{cfg.Shares[0].Snapshots, cfg.Shares[0].SnapshotInside}; got != want {
			t.Errorf("%q: %q; want %q", pattern, got, want)
		}
	}
	for pattern, want := range map[string]string{
		"none": "no such file", "kept/*/*": "at most one *", "kept/2*/x": "at most one *", "f/*": "no such file", "kept/*/../..": "leads out",
	} {
		if _, err := Parse("f.toml", []byte(share+strconv.Quote(pattern)), dir); err == nil || !strings.Contains(err.Error(), want) ||
			!strings.Contains(err.Error(), "f.toml:5: share.snapshots") {
			t.Errorf("%q: %v; want %q", pattern, err, want)
		}
	}
}

func TestShareStreams(t *testing.T) {
	dir := t.TempDir()
	for line, want := range map[string]Share{"": {}, "streams = true": {}, "streams = false\ntime_machine = true": {NoStreams: true, TimeMachine: true}, "time_machine = true\ntime_machine_quota = 500": {TimeMachine: true, TimeMachineQuota: 500 << 30}} {
		doc := "version = 1\n[[share]]\nname = \"d\"\npath = \"" + dir + "\"\n" + line + "\n"
		cfg, err := Parse("f.toml", []byte(doc), t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		if s := cfg.Shares[0]; s.NoStreams != want.NoStreams || s.TimeMachine != want.TimeMachine || s.TimeMachineQuota != want.TimeMachineQuota {
			t.Errorf("%q: %+v", line, s)
		}
	}
}

// TestOutside: the name for everywhere is the first that can stand in the Internet's DNS.
func TestOutside(t *testing.T) {
	for doc, want := range map[string]string{
		`name = "attic.local"`: "",
		"name = \"attic.local\"\nnames = [\"attic\", \"NAS.example.net\", \"nas.example.org\"]": "nas.example.net",
		"name = \"nas.example.org\"\nnames = [\"nas.example.net\"]":                             "nas.example.org",
		"name = \"attic\"\nnames = [\"attic.lan\", \"attic.home.arpa\", \"a.internal\"]":        "",
		`name = "local.example"`: "local.example",
	} {
		cfg, err := Parse("f.toml", []byte("version = 1\n"+doc), t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		if cfg.Outside != want {
			t.Errorf("%s: %q, want %q", doc, cfg.Outside, want)
		}
	}
	if PublicName("192.0.2.1") || PublicName("") || PublicName("-a.example.org") {
		t.Error("what is no name is public")
	}
}
