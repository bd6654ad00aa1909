package wire

import (
	"github.com/postern-nas/postern/smb/cursor"
)

// The AAPL create context of macOS, as Apple's open source SMB client (smbclient, kernel/netsmb/smb_2.h) and the
// documentation of Samba's vfs_fruit have it. AAPLServerQuery is the command that clients send.
const AAPLServerQuery uint32 = 1

// What a query asks for, and an answer has.
const (
	AAPLServerCaps uint64 = 1
	AAPLVolumeCaps uint64 = 2
	AAPLModelInfo  uint64 = 4
)

// Capabilities of server and client.
const (
	AAPLReadDirAttr uint64 = 0x01
	AAPLCopyFile    uint64 = 0x02
	AAPLUnixBased   uint64 = 0x04
	AAPLNFSACE      uint64 = 0x08
)

// Capabilities of a volume.
const (
	AAPLResolveID     uint64 = 0x01
	AAPLCaseSensitive uint64 = 0x02
	AAPLFullSync      uint64 = 0x04
)

// An AAPLRequest is 24 bytes.
type AAPLRequest struct {
	Command    uint32
	Want       uint64
	ClientCaps uint64
}

func (c *AAPLRequest) Decode(data []byte) error {
	d := nested(data, "AAPL request", 24)
	c.Command = d.U32()
	d.Skip(4)
	c.Want = d.U64()
	c.ClientCaps = d.U64()
	return d.done()
}

func (c *AAPLRequest) Append(b []byte) []byte {
	return u64(u64(u32(u32(b, c.Command), 0), c.Want), c.ClientCaps)
}

// An AAPLResponse has the parts that Have names.
type AAPLResponse struct {
	Have                   uint64
	ServerCaps, VolumeCaps uint64
	Model                  string
}

func (c *AAPLResponse) Decode(data []byte) error {
	*c = AAPLResponse{}
	d := nested(data, "AAPL response", 16)
	if d.U32() != AAPLServerQuery {
		d.refuse("Command", "not a server query's")
	}
	d.Skip(4)
	c.Have = d.U64()
	if c.Have&AAPLServerCaps != 0 {
		c.ServerCaps = d.U64()
	}
	if c.Have&AAPLVolumeCaps != 0 {
		c.VolumeCaps = d.U64()
	}
	if c.Have&AAPLModelInfo != 0 {
		d.Skip(4)
		n := d.U32()
		name, err := cursor.UTF16(d.Bytes(int(min(n, 1<<16))))
		if err != nil {
			d.refuse("Model", "not UTF-16")
		}
		c.Model = name
	}
	return d.done()
}

func (c *AAPLResponse) Append(b []byte) []byte {
	b = u64(u32(u32(b, AAPLServerQuery), 0), c.Have)
	if c.Have&AAPLServerCaps != 0 {
		b = u64(b, c.ServerCaps)
	}
	if c.Have&AAPLVolumeCaps != 0 {
		b = u64(b, c.VolumeCaps)
	}
	if c.Have&AAPLModelInfo != 0 {
		b = u32(u32(b, 0), uint32(cursor.UTF16Len(c.Model)))
		b = cursor.AppendUTF16(b, c.Model)
	}
	return b
}
