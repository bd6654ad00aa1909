package mkimage

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
)

// A kernel is what a linux-image package holds.
type kernel struct {
	version string
	image   []byte
	drivers map[string]string // module name to its file in the tree
	builtin map[string]bool   // modules that are part of the image
}

// wantKernel takes the kernel and its modules, and leaves device trees, configuration and symbols.
func wantKernel(name string) bool {
	return strings.HasPrefix(name, "boot/vmlinuz-") || strings.HasPrefix(name, "usr/lib/modules/") || strings.HasPrefix(name, "lib/modules/")
}

// findKernel looks through the tree for its one kernel.
func findKernel(t tree) (*kernel, error) {
	k := &kernel{drivers: map[string]string{}, builtin: map[string]bool{}}
	for name, e := range t {
		if v, ok := strings.CutPrefix(name, "boot/vmlinuz-"); ok {
			if k.image != nil {
				return nil, fmt.Errorf("two kernels, %s and %s", k.version, v)
			}
			k.version, k.image = v, e.data
		}
	}
	if k.image == nil {
		return nil, fmt.Errorf("no kernel in the packages")
	}
	for name, e := range t {
		base := path.Base(name)
		switch {
		case strings.Contains(base, ".ko"):
			k.drivers[moduleName(base)] = name
		case base == "modules.builtin":
			for line := range strings.Lines(string(e.data)) {
				k.builtin[moduleName(path.Base(strings.TrimSpace(line)))] = true
			}
		}
	}
	return k, nil
}

// moduleName is the name in the kernel of a module file: files have - where the kernel has _.
func moduleName(file string) string {
	name, _, _ := strings.Cut(file, ".ko")
	return strings.ReplaceAll(name, "-", "_")
}

// A module is one driver, ready to be loaded.
type module struct {
	name string
	data []byte // ELF
}

// modules returns the named modules and what they depend on, each behind its dependencies. They are stored plain: the
// whole initramfs is compressed, and better so.
func (k *kernel) modules(t tree, names []string) (all []module, err error) {
	done := map[string]bool{}
	var visit func(name string, way []string) error
	visit = func(name string, way []string) error {
		if done[name] || k.builtin[name] {
			return nil
		}
		if slices.Contains(way, name) {
			return fmt.Errorf("modules depend on each other: %s", strings.Join(append(way, name), ", "))
		}
		file, ok := k.drivers[name]
		if !ok {
			return fmt.Errorf("kernel %s has no module %s (%s)", k.version, name, strings.Join(way, ", "))
		}
		raw, err := t.read(file)
		if err != nil {
			return err
		}
		_, kind, _ := strings.Cut(path.Base(file), ".ko")
		r, err := decompress(bytes.NewReader(raw), kind)
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		data, err := io.ReadAll(io.LimitReader(r, maxUnpacked))
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		needs, err := dependencies(data)
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		for _, n := range needs {
			if err := visit(n, append(way, name)); err != nil {
				return err
			}
		}
		done[name] = true
		all = append(all, module{name, data})
		return nil
	}
	for _, n := range names {
		if err := visit(n, nil); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// dependencies reads the names of the modules that must be there first: "depends" in the section .modinfo, which is
// key=value strings with a zero byte behind each.
func dependencies(ko []byte) (names []string, err error) {
	f, err := elf.NewFile(bytes.NewReader(ko))
	if err != nil {
		return nil, err
	}
	if f.Machine != elf.EM_AARCH64 {
		return nil, fmt.Errorf("a module for %v", f.Machine)
	}
	info := f.Section(".modinfo")
	if info == nil {
		return nil, fmt.Errorf("no section .modinfo: not a kernel module")
	}
	data, err := info.Data()
	if err != nil {
		return nil, err
	}
	for field := range strings.SplitSeq(string(data), "\x00") {
		if list, ok := strings.CutPrefix(field, "depends="); ok && list != "" {
			for n := range strings.SplitSeq(list, ",") {
				names = append(names, strings.ReplaceAll(n, "-", "_"))
			}
		}
	}
	return names, nil
}
