// Package audit keeps what an owner may be asked about later: who connected with which certificate, who logged on or
// failed to, who was paired and revoked, what was changed. An event is one line of JSON in a file that is rotated and
// bounded; it can also go to a syslog server over TLS.
//
// Its numbers are those that Windows gives the same events, so that rules written for Windows' logs find ours. Nothing
// that is secret has a field here: no password, no hash of one, no token, no key.
package audit

import (
	"crypto/sha1" //nolint:gosec // Windows names certificates by it
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// An ID says what happened. It never changes its meaning.
type ID int

// The events. Those below 9000 are Windows': 3007 to 3009 of SMBServer's audit log on client certificates (of which
// Microsoft documents the numbers and what they hold, but not which is which: that is ours), 4608 to 5144 of the security
// log, 4870 and 4887 of its certification authority. The others, which Windows has no number for, begin at 9000.
const (
	CertificateAllowed ID = 3007 // a client's certificate was let in
	CertificateDenied  ID = 3008 // a client's certificate was good, and the access list says no
	CertificateFailed  ID = 3009 // a client's certificate was missing, not trusted, or could not be checked

	Started         ID = 4608 // Postern started
	Stopped         ID = 4609
	LogonOK         ID = 4624
	LogonFailed     ID = 4625
	Logoff          ID = 4634
	UserAdded       ID = 4720
	UserEnabled     ID = 4722
	PasswordChanged ID = 4724
	UserDisabled    ID = 4725
	UserRemoved     ID = 4726
	AdminAdded      ID = 4732 // a user became an administrator
	AdminRemoved    ID = 4733
	LogonLimited    ID = 4740 // too many failed logons: further ones are not even checked for a while
	Revoked         ID = 4870 // a paired device
	Paired          ID = 4887 // a device was given its certificate
	ShareConnected  ID = 5140
	ShareAdded      ID = 5142
	ShareChanged    ID = 5143
	ShareRemoved    ID = 5144

	PairingStarted     ID = 9001
	PairingAccepted    ID = 9002 // by the owner
	PairingRefused     ID = 9003 // by the owner, the time, or wrong codes
	PairingGuess       ID = 9004 // a wrong code
	Renewed            ID = 9005 // a paired device's certificate
	DevicePromoted     ID = 9006 // it administers the box for an owner
	DeviceDemoted      ID = 9007
	AccessChanged      ID = 9010 // the access list or its rules
	ConfigChanged      ID = 9020
	CertificateChanged ID = 9021 // the server's own
	ShareRefused       ID = 9030
	AccessCut          ID = 9031 // a connection was ended because its certificate is let in no more
	OwnerSignedIn      ID = 9040 // on the page
	OwnerRefused       ID = 9041
	UpdateInstalled    ID = 9050 // the next restart tries it
	UpdateRolledBack   ID = 9051
	UpdateRefused      ID = 9052
	FactoryReset       ID = 9060
)

// names are what events are called in the log, beside their number.
var names = map[ID]string{
	CertificateAllowed: "certificate-allowed", CertificateDenied: "certificate-denied", CertificateFailed: "certificate-failed",
	Started: "started", Stopped: "stopped", LogonOK: "logon", LogonFailed: "logon-failed", Logoff: "logoff",
	UserAdded: "user-added", UserEnabled: "user-enabled", PasswordChanged: "password-changed", UserDisabled: "user-disabled",
	UserRemoved: "user-removed", AdminAdded: "admin-added", AdminRemoved: "admin-removed", LogonLimited: "logon-limited",
	Revoked: "revoked", Paired: "paired", ShareConnected: "share-connected", ShareAdded: "share-added",
	ShareChanged: "share-changed", ShareRemoved: "share-removed", PairingStarted: "pairing-started",
	PairingAccepted: "pairing-accepted", PairingRefused: "pairing-refused", PairingGuess: "pairing-guess", Renewed: "renewed",
	DevicePromoted: "device-promoted", DeviceDemoted: "device-demoted",
	AccessChanged: "access-changed", ConfigChanged: "config-changed", CertificateChanged: "certificate-changed",
	ShareRefused: "share-refused", AccessCut: "access-cut", OwnerSignedIn: "owner-signed-in", OwnerRefused: "owner-refused",
	UpdateInstalled: "update-installed", UpdateRolledBack: "update-rolled-back", UpdateRefused: "update-refused",
	FactoryReset: "factory-reset",
}

func (id ID) String() string {
	if n, ok := names[id]; ok {
		return n
	}
	return fmt.Sprintf("event-%d", int(id))
}

// Known returns all events, by number, for those who offer a choice.
func Known() []ID {
	list := make([]ID, 0, len(names))
	for id := range names {
		list = append(list, id)
	}
	slices.Sort(list)
	return list
}

// ParseID reads an event's number or name.
func ParseID(s string) (ID, bool) {
	for id, n := range names {
		if s == n || s == fmt.Sprint(int(id)) {
			return id, true
		}
	}
	return 0, false
}

// An Event is one thing that happened. What does not apply is left empty. Texts may be a stranger's words: they are cut
// and escaped when they are recorded.
type Event struct {
	Time time.Time `json:"time"` // set by Record if zero
	Seq  uint64    `json:"seq"`  // set by Record: grows by one, over restarts
	ID   ID        `json:"id"`
	Name string    `json:"event"` // set by Record
	OK   bool      `json:"ok"`

	User        string     `json:"user,omitempty"`
	Domain      string     `json:"domain,omitempty"`
	Workstation string     `json:"workstation,omitempty"` // as the client calls itself
	Address     netip.Addr `json:"address,omitzero"`
	Transport   string     `json:"transport,omitempty"`
	Connection  string     `json:"connection,omitempty"` // as in the logs
	Server      string     `json:"server,omitempty"`     // the server name asked for
	Share       string     `json:"share,omitempty"`
	Device      string     `json:"device,omitempty"`
	By          string     `json:"by,omitempty"`   // who did it, if that is not User: "panel", "page", "command", "feed"
	Text        string     `json:"text,omitempty"` // the reason, or what was changed

	Certificates []Certificate `json:"certificates,omitempty"` // as the client sent them, its own first
	Entries      []string      `json:"entries,omitempty"`      // of the access list, that matched

	// Skipped is how many events of the same kind were not recorded since the last one that was, because there were too
	// many at once.
	Skipped uint64 `json:"skipped,omitempty"`
}

// A Certificate is what the log keeps of one.
type Certificate struct {
	Subject string    `json:"subject"`
	Issuer  string    `json:"issuer"`
	Serial  string    `json:"serial"` // hexadecimal
	SHA1    string    `json:"sha1"`   // thumbprint
	SHA256  string    `json:"sha256"`
	Until   time.Time `json:"until"`
}

// Describe is c as the log keeps it.
func Describe(c *x509.Certificate) Certificate {
	thumb, sum := sha1.Sum(c.Raw), sha256.Sum256(c.Raw) //nolint:gosec // see above
	return Certificate{
		Subject: c.Subject.String(), Issuer: c.Issuer.String(), Serial: hex.EncodeToString(c.SerialNumber.Bytes()),
		SHA1: fmt.Sprintf("%X", thumb), SHA256: fmt.Sprintf("%X", sum), Until: c.NotAfter.UTC(),
	}
}

// DescribeAll is Describe of a chain.
func DescribeAll(chain []*x509.Certificate) []Certificate {
	list := make([]Certificate, 0, min(len(chain), maxCertificates))
	for _, c := range chain[:min(len(chain), maxCertificates)] {
		list = append(list, Describe(c))
	}
	return list
}

// Bounds of one event.
const (
	maxText         = 512 // bytes of one text
	maxCertificates = 8
	maxEntries      = 32
	maxLine         = 32 << 10 // bytes; more than all texts of an event beside its lists, at their longest
)

// tame cuts and escapes every text of e.
func (e *Event) tame() {
	for _, s := range []*string{
		&e.User, &e.Domain, &e.Workstation, &e.Transport, &e.Connection, &e.Server, &e.Share, &e.Device, &e.By, &e.Text,
	} {
		*s = tame(*s)
	}
	e.Certificates = slices.Clone(e.Certificates[:min(len(e.Certificates), maxCertificates)])
	for i := range e.Certificates {
		c := &e.Certificates[i]
		for _, s := range []*string{&c.Subject, &c.Issuer, &c.Serial, &c.SHA1, &c.SHA256} {
			*s = tame(*s)
		}
	}
	e.Entries = slices.Clone(e.Entries[:min(len(e.Entries), maxEntries)])
	for i, s := range e.Entries {
		e.Entries[i] = tame(s)
	}
	e.Address = e.Address.Unmap().WithZone("")
}

// Plain makes a stranger's text one that a terminal can show: as it stands in the log.
func Plain(s string) string { return tame(s) }

// tame makes a stranger's text one that can be shown anywhere: what does not print is written out as Go would, which is
// also what keeps it on its line and its reading direction, and what is too long is cut.
func tame(s string) string {
	cut := len(s) > maxText
	if cut {
		n := maxText
		for n > maxText-utf8.UTFMax && !utf8.RuneStart(s[n]) {
			n--
		}
		s = s[:n]
	}
	var b strings.Builder
	for i, r := range s {
		_, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case unicode.IsPrint(r):
			b.WriteRune(r)
		case r < 0x80:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r <= 0xFFFF:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
	}
	if cut {
		b.WriteString("...")
	}
	return b.String()
}

// line is e as it is kept, with a newline. One that is too long, as nobody honest sends, loses its lists.
func (e *Event) line() ([]byte, error) {
	b, err := json.Marshal(e)
	if err == nil && len(b) >= maxLine {
		e.Entries, e.Certificates = nil, e.Certificates[:min(1, len(e.Certificates))]
		b, err = json.Marshal(e)
	}
	if err == nil && len(b) >= maxLine {
		e.Certificates = nil
		b, err = json.Marshal(e)
	}
	return append(b, '\n'), err
}
