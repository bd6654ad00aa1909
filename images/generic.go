package images

import "slices"

// What all images for real boxes have in common. The kernel is Debian's generic flavour from backports: the newest is
// the first to know some of the boards.

// tools are what the firmware calls: file systems for the state (ext4) and for disks (btrfs), and their health.
var tools = []string{
	"usr/sbin/mke2fs", "usr/sbin/e2fsck", "usr/sbin/resize2fs", "usr/bin/btrfs", "usr/sbin/mkfs.btrfs", "usr/sbin/smartctl",
}

// toolPackages are what tools and their shared libraries come from, and base-files with the texts of licences.
var toolPackages = []string{
	"e2fsprogs", "btrfs-progs", "smartmontools",
	"libext2fs2t64", "libcom-err2", "libblkid1", "libuuid1", "libc6", "liblzo2-2", "libudev1", "libcap2", "libzstd1", "zlib1g",
	"libcap-ng0", "gcc-14-base", "libgcc-s1", "libselinux1", "libpcre2-8-0", "libstdc++6", "base-files",
}

var genericPackages = append([]string{"linux-binary-*-arm64", "linux-modules-*-arm64", "linux-base-*-arm64", "systemd-boot-efi"},
	toolPackages...)

// genericModules are needed on every box, and no device asks for them: file systems, the packet filter, what user space
// talks to, and the watchers over disks and panics.
var genericModules = []string{
	"ext4", "btrfs", "vfat", "nls_ascii", "nls_cp437",
	"nf_tables", "nft_ct", "nft_limit", "nft_reject_inet", "nft_log",
	"evdev", "i2c_dev", "drivetemp", "ledtrig_timer", "efivarfs", "efi_pstore",
}

// genericDrivers are for what may be plugged into any box, or sits behind a bus that a device tree does not describe:
// disks, network cards and adapters, the chips on those, and the file system of large sticks. XFS is not here: it would be
// the largest driver of all, a megabyte of a download that has none to spare (MaxDownload), for disks that were in another
// box before.
var genericDrivers = []string{
	"ahci", "nvme", "sd_mod", "sr_mod", "usb_storage", "uas", "mmc_block", "xhci_pci", "ehci_pci", "exfat",
	"r8169", "realtek", "motorcomm", "igb", "igc", "e1000e", "atlantic", "r8152", "ax88179_178a", "cdc_ncm", "cdc_ether",
	"gpio_keys", "adc_keys", "pwm_fan", "leds_gpio", "tpm_tis_spi", "hid_generic", "usbhid", "rtc_ds1307",
}

// Unwanted are drivers of devices in the trees that a box makes no use of: flash memory with boot loaders, which no update
// writes, the switches of radios, and the pins of HDMI. A download has no room for them (MaxDownload).
var Unwanted = []string{"spi_nor", "rfkill_gpio", "phy_rockchip_samsung_hdptx"}

// genericCommand leaves the console to the firmware's word (stdout-path), and keeps a panic's end short: the watchdog's
// and the slots' turn comes after it.
const genericCommand = "loglevel=4 panic=10"

// bootSize holds three kernel images, two slots and the one that is being written, with the first firmware's files.
const bootSize = 256 << 20

// stateSize is what an image reserves for all that outlives a restart. Journals, keys and settings take a tenth.
const stateSize = 256 << 20

// layout is the disk of a box, with the first partition at first. The GUIDs differ by their last digits only.
func layout(first int64, class string) Layout {
	return Layout{
		GUID: "0D6C5F5E-8C0A-4B6F-9A63-0F1F6B7D" + class + "01", First: first,
		Partitions: []Partition{
			{Name: BootName, Type: TypeESP, GUID: "0D6C5F5E-8C0A-4B6F-9A63-0F1F6B7D" + class + "02", Size: bootSize},
			{Name: StateName, Type: TypeState, GUID: "0D6C5F5E-8C0A-4B6F-9A63-0F1F6B7D" + class + "03", Size: stateSize},
		},
	}
}

// tpmOnSPI patches a tree so that Linux finds a TPM on a bus that a header has: an Infineon SLB 9670 or one that is like
// it (Linux, Documentation/devicetree/bindings/tpm/tcg,tpm_tis-spi.yaml). Where none is plugged in, the driver finds
// nothing and says so. 10 MHz is slower than any of them allows, and cables are of unknown length.
func tpmOnSPI(bus string, chip uint32, set ...Property) []Patch {
	name := "tpm@" + string('0'+rune(chip))
	return []Patch{
		{Node: bus, Set: append(slices.Clone(set), Property{"status", "okay"})},
		{Node: bus + "/" + name, Set: []Property{
			{"compatible", []string{"infineon,slb9670", "tcg,tpm_tis-spi"}}, {"reg", chip}, {"spi-max-frequency", uint32(10_000_000)},
		}},
	}
}
