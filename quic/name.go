package quic

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A Name is an X.500 distinguished name: its attributes as written, most specific first ("CN=..., O=..., C=...").
type Name []Attribute

// An Attribute is one part of a Name: the type as a dotted object identifier, and its value.
type Attribute struct{ Type, Value string }

// attributeTypes are the short names that Windows writes, and those of RFC 4514, in upper case.
var attributeTypes = map[string]string{
	"CN": "2.5.4.3", "SN": "2.5.4.4", "SERIALNUMBER": "2.5.4.5", "C": "2.5.4.6", "L": "2.5.4.7",
	"S": "2.5.4.8", "ST": "2.5.4.8", "STREET": "2.5.4.9", "O": "2.5.4.10", "OU": "2.5.4.11",
	"T": "2.5.4.12", "TITLE": "2.5.4.12", "G": "2.5.4.42", "GN": "2.5.4.42", "I": "2.5.4.43",
	"DC": "0.9.2342.19200300.100.1.25", "UID": "0.9.2342.19200300.100.1.1",
	"E": "1.2.840.113549.1.9.1", "EMAIL": "1.2.840.113549.1.9.1", "EMAILADDRESS": "1.2.840.113549.1.9.1",
}

const maxName = 4096 // bytes of a name's text

// ParseName reads a name as Windows and RFC 4514 write it: "CN=Contoso CA, DC=Contoso, DC=com". Values may be in
// double quotes (a doubled one stands for one), or have \ before a special character or two hexadecimal digits. A
// multi-valued part ("CN=a+O=b") counts as its parts in a row.
func ParseName(s string) (Name, error) {
	if len(s) > maxName {
		return nil, fmt.Errorf("name is longer than %d bytes", maxName)
	}
	var name Name
	for rest := s; ; {
		key, after, ok := strings.Cut(rest, "=")
		if !ok {
			return nil, fmt.Errorf("name %q: no '=' in %q", s, rest)
		}
		oid, err := attributeType(strings.TrimSpace(key))
		if err != nil {
			return nil, fmt.Errorf("name %q: %w", s, err)
		}
		value, tail, more, err := attributeValue(after)
		if err != nil {
			return nil, fmt.Errorf("name %q: %w", s, err)
		}
		name = append(name, Attribute{Type: oid, Value: value})
		if !more {
			return name, nil
		}
		rest = tail
	}
}

// shortNames are what String writes; each is in attributeTypes.
var shortNames = map[string]string{
	"2.5.4.3": "CN", "2.5.4.5": "SERIALNUMBER", "2.5.4.6": "C", "2.5.4.7": "L", "2.5.4.8": "S", "2.5.4.9": "STREET",
	"2.5.4.10": "O", "2.5.4.11": "OU", "0.9.2342.19200300.100.1.25": "DC", "1.2.840.113549.1.9.1": "E",
}

// String writes a name as Windows does; ParseName reads it back.
func (n Name) String() string {
	var b strings.Builder
	for i, a := range n {
		if i > 0 {
			b.WriteString(", ")
		}
		key := a.Type
		if short, ok := shortNames[key]; ok {
			key = short
		}
		b.WriteString(key + "=")
		if a.Value == "" || strings.ContainsAny(a.Value, `,;+="\\<>#`) || strings.TrimSpace(a.Value) != a.Value {
			b.WriteString(`"` + strings.ReplaceAll(a.Value, `"`, `""`) + `"`)
		} else {
			b.WriteString(a.Value)
		}
	}
	return b.String()
}

func attributeType(key string) (string, error) {
	if oid, ok := attributeTypes[strings.ToUpper(key)]; ok {
		return oid, nil
	}
	dotted := key
	if len(key) > 4 && strings.EqualFold(key[:4], "OID.") {
		dotted = key[4:]
	}
	parts := strings.Split(dotted, ".")
	for _, p := range parts {
		if p == "" || strings.Trim(p, "0123456789") != "" {
			return "", fmt.Errorf("unknown attribute %q", key)
		}
	}
	if len(parts) < 2 {
		return "", fmt.Errorf("unknown attribute %q", key)
	}
	return dotted, nil
}

// attributeValue reads a value up to the separator (',', ';' or '+') that follows it. more says that there was one.
func attributeValue(s string) (value, tail string, more bool, err error) {
	s = strings.TrimLeft(s, " ")
	var b strings.Builder
	if strings.HasPrefix(s, `"`) {
		s = s[1:]
		for {
			i := strings.IndexByte(s, '"')
			if i < 0 {
				return "", "", false, errors.New("a quoted value does not end")
			}
			b.WriteString(s[:i])
			s = s[i+1:]
			if !strings.HasPrefix(s, `"`) {
				break
			}
			b.WriteByte('"')
			s = s[1:]
		}
		s = strings.TrimLeft(s, " ")
		if s == "" {
			return b.String(), "", false, nil
		}
		if !strings.ContainsRune(",;+", rune(s[0])) {
			return "", "", false, errors.New("text after a quoted value")
		}
		return b.String(), s[1:], true, nil
	}

	keep := 0 // length up to the last character that is no unescaped space
	for i := 0; i < len(s); i++ {
		switch c := s[i]; c {
		case ',', ';', '+':
			return b.String()[:keep], s[i+1:], true, nil
		case '"':
			return "", "", false, errors.New("a quote within a value")
		case '\\':
			i++
			if i >= len(s) {
				return "", "", false, errors.New(`a value ends in \`)
			}
			if i+1 < len(s) {
				if two, err := hex.DecodeString(s[i : i+2]); err == nil {
					b.Write(two)
					i++
					keep = b.Len()
					continue
				}
			}
			b.WriteByte(s[i])
			keep = b.Len()
		default:
			b.WriteByte(c)
			if c != ' ' {
				keep = b.Len()
			}
		}
	}
	return b.String()[:keep], "", false, nil
}

// Equal compares names by attributes, not by text: type by type, values without regard to case and runs of spaces.
// Certificates hold a name in the order opposite to the one it is written in, but tools differ, so that a name also
// equals its reverse.
func (n Name) Equal(o Name) bool {
	if len(n) != len(o) {
		return false
	}
	same := func(a, b Attribute) bool {
		return a.Type == b.Type && strings.EqualFold(folded(a.Value), folded(b.Value))
	}
	if slices.EqualFunc(n, o, same) {
		return true
	}
	reversed := slices.Clone(o)
	slices.Reverse(reversed)
	return slices.EqualFunc(n, reversed, same)
}

func folded(v string) string { return strings.Join(strings.Fields(v), " ") }

// issuerOf is a certificate's issuer as a Name.
func issuerOf(cert *x509.Certificate) (Name, error) {
	var rdns pkix.RDNSequence
	rest, err := asn1.Unmarshal(cert.RawIssuer, &rdns)
	if err != nil || len(rest) > 0 {
		return nil, fmt.Errorf("issuer of %q cannot be read: %w", cert.Subject, errors.Join(err, errTrailing(rest)))
	}
	var name Name
	for _, rdn := range slices.Backward(rdns) {
		for _, a := range rdn {
			value, ok := a.Value.(string)
			if !ok {
				return nil, fmt.Errorf("issuer of %q has a value that is no text", cert.Subject)
			}
			name = append(name, Attribute{Type: a.Type.String(), Value: value})
		}
	}
	return name, nil
}

func errTrailing(rest []byte) error {
	if len(rest) > 0 {
		return errors.New("bytes after its end")
	}
	return nil
}
