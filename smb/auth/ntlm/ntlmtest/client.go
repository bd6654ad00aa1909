// Package ntlmtest is the client's side of NTLMv2 for tests. It shares no code with the server's side, and it can be
// told to misbehave.
package ntlmtest

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/rand"
	"crypto/rc4"
	"encoding/binary"
	"errors"
	"strings"
	"unicode/utf16"

	"golang.org/x/crypto/md4" //lint:ignore SA1019 NTLM is made of it
)

// Flags that the client proposes: what Windows does, without a request to seal.
const Flags = 0xE2088215

// A Client logs on once: Negotiate, then Authenticate with the server's CHALLENGE. Both make bare NTLM messages.
type Client struct {
	User, Password, Domain, Workstation string

	Target   string // MsvAvTargetName, such as cifs/nas; empty: none is sent
	Bindings []byte // application data of the channel bindings; nil: the hash is all zero
	NoMIC    bool   // neither send a MIC nor say so

	Anonymous bool // give no name and prove nothing

	// EditAV changes the AV pairs, without their end, before the response is made over them; Edit the whole
	// message before its MIC.
	EditAV func(pairs []byte) []byte
	Edit   func(*Message)

	negotiate  []byte
	key        []byte
	mine, its  *rc4.Cipher
	sign, sigs []byte
	sent, got  uint32
}

// A Message is an AUTHENTICATE_MESSAGE before it is encoded. Names are UTF-16LE.
type Message struct {
	LM, NT                    []byte
	Domain, User, Workstation []byte
	SessionKey                []byte
	Flags                     uint32
}

// Negotiate returns the NEGOTIATE_MESSAGE.
func (c *Client) Negotiate() []byte {
	b := append([]byte("NTLMSSP\x00"), 1, 0, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, Flags)
	b = append(b, make([]byte, 16)...) // no domain, no workstation
	b = append(b, 10, 0, 0, 0, 0, 0, 0, 15)
	c.negotiate = b
	return append([]byte(nil), b...)
}

// Authenticate returns the AUTHENTICATE_MESSAGE that answers a CHALLENGE_MESSAGE.
func (c *Client) Authenticate(challenge []byte) ([]byte, error) {
	if len(challenge) < 56 || string(challenge[:12]) != "NTLMSSP\x00\x02\x00\x00\x00" {
		return nil, errors.New("ntlmtest: no CHALLENGE")
	}
	flags := binary.LittleEndian.Uint32(challenge[20:])
	nonce := challenge[24:32]
	n, off := int(binary.LittleEndian.Uint16(challenge[40:])), int(binary.LittleEndian.Uint32(challenge[44:]))
	if n < 4 || off < 48 || off+n > len(challenge) {
		return nil, errors.New("ntlmtest: no target information in the CHALLENGE")
	}
	info := challenge[off : off+n]

	// The server's AV pairs without their end, then ours.
	pairs := append([]byte(nil), info[:n-4]...)
	av := func(id uint16, value []byte) {
		pairs = binary.LittleEndian.AppendUint16(pairs, id)
		pairs = binary.LittleEndian.AppendUint16(pairs, uint16(len(value)))
		pairs = append(pairs, value...)
	}
	if !c.NoMIC {
		av(6, []byte{2, 0, 0, 0})
	}
	av(10, c.bindings())
	if c.Target != "" {
		av(9, encode(c.Target))
	}
	if c.EditAV != nil {
		pairs = c.EditAV(pairs)
	}
	stamp := timestamp(info)

	temp := append([]byte{1, 1, 0, 0, 0, 0, 0, 0}, stamp...)
	random := make([]byte, 24)
	rand.Read(random)
	temp = append(temp, random[:8]...)
	temp = append(temp, 0, 0, 0, 0)
	temp = append(temp, pairs...)
	temp = append(temp, 0, 0, 0, 0) // the end of the pairs
	temp = append(temp, 0, 0, 0, 0) // and the four bytes behind it

	h := md4.New()
	h.Write(encode(c.Password))
	owf := mac(h.Sum(nil), encode(strings.ToUpper(c.User)), encode(c.Domain))
	proof := mac(owf, nonce, temp)
	base := mac(owf, proof)
	if c.Anonymous {
		base = make([]byte, 16)
	}
	c.key = random[8:]
	wrapped := make([]byte, 16)
	stream(base).XORKeyStream(wrapped, c.key)

	m := Message{
		LM: make([]byte, 24), NT: append(proof, temp...),
		Domain: encode(c.Domain), User: encode(c.User), Workstation: encode(c.Workstation),
		SessionKey: wrapped, Flags: flags & Flags,
	}
	if c.Anonymous {
		m.LM, m.NT, m.Domain, m.User = []byte{0}, nil, nil, nil
	}
	if c.Edit != nil {
		c.Edit(&m)
	}
	b := m.encode()
	if !c.NoMIC {
		copy(b[72:88], mac(c.key, c.negotiate, challenge, b))
	}
	derive := func(way, purpose string) []byte {
		k := md5.Sum(append(append([]byte(nil), c.key...), "session key to "+way+" "+purpose+" key magic constant\x00"...))
		return k[:]
	}
	c.sign, c.mine = derive("client-to-server", "signing"), stream(derive("client-to-server", "sealing"))
	c.sigs, c.its = derive("server-to-client", "signing"), stream(derive("server-to-client", "sealing"))
	return b, nil
}

// SessionKey returns the key that both sides hold after Authenticate.
func (c *Client) SessionKey() []byte { return append([]byte(nil), c.key...) }

// MIC signs the client's next message.
func (c *Client) MIC(message []byte) []byte {
	c.sent++
	return signature(c.sign, c.mine, c.sent-1, message)
}

// VerifyMIC checks the signature of the server's next message.
func (c *Client) VerifyMIC(message, mic []byte) bool {
	c.got++
	return hmac.Equal(signature(c.sigs, c.its, c.got-1, message), mic)
}

func signature(key []byte, seal *rc4.Cipher, seq uint32, message []byte) []byte {
	n := binary.LittleEndian.AppendUint32(nil, seq)
	b := append([]byte{1, 0, 0, 0}, mac(key, n, message)[:8]...)
	seal.XORKeyStream(b[4:], b[4:])
	return append(b, n...)
}

func (c *Client) bindings() []byte {
	sum := make([]byte, 16)
	if c.Bindings != nil {
		b := binary.LittleEndian.AppendUint32(make([]byte, 16), uint32(len(c.Bindings)))
		h := md5.Sum(append(b, c.Bindings...))
		copy(sum, h[:])
	}
	return sum
}

func (m *Message) encode() []byte {
	const fixed = 88
	var payload []byte
	b := append([]byte("NTLMSSP\x00"), 3, 0, 0, 0)
	for _, f := range [][]byte{m.LM, m.NT, m.Domain, m.User, m.Workstation, m.SessionKey} {
		b = binary.LittleEndian.AppendUint16(b, uint16(len(f)))
		b = binary.LittleEndian.AppendUint16(b, uint16(len(f)))
		b = binary.LittleEndian.AppendUint32(b, uint32(fixed+len(payload)))
		payload = append(payload, f...)
	}
	b = binary.LittleEndian.AppendUint32(b, m.Flags)
	b = append(b, 10, 0, 0, 0, 0, 0, 0, 15)
	b = append(b, make([]byte, 16)...) // the MIC
	return append(b, payload...)
}

// timestamp finds MsvAvTimestamp in the server's pairs.
func timestamp(info []byte) []byte {
	for len(info) >= 4 {
		id, n := binary.LittleEndian.Uint16(info), int(binary.LittleEndian.Uint16(info[2:]))
		if info = info[4:]; n > len(info) {
			break
		}
		if id == 7 && n == 8 {
			return info[:8]
		}
		info = info[n:]
	}
	return make([]byte, 8)
}

func encode(s string) []byte {
	b := []byte{}
	for _, u := range utf16.Encode([]rune(s)) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return b
}

func mac(key []byte, parts ...[]byte) []byte {
	h := hmac.New(md5.New, key)
	for _, p := range parts {
		h.Write(p)
	}
	return h.Sum(nil)
}

func stream(key []byte) *rc4.Cipher {
	c, err := rc4.NewCipher(key)
	if err != nil {
		panic(err) // every key here is an MD5
	}
	return c
}
