package main

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"
	"unicode/utf8"

	"golang.org/x/crypto/scrypt"

	"github.com/postern-nas/postern/firmware/audit"
	"github.com/postern-nas/postern/firmware/config"
	"github.com/postern-nas/postern/firmware/keys"
)

// A backup is what makes a box this box: settings, users, paired devices, certificates and their keys. It is one file:
//
//	backupMagic, 16 bytes of salt, 12 of nonce, then AES-256-GCM of JSON {name: contents}; the magic and salt are authenticated
//
// under a key that scrypt (RFC 7914) makes of the owner's password. It has no file of a share in it.
const (
	backupMagic = "postern backup 1\n"
	backupSalt  = 16
	maxBackup   = 32 << 20
	maxKept     = 4 << 20 // of one file
	maxNames    = 600
	minBackupPW = 10
	// scrypt's costs: 64 MiB and about a quarter of a second on a small board, for each guess.
	scryptN, scryptR, scryptP = 1 << 16, 8, 1
)

// What is in a backup, by name in the state folder: files, and secrets, which may be sealed there.
var (
	backupFiles   = regexp.MustCompile(`^(postern\.toml|identity\.json|users\.json|devices\.json|access\.json|setup\.json|ca\.pem|ca\.cer|server\.pem|cert-[0-9a-f]{16}\.pem)$`)
	backupSecrets = regexp.MustCompile(`^(state|ca|server|cert-[0-9a-f]{16})\.key$`)
)

// residentKey is how a key begins that only names one in the TPM, see package keys.
var residentKey = []byte("PTPK")

// backups implements web.Backups.
type backups struct {
	w    *world
	dir  string
	ring *keys.Ring
	end  context.CancelCauseFunc
}

// Save implements web.Backups.
func (b *backups) Save(ctx context.Context, w io.Writer, password string) error {
	all, err := collect(b.dir, b.ring)
	if err != nil {
		return err
	}
	sealed, err := sealBackup(all, password)
	if err != nil {
		return err
	}
	b.w.record(ctx, audit.Event{ID: audit.ConfigChanged, OK: true, Text: "backup saved"})
	_, err = w.Write(sealed)
	return err
}

// Restore implements web.Backups: it is put in place when serving has ended, which begins again with it.
func (b *backups) Restore(ctx context.Context, r io.Reader, password string) error {
	sealed, err := io.ReadAll(io.LimitReader(r, maxBackup+1))
	if err != nil {
		return err
	}
	all, err := openBackup(sealed, password)
	if err != nil {
		return err
	}
	if _, err := config.Parse(config.FileName, all[config.FileName], b.dir); err != nil {
		return fmt.Errorf("the settings in the backup do not fit here, and nothing was changed: %w", err)
	}
	b.w.record(ctx, audit.Event{ID: audit.ConfigChanged, OK: true, Text: "backup restored"})
	time.AfterFunc(endAfter, func() { b.end(&restoring{all}) })
	return nil
}

// collect reads what is there.
func collect(dir string, ring *keys.Ring) (map[string][]byte, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	all := make(map[string][]byte)
	secrets := []string{"state.key", "ca.key", "server.key"}
	for _, e := range entries {
		if !backupFiles.MatchString(e.Name()) || !e.Type().IsRegular() && e.Type()&fs.ModeSymlink == 0 {
			continue
		}
		if all[e.Name()], err = os.ReadFile(filepath.Join(dir, e.Name())); err != nil {
			return nil, err
		}
		if id, ok := bytes.CutSuffix([]byte(e.Name()), []byte(".pem")); ok && bytes.HasPrefix(id, []byte("cert-")) {
			secrets = append(secrets, string(id)+".key")
		}
	}
	for _, name := range secrets {
		secret, err := ring.Read(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if bytes.HasPrefix(secret, residentKey) {
			return nil, errors.New(`the keys are in the TPM itself, from which nothing comes out: with key_store = "sealed" in postern.toml new ones can be saved`)
		}
		all[name] = secret
	}
	return all, nil
}

func backupKey(password string, salt []byte) (cipher.AEAD, error) {
	key, err := scrypt.Key([]byte(password), salt, scryptN, scryptR, scryptP, 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

func sealBackup(all map[string][]byte, password string) ([]byte, error) {
	if utf8.RuneCountInString(password) < minBackupPW {
		return nil, fmt.Errorf("the password of the backup is too short: at least %d characters", minBackupPW)
	}
	text, err := json.Marshal(all)
	if err != nil {
		return nil, err
	}
	head := append([]byte(backupMagic), make([]byte, backupSalt)...)
	rand.Read(head[len(backupMagic):])
	aead, err := backupKey(password, head[len(backupMagic):])
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, aead.NonceSize())
	rand.Read(nonce)
	return aead.Seal(append(slices.Clone(head), nonce...), nonce, text, head), nil
}

var errNoBackup = errors.New("this is no backup of Postern's; choose another file")

func openBackup(sealed []byte, password string) (map[string][]byte, error) {
	const head = len(backupMagic) + backupSalt
	switch {
	case len(sealed) > maxBackup:
		return nil, errors.New("this is too large for a backup")
	case len(sealed) < head+12+16 || !bytes.HasPrefix(sealed, []byte(backupMagic)):
		return nil, errNoBackup
	}
	aead, err := backupKey(password, sealed[len(backupMagic):head])
	if err != nil {
		return nil, err
	}
	nonce := sealed[head : head+aead.NonceSize()]
	text, err := aead.Open(nil, nonce, sealed[head+len(nonce):], sealed[:head])
	if err != nil {
		return nil, errors.New("this is not the password of the backup, or the file is damaged")
	}
	return readBackup(text)
}

// readBackup checks what was inside.
func readBackup(text []byte) (map[string][]byte, error) {
	var all map[string][]byte
	if err := json.Unmarshal(text, &all); err != nil || len(all) > maxNames {
		return nil, errNoBackup
	}
	for name, contents := range all {
		if !backupFiles.MatchString(name) && !backupSecrets.MatchString(name) || len(contents) > maxKept {
			return nil, fmt.Errorf("the backup has %q in it, which does not belong there", name)
		}
	}
	for _, needed := range []string{config.FileName, "users.json", "identity.json", "state.key"} {
		if len(all[needed]) == 0 {
			return nil, fmt.Errorf("the backup has no %s in it", needed)
		}
	}
	return all, nil
}
