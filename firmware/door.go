package main

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/postern-nas/postern/firmware/access"
	"github.com/postern-nas/postern/firmware/account"
	"github.com/postern-nas/postern/firmware/audit"
	"github.com/postern-nas/postern/firmware/cert"
	"github.com/postern-nas/postern/firmware/config"
	"github.com/postern-nas/postern/firmware/logon"
	"github.com/postern-nas/postern/firmware/pairing"
	"github.com/postern-nas/postern/firmware/update"
	"github.com/postern-nas/postern/quic"
	"github.com/postern-nas/postern/smb"
	"github.com/postern-nas/postern/ui/web"
)

// door is who gets in, and the book of who did: the paired devices, the access list, the bounds on passwords, and the
// audit log.
type door struct {
	desk   *pairing.Desk
	access *access.Store
	limits *logon.Limiter
	audit  *audit.Log
	syslog *audit.Syslog // nil: none

	authority *x509.Certificate // the box's own
	changing  sync.Mutex        // changes of the rules take turns
	rules     config.Access     // that count
}

// openDoor opens what lies in the state folder. pages are where the box's page is, for those who pair.
func openDoor(dir string, cfg *config.Config, users *account.Store, authority *cert.Authority, pages func() []string, log *slog.Logger) (*door, error) {
	d := &door{authority: authority.Certificate(), rules: cfg.Access}
	rules, err := d.rulesOf(cfg.Access)
	if err != nil {
		return nil, err
	}
	book := audit.Config{Dir: auditDir(dir), Size: cfg.Audit.FileSize, Files: cfg.Audit.Files, Log: log}
	if cfg.Audit.Syslog != "" {
		var roots *x509.CertPool
		if cfg.Audit.SyslogCA != "" {
			list, err := readAuthorities(cfg.Audit.SyslogCA)
			if err != nil {
				return nil, err
			}
			roots = x509.NewCertPool()
			for _, c := range list {
				roots.AddCert(c)
			}
		}
		d.syslog = audit.NewSyslog(audit.SyslogConfig{Address: cfg.Audit.Syslog, Roots: roots, Host: cfg.Name, Log: log})
		book.Send = d.syslog.Send
	}
	if d.audit, err = audit.Open(book); err != nil {
		return nil, err
	}
	d.desk, err = pairing.Open(pairing.Config{
		Dir: dir, Issuer: authority, Bases: pages, Audit: d.audit.Record, Log: log,
		Changed: func() { d.access.Refresh() },
	})
	if err == nil {
		d.access, err = access.Open(access.Config{
			Dir: dir, Rules: rules, Devices: d.desk.Hashes, Suspicious: d.desk.Damaged(),
			Audit: d.audit.Record, Log: log,
		})
	}
	if err != nil {
		return nil, errors.Join(err, d.audit.Close())
	}
	d.limits = logon.New(logon.Config{
		NTLM: cfg.Logon.NTLM, Local: pairing.Local,
		Exists: func(user string) bool {
			_, _, err := users.Lookup(context.Background(), user, "")
			return err == nil
		},
		Limited: func(user string, from netip.Addr) {
			log.Warn("too many failed logons: further ones from strangers are not checked for a while", "user", user, "client", from)
			d.audit.Record(audit.Event{ID: audit.LogonLimited, User: user, Address: from})
		},
	})
	d.audit.Record(audit.Event{ID: audit.Started, OK: true, Text: version()})
	if cfg.Logon.NTLM == logon.NTLMNobody {
		log.Warn("nobody can log on: [logon] ntlm is \"nobody\", and this Postern knows no other way")
	}
	return d, nil
}

func auditDir(stateDir string) string { return filepath.Join(stateDir, "audit") }

// Close ends the audit log.
func (d *door) Close() error {
	d.audit.Record(audit.Event{ID: audit.Stopped, OK: true})
	return d.audit.Close()
}

// readAuthorities reads the certificates in a PEM file.
func readAuthorities(file string) (list []*x509.Certificate, err error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		list = append(list, c)
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("%s: no certificate in it; PEM is wanted", file)
	}
	return list, nil
}

// admit says what a connection over QUIC may do, and notes who has come.
func (d *door) admit(info *smb.ConnInfo, peer quic.Peer, from netip.Addr) {
	if len(peer.Chain) > 0 {
		info.Peer = peer.Chain[0]
		d.desk.Saw(info.Peer, from)
	}
	shown := info.Peer != nil
	info.Pipes = func() smb.Pipes { return d.pipes(peer.Matched, shown) }
}

// judged writes down what became of a client's certificate.
func (d *door) judged(j quic.Judgement) {
	e := audit.Event{
		ID: audit.CertificateAllowed, OK: j.Err == nil, Transport: "quic", Connection: j.ID, Server: j.ServerName,
		Certificates: audit.DescribeAll(j.Sent), Address: hostOf(j.Addr.String()),
		Entries: d.access.Matches(strings.ToLower(strings.TrimSuffix(j.ServerName, ".")), j.Sent),
	}
	switch {
	case j.Cut:
		e.ID = audit.AccessCut
	case errors.Is(j.Err, quic.ErrAccessDenied):
		e.ID = audit.CertificateDenied
	case j.Err != nil:
		e.ID = audit.CertificateFailed
	}
	if j.Err != nil {
		e.Text = j.Err.Error()
	}
	d.audit.Record(e)
}

// heard writes down what the SMB server tells.
func (d *door) heard(a smb.Audit) {
	e := audit.Event{
		OK: a.Err == nil, User: a.User, Domain: a.Domain, Workstation: a.Workstation, Share: a.Share, Address: hostOf(a.Remote),
		Transport: a.Conn.Transport, Connection: a.Conn.ID, Server: a.Conn.ServerName,
		ID: map[smb.AuditKind]audit.ID{
			smb.LoggedOn: audit.LogonOK, smb.LogonRefused: audit.LogonFailed, smb.LoggedOff: audit.Logoff,
			smb.ShareConnected: audit.ShareConnected, smb.ShareRefused: audit.ShareRefused,
			smb.ShareAdded: audit.ShareAdded, smb.ShareChanged: audit.ShareChanged, smb.ShareRemoved: audit.ShareRemoved,
		}[a.Kind],
	}
	if a.Conn.Peer != nil {
		e.Device = a.Conn.Peer.Subject.CommonName
	}
	if a.Err != nil {
		e.Text = a.Err.Error()
	}
	if a.Kind >= smb.ShareAdded {
		e.By = "administrator: " + a.User
	}
	d.audit.Record(e)
}

// updated writes down what became of an update.
func (d *door) updated(ctx context.Context, e update.Event) {
	a := audit.Event{OK: e.Kind == update.Installed, Text: e.String(), Address: web.By(ctx).From, ID: map[update.Kind]audit.ID{
		update.Installed: audit.UpdateInstalled, update.Refused: audit.UpdateRefused, update.RolledBack: audit.UpdateRolledBack,
	}[e.Kind]}
	switch {
	case e.Way == update.ByFeed:
		a.By = "feed"
	case !e.Itself:
		a.By = byWhom(ctx)
	}
	d.audit.Record(a)
}

// hostOf is the address of an address with a port.
func hostOf(s string) netip.Addr {
	ap, err := netip.ParseAddrPort(s)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap()
}
