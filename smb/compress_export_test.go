package smb

import "context"

var everything = compression{ids: compressions, chained: true}

// Unpack decompresses msg as a server does that has agreed on everything.
func Unpack(msg []byte) ([]byte, error) {
	c := &conn{srv: &Server{pool: newPool(64 << 20)}, compression: everything}
	c.srv.pool.setAside()
	c.known.Store(true)
	buf, err := c.inflate(context.Background(), msg)
	if err != nil {
		return nil, err
	}
	defer buf.release()
	return append([]byte(nil), buf.b...), nil
}

// Pack is the reverse.
func Pack(msg []byte, head int) ([]byte, bool) {
	return everything.pack(make([]byte, 0, len(msg)+1000), msg, head)
}
