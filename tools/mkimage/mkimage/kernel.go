package mkimage

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/postern-nas/postern/images"
	"github.com/postern-nas/postern/images/fdt"
)

// A kernel is what a linux-image package holds.
type kernel struct {
	version string
	image   []byte
	drivers map[string]string // module name to its file in the tree
	builtin map[string]bool   // modules that are part of the image
}

// wantKernel takes the kernel, its modules and those device trees, and leaves configuration and symbols.
func wantKernel(trees []string) func(string) bool {
	return func(name string) bool {
		if of, ok := strings.CutSuffix(name, ".dtb"); ok {
			return slices.ContainsFunc(trees, func(t string) bool { return strings.HasSuffix(of, "/"+t) })
		}
		return strings.HasPrefix(name, "boot/vmlinuz-") || strings.HasPrefix(name, "usr/lib/modules/") && !strings.Contains(name, "/dtb/") ||
			strings.HasPrefix(name, "lib/modules/") || strings.HasPrefix(name, "usr/share/doc/")
	}
}

// findKernel looks through the tree for its one kernel. Until 7.0 Debian has it in /boot, and since then beside its
// modules.
func findKernel(t tree) (*kernel, error) {
	k := &kernel{drivers: map[string]string{}, builtin: map[string]bool{}}
	for name, e := range t {
		v, ok := strings.CutPrefix(name, "boot/vmlinuz-")
		if dir, base := path.Split(name); base == "vmlinuz" && strings.HasPrefix(dir, "usr/lib/modules/") {
			v, ok = path.Base(dir), true
		}
		if ok && e.link == "" {
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

// moduleName is the name in the kernel of a module file.
func moduleName(file string) string {
	name, _, _ := strings.Cut(file, ".ko")
	return kernelSpelling(name)
}

// kernelSpelling: files have - where the kernel has _.
func kernelSpelling(name string) string { return strings.ReplaceAll(name, "-", "_") }

// A module is one driver, ready to be loaded.
type module struct {
	name  string
	data  []byte   // ELF
	needs []string // other modules, each behind its own needs
	info  modinfo
	from  string // package
}

// modules returns the named modules and what they depend on, each behind its dependencies. They are stored plain: the
// whole initramfs is compressed, and better so. soft resolves names of soft dependencies; what has no module is part of
// the kernel, or not wanted.
func (k *kernel) modules(t tree, names []string, soft func(name string) []string) (all []module, err error) {
	done := map[string][]string{} // to its needs
	var visit func(name string, way []string) error
	visit = func(name string, way []string) error {
		if _, ok := done[name]; ok || k.builtin[name] {
			return nil
		}
		if slices.Contains(way, name) {
			return fmt.Errorf("modules depend on each other: %s", strings.Join(append(way, name), ", "))
		}
		if _, ok := k.drivers[name]; !ok {
			return fmt.Errorf("kernel %s has no module %s (%s)", k.version, name, strings.Join(way, ", "))
		}
		data, info, err := k.unpack(t, name)
		if err != nil {
			return err
		}
		needs := slices.Clone(info.Depends)
		for _, s := range info.Soft {
			for _, n := range soft(s) {
				if !slices.Contains(append(way, name), n) { // a wish, and no reason to go around in circles
					needs = append(needs, n)
				}
			}
		}
		var order []string
		for _, n := range needs {
			if err := visit(n, append(slices.Clone(way), name)); err != nil {
				return err
			}
			for _, o := range append(slices.Clone(done[n]), n) {
				if !k.builtin[o] && !slices.Contains(order, o) {
					order = append(order, o)
				}
			}
		}
		done[name] = order
		all = append(all, module{name, data, order, info, t[k.drivers[name]].from})
		return nil
	}
	for _, n := range names {
		if err := visit(n, nil); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// choose chooses a board's modules: those that are always loaded, those that are carried, and what drives the devices
// of its trees.
func (k *kernel) choose(t tree, always, carried []string, trees [][]byte, cache string, log func(string, ...any)) (
	modules []module, index *images.AliasIndex, err error,
) {
	infos, err := k.index(t, cache, log)
	if err != nil {
		return nil, nil, err
	}
	names := slices.Concat(always, carried)
	for _, dtb := range trees {
		tree, err := fdt.Read(dtb)
		if err != nil {
			return nil, nil, err
		}
		for _, name := range driversFor(fdt.Compatible(tree.RootNode), infos) {
			if !slices.Contains(images.Unwanted, name) {
				names = append(names, name)
			}
		}
	}
	soft := func(name string) []string {
		if spelled := kernelSpelling(name); k.drivers[spelled] != "" {
			return []string{spelled}
		}
		for _, other := range slices.Sorted(maps.Keys(infos)) { // crypto-crc32c and the like are aliases
			if slices.Contains(infos[other].Aliases, name) {
				return []string{other}
			}
		}
		return nil
	}
	if modules, err = k.modules(t, names, soft); err != nil {
		return nil, nil, err
	}
	depends, with := map[string][]string{}, map[string]modinfo{}
	for _, m := range modules {
		depends[m.name], with[m.name] = append([]string{}, m.needs...), m.info
	}
	var load []string
	for _, n := range always {
		if !k.builtin[n] {
			load = append(load, n)
		}
	}
	return modules, aliasIndex(load, depends, with), nil
}

// trees returns the board's device trees with its patches, in their order.
func (k *kernel) trees(t tree, b images.Board) (all [][]byte, err error) {
	for _, name := range b.Trees {
		data, err := t.read(k.tree(name))
		if err != nil {
			return nil, err
		}
		if data, err = fdt.Patch(data, b.Patches[name]); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		all = append(all, data)
	}
	return all, nil
}

// tree is where the packages have a device tree.
func (k *kernel) tree(name string) string {
	return "usr/lib/modules/" + k.version + "/dtb/" + name + ".dtb"
}
