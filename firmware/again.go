package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"github.com/postern-nas/postern/firmware/config"
	"github.com/postern-nas/postern/firmware/keys"
	"github.com/postern-nas/postern/firmware/observe"
	"github.com/postern-nas/postern/firmware/state"
)

// wanted is why serving has ended, if an owner wanted it.
func wanted(why error) error {
	var r *restoring
	if errors.As(why, &r) {
		return r
	}
	for _, known := range []error{errAgain, errOff, errReset} {
		if errors.Is(why, known) {
			return known
		}
	}
	return nil
}

// serveAgain serves, and again when an owner asks for it from the panel or the page, until ctx is done.
func serveAgain(ctx context.Context, o options, out, logs io.Writer) error {
	if o.hardware == nil {
		o.hardware = openHardware(o, slog.New(observe.Handler(logs, slog.LevelInfo, observe.Text)))
		defer o.hardware.Close()
	}
	defer o.keepCool(ctx, slog.New(observe.Handler(logs, slog.LevelInfo, observe.Text)))()
	out, logs = beside(o.hardware, out), beside(o.hardware, logs)
	o.kept, o.pageWas = new(keptKeys), new(string)
	defer o.kept.close()
	for {
		var backup *restoring
		switch err := serve(ctx, o, out, logs); {
		case ctx.Err() != nil:
			return stripped(err)
		case errors.Is(err, errAgain):
		case errors.As(err, &backup):
			if err := backup.put(o, slog.New(observe.Handler(logs, slog.LevelInfo, observe.Text))); err != nil {
				return fmt.Errorf("the backup could not be put in place: %w", err)
			}
		case errors.Is(err, errReset):
			if err := eraseState(o.state); err != nil {
				return err
			}
			o.kept.forget()
		default:
			return stripped(err)
		}
	}
}

// stripped is err without what is no mistake.
func stripped(err error) error {
	if err == nil || errors.Is(err, errOff) || errors.Is(err, errAgain) || errors.Is(err, errReset) {
		return nil
	}
	return err
}

// erased are the files that a factory reset takes away: who the box is, who may use it, and what is set. The files in shares
// stay, and so does whatever else lies in the folder: what the machine knows of itself (pools.json: which disks it mounts,
// so that the setup that follows offers them with all that is on them; update.json; the clock; crashes).
var erased = []string{
	"postern.toml", "identity.json", "users.json", "devices.json", "access.json", setupFile, "tries.json", "demo-password",
	"ca.pem", "ca.cer", "server.pem", "chain.pem", "chain.key", "request.key", "*.corrupt-*", "audit/audit.jsonl", "audit/audit.*.jsonl", "cert-*.pem",
	"handles*", restoreJournal, state.CopyName(config.FileName), state.CopyName("identity.json"), state.CopyName("users.json"),
}

func eraseState(dir string) error {
	var errs []error
	for _, pattern := range slices.Concat(erased, keys.Files) {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return fmt.Errorf("factory reset: %w", err)
		}
		for _, path := range found {
			if st, err := os.Lstat(path); err != nil || st.IsDir() {
				continue
			}
			errs = append(errs, os.Remove(path))
		}
	}
	return errors.Join(errs...)
}
