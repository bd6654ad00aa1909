package lcd

import (
	"fmt"
	"strings"
	"time"
)

// Tick is the time of one step of what moves on a page: long lines creep by one character, lines take turns.
const Tick = 500 * time.Millisecond

const (
	rest = 4 // ticks that a long line rests at both ends
	turn = 6 // ticks until the next lines have their turn
)

// Layout sets a page in columns and rows of characters, each line filled up with spaces. It says whether the next tick
// may look different. The panel shows Plain if qr is false.
func Layout(p Page, columns, rows, tick int, qr bool, has func(rune) bool) (lines []string, moves bool) {
	if p.QR != "" && !qr {
		p.Lines = p.Plain
	}
	set := func(text string, width, tick int) {
		line, creeps := creep(letters(text, has), width, tick)
		lines, moves = append(lines, line), moves || creeps
	}

	inList := 0 // rows for the list
	if len(p.List) > 0 {
		inList = rows - 1
		if len(p.Lines) > 0 {
			inList = max(1, rows-2)
		}
		inList = min(inList, len(p.List))
	}
	room := rows - 1 - inList // rows for the lines

	title := letters(p.Title, has)
	if beside := columns - len(title) - 1; room == 0 && len(p.Lines) > 0 && beside >= columns/2 {
		// The title stands still, for it is what must be compared; who asks passes by beside it.
		line, creeps := creep(letters(strings.Join(p.Lines, ", "), has), beside, tick)
		lines, moves = append(lines, string(title)+" "+line), creeps
	} else if room == 0 && len(p.Lines) > 0 {
		set(p.Title+" "+strings.Join(p.Lines, ", "), columns, tick)
	} else {
		set(p.Title, columns, tick)
	}

	first, into := 0, tick // into: ticks since these lines' turn began
	if room > 0 && len(p.Lines) > room {
		long, turns := turnOf(p.Lines, columns, has), (len(p.Lines)+room-1)/room
		first, into = tick/long%turns*room, tick%long
		moves = true
	}
	for i := range room {
		text := ""
		if first+i < len(p.Lines) {
			text = p.Lines[first+i]
		}
		set(text, columns, into)
	}

	top := 0
	if inList > 0 {
		top = min(max(0, p.Chosen-inList+1), len(p.List)-inList)
	}
	for i := range inList {
		text := " " + p.List[top+i]
		if top+i == p.Chosen {
			text = ">" + p.List[top+i]
		}
		if place := fmt.Sprintf(" %d/%d", p.Chosen+1, len(p.List)); inList == 1 && len(p.List) > 1 && len(text)+len(place) <= columns {
			text += strings.Repeat(" ", columns-len(text)-len(place)) + place
		}
		set(text, columns, tick)
	}
	return lines, moves
}

// turnOf is how long lines have their turn: long enough for the longest to creep to its end.
func turnOf(lines []string, columns int, has func(rune) bool) int {
	n := turn
	for _, l := range lines {
		if over := len(letters(l, has)) - columns; over > 0 {
			n = max(n, over+2*rest)
		}
	}
	return n
}

// creep shows width characters of text: all, or a window that creeps from its beginning to its end and jumps back.
func creep(text []rune, width, tick int) (line string, moves bool) {
	over := len(text) - width
	if over <= 0 {
		return string(text) + strings.Repeat(" ", -over), false
	}
	at := min(max(tick%(over+2*rest)-rest, 0), over)
	return string(text[at : at+width]), true
}
