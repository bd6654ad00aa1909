// Command vm builds the image of the board qemu and boots it (package [github.com/postern-nas/postern/tools/vm/vm]): the
// box on a laptop, as it comes to its owner, with two empty disks. The machine's UDP port 443 is reached at -quic of this
// host, and its TCP port 443 at -https; what it prints has these, and the certificate of its authority is put into -out.
// Ctrl-C presses its power button, a second one takes the power away. Its disk is made anew each time. Its panel is drawn in
// the terminal, whose keys are its buttons, as with make run; and it is a picture at -panel.
//
//	go run ./tools/vm [-quic 127.0.0.1:8443] [-https 127.0.0.1:8443] [-panel 127.0.0.1:8444] [-out .run/vm] [-memory 512]
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/postern-nas/postern/board"
	"github.com/postern-nas/postern/board/laptop"
	"github.com/postern-nas/postern/images"
	"github.com/postern-nas/postern/tools/mkimage/mkimage"
	"github.com/postern-nas/postern/tools/vm/vm"
)

func main() {
	quic := flag.String("quic", "127.0.0.1:8443", "`address` of this host that leads to the machine's UDP port 443")
	https := flag.String("https", "127.0.0.1:8443", "`address` of this host that leads to the machine's TCP port 443, its page")
	panel := flag.String("panel", "127.0.0.1:8444", "`address` of this host at which its panel is a picture (PNG); empty for none")
	keep := flag.String("out", filepath.Join(".run", "vm"), "`folder` for the certificate of its authority, which clients have to trust")
	memory := flag.Int("memory", 512, "of the machine, in `MiB`")
	flag.Parse()
	if err := run(*quic, *https, *panel, *keep, *memory); err != nil {
		fmt.Fprintln(os.Stderr, "vm:", err)
		os.Exit(1)
	}
}

// diskSize is that of each of the two empty disks. They are holes until something is on them.
const diskSize = 4 << 30

// offWithin is how long the machine may take to turn itself off.
const offWithin = time.Minute

func run(quic, https, panel, keep string, memory int) (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if m := vm.Missing(); m != "" {
		return errors.New(m)
	}
	if keep, err = filepath.Abs(keep); err != nil {
		return err
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
	machine, _ := images.FindBoard("qemu")
	built, err := mkimage.Build(ctx, mkimage.Options{Board: machine, Out: dir}, os.Stderr)
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
	screen, out, err := openScreen(panel)
	if err != nil {
		return err
	}
	defer screen.Close()
	fmt.Fprintf(out, "vm: it serves at %s in a minute or so; Ctrl-C presses its power button\n", quic)
	m.Panel = true
	if err := m.Start(m.FromHere(out, keep)); err != nil {
		return err
	}
	go welcome(ctx, m, keep, out)
	go func() {
		if err := m.ShowPanel(context.Background(), screen.Display.(board.Pixels), screen.Buttons); err != nil {
			fmt.Fprintln(out, "vm: the panel:", err)
		}
	}()
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

// welcome gets, as soon as the machine serves, what the lines that it has printed name.
func welcome(ctx context.Context, m *vm.Machine, keep string, out io.Writer) {
	if err := m.SaveAuthority(ctx, keep); err != nil {
		if ctx.Err() == nil {
			fmt.Fprintln(out, "vm: its authority's certificate is not here:", err)
		}
		return
	}
	fmt.Fprintf(out, "vm: the lines above work here now: its authority's certificate is in %s; the page is %s\n", keep, m.Page())
	if host, _, _ := net.SplitHostPort(m.QUIC); host == "localhost" || net.ParseIP(host).IsLoopback() {
		fmt.Fprintln(out, "vm: only this computer reaches it; -quic 0.0.0.0:8443 -https 0.0.0.0:8443 let others in, such as a PC with Windows")
	}
}

// openScreen is where the machine's panel is seen: in the terminal if there is one, and as a picture at an address if that
// is not "". What is written to out lies below the one in the terminal.
func openScreen(addr string) (screen *board.Hardware, out io.Writer, err error) {
	screen, out = laptop.Board.Open(board.Panel{}, slog.New(slog.DiscardHandler)), os.Stdout
	shown, ok := screen.Display.(*laptop.Panel)
	switch {
	case !ok:
		if shown, err = laptop.NewPanel(nil, 0, 0); err != nil {
			return nil, nil, err
		}
		screen.Display = shown
	case shown.Drawn():
		out = shown
	}
	if addr == "" {
		return screen, out, nil
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("%w; -panel takes another address, or none", err), screen.Close())
	}
	screen.Closers = append(screen.Closers, l)
	go func() { _ = (&http.Server{Handler: shown, ReadHeaderTimeout: 10 * time.Second}).Serve(l) }() // ends with l
	fmt.Fprintf(out, "vm: its panel is also a picture: http://%s\n", l.Addr())
	return screen, out, nil
}
