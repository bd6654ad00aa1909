package ssd1306_test

import (
	"testing"

	"github.com/postern-nas/postern/board/chip/oled/oledtest"
	"github.com/postern-nas/postern/board/chip/ssd1306"
)

// Each transcript in testdata was recorded with -update and then read against the datasheet.
func TestTranscript(t *testing.T) { oledtest.Run(t, ssd1306.New) }
