// Package all is the list of boxes that Postern knows, matched by the device tree's "compatible".
package all

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/postern-nas/postern/board"
	"github.com/postern-nas/postern/board/cm3588"
	"github.com/postern-nas/postern/board/helios64"
	"github.com/postern-nas/postern/board/laptop"
	"github.com/postern-nas/postern/board/nanopct6"
	"github.com/postern-nas/postern/board/odroidhc4"
	"github.com/postern-nas/postern/board/qemu"
	"github.com/postern-nas/postern/board/rock5"
	"github.com/postern-nas/postern/board/rockpro64"
	"github.com/postern-nas/postern/board/rpi"
	"github.com/postern-nas/postern/board/uefi"
)

// Boards are all boxes. To add one, write a package with its wiring and list it here.
var Boards = []board.Board{
	laptop.Board,
	qemu.Board,
	uefi.Board,
	rpi.Pi4, rpi.CM4, rpi.Pi400, rpi.Pi5,
	helios64.Board,
	odroidhc4.Board,
	cm3588.Board,
	nanopct6.Board, nanopct6.LTS,
	rock5.A, rock5.B, rock5.BPlus, rock5.C, rock5.T, rock5.ITX,
	rockpro64.Board,
}

// Find returns the board whose name the device tree gives first: its list goes from the very box to its family. Without one
// it is the first that knows the box by something else.
func Find(compatible []string) (board.Board, bool) {
	for _, name := range compatible {
		for _, b := range Boards {
			if slices.Contains(b.Compatible, name) {
				return b, true
			}
		}
	}
	for _, b := range Boards {
		if b.Found != nil && b.Found() {
			return b, true
		}
	}
	return board.Board{}, false
}

// maxCompatible bounds what is read of the property; real ones have some hundred bytes.
const maxCompatible = 4096

// Compatible reads what the machine calls itself: the strings, each ended by a zero byte, of the root node's property
// (Devicetree Specification v0.4, 2.3.1). A machine without a device tree has none.
func Compatible() ([]string, error) { return compatible(os.DirFS("/sys/firmware/devicetree/base")) }

func compatible(root fs.FS) ([]string, error) {
	b, err := fs.ReadFile(root, "compatible")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if len(b) > maxCompatible {
		return nil, errors.New("board: the device tree's compatible is too long")
	}
	return strings.FieldsFunc(string(b), func(r rune) bool { return r == 0 }), nil
}
