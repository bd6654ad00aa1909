package cert

import (
	"fmt"
	"slices"
	"time"
)

// Urgency is how soon a certificate ends.
type Urgency int

// Urgencies, by the days that are left.
const (
	Calm    Urgency = iota
	Soon            // 30 days
	Urgent          // 14
	Dire            // 3
	Expired         // it has ended
)

var urgencies = []string{"calm", "soon", "urgent", "dire", "expired"}

func (u Urgency) String() string { return urgencies[u] }

// MarshalText implements encoding.TextMarshaler.
func (u Urgency) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (u *Urgency) UnmarshalText(text []byte) error {
	i := slices.Index(urgencies, string(text))
	if i < 0 {
		return fmt.Errorf("%q is no urgency", text)
	}
	*u = Urgency(i)
	return nil
}

// A Serving is what an owner should know of one certificate.
type Serving struct {
	ID       string    `json:"id"`    // for cert remove; "own" is by our authority, "file" from postern.toml
	Names    []string  `json:"names"` // in it
	Serves   []string  `json:"serves"`
	NotAfter time.Time `json:"not_after"`
	DaysLeft int       `json:"days_left"` // whole days; negative when it has ended
	Own      bool      `json:"own"`       // by our authority, and renewed by itself
	SHA256   string    `json:"sha256"`
	Urgency  Urgency   `json:"urgency"`
}

// Days is the one place that says when a certificate's end is spoken of, in the log, on the panel and on the page. It returns
// the whole days until end, rounded down, and how urgent that is. A clock that stands before any true time
// makes nothing urgent.
func Days(end, now time.Time) (days int, u Urgency) {
	const day = 24 * time.Hour
	left := end.Sub(now)
	days = int(left / day)
	if left < 0 && left%day != 0 {
		days--
	}
	switch {
	case left < 0:
		u = Expired
	case days < 3:
		u = Dire
	case days < 14:
		u = Urgent
	case days < 30:
		u = Soon
	}
	return days, u
}
