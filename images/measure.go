package images

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// A Chain is a way from power-on to the kernel that firmware measures. Which one it is decides PCR 4 alone.
type Chain int

// The chains. Firmware versions do not change what they give: EDK2 2022.11 and 2025.02 agree, and U-Boot 2023.01 and
// 2025.01.
const (
	EDK2       Chain = iota // EDK2 starts the image
	EDK2Loader              // EDK2 starts systemd-boot, which starts the image
	UBoot                   // U-Boot's EFI loader starts the image
)

// The registers that a release is known by.
const (
	PCRBootCode = 4  // who was started: TCG PC Client Platform Firmware Profile 3.3.4.5
	PCRImage    = 11 // the image's parts: systemd-stub(7)
)

// stubOrder is the order in which systemd-stub measures the sections of an image into PCR 11 (systemd's
// UnifiedSection), whatever their order in the file.
var stubOrder = []string{
	".linux", ".osrel", ".cmdline", ".initrd", ".ucode", ".splash", ".dtb", ".uname", ".sbat", ".pcrpkey", ".profile",
	".dtbauto", ".hwids",
}

// NoDeviceTree says to Measure that the stub takes none of the image's .dtbauto.
const NoDeviceTree = -1

// Measure computes the SHA-256 bank's registers that a boot of image leaves in a TPM: PCRBootCode and PCRImage, before
// anything that runs later extends them. loader is systemd-boot for EDK2Loader, else nil; tree is the number of the
// .dtbauto that the board matches, or NoDeviceTree.
func Measure(chain Chain, loader, image []byte, tree int) (map[int][32]byte, error) {
	f, err := parsePE(image)
	if err != nil {
		return nil, err
	}
	eleven, linux, err := f.measureSections(tree)
	if err != nil {
		return nil, err
	}
	four, err := measureBoot(chain, loader, image, linux)
	if err != nil {
		return nil, err
	}
	return map[int][32]byte{PCRBootCode: four, PCRImage: eleven}, nil
}

// measureSections gives PCR 11 and the kernel. The stub extends each section's name with its end, then its contents.
func (f *peFile) measureSections(tree int) (pcr [32]byte, linux []byte, err error) {
	for _, name := range stubOrder {
		seen := 0
		for _, s := range f.sections {
			if s.name != name {
				continue
			}
			seen++
			if name == ".dtbauto" && seen-1 != tree {
				continue
			}
			if name != ".dtbauto" && seen > 1 {
				return pcr, nil, fmt.Errorf("%w: two sections %s", ErrPE, name)
			}
			data, err := f.contents(s)
			if err != nil {
				return pcr, nil, err
			}
			pcr = extend(pcr, sha256.Sum256(append([]byte(name), 0)))
			pcr = extend(pcr, sha256.Sum256(data))
			if name == ".linux" {
				linux = data
			}
		}
		if name == ".dtbauto" && tree >= seen {
			return pcr, nil, fmt.Errorf("device tree %d of %d", tree, seen)
		}
	}
	if linux == nil {
		return pcr, nil, fmt.Errorf("%w: no section .linux: not a unified kernel image", ErrPE)
	}
	return pcr, linux, nil
}

// measureBoot gives PCR 4: the firmware's intent to boot, the end of its own measurements, and each EFI program as it is
// loaded, the kernel within the image too. U-Boot measures the first program before it announces the boot.
func measureBoot(chain Chain, loader, image, linux []byte) (pcr [32]byte, err error) {
	intent := sha256.Sum256([]byte("Calling EFI Application from Boot Option"))
	separator := sha256.Sum256(binary.LittleEndian.AppendUint32(nil, 0))
	if (chain == EDK2Loader) != (loader != nil) {
		return pcr, errors.New("a boot loader is measured with the chain that has one, and only with it")
	}
	programs := [][]byte{image, linux}
	if loader != nil {
		programs = slices.Insert(programs, 0, loader)
	}
	var digests [][32]byte
	for _, p := range programs {
		d, err := Authenticode(p)
		if err != nil {
			return pcr, err
		}
		digests = append(digests, d)
	}
	switch chain {
	case EDK2, EDK2Loader:
		digests = slices.Insert(digests, 0, intent, separator)
	case UBoot:
		digests = slices.Insert(digests, 1, intent, separator)
	default:
		return pcr, fmt.Errorf("no boot chain %d", chain)
	}
	for _, d := range digests {
		pcr = extend(pcr, d)
	}
	return pcr, nil
}

// extend is TPM2_PCR_Extend in a SHA-256 bank.
func extend(pcr, digest [32]byte) [32]byte { return sha256.Sum256(append(pcr[:], digest[:]...)) }
