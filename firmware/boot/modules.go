package boot

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/u-root/u-root/pkg/kmodule"
	"golang.org/x/sys/unix"

	"github.com/postern-nas/postern/images"
)

// lateModules are not needed to listen. Each costs the kernel a while, and btrfs measures, when it is loaded, which of its
// ways to compute parity is the fastest: a second on any processor.
var lateModules = []string{"btrfs", "vfat", "nls_ascii", "nls_cp437"}

// lateAfter is when they are loaded even if the box does not listen, for the owner's page before the keys are open.
const lateAfter = 5 * time.Second

// moduleFiles reads the files that the image's list names, in its order: those that the start needs, and those that
// nothing but lateModules does, by the index. There need be neither.
func moduleFiles(dir string, index *images.AliasIndex) (first, late []string, err error) {
	order, err := os.ReadFile(filepath.Join(dir, "order"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	isLate := func(string) bool { return false }
	if index != nil {
		needed := index.Order(slices.DeleteFunc(slices.Clone(index.Always), func(m string) bool { return slices.Contains(lateModules, m) })...)
		isLate = func(name string) bool { return !slices.Contains(needed, strings.TrimSuffix(name, ".ko")) }
	}
	for _, name := range strings.Fields(string(order)) {
		name = filepath.Base(name)
		path := filepath.Join(dir, name)
		if isLate(name) {
			late = append(late, path)
		} else {
			first = append(first, path)
		}
	}
	return first, late, nil
}

// loadModules loads files in their order. A driver that does not load is told and left: the box may do without it.
func loadModules(files []string, log *slog.Logger) {
	for _, path := range files {
		if err := loadModule(path); err != nil {
			log.Warn("a driver does not load", "error", err)
		}
	}
}

func loadModule(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := kmodule.FileInit(f, "", 0); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}
