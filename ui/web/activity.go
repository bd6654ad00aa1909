package web

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	entriesOnPage = 100
	maxSearch     = 200 // bytes of one field
)

// search reads what is wanted of the audit log. Days are those of zone.
func search(v url.Values, zone *time.Location) (Search, error) {
	text := func(key string) string { return strings.TrimSpace(v.Get(key)) }
	q := Search{Text: text("q"), Event: text("event"), User: text("user"), Device: text("device"), Failed: on(v, "failed")}
	for _, s := range []string{q.Text, q.Event, q.User, q.Device} {
		if len(s) > maxSearch {
			return q, &statusError{http.StatusBadRequest, fmt.Sprintf("a search is at most %d characters long", maxSearch)}
		}
	}
	for key, to := range map[string]*time.Time{"from": &q.From, "to": &q.To} {
		if text(key) == "" {
			continue
		}
		day, err := time.ParseInLocation(time.DateOnly, text(key), zone)
		if err != nil {
			return q, &statusError{http.StatusBadRequest, "a day is written as 2026-01-31"}
		}
		*to = day
	}
	if !q.To.IsZero() {
		q.To = q.To.AddDate(0, 0, 1) // that day is in it
	}
	if text("before") != "" {
		n, err := strconv.ParseUint(text("before"), 10, 64)
		if err != nil {
			return q, &statusError{http.StatusBadRequest, "the address of this page is wrong; search again"}
		}
		q.Before = n
	}
	return q, nil
}

// activityView is what the page shows of the audit log.
type activityView struct {
	Asked     url.Values // as it was asked
	Events    []string
	Entries   []Entry
	CSV, JSON string // addresses of all that was found
	Newest    string // of the newest page; "" on it
	Older     string // of the next page; "" on the last
}

func activity(s *Server, r *http.Request) (any, error) {
	asked := r.URL.Query()
	for key := range asked {
		if !slices.Contains([]string{"q", "event", "user", "device", "from", "to", "failed", "before"}, key) || asked.Get(key) == "" {
			asked.Del(key)
		}
	}
	v := activityView{Asked: asked, Events: s.box.Journal.Events()}
	st, err := s.state(r.Context())
	if err != nil {
		return v, err
	}
	q, err := search(asked, zoneOf(st))
	if err != nil {
		return v, err
	}
	found, next, err := s.box.Journal.Search(r.Context(), q, entriesOnPage)
	v.Entries = found
	with := func(path, key, value string) string {
		u := url.Values{}
		for k := range asked {
			if k != "before" {
				u.Set(k, asked.Get(k))
			}
		}
		if key != "" {
			u.Set(key, value)
		}
		if len(u) == 0 {
			return path
		}
		return path + "?" + u.Encode()
	}
	v.CSV, v.JSON = with("/activity/export", "format", "csv"), with("/activity/export", "format", "jsonl")
	if q.Before > 0 {
		v.Newest = with("/activity", "", "")
	}
	if next > 0 {
		v.Older = with("/activity", "before", strconv.FormatUint(next, 10))
	}
	return v, err
}

// export hands out all that a search finds. It is written as it is read, a file of the log at a time.
func (s *Server) export(w http.ResponseWriter, r *http.Request) {
	st, err := s.state(r.Context())
	var q Search
	if err == nil {
		q, err = search(r.URL.Query(), zoneOf(st))
	}
	if err != nil {
		http.Error(w, sentence(err.Error()), statusOf(err))
		return
	}
	format := r.URL.Query().Get("format")
	switch format {
	case "csv":
		attach(w, "text/csv; charset=utf-8", "postern-activity.csv")
	case "", "jsonl":
		format = "jsonl"
		attach(w, "application/x-ndjson", "postern-activity.jsonl")
	default:
		http.Error(w, sentence("it is written as csv or as jsonl"), http.StatusBadRequest)
		return
	}
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(uploadTime))
	if err := s.box.Journal.Export(r.Context(), w, q, format); err != nil {
		s.log.Warn("the activity was not written whole", "error", err)
		panic(http.ErrAbortHandler) // so that whoever asked does not take a part for the whole
	}
}
