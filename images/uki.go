package images

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// A UKI is what goes into a unified kernel image: one EFI program that holds the kernel and all that it starts with,
// measured as one (the UAPI group's "Unified Kernel Image" specification). Only Kernel, CommandLine and Release are
// needed.
type UKI struct {
	Kernel      []byte   // a Linux Image with its EFI stub
	Initrd      []byte   // cpio, perhaps compressed
	CommandLine string   // printable ASCII, no newline
	Release     string   // an os-release file: NAME=value lines
	Uname       string   // the kernel's version
	DeviceTree  []byte   // for firmware that has none; instead of the firmware's
	DeviceTrees [][]byte // .dtbauto: the stub takes the first whose compatible the firmware's device tree has
	SBAT        string   // generations for revocation (CSV); "" keeps the stub's own
}

const (
	// maxCommandLine is COMMAND_LINE_SIZE of Linux on arm64, with its end.
	maxCommandLine = 2048
	// maxDeviceTrees leaves room for every board of a generic image; each is a section.
	maxDeviceTrees = 48
	// deviceTreeMagic begins a flattened device tree, big-endian (Devicetree Specification 5.2).
	deviceTreeMagic = 0xd00dfeed
	// imageMagic is at imageMagicAt in every arm64 Linux Image (Documentation/arch/arm64/booting.rst).
	imageMagic, imageMagicAt = "ARM\x64", 56
)

// ErrUKI says what is wrong with the parts of a UKI.
var ErrUKI = errors.New("cannot make a unified kernel image")

// Write returns the image: stub, systemd's linuxaa64.efi.stub, with the parts appended as sections. Equal parts give
// equal bytes.
func (u UKI) Write(stub []byte) ([]byte, error) {
	if err := u.check(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUKI, err)
	}
	f, err := parsePE(stub)
	if err != nil {
		return nil, fmt.Errorf("%w: the stub is %w", ErrUKI, err)
	}
	parts := u.parts()
	for _, s := range f.sections {
		for _, p := range parts {
			if s.name == p.name && p.name != ".sbat" {
				return nil, fmt.Errorf("%w: the stub has a section %s already", ErrUKI, p.name)
			}
		}
	}
	out, err := f.extend(parts)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUKI, err)
	}
	return out, nil
}

// check refuses what would give an image that does not boot, or another one than was meant.
func (u UKI) check() error {
	k, err := parsePE(u.Kernel)
	if err != nil {
		return fmt.Errorf("the kernel is %w", err)
	}
	if len(k.data) < imageMagicAt+4 || string(k.data[imageMagicAt:imageMagicAt+4]) != imageMagic {
		return errors.New("the kernel has no arm64 Image header; it must not be compressed")
	}
	if len(u.CommandLine) >= maxCommandLine {
		return fmt.Errorf("a command line of %d bytes; Linux takes %d", len(u.CommandLine), maxCommandLine-1)
	}
	if strings.TrimSpace(u.CommandLine) == "" {
		return errors.New("no command line: then anyone's would be taken")
	}
	for _, c := range u.CommandLine {
		if c < ' ' || c > '~' {
			return fmt.Errorf("the command line has the character %q", c)
		}
	}
	if !strings.Contains("\n"+u.Release, "\nID=") {
		return errors.New("the release text has no ID= line: no os-release file")
	}
	if len(u.DeviceTrees) > maxDeviceTrees {
		return fmt.Errorf("%d device trees, more than %d", len(u.DeviceTrees), maxDeviceTrees)
	}
	for i, t := range u.DeviceTrees {
		if !isDeviceTree(t) {
			return fmt.Errorf("device tree %d is none", i)
		}
	}
	if u.DeviceTree != nil && !isDeviceTree(u.DeviceTree) {
		return errors.New("the device tree is none")
	}
	return nil
}

func isDeviceTree(t []byte) bool {
	return len(t) >= 40 && binary.BigEndian.Uint32(t) == deviceTreeMagic && binary.BigEndian.Uint32(t[4:]) == uint32(len(t))
}

// A part is a section to come.
type part struct {
	name string
	data []byte
}

// parts lists what is there, the small ones first: they stay in place when the large ones change. The order in the file
// means nothing to the stub.
func (u UKI) parts() (parts []part) {
	add := func(name string, data []byte) {
		if len(data) > 0 {
			parts = append(parts, part{name, data})
		}
	}
	add(".osrel", []byte(u.Release))
	add(".cmdline", []byte(u.CommandLine))
	add(".uname", []byte(u.Uname))
	add(".sbat", []byte(u.SBAT))
	add(".dtb", u.DeviceTree)
	for _, t := range u.DeviceTrees {
		add(".dtbauto", t)
	}
	add(".initrd", u.Initrd)
	add(".linux", u.Kernel)
	return parts
}

// extend appends sections and puts the headers right. A section that is there already gives way if the new one fits in
// its place in memory.
func (f *peFile) extend(parts []part) ([]byte, error) {
	le := binary.LittleEndian
	fileAlign, memAlign := uint64(f.opt(optFileAlignment)), uint64(f.opt(optSectionAlignment))
	memEnd, fileEnd := uint64(0), uint64(len(f.data))
	first := uint64(len(f.data)) // offset of the first section's contents: headers end before it
	for _, s := range f.sections {
		memEnd = max(memEnd, uint64(s.address)+uint64(max(s.virtualSize, s.rawSize)))
		if s.rawSize > 0 {
			first = min(first, uint64(s.rawOffset))
		}
		first = min(first, uint64(s.address))
	}
	if f.opt(optDirectories) > certificateTable {
		entry := f.optional + optionalFixed + certificateTable*directoryEntry
		if le.Uint32(f.data[entry:]) != 0 || le.Uint32(f.data[entry+4:]) != 0 {
			return nil, fmt.Errorf("%w: the stub is signed, and would not be any more", ErrPE)
		}
	}

	var out bytes.Buffer
	out.Write(f.data)
	rows := make([]byte, 0, len(parts)*sectionHeader)
	head := bytes.Clone(f.data[:f.table+len(f.sections)*sectionHeader])
	initialized := uint64(f.opt(optInitializedData))
	for _, p := range parts {
		if uint64(len(p.data)) > maxImage {
			return nil, fmt.Errorf("%s has %d bytes, more than %d", p.name, len(p.data), maxImage)
		}
		old := -1
		for i, s := range f.sections {
			if s.name == p.name {
				old = i
			}
		}
		offset := roundUp(fileEnd, fileAlign)
		raw := roundUp(uint64(len(p.data)), fileAlign)
		out.Write(make([]byte, offset-uint64(out.Len())))
		out.Write(p.data)
		out.Write(make([]byte, raw-uint64(len(p.data))))
		fileEnd = offset + raw
		if fileEnd > maxImage {
			return nil, fmt.Errorf("the image has more than %d bytes with %s", maxImage, p.name)
		}
		row := make([]byte, sectionHeader)
		if old >= 0 {
			row = head[f.table+old*sectionHeader:][:sectionHeader]
			if room := roundUp(uint64(f.sections[old].virtualSize), memAlign); uint64(len(p.data)) > room {
				return nil, fmt.Errorf("%s has %d bytes, and the stub's place for it %d", p.name, len(p.data), room)
			}
		} else {
			copy(row, p.name)
			memEnd = roundUp(memEnd, memAlign)
			le.PutUint32(row[12:], uint32(memEnd))
			memEnd += uint64(len(p.data))
			le.PutUint32(row[36:], sectionReadableData)
			initialized += raw
		}
		le.PutUint32(row[8:], uint32(len(p.data)))
		le.PutUint32(row[16:], uint32(raw))
		le.PutUint32(row[20:], uint32(offset))
		if old < 0 {
			rows = append(rows, row...)
		}
	}
	need := uint64(len(head) + len(rows))
	count := len(f.sections) + len(rows)/sectionHeader
	if need > first || count > maxSections {
		return nil, fmt.Errorf("%w: the stub has no room for %d more section headers", ErrPE, len(rows)/sectionHeader)
	}
	image := out.Bytes()
	copy(image, head)
	copy(image[len(head):], rows)
	le.PutUint16(image[f.coff+2:], uint16(count))
	opt := image[f.optional:]
	le.PutUint32(opt[optInitializedData:], uint32(initialized))
	le.PutUint32(opt[optImageSize:], uint32(roundUp(memEnd, memAlign)))
	le.PutUint32(opt[optHeadersSize:], max(f.opt(optHeadersSize), uint32(roundUp(need, fileAlign))))
	le.PutUint32(opt[optChecksum:], 0) // EFI does not look at it
	return image, nil
}

func roundUp(n, to uint64) uint64 { return (n + to - 1) / to * to }
