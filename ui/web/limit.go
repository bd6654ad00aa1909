package web

import (
	"encoding/json"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// How often a wrong password or code may be tried (SEC-51): freeTries from one source, then a wait that doubles with each
// further one. All strangers together have manyTries before they wait as well, so that many addresses help little; who has
// signed in from an address before is no stranger there, and is not kept out by others.
const (
	freeTries  = 5
	manyTries  = 60
	firstWait  = 30 * time.Second
	longestAll = 5 * time.Minute
	longest    = time.Hour
	forgetFor  = 24 * time.Hour // without a wrong one
	maxSources = 1024
	maxFriends = 64
)

// A Memory keeps what must outlive a restart: the counts of wrong tries, without which switching the power off and on would
// give an attacker new ones.
type Memory interface {
	Load() ([]byte, error)
	Save([]byte) error
}

type tries struct {
	Wrong int       `json:"wrong"`
	Until time.Time `json:"until"` // nothing is tried before
	Last  time.Time `json:"last"`
}

// A limiter says who may try. Every try counts as wrong until it has been right, so that many at once are no more than one
// after the other.
type limiter struct {
	memory Memory // nil: none

	mu      sync.Mutex
	sources map[string]*tries
	all     tries
	friends []string // the last one last
}

type kept struct {
	Sources map[string]*tries `json:"sources"`
	All     tries             `json:"all"`
	Friends []string          `json:"friends"`
}

func newLimiter(m Memory) *limiter {
	l := &limiter{memory: m, sources: make(map[string]*tries)}
	if m == nil {
		return l
	}
	var k kept
	if b, err := m.Load(); err == nil && json.Unmarshal(b, &k) == nil {
		for source, t := range k.Sources {
			if t != nil && len(l.sources) < maxSources {
				l.sources[source] = t
			}
		}
		l.all, l.friends = k.All, k.Friends[max(0, len(k.Friends)-maxFriends):]
	}
	return l
}

// try takes one try from a source, or says how long to wait.
func (l *limiter) try(from netip.Addr) (wait time.Duration) {
	now, source := time.Now(), household(from).String()
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.sources[source]
	if t == nil || now.Sub(t.Last) > forgetFor {
		t = new(tries)
	}
	wait = t.Until.Sub(now)
	stranger := !slices.Contains(l.friends, source)
	if stranger {
		if now.Sub(l.all.Last) > forgetFor {
			l.all = tries{}
		}
		wait = max(wait, l.all.Until.Sub(now))
	}
	// A clock that was set back must not shut an owner out for years.
	if wait = min(wait, longest); wait > 0 {
		return wait
	}
	l.sources[source] = t
	t.count(now, freeTries, longest)
	if stranger {
		l.all.count(now, manyTries, longestAll)
	}
	l.trim()
	l.save()
	return 0
}

func (t *tries) count(now time.Time, free int, most time.Duration) {
	t.Wrong++
	t.Last = now
	if over := t.Wrong - free; over >= 0 {
		wait := most
		if over < 16 {
			wait = min(firstWait<<over, most)
		}
		t.Until = now.Add(wait)
	}
}

// right forgives the source: its last try was right.
func (l *limiter) right(from netip.Addr) {
	source := household(from).String()
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.sources, source)
	if i := slices.Index(l.friends, source); i >= 0 {
		l.friends = slices.Delete(l.friends, i, i+1)
	} else if l.all.Wrong > 0 {
		l.all.Wrong--
		if l.all.Wrong < manyTries {
			l.all.Until = time.Time{}
		}
	}
	l.friends = append(l.friends, source)
	l.friends = l.friends[max(0, len(l.friends)-maxFriends):]
	l.save()
}

// forgive takes back one try that was right, without making a friend of its source.
func (l *limiter) forgive(from netip.Addr) {
	source := household(from).String()
	l.mu.Lock()
	defer l.mu.Unlock()
	if t := l.sources[source]; t != nil {
		if t.Wrong--; t.Wrong <= 0 {
			delete(l.sources, source)
		}
	}
	l.all.Wrong = max(0, l.all.Wrong-1)
	l.save()
}

// trim forgets the sources that have been quiet for longest.
func (l *limiter) trim() {
	for len(l.sources) > maxSources {
		oldest := ""
		for s, t := range l.sources {
			if oldest == "" || t.Last.Before(l.sources[oldest].Last) {
				oldest = s
			}
		}
		delete(l.sources, oldest)
	}
}

func (l *limiter) save() {
	if l.memory == nil {
		return
	}
	if b, err := json.Marshal(kept{l.sources, l.all, l.friends}); err == nil {
		_ = l.memory.Save(b) // it logs; what is in memory still counts
	}
}
