package slot

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// NewScript is the slots of a box on which U-Boot's script chooses: files a.efi and b.efi in folder, and slot.env, a text
// of lines active, trial and tries that both sides write. The script counts a try by making tries smaller before it starts
// the trial; at 0 it starts the active one, and puts trial to none.
//
// vars tells which one was booted, where the firmware has variables. Without, it is taken that the script could start what
// it counted.
func NewScript(place Place, folder string, vars Variables) Slots {
	return &script{files{place, folder}, vars}
}

type script struct {
	files
	vars Variables
}

const (
	envFile = "slot.env"
	// envSize: the text has a sector of its own, and is written in place, by one write. U-Boot does it so too, and a FAT
	// has no way that is safer.
	envSize = 512
	none    = "none"
)

// An env is the text.
type env struct {
	active, trial string // "a" or "b"; trial may be none
	tries         int
}

// parseEnv reads the text. What it does not say, or says wrongly, is as the script takes it.
func parseEnv(text []byte) env {
	e := env{active: "a", trial: none}
	if len(text) > envSize {
		return e
	}
	text, _, _ = bytes.Cut(text, []byte{0})
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimRight(line, "\r\n"), "=")
		switch name {
		case "active":
			if value == "b" {
				e.active = value
			}
		case "trial":
			if value == "a" || value == "b" {
				e.trial = value
			}
		case "tries":
			if len(value) == 1 && value[0] >= '0' && value[0] <= '0'+MaxTries {
				e.tries = int(value[0] - '0')
			}
		}
	}
	if e.trial == e.active {
		e.trial = none
	}
	return e
}

func (e env) text() []byte {
	b := make([]byte, envSize)
	copy(b, fmt.Sprintf("active=%s\ntrial=%s\ntries=%d\n", e.active, e.trial, e.tries))
	return b
}

func other(slot string) string {
	if slot == "a" {
		return "b"
	}
	return "a"
}

func readEnv(dir string) (env, error) {
	text, err := os.ReadFile(filepath.Join(dir, envFile))
	if err != nil && !os.IsNotExist(err) {
		return env{}, err
	}
	return parseEnv(text), nil
}

func writeEnv(dir string, e env) error {
	cut()
	f, err := os.OpenFile(filepath.Join(dir, envFile), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteAt(e.text(), 0); err != nil {
		return err
	}
	if err := f.Truncate(envSize); err != nil { // U-Boot's may have been longer
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return syncDir(dir)
}

// started says which slot was booted.
func (s *script) started(dir string, e env) string {
	for _, v := range []string{stubImageIdentifier, loaderImageIdentifier} {
		switch strings.ToLower(base(s.vars.text(v))) {
		case "a.efi":
			return "a"
		case "b.efi":
			return "b"
		}
	}
	if e.trial != none && e.tries < armed(dir) { // the script has counted
		return e.trial
	}
	return e.active
}

// Status implements Slots.
func (s *script) Status() (st Status, err error) {
	err = s.use(false, func(dir string) error {
		e, err := readEnv(dir)
		if err != nil {
			return err
		}
		st.Running = s.started(dir, e)
		st.Trial = st.Running == e.trial
		if e.trial != none && !st.Trial {
			if e.tries > 0 {
				st.Waiting = e.trial
			} else {
				st.Failed = e.trial
			}
		} else if e.trial == none && st.Running == e.active {
			// The script has no other way to say that it gave a slot up than to forget it: its file is still there, newer.
			st.Failed = forgotten(dir, e)
		}
		return nil
	})
	return st, err
}

// triedFile holds how many tries the other slot was given. TryNext makes it and whoever ends the trial removes it, so where
// it is and no trial is, the script gave up.
const triedFile = "TRIAL"

// armed is the number in triedFile; 0 if there is none.
func armed(dir string) int {
	b, err := os.ReadFile(filepath.Join(dir, triedFile))
	if err != nil || len(b) != 1 || b[0] < '1' || b[0] > '0'+MaxTries {
		return 0
	}
	return int(b[0] - '0')
}

func forgotten(dir string, e env) string {
	if armed(dir) == 0 {
		return ""
	}
	return other(e.active)
}

// Next implements Slots.
func (s *script) Next() (n string, err error) {
	err = s.use(false, func(dir string) error {
		e, err := readEnv(dir)
		n = other(s.started(dir, e))
		return err
	})
	return n, err
}

// TryNext implements Slots.
func (s *script) TryNext(tries int) error {
	return s.use(true, func(dir string) error {
		e, err := readEnv(dir)
		if err != nil {
			return err
		}
		running := s.started(dir, e)
		switch {
		case running == e.trial:
			return ErrTrial
		case !stored(dir):
			return ErrNoImage
		case tries < 1 || tries > MaxTries:
			return fmt.Errorf("%d tries", tries)
		}
		// Nobody boots the other slot while its image changes.
		if err := writeEnv(dir, env{active: running, trial: none}); err != nil {
			return err
		}
		to := other(running)
		if err := remove(filepath.Join(dir, to+".efi")); err != nil {
			return err
		}
		if err := rename(dir, newFile, to+".efi"); err != nil {
			return err
		}
		if err := arm(dir, tries); err != nil {
			return err
		}
		return writeEnv(dir, env{active: running, trial: to, tries: tries})
	})
}

func arm(dir string, tries int) error {
	cut()
	f, err := os.OpenFile(filepath.Join(dir, triedFile), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write([]byte{'0' + byte(tries)}); err != nil {
		return err
	}
	return errors.Join(f.Sync(), syncDir(dir))
}

// MarkGood implements Slots.
func (s *script) MarkGood() error {
	return s.use(true, func(dir string) error {
		e, err := readEnv(dir)
		if err != nil {
			return err
		}
		running := s.started(dir, e)
		if running == e.active && e.trial == none {
			return nil
		}
		if err := writeEnv(dir, env{active: running, trial: none}); err != nil {
			return err
		}
		return remove(filepath.Join(dir, triedFile))
	})
}

// GiveUp implements Slots.
func (s *script) GiveUp() error {
	return s.use(true, func(dir string) error {
		e, err := readEnv(dir)
		if err != nil || s.started(dir, e) != e.trial {
			return err
		}
		return writeEnv(dir, env{active: e.active, trial: e.trial, tries: 0})
	})
}

// Clean implements Slots.
func (s *script) Clean(waiting bool) error {
	return s.use(true, func(dir string) error {
		if err := remove(filepath.Join(dir, newFile)); err != nil {
			return err
		}
		e, err := readEnv(dir)
		if err != nil || s.started(dir, e) != e.active || e.trial != none && e.tries > 0 && !waiting {
			return err
		}
		if e.trial != none {
			if err := writeEnv(dir, env{active: e.active, trial: none}); err != nil {
				return err
			}
		}
		return remove(filepath.Join(dir, triedFile))
	})
}
