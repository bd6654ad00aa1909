package lsarpc

import (
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/rpc"
)

// Bounds of one lookup, as the IDL of [MS-LSAT] has them.
const (
	maxSIDs  = 20480
	maxNames = 1000
)

// A lookup collects what was found, [MS-LSAT] 3.1.4.5.
type lookup struct {
	found   []Account
	domains []Account // that found refers to
	index   []int32   // into domains, by found
	mapped  uint32
}

func (l *lookup) add(a Account, ok bool) {
	l.found = append(l.found, a)
	if !ok {
		l.index = append(l.index, -1)
		return
	}
	l.mapped++
	domain := Account{SID: a.SID, Name: a.Domain}
	if a.Kind != KindDomain {
		domain.SID, _ = a.SID.Split()
	}
	for i, d := range l.domains {
		if d.SID == domain.SID {
			l.index = append(l.index, int32(i))
			return
		}
	}
	l.index = append(l.index, int32(len(l.domains)))
	l.domains = append(l.domains, domain)
}

func (l *lookup) status() nt.Status {
	switch int(l.mapped) {
	case len(l.found):
		return nt.Success
	case 0:
		return nt.NoneMapped
	}
	return nt.SomeNotMapped
}

// writeDomains writes a pointer to LSAPR_REFERENCED_DOMAIN_LIST, [MS-LSAT] 2.2.12.
func (l *lookup) writeDomains(w *rpc.Writer) {
	n := uint32(len(l.domains))
	w.Pointer(true)
	w.U32(n)
	w.Pointer(n > 0)
	w.U32(n) // MaxEntries
	if n == 0 {
		return
	}
	w.U32(n)
	for _, d := range l.domains {
		w.Text(d.Name)
		w.Pointer(true)
	}
	for _, d := range l.domains {
		w.TextBody(d.Name)
		w.SID(d.SID)
	}
}

// list writes the head of the list of what was found, and the head of the array if there is one.
func (l *lookup) list(w *rpc.Writer) {
	n := uint32(len(l.found))
	w.U32(n)
	w.Pointer(n > 0)
	if n > 0 {
		w.U32(n)
	}
}

// noList reads a list that the client leaves to be filled in.
func noList(r *rpc.Reader) {
	r.U32()
	if r.Pointer() && r.U32() > 0 {
		r.Fail()
	}
}

// tail reads what ends every request, and reports whether its LSAP_LOOKUP_LEVEL is one, [MS-LSAT] 2.2.16. Which does not
// matter: there is nothing further away to look in.
func tail(r *rpc.Reader, options bool) bool {
	const lookupWksta, lookupRODC = 1, 7
	level := r.U16()
	r.U32() // MappedCount
	if options {
		r.U32()
		r.U32() // ClientRevision
	}
	return level >= lookupWksta && level <= lookupRODC
}

// lookupSids is LsarLookupSids, [MS-LSAT] 3.1.4.11, or LsarLookupSids2, 3.1.4.10.
func (s *service) lookupSids(r *rpc.Reader, w *rpc.Writer, two bool) nt.Status {
	sids := r.SIDs(maxSIDs)
	var l lookup
	d := s.directory()
	for _, sid := range sids {
		a, ok := d.bySID(sid)
		if !ok {
			a = Account{Name: sid.String(), Kind: KindUnknown}
		}
		l.add(a, ok)
	}
	noList(r)
	status := l.status()
	if !tail(r, two) {
		l, status = lookup{}, nt.InvalidParameter
	}
	l.writeDomains(w)
	l.list(w)
	for i, a := range l.found {
		w.U16(uint16(a.Kind))
		w.Text(a.Name)
		w.U32(uint32(l.index[i]))
		if two {
			w.U32(0) // found at once
		}
	}
	for _, a := range l.found {
		w.TextBody(a.Name)
	}
	w.U32(l.mapped)
	return status
}

// The forms in which names are answered: LSA_TRANSLATED_SID, LSAPR_TRANSLATED_SID_EX and _EX2, [MS-LSAT] 2.2.19-26.
const (
	sidsRID = iota
	sidsRIDFlags
	sidsWhole
)

// lookupNames is LsarLookupNames, [MS-LSAT] 3.1.4.8, LsarLookupNames2, 3.1.4.7, or LsarLookupNames3, 3.1.4.6.
func (s *service) lookupNames(r *rpc.Reader, w *rpc.Writer, form int) nt.Status {
	n := r.U32()
	if r.U32() != n || n > maxNames {
		r.Fail()
		return 0
	}
	follows := make([]bool, n)
	for i := range follows {
		follows[i] = r.Text()
	}
	var l lookup
	d := s.directory()
	for _, has := range follows {
		name := ""
		if has {
			name = r.String()
		}
		if r.Err() != nil {
			return 0
		}
		a, ok := d.byName(name)
		if !ok {
			a = Account{Kind: KindUnknown}
		}
		l.add(a, ok)
	}
	noList(r)
	status := l.status()
	if !tail(r, form != sidsRID) {
		l, status = lookup{}, nt.InvalidParameter
	}
	l.writeDomains(w)
	l.list(w)
	for i, a := range l.found {
		w.U16(uint16(a.Kind))
		if form == sidsWhole {
			w.Pointer(a.SID != "")
		} else {
			w.U32(rid(a))
		}
		w.U32(uint32(l.index[i]))
		if form != sidsRID {
			w.U32(0)
		}
	}
	if form == sidsWhole {
		for _, a := range l.found {
			if a.SID != "" {
				w.SID(a.SID)
			}
		}
	}
	w.U32(l.mapped)
	return status
}

// rid is the last part of an account's SID; a domain has none.
func rid(a Account) uint32 {
	switch a.Kind {
	case KindDomain:
		return 0xFFFFFFFF
	case KindUnknown:
		return 0
	}
	_, n := a.SID.Split()
	return n
}
