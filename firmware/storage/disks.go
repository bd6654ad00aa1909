package storage

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"unicode"

	"github.com/postern-nas/postern/board"
	"github.com/postern-nas/postern/images"
)

// maxDisks bounds how many are looked at.
const maxDisks = 64

// isDisk tells disks from what else is a block device, by its name (Linux, Documentation/admin-guide/devices.txt). mmcblk
// boot areas are not for files.
func isDisk(name string) bool {
	for _, p := range []string{"sd", "nvme", "vd", "hd", "xvd", "mmcblk"} {
		if strings.HasPrefix(name, p) {
			return !strings.Contains(name, "boot") && !strings.HasSuffix(name, "rpmb")
		}
	}
	return false
}

// A device is a disk or one of its partitions, as sysfs has it.
type device struct {
	Disk
	path string // under /sys/devices
}

// scan lists the disks by what sysfs says, which touches no disk.
func scan(c Config) (all []device, err error) {
	entries, err := os.ReadDir(filepath.Join(c.Sys, "block"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if !c.Takes(e.Name()) || len(all) == maxDisks {
			continue
		}
		dir := filepath.Join(c.Sys, "block", e.Name())
		sectors, err := strconv.ParseInt(attr(dir, "size"), 10, 64)
		if err != nil || sectors <= 0 { // a card reader without a card, or it has just gone
			continue
		}
		d := device{Disk: Disk{
			Name: e.Name(), Bytes: sectors * 512, Spins: attr(dir, "queue/rotational") == "1",
			Removable: attr(dir, "removable") == "1", ReadOnly: attr(dir, "ro") == "1", Model: model(dir), ID: identity(dir),
		}}
		if to, err := filepath.EvalSymlinks(dir); err == nil {
			d.path = to
		}
		d.Bay, d.USB = bay(c.Bays, d.path), usb.MatchString(d.path)
		parts, _ := filepath.Glob(filepath.Join(dir, e.Name()+"*", "partition")) // the pattern is good
		for _, p := range parts {
			part := filepath.Dir(p)
			d.Parts = append(d.Parts, filepath.Base(part))
			text, _ := os.ReadFile(filepath.Join(part, "uevent")) // it may have just gone
			if name := images.PartitionName(string(text)); name == images.StateName || name == images.BootName {
				d.System = true
			}
		}
		all = append(all, d)
	}
	return all, nil
}

// usb is a controller of that bus on the way to a device.
var usb = regexp.MustCompile(`/usb[0-9]+/`)

// attr is what a file of sysfs says, bounded, in one line that can be shown; "" if it cannot be read.
func attr(dir, name string) string {
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		return ""
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 4096))
	if err != nil {
		return ""
	}
	return printable(string(b))
}

// printable is what a disk says of itself, fit to be shown: some pad with spaces, and firmware has been seen to leave
// other bytes there.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return ' '
		}
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, s)
	return strings.Join(strings.Fields(s), " ")
}

func model(dir string) string {
	name := attr(dir, "device/model")
	if name == "" {
		name = attr(dir, "device/name") // eMMC and SD
	}
	if vendor := attr(dir, "device/vendor"); name != "" && vendor != "" && vendor != "ATA" && !strings.HasPrefix(vendor, "0x") &&
		!strings.HasPrefix(name, vendor) {
		name = vendor + " " + name
	}
	return name
}

// identity is what stays the same when a disk is moved to another bay: its serial number, or its world-wide name. SCSI has
// the serial number in its vital product data (SPC-4 7.8.15), behind four bytes.
func identity(dir string) string {
	for _, name := range []string{"device/serial", "serial"} { // NVMe and MMC; virtio
		if s := attr(dir, name); s != "" {
			return s
		}
	}
	if b, err := os.ReadFile(filepath.Join(dir, "device/vpd_pg80")); err == nil && len(b) > 4 && len(b) < 4096 && b[1] == 0x80 {
		if s := printable(string(b[4:])); s != "" {
			return s
		}
	}
	for _, name := range []string{"device/wwid", "wwid", "loop/backing_file"} {
		if s := attr(dir, name); s != "" {
			return s
		}
	}
	return ""
}

// bay finds where a disk is plugged in.
func bay(bays []board.Bay, path string) string {
	for _, b := range bays {
		if b.Port != "" && (strings.Contains(path, "/"+strings.Trim(b.Port, "/")+"/") || strings.HasSuffix(path, "/"+strings.Trim(b.Port, "/"))) {
			return b.Name
		}
	}
	return ""
}
