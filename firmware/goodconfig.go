package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/postern-nas/postern/firmware/config"
	"github.com/postern-nas/postern/firmware/state"
)

// goodConfig is a copy of the last postern.toml that had no mistake, for a box: a mistake there, or a file that has been
// damaged, must not lock its owner out.
const goodConfig = "postern.toml.good"

// loadConfig reads the configuration. On a box a file with a mistake is left as it is, for its owner to look at, and the
// last one without is used; without such a one what it says apart from keys that this version does not know, as it is when a
// later version has written both and was left; and without that, one without any share.
func loadConfig(o options) (*config.Config, error) {
	cfg, err := config.Load(o.state)
	if o.machine == nil {
		return cfg, err
	}
	good := filepath.Join(o.state, goodConfig)
	if err == nil {
		now, err := os.ReadFile(filepath.Join(o.state, config.FileName))
		if err == nil {
			if old, _ := os.ReadFile(good); string(old) != string(now) {
				err = state.Write(good, now, 0o600)
			}
		}
		if err != nil {
			o.machine.Troubles = append(o.machine.Troubles, fmt.Sprintf("a copy of the settings cannot be kept (%v)", err))
		}
		return cfg, nil
	}
	tell := func(instead string) {
		text := fmt.Sprintf("%s has a mistake: %v; %s", config.FileName, err, instead)
		if !slices.Contains(o.machine.Troubles, text) { // the server may start again
			o.machine.Troubles = append(o.machine.Troubles, text)
		}
	}
	if doc, rerr := os.ReadFile(good); rerr == nil {
		if cfg, gerr := config.Parse(good, doc, o.state); gerr == nil {
			tell("the box uses what was set before")
			return cfg, nil
		}
	}
	if doc, rerr := os.ReadFile(filepath.Join(o.state, config.FileName)); rerr == nil {
		if cfg, kerr := config.ParseKnown(config.FileName, doc, o.state); kerr == nil {
			tell("the box uses the rest of it")
			return cfg, nil
		}
	}
	cfg, berr := config.Parse(config.FileName, []byte("version = 1\n"), o.state)
	if berr != nil {
		return nil, errors.Join(err, berr)
	}
	tell("the box serves no folder until it is right")
	return cfg, nil
}
