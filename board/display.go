package board

// A Display is a panel. It also implements Pixels or Text, never both; whoever draws asks which.
//
// A display may be lost and come back (a cable, a bus that hangs). Every call then returns an error; the first call
// that succeeds again has set the panel up anew and sent the whole picture. Calls come from one goroutine at a time.
type Display interface {
	Light(Brightness) error
	Close() error // switches it off
}

// Pixels is a display of dots that are on or off.
type Pixels interface {
	Display
	Size() (width, height int)
	Draw(*Bitmap) error // of the display's size; only what changed travels
}

// Text is a display of characters.
type Text interface {
	Display
	Size() (columns, rows int)
	Has(r rune) bool            // whether the panel can show r as one character
	Write(lines []string) error // rows lines; cut or filled with spaces to its width, what it has not shows as '?'
}

// Brightness is how bright a display is. A panel that knows only on and off is on when dim.
type Brightness uint8

const (
	Off Brightness = iota
	Dim
	Bright
)
