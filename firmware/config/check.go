package config

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/postern-nas/postern/firmware/logon"
	"github.com/postern-nas/postern/firmware/observe"
	"github.com/postern-nas/postern/smb"
	"github.com/postern-nas/postern/smb/fscc"
)

// A checker turns raw values into checked ones and collects what is wrong with them, each with its place.
type checker struct {
	file, dir string
	spots     map[place]spot
	errs      []error
}

// fail notes what is wrong with the value at. A value the file leaves out is blamed on the block it is missing in.
func (c *checker) fail(at place, format string, args ...any) {
	line := 0
	for p := at; line == 0 && p != ""; {
		line = c.spots[p].line
		p = p[:max(0, strings.LastIndexByte(p, '.'))]
	}
	c.errs = append(c.errs, &Error{c.file, max(1, line), strings.Join(bare(at), "."), fmt.Sprintf(format, args...)})
}

func (c *checker) config(r raw) *Config {
	cfg := &Config{
		Name:              c.dnsName("name", r.Name),
		QUIC:              c.address("quic.listen", r.QUIC.Listen),
		QUICSessions:      Sessions{r.QUIC.Multichannel, r.QUIC.Anonymous},
		TCPSessions:       Sessions{r.TCP.Multichannel, r.TCP.Anonymous},
		RequireEncryption: r.TCP.RequireEncryption,
		SigningOptional:   !r.TCP.RequireSigning,
		LinuxClients:      r.TCP.LinuxClients,
		Compression:       r.Compression,

		MemoryBudget: c.number("limits.memory_mib", r.Limits.MemoryMiB, 16, 65536) << 20,
		Connections:  int(c.number("limits.connections", r.Limits.Connections, 1, 65536)),
		ConnectionsPerClient: int(c.number("limits.connections_per_client", r.Limits.ConnectionsPerClient,
			1, 65536)),
		LogFormat: observe.Format(c.oneOf("log.format", r.Log.Format, string(observe.Text), string(observe.JSON))),
	}
	cfg.Names = append(cfg.Names, cfg.Name)
	for _, name := range r.Names {
		cfg.Names = append(cfg.Names, c.dnsName("names", name))
	}
	if i := slices.IndexFunc(cfg.Names, PublicName); i >= 0 {
		cfg.Outside = cfg.Names[i]
	}
	first, _, _ := strings.Cut(cfg.Name, ".")
	cfg.NetBIOS = strings.ToUpper(first[:min(15, len(first))])
	if r.TCP.Listen != "" {
		cfg.TCP = c.address("tcp.listen", r.TCP.Listen)
	}
	cfg.PageOutside = r.Page.Outside
	if cfg.Page = r.Page.Listen; cfg.Page != "" && cfg.Page != PageAuto {
		cfg.Page = c.address("page.listen", r.Page.Listen)
	}
	if err := cfg.LogLevel.UnmarshalText([]byte(c.oneOf("log.level", r.Log.Level, "debug", "info", "warn", "error"))); err != nil {
		cfg.LogLevel = slog.LevelInfo // oneOf has complained
	}
	cfg.CertificateFile = c.pem("certificate.file", r.Certificate.File, "certificate.key", r.Certificate.Key)
	cfg.KeyFile = c.pem("certificate.key", r.Certificate.Key, "certificate.file", r.Certificate.File)
	cfg.KeyStore = c.oneOf("certificate.key_store", r.Certificate.KeyStore, "auto", "sealed", "resident", "file")
	if cfg.TPM = r.TPM.Device; cfg.TPM != DeviceAuto {
		cfg.TPM = c.path(r.TPM.Device)
	}
	cfg.Access = c.access(r.Access)
	cfg.Logon = Logon{
		FailedDelay: time.Duration(c.number("logon.failed_delay_ms", r.Logon.DelayMS, 0, 10000)) * time.Millisecond,
		NTLM: logon.NTLM(c.oneOf("logon.ntlm", r.Logon.NTLM,
			string(logon.NTLMEverybody), string(logon.NTLMPaired), string(logon.NTLMNobody))),
	}
	cfg.Audit = c.audit(r)
	cfg.Box = c.box(r)
	cfg.Update = c.update(r.Update)
	taken := make(map[string]bool)
	for i, share := range r.Share {
		at := "share." + strconv.Itoa(i)
		cfg.Shares = append(cfg.Shares, c.share(at, share, taken))
	}
	return cfg
}

// maxQuota is a PiB, in GiB: no box holds as much.
const maxQuota = 1 << 20

func (c *checker) share(at place, r rawShare, taken map[string]bool) Share {
	s := Share{
		Name: r.Name, Path: c.path(r.Path), Comment: r.Comment,
		ReadOnly: r.ReadOnly, Encrypt: r.Encrypt, Hidden: r.Hidden, HideUnreadable: r.HideUnreadable,
		Compress: r.Compress, Continuous: r.Continuous, POSIX: r.POSIX, ShortNames: r.ShortNames, KeepACLFlags: r.KeepACLFlags,
		TimeMachine:   r.TimeMachine,
		HideFiles:     append([]string(nil), r.HideFiles...),
		NoStreams:     r.Streams != nil && !*r.Streams,
		WithoutNotify: r.Notify != nil && !*r.Notify,
		restricted:    r.Read != nil || r.Write != nil, read: r.Read, write: r.Write,
	}
	s.TimeMachineQuota = c.number(at+".time_machine_quota", r.MachineQuota, 0, maxQuota) << 30
	if r.MachineQuota != 0 && !r.TimeMachine {
		c.fail(at+".time_machine_quota", "is for shares with time_machine = true")
	}
	folded := fscc.Fold(r.Name)
	if text := shareName(r.Name); text != "" {
		c.fail(at+".name", "%s", text)
	} else if taken[folded] {
		c.fail(at+".name", "there is another share %q; case makes no difference", r.Name)
	}
	taken[folded] = true
	if len(r.Link) > 0 {
		s.Links = c.links(at, r)
	} else if r.Path == "" {
		c.fail(at+".path", "missing: which folder is served")
	} else if text := folder(s.Path, c.dir); text != "" {
		c.fail(at+".path", "%s", text)
	}
	if r.Folder != "" {
		s.Folder = c.inside(at+".folder", r.Folder)
	}
	c.snapshots(at+".snapshots", r.Snapshots, &s)
	if !printable(r.Comment) || utf8.RuneCountInString(r.Comment) > 256 {
		c.fail(at+".comment", "must be at most 256 printable characters")
	}
	for _, pattern := range r.HideFiles {
		if fscc.CheckPattern(pattern) != nil {
			c.fail(at+".hide_files", "%q matches no name", pattern)
		}
	}
	c.users(at+".read", r.Read)
	c.users(at+".write", r.Write)
	return s
}

// inside takes apart where in a share's path its folder is. Whether it is there shows when it is served: clients may have
// removed it.
func (c *checker) inside(at place, folder string) (names []string) {
	names = strings.Split(folder, "/")
	for _, name := range names {
		if fscc.CheckName(name) != nil {
			c.fail(at, "%q is not a folder's name; the names on the way are separated by /", name)
		}
	}
	return names
}

// snapshots takes a pattern of folders apart at its one *.
func (c *checker) snapshots(at place, pattern string, s *Share) {
	if pattern == "" {
		return
	}
	dir, inside, _ := strings.Cut(pattern, "*")
	if inside = strings.Trim(inside, "/"); strings.Contains(inside, "*") || dir != pattern && dir != "" && !strings.HasSuffix(dir, "/") {
		c.fail(at, "%q must have at most one *, which stands for the whole name of a folder", pattern)
		return
	}
	s.Snapshots, s.SnapshotInside = c.path(dir), filepath.Clean(inside)
	if dir == "" {
		s.Snapshots = c.dir
	}
	if s.SnapshotInside == "." {
		s.SnapshotInside = ""
	}
	st, err := os.Stat(s.Snapshots)
	switch {
	case err != nil:
		c.fail(at, "%v", err)
	case !st.IsDir():
		c.fail(at, "%s is not a folder", s.Snapshots)
	case s.SnapshotInside != "" && !filepath.IsLocal(s.SnapshotInside):
		c.fail(at, "%q leads out of the version", inside)
	}
}

// links checks the links of a share that consists of them.
func (c *checker) links(at place, r rawShare) (links []smb.Link) {
	if r.Path != "" {
		c.fail(at+".path", "a share has either a path or links")
	}
	if r.Folder != "" {
		c.fail(at+".folder", "links lie in no folder")
	}
	taken := make(map[string]bool)
	for i, l := range r.Link {
		at := at + ".link." + strconv.Itoa(i)
		link := smb.Link{Name: l.Name, Targets: l.Targets}
		if err := smb.CheckLink(link); err != nil {
			c.fail(at, "%v", err)
		} else if taken[fscc.Fold(l.Name)] {
			c.fail(at+".name", "there is another link %q; case makes no difference", l.Name)
		}
		taken[fscc.Fold(l.Name)] = true
		links = append(links, link)
	}
	return links
}

func (c *checker) users(at place, list []string) {
	for _, user := range list {
		if user == "" || !printable(user) {
			c.fail(at, "%q is not a user name", user)
		}
	}
}

// shareName says what is wrong with a share's name: Windows takes these characters for its own in a path.
func shareName(name string) string {
	switch {
	case name == "":
		return "missing: what clients call the share"
	case len(utf16.Encode([]rune(name))) > 80:
		return "must be at most 80 characters"
	case strings.EqualFold(name, "IPC$"):
		return "IPC$ is Postern's own"
	case strings.ContainsAny(name, `\/:*?"<>|[]+;,=%`) || !printable(name):
		return fmt.Sprintf(`%q contains one of \ / : * ? " < > | [ ] + ; , = %% or what cannot be printed`, name)
	case strings.TrimSpace(name) != name:
		return fmt.Sprintf("%q begins or ends with a space", name)
	case name == "." || name == "..":
		return fmt.Sprintf("%q is not a name", name)
	}
	return ""
}

func printable(s string) bool {
	return utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) < 0
}

var label = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// DNSName reports whether name can stand in a certificate and be looked up, as an internationalized name in its
// xn-- form. Windows clients connect over QUIC to names only, so an address is none.
func DNSName(name string) bool {
	if len(name) > 253 || net.ParseIP(name) != nil {
		return false
	}
	for l := range strings.SplitSeq(strings.ToLower(name), ".") {
		if !label.MatchString(l) {
			return false
		}
	}
	return true
}

// atHome are endings of names that the Internet's DNS never has (RFC 6761, 6762, 7686, 8375, 9476; "internal" is kept free for
// this), and those that home routers make up.
var atHome = []string{"local", "localhost", "test", "invalid", "onion", "alt", "home.arpa", "internal", "lan", "home", "localdomain"}

// PublicName reports whether name is a DNS name that the Internet may know, such as "nas.example.org".
func PublicName(name string) bool {
	name = strings.ToLower(name)
	return DNSName(name) && strings.Contains(name, ".") &&
		!slices.ContainsFunc(atHome, func(end string) bool { return strings.HasSuffix(name, "."+end) })
}

func (c *checker) dnsName(at place, name string) string {
	if !DNSName(name) {
		c.fail(at, `%q must be a DNS name such as "nas.example.org": letters, digits and hyphens, and no address`, name)
	}
	return strings.ToLower(name)
}

func (c *checker) address(at place, addr string) string {
	if !Address(addr) {
		c.fail(at, `%q must be an address and port such as ":443", "192.168.1.10:443" or "[fd00::1]:443"`, addr)
	}
	return addr
}

// Address reports whether addr is what a listener takes: an IP address, or nothing for all, and a port; 0 is any
// free one.
func Address(addr string) bool {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return false
	}
	if host != "" {
		_, err = netip.ParseAddr(host)
	}
	return err == nil
}

func (c *checker) number(at place, n, from, to int64) int64 {
	if n < from || n > to {
		c.fail(at, "must be from %d to %d", from, to)
		return from
	}
	return n
}

func (c *checker) oneOf(at place, s string, choices ...string) string {
	for _, choice := range choices {
		if s == choice {
			return s
		}
	}
	c.fail(at, "%q must be one of %s", s, strings.Join(choices, ", "))
	return s
}

// path makes p absolute; "" stays.
func (c *checker) path(p string) string {
	if p == "" {
		return ""
	}
	if filepath.IsAbs(p) {
		return filepath.Clean(p)
	}
	return filepath.Join(c.dir, p)
}

// pem checks one of a pair of files; other is its partner.
func (c *checker) pem(at place, p string, otherAt place, other string) string {
	if p == "" {
		if other != "" {
			c.fail(at, "missing, while %s is given: they belong together", otherAt)
		}
		return ""
	}
	p = c.path(p)
	if st, err := os.Stat(p); err != nil {
		c.fail(at, "%v", err)
	} else if !st.Mode().IsRegular() {
		c.fail(at, "%s is not a file", p)
	}
	return p
}
