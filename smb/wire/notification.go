package wire

// NotifySessionClosed is the one type of a ServerNotification.
const NotifySessionClosed uint32 = 0

// A ServerNotification is [MS-SMB2] 2.2.44.1, sent unasked to clients with CapNotifications.
type ServerNotification struct{ Type uint32 }

func (r *ServerNotification) Decode(msg []byte) error {
	d := open(msg, "SERVER_TO_CLIENT_NOTIFICATION", 4)
	d.Skip(2)
	r.Type = d.U32()
	d.Skip(4)
	return d.done()
}

// Append leaves four zero bytes where the notification of a closed session has its reserved field, 2.2.44.2.
func (r *ServerNotification) Append(b []byte) []byte { return u32(u32(u32(b, 4), r.Type), 0) }
