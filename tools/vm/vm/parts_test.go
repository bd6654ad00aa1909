package vm

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/u-root/u-root/pkg/cpio"
	"github.com/ulikunitz/xz"

	"github.com/postern-nas/postern/images"
	"github.com/postern-nas/postern/tools/mkimage/mkimage"
)

// TestParts: parts of a box by the boards' own kernel, opened as on a box. Keys are on the lines of a GPIO chip that it
// simulates: two of them, and one that does everything; and a line is driven. Panels hang on a USB stick with an I2C bus,
// which the machine's first process is: each shows what was drawn, also after its plug was pulled.
func TestParts(t *testing.T) {
	needsVM(t)
	t.Parallel()
	m := linuxMachine(t, "parts", "drivers/gpio/gpio-sim", "fs/configfs/configfs",
		"drivers/hid/hid", "drivers/hid/uhid", "drivers/hid/hid-mcp2221", "drivers/iio/industrialio", "drivers/i2c/i2c-dev")
	if err := m.Start(t.Output()); err != nil {
		t.Fatal(err)
	}
	hear(t, m, boot, `smallinit: done`)
	m.Cut()
	got := strings.ReplaceAll(strings.Join(m.console.said("smallinit: "), "\n"), "smallinit: ", "")
	want := strings.Join([]string{
		"two key 1 action 1", "two key 1 action 3", // a tap
		"two key 1 action 1", "two key 1 action 2", "two key 1 action 3", // held
		"one key 1 action 1", "one key 1 action 3", // a tap of the single key is next,
		"one key 2 action 1", "one key 2 action 3", // and to hold it is enter
		"line 5 is 1", "line 5 is 0",
		"ssd1306 lit true as drawn true", "ssd1306 changed as drawn true", "ssd1306 lost true",
		"ssd1306 back true lit true as drawn true", "ssd1306 closed, lit false",
		"sh1106 lit true as drawn true", "sh1106 changed as drawn true", "sh1106 lost true",
		"sh1106 back true lit true as drawn true", "sh1106 closed, lit false",
		`hd44780 shows "postern             "`, `hd44780 shows "192.168.1.20        "`,
		`hd44780 shows "third               "`, `hd44780 shows "fourth              "`,
		"done",
	}, "\n")
	if got != want {
		t.Errorf("it says\n%s\n; want\n%s", got, want)
	}
}

// linuxMachine has the kernel of the boards, smallinit, and some of the kernel's modules, by their places in its tree.
func linuxMachine(t *testing.T, word string, modules ...string) *Machine {
	t.Helper()
	lock, err := images.Packages()
	if err != nil {
		t.Fatal(err)
	}
	p, err := lock.Select([]string{"linux-modules-*-arm64"})
	if err != nil {
		t.Fatal(err)
	}
	tree := "usr/lib/modules/" + strings.TrimPrefix(p[0].Name, "linux-modules-") + "/"
	kernel, err := mkimage.PackageFile(t.Context(), "linux-binary-*-arm64", tree+"vmlinuz", t.Output())
	if err != nil {
		t.Fatal(err)
	}
	records := []cpio.Record{
		cpio.StaticFile("init", string(initProgram(t, "smallinit")), 0o755), cpio.StaticFile("word", word, 0o644),
		cpio.Directory("proc", 0o755), cpio.Directory("sys", 0o755), cpio.Directory("run", 0o755), cpio.Directory("tmp", 0o755),
	}
	var names []string
	for _, name := range modules {
		names = append(names, tree+"kernel/"+name+".ko.xz")
	}
	packed, err := mkimage.PackageFiles(t.Context(), "linux-modules-*-arm64", t.Output(), names...)
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range packed {
		r, err := xz.NewReader(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		plain, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, cpio.StaticFile("lib/modules/"+strings.TrimSuffix(filepath.Base(name), ".xz"), string(plain), 0o644))
	}
	var archive bytes.Buffer
	w := cpio.Newc.Writer(&archive)
	if err := cpio.WriteRecordsAndDirs(w, records); err != nil {
		t.Fatal(err)
	}
	if err := cpio.WriteTrailer(w); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	path := func(name string, b []byte) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	m, err := New(path("disk", make([]byte, 1<<20)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	m.Linux, m.Initramfs = path("linux", kernel), path("initramfs", archive.Bytes())
	return m
}
