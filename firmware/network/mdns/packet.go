package mdns

import (
	"errors"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

// Bounds of what is read and sent.
const (
	maxPacket    = 9000 // RFC 6762 17
	maxQuestions = 64
	maxRecords   = 256
	sendMost     = 1400 // fits every Ethernet
)

// A question is one of another's.
type question struct {
	name    string // in lower case
	kind    dnsmessage.Type
	unicast bool // an answer to the asker alone will do
}

// A message is what is read of a packet.
type message struct {
	id        uint16
	response  bool
	questions []question
	answers   []record // known answers in a query; news in a response, with its additional records
	authority []record // what a probe is for
}

var errPacket = errors.New("mdns: not a message")

// parse reads a packet, no more than its bounds.
func parse(b []byte) (m message, err error) {
	var p dnsmessage.Parser
	h, err := p.Start(b)
	if err != nil {
		return m, err
	}
	if h.OpCode != 0 || h.RCode != 0 { // RFC 6762 18.3, 18.11
		return m, errPacket
	}
	m.id, m.response = h.ID, h.Response
	for {
		q, err := p.Question()
		if errors.Is(err, dnsmessage.ErrSectionDone) {
			break
		}
		if err != nil {
			return m, err
		}
		if class := q.Class &^ flush; class != dnsmessage.ClassINET && class != dnsmessage.ClassANY {
			continue
		}
		if len(m.questions) == maxQuestions {
			return m, errPacket
		}
		m.questions = append(m.questions, question{strings.ToLower(q.Name.String()), q.Type, q.Class&flush != 0})
	}
	if m.answers, err = records(b, p.AnswerHeader, p.UnknownResource, p.SkipAnswer); err != nil {
		return m, err
	}
	if m.authority, err = records(b, p.AuthorityHeader, p.UnknownResource, p.SkipAuthority); err != nil {
		return m, err
	}
	more, err := records(b, p.AdditionalHeader, p.UnknownResource, p.SkipAdditional)
	if m.response {
		m.answers = append(m.answers, more...)
	}
	return m, err
}

// records reads one section. Names inside bodies are uncompressed, so that bodies can be compared.
func records(b []byte, header func() (dnsmessage.ResourceHeader, error), body func() (dnsmessage.UnknownResource, error),
	skip func() error,
) (all []record, err error) {
	for n := 0; ; n++ {
		h, err := header()
		if errors.Is(err, dnsmessage.ErrSectionDone) {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		if n == maxRecords {
			return all, errPacket
		}
		if h.Class&^flush != dnsmessage.ClassINET {
			if err := skip(); err != nil {
				return all, err
			}
			continue
		}
		r, err := body()
		if err != nil {
			return all, err
		}
		plain, err := uncompress(b, h.Type, r.Data)
		if err != nil {
			return all, err
		}
		all = append(all, record{h.Name.String(), h.Type, h.TTL, h.Class&flush != 0, plain})
	}
}

// uncompress writes the name at a body's end in full.
func uncompress(packet []byte, kind dnsmessage.Type, body []byte) ([]byte, error) {
	from := 0
	switch kind {
	case dnsmessage.TypePTR, dnsmessage.TypeCNAME, dnsmessage.TypeNS:
	case dnsmessage.TypeSRV:
		from = 6
	default:
		return body, nil
	}
	if len(body) <= from {
		return nil, errPacket
	}
	out := append([]byte(nil), body[:from]...)
	at, jumps := body[from:], 0
	for {
		if len(at) == 0 {
			return nil, errPacket
		}
		switch n := int(at[0]); {
		case n == 0:
			return append(out, 0), nil
		case n < 64:
			if len(at) < n+1 || len(out) > 300 {
				return nil, errPacket
			}
			out = append(out, at[:n+1]...)
			at = at[n+1:]
		case n >= 0xc0:
			if jumps++; len(at) < 2 || jumps > 16 {
				return nil, errPacket
			}
			to := (n&0x3f)<<8 | int(at[1])
			if to >= len(packet) {
				return nil, errPacket
			}
			at = packet[to:]
		default:
			return nil, errPacket
		}
	}
}

// A reply is what is sent.
type reply struct {
	id                          uint16
	response                    bool
	questions                   []question
	answers, authority, further []record
	legacy                      bool // to a plain resolver: no flush, short lives (RFC 6762 6.7)
}

func (r reply) pack() ([]byte, error) {
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{ID: r.id, Response: r.response, Authoritative: r.response})
	b.EnableCompression()
	if err := b.StartQuestions(); err != nil {
		return nil, err
	}
	for _, q := range r.questions {
		n, err := dnsmessage.NewName(q.name)
		if err != nil {
			return nil, err
		}
		class := dnsmessage.ClassINET
		if q.unicast {
			class |= flush
		}
		if err := b.Question(dnsmessage.Question{Name: n, Type: q.kind, Class: class}); err != nil {
			return nil, err
		}
	}
	for _, s := range []struct {
		start   func() error
		records []record
	}{{b.StartAnswers, r.answers}, {b.StartAuthorities, r.authority}, {b.StartAdditionals, r.further}} {
		if err := s.start(); err != nil {
			return nil, err
		}
		for _, rec := range s.records {
			n, err := dnsmessage.NewName(rec.name)
			if err != nil {
				return nil, err
			}
			h := dnsmessage.ResourceHeader{Name: n, Type: rec.kind, Class: dnsmessage.ClassINET, TTL: rec.ttl}
			switch {
			case r.legacy:
				h.TTL = min(h.TTL, legacyTTL)
			case rec.unique && r.response:
				h.Class |= flush
			}
			if err := b.UnknownResource(h, dnsmessage.UnknownResource{Type: rec.kind, Data: rec.body}); err != nil {
				return nil, err
			}
		}
	}
	return b.Finish()
}

// packets splits a response so that each part fits, further records only where there is room.
func (r reply) packets() (all [][]byte, err error) {
	for {
		part := r
		b, err := part.pack()
		if err != nil {
			return all, err
		}
		if len(b) > sendMost && len(part.further) > 0 {
			part.further = nil
			if b, err = part.pack(); err != nil {
				return all, err
			}
		}
		for len(b) > sendMost && len(part.answers) > 1 {
			part.answers = part.answers[:(len(part.answers)+1)/2]
			if b, err = part.pack(); err != nil {
				return all, err
			}
		}
		all = append(all, b)
		if r.answers = r.answers[len(part.answers):]; len(r.answers) == 0 {
			return all, nil
		}
	}
}
