package web

import (
	"context"
	"crypto/x509"
	"io"
	"net/http"
	"net/netip"
	"time"

	"github.com/postern-nas/postern/ui"
)

// A Box is what the page shows and changes. Source, Control and Owners are needed; what else is nil this box has not, and the
// page does not show it. Every error's text is shown to the owner, so it says what to do next.
type Box struct {
	Source  ui.Source
	Control ui.Control // nil methods there are none: what it cannot do it says in its error
	Owners  Owners
	Setup   Setup

	Shares       Shares
	Users        Users
	Devices      Devices
	Pairings     Pairings
	Ways         func() Ways
	Certificates Certificates
	Journal      Journal
	Logs         Logs
	Settings     Settings
	Network      Network
	Panel        http.Handler // a picture of the front panel, as it is now
	Updates      Updates
	Backups      Backups
	Recovery     Recovery
	// Commands answers what programs ask below /command/. Only those get there that show the certificate of a device that
	// administers the box; who that is, By says.
	Commands http.Handler
}

// Owners are those who may sign in.
type Owners interface {
	// SignIn reports whether the user is an owner and has the password, and the name as it is kept.
	SignIn(user, password string) (name string, ok bool)
	// Stands reports whether the user still is an owner, with the password that was given: it is asked for every request.
	// mark is what it returned when the user signed in.
	Stands(user string) (mark string, ok bool)
	// ByCertificate is the owner for whom the paired device with a certificate administers the box. Nothing but its issuer
	// and its time has been checked.
	ByCertificate(c *x509.Certificate) (name string, ok bool)
}

// Setup is the first setup.
type Setup interface {
	Due() bool
	// Check says what is wrong with what one step of a plan says. It changes nothing.
	Check(ctx context.Context, p Plan, step Step) error
	// Carry does what a whole plan says, once. An error says what is wrong; it can be called again then. It may take a minute,
	// and tells what it does and how much of it is done.
	Carry(ctx context.Context, p Plan, tell func(step string, percent int)) error
	// Begin has the box start again with what Carry has set up, a moment later.
	Begin()
	// Places are where the first share may be.
	Places(ctx context.Context) []Place
}

// A Plan is what the first setup asks for.
type Plan struct {
	Name            string // of the box
	Owner, Password string
	Place           string // the ID of one of the Places
	Share           string // "": none for now
	Outside         bool   // the owner wants to reach the box from elsewhere,
	OutsideName     string // by this DNS name; "" if there is none yet
	Zone            string // the owner's time zone, as the browser says; "" or an unknown one: none
}

// A Step is a part of a Plan.
type Step int

// Steps, in their order.
const (
	StepName Step = iota
	StepOwner
	StepDisks
	StepShare
	StepOutside
	StepFinish
)

// A Place is where folders can be shared from.
type Place struct {
	ID     string // what to hand back
	Label  string // a disk, pool or folder as its owner knows it
	Note   string // what will happen to it, if anything
	Health ui.Health
	Total  int64 // bytes
	Free   int64
}

// Shares are changed at once, for clients that are connected, too.
type Shares interface {
	// AddShare serves one more: its Path is a folder, or "" for a new one of the share's name.
	AddShare(ctx context.Context, s ui.Share) error
	SetShare(ctx context.Context, s ui.Share) error // all but name and path
	RemoveShare(ctx context.Context, name string) error
}

// Users are changed at once.
type Users interface {
	AddUser(ctx context.Context, name, password string) error
	SetPassword(ctx context.Context, name, password string) error
	SetDisabled(ctx context.Context, name string, disabled bool) error
	SetOwner(ctx context.Context, name string, owner bool) error
	SetAdmin(ctx context.Context, name string, admin bool) error
	RemoveUser(ctx context.Context, name string) error
}

// Devices are those that are paired.
type Devices interface {
	Pair(ctx context.Context, user string) error // as Control.StartPairing, for this user; "": nobody is named
	Revoke(ctx context.Context, id string) error // cuts its connections, and takes it off the list
	// Administer lets a device administer the box for the owner who asks, or no more: who has it then needs no password.
	Administer(ctx context.Context, id string, may bool) error
}

// Certificates are the server's.
type Certificates interface {
	// Authority is our own authority's certificate, as DER.
	Authority(ctx context.Context) ([]byte, error)
	// Request makes a new key and a PKCS #10 request for it, as PEM, for the server's names.
	Request(ctx context.Context) ([]byte, error)
	// Install serves a certificate: its chain as PEM, and its key as PEM, or nil for that of the last Request.
	Install(ctx context.Context, chain, key []byte) error
	// Renew makes our own certificate anew, and serves it.
	Renew(ctx context.Context) error
	// UseOwn goes back to our own certificate.
	UseOwn(ctx context.Context) error
}

// A Journal is the audit log.
type Journal interface {
	// Search returns the newest entries that are wanted, at most limit, and where those that follow begin: the Before of the next
	// Search; 0 if there are none.
	Search(ctx context.Context, q Search, limit int) (found []Entry, next uint64, err error)
	// Export writes all entries that are wanted, whatever Before says, as "csv" or "jsonl": a JSON object a line.
	Export(ctx context.Context, w io.Writer, q Search, format string) error
	// Events are the names of the events that there are.
	Events() []string
}

// A Search says which entries are wanted; the zero Search is all of them.
type Search struct {
	Text         string    // anywhere in it, without regard to case
	Event        string    // one of Events
	User, Device string    // whole, without regard to case
	From, To     time.Time // From is in it, To is not
	Failed       bool      // only what was refused or failed
	Before       uint64    // older than that; 0: from the newest
}

// An Entry is one of an audit log.
type Entry struct {
	Time  time.Time `json:"time"`
	Seq   uint64    `json:"seq"` // grows by one
	ID    int       `json:"id"`
	Event string    `json:"event"`
	Who   string    `json:"who,omitempty"`
	From  string    `json:"from,omitempty"`
	Text  string    `json:"text"`
}

// Logs are the last lines that the box has logged, the oldest first.
type Logs interface {
	Lines() []string
}

// Settings are what else there is to set.
type Settings interface {
	Settings(ctx context.Context) ([]Setting, error)
	// Set changes some, by their keys. Whether the box must start again for it is returned.
	Set(ctx context.Context, values map[string]string) (restart bool, err error)
}

// A Setting is one value, with what its owner needs to know about it in the words file, under "set." and its key.
type Setting struct {
	Key     string   `json:"key"`
	Group   string   `json:"group"` // settings of one group stand together
	Kind    Kind     `json:"kind"`
	Value   string   `json:"value"`
	Choices []string `json:"choices,omitempty"` // of KindChoice
}

// A Kind of Setting.
type Kind string

// Kinds. A switch's value is "true" or "false".
const (
	KindText   Kind = "text"
	KindSwitch Kind = "switch"
	KindChoice Kind = "choice"
	KindNumber Kind = "number"
)

// Network is the box's network ports.
type Network interface {
	Ports(ctx context.Context) []Port
	// Try sets a port otherwise a moment later, and as it was before when Keep is not called in time: who has locked themselves
	// out gets in again.
	Try(ctx context.Context, s PortSettings) (PortTrial, error)
	Keep(ctx context.Context, token string) error
	Trying() (port string, until time.Time) // "": nothing is tried
}

// A Port is one network port.
type Port struct {
	Name      string
	MAC       string
	Cable     bool
	Mbit      int // 0: not known
	Addresses []PortAddress
	Gateway   string
	DNS       []string
	Until     time.Time // when the address that DHCP gave ends; zero: it does not
	Problem   string
	Set       PortSettings
}

// A PortAddress is one of a port's, as in "192.168.1.10/24", and where it comes from: "dhcp", "static", "link-local", "router",
// "other".
type PortAddress struct{ Address, Source string }

// PortSettings say how a port gets its address.
type PortSettings struct {
	Name                  string
	Fixed                 bool   // else by DHCP
	Address, Gateway, DNS string // as in "192.168.1.10/24", "192.168.1.1", "192.168.1.1 9.9.9.9"
}

// A PortTrial is a port that is set otherwise until somebody says that it works.
type PortTrial struct {
	Token   string // for Keep. Whoever has it may keep the settings: it is shown to the owner alone
	Address string // where the box will be; "": not known in advance
	Until   time.Time
}

// Updates bring in a new version.
type Updates interface {
	// Install reads a bundle, checks it, and installs it beside the present version. How far it is shows in ui.State.Update.
	Install(ctx context.Context, bundle io.Reader) error
	// RolledBack is a version that was tried and left again, and why; "" if there is none.
	RolledBack() (version, why string)
}

// Backups hold configuration, accounts and certificates, and no files of shares.
type Backups interface {
	// Save writes a backup that can only be read with the password.
	Save(ctx context.Context, w io.Writer, password string) error
	// Restore puts one in the place of what there is. The box starts again after it.
	Restore(ctx context.Context, r io.Reader, password string) error
}

// Recovery is for a box whose chip was replaced.
type Recovery interface {
	// NewCode makes a recovery code and makes the one before it worthless.
	NewCode(ctx context.Context) (string, error)
	Noted(ctx context.Context) error // the owner has written it down
	State() (made, noted bool)
}

type actorKey struct{}

// An Actor is who asks for a change.
type Actor struct {
	User   string // an owner, or "local" at the machine itself
	Device string // by whose certificate the owner is known; "" for a password
	From   netip.Addr
}

// By is who asks for what is done in ctx, for the audit log.
func By(ctx context.Context) Actor {
	a, _ := ctx.Value(actorKey{}).(Actor)
	return a
}

// Pairings let a device in that stands before the box, or rather the person who holds it. All of it is for who has not signed
// in: the one-time token or code, and the owner's word, are what counts.
type Pairings interface {
	http.Handler // of /pair/, for scripts and programs
	// Visit brings a token or a typed code. The cookie is how the device is known from then on.
	Visit(ctx context.Context, from netip.Addr, code, device string) (*http.Cookie, error)
	// Look is how far the pairing of the device is that sent a request.
	Look(r *http.Request) (Visit, error)
}

// A Visit is what a device that is being paired is shown.
type Visit struct {
	Phase  ui.Phase
	Device string
	Reason string // of a refusal
	User   string // "" if the device's owner knows it
	Ways
}

// Ways are how the box can be reached.
type Ways struct {
	Server   string // DNS name
	Port     string // of QUIC by that name, if it is not 443
	Anywhere bool   // the name is one that the Internet may know; else it is one of the local network
	Home     string // the DNS name in the local network
	Share    string // one to connect to; "" for none

	Certificate bool   // over QUIC a client has to show one
	TCP         string // the port of SMB without QUIC, in the local network; "": it is off
	Encrypt     bool   // over TCP clients have to
	Linux       bool   // over TCP Linux's own client is let in
}
