package smb

// maxCredits bounds what a client may have outstanding on a connection, [MS-SMB2] 3.3.1.2; Windows Server's default.
const maxCredits = 8192

// overdraft is how many credits a client may spend beyond those it was told of. There are clients (go-smb2, which is in
// rclone) that do not count what NEGOTIATE and the first SESSION_SETUP cost, and are two short when they spend all they
// believe to have. Telling them of two more would be simpler, but then a client that asks for one credit gets three.
const overdraft = 2

// A window is the set of MessageIds that a client may use now, [MS-SMB2] 3.3.1.1: those from low up to
// low+span that are not marked as used. credits counts the unused ones, the overdraft among them.
type window struct {
	low     uint64
	span    uint64
	credits int
	used    [2 * maxCredits / 64]uint64 // a ring, one bit an id
}

// newWindow starts with one credit for MessageId 0.
func newWindow() *window { return &window{span: 1 + overdraft, credits: 1 + overdraft} }

// spent reports whether the client has no credit left that it knows of.
func (w *window) spent() bool { return w.credits <= overdraft }

func (w *window) bit(id uint64) (word *uint64, mask uint64) {
	i := id % (2 * maxCredits)
	return &w.used[i/64], 1 << (i % 64)
}

// take uses up charge ids from first on. It reports false, and changes nothing, when any of them is outside of the
// window or was used before: the connection ends then ([MS-SMB2] 3.3.5.2.3).
func (w *window) take(first uint64, charge int) bool {
	charge = max(charge, 1)
	end := first + uint64(charge)
	if end < first || first < w.low || end > w.low+w.span || charge > w.credits {
		return false
	}
	for id := first; id < end; id++ {
		if word, mask := w.bit(id); *word&mask != 0 {
			return false
		}
	}
	for id := first; id < end; id++ {
		word, mask := w.bit(id)
		*word |= mask
	}
	w.credits -= charge
	for w.span > 0 {
		word, mask := w.bit(w.low)
		if *word&mask == 0 {
			break
		}
		*word &^= mask
		w.low++
		w.span--
	}
	return true
}

// grant adds up to n ids and returns how many. It stops at maxCredits outstanding, and when the oldest unused id lies
// so far back that the ring is full: a client that skips ids gets no more until it uses them.
func (w *window) grant(n int) int {
	n = min(n, maxCredits+overdraft-w.credits, 2*maxCredits-int(w.span))
	if n <= 0 {
		return 0
	}
	w.span += uint64(n)
	w.credits += n
	return n
}
