package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/postern-nas/postern/board"
	"github.com/postern-nas/postern/firmware/account"
	"github.com/postern-nas/postern/firmware/boot"
	"github.com/postern-nas/postern/firmware/config"
	"github.com/postern-nas/postern/firmware/observe"
	"github.com/postern-nas/postern/firmware/update"
)

const usage = `Postern serves folders as SMB over QUIC.

  postern -state DIR [-demo] [-quic ADDRESS] [-tcp ADDRESS]    serve until Ctrl-C
  postern -state DIR user add NAME                             make a user
  postern -state DIR user password NAME                        give a user another password
  postern -state DIR user disable|enable|remove NAME
  postern -state DIR user promote|demote NAME                  make a user an administrator, or one no more
  postern -state DIR user own|disown NAME                      let a user sign in to the page as an owner, or no more
  postern -state DIR user list
  postern -state DIR cert show                                 what clients have to trust
  postern -state DIR cert list [--json]                        the certificates, and how long they hold
  postern -state DIR cert csr NAME...                          a request for another authority, with a key that stays here
  postern -state DIR cert import CHAIN.pem [KEY.pem]           serve a certificate of yours for the names it covers
  postern -state DIR cert remove ID                            serve it no more
  postern -state DIR key status [--json]                       where the keys are, and what opens them
  postern -state DIR key recover                               open them with the recovery code, and seal them again
  postern -state DIR key code                                  make another recovery code
  postern -state DIR key reseal                                bind them to the system that runs now
  postern -state DIR key reset --yes                           give up keys that nothing opens: a new identity
  postern -state DIR update status|check                       on a box: what it runs; whether the feed has something newer
  postern -state DIR update install FILE                       write an update; the next restart tries it
  postern version
  postern help                                                 this, and all that can be asked of a running server

DIR holds all that outlives a restart: postern.toml, which explains itself, keys, certificates and users. The first
run makes it. Passwords are read from the standard input. A running server hears at once of what user changes;
certificates it reads again on SIGHUP.

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
	updates  *update.Updater // of a box, and runs already; nil: this is none
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
	flags.BoolVar(&o.demo, "demo", false, "make a user and files to try, print how to connect, and use another port if 443 cannot be had")
	flags.StringVar(&o.quic, "quic", "", "`address` for QUIC instead of the configured one, as in :8443")
	flags.StringVar(&o.tpm, "tpm", "", "`device` or Unix socket of the TPM instead of the configured one; none for none")
	flags.StringVar(&o.tcp, "tcp", "", "`address` for TCP instead of the configured one, as in :445")
	flags.StringVar(&o.page, "page", "", "`address` for the page in the browser instead of the configured one, as in 127.0.0.1:8443")
	flags.StringVar(&o.panel, "panel", panelAuto, "draw the panel in the terminal: on, off, or auto, which is on in a `terminal`")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(out, usage)
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
	words := flags.Args()
	if len(words) == 1 && words[0] == "version" {
		fmt.Fprintln(out, "postern", version())
		return nil
	}
	if len(words) == 1 && words[0] == "help" {
		fmt.Fprint(out, usage, "Of the server that runs on DIR, as root or as its own user; with -json everything is written as JSON:\n\n", remoteUsage(),
			"\n$POSTERN_STATE stands in for -state DIR.\n")
		return nil
	}
	if len(words) == 2 && words[0] == "completion" && !strings.HasPrefix(words[1], "-") {
		return completion(out, words[1])
	}
	if o.state == "" {
		o.state = os.Getenv("POSTERN_STATE")
	}
	if o.state == "" {
		return errUsage("-state DIR is missing")
	}
	if name, n := findRemote(words); n > 0 {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		return runRemote(ctx, o.state, name, words[n:], in, out, errs)
	}
	switch {
	case len(words) == 0:
		return untilSignal(o, out, errs)
	case words[0] == "user":
		return toldUser(o, words[1:], in, out, errs)
	case len(words) == 2 && words[0] == "cert" && words[1] == "show":
		return showCertificates(o.state, out)
	case words[0] == "cert":
		return certCommand(o, words[1:], in, out, errs)
	case words[0] == "update":
		return updateCommand(o, words[1:], out, errs)
	case words[0] == "key":
		return keyCommand(o, words[1:], in, out, errs)
	}
	return errUsage(fmt.Sprintf("%q is no command", strings.Join(words, " ")))
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

// user runs `postern user ...`.
func user(o options, words []string, in io.Reader, out, errs io.Writer) error {
	if len(words) != 2 && (len(words) != 1 || words[0] != "list") {
		return errUsage("user wants add, password, disable, enable, promote, demote, own, disown or remove with a NAME, or list")
	}
	if err := os.MkdirAll(o.state, 0o700); err != nil {
		return err
	}
	ring, _, err := openKeys(o, errs)
	if err != nil {
		return err
	}
	defer ring.Close()
	store, err := account.OpenWith(ring, o.state, slog.New(observe.Handler(errs, slog.LevelInfo, observe.Text)))
	if err != nil {
		return err
	}
	switch words[0] {
	case "list":
		for _, u := range store.Users() {
			fmt.Fprintf(out, "%-20s %s", u.Name, u.SID)
			if u.Disabled {
				fmt.Fprint(out, " disabled")
			}
			if u.Admin {
				fmt.Fprint(out, " administrator")
			}
			if u.Owner {
				fmt.Fprint(out, " owner")
			}
			if !u.HasPassword {
				fmt.Fprint(out, " needs a new password")
			}
			fmt.Fprintln(out)
		}
		return nil
	case "add":
		password, err := readPassword(in, errs)
		if err != nil {
			return err
		}
		_, err = store.Add(words[1], password)
		return err
	case "password":
		password, err := readPassword(in, errs)
		if err != nil {
			return err
		}
		return store.SetPassword(words[1], password)
	case "disable", "enable":
		return store.SetDisabled(words[1], words[0] == "disable")
	case "own", "disown":
		return store.SetOwner(words[1], words[0] == "own")
	case "promote", "demote":
		return store.SetAdmin(words[1], words[0] == "promote")
	case "remove":
		return store.Remove(words[1])
	}
	return errUsage(fmt.Sprintf("user %s is no command", words[0]))
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

// showCertificates prints what clients have to trust and what they are shown.
func showCertificates(dir string, out io.Writer) error {
	for _, f := range []struct{ title, name string }{{"authority", "ca.pem"}, {"server", "server.pem"}} {
		path := filepath.Join(dir, f.name)
		data, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("%w (the first run makes it)", err)
		}
		block, _ := pem.Decode(data)
		if block == nil {
			return fmt.Errorf("%s: no certificate in it", path)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		fmt.Fprintf(out, "%s\n  file     %s\n  subject  %s\n", f.title, path, c.Subject)
		if len(c.DNSNames) > 0 {
			fmt.Fprintf(out, "  names    %s\n", strings.Join(c.DNSNames, ", "))
		}
		fmt.Fprintf(out, "  valid    %s to %s\n  SHA-256  %X\n", c.NotBefore.Format(time.DateOnly), c.NotAfter.Format(time.DateOnly), sha256.Sum256(c.Raw))
	}
	return nil
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
