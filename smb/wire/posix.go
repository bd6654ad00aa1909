package wire

import "slices"

// The SMB3 POSIX extensions, [POSIX-SMB2] ("SMB3 POSIX Extensions", smb3posix.org). The response to the create context
// is an fscc.POSIXObject.

// A POSIXNegotiate is the data of ContextPOSIX: the create contexts that are known, by name. The one there is is
// CreatePOSIX.
type POSIXNegotiate struct{ Names []string } // 16 bytes each

func (c *POSIXNegotiate) Decode(data []byte) error {
	c.Names = nil
	if len(data) == 0 || len(data)%16 != 0 {
		return &Error{"POSIX_EXTENSIONS_AVAILABLE", "DataLength", "no multiple of 16"}
	}
	for b := range slices.Chunk(data, 16) {
		c.Names = append(c.Names, string(b))
	}
	return nil
}

func (c *POSIXNegotiate) Append(b []byte) []byte {
	for _, n := range c.Names {
		b = append(b, n...)
	}
	return b
}

// A POSIXRequest is the data of CreatePOSIX: this open is a POSIX one.
type POSIXRequest struct {
	Mode uint32 // permissions of what is made
}

func (c *POSIXRequest) Decode(data []byte) error {
	if len(data) != 4 {
		return &Error{"CREATE_POSIX", "DataLength", "not 4"}
	}
	c.Mode = le.Uint32(data)
	return nil
}

func (c *POSIXRequest) Append(b []byte) []byte { return u32(b, c.Mode) }
