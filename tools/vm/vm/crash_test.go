package vm

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postern-nas/postern/firmware/config"
	"github.com/postern-nas/postern/images"
	"github.com/postern-nas/postern/tools/postern"
)

// TestCrash: the kernel panics while the box serves. It starts again by itself, and what the kernel said before it stopped is
// in the log and at the page, for the owner.
func TestCrash(t *testing.T) {
	needsVM(t)
	t.Parallel()
	owner := postern.User{Name: "olga", Password: "correct horse battery"}
	box, err := postern.New(t.TempDir(), postern.Config{Users: []postern.User{owner}})
	if err != nil {
		t.Fatal(err)
	}
	binary, err := postern.Build()
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(binary, "-state", box.State, "user", "own", owner.Name).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := os.WriteFile(filepath.Join(box.State, config.FileName), []byte(config.DefaultFile), 0o600); err != nil {
		t.Fatal(err)
	}
	board, _ := images.FindBoard("qemu")
	// Somebody at the console may then tell the kernel to panic, which Debian's allows nobody there.
	v, err := image(t).Variant(2, strings.Replace(board.CommandLine, "panic=10", "panic=1 sysrq_always_enabled", 1), nil)
	if err != nil {
		t.Fatal(err)
	}
	disk := filepath.Join(t.TempDir(), "disk")
	if err := v.WriteDisk(disk); err != nil {
		t.Fatal(err)
	}
	writeStateFolder(t, disk, box.State)
	m := machineOn(t, disk)
	m.Resets, m.HTTPS = true, freePort(t)
	if err := m.Start(t.Output()); err != nil {
		t.Fatal(err)
	}
	hear(t, m, boot, "msg=listening transport=quic")
	if err := errors.Join(m.Break(), m.Type("c")); err != nil {
		t.Fatal(err)
	}
	const said = "Kernel panic - not syncing: sysrq triggered crash"
	hear(t, m, boot, said)

	m.Forget()
	hear(t, m, boot, `msg="the kernel stopped by itself before this start; what it said is kept"`)
	ctx, cancel := context.WithTimeout(t.Context(), boot)
	defer cancel()
	dir := t.TempDir()
	if err := m.SaveAuthority(ctx, dir); err != nil {
		t.Fatal(err)
	}
	b := browse(t, dir)
	if err := b.signIn(ctx, m.Page(), owner.Name, owner.Password); err != nil {
		t.Fatal(err)
	}
	told, err := b.get(ctx, m.Page()+"/api/crash")
	if err != nil || !strings.Contains(told, said) {
		t.Errorf("the page tells of no such crash: %v\n%s", err, told)
	}
	m.Cut()
}
