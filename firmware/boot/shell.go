package boot

import (
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// Shell is a shell for who works on the firmware. Only images of the debug flavour have one (tools/mkimage).
const Shell = "/bbin/gosh"

// runShell keeps a shell on the console, if the image has one.
func runShell(console string, log *slog.Logger) {
	if !exists(Shell) {
		return
	}
	log.Warn("this image has a shell on its console, for whoever is in front of it: it is not for use")
	for {
		tty, err := os.OpenFile(console, os.O_RDWR|syscall.O_NOCTTY, 0)
		if err != nil {
			log.Warn("no console for the shell", "error", err)
			return
		}
		cmd := exec.Command(Shell)
		cmd.Env = []string{"PATH=" + filepath.Dir(Shell) + ":/sbin", "HOME=/", "TERM=linux"}
		cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
		err = cmd.Run()
		log.Warn("the shell has ended; another one comes", "error", err)
		_ = tty.Close()
		time.Sleep(time.Second) // one that does not start must not keep the box busy
	}
}
