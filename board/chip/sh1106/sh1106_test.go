package sh1106_test

import (
	"testing"

	"github.com/postern-nas/postern/board/chip/oled/oledtest"
	"github.com/postern-nas/postern/board/chip/sh1106"
)

// Each transcript in testdata was recorded with -update and then read against the datasheet.
func TestTranscript(t *testing.T) { oledtest.Run(t, sh1106.New) }
