package config

import (
	"net"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/postern-nas/postern/firmware/access"
)

func (c *checker) access(r rawAccess) Access {
	a := Access{Rule: c.rule("access.", r.ClientCertificate, r.AnyTrusted, r.NamedPipes)}
	for _, p := range r.Authorities {
		p = c.path(p)
		if st, err := os.Stat(p); err != nil {
			c.fail("access.authorities", "%v", err)
		} else if !st.Mode().IsRegular() {
			c.fail("access.authorities", "%s is not a file", p)
		}
		a.Authorities = append(a.Authorities, p)
	}
	for i, s := range r.Server {
		at := "access.server." + strconv.Itoa(i) + "."
		rule := a.Rule
		if s.ClientCertificate != "" {
			rule.Certificate = c.rule(at, s.ClientCertificate, false, r.NamedPipes).Certificate
		}
		if s.AnyTrusted != nil {
			rule.Trusted = *s.AnyTrusted
		}
		if s.NamedPipes != "" {
			rule.Pipes = c.rule(at, r.ClientCertificate, false, s.NamedPipes).Pipes
		}
		name := strings.ToLower(s.Name)
		if !DNSName(strings.TrimPrefix(name, "*.")) {
			c.fail(at+"name", "%q must be one of the names in the server's certificate", s.Name)
			continue
		}
		if _, twice := a.Servers[name]; twice {
			c.fail(at+"name", "there is another block for %s", name)
			continue
		}
		if a.Servers == nil {
			a.Servers = make(map[string]access.Rule)
		}
		a.Servers[name] = rule
		a.blocks = append(a.blocks, name)
	}
	return a
}

// SetAccess changes rules of a server name, or with "" those of all that have none of their own: the settings' tables do not
// count. A name that has no block [[access.server]] gets one.
func SetAccess(dir, server string, settings ...Setting) (now *Config, err error) {
	err = edit(dir, func(f *file) error {
		table := "access"
		if server != "" {
			i := slices.Index(f.want.Access.blocks, server)
			if i < 0 {
				i = len(f.want.Access.blocks)
				f.lines = append(f.lines, "", "[[access.server]]", "name = "+quote(server))
				f.reindex()
			}
			table = "access.server." + strconv.Itoa(i)
			if _, _, err := f.blockAt(table); err != nil {
				return err
			}
		}
		for i := range settings {
			settings[i].Table = table
		}
		return set(dir, &now, settings...)(f)
	})
	return now, err
}

func (c *checker) rule(at place, certificate string, trusted bool, pipes string) access.Rule {
	return access.Rule{
		Certificate: access.When(c.oneOf(at+"client_certificate", certificate, string(access.Paired), string(access.Always), string(access.Never))),
		Trusted:     trusted,
		Pipes:       access.Pipes(c.oneOf(at+"named_pipes", pipes, string(access.PipesPaired), string(access.PipesAll), string(access.PipesNone))),
	}
}

func (c *checker) audit(r raw) Audit {
	a := Audit{
		FileSize: c.number("audit.file_mib", r.Audit.FileMiB, 1, 1024) << 20,
		Files:    int(c.number("audit.files", r.Audit.Files, 1, 100)),
		Syslog:   r.Audit.Syslog,
		SyslogCA: c.path(r.Audit.CA),
	}
	if a.Syslog != "" {
		host, port, err := net.SplitHostPort(a.Syslog)
		n, bad := strconv.ParseUint(port, 10, 16)
		if err != nil || bad != nil || n == 0 || net.ParseIP(host) == nil && !DNSName(host) {
			c.fail("audit.syslog", `%q must be a name or address and a port, such as "logs.example.org:6514"`, a.Syslog)
		}
	}
	if a.SyslogCA != "" {
		if st, err := os.Stat(a.SyslogCA); err != nil {
			c.fail("audit.syslog_ca", "%v", err)
		} else if !st.Mode().IsRegular() {
			c.fail("audit.syslog_ca", "%s is not a file", a.SyslogCA)
		}
	}
	return a
}
