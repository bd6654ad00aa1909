package quic

// Heard tells how many packets have come from the client, and that it owes one: whoever has just been written to answers
// with an acknowledgment within moments (RFC 9000 section 13.2.1). It does not wait.
func (c *Conn) Heard() (packets uint64, owes bool) {
	return c.qc.ConnectionStats().PacketsReceived, true
}
