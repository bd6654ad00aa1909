package boot

import (
	"encoding/binary"
	"io"
	"log/slog"
	"os"
	"path/filepath"
)

// The kernel's input events (linux/input.h): two words of time, type, code, value.
const (
	inputEvent = 24
	typeAt     = 16
	typeKey    = 1
	keyPower   = 116
)

// powerButton calls press when the power key of any input device goes down. Keyboards that come later are not looked
// at: a NAS has its button from the start.
func powerButton(dir string, press func(), log *slog.Logger) {
	devices, _ := filepath.Glob(filepath.Join(dir, "event*")) // the pattern is good
	for _, d := range devices {
		f, err := os.Open(d)
		if err != nil {
			log.Warn("an input device does not open", "error", err)
			continue
		}
		go func() {
			defer f.Close()
			if pressed(f) {
				log.Info("the power button is pressed")
				press()
			}
		}()
	}
}

// pressed reads events until the power key goes down, or there are no more.
func pressed(r io.Reader) bool {
	for e := make([]byte, inputEvent); ; {
		if _, err := io.ReadFull(r, e); err != nil {
			return false
		}
		le := binary.LittleEndian
		if le.Uint16(e[typeAt:]) == typeKey && le.Uint16(e[typeAt+2:]) == keyPower && le.Uint32(e[typeAt+4:]) == 1 {
			return true
		}
	}
}
