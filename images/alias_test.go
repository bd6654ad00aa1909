package images

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

const testIndex = `module ahci libahci libata
module libahci libata
module libata
module nvme
module pcie_rockchip phy_rockchip
module phy_rockchip
module uas
alias ahci pci:v*d*sv*sd*bc01sc06i01*
alias ahci pci:v0000197Bd*sv*sd*bc01sc06i01*
alias nvme pci:v*d*sv*sd*bc01sc08i02*
alias pcie_rockchip of:N*T*Crockchip,rk3399-pcie
alias pcie_rockchip of:N*T*Crockchip,rk3399-pcieC*
alias uas usb:v*p*d*dc*dsc*dp*ic08isc06ip62in*
always uas
`

func TestAliasIndex(t *testing.T) {
	x, err := ParseAliasIndex(testIndex)
	if err != nil {
		t.Fatal(err)
	}
	if x.String() != testIndex {
		t.Errorf("written as\n%s", x)
	}
	for alias, want := range map[string]string{
		"pci:v0000197Bd00000585sv0000197Bsd00000000bc01sc06i01": "ahci",
		"pci:v0000144Dd0000A80Asv0000144Dsd0000A801bc01sc08i02": "nvme",
		"of:NpcieTpciCrockchip,rk3399-pcie":                     "pcie_rockchip",
		"of:NpcieT(null)CCamel,CaseCrockchip,rk3399-pcieCother": "pcie_rockchip",
		"of:NpcieT(null)Crockchip,rk3399-pcie-ep":               "",
		"usb:v0BDAp9210d1234dc00dsc00dp00ic08isc06ip62in00":     "uas",
		"platform:ahci": "", "nonsense": "", "": "",
	} {
		if got := strings.Join(x.Match(alias), " "); got != want {
			t.Errorf("%s: %q, want %q", alias, got, want)
		}
	}
	if got := x.Order("ahci", "pcie_rockchip", "ahci", "stranger"); !slices.Equal(got, []string{"libahci", "libata", "ahci", "phy_rockchip", "pcie_rockchip"}) {
		t.Errorf("order %v", got)
	}
	for name, bad := range map[string]string{
		"kind": "modul x\n", "twice": "module x\nmodule x\n", "unknown": "alias x of:*\n", "need": "module x y\n", "always": "always x\n",
		"nothing": "module\n", "long": "module " + strings.Repeat("x", maxAlias) + "\n",
	} {
		if _, err := ParseAliasIndex(bad); !errors.Is(err, ErrIndex) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzAliasIndex(f *testing.F) {
	f.Add(testIndex, "of:NpcieTpciCrockchip,rk3399-pcie")
	f.Add("module x\nalias x a:[\n", "a:[")
	f.Fuzz(func(t *testing.T, text, alias string) {
		x, err := ParseAliasIndex(text)
		if err != nil {
			return
		}
		again, err := ParseAliasIndex(x.String())
		if err != nil {
			t.Fatalf("%v\n%s", err, x)
		}
		if a, b := x.Order(x.Match(alias)...), again.Order(again.Match(alias)...); !slices.Equal(a, b) {
			t.Fatalf("%v and %v", a, b)
		}
	})
}
