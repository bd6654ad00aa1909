package images

import "slices"

// uefi is any arm64 machine whose firmware is UEFI (Arm's SBSA and SystemReady, EDK2 on boards, cloud machines): the
// firmware says what devices there are, by ACPI or by its own device tree.
var uefi = Board{
	Name:        "uefi",
	About:       "an arm64 machine with UEFI firmware (SystemReady, EDK2)",
	CommandLine: genericCommand,
	Layout:      layout(align, "3A"),
	Packages:    genericPackages,
	Tools:       tools,
	Modules:     genericModules,
	Drivers: slices.Concat(genericDrivers, []string{
		"virtio_blk", "virtio_net", "virtio_scsi", "virtio_rng", "ahci_platform", "sdhci_acpi", "ixgbe", "ena", "gve", "mvpp2",
		"macsec", "sbsa_gwdt", "i6300esb", "tpm_crb", "rtc_efi", "gpio_pl061", "i2c_designware_platform", "xhci_plat_hcd",
	}),
	Loader: true,
}
