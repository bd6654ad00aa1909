package pairing

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/postern-nas/postern/firmware/audit"
	"github.com/postern-nas/postern/firmware/state"
)

// Bounds of what is remembered.
const (
	maxDevices = 256
	maxRevoked = 4096
	maxFile    = 4 << 20 // bytes of devices.json
	// seenEvery is how often the time a device was last seen is written down: a disk that sleeps should not wake for it.
	seenEvery = 15 * time.Minute
)

// RenewFrom is how long before its end a certificate is to be renewed.
const RenewFrom = 90 * 24 * time.Hour

// A Device was paired and not revoked.
type Device struct {
	ID       string
	Name     string
	User     string // the account that it was paired for
	Owner    string // for whom it administers the box; "": it does not
	Issued   time.Time
	NotAfter time.Time
	SHA256   [sha256.Size]byte // of its certificate
	LastSeen time.Time         // zero: not yet
	Address  netip.Addr        // where from
}

// device is a Device as devices.json has it.
type device struct {
	ID     string     `json:"id"`
	Name   string     `json:"name"`
	User   string     `json:"user,omitempty"`
	Owner  string     `json:"owner,omitempty"`
	Issued time.Time  `json:"issued"`
	Seen   time.Time  `json:"seen,omitzero"`
	From   netip.Addr `json:"from,omitzero"`
	Certs  []issued   `json:"certificates"` // the newest last; two while a renewed one has not been used
}

// issued is one certificate that was given out.
type issued struct {
	SHA256   digest    `json:"sha256"`
	NotAfter time.Time `json:"not_after"`
	DER      []byte    `json:"der"` // its public key is needed to check a renewal
}

// gone is a certificate that must not get in any more, as long as it could.
type gone struct {
	SHA256   digest    `json:"sha256"`
	NotAfter time.Time `json:"not_after"`
	Name     string    `json:"name"`
	When     time.Time `json:"when"`
}

type digest [sha256.Size]byte

func (d digest) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(d[:])), nil }

func (d *digest) UnmarshalText(b []byte) error {
	if len(b) != 2*len(d) {
		return fmt.Errorf("%d characters are no SHA-256", len(b))
	}
	_, err := hex.Decode(d[:], b)
	return err
}

// book is devices.json.
type book struct {
	Version int      `json:"version"`
	Devices []device `json:"devices"`
	Revoked []gone   `json:"revoked"`
}

func (b *book) valid() error {
	if b.Version != 1 {
		return fmt.Errorf("version %d is not 1", b.Version)
	}
	if len(b.Devices) > maxDevices || len(b.Revoked) > maxRevoked {
		return fmt.Errorf("%d devices and %d revoked certificates are too many", len(b.Devices), len(b.Revoked))
	}
	ids := make(map[string]bool)
	for _, d := range b.Devices {
		if d.ID == "" || ids[d.ID] || len(d.Certs) == 0 || len(d.Certs) > 2 || clean(d.Name, maxName) != d.Name {
			return fmt.Errorf("device %.64q: impossible or twice", d.ID)
		}
		ids[d.ID] = true
		for _, c := range d.Certs {
			if sha256.Sum256(c.DER) != c.SHA256 {
				return fmt.Errorf("device %.64q: a certificate is not the one of its hash", d.ID)
			}
			if _, err := x509.ParseCertificate(c.DER); err != nil {
				return fmt.Errorf("device %.64q: %w", d.ID, err)
			}
		}
	}
	return nil
}

func (d *Desk) path() string { return filepath.Join(d.cfg.Dir, "devices.json") }

// load reads the book. A damaged one is set aside: nobody is paired then, which keeps people out and lets nobody in.
func (d *Desk) load() error {
	d.book = book{Version: 1}
	data, err := os.ReadFile(d.path())
	if errors.Is(err, fs.ErrNotExist) {
		d.tell()
		return nil
	}
	if err != nil {
		return err
	}
	b, bad := parseBook(data)
	if errors.Is(bad, state.ErrLater) {
		return fmt.Errorf("%s: %w", d.path(), bad)
	}
	if bad != nil {
		d.damaged = true
		aside, err := state.SetAside(d.path(), time.Now())
		if err != nil {
			return errors.Join(bad, err)
		}
		d.log.Error("the list of paired devices was damaged and set aside; pair them again", "file", d.path(), "now", aside, "error", bad)
	} else {
		d.book = b
	}
	d.tell()
	return nil
}

func parseBook(data []byte) (book, error) {
	var b book
	if err := state.DecodeJSON(data, maxFile, 1, &b); err != nil {
		return b, err
	}
	return b, b.valid()
}

// write replaces the book on disk by next, and then the one in memory. d.mu is held.
func (d *Desk) write(next book) error {
	if err := state.WriteJSON(d.path(), next, 0o600); err != nil {
		return err
	}
	d.book, d.saved = next, time.Now()
	d.tell()
	return nil
}

// copied returns the book to be changed: what is in memory stays as it is until the disk has the new one.
func (d *Desk) copied() book {
	b := d.book
	b.Devices = slices.Clone(b.Devices)
	for i := range b.Devices {
		b.Devices[i].Certs = slices.Clone(b.Devices[i].Certs)
	}
	b.Revoked = slices.Clone(b.Revoked)
	return b
}

func (v device) device() Device {
	c := v.Certs[len(v.Certs)-1]
	return Device{
		ID: v.ID, Name: v.Name, User: v.User, Owner: v.Owner, Issued: v.Issued, NotAfter: c.NotAfter, SHA256: c.SHA256,
		LastSeen: v.Seen, Address: v.From,
	}
}

// tell shows the devices as they are. d.mu is held.
func (d *Desk) tell() {
	list := make([]Device, len(d.book.Devices))
	for i, v := range d.book.Devices {
		list[i] = v.device()
	}
	var h hashes
	for _, v := range d.book.Devices {
		for _, c := range v.Certs {
			h.allow = append(h.allow, c.SHA256)
		}
	}
	for _, g := range d.book.Revoked {
		h.deny = append(h.deny, g.SHA256)
	}
	d.hashes.Store(&h)
	d.devices.Set(list)
}

// hashes are those of the book.
type hashes struct{ allow, deny [][sha256.Size]byte }

// Devices returns the paired devices in the order of their pairing.
func (d *Desk) Devices() []Device {
	list, _ := d.devices.Get()
	return slices.Clone(list)
}

// Hashes returns the SHA-256 of each certificate that is to be let in, and of each that must not be although it is still
// good by itself: what the access list is made from. It waits for nobody, so that Config.Changed may call it.
func (d *Desk) Hashes() (allow, deny [][sha256.Size]byte) {
	h := d.hashes.Load()
	return h.allow, h.deny
}

// issue signs a certificate for the device of an attempt and writes it down. d.mu is held.
func (d *Desk) issue(a *attempt, key crypto.PublicKey) (Device, []byte, error) {
	if len(d.book.Devices) >= maxDevices {
		return Device{}, nil, ErrFull
	}
	now := time.Now()
	id := newToken()
	c, err := d.cfg.Issuer.IssueClient(key, a.Device, id, now)
	if err != nil {
		return Device{}, nil, err
	}
	next := d.copied()
	next.Devices = append(next.Devices, device{
		ID: id, Name: a.Device, User: a.User, Issued: now.UTC(), From: a.Address,
		Certs: []issued{{SHA256: sha256.Sum256(c.Raw), NotAfter: c.NotAfter.UTC(), DER: c.Raw}},
	})
	// On disk before it is handed out: a device that has a certificate is one that can be revoked.
	if err := d.write(next); err != nil {
		return Device{}, nil, err
	}
	d.cfg.Changed()
	d.cfg.Audit(audit.Event{
		ID: audit.Paired, OK: true, Device: a.Device, Address: a.Address, User: a.User,
		Certificates: []audit.Certificate{audit.Describe(c)},
	})
	d.log.Info("device paired", "device", a.Device, "client", a.Address)
	return next.Devices[len(next.Devices)-1].device(), c.Raw, nil
}

// Revoke shuts a device out. When it returns, its connections have been told to end.
func (d *Desk) Revoke(_ context.Context, id string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.revoke(func(v device) bool { return v.ID == id }, "")
}

// Leave is a device's own word that it is to be let in no more: it has shown its certificate, with its key. What is no
// device's is ErrProof.
func (d *Desk) Leave(cert *x509.Certificate) error {
	sum := digest(sha256.Sum256(cert.Raw))
	d.mu.Lock()
	defer d.mu.Unlock()
	err := d.revoke(func(v device) bool {
		return slices.ContainsFunc(v.Certs, func(c issued) bool { return c.SHA256 == sum })
	}, "the device itself")
	if errors.Is(err, ErrUnknown) {
		return ErrProof // whether a certificate is known is nobody's business
	}
	return err
}

// RevokeAll shuts all devices out.
func (d *Desk) RevokeAll(context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.book.Devices) == 0 {
		return nil
	}
	return d.revoke(func(device) bool { return true }, "")
}

// revoke shuts devices out; by is who did it, if that is not an owner. d.mu is held.
func (d *Desk) revoke(which func(device) bool, by string) error {
	next := d.copied()
	now := time.Now()
	var ending []device
	next.Devices = slices.DeleteFunc(next.Devices, func(v device) bool {
		if !which(v) {
			return false
		}
		ending = append(ending, v)
		for _, c := range v.Certs {
			next.Revoked = append(next.Revoked, gone{SHA256: c.SHA256, NotAfter: c.NotAfter, Name: v.Name, When: now.UTC()})
		}
		return true
	})
	if len(ending) == 0 {
		return ErrUnknown
	}
	// What has ended gets in nowhere. A clock that is wrong must not let anybody in, so it has ended for a while.
	next.Revoked = slices.DeleteFunc(next.Revoked, func(g gone) bool { return now.After(g.NotAfter.Add(365 * 24 * time.Hour)) })
	if n := len(next.Revoked) - maxRevoked; n > 0 {
		next.Revoked = slices.Delete(next.Revoked, 0, n) // no allow entry names them either
	}
	if err := d.write(next); err != nil {
		return err
	}
	d.cfg.Changed()
	for _, v := range ending {
		e := audit.Event{ID: audit.Revoked, OK: true, Device: v.Name, Address: v.From, User: v.User, By: by}
		for _, c := range v.Certs {
			if cert, err := x509.ParseCertificate(c.DER); err == nil {
				e.Certificates = append(e.Certificates, audit.Describe(cert))
			}
		}
		d.cfg.Audit(e)
		d.log.Info("device revoked", "device", v.Name)
	}
	return nil
}

// SetOwner says for which owner a device administers the box; "" for none, as it is at first.
func (d *Desk) SetOwner(id, owner string) (Device, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	next := d.copied()
	i := slices.IndexFunc(next.Devices, func(v device) bool { return v.ID == id })
	if i < 0 {
		return Device{}, ErrUnknown
	}
	next.Devices[i].Owner = owner
	if err := d.write(next); err != nil {
		return Device{}, err
	}
	return next.Devices[i].device(), nil
}

// Saw notes that the device with a certificate has connected from an address. Once a renewed certificate is in use, the one
// before it is let in no more. It reports the device.
func (d *Desk) Saw(cert *x509.Certificate, from netip.Addr) (Device, bool) {
	sum := digest(sha256.Sum256(cert.Raw))
	d.mu.Lock()
	defer d.mu.Unlock()
	i := slices.IndexFunc(d.book.Devices, func(v device) bool {
		return slices.ContainsFunc(v.Certs, func(c issued) bool { return c.SHA256 == sum })
	})
	if i < 0 {
		return Device{}, false
	}
	now := time.Now()
	next := d.copied()
	v := &next.Devices[i]
	v.Seen = now.UTC()
	if from.IsValid() {
		v.From = from.Unmap().WithZone("")
	}
	renewed := len(v.Certs) == 2 && v.Certs[1].SHA256 == sum
	if renewed {
		v.Certs = v.Certs[1:]
	}
	if !renewed && now.Sub(d.saved) < seenEvery {
		d.book = next
		d.tell()
		return v.device(), true
	}
	if err := d.write(next); err != nil {
		d.log.Error("the list of paired devices could not be written", "error", err)
		return v.device(), true
	}
	if renewed {
		d.cfg.Changed()
	}
	return v.device(), true
}

// Find returns the device that a certificate belongs to.
func (d *Desk) Find(cert *x509.Certificate) (Device, bool) {
	sum := digest(sha256.Sum256(cert.Raw))
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, v := range d.book.Devices {
		if slices.ContainsFunc(v.Certs, func(c issued) bool { return c.SHA256 == sum }) {
			return v.device(), true
		}
	}
	return Device{}, false
}
