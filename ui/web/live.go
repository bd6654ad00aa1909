package web

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Event streams: a page that is open follows what changes. Each holds a connection, so they are few, and end by themselves;
// a browser begins them again.
const (
	maxStreams        = 16
	maxStreamsSession = 6
	streamFor         = time.Hour
	streamEvery       = time.Second // at most
	streamBeat        = 20 * time.Second
)

// alive are the pages with a part that follows the State: its template is the page's name and "-live".
var alive = map[string]bool{"status": true, "devices": true, "system": true}

// events sends the live part of a page again whenever it has changed.
func (s *Server) events(w http.ResponseWriter, r *http.Request) {
	name := r.URL.Query().Get("page")
	ses, _ := s.who(r, true)
	if ses == nil {
		http.Error(w, "sign in", http.StatusUnauthorized)
		return
	}
	if !alive[name] {
		http.NotFound(w, r)
		return
	}
	if !s.enterStream(ses) {
		http.Error(w, "too many pages are open", http.StatusServiceUnavailable)
		return
	}
	defer s.leaveStream(ses)
	w.Header().Set("Content-Type", "text/event-stream")
	out := http.NewResponseController(w)
	end := time.NewTimer(streamFor)
	defer end.Stop()
	type news struct {
		version uint64
		err     error
	}
	ctx := r.Context()
	var seen uint64
	var last string
	for {
		v, err := s.view(r, ses, name)
		if err != nil {
			return
		}
		for _, p := range pages {
			if p.name == name && p.data != nil {
				if v.Data, err = p.data(s, r); err != nil {
					return
				}
			}
		}
		var b bytes.Buffer
		if err := templates[name].ExecuteTemplate(&b, name+"-live", v); err != nil {
			s.log.Error("a page could not be made", "page", name, "error", err)
			return
		}
		text := ": beat\n\n"
		if now := b.String(); now != last {
			last = now
			text = "data: " + strings.ReplaceAll(strings.TrimSpace(now), "\n", "\ndata: ") + "\n\n"
		}
		_ = out.SetReadDeadline(time.Time{})
		_ = out.SetWriteDeadline(time.Now().Add(2 * streamBeat))
		if _, err := fmt.Fprint(w, text); err != nil || out.Flush() != nil {
			return
		}

		pause := time.NewTimer(streamEvery)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return
		}
		next := make(chan news, 1)
		waiting, cancel := contextFor(ctx, streamBeat)
		go func() {
			_, version, err := s.box.Source.Next(waiting, seen)
			next <- news{version, err}
		}()
		select {
		case n := <-next:
			cancel()
			if n.err == nil {
				seen = n.version
			}
		case <-ses.ctx.Done():
			cancel()
			<-next
			return
		case <-end.C:
			cancel()
			<-next
			return
		case <-ctx.Done():
			cancel()
			<-next
			return
		}
		if !s.stands(ses) {
			return
		}
		if s.sessions.find(r, true) != ses { // it has ended by its time
			return
		}
	}
}

func (s *Server) enterStream(ses *session) bool {
	ses.mu.Lock()
	defer ses.mu.Unlock()
	if ses.live >= maxStreamsSession {
		return false
	}
	if s.streams.Add(1) > maxStreams {
		s.streams.Add(-1)
		return false
	}
	ses.live++
	return true
}

func (s *Server) leaveStream(ses *session) {
	ses.mu.Lock()
	defer ses.mu.Unlock()
	ses.live--
	s.streams.Add(-1)
}
