package mkimage

import (
	"context"
	"fmt"
	"io"

	"github.com/postern-nas/postern/images"
)

// Extract returns a file of a package that the lock names: for tests that need, say, a firmware for QEMU.
func Extract(ctx context.Context, pkg, file string, log io.Writer) ([]byte, error) {
	dir, err := Dir()
	if err != nil {
		return nil, err
	}
	lock, err := images.Packages()
	if err != nil {
		return nil, err
	}
	found, err := lock.Select([]string{pkg})
	if err != nil {
		return nil, err
	}
	deb, err := newFetcher(dir, log).fetch(ctx, found[0])
	if err != nil {
		return nil, err
	}
	files := tree{}
	if err := files.addPackage(deb, pkg, func(name string) bool { return name == file }); err != nil {
		return nil, err
	}
	data, err := files.read(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", pkg, err)
	}
	return data, nil
}

// UBoot is U-Boot for QEMU's machine virt, of the version that Debian has for real boards: QEMU takes it as -bios.
func UBoot(ctx context.Context, log io.Writer) ([]byte, error) {
	return Extract(ctx, "u-boot-qemu", "usr/lib/u-boot/qemu_arm64/u-boot.bin", log)
}
