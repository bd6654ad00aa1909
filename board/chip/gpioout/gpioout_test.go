package gpioout

import "testing"

func TestOpenNothing(t *testing.T) {
	if _, err := Open(t.TempDir()+"/gpiochip0", 1); err == nil {
		t.Error("a chip that is not there was opened")
	}
}
