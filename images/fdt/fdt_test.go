package fdt

import (
	"bytes"
	"slices"
	"testing"

	"github.com/u-root/u-root/pkg/dt"

	"github.com/postern-nas/postern/images"
)

// testTree is a tree with a bus that is switched off, a pin group and a light.
func testTree(t testing.TB) []byte {
	t.Helper()
	root := dt.NewNode("",
		dt.WithProperty(dt.PropertyString("model", "test"), dt.Property{Name: "compatible", Value: []byte("acme,box\x00acme,soc\x00")}),
		dt.WithChildren(
			dt.NewNode("soc", dt.WithChildren(
				dt.NewNode("spi@10", dt.WithProperty(dt.PropertyString("status", "disabled"), dt.PropertyString("compatible", "acme,spi"))),
				dt.NewNode("pins", dt.WithProperty(dt.PropertyU32("phandle", 7))))),
			dt.NewNode("leds", dt.WithProperty(dt.PropertyString("compatible", "gpio-leds")))))
	tree := &dt.FDT{
		Header:         dt.Header{Magic: dt.Magic, Version: 17, LastCompVersion: 16},
		ReserveEntries: []dt.ReserveEntry{{Address: 0x1000, Size: 0x100}}, RootNode: root,
	}
	var b bytes.Buffer
	if _, err := tree.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestPatch(t *testing.T) {
	dtb := testTree(t)
	patched, err := Patch(dtb, []images.Patch{
		{Node: "/soc/spi@10", Set: []images.Property{{Name: "status", Value: "okay"}, {Name: "pinctrl-0", Value: images.Phandle("/soc/pins")}}},
		{Node: "/soc/spi@10/tpm@0", Set: []images.Property{
			{Name: "compatible", Value: []string{"acme,tpm", "tcg,tpm_tis-spi"}},
			{Name: "reg", Value: uint32(0)},
			{Name: "ranges", Value: []uint32{1, 2}},
			{Name: "wakeup-source"},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	tree, err := Read(patched)
	if err != nil {
		t.Fatal(err)
	}
	if !Enabled(tree.RootNode, "/soc/spi@10/tpm@0") || len(tree.ReserveEntries) != 1 {
		t.Error("the chip is not switched on, or what was reserved is lost")
	}
	tpm, ok := NodeAt(tree.RootNode, "/soc/spi@10/tpm@0")
	if !ok || !slices.Equal(Strings(tpm, "compatible"), []string{"acme,tpm", "tcg,tpm_tis-spi"}) {
		t.Errorf("%+v", tpm)
	}
	for name, want := range map[string]string{"reg": "\x00\x00\x00\x00", "ranges": "\x00\x00\x00\x01\x00\x00\x00\x02", "wakeup-source": ""} {
		if p, ok := tpm.LookProperty(name); !ok || string(p.Value) != want {
			t.Errorf("%s is %x", name, p)
		}
	}
	bus, _ := NodeAt(tree.RootNode, "/soc/spi@10")
	if p, ok := bus.LookProperty("pinctrl-0"); !ok || string(p.Value) != "\x00\x00\x00\x07" {
		t.Errorf("pinctrl-0 is %x", p)
	}
	if got := Compatible(tree.RootNode); !slices.Equal(got, []string{"acme,box", "acme,soc", "acme,spi", "acme,tpm", "gpio-leds", "tcg,tpm_tis-spi"}) {
		t.Errorf("compatible with %q", got)
	}
	before, err := Read(dtb)
	if err != nil {
		t.Fatal(err)
	}
	if got := Compatible(before.RootNode); slices.Contains(got, "acme,spi") || Enabled(before.RootNode, "/soc/spi@10") {
		t.Errorf("before it is compatible with %q", got)
	}
	if same, err := Patch(dtb, nil); err != nil || !bytes.Equal(same, dtb) {
		t.Errorf("no patches change the tree (%v)", err)
	}
}

func TestPatchRefuses(t *testing.T) {
	dtb := testTree(t)
	for name, p := range map[string]images.Patch{
		"nowhere":    {Node: "/other/x"},
		"no path":    {Node: "x"},
		"no name":    {Node: "/soc/"},
		"no node":    {Node: "/leds", Set: []images.Property{{Name: "a", Value: images.Phandle("/x")}}},
		"no phandle": {Node: "/leds", Set: []images.Property{{Name: "a", Value: images.Phandle("/soc")}}},
		"a type":     {Node: "/leds", Set: []images.Property{{Name: "a", Value: 1.5}}},
	} {
		if _, err := Patch(dtb, []images.Patch{p}); err == nil {
			t.Errorf("%s: patched", name)
		}
	}
	for n := range dtb {
		if _, err := Patch(dtb[:n], []images.Patch{{Node: "/leds"}}); err == nil {
			t.Fatalf("patched the first %d bytes of %d", n, len(dtb))
		}
	}
}
