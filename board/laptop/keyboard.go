package laptop

import (
	"io"

	"github.com/postern-nas/postern/board"
)

// A Keyboard makes buttons of a keyboard. A terminal does not say when a key is released: a key is tapped, and a
// capital letter holds its key down until another is struck.
type Keyboard struct{ board.Keys }

// NewKeyboard reads keys from in until it ends or fails. Closing the Keyboard does not end the reading: only the end
// of in does.
func NewKeyboard(in io.Reader) *Keyboard {
	k := new(Keyboard)
	go func() {
		defer k.Close()
		var held board.Key
		buf := make([]byte, 64)
		for {
			n, err := in.Read(buf)
			for typed := buf[:n]; len(typed) > 0; {
				key, hold, used := decode(typed)
				typed = typed[used:]
				if held != 0 {
					k.Up(held)
					held = 0
				}
				switch {
				case key == 0:
				case hold:
					k.Down(key)
					held = key
				default:
					k.Down(key)
					k.Up(key)
				}
			}
			if err != nil {
				return
			}
		}
	}()
	return k
}

// decode reads one key off what was typed. Unknown keys are key 0.
func decode(typed []byte) (key board.Key, hold bool, used int) {
	// ECMA-48 8.3.19-22: the arrows send CSI and a letter. A terminal sends them in one piece; the escape key alone
	// comes alone.
	if len(typed) >= 3 && typed[0] == 0x1b && typed[1] == '[' {
		switch typed[2] {
		case 'A':
			return board.Previous, false, 3
		case 'B', 'C':
			return board.Next, false, 3
		case 'D':
			return board.Back, false, 3
		}
		return 0, false, 3
	}
	switch typed[0] {
	case 'n', '\t':
		key = board.Next
	case 'N':
		key, hold = board.Next, true
	case '\r', '\n', ' ', 'h':
		key = board.Enter
	case 'H':
		key, hold = board.Enter, true
	case 'p':
		key = board.Previous
	case 'P':
		key, hold = board.Previous, true
	case 'b', 0x1b, 0x7f:
		key = board.Back
	case 'B':
		key, hold = board.Back, true
	}
	return key, hold, 1
}
