package laptop

import (
	"io"
	"log/slog"
	"os"

	"golang.org/x/sys/unix"

	"github.com/postern-nas/postern/board"
)

// Board is the laptop itself. It has no device tree, so it is never found: whoever wants it names it.
var Board = board.Board{Name: "laptop", Open: open}

// open takes the terminal of the process. Without one it finds nothing.
func open(_ board.Panel, log *slog.Logger) *board.Hardware {
	in, out := os.Stdin, os.Stdout
	size, err := unix.IoctlGetWinsize(int(out.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		log.Info("no terminal to draw the panel in")
		return new(board.Hardware)
	}
	h := new(board.Hardware)
	if restore, err := eachKey(int(in.Fd())); err == nil {
		h.Buttons = NewKeyboard(in)
		h.Closers = append(h.Closers, restore)
	} else {
		log.Info("the panel has no keys", "err", err)
	}
	panel, err := NewPanel(out, int(size.Col), int(size.Row))
	if err != nil {
		log.Warn("the panel cannot be drawn", "err", err)
		return h
	}
	if panel.out == nil {
		log.Info("the terminal is too small for the panel: it needs 66 columns and 23 rows")
	}
	h.Display = panel
	return h
}

type restorer func() error

func (r restorer) Close() error { return r() }

// eachKey makes a terminal hand over each key as it is struck, unseen. Ctrl-C still ends the process.
func eachKey(fd int) (io.Closer, error) {
	was, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return nil, err
	}
	now := *was
	now.Lflag &^= unix.ICANON | unix.ECHO
	now.Cc[unix.VMIN], now.Cc[unix.VTIME] = 1, 0
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, &now); err != nil {
		return nil, err
	}
	return restorer(func() error { return unix.IoctlSetTermios(fd, unix.TCSETS, was) }), nil
}
