package vm

import "testing"

// TestWatchdog: a box whose server does not answer any more, though it runs and says that it is well, is reset by its
// watchdog, and starts anew.
func TestWatchdog(t *testing.T) {
	needsVM(t)
	if !*soak {
		t.Skip("takes as long as a box is given to get well, eight minutes: -soak")
	}
	t.Parallel()
	m := variantMachine(t, map[string][]byte{"init.good": image(t).File("init"), "init": badInit(t), "bad": []byte("deaf")})
	m.Resets = true
	if err := m.Start(t.Output()); err != nil {
		t.Fatal(err)
	}
	hear(t, m, boot, "badinit: the server is deaf now: <nil>")
	hear(t, m, boot, "the server does not answer itself")
	hear(t, m, boot, `the box is unwell for too long; the watchdog resets it" error="the server has not answered itself`)
	m.Forget()
	hear(t, m, boot, "badinit: the server is deaf now: <nil>")
	m.Cut()
}
