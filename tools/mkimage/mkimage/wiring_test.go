package mkimage

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/u-root/u-root/pkg/dt"

	"github.com/postern-nas/postern/board"
	boards "github.com/postern-nas/postern/board/all"
	"github.com/postern-nas/postern/images"
	"github.com/postern-nas/postern/images/fdt"
)

// realTrees reads all device trees that images carry from the kernel's package, as they are in the images. The package
// has 5 MB: it is fetched where CI=true, and otherwise only if it is in the cache.
func realTrees(t *testing.T) map[string]*dt.FDT {
	t.Helper()
	dir, err := Dir()
	if err != nil {
		t.Skip(err)
	}
	lock, err := images.Packages()
	if err != nil {
		t.Fatal(err)
	}
	p, err := lock.Select([]string{"linux-base-*-arm64"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "packages", filepath.Base(p[0].Path))); err != nil && os.Getenv("CI") != "true" {
		t.Skip("the kernel's device trees are not in the cache: make image BOARD=rpi brings them")
	}
	deb, err := newFetcher(dir, t.Output()).fetch(t.Context(), p[0])
	if err != nil {
		t.Fatal(err)
	}
	k, ok := splitKernel(p[0].Name)
	if !ok {
		t.Fatal(p[0].Name)
	}
	kernel := &kernel{version: k.version + "-" + k.flavour}
	var names []string
	for _, b := range images.Boards {
		names = append(names, b.Trees...)
	}
	files := tree{}
	if err := files.addPackage(deb, p[0].Name, wantKernel(names)); err != nil {
		t.Fatal(err)
	}
	found := map[string]*dt.FDT{}
	for _, b := range images.Boards {
		trees, err := kernel.trees(files, b)
		if err != nil {
			t.Fatal(err)
		}
		for i, name := range b.Trees {
			if found[name], err = fdt.Read(trees[i]); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		for name := range b.Patches {
			if !slices.Contains(b.Trees, name) {
				t.Errorf("%s patches %s, which it has not", b.Name, name)
			}
		}
	}
	return found
}

// TestWiring holds what our pages say of boxes against Linux's own device trees: each node is there and switched on,
// lights and keys and devices are called what we call them.
func TestWiring(t *testing.T) {
	trees := realTrees(t)
	wired := map[string]bool{}
	for _, b := range boards.Boards {
		for _, name := range b.Wiring.Trees {
			tree, ok := trees[name]
			if !ok {
				t.Errorf("%s: no image carries the tree %s", b.Name, name)
				continue
			}
			wired[name] = true
			check := &wiringCheck{t, b.Name + ": " + name, tree.RootNode}
			names := fdt.Strings(tree.RootNode, "compatible")
			if found, _ := boards.Find(names); found.Name != b.Name {
				t.Errorf("%s: with %q it is taken for %q", b.Name, names, found.Name)
			}
			check.wiring(b.Wiring)
		}
		if len(b.Compatible) > 0 && len(b.Wiring.Trees) == 0 && b.Name != "QEMU virt" {
			t.Errorf("%s is found by a device tree, and names none", b.Name)
		}
	}
	for name := range trees {
		if !wired[name] {
			t.Errorf("an image carries %s, and no page is about it", name)
		}
	}
}

type wiringCheck struct {
	t    *testing.T
	what string
	root *dt.Node
}

// node returns the node at a path, which must be there and switched on.
func (c *wiringCheck) node(path string) *dt.Node {
	c.t.Helper()
	n, ok := fdt.NodeAt(c.root, path)
	if !ok || !fdt.Enabled(c.root, path) {
		c.t.Errorf("%s: no node %s that is switched on", c.what, path)
		return dt.NewNode("")
	}
	return n
}

func (c *wiringCheck) wiring(w board.Wiring) {
	for _, p := range w.Panels {
		c.panel(p)
	}
	if w.Status.Node != "" {
		if got := ledName(c.node(w.Status.Node)); got != w.Status.Name {
			c.t.Errorf("%s: the light %s is called %q in Linux, not %q", c.what, w.Status.Node, got, w.Status.Name)
		}
	}
	for _, k := range w.Keys {
		p, ok := c.node(k.Node).LookProperty("linux,code")
		if !ok || len(p.Value) != 4 || binary.BigEndian.Uint32(p.Value) != uint32(k.Code) {
			c.t.Errorf("%s: the key %s has not code %#x", c.what, k.Node, k.Code)
		}
	}
	for _, f := range w.Fans {
		if n := c.node(f); !slices.Contains(fdt.Strings(n, "compatible"), "pwm-fan") {
			c.t.Errorf("%s: %s is no fan", c.what, f)
		}
	}
	if w.Clock != "" {
		c.node(w.Clock)
	}
	if w.TPM != "" {
		found := false
		for _, chip := range c.node(w.TPM).Children {
			found = found || slices.Contains(fdt.Strings(chip, "compatible"), "tcg,tpm_tis-spi")
		}
		if !found {
			c.t.Errorf("%s: no TPM on %s", c.what, w.TPM)
		}
	}
	for _, d := range w.Disks {
		if got := c.deviceName(d.Node); got != d.Device {
			c.t.Errorf("%s: %s is %q in Linux, not %q", c.what, d.Node, got, d.Device)
		}
	}
}

// panel looks at where a panel is: its bus, and the chips of its lines.
func (c *wiringCheck) panel(p board.Panel) {
	if p.I2C != "" && !strings.HasPrefix(c.node(p.I2C).Name, "i2c@") {
		c.t.Errorf("%s: %s is no I2C bus", c.what, p.I2C)
	}
	if p.SPI != "" {
		// What its driver takes (Linux, drivers/spi/spidev.c): there is no name for "left to user space".
		if !slices.Contains(fdt.Strings(c.node(p.SPI), "compatible"), "rohm,dh2228fv") || !strings.HasPrefix(path.Base(path.Dir(p.SPI)), "spi@") {
			c.t.Errorf("%s: %s is no device for spidev", c.what, p.SPI)
		}
	}
	lines := []board.Line{p.Data, p.Reset}
	for _, k := range p.Keys {
		lines = append(lines, k.Line)
	}
	for _, l := range lines {
		if l.Chip == "" {
			continue
		}
		if _, ok := c.node(l.Chip).LookProperty("gpio-controller"); !ok {
			c.t.Errorf("%s: %s has no GPIO lines", c.what, l.Chip)
		}
	}
}

// ledName is what Linux calls an LED (drivers/leds/led-core.c, led_compose_name).
func ledName(n *dt.Node) string {
	if label := fdt.Strings(n, "label"); label != nil {
		return label[0]
	}
	colours := []string{"white", "red", "green", "blue", "amber"} // include/dt-bindings/leds/common.h
	colour := ""
	if p, ok := n.LookProperty("color"); ok && len(p.Value) == 4 {
		if i := binary.BigEndian.Uint32(p.Value); int(i) < len(colours) {
			colour = colours[i]
		}
	}
	if function := fdt.Strings(n, "function"); colour != "" || function != nil {
		return colour + ":" + strings.Join(function, "")
	}
	return n.Name
}

// deviceName is what Linux calls a node's device (drivers/of/platform.c, of_device_make_bus_id): the first address as the
// processor sees it, which "ranges" of what is above may have moved, and the name.
func (c *wiringCheck) deviceName(path string) string {
	n := c.node(path)
	reg, ok := n.LookProperty("reg")
	if !ok || len(reg.Value) < 8 {
		return ""
	}
	at := binary.BigEndian.Uint64(reg.Value) // two cells: so it is on all of our processors
	above, _ := fdt.NodeAt(c.root, path[:strings.LastIndexByte(path, '/')])
	if ranges, ok := above.LookProperty("ranges"); ok && len(bytes.Trim(ranges.Value, "\x00")) > 0 {
		return "a bus that moves addresses"
	}
	name, _, _ := strings.Cut(n.Name, "@")
	return fmt.Sprintf("%x.%s", at, name)
}

// TestCrashMemory: memory that is kept for a panic's words has an address in as many cells as its parent says, records of a
// power of two of which at least two fit, and nothing else beside it that has an address of its own there (Linux,
// Documentation/devicetree/bindings/reserved-memory/ramoops.yaml).
func TestCrashMemory(t *testing.T) {
	trees, found := realTrees(t), 0
	for name, tree := range trees {
		parent, ok := fdt.NodeAt(tree.RootNode, "/reserved-memory")
		if !ok {
			continue
		}
		cell := func(n *dt.Node, property string) uint64 {
			p, ok := n.LookProperty(property)
			if !ok || len(p.Value) != 4 {
				t.Fatalf("%s: %s has no %s", name, n.Name, property)
			}
			return uint64(binary.BigEndian.Uint32(p.Value))
		}
		address, size := int(cell(parent, "#address-cells")), int(cell(parent, "#size-cells"))
		ranges := map[string][2]uint64{}
		for _, n := range parent.Children {
			p, ok := n.LookProperty("reg")
			if !ok {
				continue
			}
			if len(p.Value) != 4*(address+size) {
				t.Errorf("%s: %s has %d bytes of reg, not %d cells", name, n.Name, len(p.Value), address+size)
				continue
			}
			number := func(b []byte) uint64 { return binary.BigEndian.Uint64(append(make([]byte, 8-len(b)), b...)) }
			from := number(p.Value[:4*address])
			ranges[n.Name] = [2]uint64{from, from + number(p.Value[4*address:])}
		}
		for _, n := range parent.Children {
			if !slices.Contains(fdt.Strings(n, "compatible"), "ramoops") {
				continue
			}
			found++
			own, record := ranges[n.Name], cell(n, "record-size")
			if record&(record-1) != 0 || 2*record > own[1]-own[0] || n.Name != fmt.Sprintf("ramoops@%x", own[0]) {
				t.Errorf("%s: %s is %#x with records of %#x", name, n.Name, own, record)
			}
			for other, r := range ranges {
				if other != n.Name && r[0] < own[1] && own[0] < r[1] {
					t.Errorf("%s: %s lies in %s", name, n.Name, other)
				}
			}
		}
	}
	if found < 3 { // the Pis of the fourth generation
		t.Errorf("%d trees keep memory for a panic", found)
	}
}
