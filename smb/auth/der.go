package auth

import (
	"encoding/asn1"

	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"
)

// The tokens of RFC 4178 and [MS-SPNG] in DER. cryptobyte refuses indefinite and non-minimal lengths; nothing here
// recurses, so a token is as deep as these functions are; and nothing is copied but object identifiers.

// negHint is the text that Windows has sent since Vista; [MS-SPNG] 2.2.1 fixes it.
const negHint = "not_defined_in_RFC4178@please_ignore"

var (
	tagGSS = der.Tag(0x60) // [APPLICATION 0], constructed
	tag0   = der.Tag(0).ContextSpecific().Constructed()
	tag1   = der.Tag(1).ContextSpecific().Constructed()
	tag2   = der.Tag(2).ContextSpecific().Constructed()
	tag3   = der.Tag(3).ContextSpecific().Constructed()
)

// parseGSS reads the frame of an initial token, RFC 2743 3.1: a mechanism and what it has to say.
func parseGSS(token []byte) (oid asn1.ObjectIdentifier, body cryptobyte.String, err error) {
	s := cryptobyte.String(token)
	if !s.ReadASN1(&body, tagGSS) || !s.Empty() || !readOID(&body, &oid) {
		return nil, nil, errToken
	}
	return oid, body, nil
}

// readOID reads an object identifier. One too long for any mechanism is nil: it is not decoded, as every byte
// could become an integer.
func readOID(s *cryptobyte.String, oid *asn1.ObjectIdentifier) bool {
	var el cryptobyte.String
	if !s.ReadASN1Element(&el, der.OBJECT_IDENTIFIER) {
		return false
	}
	*oid = nil
	return len(el) > maxOID || el.ReadASN1ObjectIdentifier(oid)
}

// An initToken is a NegTokenInit, RFC 4178 4.2.1.
type initToken struct {
	mechTypes []byte // the whole MechTypeList as it was encoded
	mechs     []asn1.ObjectIdentifier
	token     []byte
	mic       []byte
}

func parseInit(s cryptobyte.String) (t initToken, err error) {
	var choice, seq, mechs cryptobyte.String
	if !s.ReadASN1(&choice, tag0) || !s.Empty() || !choice.ReadASN1(&seq, der.SEQUENCE) || !choice.Empty() ||
		!seq.ReadASN1(&mechs, tag0) {
		return t, errToken
	}
	t.mechTypes = mechs
	var list cryptobyte.String
	if !mechs.ReadASN1(&list, der.SEQUENCE) || !mechs.Empty() || list.Empty() {
		return t, errToken
	}
	for !list.Empty() {
		var oid asn1.ObjectIdentifier
		if len(t.mechs) == maxMechs || !readOID(&list, &oid) {
			return t, errToken
		}
		t.mechs = append(t.mechs, oid)
	}
	// reqFlags are for no one: RFC 4178 says to ignore them.
	if !seq.SkipOptionalASN1(tag1) || !readOctets(&seq, &t.token, tag2) || !readOctets(&seq, &t.mic, tag3) || !seq.Empty() {
		return t, errToken
	}
	return t, nil
}

// A resp is a NegTokenResp, RFC 4178 4.2.2.
type resp struct {
	state negState
	mech  asn1.ObjectIdentifier
	token []byte
	mic   []byte
}

func parseResp(token []byte) (r resp, err error) {
	r.state = acceptIncomplete
	s := cryptobyte.String(token)
	var choice, seq, field cryptobyte.String
	if !s.ReadASN1(&choice, tag1) || !s.Empty() || !choice.ReadASN1(&seq, der.SEQUENCE) || !choice.Empty() {
		return r, errToken
	}
	var has bool
	if !seq.ReadOptionalASN1(&field, &has, tag0) {
		return r, errToken
	}
	if has {
		var state int
		if !field.ReadASN1Enum(&state) || !field.Empty() || state < 0 || state > int(requestMIC) {
			return r, errToken
		}
		r.state = negState(state)
	}
	// supportedMech is the acceptor's to say.
	if !seq.SkipOptionalASN1(tag1) || !readOctets(&seq, &r.token, tag2) || !readOctets(&seq, &r.mic, tag3) || !seq.Empty() {
		return r, errToken
	}
	return r, nil
}

// readOctets reads an optional OCTET STRING within an explicit tag. It stays nil when it is absent.
func readOctets(s *cryptobyte.String, out *[]byte, tag der.Tag) bool {
	var field, octets cryptobyte.String
	var has bool
	if !s.ReadOptionalASN1(&field, &has, tag) {
		return false
	}
	if !has {
		return true
	}
	if !field.ReadASN1(&octets, der.OCTET_STRING) || !field.Empty() {
		return false
	}
	*out = octets
	return true
}

// appendResp encodes r; fields that are nil are left out.
func appendResp(r resp) []byte {
	var b cryptobyte.Builder
	b.AddASN1(tag1, func(b *cryptobyte.Builder) {
		b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1(tag0, func(b *cryptobyte.Builder) { b.AddASN1Enum(int64(r.state)) })
			if r.mech != nil {
				b.AddASN1(tag1, func(b *cryptobyte.Builder) { b.AddASN1ObjectIdentifier(r.mech) })
			}
			addOctets(b, tag2, r.token)
			addOctets(b, tag3, r.mic)
		})
	})
	return b.BytesOrPanic() // everything in it is ours or has been parsed before
}

func addOctets(b *cryptobyte.Builder, tag der.Tag, octets []byte) {
	if octets != nil {
		b.AddASN1(tag, func(b *cryptobyte.Builder) { b.AddASN1OctetString(octets) })
	}
}

// appendInit2 encodes the server's opening NegTokenInit2.
func appendInit2(mechs []asn1.ObjectIdentifier) []byte {
	var b cryptobyte.Builder
	b.AddASN1(tagGSS, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(OIDSPNEGO)
		b.AddASN1(tag0, func(b *cryptobyte.Builder) {
			b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1(tag0, func(b *cryptobyte.Builder) {
					b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
						for _, oid := range mechs {
							b.AddASN1ObjectIdentifier(oid)
						}
					})
				})
				b.AddASN1(tag3, func(b *cryptobyte.Builder) {
					b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
						b.AddASN1(tag0, func(b *cryptobyte.Builder) {
							b.AddASN1(der.GeneralString, func(b *cryptobyte.Builder) { b.AddBytes([]byte(negHint)) })
						})
					})
				})
			})
		})
	})
	return b.BytesOrPanic()
}
