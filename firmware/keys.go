package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/postern-nas/postern/firmware/config"
	"github.com/postern-nas/postern/firmware/keys"
	"github.com/postern-nas/postern/firmware/observe"
)

// boxTPM is the chip of a box, by way of the kernel's resource manager.
const boxTPM = "/dev/tpmrm0"

// noTPM is what -tpm says for none.
const noTPM = "none"

// keptKeys are a box's, over a restart of serving alone: what the chip gave out once, it does not give out again before the
// next boot.
type keptKeys struct{ ring *keys.Ring }

func (k *keptKeys) close() {
	if k.ring != nil {
		k.ring.Close()
	}
}

func (k *keptKeys) forget() {
	if k.ring != nil {
		k.ring.Forget()
	}
}

// serverKeys makes the ring for serving, or takes the one that is kept. done lets go of it.
func serverKeys(o options, cfg *config.Config, log *slog.Logger) (ring *keys.Ring, done func(), err error) {
	k, err := keyOptions(o, cfg, log)
	if err != nil {
		return nil, nil, err
	}
	if o.kept == nil || !o.box {
		ring = keys.New(k)
		return ring, ring.Close, nil
	}
	if o.kept.ring == nil {
		o.kept.ring = keys.New(k)
	}
	o.kept.ring.Again(k)
	return o.kept.ring, func() {}, nil
}

// keyOptions are what the configuration asks for.
func keyOptions(o options, cfg *config.Config, log *slog.Logger) (k keys.Options, err error) {
	want, err := keys.ParseWhere(cfg.KeyStore)
	if err != nil {
		return k, err
	}
	k = keys.Options{Dir: o.state, Device: cfg.TPM, Want: want, Box: o.box, Log: log}
	if o.box {
		if k.Release, err = keys.ReadRelease(keys.ReleaseFile); err != nil {
			log.Error("the release key cannot be read", "error", err) // keys are bound to exactly this system then
		}
		k.Approvals = keys.ApprovalsIn(filepath.Join(o.state, keys.ApprovalsFile))
		if running, err := runningRelease("/"); err != nil {
			log.Error("the TPM is not told which release this is", "error", err)
		} else {
			k.Number = running.Number
		}
	}
	return k, nil
}

// tellCode shows a recovery code that was just made.
func tellCode(out io.Writer, ring *keys.Ring) {
	if s, _ := ring.State().Get(); s.Code != "" {
		fmt.Fprintf(out, `
The keys of this server are sealed with the TPM. If that breaks or is cleared, or finds another system, only the recovery
code opens them. It is shown this once:

    %s

Write it down and keep it elsewhere. "postern -state DIR key code" makes another one.

`, s.Code)
	}
}

// settings reads the configuration for a command. Before the first start there is none, and the built-in one counts.
func settings(o options) (*config.Config, error) {
	cfg, err := config.Load(o.state)
	if errors.Is(err, fs.ErrNotExist) {
		cfg, err = config.Parse(config.FileName, []byte("version = 1\n"), o.state)
	}
	if err != nil {
		return nil, err
	}
	o.override(cfg)
	return cfg, nil
}

// commandKeys makes the ring for a command, shut.
func commandKeys(o options, errs io.Writer) (*keys.Ring, *config.Config, error) {
	cfg, err := settings(o)
	if err != nil {
		return nil, nil, err
	}
	// What a start would say of keys in files is not said again at each command.
	log := slog.New(observe.Handler(errs, slog.LevelError, observe.Text))
	k, err := keyOptions(o, cfg, log)
	if err != nil {
		return nil, nil, err
	}
	return keys.New(k), cfg, nil
}

// openKeys makes it and opens it.
func openKeys(o options, errs io.Writer) (*keys.Ring, *config.Config, error) {
	ring, cfg, err := commandKeys(o, errs)
	if err != nil {
		return nil, nil, err
	}
	if err := ring.Open(); err != nil {
		return nil, nil, err
	}
	tellCode(errs, ring)
	return ring, cfg, nil
}

// asJSON prints v for programs.
func asJSON(out io.Writer, v any) error {
	e := json.NewEncoder(out)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// keyCommand runs `postern key VERB`.
func keyCommand(o options, verb string, inJSON, yes bool, in io.Reader, out, errs io.Writer) error {
	if verb == "status" {
		return keyStatus(o, inJSON, out, errs)
	}
	if _, err := os.Stat(o.state); err != nil {
		return err
	}
	said := func(text string) error {
		if inJSON {
			return asJSON(out, struct{}{})
		}
		_, err := io.WriteString(out, text)
		return err
	}
	switch verb {
	case "recover":
		ring, _, err := commandKeys(o, errs)
		if err != nil {
			return err
		}
		defer ring.Close()
		code, err := readSecret(in, errs, "Recovery code: ")
		if err != nil {
			return err
		}
		if err := ring.Recover(code); err != nil {
			return err
		}
		s, _ := ring.State().Get()
		if s.Trouble != keys.None {
			return fmt.Errorf("the code is right, but there is no TPM that could take the keys: %s. %s", s.Text, s.Advice)
		}
		return said("The keys are open, and sealed with this TPM. A server that waits for them goes on by itself.\n")
	case "code", "reseal":
		ring, _, err := openKeys(o, errs)
		if err != nil {
			return err
		}
		defer ring.Close()
		if verb == "reseal" {
			if err := ring.Reseal(); err != nil {
				return err
			}
			return said("")
		}
		code, err := ring.NewCode()
		if err == nil && inJSON {
			return asJSON(out, map[string]string{"code": code})
		}
		if err == nil {
			tellCode(out, ring)
		}
		return err
	case "reset":
		if !yes {
			return errUsage("key reset gives up the server's identity: every client has to trust it anew, every user needs a " +
				"new password; say --yes if that is meant")
		}
		ring, _, err := commandKeys(o, errs)
		if err != nil {
			return err
		}
		if err := ring.Reset(time.Now()); err != nil {
			return err
		}
		return said("")
	}
	return errUsage(fmt.Sprintf("key %s is no command", verb))
}

// keyStatus prints where the keys are.
func keyStatus(o options, inJSON bool, out, errs io.Writer) error {
	cfg, err := settings(o)
	if err != nil {
		return err
	}
	s := keys.Inspect(keys.Options{Dir: o.state, Device: cfg.TPM})
	if inJSON {
		return asJSON(out, s)
	}
	fmt.Fprintf(out, "keys      %s\n", map[bool]string{true: "sealed, in " + filepath.Join(o.state, s.File), false: "in files in " + o.state}[s.Sealed])
	if s.Sealed {
		fmt.Fprintf(out, "bound to  %s\nrecovery  %s\n", s.Binding, map[bool]string{true: "by the owner's code", false: "none: postern key code makes one"}[s.HasCode])
	}
	tpm := s.Device
	if tpm == "" {
		tpm = "none"
	}
	fmt.Fprintf(out, "TPM       %s\n", tpm)
	if s.Text != "" {
		fmt.Fprintf(out, "trouble   %s. %s\n", s.Text, s.Advice)
	}
	return nil
}
