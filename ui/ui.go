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
	Name      string       // of the server, as people type it: "attic"
	Addresses []netip.Addr // in the local network, the one to tell first
	Setup     *Setup       // nil once the first setup is done

	Outside     Reach
	Shares      []Share
	Disks       []Disk
	Users       []User
	Devices     []Device // paired
	Pairing     *Pairing // nil: nobody pairs
	Update      *Update  // nil: the newest is installed
	Certificate Certificate
	Keys        Keys // where the server's key is
	Alarms      []Alarm
	Traffic     Traffic
}

// Setup is the first setup, which anyone may do who reads the panel.
type Setup struct {
	URL  string // the page, with the one-time code in it; for a QR code no more than 53 bytes
	Code string // the one-time code alone, to be typed
}

// Reach is whether the box can be reached from outside.
type Reach struct {
	State  Answer
	Name   string // the DNS name that works from outside
	Reason string // a plain word why not
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
	Name        string
	Health      Health
	Total, Free int64 // bytes of the volume under it
}

// A Disk is one disk.
type Disk struct {
	Bay     string // as printed on the box
	Model   string
	Health  Health
	Celsius float64 // 0: not measured
	Bytes   int64
}

// A User is someone who may sign in.
type User struct {
	Name  string
	Owner bool
}

// A Device is a computer or phone that was paired.
type Device struct {
	ID       string // stable, for Control
	Name     string
	User     string
	LastSeen time.Time // zero: never since the box started
	Address  netip.Addr
}

// Pairing is a device being let in.
type Pairing struct {
	ID    string // of this attempt; what Control.AnswerPairing takes, so that an answer never meets another question
	Phase Phase
	URL   string    // what the device opens; for a QR code no more than 53 bytes
	Code  string    // the confirmation code: the same on the panel and on the device
	Until time.Time // when it ends by itself

	// From Phase Asking on: who asks.
	Device  string
	Address netip.Addr
	User    string
}

// Phase is how far a pairing is.
type Phase uint8

const (
	Waiting Phase = iota // for a device to open the URL
	Asking               // for the owner to accept or refuse
	Issuing              // accepted; the certificate is on its way
	Paired
	Refused // by the owner, by the time, or by too many wrong codes
)

// Update is a newer version.
type Update struct {
	Version string
	Percent int // of its installation; 0: not begun
}

// Certificate is the one that clients see.
type Certificate struct {
	Names    []string
	NotAfter time.Time
	DaysLeft int // whole days; negative: it has ended
	Own      bool
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
	ID     string // stable as long as it lasts
	Kind   AlarmKind
	Health Health // Warning or Failed
	Text   string // one short sentence, the subject first: "Disk 2 is failing"
	Advice string // what to do next, one short sentence
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

// Traffic is the speed now, in bytes a second of file data.
type Traffic struct {
	In, Out  int64 // to the box, from the box
	Sessions int
}

// Source hands out the State. Next waits until there is one with a version other than seen; seen 0 gets the present one
// at once. It returns ctx's error.
type Source interface {
	Next(ctx context.Context, seen uint64) (State, uint64, error)
}

// Control is what an owner may do from the panel. Each returns when it is done or has failed, or when the box has taken
// it on (Restart, Shutdown, FactoryReset). An error's text is shown to the owner.
type Control interface {
	StartPairing(ctx context.Context) error
	StopPairing(ctx context.Context, id string) error
	AnswerPairing(ctx context.Context, id string, accept bool) error
	RevokeAll(ctx context.Context) error // all paired devices, at once
	Restart(ctx context.Context) error
	Shutdown(ctx context.Context) error
	FactoryReset(ctx context.Context) error // configuration, accounts and keys; the files stay
}
