package quic_test

import (
	"crypto/x509"
	"errors"
	"strings"
	"testing"

	"github.com/postern-nas/postern/quic"
	"github.com/postern-nas/postern/quic/quictest"
)

// A list is written as words: + allows and - denies; a name is a certificate by its hash, a name in brackets an issuer.
// The client sends its leaf and the intermediate; the root is not sent ([MS-SMB2] 3.3.1.18). The last three are what the
// specification says of its example chain.
func TestAccessTable(t *testing.T) {
	root := quictest.NewCA("root")
	inter := root.Sub("inter")
	leaf := inter.Client("leaf").Leaf
	elsewhere := quictest.NewCA("root") // another authority of the same name
	certs := map[string]*x509.Certificate{
		"leaf": leaf, "inter": inter.Cert, "root": root.Cert, "other": inter.Client("other").Leaf, "elsewhere": elsewhere.Cert,
	}
	both, alone := []*x509.Certificate{leaf, inter.Cert}, []*x509.Certificate{leaf}
	direct := []*x509.Certificate{root.Client("direct").Leaf}
	three := []*x509.Certificate{leaf, inter.Cert, root.Cert}
	for _, test := range []struct {
		list    string
		sent    []*x509.Certificate
		granted bool
	}{
		{"", both, false},
		{"+leaf", both, true},
		{"+inter", both, true},
		{"+root", both, false},
		{"+[inter]", both, true},
		{"+[root]", both, true},
		{"+[leaf]", both, false},
		{"+other", both, false},
		{"+[other]", both, false},
		{"-leaf", both, false},
		{"-inter", both, false},
		{"-root", both, false},
		{"-[root]", both, false},
		{"-other", both, false},
		{"+leaf -leaf", both, false},
		{"-leaf +leaf", both, false},
		{"+leaf -inter", both, false},
		{"+leaf -[inter]", both, false},
		{"+leaf -[root]", both, false},
		{"+leaf -root", both, true},
		{"+leaf -other", both, true},
		{"+leaf -[other]", both, true},
		{"+inter -leaf", both, false},
		{"+inter -other", both, true},
		{"+[inter] -leaf", both, false},
		{"+[inter] -other", both, true},
		{"+[inter] -[root]", both, false},
		{"+[root] -[inter]", both, false},
		{"+[root] -inter", both, false},
		{"+leaf +inter +[inter] +[root] -other", both, true},
		{"+leaf +inter +[inter] +[root] -leaf", both, false},
		{"+other +other +other +leaf", both, true},
		// What is not sent cannot match: without the intermediate, its issuer is not known either.
		{"+leaf", alone, true},
		{"+inter", alone, false},
		{"+[inter]", alone, true},
		{"+[root]", alone, false},
		{"+leaf -inter", alone, true},
		{"+leaf -[root]", alone, true},
		{"+leaf -[inter]", alone, false},
		// A leaf right under the root.
		{"+[root]", direct, true},
		{"+[inter]", direct, false},
		{"+[root] -root", direct, true},
		{"+[root] -leaf", direct, true},
		// A root that is sent matches by its hash, and is its own issuer.
		{"+root", three, true},
		{"+leaf -root", three, false},
		{"+[root] -elsewhere", three, true}, // a hash tells authorities of one name apart
		{"+elsewhere", three, false},
		// Nobody.
		{"+leaf +[root]", nil, false},
		{"-leaf", nil, false},
		// The specification's examples.
		{"+[root] -leaf", both, false},
		{"+leaf -inter", both, false},
		{"-root +[root]", both, true},
	} {
		var list quic.AccessList
		for _, word := range strings.Fields(test.list) {
			e := quic.AccessEntry{Deny: word[0] == '-'}
			if name, ok := strings.CutPrefix(word[1:], "["); ok {
				e.Issuer = issuer(t, "CN="+strings.TrimSuffix(name, "]")+", O=Postern")
			} else {
				e.SHA256 = sha(certs[word[1:]])
			}
			list = append(list, e)
		}
		err := list.Check(test.sent)
		if test.granted != (err == nil) || err != nil && !errors.Is(err, quic.ErrAccessDenied) {
			t.Errorf("%q for %d certificates: %v", test.list, len(test.sent), err)
		}
		allow, deny, err := list.Matches(test.sent)
		if err != nil || test.granted != (len(allow) > 0 && len(deny) == 0) {
			t.Errorf("%q: %v, %v, %v", test.list, allow, deny, err)
		}
	}
}

// What String writes is read back as the same.
func TestNameString(t *testing.T) {
	for _, s := range []string{
		"CN=Contoso CA, DC=Contoso, DC=com", `CN="a, ""b"" = c", O=x`, `CN="back\slash"`, "CN=\"\"", "1.2.3.4=x", "S=y, E=a@b", `CN=" x "`, `CN="#1"`,
	} {
		n := issuer(t, s)
		if n.String() != s {
			t.Errorf("%s is written %s", s, n)
		}
		if !issuer(t, n.String()).Equal(n) {
			t.Errorf("%s is read back as another", n)
		}
	}
	if s := (quic.AccessEntry{Deny: true, SHA256: [32]byte{0xAB}}).String(); !strings.HasPrefix(s, "deny SHA256 AB00") || len(s) != 76 {
		t.Error(s)
	}
	if s := (quic.AccessEntry{Issuer: issuer(t, "CN=x")}).String(); s != "allow ISSUER CN=x" {
		t.Error(s)
	}
}
