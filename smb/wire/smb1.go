package wire

import "bytes"

// What an SMB1 NEGOTIATE says to reach an SMB2 server, [MS-SMB2] 3.3.5.3.
const (
	SMB1Dialect202  = "SMB 2.002"
	SMB1DialectWild = "SMB 2.???"
)

// maxSMB1Dialects is several times of what any client ever offered.
const maxSMB1Dialects = 64

// DecodeSMB1Negotiate reads the SMB1 NEGOTIATE request with which a client that still speaks SMB1 opens a TCP
// connection, [MS-CIFS] 2.2.4.52.1.
func DecodeSMB1Negotiate(msg []byte) (dialects []string, err error) {
	const header = 32
	d := nested(msg, "SMB1 NEGOTIATE request", header+3)
	if d.U32() != ProtocolSMB1 {
		d.refuse("Protocol", "not SMB1")
	}
	if d.U8() != 0x72 {
		d.refuse("Command", "not NEGOTIATE")
	}
	d.Seek(header)
	if d.U8() != 0 {
		d.refuse("WordCount", "not 0")
	}
	list := d.Bytes(int(d.U16()))
	if d.Err() != nil {
		return nil, d.done()
	}
	for len(list) > 0 {
		end := bytes.IndexByte(list, 0)
		if list[0] != 2 || end < 0 || len(dialects) == maxSMB1Dialects {
			return nil, &Error{d.name, "Dialects", "malformed"}
		}
		dialects = append(dialects, string(list[1:end]))
		list = list[end+1:]
	}
	return dialects, nil
}

// AppendSMB1Negotiate appends the whole of such a request, header included.
func AppendSMB1Negotiate(b []byte, dialects ...string) []byte {
	b = append(u32(b, ProtocolSMB1), 0x72)
	b = append(b, make([]byte, 32-5+1)...)
	n := 0
	for _, s := range dialects {
		n += len(s) + 2
	}
	b = u16(b, uint16(n))
	for _, s := range dialects {
		b = append(append(append(b, 2), s...), 0)
	}
	return b
}
