package web

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"math/big"
	"sync"
)

// codeTries is how many wrong codes may be typed, from all addresses together, before another code is shown.
const codeTries = 5

// codes are the one-time codes of the first setup, which only who stands before the panel can read: one of 128 bits for the QR
// code, and eight digits to type. Each is used up by being right once, and both change then, and after codeTries wrong ones.
type codes struct {
	changed func() // is called without mu

	mu           sync.Mutex
	link, digits string
	wrong        int
}

func newCodes(changed func()) *codes {
	c := &codes{changed: changed}
	c.draw()
	return c
}

func (c *codes) draw() {
	var b [16]byte
	rand.Read(b[:])
	n, _ := rand.Int(rand.Reader, big.NewInt(100_000_000)) // of the random source there is no error
	c.link, c.digits, c.wrong = base64.RawURLEncoding.EncodeToString(b[:]), fmt.Sprintf("%08d", n), 0
}

func (c *codes) now() (link, digits string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.link, c.digits
}

// use reports whether a code is right, and uses it up.
func (c *codes) use(code string) bool {
	ok, drawn := c.judge(code)
	if drawn {
		c.changed()
	}
	return ok
}

func (c *codes) judge(code string) (ok, drawn bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	byLink := subtle.ConstantTimeCompare([]byte(code), []byte(c.link))
	byDigits := subtle.ConstantTimeCompare([]byte(onlyDigits(code)), []byte(c.digits))
	if byLink|byDigits == 1 {
		c.draw()
		return true, true
	}
	if c.wrong++; c.wrong >= codeTries {
		c.draw()
		return false, true
	}
	return false, false
}

// onlyDigits leaves out the spaces and hyphens that people type between digits.
func onlyDigits(s string) string {
	out := make([]byte, 0, 16)
	for i := 0; i < len(s) && len(out) < 16; i++ {
		switch b := s[i]; {
		case b >= '0' && b <= '9':
			out = append(out, b)
		case b != ' ' && b != '-':
			return ""
		}
	}
	return string(out)
}
