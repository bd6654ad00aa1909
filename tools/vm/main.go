// Command vm builds the image of the board qemu and boots it (package [github.com/postern-nas/postern/tools/vm/vm]): the
// box on a laptop, as it comes to its owner, with two empty disks. The machine's UDP port 443 is reached at -quic of this
// host, and its TCP port 443 at -https. Ctrl-C presses
// its power button, a second one takes the power away. Its disk is made anew each time.
//
//	go run ./tools/vm [-quic 127.0.0.1:8443] [-https 127.0.0.1:8443] [-memory 512]
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/postern-nas/postern/images"
	"github.com/postern-nas/postern/tools/mkimage/mkimage"
	"github.com/postern-nas/postern/tools/vm/vm"
)

func main() {
	quic := flag.String("quic", "127.0.0.1:8443", "`address` of this host that leads to the machine's UDP port 443")
	https := flag.String("https", "127.0.0.1:8443", "`address` of this host that leads to the machine's TCP port 443, its page")
	memory := flag.Int("memory", 512, "of the machine, in `MiB`")
	flag.Parse()
	if err := run(*quic, *https, *memory); err != nil {
		fmt.Fprintln(os.Stderr, "vm:", err)
		os.Exit(1)
	}
}

// diskSize is that of each of the two empty disks. They are holes until something is on them.
const diskSize = 4 << 30

// offWithin is how long the machine may take to turn itself off.
const offWithin = time.Minute

func run(quic, https string, memory int) (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if m := vm.Missing(); m != "" {
		return errors.New(m)
	}
	cache, err := mkimage.Dir()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(cache, "vm")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	board, _ := images.FindBoard("qemu")
	built, err := mkimage.Build(ctx, mkimage.Options{Board: board, Out: dir}, os.Stderr)
	if err != nil {
		return err
	}
	m, err := vm.New(filepath.Join(dir, built.Image))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	m.QUIC, m.HTTPS, m.Memory = quic, https, memory
	for i := range 2 { // for the owner to make a pool of
		disk := filepath.Join(dir, fmt.Sprint("disk", i))
		if err := os.WriteFile(disk, nil, 0o600); err != nil {
			return err
		}
		if err := os.Truncate(disk, diskSize); err != nil {
			return err
		}
		m.Disks = append(m.Disks, disk)
	}
	fmt.Fprintf(os.Stderr, "vm: it serves at %s in a minute or so; Ctrl-C presses its power button\n", quic)
	if err := m.Start(os.Stdout); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
	case <-m.Off():
		return errors.New("the machine has turned itself off")
	}
	stop() // a second Ctrl-C ends us, and QEMU with us
	limit, cancel := context.WithTimeout(context.Background(), offWithin)
	defer cancel()
	return m.PowerButton(limit)
}
