package lsarpc

import (
	"strings"

	"github.com/postern-nas/postern/smb/dtyp"
)

// A Kind is a SID_NAME_USE, [MS-LSAT] 2.2.13.
type Kind uint16

// Kinds of what a SID stands for.
const (
	KindUser      Kind = 1
	KindGroup     Kind = 2
	KindDomain    Kind = 3
	KindAlias     Kind = 4 // a local group
	KindWellKnown Kind = 5
	KindUnknown   Kind = 8
)

// An Account is what a SID stands for. The domain is that of the SID without its last part.
type Account struct {
	SID          dtyp.SID
	Domain, Name string
	Kind         Kind
}

const (
	authority = "NT AUTHORITY"
	builtin   = "BUILTIN"
)

// wellKnown are the same on every machine, [MS-DTYP] 2.4.2.4.
var wellKnown = []Account{
	{dtyp.Everyone, "", "Everyone", KindWellKnown},
	{dtyp.NewSID(2, 0), "", "LOCAL", KindWellKnown},
	{dtyp.CreatorOwner, "", "CREATOR OWNER", KindWellKnown},
	{dtyp.CreatorGroup, "", "CREATOR GROUP", KindWellKnown},
	{dtyp.OwnerRights, "", "OWNER RIGHTS", KindWellKnown},
	{dtyp.NewSID(5, 1), authority, "DIALUP", KindWellKnown},
	{dtyp.NewSID(5, 2), authority, "NETWORK", KindWellKnown},
	{dtyp.NewSID(5, 3), authority, "BATCH", KindWellKnown},
	{dtyp.NewSID(5, 4), authority, "INTERACTIVE", KindWellKnown},
	{dtyp.NewSID(5, 6), authority, "SERVICE", KindWellKnown},
	{dtyp.Anonymous, authority, "ANONYMOUS LOGON", KindWellKnown},
	{dtyp.NewSID(5, 9), authority, "ENTERPRISE DOMAIN CONTROLLERS", KindWellKnown},
	{dtyp.NewSID(5, 10), authority, "SELF", KindWellKnown},
	{dtyp.AuthenticatedUsers, authority, "Authenticated Users", KindWellKnown},
	{dtyp.NewSID(5, 12), authority, "RESTRICTED", KindWellKnown},
	{dtyp.NewSID(5, 13), authority, "TERMINAL SERVER USER", KindWellKnown},
	{dtyp.NewSID(5, 14), authority, "REMOTE INTERACTIVE LOGON", KindWellKnown},
	{dtyp.NewSID(5, 15), authority, "This Organization", KindWellKnown},
	{dtyp.LocalSystem, authority, "SYSTEM", KindWellKnown},
	{dtyp.NewSID(5, 19), authority, "LOCAL SERVICE", KindWellKnown},
	{dtyp.NewSID(5, 20), authority, "NETWORK SERVICE", KindWellKnown},
	{dtyp.NewSID(5, 32), builtin, builtin, KindDomain},
	{dtyp.Administrators, builtin, "Administrators", KindAlias},
	{dtyp.BuiltinUsers, builtin, "Users", KindAlias},
	{dtyp.NewSID(5, 32, 546), builtin, "Guests", KindAlias},
	{dtyp.NewSID(5, 32, 547), builtin, "Power Users", KindAlias},
	{dtyp.NewSID(5, 32, 551), builtin, "Backup Operators", KindAlias},
	{dtyp.NewSID(5, 113), authority, "Local account", KindWellKnown},
	{dtyp.NewSID(5, 114), authority, "Local account and member of Administrators group", KindWellKnown},
}

// A directory is all that has a name, put in order once for all the names of one lookup.
type directory struct {
	sids  map[dtyp.SID]Account
	names map[string][]Account // by name in capitals, those that every machine has first
}

func (s *service) directory() *directory {
	machine, domain := s.src.Machine()
	d := &directory{sids: make(map[dtyp.SID]Account), names: make(map[string][]Account)}
	add := func(a Account) {
		if _, taken := d.sids[a.SID]; !taken {
			d.sids[a.SID] = a
		}
		name := strings.ToUpper(a.Name)
		d.names[name] = append(d.names[name], a)
	}
	for _, a := range wellKnown { // first: nobody becomes Everyone by a name, [MS-LSAT] 3.1.1.1.1
		add(a)
	}
	for _, a := range s.src.Accounts() {
		a.Domain = machine
		if parent, _ := a.SID.Split(); parent == domain {
			add(a)
		}
	}
	add(Account{domain, machine, machine, KindDomain})
	return d
}

// bySID finds what a SID stands for.
func (d *directory) bySID(sid dtyp.SID) (Account, bool) {
	a, ok := d.sids[sid]
	return a, ok
}

// byName finds DOMAIN\name, name@domain, or a name alone: case makes no difference. A domain without a name is the
// domain, and nothing at all is BUILTIN, as on Windows.
func (d *directory) byName(text string) (Account, bool) {
	domain, name, qualified := strings.Cut(text, `\`)
	if !qualified {
		if name, domain, qualified = strings.Cut(text, "@"); !qualified {
			domain, name = "", text
		}
	}
	if name == "" {
		if domain == "" {
			domain = builtin
		}
		name = domain
	}
	for _, a := range d.names[strings.ToUpper(name)] {
		if !qualified || strings.EqualFold(a.Domain, domain) {
			return a, true
		}
	}
	return Account{}, false
}
