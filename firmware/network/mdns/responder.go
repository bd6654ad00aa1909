// Package mdns tells the local network the box's name and what it offers: Multicast DNS (RFC 6762) with DNS-Based Service
// Discovery (RFC 6763). "attic" is then reached as attic.local, and shows in the sidebars of file managers.
//
// If another machine has the name already, the box takes the next (attic-2), says so, and keeps it for this run. Only
// machines on the same link are answered.
package mdns

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/postern-nas/postern/firmware/network"
	"github.com/postern-nas/postern/firmware/network/multicast"
	"github.com/postern-nas/postern/firmware/supervise"
	"github.com/postern-nas/postern/firmware/watch"
)

// RFC 6762 8.1, 8.3, 9, in that order.
const (
	probeNum, probePause = 3, 250 * time.Millisecond
	loserPause           = time.Second
	announceNum          = 2
	announcePause        = time.Second
	manyConflicts        = 15
	conflictPause        = 5 * time.Second
)

// again is how long a record is not multicast a second time (RFC 6762 6); a probe may have it sooner.
const again, againProbe = time.Second, 250 * time.Millisecond

// maxWaiting bounds answers that wait for their moment.
const maxWaiting = 128

// A Config is what to tell.
type Config struct {
	Host     string // one label, as in "attic"
	Services []Service
}

// A Responder is the service. Use New.
type Responder struct {
	Name watch.Value[string] // the host's name as it was won, as in "attic-2"; "" while it is looked for

	cfg      Config
	log      *slog.Logger
	networks *watch.Value[network.State]

	names     names
	tries     int // names tried so far
	conflicts []time.Time
	ports     []port
	air       air
	sent      map[string]time.Time // of records, by port
	waiting   []waiting
}

type (
	port   = multicast.Port
	packet = multicast.Packet
)

// group is RFC 6762 3 and 11.
var group = multicast.Group{V4: "224.0.0.251", V6: "ff02::fb", Port: mdnsPort, Hops: 255}

const mdnsPort = 5353

// waiting is an answer that waits for others like it.
type waiting struct {
	at   time.Time
	port string
	r    reply
}

// An air is the wire: a packet comes with the port it came through.
type air interface {
	Join(ports []port)
	Packets() <-chan packet
	// Send multicasts on a port, or sends to one address if that is valid.
	Send(port port, b []byte, to netip.AddrPort)
	Close()
}

// New returns a Responder for the ports that networks tells of.
func New(cfg Config, networks *watch.Value[network.State], log *slog.Logger) *Responder {
	return &Responder{cfg: cfg, log: log, networks: networks, names: names{cfg.Host, cfg.Host}, tries: 1, sent: map[string]time.Time{}}
}

// Run is the service.
func (r *Responder) Run(ctx context.Context) error {
	a, err := multicast.Open(group)
	if err != nil {
		return err
	}
	defer a.Close()
	return r.run(ctx, a)
}

func (r *Responder) run(ctx context.Context, a air) error {
	r.air = a
	news := make(chan network.State)
	go func() {
		for version := uint64(0); ; {
			s, v, err := r.networks.Wait(ctx, version)
			if err != nil {
				return
			}
			version = v
			select {
			case news <- s:
			case <-ctx.Done():
				return
			}
		}
	}()
	supervise.Healthy(ctx)
	defer r.goodbye()

	// What is done next, and when: so many probes, then so many announcements.
	step, due := -1, time.NewTimer(time.Hour)
	begin := func(in time.Duration) {
		step = 0
		r.Name.Set("")
		due.Reset(in)
	}
	queue := time.NewTimer(time.Hour)
	for {
		select {
		case <-ctx.Done():
			return nil
		case s := <-news:
			if r.move(s) {
				begin(rand.N(probePause))
			}
		case <-due.C:
			switch {
			case step < 0 || len(r.ports) == 0:
			case step < probeNum:
				r.probe()
				step++
				due.Reset(probePause)
			case step < probeNum+announceNum:
				if step == probeNum {
					r.log.Info("found in the local network as", "name", r.names.host+".local")
					r.Name.Set(r.names.host)
				}
				r.announce()
				step++
				due.Reset(announcePause)
			default:
				step = probeNum + announceNum
			}
		case p, ok := <-a.Packets():
			if !ok {
				return fmt.Errorf("mdns: the socket has gone")
			}
			switch r.hear(p, step > 0 && step <= probeNum, step > probeNum) {
			case lost:
				begin(r.rename())
			case yields:
				begin(loserPause)
			}
			queue.Reset(r.nextWaiting())
		case <-queue.C:
			r.flushWaiting()
			queue.Reset(r.nextWaiting())
		}
	}
}

// move takes in other ports and addresses, and says whether there are any.
func (r *Responder) move(s network.State) bool {
	now := multicast.Ports(s)
	if multicast.Equal(now, r.ports) {
		return false
	}
	r.ports = now
	r.air.Join(now)
	return len(now) > 0
}

// records are all that we say on a port.
func (r *Responder) records(p port) []record {
	return append(hostRecords(r.names, p.Addrs), serviceRecords(r.names, r.cfg.Services)...)
}

// uniques are the names that must be ours alone.
func (r *Responder) uniques() []string {
	all := []string{r.names.hostName()}
	for _, s := range r.cfg.Services {
		all = append(all, r.names.service(s))
	}
	return all
}

// probe asks whether anybody has our names (RFC 6762 8.1).
func (r *Responder) probe() {
	for _, p := range r.ports {
		q := reply{}
		for _, n := range r.uniques() {
			q.questions = append(q.questions, question{n, dnsmessage.TypeALL, true})
		}
		for _, rec := range r.records(p) {
			if rec.unique && rec.kind != typeNSEC && rec.kind != dnsmessage.TypePTR {
				q.authority = append(q.authority, rec)
			}
		}
		if b, err := q.pack(); err == nil {
			r.air.Send(p, b, netip.AddrPort{})
		} else {
			r.log.Error("mdns", "error", err)
		}
	}
}

// announce tells everything unasked (RFC 6762 8.3).
func (r *Responder) announce() {
	for _, p := range r.ports {
		r.send(p, reply{response: true, answers: r.records(p)}, netip.AddrPort{})
	}
}

// goodbye takes it back (RFC 6762 10.1).
func (r *Responder) goodbye() {
	if name, _ := r.Name.Get(); name == "" {
		return
	}
	for _, p := range r.ports {
		gone := r.records(p)
		for i := range gone {
			gone[i].ttl = 0
		}
		r.send(p, reply{response: true, answers: gone}, netip.AddrPort{})
	}
}

func (r *Responder) send(p port, m reply, to netip.AddrPort) {
	packets, err := m.packets()
	if err != nil {
		r.log.Error("mdns", "error", err)
		return
	}
	for _, b := range packets {
		r.air.Send(p, b, to)
	}
}

// rename takes the next name, and says how long to wait before it is tried (RFC 6762 8.1, 9).
func (r *Responder) rename() time.Duration {
	r.goodbye()
	r.tries++
	old := r.names.host
	base := r.cfg.Host[:min(len(r.cfg.Host), 58)]
	r.names = names{next(base, "-", r.tries), next(base, " ", r.tries)}
	r.log.Warn("another machine has our name", "name", old+".local", "now", r.names.host+".local")
	now := time.Now()
	r.conflicts = append(r.conflicts, now)
	for len(r.conflicts) > 0 && now.Sub(r.conflicts[0]) > 10*time.Second {
		r.conflicts = r.conflicts[1:]
	}
	if len(r.conflicts) >= manyConflicts {
		return conflictPause
	}
	return rand.N(probePause)
}

// What a packet means for our names.
type verdict int

const (
	fine   verdict = iota
	lost           // another has one of them
	yields         // another asks for one at the same moment, and is first (RFC 6762 8.2)
)

// hear takes in one packet.
func (r *Responder) hear(p packet, probing, won bool) verdict {
	i := slices.IndexFunc(r.ports, func(q port) bool { return q.Index == p.Port })
	if i < 0 || !r.ports[i].OnLink(p.From.Addr()) {
		return fine
	}
	m, err := parse(p.Data)
	if err != nil {
		r.log.Debug("mdns", "from", p.From, "error", err)
		return fine
	}
	if m.response {
		if p.From.Port() != mdnsPort || !probing && !won {
			return fine // RFC 6762 6
		}
		return r.conflict(m.answers)
	}
	if probing && len(m.authority) > 0 {
		return r.tie(r.ports[i], m)
	}
	if won {
		r.answer(r.ports[i], p.From, m)
	}
	return fine
}

// conflict looks for records of our names that say something that we say on no port.
func (r *Responder) conflict(answers []record) verdict {
	var ours []record
	for _, p := range r.ports {
		ours = append(ours, r.records(p)...)
	}
	mine := r.uniques()
	for _, a := range answers {
		if a.ttl == 0 || a.kind == typeNSEC || !slices.ContainsFunc(mine, func(n string) bool { return strings.EqualFold(n, a.name) }) {
			continue
		}
		if !slices.ContainsFunc(ours, a.same) {
			return lost
		}
	}
	return fine
}

// tie decides who of two that probe for a name at once has it: whose records come later in order (RFC 6762 8.2).
func (r *Responder) tie(p port, m message) verdict {
	for _, name := range r.uniques() {
		theirs := probed(m.authority, name)
		ours := probed(r.records(p), name)
		if len(theirs) > 0 && slices.CompareFunc(ours, theirs, order) < 0 {
			return yields
		}
	}
	return fine
}

// probed are the records of a name that count, in order.
func probed(all []record, name string) (of []record) {
	for _, a := range all {
		if strings.EqualFold(a.name, name) && a.kind != typeNSEC {
			of = append(of, a)
		}
	}
	slices.SortFunc(of, order)
	return of
}

func order(a, b record) int {
	if a.kind != b.kind {
		return int(a.kind) - int(b.kind)
	}
	return bytes.Compare(a.body, b.body)
}

// answer says what we know of what was asked.
func (r *Responder) answer(p port, from netip.AddrPort, m message) {
	legacy := from.Port() != mdnsPort
	all := r.records(p)
	var direct, multicast, shared []record
	probe := len(m.authority) > 0
	for _, q := range m.questions {
		for _, rec := range all {
			if strings.ToLower(rec.name) != q.name || !asks(q.kind, rec, all) || knows(m.answers, rec) {
				continue
			}
			switch {
			case legacy || q.unicast && !r.stale(p, rec):
				direct = add(direct, rec)
			case rec.unique:
				if r.fresh(p, rec, probe) {
					multicast = add(multicast, rec)
				}
			case r.fresh(p, rec, false):
				shared = add(shared, rec)
			}
		}
	}
	if len(direct) > 0 {
		out := reply{response: true, answers: direct, further: further(direct, all), legacy: legacy}
		if legacy {
			out.id, out.questions = m.id, m.questions
		}
		r.send(p, out, from)
	}
	if len(multicast) > 0 {
		r.send(p, reply{response: true, answers: multicast, further: further(multicast, all)}, netip.AddrPort{})
	}
	if len(shared) > 0 && len(r.waiting) < maxWaiting { // RFC 6762 6: others answer too
		at := time.Now().Add(20*time.Millisecond + rand.N(100*time.Millisecond))
		r.waiting = append(r.waiting, waiting{at, p.Name, reply{response: true, answers: shared, further: further(shared, all)}})
	}
}

// asks says whether a question of a type is answered by a record: where there is no such type, by what says so.
func asks(kind dnsmessage.Type, rec record, all []record) bool {
	if kind == rec.kind || kind == dnsmessage.TypeALL {
		return kind == rec.kind || rec.kind != typeNSEC
	}
	return rec.kind == typeNSEC && !slices.ContainsFunc(all, func(o record) bool { return o.name == rec.name && o.kind == kind })
}

// knows says whether the asker has an answer for more than half of its life (RFC 6762 7.1).
func knows(known []record, rec record) bool {
	return slices.ContainsFunc(known, func(k record) bool { return rec.same(k) && k.ttl >= rec.ttl/2 })
}

func add(list []record, rec record) []record {
	if slices.ContainsFunc(list, rec.same) {
		return list
	}
	return append(list, rec)
}

// further are what will be asked next (RFC 6763 12): of a service its place and text, of a host its addresses.
func further(answers, all []record) (more []record) {
	targets := map[string]bool{}
	for _, a := range answers {
		switch a.kind {
		case dnsmessage.TypePTR:
			targets[string(a.body)] = true
		case dnsmessage.TypeSRV:
			targets[string(a.body[6:])] = true
		case dnsmessage.TypeA, dnsmessage.TypeAAAA:
			targets[string(packName(a.name))] = true
		}
	}
	for range 2 { // from the service to its host
		for _, rec := range all {
			if !targets[string(packName(rec.name))] || rec.kind == dnsmessage.TypePTR || slices.ContainsFunc(answers, rec.same) {
				continue
			}
			more = add(more, rec)
			if rec.kind == dnsmessage.TypeSRV {
				targets[string(rec.body[6:])] = true
			}
		}
	}
	return more
}

// fresh says whether a record may be multicast now, and notes that it is.
func (r *Responder) fresh(p port, rec record, probe bool) bool {
	key := p.Name + "\x00" + rec.key() + "\x00" + string(rec.body)
	limit := again
	if probe {
		limit = againProbe
	}
	now := time.Now()
	if last, ok := r.sent[key]; ok && now.Sub(last) < limit {
		return false
	}
	if len(r.sent) > 4*maxRecords { // names of before
		clear(r.sent)
	}
	r.sent[key] = now
	return true
}

// stale says whether nobody has heard a record for a quarter of its life: then the asker is not the only one who needs it
// (RFC 6762 5.4).
func (r *Responder) stale(p port, rec record) bool {
	last, ok := r.sent[p.Name+"\x00"+rec.key()+"\x00"+string(rec.body)]
	return ok && time.Since(last) > time.Duration(rec.ttl)*time.Second/4
}

func (r *Responder) nextWaiting() time.Duration {
	next := time.Hour
	for _, w := range r.waiting {
		next = min(next, time.Until(w.at))
	}
	return max(0, next)
}

func (r *Responder) flushWaiting() {
	now := time.Now()
	r.waiting = slices.DeleteFunc(r.waiting, func(w waiting) bool {
		if w.at.After(now) {
			return false
		}
		if i := slices.IndexFunc(r.ports, func(p port) bool { return p.Name == w.port }); i >= 0 {
			r.send(r.ports[i], w.r, netip.AddrPort{})
		}
		return true
	})
}
