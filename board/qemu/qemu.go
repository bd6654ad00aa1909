// Package qemu is QEMU's "virt" machine, as it boots in tests. It has no panel, no buttons and no light of its own.
package qemu

import (
	"log/slog"

	"github.com/postern-nas/postern/board"
)

// Board is the machine. Its device tree is made by QEMU (hw/arm/virt.c, create_fdt).
var Board = board.Board{
	Name:       "QEMU virt",
	Compatible: []string{"linux,dummy-virt"},
	Open:       func(*slog.Logger) *board.Hardware { return new(board.Hardware) },
}
