package vm

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/postern-nas/postern/images"
)

// TestKeysStayShut: the keys are for this TPM and for what the image said that would be measured. The disk in a machine with
// another chip, and another system beside the same state and with the same chip, do not get them, serve nothing and say why;
// and with everything as it was the box is what it was.
func TestKeysStayShut(t *testing.T) {
	needsVM(t)
	t.Parallel()
	a := image(t)
	m := machine(t, a, "")
	first := start(t, m, a)
	if _, err := m.console.wait(over(), regexp.MustCompile(`msg="the keys were sealed".* bound_to=boot`)); err != nil {
		t.Error(err)
	}
	off(t, m)

	// shut boots, and wants the reason and no server.
	shut := func(why string) {
		t.Helper()
		if err := m.Start(t.Output()); err != nil {
			t.Fatal(err)
		}
		hear(t, m, boot, `the server's keys are shut, and nothing is served" trouble=`+why)
		for _, none := range []string{"msg=listening transport=quic", authorityLine} {
			if said, err := m.console.wait(over(), regexp.MustCompile(none)); err == nil {
				t.Errorf("%s: %s", why, said[0])
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), boot)
		defer cancel()
		if err := m.PowerButton(ctx); err != nil {
			t.Fatal(err)
		}
	}
	mine := m.path("tpm.mine")
	if err := os.Rename(m.path("tpm"), mine); err != nil {
		t.Fatal(err)
	}
	if err := m.NewTPM(); err != nil {
		t.Fatal(err)
	}
	shut(`other-tpm`)
	if err := os.RemoveAll(m.path("tpm")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(mine, m.path("tpm")); err != nil {
		t.Fatal(err)
	}

	// Another command line, as who has the disk in his hands may write one; it is measured.
	board, _ := images.FindBoard("qemu")
	c, err := a.Variant(1, board.CommandLine+" init=/bin/sh", nil)
	if err != nil {
		t.Fatal(err)
	}
	disk := m.Disk
	m.Disk = filepath.Join(t.TempDir(), "disk")
	if err := c.WriteDisk(m.Disk); err != nil {
		t.Fatal(err)
	}
	copyState(t, m.Disk, disk)
	shut(`measured`)

	m.Disk = disk
	if again := start(t, m, a); again != first {
		t.Errorf("another server: %+v, before %+v", again, first)
	}
	off(t, m)
}

// copyState copies the state partition from one disk to another.
func copyState(t *testing.T, to, from string) {
	t.Helper()
	board, _ := images.FindBoard("qemu")
	in, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	out, err := os.OpenFile(to, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	at := board.Layout.Start(1)
	if _, err := out.WriteAt(in[at:at+board.Layout.Partitions[1].Size], at); err != nil {
		t.Fatal(err)
	}
}
