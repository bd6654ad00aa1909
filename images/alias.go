package images

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
)

// An AliasIndex says which driver a device needs, and what the driver needs: what depmod would write, for the modules of
// one image. It is a text of lines:
//
//	module tpm_tis_spi tpm_tis_core spi_bus   a module, and what is loaded before it
//	alias tpm_tis_spi of:N*T*Ctcg,tpm_tis-spi a pattern of modaliases that it drives
//	always btrfs                              loaded whatever the devices are
//
// Modaliases are matched by bus, and those of device trees by what they are compatible with: a box coming up asks some
// hundred times, on a slow processor.
type AliasIndex struct {
	Always  []string            // in order
	Depends map[string][]string // module to what it needs, each behind its own needs
	Aliases map[string][]string // module to patterns

	byTree map[string][]string    // compatible to modules
	byBus  map[string][][2]string // bus to pattern and module
}

const (
	// maxIndexLines bounds an index. All modules of Debian's kernel together have 30,000 aliases.
	maxIndexLines = 100_000
	// maxAlias bounds a line. PCI's aliases have 60 bytes, DMI's some hundred.
	maxAlias = 4096
	// treeAlias begins the pattern of a driver that is found by "compatible" alone.
	treeAlias = "of:N*T*C"
)

// ErrIndex says what is wrong with an index, with the line.
var ErrIndex = errors.New("module index")

// NewAliasIndex makes the index ready to be asked.
func NewAliasIndex(always []string, depends, aliases map[string][]string) *AliasIndex {
	x := &AliasIndex{
		Always: always, Depends: depends, Aliases: aliases, byTree: map[string][]string{}, byBus: map[string][][2]string{},
	}
	for _, m := range sortedKeys(aliases) {
		for _, a := range aliases[m] {
			x.add(m, a)
		}
	}
	return x
}

func sortedKeys[V any](m map[string]V) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func (x *AliasIndex) add(module, pattern string) {
	// Each driver of a device tree has its alias twice, once with "C*" behind for what is less exactly compatible.
	if c, ok := strings.CutPrefix(pattern, treeAlias); ok && !strings.ContainsAny(strings.TrimSuffix(c, "C*"), "*?[") {
		c = strings.TrimSuffix(c, "C*")
		if !slices.Contains(x.byTree[c], module) {
			x.byTree[c] = append(x.byTree[c], module)
		}
		return
	}
	bus, _, ok := strings.Cut(pattern, ":")
	if ok && !strings.ContainsAny(bus, "*?[") {
		x.byBus[bus] = append(x.byBus[bus], [2]string{pattern, module})
	}
}

// String is the index as text: the same for the same contents.
func (x *AliasIndex) String() string {
	var b strings.Builder
	for _, m := range sortedKeys(x.Depends) {
		fmt.Fprintln(&b, strings.TrimSpace("module "+m+" "+strings.Join(x.Depends[m], " ")))
	}
	for _, m := range sortedKeys(x.Aliases) {
		for _, a := range x.Aliases[m] {
			fmt.Fprintf(&b, "alias %s %s\n", m, a)
		}
	}
	for _, m := range x.Always {
		fmt.Fprintf(&b, "always %s\n", m)
	}
	return b.String()
}

// ParseAliasIndex reads an index.
func ParseAliasIndex(text string) (*AliasIndex, error) {
	depends, aliases := map[string][]string{}, map[string][]string{}
	var always []string
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSuffix(line, "\n")
		if n > maxIndexLines || len(line) > maxAlias {
			return nil, fmt.Errorf("%w: line %d: too much", ErrIndex, n)
		}
		kind, rest, _ := strings.Cut(line, " ")
		f := strings.Fields(rest)
		switch {
		case kind == "module" && len(f) >= 1 && depends[f[0]] == nil:
			depends[f[0]] = f[1:]
		case kind == "alias" && len(f) >= 2 && depends[f[0]] != nil:
			_, pattern, _ := strings.Cut(rest, " ") // patterns have no blanks, but DMI's may
			aliases[f[0]] = append(aliases[f[0]], pattern)
		case kind == "always" && len(f) == 1 && depends[f[0]] != nil:
			always = append(always, f[0])
		default:
			return nil, fmt.Errorf("%w: line %d: %q", ErrIndex, n, line)
		}
	}
	for _, on := range depends {
		for _, d := range on {
			if depends[d] == nil {
				return nil, fmt.Errorf("%w: no module %s, and another needs it", ErrIndex, d)
			}
		}
	}
	return NewAliasIndex(always, depends, aliases), nil
}

// Match returns the modules that drive the device with that modalias, without what they need.
func (x *AliasIndex) Match(modalias string) (modules []string) {
	add := func(m string) {
		if !slices.Contains(modules, m) {
			modules = append(modules, m)
		}
	}
	bus, rest, ok := strings.Cut(modalias, ":")
	if !ok || len(modalias) > maxAlias {
		return nil
	}
	if bus == "of" { // of:NnameTtypeCfirstCsecond, and a C may be part of a name too
		for i, c := range rest {
			if c != 'C' {
				continue
			}
			for end := i + 1; end <= len(rest); end++ {
				if end == len(rest) || rest[end] == 'C' {
					for _, m := range x.byTree[rest[i+1:end]] {
						add(m)
					}
				}
			}
		}
	}
	for _, p := range x.byBus[bus] {
		// The kernel's patterns are those of the shell, and path.Match's the same but for slashes, which no bus has.
		if ok, err := path.Match(p[0], modalias); err == nil && ok {
			add(p[1])
		}
	}
	return modules
}

// Order returns modules with all that they need, in an order in which they can be loaded.
func (x *AliasIndex) Order(modules ...string) (order []string) {
	for _, m := range modules {
		for _, n := range append(slices.Clone(x.Depends[m]), m) {
			if _, known := x.Depends[n]; known && !slices.Contains(order, n) {
				order = append(order, n)
			}
		}
	}
	return order
}
