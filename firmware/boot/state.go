package boot

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/postern-nas/postern/images"
)

// stateDir is where the state partition is mounted.
const stateDir = "/state"

// makeFilesystem is the one program that the image brings besides postern.
const makeFilesystem = "/sbin/mke2fs"

// mountState waits for the state partition and mounts it. One that was never used gets a file system. One that holds
// anything else than ours is never written to: what is on it may be the only copy of a server's identity.
func mountState(ctx context.Context, e *events, log *slog.Logger) error {
	var device string
	var many error
	err := e.wait(ctx, stateWait, func() bool {
		device, many = findPartition(os.DirFS("/sys"), images.StateName)
		return device != "" && exists("/dev/"+device) || many != nil
	})
	if err != nil || many != nil {
		return errors.Join(err, many, errIf(device == "", "no partition "+images.StateName))
	}
	device = "/dev/" + device
	what, err := probe(device)
	if err != nil {
		return err
	}
	switch what {
	case blank:
		log.Info("the first start: making a file system", "device", device)
		if err := format(ctx, device); err != nil {
			return err
		}
	case foreign:
		return fmt.Errorf("%s holds something that Postern did not write", device)
	}
	err = unix.Mount(device, stateDir, "ext4", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "errors=remount-ro")
	if err != nil {
		return fmt.Errorf("mount %s: %w", device, err)
	}
	return nil
}

func errIf(wrong bool, text string) error {
	if wrong {
		return errors.New(text)
	}
	return nil
}

// findPartition looks through sysfs for the block device that is a partition of that name; "" if there is none yet. Two
// of them are an error: a second disk may not decide who this server is.
func findPartition(sys fs.FS, name string) (device string, err error) {
	paths, err := fs.Glob(sys, "class/block/*/uevent")
	if err != nil {
		return "", err
	}
	for _, p := range paths {
		text, err := fs.ReadFile(sys, p)
		if err != nil { // it has just gone
			continue
		}
		for line := range strings.Lines(string(text)) {
			if strings.TrimSuffix(line, "\n") != "PARTNAME="+name {
				continue
			}
			found := path.Base(path.Dir(p))
			if device != "" {
				return "", fmt.Errorf("two partitions %s: on %s and %s", name, device, found)
			}
			device = found
		}
	}
	return device, nil
}

// What a partition may hold.
type contents int

const (
	blank contents = iota
	ext4
	foreign
)

// probe looks at a partition's beginning. mke2fs clears it first and writes the superblock last, so one that was cut
// short looks blank.
func probe(device string) (contents, error) {
	f, err := os.Open(device)
	if err != nil {
		return foreign, err
	}
	defer f.Close()
	b := make([]byte, 4096)
	if _, err := io.ReadFull(f, b); err != nil {
		return foreign, fmt.Errorf("%s: %w", device, err)
	}
	const superblock, magicAt, magic = 1024, 0x38, 0xef53 // Linux, Documentation/filesystems/ext4/super.rst
	switch {
	case binary.LittleEndian.Uint16(b[superblock+magicAt:]) == magic:
		return ext4, nil
	case bytes.Count(b, []byte{0}) == len(b):
		return blank, nil
	}
	return foreign, nil
}

func format(ctx context.Context, device string) error {
	cmd := exec.CommandContext(ctx, makeFilesystem, "-q", "-F", "-t", "ext4", "-L", images.StateName, "-m", "1", device)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w\n%s", makeFilesystem, device, err, bytes.TrimSpace(out))
	}
	return nil
}
