package vm

import (
	"regexp"
	"testing"

	"github.com/postern-nas/postern/images"
	"github.com/postern-nas/postern/tools/mkimage/mkimage"
)

// TestDebug boots the debug flavour and types into its shell, on the console: it calculates, and it finds the commands that
// were put beside it. The release has no such shell (TestImage of mkimage looks for one), and nobody is asked for a command.
func TestDebug(t *testing.T) {
	needsVM(t)
	if !*soak {
		t.Skip("builds a shell, for minutes: -soak")
	}
	t.Parallel()
	board, _ := images.FindBoard("qemu")
	r, err := mkimage.Build(t.Context(), mkimage.Options{Board: board, Out: t.TempDir(), Quick: true, Key: image(t).Key(), Debug: true}, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	m := newMachine(t, r)
	if err := m.Start(t.Output()); err != nil {
		t.Fatal(err)
	}
	hear(t, m, boot, "this image has a shell on its console")
	hear(t, m, boot, "msg=listening transport=quic")
	// What is typed is also seen: an answer is what nobody has typed.
	for _, c := range []struct{ typed, answer string }{
		{"echo sum-$((20+3))", `sum-23\b`},
		{"uname -r", regexp.QuoteMeta(r.Kernel)},
		{"ls /lib/modules", `\bbtrfs\.ko\b`},
		{"mount", `^/dev/vda2 /state ext4 `},
		{"lsmod | grep nf_tab", `nf_tables {4,}\d+`},
	} {
		m.Forget()
		if err := m.Type(c.typed + "\r"); err != nil {
			t.Fatal(err)
		}
		hear(t, m, boot, c.answer)
	}
	m.Cut()
}
