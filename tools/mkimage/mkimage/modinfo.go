package mkimage

import (
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/postern-nas/postern/images"
)

// A modinfo is what a module's file says of itself, in its section .modinfo.
type modinfo struct {
	Aliases  []string `json:",omitempty"` // patterns of the devices that it drives, and other names
	Depends  []string `json:",omitempty"`
	Soft     []string `json:",omitempty"` // should be there first, if there is such a module
	Firmware []string `json:",omitempty"` // files that it may ask for
	License  string   `json:",omitempty"`
}

// leftOut are folders of drivers that no box of ours has a use for: pictures, sound, radio and toys. To read them all
// would take a minute more.
var leftOut = []string{
	"drivers/gpu/", "drivers/media/", "drivers/video/", "drivers/staging/", "drivers/net/wireless/", "drivers/infiniband/",
	"drivers/bluetooth/", "drivers/comedi/", "drivers/isdn/", "drivers/nfc/", "drivers/soundwire/",
	"drivers/input/touchscreen/", "drivers/input/joystick/", "drivers/accel/", "drivers/target/", "drivers/crypto/",
	"drivers/net/can/", "drivers/usb/gadget/", "drivers/remoteproc/", "drivers/hwtracing/", "drivers/net/ieee802154/",
	"drivers/firewire/", "drivers/greybus/", "drivers/perf/", "drivers/devfreq/", "drivers/memory/", "drivers/edac/",
	"drivers/xen/", "drivers/bus/mhi/", "drivers/net/wwan/", "sound/",
}

// unwanted says whether a module's file is in a folder that is left out.
func unwanted(file string) bool {
	_, in, ok := strings.Cut(file, "/kernel/")
	return ok && slices.ContainsFunc(leftOut, func(dir string) bool { return strings.HasPrefix(in, dir) })
}

// indexVersion is part of an index's name in the cache: another number for another form or other folders.
const indexVersion = 4

// index reads the modinfo of all modules that are not left out. It takes half a minute, so what was read is kept in the
// cache, under a name made of what it was read from.
func (k *kernel) index(t tree, cache string, log func(string, ...any)) (map[string]modinfo, error) {
	h := sha256.New()
	fmt.Fprintln(h, indexVersion, k.version, leftOut)
	var names []string
	for name, file := range k.drivers {
		if !unwanted(file) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		e := t[k.drivers[name]]
		fmt.Fprintln(h, name, sha256.Sum256(e.data))
	}
	kept := filepath.Join(cache, "index", fmt.Sprintf("%x.json", h.Sum(nil)[:12]))
	all := map[string]modinfo{}
	if text, err := os.ReadFile(kept); err == nil && json.Unmarshal(text, &all) == nil && len(all) == len(names) {
		return all, nil
	}
	log("reading what %d modules say of themselves", len(names))
	var mu sync.Mutex
	var wg sync.WaitGroup
	var wrong error
	work := make(chan string)
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for name := range work {
				_, info, err := k.unpack(t, name)
				mu.Lock()
				all[name], wrong = info, errors.Join(wrong, err)
				mu.Unlock()
			}
		})
	}
	for _, name := range names {
		work <- name
	}
	close(work)
	wg.Wait()
	if wrong != nil {
		return nil, wrong
	}
	text, err := json.Marshal(all)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(kept), 0o755)
	}
	if err == nil {
		err = os.WriteFile(kept+".part", text, 0o644)
	}
	if err == nil {
		err = os.Rename(kept+".part", kept)
	}
	return all, err
}

// unpack returns a module's ELF file and what it says of itself.
func (k *kernel) unpack(t tree, name string) ([]byte, modinfo, error) {
	file := k.drivers[name]
	raw, err := t.read(file)
	if err != nil {
		return nil, modinfo{}, err
	}
	_, kind, _ := strings.Cut(path.Base(file), ".ko")
	r, err := decompress(bytes.NewReader(raw), kind)
	if err != nil {
		return nil, modinfo{}, fmt.Errorf("%s: %w", file, err)
	}
	data, err := io.ReadAll(io.LimitReader(r, maxUnpacked))
	if err != nil {
		return nil, modinfo{}, fmt.Errorf("%s: %w", file, err)
	}
	info, err := readModinfo(data)
	if err != nil {
		return nil, modinfo{}, fmt.Errorf("%s: %w", file, err)
	}
	return data, info, nil
}

// readModinfo reads the section .modinfo: key=value strings with a zero byte behind each.
func readModinfo(ko []byte) (m modinfo, err error) {
	f, err := elf.NewFile(bytes.NewReader(ko))
	if err != nil {
		return m, err
	}
	if f.Machine != elf.EM_AARCH64 {
		return m, fmt.Errorf("a module for %v", f.Machine)
	}
	section := f.Section(".modinfo")
	if section == nil {
		return m, fmt.Errorf("no section .modinfo: not a kernel module")
	}
	data, err := section.Data()
	if err != nil {
		return m, err
	}
	for field := range strings.SplitSeq(string(data), "\x00") {
		key, value, _ := strings.Cut(field, "=")
		switch {
		case value == "":
		case key == "alias":
			m.Aliases = append(m.Aliases, value)
		case key == "depends":
			for n := range strings.SplitSeq(value, ",") {
				m.Depends = append(m.Depends, kernelSpelling(n))
			}
		case key == "softdep":
			m.Soft = append(m.Soft, softBefore(value)...)
		case key == "firmware":
			m.Firmware = append(m.Firmware, value)
		case key == "license":
			m.License = value
		}
	}
	return m, nil
}

// softBefore returns what of a soft dependency comes first: "pre: a b post: c" gives a and b (modprobe.d(5)).
func softBefore(value string) (names []string) {
	pre := false
	for _, f := range strings.Fields(value) {
		switch f {
		case "pre:", "post:":
			pre = f == "pre:"
		default:
			if pre {
				names = append(names, f)
			}
		}
	}
	return names
}

// driversFor returns the modules that drive what a device tree names, by their aliases.
func driversFor(compatible []string, all map[string]modinfo) []string {
	x := aliasIndex(nil, nil, all)
	var names []string
	for _, c := range compatible {
		for _, m := range x.Match("of:NTC" + strings.ReplaceAll(c, " ", "_")) {
			if !slices.Contains(names, m) {
				names = append(names, m)
			}
		}
	}
	slices.Sort(names)
	return names
}

// aliasIndex makes the index of those modules.
func aliasIndex(always []string, depends map[string][]string, of map[string]modinfo) *images.AliasIndex {
	aliases := map[string][]string{}
	for name, m := range of {
		for _, a := range m.Aliases {
			// Only a name with a bus before it is a device's; and what needs a driver by another name has it in depends.
			if strings.Contains(a, ":") {
				aliases[name] = append(aliases[name], a)
			}
		}
	}
	return images.NewAliasIndex(always, depends, aliases)
}
