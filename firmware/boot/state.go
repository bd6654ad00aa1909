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
	"time"

	"golang.org/x/sys/unix"

	"github.com/postern-nas/postern/images"
)

// stateDir is where the state partition is mounted.
const stateDir = "/state"

// Programs of the image.
const (
	makeFilesystem  = "/sbin/mke2fs"
	checkFilesystem = "/sbin/e2fsck"
)

// checkTime bounds one run of either. The partition is small.
const checkTime = 2 * time.Minute

// mountState waits for the state partition and mounts it, whatever it takes: checked, repaired, or made anew. If there is
// none that works, memory stands in, so that the box comes up and says what is wrong. trouble is what its owner should
// know, one sentence; kept says whether what is written outlives a restart.
func mountState(ctx context.Context, e *events, log *slog.Logger) (kept bool, trouble string, err error) {
	var device string
	var many error
	err = e.wait(ctx, stateWait, func() bool {
		device, many = findPartition(os.DirFS("/sys"), images.StateName)
		return device != "" && exists("/dev/"+device) || many != nil
	})
	if ctx.Err() != nil {
		return false, "", context.Cause(ctx)
	}
	if err = errors.Join(err, many, errIf(device == "", "no partition "+images.StateName)); err == nil {
		p := &partition{device: "/dev/" + device, dir: stateDir, now: time.Now(), log: log}
		trouble, err = p.mount(ctx)
	}
	if err == nil {
		return true, trouble, nil
	}
	log.Error("the box has no state; memory stands in", "error", err)
	trouble, err = standIn(stateDir, err)
	return false, trouble, err
}

// standIn mounts memory where the state should be, which is not there for what why says.
func standIn(dir string, why error) (trouble string, err error) {
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0700,size=64m"); err != nil {
		return "", fmt.Errorf("memory for the state: %w", err)
	}
	return fmt.Sprintf("the place where the box keeps its settings does not work (%v): what you set is lost with the next restart; "+
		"your disks are untouched; write the image to its medium again, or to a new one", why), nil
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
		if images.PartitionName(string(text)) != name {
			continue
		}
		found := path.Base(path.Dir(p))
		if device != "" {
			return "", fmt.Errorf("two partitions %s: on %s and %s", name, device, found)
		}
		device = found
	}
	return device, nil
}

// A partition is the state's.
type partition struct {
	device, dir string
	now         time.Time
	log         *slog.Logger
}

// mount brings it into the best form that can be had. An error means that the device itself does not work.
func (p *partition) mount(ctx context.Context) (trouble string, err error) {
	what, err := probe(p.device)
	if err != nil {
		return "", err
	}
	if what == blank {
		p.log.Info("the first start: making a file system", "device", p.device)
		if err := p.format(ctx); err != nil {
			return "", err
		}
		return "", p.attach(0)
	}
	fixed, checkErr := p.check(ctx, what)
	if err = checkErr; err == nil {
		err = p.attach(0)
	}
	if err == nil {
		if fixed {
			p.log.Warn("the state was damaged and is repaired", "device", p.device)
			trouble = "the box's settings were damaged and have been repaired: look whether shares and users are as they should be"
		}
		return trouble, nil
	}
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	if errors.Is(err, errUnchecked) { // it may be the only copy of a server's identity
		return "", fmt.Errorf("%s: %w", p.device, err)
	}
	p.log.Error("the state cannot be repaired; it is made anew", "device", p.device, "error", err)
	saved := p.rescue()
	if err := p.format(ctx); err != nil {
		return "", err
	}
	if err := p.attach(0); err != nil {
		return "", err
	}
	p.keep(saved)
	return fmt.Sprintf("the box's settings could not be read (%v) and it begins anew, with another identity; your disks are untouched, "+
		"and what could be saved is in the folder %s", firstLine(err), p.aside()), nil
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

func (p *partition) attach(flags uintptr) error {
	data := "errors=remount-ro"
	if flags&unix.MS_RDONLY != 0 {
		data = "noload"
	}
	err := unix.Mount(p.device, p.dir, "ext4", flags|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, data)
	if err != nil {
		return fmt.Errorf("mount %s: %w", p.device, err)
	}
	return nil
}

// What a partition may hold.
type contents int

const (
	blank contents = iota
	ext4
	foreign
)

// backups are where mke2fs puts the second superblock, for blocks of 1 and of 4 KiB; in bytes, and as e2fsck wants it.
var backups = []struct {
	at           int64
	block, bytes string
}{{8193 << 10, "8193", "1024"}, {32768 * 4096, "32768", "4096"}}

// Linux, Documentation/filesystems/ext4/super.rst.
const superblock, magicAt, magic = 1024, 0x38, 0xef53

// probe looks at a partition's beginning. mke2fs clears it first and writes the superblock last, so one that was cut
// short looks blank. One whose beginning was lost has superblocks further on.
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
	switch {
	case binary.LittleEndian.Uint16(b[superblock+magicAt:]) == magic:
		return ext4, nil
	case bytes.Count(b, []byte{0}) < len(b):
		return foreign, nil
	}
	for _, s := range backups {
		m := make([]byte, 2)
		if _, err := f.ReadAt(m, s.at+magicAt); err == nil && binary.LittleEndian.Uint16(m) == magic {
			return foreign, nil
		}
	}
	return blank, nil
}

var errUnchecked = errors.New("holds something that Postern did not write, and there is no " + checkFilesystem + " to repair it")

// check repairs what is there. Without the program the kernel's journal has to do.
func (p *partition) check(ctx context.Context, what contents) (fixed bool, err error) {
	if !exists(checkFilesystem) {
		if what == foreign {
			return false, errUnchecked
		}
		return false, nil
	}
	if what == ext4 {
		code, _ := p.run(ctx, checkFilesystem, "-p", p.device)
		if code == 0 || code == 1 { // its exit status is made of bits: 1 is "errors corrected" (e2fsck(8))
			return false, nil // after a power cut there is always something to put in order
		}
		code, err := p.run(ctx, checkFilesystem, "-y", p.device)
		if code == 0 || code == 1 {
			return true, nil
		}
		p.log.Warn("the state is damaged", "device", p.device, "error", err)
	}
	for _, s := range backups {
		code, err := p.run(ctx, checkFilesystem, "-y", "-b", s.block, "-B", s.bytes, p.device)
		if code == 0 || code == 1 {
			return true, nil
		}
		p.log.Debug("not there", "error", err)
		if ctx.Err() != nil {
			break
		}
	}
	return false, fmt.Errorf("no file system of ours is on %s", p.device)
}

// run runs a program within its time. code is -1 if it did not end by itself.
func (p *partition) run(ctx context.Context, name string, args ...string) (code int, err error) {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, bytes.TrimSpace(out[:min(len(out), 4096)]))
	}
	if cmd.ProcessState == nil {
		return -1, err
	}
	return cmd.ProcessState.ExitCode(), err
}

func (p *partition) format(ctx context.Context) error {
	_, err := p.run(ctx, makeFilesystem, "-q", "-F", "-t", "ext4", "-L", images.StateName, "-m", "1", p.device)
	return err
}
