package images

import "slices"

// The boards with a processor of Rockchip. It looks for its first program at sector 64, and that for U-Boot at sector
// 16384, so partitions begin at 16 MiB; a GPT ends before sector 64.
//
// https://docs.u-boot.org/en/latest/board/rockchip/rockchip.html
const (
	rockchipLoader = 64 * sector
	rockchipFirst  = 16 * align
)

// rockchipNeeds says what a board without a boot loader in Debian needs.
const rockchipNeeds = "U-Boot (2024.01 or later, with bootefi) in its SPI flash or eMMC: Debian has none for this board"

var rockchipDrivers = slices.Concat(genericDrivers, []string{"spi_rockchip", "dwmac_rk", "rockchip_thermal", "rk808_regulator", "rk805_pwrkey", "xhci_plat_hcd", "cpufreq_dt"})

// helios64 is Kobol's five-bay box with an RK3399. The TPM's place is the bus of the UEXT header, P2.
var helios64 = Board{
	Name:        "helios64",
	About:       "Kobol Helios64",
	CommandLine: genericCommand,
	Layout:      layout(rockchipFirst, "64"),
	Packages:    genericPackages,
	Tools:       tools,
	Modules:     genericModules,
	Drivers:     rockchipDrivers,
	Trees:       []string{"rockchip/rk3399-kobol-helios64"},
	Patches: map[string][]Patch{
		// i2c@ff3e0000 is bus 8, the one of UEXT, and i2c@ff160000 bus 7, of the header P1: for displays.
		"rockchip/rk3399-kobol-helios64": append(tpmOnSPI("/spi@ff1e0000", 0),
			Patch{Node: "/i2c@ff3e0000", Set: []Property{{"status", "okay"}}},
			Patch{Node: "/i2c@ff160000", Set: []Property{{"status", "okay"}}}),
	},
	Script: true,
	Needs:  rockchipNeeds,
}

// cm3588 is FriendlyElec's CM3588 on its NAS board, with four places for NVMe disks, and the NanoPC-T6, which is started
// the same way.
var cm3588 = Board{
	Name:        "cm3588",
	About:       "FriendlyElec CM3588 NAS and NanoPC-T6",
	CommandLine: genericCommand,
	Layout:      layout(rockchipFirst, "88"),
	Packages:    genericPackages,
	Tools:       tools,
	Modules:     genericModules,
	Drivers:     rockchipDrivers,
	Trees:       []string{"rockchip/rk3588-friendlyelec-cm3588-nas", "rockchip/rk3588-nanopc-t6", "rockchip/rk3588-nanopc-t6-lts"},
	Script:      true,
	Needs:       rockchipNeeds,
}

// rock5 are Radxa's ROCK 5 boards.
var rock5 = Board{
	Name:        "rock5",
	About:       "Radxa ROCK 5A, 5B, 5B+, 5C, 5T and 5 ITX",
	CommandLine: genericCommand,
	Layout:      layout(rockchipFirst, "A5"),
	Packages:    genericPackages,
	Tools:       tools,
	Modules:     genericModules,
	Drivers:     rockchipDrivers,
	Trees: []string{
		"rockchip/rk3588s-rock-5a", "rockchip/rk3588-rock-5b", "rockchip/rk3588-rock-5b-plus", "rockchip/rk3588s-rock-5c",
		"rockchip/rk3588-rock-5t", "rockchip/rk3588-rock-5-itx",
	},
	Script: true,
	Needs:  rockchipNeeds,
}

// rockpro64 is Pine64's ROCKPro64, sold with a case for two disks. It is the one of our Rockchip boards that Debian has
// a boot loader for: its image is whole.
var rockpro64 = Board{
	Name:        "rockpro64",
	About:       "Pine64 ROCKPro64",
	CommandLine: genericCommand,
	Layout:      layout(rockchipFirst, "99"),
	Packages:    append(slices.Clone(genericPackages), "u-boot-rockchip"),
	Tools:       tools,
	Modules:     genericModules,
	Drivers:     rockchipDrivers,
	Trees:       []string{"rockchip/rk3399-rockpro64", "rockchip/rk3399-rockpro64-v2"},
	Patches:     map[string][]Patch{"rockchip/rk3399-rockpro64": header8, "rockchip/rk3399-rockpro64-v2": header8},
	Script:      true,
	Raw:         []Raw{{From: "usr/lib/u-boot/rockpro64-rk3399/u-boot-rockchip.bin", At: rockchipLoader}},
}

// header8 is bus 8 on the header Pi-2, for a display.
var header8 = []Patch{{Node: "/i2c@ff3e0000", Set: []Property{{"status", "okay"}}}}
