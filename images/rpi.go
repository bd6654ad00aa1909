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
		"broadcom/bcm2711-rpi-4-b": slices.Concat(rpiTPM, rpiPanel), "broadcom/bcm2711-rpi-cm4-io": slices.Concat(rpiTPM, rpiPanel),
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
