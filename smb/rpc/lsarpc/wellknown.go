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
	{dtyp.NewSID(5, 2), authority, "NETWORK", KindWellKnown},
	{dtyp.NewSID(5, 3), authority, "BATCH", KindWellKnown},
	{dtyp.NewSID(5, 4), authority, "INTERACTIVE", KindWellKnown},
	{dtyp.NewSID(5, 6), authority, "SERVICE", KindWellKnown},
	{dtyp.Anonymous, authority, "ANONYMOUS LOGON", KindWellKnown},
	{dtyp.NewSID(5, 10), authority, "SELF", KindWellKnown},
	{dtyp.AuthenticatedUsers, authority, "Authenticated Users", KindWellKnown},
	{dtyp.LocalSystem, authority, "SYSTEM", KindWellKnown},
	{dtyp.NewSID(5, 19), authority, "LOCAL SERVICE", KindWellKnown},
	{dtyp.NewSID(5, 20), authority, "NETWORK SERVICE", KindWellKnown},
	{dtyp.NewSID(5, 32), builtin, builtin, KindDomain},
	{dtyp.Administrators, builtin, "Administrators", KindAlias},
	{dtyp.BuiltinUsers, builtin, "Users", KindAlias},
	{dtyp.NewSID(5, 32, 546), builtin, "Guests", KindAlias},
	{dtyp.NewSID(5, 32, 551), builtin, "Backup Operators", KindAlias},
}

// bySID finds what a SID stands for.
func (s *service) bySID(sid dtyp.SID) (Account, bool) {
	for _, a := range wellKnown {
		if a.SID == sid {
			return a, true
		}
	}
	machine, domain := s.src.Machine()
	if sid == domain {
		return Account{domain, machine, machine, KindDomain}, true
	}
	if parent, _ := sid.Split(); parent != domain {
		return Account{}, false
	}
	for _, a := range s.src.Accounts() {
		if a.SID == sid {
			a.Domain = machine
			return a, true
		}
	}
	return Account{}, false
}

// byName finds DOMAIN\name, name@domain, or a name alone: case makes no difference. A domain without a name is the
// domain, and nothing at all is BUILTIN, as on Windows.
func (s *service) byName(text string) (Account, bool) {
	machine, sid := s.src.Machine()
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
	match := func(a Account) bool {
		return strings.EqualFold(a.Name, name) && (!qualified || strings.EqualFold(a.Domain, domain))
	}
	for _, a := range s.src.Accounts() {
		if a.Domain = machine; match(a) {
			return a, true
		}
	}
	for _, a := range append([]Account{{sid, machine, machine, KindDomain}}, wellKnown...) {
		if match(a) {
			return a, true
		}
	}
	return Account{}, false
}
