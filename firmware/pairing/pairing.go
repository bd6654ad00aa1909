// Package pairing lets computers in: it gives each one a client certificate that its owner has confirmed on the panel or
// the page, and remembers which it gave.
//
//	Start -> Waiting --Visit--> Preparing --Request, Open--> Asking --Answer--> Issuing --Enrol--> Paired
//	            |                   |                           |                  |
//	            +-------------------+---------------------------+------------------+--> Refused: by the owner, by the time,
//	                                                                                    by wrong guesses, by what does not fit
//
// The owner starts an attempt. The computer opens its URL, which holds a one-time token, or types the code that the panel
// shows (Visit); from then on nobody else can. A program on the computer makes a key and brings a request for a certificate
// (Request, Open). Then it and the panel show the same six digits, which each of them has made from the box's authority and
// the computer's request (Confirm). The owner compares and answers; the certificate is signed after a yes, once.
//
// What this is worth. The computer has never seen the box, so its browser cannot tell the box from somebody in between, who
// reads the token, and whose page may say anything. The six digits are shown by the program, never by a page: as long as the
// program is the box's, who is in between can neither have a request of his own signed nor be trusted by the computer
// without the digits being different. That it is the box's, and was not changed on the way, shows its SHA-256, which begins
// with Attempt.Script: whoever does not trust his own network compares that as well, before he opens the file. postern pair
// --with was there before, and has nothing to fear.
//
// All of it is for the local network: whoever is outside is not even told whether an attempt runs.
package pairing

import (
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postern-nas/postern/firmware/audit"
	"github.com/postern-nas/postern/firmware/watch"
)

// Bounds of an attempt.
const (
	Lifetime   = 10 * time.Minute // from Start to the certificate
	MaxGuesses = 5                // wrong codes; the fifth ends the attempt
	// shown is how long a finished attempt stays to be seen.
	shown = time.Minute
)

// Errors, for errors.Is. Their texts are for the person at the computer.
var (
	ErrNone    = errors.New("nobody is pairing now; start it on the box's panel or page")
	ErrBusy    = errors.New("another device is being paired; answer or stop that first")
	ErrOutside = errors.New("pairing works only from the box's own network")
	ErrCode    = errors.New("this is not the code that the box shows")
	ErrToken   = errors.New("this link is not, or no longer, the one that the box shows")
	ErrTaken   = errors.New("another device has opened this pairing; stop it on the box and start anew")
	ErrRefused = errors.New("the pairing was refused or has ended; start it anew on the box")
	ErrUsed    = errors.New("this pairing has given its certificate; each one gives only one")
	ErrBetween = errors.New("this device was told of another authority than the box's: somebody may be in between")
	ErrRequest = errors.New("the certificate request cannot be used")
	ErrFull    = errors.New("too many devices are paired; revoke some that are not used any more")
	ErrUnknown = errors.New("there is no such device")
)

// An Issuer signs client certificates: *cert.Authority.
type Issuer interface {
	IssueClient(key crypto.PublicKey, name, id string, now time.Time) (*x509.Certificate, error)
	Certificate() *x509.Certificate
}

// A Config says what a Desk works with.
type Config struct {
	Dir    string // where devices.json is kept
	Issuer Issuer
	// Bases returns the addresses of the box's page in order of preference, such as "https://postern.local" and
	// "https://192.168.1.5:8443". The first that leaves the QR code small enough is used.
	Bases func() []string
	// Local reports whether an address is in the box's own network: Local of this package if nil.
	Local func(netip.Addr) bool
	// Changed is called after a device was added or revoked, and before Enrol, Revoke or RevokeAll return: what follows
	// from the list of devices has to follow now. It may ask for Hashes, and for nothing else here. nil: nothing follows.
	Changed func()
	Audit   func(audit.Event) // nil: nobody listens
	Log     *slog.Logger
}

// A Desk pairs devices, one at a time. Its methods may be called by any number of goroutines.
type Desk struct {
	cfg     Config
	log     *slog.Logger
	current watch.Value[*Attempt]
	devices watch.Value[[]Device]
	hashes  atomic.Pointer[hashes]

	mu      sync.Mutex
	attempt *attempt // nil: none to be seen
	book    book
	damaged bool
	saved   time.Time // when the book was last written
}

// Open reads the devices that were paired, from cfg.Dir.
func Open(cfg Config) (*Desk, error) {
	if cfg.Issuer == nil || cfg.Bases == nil {
		return nil, errors.New("pairing: an issuer and the page's addresses are needed")
	}
	if cfg.Local == nil {
		cfg.Local = Local
	}
	if cfg.Changed == nil {
		cfg.Changed = func() {}
	}
	if cfg.Audit == nil {
		cfg.Audit = func(audit.Event) {}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	d := &Desk{cfg: cfg, log: cfg.Log}
	if err := d.load(); err != nil {
		return nil, fmt.Errorf("pairing: %w", err)
	}
	return d, nil
}

// Current follows the attempt: nil is none. What it holds is not changed after it was handed out.
func (d *Desk) Current() *watch.Value[*Attempt] { return &d.current }

// Damaged reports whether the list of devices could not be read: there may have been some.
func (d *Desk) Damaged() bool { return d.damaged }

// Watch follows the paired devices, as Devices gives them.
func (d *Desk) Watch() *watch.Value[[]Device] { return &d.devices }
