// Package observe is where log lines go: to the terminal or journal as text or JSON, and into a ring of the last
// lines that a panel or page can show.
//
// Much of what is logged was chosen by a stranger (user names, file names, addresses). A line stays one line, shows
// nothing but printable characters, and is bounded in length, whatever they chose.
package observe

import (
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

// maxValue bounds one value in bytes, with room for a stack; what is longer ends in "...".
const maxValue = 8 << 10

// A Format is how lines are written.
type Format string

// Formats.
const (
	Text Format = "text"
	JSON Format = "json"
)

// Handler returns a slog handler that writes lines of at least level to w.
func Handler(w io.Writer, level slog.Leveler, format Format) slog.Handler {
	if format == JSON {
		// JSON leaves DEL, C1 controls and text direction marks as they are, so they are escaped before it.
		return slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: replace(escape)})
	}
	return slog.NewTextHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: replace(text)})
}

// replace applies clean to the message and to every value that could hold text of a stranger's choice.
func replace(clean func(string) string) func([]string, slog.Attr) slog.Attr {
	return func(groups []string, a slog.Attr) slog.Attr {
		a.Value = a.Value.Resolve()
		switch a.Value.Kind() {
		case slog.KindString:
			a.Value = slog.StringValue(clean(a.Value.String()))
		case slog.KindAny:
			if _, ok := a.Value.Any().(slog.Level); !ok {
				a.Value = slog.StringValue(clean(fmt.Sprint(a.Value.Any())))
			}
		}
		return a
	}
}

// cut bounds s, at the border of a character.
func cut(s string) string {
	if len(s) <= maxValue {
		return s
	}
	n := maxValue
	for n > maxValue-utf8.UTFMax && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "..."
}

// text bounds s. The text handler quotes whatever does not print, all but one character.
func text(s string) string { return strings.ReplaceAll(cut(s), "\x7f", `\x7f`) }

// escape bounds s and writes what does not print as Go would in a quoted string.
func escape(s string) string {
	s = cut(s)
	if strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) < 0 && utf8.ValidString(s) {
		return s
	}
	q := strconv.Quote(s)
	return strings.ReplaceAll(q[1:len(q)-1], `\"`, `"`)
}

// A Ring keeps the last lines that were written to it, one Write a line, as slog's handlers do. Use NewRing.
type Ring struct {
	mu    sync.Mutex
	lines []string
	next  int
}

// NewRing returns a Ring of n lines.
func NewRing(n int) *Ring { return &Ring{lines: make([]string, 0, n)} }

// Write keeps p as the newest line and never fails.
func (r *Ring) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	line := strings.TrimSuffix(string(p), "\n")
	if len(r.lines) < cap(r.lines) {
		r.lines = append(r.lines, line)
	} else {
		r.lines[r.next] = line
		r.next = (r.next + 1) % len(r.lines)
	}
	return len(p), nil
}

// Lines returns the lines, oldest first.
func (r *Ring) Lines() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append(append([]string{}, r.lines[r.next:]...), r.lines[:r.next]...)
}
