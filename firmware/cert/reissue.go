package cert

import (
	"crypto/tls"
	"time"
)

// Reissue makes the server's certificate anew, with a new key, though the one that there is holds: for an owner who wants it so.
// Else it is as Renew.
func (a *Authority) Reissue(names []string, now time.Time, prove func(tls.Certificate) error) (tls.Certificate, error) {
	return a.issue(names, now, prove)
}
