package images

import (
	"encoding/binary"
	"hash/crc32"
)

// Where U-Boot finds things on the boot partition. Boxes that it starts have two slots as files, and a text that says
// which one is meant; the script at BootScript reads the text and writes it.
const (
	UBootFolder = "/postern"
	UBootSlotA  = UBootFolder + "/a.efi"
	UBootSlotB  = UBootFolder + "/b.efi"
	// SlotEnv is the text: lines name=value, in the order active, trial, tries. active is the slot that is known to
	// work, "a" or "b"; trial the one to try first, or "none"; tries how many more times, "0" to "3". U-Boot writes a
	// zero byte at its end.
	SlotEnv = UBootFolder + "/slot.env"
	// BootScript is what U-Boot's boot method "script" looks for.
	BootScript = "/boot.scr"
)

// FirstSlotEnv is the text of a new image.
const FirstSlotEnv = "active=a\ntrial=none\ntries=0\n"

// UBootScript chooses a slot and starts it. A try is counted before it is made, and only a try that could be counted is
// made, so an image that hangs, panics or resets is left behind after tries of them. Some builds of U-Boot, Debian's
// for Rockchip among them, have no command that subtracts; hence the ladder. The image goes to ramdisk_addr_r because
// above it there is, on every board, nothing that U-Boot needs.
const UBootScript = `setenv active a
setenv trial none
setenv tries 0
if load ${devtype} ${devnum}:${distro_bootpart} ${ramdisk_addr_r} ` + SlotEnv + `; then
  env import -t ${ramdisk_addr_r} ${filesize} active trial tries
fi
setenv other none
if test "${active}" = "b"; then setenv other a; else setenv active a; setenv other b; fi
setenv slot ${active}
if test "${trial}" = "${other}"; then
  setenv left none
  if test "${tries}" = "3"; then setenv left 2; fi
  if test "${tries}" = "2"; then setenv left 1; fi
  if test "${tries}" = "1"; then setenv left 0; fi
  if test "${left}" = "none"; then
    setenv trial none
    setenv tries 0
  else
    setenv tries ${left}
  fi
  if env export -t ${ramdisk_addr_r} active trial tries; then
    if fatwrite ${devtype} ${devnum}:${distro_bootpart} ${ramdisk_addr_r} ` + SlotEnv + ` ${filesize}; then
      if test "${trial}" = "${other}"; then setenv slot ${other}; fi
    fi
  fi
fi
for s in ${slot} ${active} ${other}; do
  echo "Postern: slot ${s}, tries left ${tries}"
  if load ${devtype} ${devnum}:${distro_bootpart} ${ramdisk_addr_r} ` + UBootFolder + `/${s}.efi; then
    bootefi ${ramdisk_addr_r} ${fdtcontroladdr}
  fi
done
reset
`

// Numbers of U-Boot's include/image.h, struct legacy_img_hdr; all big-endian.
const (
	legacyHeader = 64
	legacyMagic  = 0x27051956
	legacyLinux  = 5  // IH_OS_LINUX
	legacyARM64  = 22 // IH_ARCH_ARM64
	legacyScript = 6  // IH_TYPE_SCRIPT
)

// ScriptImage packs a script the way U-Boot's source command takes it: a header, a table of one length, the text. Its
// time is zero, so that the bytes are the same each time.
func ScriptImage(script string) []byte {
	be := binary.BigEndian
	data := be.AppendUint32(nil, uint32(len(script)))
	data = be.AppendUint32(data, 0)
	data = append(data, script...)
	h := make([]byte, legacyHeader, legacyHeader+len(data))
	be.PutUint32(h, legacyMagic)
	be.PutUint32(h[12:], uint32(len(data)))
	be.PutUint32(h[24:], crc32.ChecksumIEEE(data))
	h[28], h[29], h[30], h[31] = legacyLinux, legacyARM64, legacyScript, 0
	copy(h[32:], "Postern: choose a slot")
	be.PutUint32(h[4:], crc32.ChecksumIEEE(h))
	return append(h, data...)
}
