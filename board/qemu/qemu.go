// Package qemu is QEMU's "virt" machine. It has no panel, no buttons and no light of its own; whoever starts it may give it
// a virtual serial port, on which a panel is drawn elsewhere.
package qemu

import (
	"log/slog"

	"github.com/postern-nas/postern/board"
)

// Board is the machine. Its device tree is made by QEMU (hw/arm/virt.c, create_fdt); started by EDK2 it has none, and is
// found by its panel.
var Board = board.Board{
	Name:       "QEMU virt",
	Compatible: []string{"linux,dummy-virt"},
	Found:      func() bool { return findPort(ports) != "" },
	Open:       open,
}

func open(_ board.Panel, log *slog.Logger) *board.Hardware {
	port := findPort(ports)
	if port == "" {
		return new(board.Hardware)
	}
	p, err := openPanel("/dev/" + port)
	if err != nil {
		log.Warn("the panel does not open", "error", err)
		return new(board.Hardware)
	}
	return &board.Hardware{Display: p, Buttons: p.keys}
}
