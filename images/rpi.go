package images

import "slices"

// rpi is Raspberry Pi 4, 400, Compute Module 4 and, without a boot loader that was ever tried, 5. The processor's own
// program reads a FAT partition of an MBR disk: firmware, a device tree that it completes with what it knows of the
// board (memory, address of the network card), and U-Boot instead of a kernel.
//
// https://www.raspberrypi.com/documentation/computers/config_txt.html
var rpi = Board{
	Name:        "rpi",
	About:       "Raspberry Pi 4, 400 and CM4 (5: see the README)",
	CommandLine: genericCommand,
	Layout:      mbr(layout(4*align, "31")),
	Packages:    append(slices.Clone(genericPackages), "raspi-firmware", "u-boot-rpi"),
	Tools:       tools,
	Modules:     genericModules,
	Drivers:     slices.Concat(genericDrivers, []string{"rp1_pci", "xhci_plat_hcd", "spi_bcm2835", "bcm2835_wdt", "raspberrypi_cpufreq", "broadcom", "bcm7xxx"}),
	Trees: []string{
		"broadcom/bcm2711-rpi-4-b", "broadcom/bcm2711-rpi-400", "broadcom/bcm2711-rpi-cm4-io",
		"broadcom/bcm2712-rpi-5-b", "broadcom/bcm2712-d-rpi-5-b",
	},
	Patches: map[string][]Patch{
		"broadcom/bcm2711-rpi-4-b":    slices.Concat(rpiTPM, rpiPanel, rpiCrash),
		"broadcom/bcm2711-rpi-400":    rpiCrash,
		"broadcom/bcm2711-rpi-cm4-io": slices.Concat(rpiTPM, rpiPanel, rpiCrash),
	},
	Beside: true,
	Script: true,
	Files: []File{
		{Name: "/start4.elf", From: "usr/lib/raspi-firmware/start4.elf"},
		{Name: "/fixup4.dat", From: "usr/lib/raspi-firmware/fixup4.dat"},
		{Name: "/u-boot.bin", From: "usr/lib/u-boot/rpi_arm64/u-boot.bin"},
		{Name: "/config.txt", Text: "arm_64bit=1\nkernel=u-boot.bin\nenable_uart=1\nupstream_kernel=1\ndisable_splash=1\n"},
	},
}

// rpiTPM: the TPM modules for the 40-pin header answer to SPI0's second chip select, GPIO 7.
var rpiTPM = tpmOnSPI("/soc/spi@7e204000", 1, Property{"pinctrl-names", "default"},
	Property{"pinctrl-0", Phandle("/soc/gpio@7e200000/spi0-gpio7")})

// rpiPanel: displays answer to the first, GPIO 8. The name is one of those that spidev takes, which has none for what is
// left to user space (Linux, drivers/spi/spidev.c).
var rpiPanel = []Patch{{Node: "/soc/spi@7e204000/panel@0", Set: []Property{
	{"compatible", "rohm,dh2228fv"}, {"reg", uint32(0)}, {"spi-max-frequency", uint32(10_000_000)},
}}}

// rpiCrash keeps 64 KiB of memory for what the kernel says when it stops by itself, at the place that Raspberry Pi's own
// overlay ramoops-pi4 has for it; a restart that is no loss of power leaves it. The tree lies on the boot partition, so that
// the Pi's firmware and U-Boot see it too: what U-Boot's script loads ends far below, and U-Boot itself lies at the end of
// memory. There is no console in it: that would be kept after every restart, and not only after a panic.
//
// https://github.com/raspberrypi/linux/blob/rpi-6.6.y/arch/arm/boot/dts/overlays/ramoops-pi4-overlay.dts
var rpiCrash = []Patch{{Node: "/reserved-memory/ramoops@b000000", Set: []Property{
	{"compatible", "ramoops"}, {"reg", []uint32{0, 0x0b000000, 0x10000}}, {"record-size", uint32(0x4000)}, {"ecc-size", uint32(16)},
}}}
