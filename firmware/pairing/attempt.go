package pairing

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"math/big"
	"net/netip"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/postern-nas/postern/firmware/audit"
)

// Phase is how far an attempt is. The names and their order are those of ui.Phase.
type Phase uint8

const (
	Waiting   Phase = iota // for a device
	Preparing              // one has come; for its certificate request
	Asking                 // for the owner
	Issuing                // accepted: for the device to fetch its certificate
	Paired
	Refused // Attempt.Reason says why
)

func (p Phase) String() string {
	return [...]string{"waiting", "preparing", "asking", "issuing", "paired", "refused"}[p]
}

// An Attempt is what panel and page show of one pairing. URL and Typed let in whoever reads them: they are for the owner's
// eyes, and for no log.
type Attempt struct {
	ID    string
	Phase Phase
	// URL holds the one-time token: at most 53 bytes for a QR code of 29 by 29 modules. Empty: no address of the page is
	// short enough.
	URL string
	// Page is where Typed is typed, and Typed the code: eight digits, "1234 5678".
	Page, Typed string
	// Confirm is the code that panel and device both show, from Asking on: six digits, "123 456". Each has made it for itself.
	Confirm string
	// Script begins the SHA-256 of the script that the device was given for Windows: 16 hexadecimal digits in groups of four.
	// "" if it has asked for none.
	Script  string
	Until   time.Time // when it ends by itself
	Guesses int       // wrong codes so far

	Device  string     // its name, from Preparing on
	Address netip.Addr // where it asks from
	User    string     // the account that it is meant for; it proves nothing
	Reason  string     // of Refused
}

// Shown is the one code to show now: what is to be typed while Waiting, what is to be compared from Asking on, and "" between
// them.
func (a *Attempt) Shown() string {
	if a.Phase == Waiting {
		return a.Typed
	}
	return a.Confirm
}

// maxURL is what fits a QR code of version 3 with the least error correction.
const maxURL = 53

// attempt is an Attempt with its secrets.
type attempt struct {
	Attempt
	token, typed, secret [sha256.Size]byte // hashes: what is compared has one length, and is not the thing itself
	request              []byte            // as the device has sent it; nil: not yet
	key                  crypto.PublicKey  // in it
	committed            [sha256.Size]byte // by the device
	nonce                Nonce             // ours
	enrolling            bool
	changed              chan struct{} // closed, and replaced, with every change of phase
	timer                *time.Timer
}

func hash(s string) [sha256.Size]byte { return sha256.Sum256([]byte(s)) }

func same(a, b [sha256.Size]byte) bool { return subtle.ConstantTimeCompare(a[:], b[:]) == 1 }

// newToken returns 128 random bits as 22 characters that can stand in a URL.
func newToken() string {
	var b [16]byte
	rand.Read(b[:]) // never fails: it aborts the program instead
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// digits returns n random digits.
func digits(n int) string {
	limit := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n)), nil)
	v, err := rand.Int(rand.Reader, limit)
	if err != nil {
		panic(err) // as above
	}
	return fmt.Sprintf("%0*d", n, v)
}

// Start begins an attempt for the account user, which may be "". One that waits for a device is replaced; one that a device
// has come to is not, and ErrBusy.
func (d *Desk) Start(_ context.Context, user string) (Attempt, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if a := d.attempt; a != nil && a.Phase != Waiting && !a.over() {
		return Attempt{}, ErrBusy
	}
	if len(d.book.Devices) >= maxDevices {
		return Attempt{}, ErrFull
	}
	d.drop("replaced by another one")
	token, code := newToken(), digits(8)
	a := &attempt{
		Attempt: Attempt{
			ID: newToken(), User: clean(user, 64), Typed: code[:4] + " " + code[4:], Until: time.Now().Add(Lifetime),
		},
		token: hash(token), typed: hash(code), changed: make(chan struct{}),
	}
	for _, base := range d.cfg.Bases() {
		base = strings.TrimSuffix(base, "/")
		if a.Page == "" {
			a.Page = base + "/pair"
		}
		if url := base + "/p/" + token; a.URL == "" && len(url) <= maxURL {
			a.URL = url
		}
	}
	a.timer = time.AfterFunc(Lifetime, func() { d.end(a, "it took longer than ten minutes") })
	d.attempt = a
	d.publish()
	d.cfg.Audit(audit.Event{ID: audit.PairingStarted, OK: true, User: a.User})
	return a.Attempt, nil
}

// Stop ends the attempt called id. One that is over is taken off the panel.
func (d *Desk) Stop(_ context.Context, id string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	a, err := d.find(id)
	if err != nil {
		return err
	}
	if a.over() {
		d.forget(a)
		return nil
	}
	d.refuse(a, "stopped on the box")
	return nil
}

// Answer is the owner's word on who is asking. It is ErrNone unless the attempt called id is Asking: an answer never meets
// another question.
func (d *Desk) Answer(_ context.Context, id string, accept bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	a, err := d.find(id)
	if err != nil {
		return err
	}
	if a.Phase != Asking {
		return ErrNone
	}
	if !accept {
		d.refuse(a, "refused on the box")
		return nil
	}
	d.step(a, Issuing)
	d.cfg.Audit(audit.Event{ID: audit.PairingAccepted, OK: true, Device: a.Device, Address: a.Address, User: a.User})
	return nil
}

// A Ticket is what a device holds after its Visit.
type Ticket struct {
	Secret string // for Request, Open, Enrol and Look, once; 22 characters
	Until  time.Time
}

// Visit is a device's coming, from an address in the local network, with the token of the URL or the code typed, and with
// a name for itself, which may be "". Only one device can come to an attempt, and only once. A wrong code counts as a
// guess; a wrong token does not, as nobody guesses 128 bits, and an old link opened again should not end a new attempt.
func (d *Desk) Visit(_ context.Context, from netip.Addr, secret, device string) (Ticket, error) {
	from = from.Unmap()
	if !d.cfg.Local(from) {
		return Ticket{}, ErrOutside
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	a := d.attempt
	if a == nil {
		return Ticket{}, ErrNone
	}
	if a.over() {
		return Ticket{}, ErrRefused
	}
	if byToken, byCode := same(hash(secret), a.token), same(hash(bareCode(secret)), a.typed); !byToken && !byCode {
		if len(bareCode(secret)) != 8 {
			return Ticket{}, ErrToken
		}
		a.Guesses++
		d.cfg.Audit(audit.Event{ID: audit.PairingGuess, Address: from, Text: fmt.Sprintf("wrong code %d of %d", a.Guesses, MaxGuesses)})
		if a.Guesses >= MaxGuesses {
			d.refuse(a, "too many wrong codes")
		} else {
			d.publish()
		}
		return Ticket{}, ErrCode
	}
	if a.Phase != Waiting {
		return Ticket{}, ErrTaken
	}
	own := newToken()
	a.secret = hash(own)
	a.Address, a.Device = from, deviceName(device, from)
	d.step(a, Preparing)
	return Ticket{Secret: own, Until: a.Until}, nil
}

// Look returns the attempt that a Ticket's secret belongs to, without what would let in another device, and without the code
// to compare: the device has made its own, and one that came from here could come from anybody.
func (d *Desk) Look(from netip.Addr, secret string) (Attempt, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	a, err := d.own(from, secret)
	if err != nil {
		return Attempt{}, err
	}
	seen := a.Attempt
	seen.URL, seen.Page, seen.Typed, seen.Confirm = "", "", "", ""
	return seen, nil
}

// own finds the attempt that a ticket is for. d.mu is held.
func (d *Desk) own(from netip.Addr, secret string) (*attempt, error) {
	if !d.cfg.Local(from.Unmap()) {
		return nil, ErrOutside
	}
	a := d.attempt
	if a == nil {
		return nil, ErrNone
	}
	if a.Phase == Waiting || a.secret == [sha256.Size]byte{} || !same(hash(secret), a.secret) {
		return nil, ErrToken
	}
	return a, nil
}

// Request brings the device's PKCS #10 request, DER or PEM, with what Commit makes of it, and a name for the device if it has
// one to tell. It returns the box's Nonce, which nobody has seen before: each attempt takes one request, and no other after it.
// It is errors.Is ErrRequest for what cannot be signed, which leaves the attempt as it is.
func (d *Desk) Request(from netip.Addr, secret string, csr []byte, committed [sha256.Size]byte, device string) (Nonce, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	a, err := d.own(from, secret)
	if err != nil {
		return Nonce{}, err
	}
	if a.Phase != Preparing || a.request != nil {
		return Nonce{}, ErrUsed
	}
	key, err := checkRequest(csr)
	if err != nil {
		return Nonce{}, err
	}
	a.request, a.key, a.committed = bytes.Clone(csr), key, committed
	rand.Read(a.nonce[:])
	if name := clean(device, maxName); name != "" && name != a.Device {
		a.Device = name
		d.publish()
	}
	return a.nonce, nil
}

// Open tells what the device had chosen before it knew the box's Nonce. From then on the panel shows the code, and the owner is
// asked. What was not committed to ends the attempt: somebody is in between, or the device trusts another authority.
func (d *Desk) Open(from netip.Addr, secret string, device Nonce) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	a, err := d.own(from, secret)
	if err != nil {
		return err
	}
	if a.Phase != Preparing || a.request == nil {
		return ErrUsed
	}
	authority := d.cfg.Issuer.Certificate().Raw
	if !same(Commit(authority, a.request, device), a.committed) {
		d.refuse(a, "the device was told of another authority than this box's: somebody may be in between")
		return ErrBetween
	}
	a.Confirm = Confirm(authority, a.request, device, a.nonce)
	d.step(a, Asking)
	return nil
}

// Enrol gives the device the certificate that it has requested, DER. Before the owner's answer it waits, until ctx ends.
func (d *Desk) Enrol(ctx context.Context, from netip.Addr, secret string) (Device, []byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	a, err := d.own(from, secret)
	if err != nil {
		return Device{}, nil, err
	}
	if a.enrolling || a.Phase == Paired {
		return Device{}, nil, ErrUsed
	}
	a.enrolling = true
	defer func() { a.enrolling = false }()
	for a.Phase == Asking {
		changed := a.changed
		d.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
		}
		d.mu.Lock()
		if ctx.Err() != nil {
			return Device{}, nil, ctx.Err()
		}
	}
	switch a.Phase {
	case Issuing:
	case Preparing:
		return Device{}, nil, fmt.Errorf("%w: the owner was not asked yet", ErrRequest)
	default:
		return Device{}, nil, ErrRefused
	}
	dev, der, err := d.issue(a, a.key)
	if err != nil {
		d.log.Error("a device could not be paired", "device", a.Device, "error", err)
		d.refuse(a, "the certificate could not be made: "+err.Error())
		return Device{}, nil, err
	}
	a.timer.Stop()
	d.step(a, Paired)
	time.AfterFunc(shown, func() { d.forgetLater(a) })
	return dev, der, nil
}

// gave notes the script that a device was given.
func (d *Desk) gave(secret string, script []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	a := d.attempt
	if a == nil || a.over() || !same(hash(secret), a.secret) {
		return
	}
	sum := fmt.Sprintf("%X", sha256.Sum256(script))
	a.Script = strings.Join([]string{sum[:4], sum[4:8], sum[8:12], sum[12:16]}, " ")
	d.publish()
}

// find returns the attempt called id. d.mu is held.
func (d *Desk) find(id string) (*attempt, error) {
	if a := d.attempt; a != nil && subtle.ConstantTimeCompare([]byte(a.ID), []byte(id)) == 1 {
		return a, nil
	}
	return nil, ErrNone
}

// step changes the phase and tells everybody. d.mu is held.
func (d *Desk) step(a *attempt, p Phase) {
	a.Phase = p
	if p != Waiting { // used up, and of no more use to the owner
		a.URL, a.Page, a.Typed = "", "", ""
	}
	close(a.changed)
	a.changed = make(chan struct{})
	d.publish()
}

// refuse ends an attempt that is not over. d.mu is held.
func (d *Desk) refuse(a *attempt, why string) {
	a.Reason = why
	a.timer.Stop()
	d.step(a, Refused)
	d.cfg.Audit(audit.Event{ID: audit.PairingRefused, Device: a.Device, Address: a.Address, User: a.User, Text: why})
	time.AfterFunc(shown, func() { d.forgetLater(a) })
}

// drop ends whatever attempt there is, and forgets it. d.mu is held.
func (d *Desk) drop(why string) {
	if a := d.attempt; a != nil {
		if !a.over() {
			d.refuse(a, why)
		}
		d.attempt = nil
	}
}

func (d *Desk) end(a *attempt, why string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.attempt == a && !a.over() {
		d.refuse(a, why)
	}
}

func (d *Desk) forgetLater(a *attempt) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.forget(a)
}

// forget takes an attempt off the panel. d.mu is held.
func (d *Desk) forget(a *attempt) {
	if d.attempt == a {
		d.attempt = nil
		d.publish()
	}
}

// publish shows the attempt as it is. d.mu is held.
func (d *Desk) publish() {
	if d.attempt == nil {
		d.current.Set(nil)
		return
	}
	seen := d.attempt.Attempt
	d.current.Set(&seen)
}

// maxName bounds a device's name in characters: a certificate's common name has 64 at most.
const maxName = 64

// clean makes a stranger's text fit to be shown and to be a name: printable, on one line, at most max characters.
func clean(s string, max int) string {
	var b strings.Builder
	n := 0
	for _, r := range strings.Join(strings.Fields(strings.ToValidUTF8(s, "")), " ") {
		if n == max {
			break
		}
		if unicode.IsPrint(r) && r != utf8.RuneError {
			b.WriteRune(r)
			n++
		}
	}
	return strings.TrimSpace(b.String())
}

func deviceName(name string, from netip.Addr) string {
	if name = clean(name, maxName); name != "" {
		return name
	}
	return "device at " + from.String()
}

// bareCode takes what people type between digits out of a code. Nothing longer than a code is looked at.
func bareCode(s string) string {
	if len(s) > 32 {
		return ""
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r >= '0' && r <= '9':
			return r
		case r == ' ', r == '-', r == '.', r == '\u00a0':
			return -1
		}
		return 'x'
	}, s)
}
