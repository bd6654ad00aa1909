package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/postern-nas/postern/board"
	"github.com/postern-nas/postern/firmware/account"
	"github.com/postern-nas/postern/firmware/boot"
	"github.com/postern-nas/postern/firmware/config"
	"github.com/postern-nas/postern/firmware/heat"
	"github.com/postern-nas/postern/firmware/update"
	"github.com/postern-nas/postern/firmware/update/stick"
)

const usage = `Postern serves folders as SMB over QUIC.

  postern -state DIR [-demo] [-quic ADDRESS] [-tcp ADDRESS]    serve until Ctrl-C
  postern version
  postern help [NOUN]                                          this, or more of one thing

DIR holds all that outlives a restart: postern.toml, which explains itself, keys, certificates and users. The first
run makes it. A server that runs is looked after with:

`

// Exit statuses.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2 // also a mistake in postern.toml
)

// options are what the command line says.
type options struct {
	state     string
	boxAddr   string // of a server elsewhere, which a command speaks with; "" for none
	demo      bool
	quic, tcp string // addresses that stand above the configuration; "" for none
	tpm       string // likewise; noTPM for none
	box       bool   // this is the only system on the machine
	kept      *keptKeys
	pageWas   *string   // see pageFace.was
	machine   *boot.Box // what boot knows of it; nil elsewhere
	hangups   <-chan os.Signal

	page     string          // address of the page that stands above the configuration
	panel    string          // panelAuto, panelOn or panelOff
	hardware *board.Hardware // what was found of it; nil: nothing
	heat     *heat.Keeper    // of a box; nil: somebody else does it
	updates  *update.Updater // of a box, and runs already; nil: this is none
	sticks   *stick.Watcher  // the same
}

// override puts the command line's addresses above the configuration's.
func (o options) override(cfg *config.Config) {
	if o.quic != "" {
		cfg.QUIC = o.quic
	}
	if o.tcp != "" {
		cfg.TCP = o.tcp
	}
	if o.page != "" {
		cfg.Page = o.page
	}
	switch {
	case o.tpm == noTPM:
		cfg.TPM = ""
	case o.tpm != "":
		cfg.TPM = o.tpm
	case cfg.TPM == config.DeviceAuto && o.box:
		cfg.TPM = boxTPM
	case cfg.TPM == config.DeviceAuto:
		cfg.TPM = ""
	}
}

// errUsage is a mistake on the command line.
type errUsage string

func (e errUsage) Error() string { return string(e) }

// command runs one command line and returns the exit status.
func command(args []string, in io.Reader, out, errs io.Writer) int {
	err := dispatch(args, in, out, errs)
	var use errUsage
	var wrong *config.Error
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return exitOK
	case errors.As(err, &use):
		fmt.Fprintf(errs, "postern: %v; postern -h explains\n", err)
		return exitUsage
	case errors.As(err, &wrong): // one a line, each with its file
		fmt.Fprintln(errs, err)
		return exitUsage
	}
	fmt.Fprintf(errs, "postern: %v\n", err)
	return exitFailed
}

func dispatch(args []string, in io.Reader, out, errs io.Writer) error {
	var o options
	flags := flag.NewFlagSet("postern", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // its own words are not ours
	flags.StringVar(&o.state, "state", "", "`folder` of all that outlives a restart")
	flags.StringVar(&o.boxAddr, "box", "", "`address` of a box elsewhere that a command speaks with, instead of -state")
	flags.BoolVar(&o.demo, "demo", false, "make a user and files to try, print how to connect, and use another port if 443 cannot be had")
	flags.StringVar(&o.quic, "quic", "", "`address` for QUIC instead of the configured one, as in :8443")
	flags.StringVar(&o.tpm, "tpm", "", "`device` or Unix socket of the TPM instead of the configured one; none for none")
	flags.StringVar(&o.tcp, "tcp", "", "`address` for TCP instead of the configured one, as in :445")
	flags.StringVar(&o.page, "page", "", "`address` for the page in the browser instead of the configured one, as in 127.0.0.1:8443")
	flags.StringVar(&o.panel, "panel", panelAuto, "draw the panel in the terminal: on, off, or auto, which is on in a `terminal`")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		_ = help(out, nil)
		flags.SetOutput(out)
		flags.PrintDefaults()
		return err
	case err != nil:
		return errUsage(err.Error())
	}
	for name, addr := range map[string]string{"-quic": o.quic, "-tcp": o.tcp, "-page": o.page} {
		if addr != "" && !config.Address(addr) {
			return errUsage(fmt.Sprintf("%s %q is no address with a port, as in :8443", name, addr))
		}
	}
	if o.panel != panelAuto && o.panel != panelOn && o.panel != panelOff {
		return errUsage(fmt.Sprintf("-panel %q is none of on, off and auto", o.panel))
	}
	return chosen(o, flags.Args(), in, out, errs)
}

// chosen runs the command that words are.
func chosen(o options, words []string, in io.Reader, out, errs io.Writer) error {
	v, rest, known := findVerb(words)
	switch {
	case len(words) == 0:
		if o.state == "" {
			o.state = os.Getenv("POSTERN_STATE")
		}
		if o.state == "" {
			return errUsage("-state DIR is missing")
		}
		return untilSignal(o, out, errs)
	case known:
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		return runVerb(ctx, o, v, rest, in, out, errs)
	case words[0] == "help":
		return help(out, words[1:])
	case words[0] == "version":
		if slices.Contains(words[1:], "-json") || slices.Contains(words[1:], "--json") {
			return asJSON(out, map[string]string{"version": version()})
		}
		fmt.Fprintln(out, "postern", version())
		return nil
	case isNoun(words[0]):
		return errUsage(fmt.Sprintf("%q is no command; postern help %s lists what there is", strings.Join(words, " "), words[0]))
	}
	return errUsage(fmt.Sprintf("%q is no command", strings.Join(words, " ")))
}

// door is where a command goes: what is said, else what the environment says, else the box that was chosen.
func (o options) door() (dir string, box *knownBox, err error) {
	if o.state != "" && o.boxAddr != "" {
		return "", nil, errUsage("-state or -box: one of them")
	}
	if o.state == "" && o.boxAddr == "" {
		o.state, o.boxAddr = os.Getenv("POSTERN_STATE"), os.Getenv("POSTERN_BOX")
	}
	if o.state != "" {
		return o.state, nil, nil
	}
	book, err := readBoxes()
	if o.boxAddr == "" && (err != nil || book.Default == "") {
		return "", nil, errUsage("-state DIR is missing, or -box ADDRESS")
	}
	if err != nil {
		return "", nil, err
	}
	if o.boxAddr == "" {
		o.boxAddr = book.Default
	}
	i, err := book.find(o.boxAddr)
	if err != nil {
		return "", nil, err
	}
	return "", &book.Boxes[i], nil
}

// untilSignal serves until Ctrl-C or SIGTERM. A second one kills.
func untilSignal(o options, out, errs io.Writer) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	o.hangups = hangups
	return serveAgain(ctx, o, out, errs)
}

// readPassword reads one line. At a terminal it asks for it, twice, and does not show it; nothing typed there makes
// one up and shows that.
func readPassword(in io.Reader, prompts io.Writer) (string, error) {
	lines := bufio.NewReader(in)
	file, ok := in.(*os.File)
	if !ok || !isTerminal(file) {
		return readLine(lines)
	}
	show, err := hideInput(file)
	if err != nil {
		return "", err
	}
	defer show()
	ask := func(prompt string) (string, error) {
		fmt.Fprint(prompts, prompt)
		defer fmt.Fprintln(prompts)
		return readLine(lines)
	}
	first, err := ask("New password (empty: make one up): ")
	if err != nil {
		return "", err
	}
	if first == "" {
		first = account.NewPassword()
		fmt.Fprintln(prompts, "The password is", first)
		return first, nil
	}
	again, err := ask("The same once more: ")
	if err == nil && again != first {
		err = errors.New("these are two different passwords")
	}
	return first, err
}

// readSecret reads one line that is not shown.
func readSecret(in io.Reader, prompts io.Writer, prompt string) (string, error) {
	if file, ok := in.(*os.File); ok && isTerminal(file) {
		show, err := hideInput(file)
		if err != nil {
			return "", err
		}
		defer show()
		fmt.Fprint(prompts, prompt)
		defer fmt.Fprintln(prompts)
	}
	return readLine(bufio.NewReader(in))
}

func readLine(r *bufio.Reader) (string, error) {
	line, err := r.ReadString('\n')
	if err != nil && (err != io.EOF || line == "") {
		return "", fmt.Errorf("no password on the standard input: %w", err)
	}
	return strings.TrimRight(line, "\r\n"), nil
}

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// hideInput stops the terminal from showing what is typed. Ctrl-C would leave it so, and is put right.
func hideInput(f *os.File) (show func(), err error) {
	old, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err != nil {
		return nil, err
	}
	quiet := *old
	quiet.Lflag &^= unix.ECHO
	if err := unix.IoctlSetTermios(int(f.Fd()), unix.TCSETS, &quiet); err != nil {
		return nil, err
	}
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM)
	restore := func() { _ = unix.IoctlSetTermios(int(f.Fd()), unix.TCSETS, old) }
	go func() {
		if _, ok := <-interrupted; ok {
			restore()
			os.Exit(exitFailed)
		}
	}()
	return func() {
		signal.Stop(interrupted)
		close(interrupted)
		restore()
	}, nil
}

// version says which commit this binary was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	v := info.Main.Version
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && !strings.Contains(v, s.Value[:min(12, len(s.Value))]) {
			v += " " + s.Value
		}
	}
	return v + " " + info.GoVersion
}
