package audit

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// A Query says which events are wanted; the zero Query is the newest of all.
type Query struct {
	From, To time.Time // From is in it, To is not; zero: no bound
	IDs      []ID      // empty: all
	User     string    // whole, without regard to case: whom it is about, or who did it
	Device   string    // the same
	Text     string    // anywhere in the event's line, without regard to case
	Failed   bool      // only what went wrong
	Before   uint64    // numbers below this: the Next of the page before; 0: from the newest
	Limit    int       // at most so many; 100, and 1000 at most
}

// How By begins of what somebody has done on the page and by a command; [By] writes who.
const (
	PagePrefix    = "page: "
	CommandPrefix = "command: "
)

// By returns what an Event's By says of somebody called user, who does something from a paired device or, where that is
// empty, from anywhere.
func By(prefix, user, device string) string {
	if device == "" {
		return prefix + user
	}
	return prefix + user + at + device
}

// at stands between a user's name and the device's. Either may have it in it, so that a Query can find one too many.
const at = " at "

// by says whether an event's By, made by By, has user or device in it; empty matches none.
func by(event, user, device string) bool {
	for _, prefix := range []string{PagePrefix, CommandPrefix} {
		if who, ok := strings.CutPrefix(event, prefix); ok {
			who += at
			return user != "" && hasPrefixFold(who, user+at) || device != "" && hasSuffixFold(who, at+device+at)
		}
	}
	return false
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

func hasSuffixFold(s, suffix string) bool {
	return len(s) >= len(suffix) && strings.EqualFold(s[len(s)-len(suffix):], suffix)
}

// A Page is what a Query found, the newest first. Next is the Before of the next page; 0: there is none.
type Page struct {
	Events []Event `json:"events"`
	Next   uint64  `json:"next,omitempty"`
}

const maxLimit = 1000

func (q Query) match(e *Event, line []byte) bool {
	switch {
	case q.Before > 0 && e.Seq >= q.Before,
		!q.From.IsZero() && e.Time.Before(q.From),
		!q.To.IsZero() && !e.Time.Before(q.To),
		len(q.IDs) > 0 && !slices.Contains(q.IDs, e.ID),
		q.User != "" && !strings.EqualFold(q.User, e.User) && !by(e.By, q.User, ""),
		q.Device != "" && !strings.EqualFold(q.Device, e.Device) && !by(e.By, "", q.Device),
		q.Failed && e.OK,
		q.Text != "" && !bytes.Contains(bytes.ToLower(line), []byte(strings.ToLower(q.Text))):
		return false
	}
	return true
}

// each calls f with the events of all files, the newest first, until it returns false. What is no event (a line that a
// power cut tore) is passed over.
func (l *Log) each(ctx context.Context, f func(e *Event, line []byte) bool) error {
	l.mu.Lock()
	newest := l.seq // a larger number is damage
	l.mu.Unlock()
	for n := range l.cfg.Files {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		var lines [][]byte
		l.disk.Lock() // not in the middle of a rotation
		err := eachLine(l.path(n), func(line []byte) bool { lines = append(lines, line); return true })
		l.disk.Unlock()
		if err != nil {
			return err
		}
		for _, line := range slices.Backward(lines) {
			var e Event
			if json.Unmarshal(line, &e) == nil && e.Seq > 0 && e.Seq <= newest && !f(&e, line) {
				return nil
			}
		}
	}
	return nil
}

// Query finds events. One that is recorded meanwhile may be missing; none is given twice.
func (l *Log) Query(ctx context.Context, q Query) (Page, error) {
	if q.Limit <= 0 {
		q.Limit = 100
	}
	q.Limit = min(q.Limit, maxLimit)
	p := Page{Events: []Event{}}
	seen := ^uint64(0)
	err := l.each(ctx, func(e *Event, line []byte) bool {
		if e.Seq >= seen { // the files were rotated between two looks
			return true
		}
		seen = e.Seq
		if !q.match(e, line) {
			return true
		}
		if len(p.Events) == q.Limit {
			p.Next = p.Events[len(p.Events)-1].Seq
			return false
		}
		p.Events = append(p.Events, *e)
		return true
	})
	return p, err
}

// Format is how Export writes.
type Format string

const (
	JSONLines Format = "jsonl"
	CSV       Format = "csv"
)

// Export writes all events that q matches, the newest first; Limit and Before do not count. What a spreadsheet could take
// for a formula gets an apostrophe in front.
func (l *Log) Export(ctx context.Context, w io.Writer, q Query, as Format) error {
	var put func(e *Event, line []byte) error
	switch as {
	case JSONLines:
		put = func(_ *Event, line []byte) error {
			_, err := w.Write(append(line[:len(line):len(line)], '\n'))
			return err
		}
	case CSV:
		c := csv.NewWriter(w)
		defer c.Flush()
		if err := c.Write([]string{
			"time", "seq", "id", "event", "ok", "user", "address", "device", "share", "transport", "connection", "server", "by", "text", "certificate_sha256",
		}); err != nil {
			return err
		}
		put = func(e *Event, _ []byte) error {
			sum := ""
			if len(e.Certificates) > 0 {
				sum = e.Certificates[0].SHA256
			}
			address := ""
			if e.Address.IsValid() {
				address = e.Address.String()
			}
			row := []string{
				e.Time.Format(time.RFC3339Nano), fmt.Sprint(e.Seq), fmt.Sprint(int(e.ID)), e.Name, fmt.Sprint(e.OK), e.User, address,
				e.Device, e.Share, e.Transport, e.Connection, e.Server, e.By, e.Text, sum,
			}
			for i, s := range row {
				if s != "" && strings.ContainsRune("=+-@\t\r", rune(s[0])) {
					row[i] = "'" + s
				}
			}
			return c.Write(row)
		}
	default:
		return fmt.Errorf("audit: no format %q: %s and %s are known", as, JSONLines, CSV)
	}
	q.Before = 0
	var failed error
	seen := ^uint64(0)
	err := l.each(ctx, func(e *Event, line []byte) bool {
		if e.Seq >= seen {
			return true
		}
		seen = e.Seq
		if q.match(e, line) {
			failed = put(e, line)
		}
		return failed == nil
	})
	if failed != nil {
		return failed
	}
	return err
}
