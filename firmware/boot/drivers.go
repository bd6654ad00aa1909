package boot

import (
	"bytes"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/postern-nas/postern/images"
)

// maxRounds bounds how often devices are looked through at the start. A driver brings devices to light that need a
// driver: a bus, its controller, a disk, a partition. Boards have chains of six.
const maxRounds = 16

// drivers loads what devices ask for, by the image's index.
type drivers struct {
	dir   string
	index *images.AliasIndex
	asked map[string]bool // modaliases that were answered
	done  map[string]bool // modules that were tried
	load  func(path string) error
	log   *slog.Logger
}

// openDrivers reads the index in dir. Without one the devices get what is always loaded and nothing else; nil, then.
func openDrivers(dir string, log *slog.Logger) *drivers {
	text, err := os.ReadFile(filepath.Join(dir, "index"))
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			log.Error("drivers", "error", err)
		}
		return nil
	}
	index, err := images.ParseAliasIndex(string(text))
	if err != nil {
		log.Error("drivers", "error", err)
		return nil
	}
	return &drivers{dir: dir, index: index, asked: map[string]bool{}, done: map[string]bool{}, load: loadModule, log: log}
}

// aliases is the index; nil without one.
func (d *drivers) aliases() *images.AliasIndex {
	if d == nil {
		return nil
	}
	return d.index
}

// answer loads what the device with that modalias needs, and says whether that was anything new.
func (d *drivers) answer(modalias string) (loaded bool) {
	if modalias == "" || d.asked[modalias] {
		return false
	}
	d.asked[modalias] = true
	for _, m := range d.index.Order(d.index.Match(modalias)...) {
		if d.done[m] {
			continue
		}
		d.done[m], loaded = true, true
		if err := d.load(filepath.Join(d.dir, m+".ko")); err != nil {
			d.log.Warn("a driver does not load", "error", err)
		}
	}
	return loaded
}

// scan answers the devices on all buses of sys, which is /sys, until none of them asks for more. To walk through all of
// /sys/devices takes ten times as long.
func (d *drivers) scan(sys string) {
	for range maxRounds {
		more := false
		found, _ := filepath.Glob(filepath.Join(sys, "bus/*/devices/*/modalias")) // the pattern is good
		for _, path := range found {
			if text, err := os.ReadFile(path); err == nil && d.answer(strings.TrimSpace(string(text))) { // else it has just gone
				more = true
			}
		}
		if !more {
			return
		}
	}
}

// follow answers devices as they are announced: a disk that is plugged in, or one that was slow. It returns when
// events are closed.
func (d *drivers) follow(events *events, sys string) {
	for b := make([]byte, 8<<10); ; {
		n, err := events.file.Read(b)
		switch {
		case errors.Is(err, unix.ENOBUFS): // some were lost
			d.scan(sys)
		case err != nil:
			return
		default:
			d.answer(announced(b[:n]))
		}
	}
}

// announced reads the modalias of a device that was added from the kernel's message: a head, then NAME=value, each with
// a zero byte behind it (lib/kobject_uevent.c).
func announced(message []byte) string {
	alias, added := "", false
	for field := range bytes.SplitSeq(message, []byte{0}) {
		name, value, _ := strings.Cut(string(field), "=")
		switch name {
		case "ACTION":
			added = value == "add" || value == "change"
		case "MODALIAS":
			alias = value
		}
	}
	if !added {
		return ""
	}
	return alias
}

// plug loads what the devices need that are there, and from now on what others need that come. Nil drivers load nothing.
func (d *drivers) plug(sys string) {
	if d == nil {
		return
	}
	events, err := openEvents() // before the devices are looked through, so that none is missed
	d.scan(sys)
	if err != nil {
		d.log.Error("devices that are plugged in later get no driver", "error", err)
		return
	}
	go d.follow(events, sys)
}
