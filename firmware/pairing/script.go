package pairing

import (
	"crypto/x509"
	"errors"
)

// A Script is what the scripts for a Windows PC are made for.
type Script struct {
	Server string // DNS name, as in the server's certificate
	Port   uint16 // UDP, of SMB over QUIC
	Page   string // the page's address by that name, as in "https://postern.local"
	Share  string // to be mapped
	User   string // to sign in as; "" asks
	Drive  string // "Z:"

	// Set by the handler.
	CA              *x509.Certificate
	Secret, Confirm string
}

// Pair is the script that pairs, as a .cmd file.
func (s Script) Pair() ([]byte, error) { return nil, errors.New("not yet made") }

// Unpair is the script that undoes all of it.
func (s Script) Unpair() ([]byte, error) { return nil, errors.New("not yet made") }
