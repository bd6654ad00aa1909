// Package uefi is any machine whose firmware is UEFI: servers, small boards with EDK2, cloud machines. It has what the
// kernel finds by itself, fans and temperatures, and nothing that a page could name.
package uefi

import (
	"github.com/postern-nas/postern/board"
	"github.com/postern-nas/postern/board/wired"
)

// Board is such a machine. It is not found by itself: it is what a machine is taken for that none of the others is.
var Board = board.Board{Name: "UEFI machine", Open: wired.Open(board.Wiring{})}
