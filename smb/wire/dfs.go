package wire

import (
	"strings"

	"github.com/postern-nas/postern/smb/cursor"
)

// MaxReferralLevel is the newest form of referral there is, [MS-DFSC] 2.2.5.4.
const MaxReferralLevel = 4

// A ReferralRequest is REQ_GET_DFS_REFERRAL, [MS-DFSC] 2.2.2, the input of FsctlDFSGetReferrals, or with DecodeEx and
// AppendEx REQ_GET_DFS_REFERRAL_EX, [MS-DFSC] 2.2.3, that of FsctlDFSGetReferralsEx.
type ReferralRequest struct {
	MaxLevel uint16
	Path     string // \server\share\rest
	Site     string // Ex only, and optional
}

// referralSite is the flag of RequestFlags that a SiteName is there.
const referralSite uint16 = 1

func (r *ReferralRequest) Decode(data []byte) error {
	d := nested(data, "REQ_GET_DFS_REFERRAL", 4)
	*r = ReferralRequest{MaxLevel: d.U16()}
	r.Path = d.terminated("RequestFileName", d.Rest())
	return d.done()
}

// DecodeEx reads the extended form.
func (r *ReferralRequest) DecodeEx(data []byte) error {
	d := nested(data, "REQ_GET_DFS_REFERRAL_EX", 10)
	*r = ReferralRequest{MaxLevel: d.U16()}
	flags := d.U16()
	if n := d.U32(); uint64(n) > uint64(d.Len()) {
		d.refuse("RequestDataLength", reasonShort)
	}
	r.Path = d.terminated("RequestFileName", d.data(int(d.U16())))
	if flags&referralSite != 0 {
		r.Site = d.terminated("SiteName", d.data(int(d.U16())))
	}
	return d.done()
}

// terminated decodes UTF-16 up to its end or the first zero.
func (d *body) terminated(field string, b []byte) string {
	s, err := cursor.UTF16(b)
	if err != nil {
		d.refuse(field, err.Error())
	}
	s, _, _ = strings.Cut(s, "\x00")
	return s
}

func (r *ReferralRequest) Append(b []byte) []byte {
	return u16(cursor.AppendUTF16(u16(b, r.MaxLevel), r.Path), 0)
}

// AppendEx appends the extended form.
func (r *ReferralRequest) AppendEx(b []byte) []byte {
	path := u16(cursor.AppendUTF16(nil, r.Path), 0)
	data := append(u16(nil, uint16(len(path))), path...)
	flags := uint16(0)
	if r.Site != "" {
		site := u16(cursor.AppendUTF16(nil, r.Site), 0)
		data = append(u16(data, uint16(len(site))), site...)
		flags = referralSite
	}
	return append(u32(u16(u16(b, r.MaxLevel), flags), uint32(len(data))), data...)
}

// Flags of a referral's header, [MS-DFSC] 2.2.4.
const (
	ReferralServers uint32 = 1 // all targets can answer further requests
	StorageServers  uint32 = 2 // all targets can be opened without further requests
)

// ReferralBoundary is the flag of a version 4 entry that begins a set of targets.
const ReferralBoundary uint16 = 4

// A ReferralResponse is RESP_GET_DFS_REFERRAL, [MS-DFSC] 2.2.4, with entries of one version, [MS-DFSC] 2.2.5: all are for
// the same path.
type ReferralResponse struct {
	PathConsumed uint16 // bytes of UTF-16 of the request's path that Path stands for
	Flags        uint32
	Version      uint16
	Root         bool   // targets are of a root, not of a link
	TTL          uint32 // seconds; not in version 1
	Path         string // not in version 1
	Targets      []string
}

// Lengths of entries without their strings.
const (
	referralV1 = 8
	referralV2 = 22
	referralV3 = 34 // and 4
)

// Append appends the response. It is the caller's to keep it below the 64 KiB that offsets reach.
func (r *ReferralResponse) Append(b []byte) []byte {
	b = u32(u16(u16(b, r.PathConsumed), uint16(len(r.Targets))), r.Flags)
	serverType := uint16(0)
	if r.Root {
		serverType = 1
	}
	if r.Version == 1 {
		for _, target := range r.Targets {
			name := u16(cursor.AppendUTF16(nil, target), 0)
			b = u16(u16(b, 1), uint16(referralV1+len(name)))
			b = append(u16(u16(b, serverType), 0), name...)
		}
		return b
	}
	size := referralV3
	if r.Version == 2 {
		size = referralV2
	}
	text := u16(cursor.AppendUTF16(nil, r.Path), 0) // which all entries share; the targets follow it
	at := len(text)
	for i, target := range r.Targets {
		toText := (len(r.Targets) - i) * size // offsets count from the entry
		flags := uint16(0)
		if r.Version == 4 && i == 0 {
			flags = ReferralBoundary
		}
		b = u16(u16(u16(u16(b, r.Version), uint16(size)), serverType), flags)
		if r.Version == 2 {
			b = u32(b, 0) // proximity
		}
		b = u32(b, r.TTL)
		b = u16(u16(u16(b, uint16(toText)), uint16(toText)), uint16(toText+at))
		if r.Version > 2 {
			b = append(b, make([]byte, 16)...) // ServiceSiteGuid
		}
		text = u16(cursor.AppendUTF16(text, target), 0)
		at = len(text)
	}
	return append(b, text...)
}

// Decode reads what Append has written, and what others write who make all entries alike.
func (r *ReferralResponse) Decode(data []byte) error {
	d := nested(data, "RESP_GET_DFS_REFERRAL", 8)
	*r = ReferralResponse{PathConsumed: d.U16()}
	n := int(d.U16())
	r.Flags = d.U32()
	for range n {
		start := d.Offset()
		r.Version = d.U16()
		size := int(d.U16())
		r.Root = d.U16() == 1
		d.Skip(2)
		target := ""
		switch r.Version {
		case 1:
			if size < referralV1 {
				d.refuse("Size", "too small")
			}
			target = d.terminated("ShareName", d.data(size-referralV1))
		case 2, 3, 4:
			if r.Version == 2 {
				d.Skip(4)
			}
			r.TTL = d.U32()
			path, _, address := d.U16(), d.U16(), d.U16()
			r.Path = d.textAt("DFSPathOffset", start+int(path))
			target = d.textAt("NetworkAddressOffset", start+int(address))
			d.Seek(uint64(start + size))
		default:
			d.refuse("VersionNumber", "unknown")
		}
		if d.Err() != nil {
			break
		}
		r.Targets = append(r.Targets, target)
	}
	return d.done()
}

func (d *body) textAt(field string, off int) string {
	if off > len(d.buf) {
		d.refuse(field, reasonShort)
		return ""
	}
	rest := d.buf[off:]
	for i := 0; i+1 < len(rest); i += 2 {
		if rest[i] == 0 && rest[i+1] == 0 {
			return d.terminated(field, rest[:i])
		}
	}
	d.refuse(field, "not terminated")
	return ""
}
