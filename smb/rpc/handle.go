package rpc

import "crypto/rand"

// A Handle is a context handle, C706 14.2.16.6. The null handle is all zeros.
type Handle [20]byte

// maxHandles bounds what one open of a pipe holds open in turn. Clients hold a handful.
const maxHandles = 64

// Handles are the context handles of one open of a pipe, and go with it. They cannot be guessed, and mean nothing to
// another pipe. The zero Handles is ready; calls of a pipe come one after the other, so it has no lock.
type Handles[T any] struct{ open map[Handle]T }

// Open returns a handle for v, or false if there are too many.
func (h *Handles[T]) Open(v T) (id Handle, ok bool) {
	if len(h.open) >= maxHandles {
		return id, false
	}
	if h.open == nil {
		h.open = make(map[Handle]T)
	}
	rand.Read(id[4:]) // never fails; the first four bytes are attributes, of which there are none
	h.open[id] = v
	return id, true
}

// Find returns what a handle stands for.
func (h *Handles[T]) Find(id Handle) (v T, ok bool) {
	v, ok = h.open[id]
	return v, ok
}

// Close forgets a handle.
func (h *Handles[T]) Close(id Handle) { delete(h.open, id) }

// Handle reads a context handle.
func (r *Reader) Handle() (h Handle) {
	r.r.Align(4)
	copy(h[:], r.Bytes(len(h)))
	return h
}

// Handle writes a context handle.
func (w *Writer) Handle(h Handle) {
	w.align(4)
	w.Raw(h[:])
}
