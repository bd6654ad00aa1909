package keys

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/postern-nas/postern/firmware/state"
)

// plain keeps secrets in files.
func (r *Ring) plain(why string) {
	r.where, r.now = OnDisk, State{Where: OnDisk}
	text := why + ": the server's keys are not sealed. Who has the disk of this box's state has them"
	if why == "" {
		text = "The server's keys are not sealed, as postern.toml says. Who has the disk of this box's state has them"
	} else {
		r.now.Trouble = NoTPM
		r.now.Text, r.now.Advice = text, "They are sealed as soon as there is a TPM"
	}
	r.log.Warn("key not sealed", "why", text)
}

// moveOut is for an owner who wants files.
func (r *Ring) moveOut() error {
	all := r.secrets
	for name, secret := range all {
		if !isPlain(name) {
			continue
		}
		if err := state.Write(r.path(name), secret, 0o600); err != nil {
			return err
		}
	}
	// The vault last, and its mark first: without either the files count.
	for _, name := range []string{anchorFile, vaultFile, vaultCopy} {
		if err := os.Remove(r.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	r.log.Warn("the keys were taken out of the TPM's care, as postern.toml says", "keys", len(all))
	r.shut()
	r.plain("")
	return nil
}

// RestoreKey is what a backup is encrypted under that is being put in place. Without it there is none.
const RestoreKey = "restore.key"

// isPlain says whether a file in the state folder is one of the secrets. An owner's own key may lie there, too.
func isPlain(name string) bool {
	switch name {
	case "ca.key", "server.key", "state.key", RestoreKey:
		return true
	}
	return strings.HasPrefix(name, "cert-") && strings.HasSuffix(name, ".key") && goodName.MatchString(name)
}

// plainNames lists the secrets in plain files.
func (r *Ring) plainNames() (names []string, err error) {
	entries, err := os.ReadDir(r.o.Dir)
	for _, e := range entries {
		if isPlain(e.Name()) && e.Type().IsRegular() {
			names = append(names, e.Name())
		}
	}
	return names, err
}

func (r *Ring) readPlain() (secrets, error) {
	names, err := r.plainNames()
	if err != nil {
		return nil, err
	}
	all := make(secrets)
	for _, name := range names {
		if all[name], err = readBounded(r.path(name), maxSecret); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// wipePlain removes the plain files of what is in the vault. One that says something else was written by an older Postern
// that knew of no vault, and is the owner's to judge.
func (r *Ring) wipePlain() {
	names, err := r.plainNames()
	if err != nil {
		r.log.Error("looking for plain keys", "error", err)
	}
	halves, _ := filepath.Glob(r.path(".*.key.new-*")) // the pattern is good; what state.Write was about to rename
	for _, path := range halves {
		if name, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(path), "."), ".new-"); isPlain(name) {
			if err := wipe(path); err != nil {
				r.log.Error("half a plain key could not be removed; remove it", "file", path, "error", err)
			}
		}
	}
	for _, name := range names {
		b, err := readBounded(r.path(name), maxSecret)
		wiped := bytes.Count(b, []byte{0}) == len(b) // the power went before it was removed
		if err == nil && !wiped && !bytes.Equal(b, r.secrets[name]) {
			r.log.Warn("a key in a plain file is not the sealed one, which counts; remove the file", "file", r.path(name))
			continue
		}
		if err == nil {
			err = wipe(r.path(name))
		}
		if err != nil {
			r.log.Error("a plain key that is sealed now could not be removed; remove it", "file", r.path(name), "error", err)
			continue
		}
		r.log.Info("a plain key was overwritten and removed; flash memory may keep a trace of it for a while", "file", r.path(name))
	}
}
