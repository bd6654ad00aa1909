package images

import (
	"encoding/binary"
	"hash/crc32"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestScriptImage(t *testing.T) {
	image := ScriptImage(UBootScript)
	be := binary.BigEndian
	head := append([]byte(nil), image[:legacyHeader]...)
	sum := be.Uint32(head[4:])
	be.PutUint32(head[4:], 0)
	data := image[legacyHeader:]
	if crc32.ChecksumIEEE(head) != sum || crc32.ChecksumIEEE(data) != be.Uint32(image[24:]) || int(be.Uint32(image[12:])) != len(data) {
		t.Error("sums or length are wrong")
	}
	if n := be.Uint32(data); int(n) != len(UBootScript) || be.Uint32(data[4:]) != 0 || string(data[8:]) != UBootScript {
		t.Error("the text is not where it should be")
	}
	// U-Boot's own program reads it, where it is installed (u-boot-tools).
	if tool, err := exec.LookPath("dumpimage"); err == nil {
		name := filepath.Join(t.TempDir(), "boot.scr")
		if err := os.WriteFile(name, image, 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(tool, "-l", name).CombinedOutput()
		if err != nil || !strings.Contains(string(out), "AArch64 Linux Script") {
			t.Errorf("%v\n%s", err, out)
		}
	}
}

// TestUBootScript runs the script by a shell: it is written in what U-Boot's and a POSIX shell have in common, and the
// commands that only U-Boot has are given to the shell as functions. What it decides is held against a table.
func TestUBootScript(t *testing.T) {
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("no sh")
	}
	const uboot = `
setenv() { eval "$1=\$2"; }
load() { # of the last argument; slot.env is a file, images are there unless they are in $absent
  case "$4" in
  */slot.env) test -f "$dir/slot.env" && filesize=1 ;;
  *) case " $absent " in *" $4 "*) return 1 ;; esac; loaded=$4 ;;
  esac
}
env() { case "$1" in
  import) while IFS='=' read -r k v; do case "$k" in active|trial|tries) eval "$k=\$v" ;; esac; done < "$dir/slot.env" ;;
  export) : ;;
  esac }
fatwrite() { test "$readonly" = yes && return 1; printf 'active=%s\ntrial=%s\ntries=%s\n' "$active" "$trial" "$tries" > "$dir/slot.env"; }
bootefi() { echo "BOOT $loaded"; case " $broken " in *" $loaded "*) return 1 ;; esac; exit 0; }
reset() { echo RESET; exit 0; }
devtype=mmc devnum=1 distro_bootpart=1 ramdisk_addr_r=0x06000000 fdtcontroladdr=0x1
`
	const a, b = "BOOT /postern/a.efi", "BOOT /postern/b.efi"
	for name, c := range map[string]struct{ env, set, want, left string }{
		"new":            {FirstSlotEnv, "", a, FirstSlotEnv},
		"no text":        {"", "", a, ""},
		"other is good":  {"active=b\ntrial=none\ntries=0\n", "", b, "active=b\ntrial=none\ntries=0\n"},
		"first try":      {"active=a\ntrial=b\ntries=3\n", "", b, "active=a\ntrial=b\ntries=2\n"},
		"last try":       {"active=a\ntrial=b\ntries=1\n", "", b, "active=a\ntrial=b\ntries=0\n"},
		"tried enough":   {"active=a\ntrial=b\ntries=0\n", "", a, FirstSlotEnv},
		"back from b":    {"active=b\ntrial=a\ntries=2\n", "", a, "active=b\ntrial=a\ntries=1\n"},
		"not counted":    {"active=a\ntrial=b\ntries=3\n", "readonly=yes", a, "active=a\ntrial=b\ntries=3\n"},
		"nonsense":       {"active=x\ntrial=y\ntries=z\n", "", a, "active=x\ntrial=y\ntries=z\n"},
		"many tries":     {"active=a\ntrial=b\ntries=99\n", "", a, FirstSlotEnv},
		"trial of same":  {"active=a\ntrial=a\ntries=2\n", "", a, "active=a\ntrial=a\ntries=2\n"},
		"trial is gone":  {"active=a\ntrial=b\ntries=3\n", "absent=/postern/b.efi", a, "active=a\ntrial=b\ntries=2\n"},
		"active is gone": {FirstSlotEnv, "absent=/postern/a.efi", b, FirstSlotEnv},
		"does not start": {"active=a\ntrial=b\ntries=2\n", "broken=/postern/b.efi", b + "\n" + a, "active=a\ntrial=b\ntries=1\n"},
		"nothing starts": {FirstSlotEnv, "broken='/postern/a.efi /postern/b.efi'", a + "\n" + a + "\n" + b + "\nRESET", FirstSlotEnv},
	} {
		dir := t.TempDir()
		file := filepath.Join(dir, "slot.env")
		if c.env != "" {
			if err := os.WriteFile(file, []byte(c.env), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		out, err := exec.Command(sh, "-c", "dir='"+dir+"'\n"+c.set+"\n"+uboot+UBootScript).CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
		var said []string
		for line := range strings.Lines(string(out)) {
			if line = strings.TrimSpace(line); !strings.HasPrefix(line, "Postern:") {
				said = append(said, line)
			}
		}
		left, _ := os.ReadFile(file)
		if strings.Join(said, "\n") != c.want || string(left) != c.left {
			t.Errorf("%s: %q, left %q", name, said, left)
		}
	}
}
