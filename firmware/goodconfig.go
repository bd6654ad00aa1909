package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/postern-nas/postern/firmware/config"
	"github.com/postern-nas/postern/firmware/state"
)

// loadConfig reads the configuration. On a box a copy of the last one that had no mistake is kept, because a mistake or a
// damaged file must not lock its owner out: a file with a mistake is left as it is, for its owner to look at, and the copy
// is used; one that is damaged is made anew from the copy; and where there is none, a box serves no share.
func loadConfig(o options) (*config.Config, error) {
	path := filepath.Join(o.state, config.FileName)
	if o.machine != nil {
		if told := repairConfig(path); told != "" && !slices.Contains(o.machine.Troubles, told) {
			o.machine.Troubles = append(o.machine.Troubles, told)
		}
	}
	cfg, err := config.Load(o.state)
	if o.machine == nil {
		return cfg, err
	}
	good, changed, goodErr := state.ReadCopy(path)
	if err == nil {
		st, err := os.Stat(path)
		if err == nil && (goodErr != nil || changed != st.ModTime().UnixNano()) {
			var now []byte
			if now, err = os.ReadFile(path); err == nil {
				err = state.WriteCopy(path, now, 0o600)
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
	if goodErr == nil {
		if cfg, err := config.Parse(state.CopyName(path), good, o.state); err == nil {
			tell("the box uses what was set before")
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

// repairConfig puts the copy in the place of a file whose contents have changed though nobody has written it, and says so.
func repairConfig(path string) (told string) {
	good, changed, err := state.ReadCopy(path)
	if err != nil {
		return ""
	}
	st, err := os.Stat(path)
	if err != nil || st.ModTime().UnixNano() != changed {
		return ""
	}
	if now, err := os.ReadFile(path); err == nil && bytes.Equal(now, good) {
		return ""
	}
	_, err = state.SetAside(path, time.Now())
	if err == nil {
		err = state.WriteTwice(path, good, 0o600)
	}
	if err != nil {
		return fmt.Sprintf("%s is damaged, and could not be made anew (%v)", config.FileName, err)
	}
	return config.FileName + " was damaged and is again as it was before"
}
