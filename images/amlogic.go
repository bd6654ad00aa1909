package images

import "slices"

// odroidHC4 is Hardkernel's ODROID-HC4, with an Amlogic S905X3 (SM1). The processor looks for its first program at
// sector 1, where a GPT has its header, so the disk has an MBR: whoever has a boot loader for the board can put it there
// (bytes 0 to 439 and from sector 1 on, before the first partition). It needs Amlogic's own signed parts, which Debian
// has not; the box's SPI flash may hold it too.
//
// https://docs.u-boot.org/en/latest/board/amlogic/odroid-hc4.html
var odroidHC4 = Board{
	Name:        "odroid-hc4",
	About:       "Hardkernel ODROID-HC4",
	CommandLine: genericCommand,
	Layout:      mbr(layout(4*align, "C4")),
	Packages:    genericPackages,
	Tools:       tools,
	Modules:     genericModules,
	Drivers:     slices.Concat(genericDrivers, []string{"dwmac_meson8b", "meson_gxbb_wdt", "xhci_plat_hcd", "cpufreq_dt"}),
	Trees:       []string{"amlogic/meson-sm1-odroid-hc4"},
	Script:      true,
	Needs:       "U-Boot (2024.01 or later, with bootefi) in its SPI flash or on the medium: Debian has none for this board",
}
