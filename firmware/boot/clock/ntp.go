package clock

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/beevik/ntp"
)

// queryTime bounds one question, name lookup aside.
const queryTime = 3 * time.Second

// A sample is what one server says: our clock is behind by offset, give or take a distance.
type sample struct{ offset, distance time.Duration }

// ask puts one question to one server.
func ask(ctx context.Context, server string) (s sample, err error) {
	options := ntp.QueryOptions{
		Timeout: queryTime,
		Dialer: func(_, remote string) (net.Conn, error) {
			d := net.Dialer{Timeout: queryTime}
			return d.DialContext(ctx, "udp", remote)
		},
	}
	r, err := ntp.QueryWithOptions(server, options)
	if err != nil {
		return s, err
	}
	if err := r.Validate(); err != nil { // also the kiss of death, and a server that is not synchronized itself
		return s, fmt.Errorf("%s: %w", server, err)
	}
	return sample{offset: r.ClockOffset, distance: r.RootDistance}, nil
}

// slack is added to each distance: servers that are right differ by as much on a home's network.
const slack = 20 * time.Millisecond

// agree finds what most servers say (Marzullo's algorithm, RFC 5905 11.2.1): the part of the line that most of their
// intervals have in common. votes is how many; 0 if that is no majority of those who answered.
func agree(samples []sample) (best sample, votes int) {
	type edge struct {
		at  time.Duration
		dir int // +1 opens, -1 closes
	}
	var edges []edge
	for _, s := range samples {
		d := s.distance + slack
		edges = append(edges, edge{s.offset - d, +1}, edge{s.offset + d, -1})
	}
	slices.SortFunc(edges, func(a, b edge) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(b.dir, a.dir)) })
	var open int
	var from, to time.Duration
	for i, e := range edges {
		open += e.dir
		if e.dir > 0 && open > votes {
			votes, from, to = open, e.at, edges[i+1].at
		}
	}
	if 2*votes <= len(samples) {
		return sample{}, 0
	}
	// Of those who agree, the nearest says it best.
	for _, s := range samples {
		d := s.distance + slack
		if s.offset-d <= from && s.offset+d >= to && (best.distance == 0 || s.distance < best.distance) {
			best = s
		}
	}
	return best, votes
}
