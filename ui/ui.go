// Package ui is what an owner sees of the box and may do with it: one State and one Control. The panel (package lcd) and
// the page are two renderings of them. It is data, and knows no service: firmware feeds it.
package ui

import (
	"context"
	"net/netip"
	"time"
)

// State is the box as its owner sees it, at one moment. It is shared between readers: nobody changes one that was handed
// out. What a box does not know it leaves zero.
type State struct {
	Name      string       `json:"name"`      // of the server, as people type it: "attic"
	Names     []string     `json:"names"`     // DNS names under which it is served, the first one first
	Addresses []netip.Addr `json:"addresses"` // in the local network, the one to tell first
	Version   string       `json:"version"`   // of Postern
	Started   time.Time    `json:"started"`   // of Postern
	Setup     *Setup       `json:"-"`         // nil once the first setup is done. It is for who stands before the panel

	Outside      Reach         `json:"outside"`
	Shares       []Share       `json:"shares"`
	Disks        []Disk        `json:"disks"`
	Pools        []Pool        `json:"pools,omitempty"`
	Users        []User        `json:"users"`
	Devices      []Device      `json:"devices"`         // paired
	Pairing      *Pairing      `json:"pairing"`         // nil: nobody pairs
	Update       *Update       `json:"update"`          // nil: the newest is installed
	Stick        *Stick        `json:"stick,omitempty"` // nil: no USB stick with a file that is called like an update
	Certificate  Certificate   `json:"certificate"`
	Certificates []Certificate `json:"certificates"` // all that are served, the one above among them
	Authority    Certificate   `json:"authority"`    // our own, which devices trust; without names
	Keys         Keys          `json:"keys"`         // where the server's key is
	Alarms       []Alarm       `json:"alarms"`
	Crash        *Crash        `json:"crash,omitempty"` // nil: none that is known of
	Traffic      Traffic       `json:"traffic"`

	Zone  string `json:"zone,omitempty"` // the owner's time zone, as in "Europe/Berlin"; "": none was chosen
	Panel *Panel `json:"-"`              // how the panel is to be; nil: as usual
}

// Panel is how the owner wants the front panel.
type Panel struct {
	Dim        bool          // never brighter than dim
	DimAfter   time.Duration // without a key; 0: never
	OffAfter   time.Duration // the same; it is not off while there is an alarm or the setup is due
	UpsideDown bool          // the box lies on its head
}

// Setup is the first setup, which anyone may do who reads the panel.
type Setup struct {
	URL  string // the page, with the one-time code in it; for a QR code no more than 53 bytes
	Code string // the one-time code alone, to be typed
}

// Reach is whether the box can be reached from outside.
type Reach struct {
	State   Answer     `json:"state"`
	Name    string     `json:"name,omitempty"`   // the DNS name for there; "": the owner has given none
	Address netip.Addr `json:"address,omitzero"` // the router's; invalid: not known
	Port    uint16     `json:"port,omitempty"`   // UDP, there; 0: not known
	Reason  string     `json:"reason,omitempty"` // a plain word why not, or what is special about it
}

// Answer is yes, no, or not known.
type Answer uint8

const (
	Unknown Answer = iota
	Yes
	No
)

// Health is how well a thing is. A larger one is worse.
type Health uint8

const (
	HealthUnknown Health = iota
	Good
	Warning // works, and needs its owner
	Failed
)

// A Share is a folder that is served.
type Share struct {
	Name       string   `json:"name"`
	Comment    string   `json:"comment,omitempty"`
	Path       string   `json:"path,omitempty"` // of its folder; "" for a tree of links to other shares
	Health     Health   `json:"health"`
	Total      int64    `json:"total"` // bytes of the volume under it
	Free       int64    `json:"free"`
	ReadOnly   bool     `json:"read_only"`
	Encrypt    bool     `json:"encrypt"` // over TCP, too
	Hidden     bool     `json:"hidden"`
	Restricted bool     `json:"restricted"` // only those below may use it; else every user may read and write
	Read       []string `json:"read,omitempty"`
	Write      []string `json:"write,omitempty"` // and read
}

// A Disk is one disk.
type Disk struct {
	Bay     string  `json:"bay"` // as printed on the box
	Model   string  `json:"model,omitempty"`
	Health  Health  `json:"health"`
	Celsius float64 `json:"celsius,omitempty"` // 0: not measured
	Bytes   int64   `json:"bytes,omitempty"`
}

// A Pool is disks that are used as one.
type Pool struct {
	Name   string   `json:"name"`
	Health Health   `json:"health"`
	Total  int64    `json:"total"`
	Free   int64    `json:"free"`
	Disks  []string `json:"disks,omitempty"` // their bays
}

// A User is someone who may sign in.
type User struct {
	Name     string `json:"name"`
	Owner    bool   `json:"owner"`    // looks after the box by its page
	Admin    bool   `json:"admin"`    // looks after the server from Windows
	Disabled bool   `json:"disabled"` // and so may not, for now
	NoLogon  bool   `json:"no_logon"` // needs a new password
}

// A Device is a computer or phone that was paired.
type Device struct {
	ID       string     `json:"id"` // stable, for Control
	Name     string     `json:"name"`
	User     string     `json:"user"`
	Paired   time.Time  `json:"paired"`
	LastSeen time.Time  `json:"last_seen"` // zero: never since the box started
	Address  netip.Addr `json:"address"`
	SHA256   string     `json:"sha256"` // of its certificate, as Windows writes it
	Until    time.Time  `json:"until"`  // when its certificate ends
	Owner    string     `json:"owner"`  // for whom it administers the box; "": it does not
}

// Pairing is a device being let in.
type Pairing struct {
	ID    string    `json:"id"` // of this attempt; what Control.AnswerPairing takes, so that an answer never meets another question
	Phase Phase     `json:"phase"`
	URL   string    `json:"url"`   // what the device opens; for a QR code no more than 53 bytes
	Page  string    `json:"page"`  // where a device types Code while nobody has come; "" if that is known
	Code  string    `json:"code"`  // while Waiting to be typed; from Asking on the confirmation code, which the device shows as well
	Until time.Time `json:"until"` // when it ends by itself

	// Script begins the SHA-256 of the script that the device was given, in groups; "" if it has none.
	Script string `json:"script,omitempty"`

	// From Phase Preparing on: who asks.
	Device  string     `json:"device,omitempty"`
	Address netip.Addr `json:"address"`
	User    string     `json:"user,omitempty"`
}

// Phase is how far a pairing is.
type Phase uint8

const (
	Waiting   Phase = iota // for a device to open the URL
	Preparing              // one has come, and makes its key
	Asking                 // for the owner to accept or refuse
	Issuing                // accepted; the certificate is on its way
	Paired
	Refused // by the owner, by the time, or by too many wrong codes
)

// Update is a newer version.
type Update struct {
	Version string `json:"version"`
	Percent int    `json:"percent"` // of its installation; 0: not begun
}

// Stick is an update on a USB stick. It is installed when the owner says so (Control.InstallStick).
type Stick struct {
	Version string `json:"version,omitempty"` // "": it cannot be installed
	Problem string `json:"problem,omitempty"` // why not, or why the last attempt failed; a sentence
}

// Certificate is the one that clients see.
type Certificate struct {
	Names    []string  `json:"names,omitempty"`
	Subject  string    `json:"subject"`
	Issuer   string    `json:"issuer"`
	SHA256   string    `json:"sha256"` // as Windows writes it: 64 hex digits in capitals
	NotAfter time.Time `json:"not_after"`
	DaysLeft int       `json:"days_left"` // whole days; negative: it has ended
	Own      bool      `json:"own"`       // by our own authority
}

// Keys says where the server's key is.
type Keys uint8

const (
	KeysUnknown Keys = iota
	Sealed           // in a TPM, bound to this firmware
	OnDisk           // this box has no TPM
	Resident         // made in the TPM, which signs with it
)

// An Alarm is something that its owner should know.
type Alarm struct {
	ID     string    `json:"id"` // stable as long as it lasts
	Kind   AlarmKind `json:"-"`
	Health Health    `json:"health"` // Warning or Failed
	Text   string    `json:"text"`   // one short sentence, the subject first: "Disk 2 is failing"
	Advice string    `json:"advice"` // what to do next, one short sentence
}

// AlarmKind is what an alarm is about.
type AlarmKind uint8

const (
	AlarmOther AlarmKind = iota
	AlarmDisk
	AlarmUpdate // an update was rolled back
	AlarmCertificate
	AlarmHeat
	AlarmSpace
)

// Crash is what the kernel said before it last stopped by itself.
type Crash struct {
	Found time.Time `json:"found"` // at the start after it
	Text  string    `json:"-"`     // printable lines, up to some hundred KiB: for who asks for it
}

// Traffic is the speed now, in bytes a second of file data.
type Traffic struct {
	In       int64 `json:"in"`  // to the box
	Out      int64 `json:"out"` // from the box
	Sessions int   `json:"sessions"`
}

// Source hands out the State. Next waits until there is one with a version other than seen; seen 0 gets the present one
// at once. It returns ctx's error.
type Source interface {
	Next(ctx context.Context, seen uint64) (State, uint64, error)
}

// Control is what an owner may do from the panel, and from the page. What else the page offers, it asks of the services that
// the box has (package web). Each returns when it is done or has failed, or when the box has taken
// it on (Restart, Shutdown, FactoryReset). An error's text is shown to the owner.
type Control interface {
	StartPairing(ctx context.Context) error
	StopPairing(ctx context.Context, id string) error
	AnswerPairing(ctx context.Context, id string, accept bool) error
	RevokeAll(ctx context.Context) error    // all paired devices, at once
	InstallStick(ctx context.Context) error // the update that State.Stick tells of; the next restart tries it
	Restart(ctx context.Context) error
	Shutdown(ctx context.Context) error
	FactoryReset(ctx context.Context) error // configuration, accounts and keys; the files stay
}
