package all

import (
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

func TestFind(t *testing.T) {
	for _, c := range []struct {
		compatible []string
		want       string
	}{
		{[]string{"linux,dummy-virt"}, "QEMU virt"},
		{[]string{"hardkernel,odroid-hc4", "amlogic,sm1"}, "ODROID-HC4"},
		{[]string{"acme,new-box", "linux,dummy-virt"}, "QEMU virt"},
		{[]string{"raspberrypi,4-model-b", "brcm,bcm2711"}, "Raspberry Pi 4"},
		{[]string{"pine64,rockpro64-v2.1", "pine64,rockpro64", "rockchip,rk3399"}, "ROCKPro64"},
		{[]string{"friendlyarm,nanopc-t6-lts", "rockchip,rk3588"}, "NanoPC-T6 LTS"},
		{[]string{"acme,new-box"}, ""},
		{nil, ""},
	} {
		b, found := Find(c.compatible)
		if b.Name != c.want || found != (c.want != "") {
			t.Errorf("Find(%q) = %q, %v; want %q", c.compatible, b.Name, found, c.want)
		}
	}
}

// Two boxes with one name in the device tree: which is meant would depend on the list's order.
func TestBoardsAreDistinct(t *testing.T) {
	seen := make(map[string]string)
	for _, b := range Boards {
		if b.Open == nil || b.Name == "" {
			t.Errorf("board %q lacks a name or Open", b.Name)
		}
		for _, c := range b.Compatible {
			if other, twice := seen[c]; twice {
				t.Errorf("%q is both %s and %s", c, other, b.Name)
			}
			seen[c] = b.Name
		}
	}
}

func TestCompatible(t *testing.T) {
	tree := func(b string) fstest.MapFS { return fstest.MapFS{"compatible": {Data: []byte(b)}} }
	got, err := compatible(tree("hardkernel,odroid-hc4\x00amlogic,sm1\x00"))
	if err != nil || !slices.Equal(got, []string{"hardkernel,odroid-hc4", "amlogic,sm1"}) {
		t.Errorf("compatible = %q, %v", got, err)
	}
	if got, err := compatible(fstest.MapFS{}); err != nil || got != nil {
		t.Errorf("without a device tree: %q, %v; want nothing", got, err)
	}
	if _, err := compatible(tree(strings.Repeat("x\x00", 4096))); err == nil {
		t.Error("a property without end was read")
	}
}
