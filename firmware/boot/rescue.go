package boot

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/postern-nas/postern/firmware/state"
)

// Bounds of what is saved of a state that is made anew. It is small files, and they wait in memory.
const (
	maxSaved     = 8 << 20
	maxSavedFile = 1 << 20
	maxSavedDeep = 3
	rawBeginning = 1 << 20
)

// aside is the folder for it in the new state.
func (p *partition) aside() string { return "set-aside-" + p.now.UTC().Format("20060102T150405Z") }

// rescue reads what can be read of a partition that is about to be made anew: its files if it can be mounted, else its
// beginning, for whoever looks at it later. It never fails; what it does not get is lost.
func (p *partition) rescue() map[string][]byte {
	saved := map[string][]byte{}
	if err := p.attach(unix.MS_RDONLY); err == nil {
		total := 0
		root := os.DirFS(p.dir)
		err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return nil // what is damaged
			case d.IsDir() && (strings.Count(name, "/") >= maxSavedDeep || name == "disk"): // the folder to try things with
				return fs.SkipDir
			case !d.Type().IsRegular():
				return nil
			}
			info, err := d.Info()
			if err != nil || info.Size() > maxSavedFile || total+int(info.Size()) > maxSaved {
				return nil
			}
			if b, err := fs.ReadFile(root, name); err == nil {
				saved[name] = b
				total += len(b)
			}
			return nil
		})
		if err := errors.Join(err, unix.Unmount(p.dir, unix.MNT_DETACH)); err != nil {
			p.log.Warn("the old state", "error", err)
		}
		return saved
	}
	f, err := os.Open(p.device)
	if err != nil {
		return saved
	}
	defer f.Close()
	if b, err := io.ReadAll(io.LimitReader(f, rawBeginning)); err == nil {
		saved["first-mebibyte"] = b
	}
	return saved
}

// keep writes it into the new state.
func (p *partition) keep(saved map[string][]byte) {
	dir := filepath.Join(p.dir, p.aside())
	for name, data := range saved {
		path := filepath.Join(dir, filepath.FromSlash(name))
		err := os.MkdirAll(filepath.Dir(path), 0o700)
		if err == nil {
			err = state.Write(path, data, 0o600)
		}
		if err != nil {
			p.log.Warn("not set aside", "file", name, "error", err)
			return
		}
	}
	p.log.Warn("what could be read of the old state is set aside", "folder", p.aside(), "files", len(saved))
}
