// Command smallinit is the first process of images that tests boot to learn something of the machine: they put it in the
// place of /init, with a word in the file /word.
//
//	empty   mounts what Linux offers, says how long it took to come here, and how long a piece of work takes
//	look    reads the disk vdb: its partitions, and the files on each, with their sums
//	parts   makes a GPIO chip and an I2C bus that Linux takes for real, presses keys, draws on panels, and says what comes
//	        of it
//
// It ends with a line "smallinit: done" and waits for the power to go.
package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/u-root/u-root/pkg/kmodule"
	"golang.org/x/sys/unix"

	"github.com/postern-nas/postern/firmware/boot/steps"
	"github.com/postern-nas/postern/tools/vm/work"
)

func main() {
	word, _ := os.ReadFile("/word")
	if err := be(strings.TrimSpace(string(word))); err != nil {
		fmt.Println("smallinit: error:", err)
	}
	fmt.Println("smallinit: done")
	for {
		time.Sleep(time.Hour)
	}
}

func be(word string) error {
	for dir, kind := range map[string]string{"/proc": "proc", "/sys": "sysfs", "/dev": "devtmpfs", "/run": "tmpfs", "/tmp": "tmpfs"} {
		if err := unix.Mount(kind, dir, kind, 0, ""); err != nil && err != unix.EBUSY {
			return fmt.Errorf("%s: %w", dir, err)
		}
	}
	switch word {
	case "empty":
		fmt.Println("smallinit: empty after", (steps.Uptime() - steps.Began("/dev/kmsg")).Milliseconds(), "ms")
		begin := steps.Uptime()
		sum := work.Do(work.Standard)
		fmt.Println("smallinit: worked for", (steps.Uptime() - begin).Milliseconds(), "ms, with", sum)
		return nil
	case "look":
		return look("vdb")
	case "parts":
		return errors.Join(pressKeys(), showPanels())
	}
	return fmt.Errorf("the word %q means nothing", word)
}

// load loads drivers, in this order.
func load(names ...string) error {
	for _, name := range names {
		f, err := os.Open("/lib/modules/" + name + ".ko")
		if err != nil {
			return err
		}
		if err := kmodule.FileInit(f, "", 0); err != nil && err != unix.EEXIST {
			return fmt.Errorf("%s: %w", name, err)
		}
		f.Close()
	}
	return nil
}

// look lists a disk. The drivers are those of the image.
func look(disk string) error {
	if err := load("virtio_blk", "fat", "vfat", "nls_ascii", "nls_cp437"); err != nil {
		return err
	}
	found, err := filepath.Glob("/sys/class/block/" + disk + "?*/start")
	if err != nil {
		return err
	}
	for _, path := range found {
		name := filepath.Base(filepath.Dir(path))
		read := func(what string) string {
			text, _ := os.ReadFile("/sys/class/block/" + name + "/" + what)
			return strings.TrimSpace(string(text))
		}
		fmt.Println("smallinit: partition", read("partition"), "at sector", read("start"), "with", read("size"))
		if err := lookAt("/dev/"+name, read("partition")); err != nil {
			return err
		}
	}
	return nil
}

// lookAt lists the files of one partition, or says that there is nothing on it.
func lookAt(device, number string) error {
	head := make([]byte, 64<<10)
	f, err := os.Open(device)
	if err != nil {
		return err
	}
	_, err = io.ReadFull(f, head)
	f.Close()
	if err != nil {
		return err
	}
	if bytes.Count(head, []byte{0}) == len(head) {
		fmt.Println("smallinit: on", number, "is nothing")
		return nil
	}
	const at = "/run/look"
	if err := os.MkdirAll(at, 0o700); err != nil {
		return err
	}
	kind := ""
	for _, k := range []string{"vfat", "ext4"} {
		if err = unix.Mount(device, at, k, unix.MS_RDONLY, ""); err == nil {
			kind = k
			break
		}
	}
	if kind == "" {
		return fmt.Errorf("%s does not mount: %w", device, err)
	}
	defer func() { _ = unix.Unmount(at, 0) }()
	fmt.Println("smallinit: on", number, "is", kind)
	return filepath.WalkDir(at, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		h := sha256.New()
		n, err := io.Copy(h, f)
		if err != nil {
			return err
		}
		fmt.Printf("smallinit: file %s %s %d %x\n", number, strings.TrimPrefix(path, at), n, h.Sum(nil))
		return nil
	})
}
