package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/postern-nas/postern/board"
	"github.com/postern-nas/postern/firmware/storage/disklab"
	"github.com/postern-nas/postern/images"
)

// tree writes a sysfs of a test's.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if to, ok := strings.CutPrefix(text, "-> "); ok {
			if err := os.Symlink(to, path); err != nil {
				t.Fatal(err)
			}
		} else if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestScan(t *testing.T) {
	const ata = "devices/platform/fe000000.sata/ata2/host1/target1:0:0/1:0:0:0/block/sda"
	sys := tree(t, map[string]string{
		ata + "/size": "7814037168\n", ata + "/queue/rotational": "1\n", ata + "/removable": "0\n", ata + "/ro": "0\n",
		ata + "/device/model": "WDC WD40EFRX-68N \n", ata + "/device/vendor": "ATA     \n", ata + "/device/wwid": "naa.50014ee2b0000000\n",
		ata + "/device/vpd_pg80": "\x00\x80\x00\x14     WD-WCC4E0000000", ata + "/sda1/partition": "1\n", ata + "/sda1/uevent": "DEVTYPE=partition\n",
		"block/sda": "-> ../" + ata,

		"block/nvme0n1/size": "1000215216\n", "block/nvme0n1/queue/rotational": "0\n", "block/nvme0n1/wwid": "eui.0025385b00000000\n",
		"block/nvme0n1/device/model": "Samsung SSD 970 EVO Plus 500GB           \n", "block/nvme0n1/device/serial": "S4EVNF0M000000A     \n",
		"block/mmcblk0/size": "30535680\n", "block/mmcblk0/device/name": "SD16G\n", "block/mmcblk0/device/serial": "0x12345678\n",
		"block/mmcblk0/mmcblk0p2/partition": "2\n", "block/mmcblk0/mmcblk0p2/uevent": "DEVTYPE=partition\nPARTNAME=postern-state\n",
		"block/mmcblk1/size": "30535680\n", "block/mmcblk1/mmcblk1p1/partition": "1\n",
		"block/mmcblk1/mmcblk1p1/uevent": fmt.Sprintf("DEVTYPE=partition\nPARTUUID=%08x-01\n", images.MBRSignature),
		"block/mmcblk0boot0/size":        "8192\n", "block/loop0/size": "100\n", "block/dm-0/size": "100\n", "block/zram0/size": "100\n",
		"block/sdb/size": "0\n", "block/sdb/device/model": "Card Reader\n",
		"block/sdc/size": "junk\n",
		"block/sdd/size": "2048\n", "block/sdd/device/model": "Evil\x1b[2J\x00\xffdisk\n",
	})
	c := Config{Sys: sys, Bays: []board.Bay{{Name: "1", Port: "fe000000.sata/ata1"}, {Name: "2", Port: "fe000000.sata/ata2"}}}
	c.fill()
	all, err := scan(c)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]Disk{
		"sda":     {Name: "sda", ID: "WD-WCC4E0000000", Model: "WDC WD40EFRX-68N", Bay: "2", Bytes: 7814037168 * 512, Spins: true},
		"nvme0n1": {Name: "nvme0n1", ID: "S4EVNF0M000000A", Model: "Samsung SSD 970 EVO Plus 500GB", Bytes: 1000215216 * 512},
		"mmcblk0": {Name: "mmcblk0", ID: "0x12345678", Model: "SD16G", Bytes: 30535680 * 512, System: true},
		"mmcblk1": {Name: "mmcblk1", Bytes: 30535680 * 512, System: true}, // by an MBR of ours, which has no names
		"sdd":     {Name: "sdd", Model: "Evil[2Jdisk", Bytes: 2048 * 512},
	}
	for _, d := range all {
		w, ok := want[d.Name]
		got := d.Disk
		if !ok || got.ID != w.ID || got.Model != w.Model || got.Bay != w.Bay || got.Bytes != w.Bytes || got.Spins != w.Spins || got.System != w.System {
			t.Errorf("%+v, want %+v", got, w)
		}
		delete(want, d.Name)
	}
	if len(want) > 0 {
		t.Errorf("not found: %v", want)
	}
	if all, err := scan(Config{Sys: t.TempDir()}); err != nil || len(all) > 0 {
		t.Errorf("%v (%v)", all, err)
	}
}

func TestIdentify(t *testing.T) {
	for name, c := range map[string]struct {
		at    int
		magic string
		want  string
	}{
		"nothing":   {0, "", ""},
		"LUKS":      {0, "LUKS\xba\xbe\x00\x02", "LUKS"},
		"GPT":       {512, "EFI PART", "partitions"},
		"MBR":       {446, "\x80" + strings.Repeat("\x01", 63) + "\x55\xaa", "partitions"},
		"md 1.2":    {4096, "\xfc\x4e\x2b\xa9", "RAID"},
		"LVM":       {512, "LABELONE", "LVM"},
		"NTFS":      {3, "NTFS    ", "NTFS"},
		"BitLocker": {3, "-FVE-FS-", "BitLocker"},
		"exFAT":     {3, "EXFAT   ", "exFAT"},
		"swap":      {4086, "SWAPSPACE2", "swap"},
		"ZFS":       {128 << 10, "\x0c\xb1\xba\x00\x00", "ZFS"},
		"a byte":    {700_000, "\x01", "does not know"},
		"at end":    {edge + edge - 1, "\x01", "does not know"},
		"md 1.0":    {edge + edge - 8192, "\xfc\x4e\x2b\xa9", "RAID"},
	} {
		disk := make([]byte, 2*edge)
		copy(disk[c.at:], c.magic)
		got, err := read(bytes.NewReader(disk), int64(len(disk)))
		if err != nil || got.kind != "" || (got.words == "") != (c.want == "") || !strings.Contains(got.words, c.want) {
			t.Errorf("%s: %+v (%v)", name, got, err)
		}
	}
}

// TestIdentifyReal compares with what the real programs make.
func TestIdentifyReal(t *testing.T) {
	for kind, args := range map[string][]string{
		"btrfs": {"mkfs.btrfs", "-q", "-f", "-L", "Data 1", "-U", "01234567-89ab-cdef-0123-456789abcdef"},
		"ext4":  {"mkfs.ext4", "-q", "-F", "-L", "Data 1", "-U", "01234567-89ab-cdef-0123-456789abcdef"},
		"xfs":   {"mkfs.xfs", "-q", "-f", "-L", "Data 1", "-m", "uuid=01234567-89ab-cdef-0123-456789abcdef"},
	} {
		t.Run(kind, func(t *testing.T) {
			program, err := find(args[0])
			if err != nil {
				disklab.Missing(t, err.Error())
			}
			path := filepath.Join(t.TempDir(), "disk")
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			const size = 512 << 20
			if err := os.Truncate(path, size); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.Command(program, append(args[1:], path)...).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			c, err := readDevice(path)
			if err != nil || c.kind != kind || c.uuid != "01234567-89ab-cdef-0123-456789abcdef" || c.label != "Data 1" || c.bytes < size*9/10 || c.bytes > size {
				t.Errorf("%+v (%v)", c, err)
			}
			f, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			whole := make([]byte, 70<<10)
			if _, err := f.Read(whole); err != nil {
				t.Fatal(err)
			}
			for n := 0; n < len(whole); n += 97 { // cut anywhere: no panic, and what is there is never called empty
				if got := identify(whole[:n], nil); n > 1200 && got.words == "" && kind != "btrfs" {
					t.Errorf("%d bytes of it are nothing", n)
				}
			}
		})
	}
}

func FuzzIdentify(f *testing.F) {
	b := make([]byte, 70<<10)
	copy(b[64<<10+0x40:], "_BHRfS_M")
	f.Add(b, []byte{})
	f.Add([]byte("XFSB"), []byte("\xfc\x4e\x2b\xa9"))
	e := make([]byte, 2048)
	copy(e[1024+0x38:], "\x53\xef")
	f.Add(e, e)
	f.Fuzz(func(t *testing.T, head, tail []byte) {
		c := identify(head, tail)
		if c.words == "" && (bytes.Count(head, []byte{0}) < len(head) || bytes.Count(tail, []byte{0}) < len(tail)) {
			t.Error("something is nothing")
		}
		if c.kind != "" && !isUUID(c.uuid) {
			t.Errorf("%q", c.uuid)
		}
		if strings.ContainsAny(c.words, "\n\x1b") {
			t.Errorf("%q", c.words)
		}
	})
}

func TestFolder(t *testing.T) {
	for in, want := range map[string]string{
		"data": "data", "Data 1": "data 1", "../etc": "-etc", "a/b": "a-b", "..": "", "": "", "x\x00\ny": "x y", strings.Repeat("é", 100): strings.Repeat("é", 32),
	} {
		if got := folder(in); got != want {
			t.Errorf("%q became %q", in, got)
		}
	}
	for _, bad := range []string{"", "..", "a/b", "-x", "*", strings.Repeat("x", 33), "a\x00", "x\ny"} {
		if got, err := checkName(bad); err == nil {
			t.Errorf("%q became %q", bad, got)
		}
	}
	if got, err := checkName("Data"); err != nil || got != "data" {
		t.Errorf("%q (%v)", got, err)
	}
}

func TestReadReport(t *testing.T) {
	for name, c := range map[string]struct {
		text    string
		health  Health
		problem string
	}{
		"a good disk":   {`{"model_name":"WDC","serial_number":"WD-1","smart_status":{"passed":true},"temperature":{"current":35},"power_on_time":{"hours":1000},"ata_smart_attributes":{"table":[{"id":5,"name":"Reallocated_Sector_Ct","when_failed":"","raw":{"value":0}},{"id":194,"raw":{"value":35}}]}}`, Good, ""},
		"fails":         {`{"smart_status":{"passed":false},"temperature":{"current":35}}`, Failed, "replace this disk"},
		"an attribute":  {`{"smart_status":{"passed":true},"ata_smart_attributes":{"table":[{"id":5,"name":"Reallocated_Sector_Ct","when_failed":"now","raw":{"value":2000}}]}}`, Failed, "Reallocated Sector Ct is worse"},
		"was worse":     {`{"smart_status":{"passed":true},"ata_smart_attributes":{"table":[{"id":190,"name":"Airflow","when_failed":"past","raw":{"value":45}}]}}`, Good, ""},
		"pending":       {`{"smart_status":{"passed":true},"ata_smart_attributes":{"table":[{"id":197,"raw":{"value":8}}]}}`, Warning, "8 sectors that cannot be read"},
		"packed":        {`{"smart_status":{"passed":true},"ata_smart_attributes":{"table":[{"id":5,"raw":{"value":1099511627776}}]}}`, Good, ""},
		"hot":           {`{"smart_status":{"passed":true},"temperature":{"current":61}}`, Warning, "too warm, 61"},
		"NVMe":          {`{"smart_status":{"passed":true},"nvme_smart_health_information_log":{"critical_warning":0,"available_spare":100,"available_spare_threshold":10,"percentage_used":3,"media_errors":0}}`, Good, ""},
		"NVMe used up":  {`{"smart_status":{"passed":true},"nvme_smart_health_information_log":{"available_spare":100,"percentage_used":104}}`, Warning, "104 %"},
		"NVMe fails":    {`{"smart_status":{"passed":true},"nvme_smart_health_information_log":{"critical_warning":4,"available_spare":100}}`, Failed, "replace"},
		"says nothing":  {`{"model_name":"USB bridge"}`, Unknown, ""},
		"an empty list": {`{}`, Unknown, ""},
	} {
		d, err := readReport([]byte(c.text), 55)
		if err != nil || d.Health != c.health || (d.Problem == "") != (c.problem == "") || !strings.Contains(d.Problem, c.problem) {
			t.Errorf("%s: %+v (%v)", name, d, err)
		}
		for n := range c.text {
			if d, err := readReport([]byte(c.text[:n]), 55); err == nil {
				t.Errorf("%s cut to %d: %+v", name, n, d)
			}
		}
	}
	if _, err := readReport([]byte(`{"smartctl":{"messages":[{"string":"Device is in STANDBY mode, exit(3)","severity":"information"}]}}`), 55); !errors.Is(err, errAsleep) {
		t.Error(err)
	}
}

// TestExamine asks the real program about a disk that it does not know: an answer that is no health, and no failure.
func TestExamine(t *testing.T) {
	if _, err := find("smartctl"); err != nil {
		disklab.Missing(t, err.Error())
	}
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, make([]byte, 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	if d, err := examine(t.Context(), path, 55); err == nil && d.Health != Unknown {
		t.Errorf("a file is healthy: %+v", d)
	}
}

func TestIsBlock(t *testing.T) {
	yes := "add@/devices/x\x00ACTION=add\x00SUBSYSTEM=block\x00DEVNAME=sda\x00"
	if !isBlock([]byte(yes)) {
		t.Error("not seen")
	}
	for _, no := range []string{"", "SUBSYSTEM=block", strings.Replace(yes, "=block", "=net", 1)} {
		if isBlock([]byte(no)) {
			t.Errorf("%q", no)
		}
	}
}

// A lab is loop devices of a test's, and a manager that sees only them.
type lab struct {
	*Manager
	dir     string
	devices []string // names
	cfg     Config
}

func newLab(t *testing.T, sizes ...int64) *lab {
	t.Helper()
	if _, err := find("mkfs.btrfs"); err != nil {
		disklab.Missing(t, "no mkfs.btrfs: apt-get install --no-install-recommends btrfs-progs")
	}
	l := &lab{dir: t.TempDir()}
	for i, size := range sizes {
		path := filepath.Join(l.dir, "disk"+string(rune('0'+i)))
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, size); err != nil {
			t.Fatal(err)
		}
		l.devices = append(l.devices, disklab.Attach(t, path))
	}
	l.cfg = Config{Patience: 200 * time.Millisecond, Dir: l.dir, Root: filepath.Join(l.dir, "srv"), Takes: func(n string) bool { return slices.Contains(l.devices, n) }}
	l.Manager = New(l.cfg, slog.New(slog.NewTextHandler(t.Output(), nil)))
	t.Cleanup(func() {
		if err := l.Close(20 * time.Second); err != nil {
			t.Error(err)
		}
	})
	return l
}

// choose chooses disks as an owner does who has looked.
func (l *lab) choose(t *testing.T, n int) (all []Choice) {
	t.Helper()
	l.update(t.Context())
	s, _ := l.State.Get()
	for _, d := range s.Disks[:n] {
		all = append(all, Choice{d.Name, d.ID})
	}
	return all
}

// made waits for a job's end.
func (l *lab) made(t *testing.T) Job {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for version := uint64(0); ; {
		s, v, err := l.State.Wait(ctx, version)
		if err != nil {
			t.Fatalf("never done: %+v", s.Job)
		}
		if version = v; s.Job != nil && s.Job.Done {
			return *s.Job
		}
	}
}

func (l *lab) pool(t *testing.T) Pool {
	t.Helper()
	l.update(t.Context())
	s, _ := l.State.Get()
	if len(s.Pools) != 1 {
		t.Fatalf("%+v", s.Pools)
	}
	return s.Pools[0]
}

// TestMirror: made, used, there again after a restart, degraded without one disk, gone without both, back with them.
func TestMirror(t *testing.T) {
	l := newLab(t, 256<<20, 256<<20)
	if err := l.Format(t.Context(), Request{Name: "Data", Disks: l.choose(t, 2), Mirror: true}); err != nil {
		t.Fatal(err)
	}
	if err := l.Format(t.Context(), Request{Name: "other", Disks: l.choose(t, 1)}); err == nil {
		t.Error("two at once")
	}
	if j := l.made(t); j.Error != "" || j.Percent != 100 {
		t.Fatalf("%+v", j)
	}
	p := l.pool(t)
	if p.Name != "data" || p.Kind != "btrfs" || !p.Mirror || p.Path != filepath.Join(l.cfg.Root, "data") || p.Health != Good || p.Free < 50<<20 || len(p.Disks) != 2 {
		t.Errorf("%+v", p)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(p.Path, &st); err != nil || st.Flags&(unix.ST_NOSUID|unix.ST_NODEV|unix.ST_NOEXEC) != unix.ST_NOSUID|unix.ST_NODEV|unix.ST_NOEXEC {
		t.Errorf("mounted with %x (%v)", st.Flags, err)
	}
	note := filepath.Join(p.Path, "note")
	if err := os.WriteFile(note, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := l.Format(t.Context(), Request{Name: "other", Disks: l.choose(t, 1), Erase: true}); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("erased what is in use: %v", err)
	}

	restart := func() {
		t.Helper()
		if err := l.Close(20 * time.Second); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(note); err == nil {
			t.Error("still mounted")
		}
		l.Manager = New(l.cfg, l.log)
		l.update(t.Context())
	}
	restart()
	if b, err := os.ReadFile(note); err != nil || string(b) != "hello" {
		t.Errorf("%q (%v)", b, err)
	}
	both := l.devices
	l.devices = both[:1]
	// The kernel remembers the other; a real disk would have gone.
	if err := l.Close(20 * time.Second); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("btrfs", "device", "scan", "--forget").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	l.Manager = New(l.cfg, l.log)
	late := func() Pool {
		t.Helper()
		if p := l.pool(t); p.Path != "" || p.Health != Warning || !strings.Contains(p.Problem, "waits") {
			t.Errorf("not waited for: %+v", p)
		}
		select {
		case <-l.poke:
		case <-time.After(20 * time.Second):
			t.Fatal("never looked again")
		}
		return l.pool(t)
	}
	if p = late(); p.Missing != 1 || p.Path == "" || p.Health != Warning || !strings.Contains(p.Problem, "1 of its disks") {
		t.Errorf("%+v", p)
	}
	if b, err := os.ReadFile(note); err != nil || string(b) != "hello" {
		t.Errorf("%q (%v)", b, err)
	}
	l.devices = nil
	if p = l.pool(t); p.Path != "" || p.Health != Failed || p.Problem == "" || p.Name != "data" {
		t.Errorf("%+v", p)
	}
	if _, err := os.Stat(p.Path); p.Path != "" || err == nil {
		t.Error("a folder is left where the pool was")
	}
	l.devices = both[:1]
	if p = late(); p.Path == "" {
		t.Errorf("not mounted again: %+v", p)
	}
	l.devices = both
	if p = l.pool(t); p.Health != Warning || !strings.Contains(p.Problem, "the late one") {
		t.Errorf("the late disk: %+v", p)
	}
	id := p.UUID
	if err := l.Forget(t.Context(), id); err != nil {
		t.Error(err)
	}
	if p = l.pool(t); p.Known || p.Path != "" {
		t.Errorf("%+v", p)
	}
	if err := l.Adopt(t.Context(), id); err != nil {
		t.Error(err)
	}
	if b, err := os.ReadFile(note); err != nil || string(b) != "hello" {
		t.Errorf("%q (%v)", b, err)
	}
}

// TestCopied: of two disks that are the same bytes none is taken for the pool.
func TestCopied(t *testing.T) {
	l := newLab(t, 256<<20)
	if err := l.Format(t.Context(), Request{Name: "data", Disks: l.choose(t, 1)}); err != nil {
		t.Fatal(err)
	}
	if j := l.made(t); j.Error != "" {
		t.Fatalf("%+v", j)
	}
	if err := l.Close(20 * time.Second); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("cp", "--sparse=always", filepath.Join(l.dir, "disk0"), filepath.Join(l.dir, "copy")).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	one := l.devices
	l.devices = append(slices.Clone(one), disklab.Attach(t, filepath.Join(l.dir, "copy")))
	l.Manager = New(l.cfg, l.log)
	p := l.pool(t)
	if p.Path != "" || p.Health != Failed || !strings.Contains(p.Problem, "copy") {
		t.Errorf("%+v", p)
	}
	if err := l.Adopt(t.Context(), p.UUID); err == nil {
		t.Error("adopted")
	}
	l.devices = one
	if p = l.pool(t); p.Path == "" || p.Health != Good {
		t.Errorf("without the copy: %+v", p)
	}
}

// TestRefused is all that Format says no to, and that it touches nothing.
func TestRefused(t *testing.T) {
	l := newLab(t, 256<<20, 256<<20, 64<<20)
	c := l.choose(t, 3)
	junk := filepath.Join(l.dir, "disk1")
	mark := func(what string) {
		f, err := os.OpenFile("/dev/"+c[1].Name, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.WriteAt([]byte(what), 0)
		if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
			t.Fatal(err)
		}
	}
	mark("LUKS\xba\xbe\x00\x02")
	for name, r := range map[string]struct {
		Request
		want string
	}{
		"no name":       {Request{Disks: c[:1]}, "cannot be a pool's name"},
		"a bad name":    {Request{Name: "../x", Disks: c[:1]}, "cannot be a pool's name"},
		"no disk":       {Request{Name: "a"}, "choose a disk"},
		"half a mirror": {Request{Name: "a", Disks: c[:1], Mirror: true}, "two disks"},
		"no mirror":     {Request{Name: "a", Disks: c[:2]}, "has to be a mirror"},
		"twice":         {Request{Name: "a", Disks: []Choice{c[0], c[0]}, Mirror: true}, "chosen twice"},
		"gone":          {Request{Name: "a", Disks: []Choice{{"sdzz", "1"}}}, "not there any more"},
		"another":       {Request{Name: "a", Disks: []Choice{{c[0].Name, c[1].ID}}}, "is not the one that was chosen"},
		"no number":     {Request{Name: "a", Disks: []Choice{{c[0].Name, ""}}}, "is not the one that was chosen"},
		"not empty":     {Request{Name: "a", Disks: c[1:2]}, "LUKS"},
		"too small":     {Request{Name: "a", Disks: c[2:3]}, "too small"},
	} {
		err := l.Format(t.Context(), r.Request)
		if err == nil || !strings.Contains(err.Error(), r.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := l.Format(t.Context(), Request{Name: "a", Disks: c[1:2]}); !errors.Is(err, ErrHolds) {
		t.Error(err)
	}
	if b, err := os.ReadFile(junk); err != nil || !bytes.HasPrefix(b, []byte("LUKS")) {
		t.Errorf("touched (%v)", err)
	}
	if s, _ := l.State.Get(); s.Job != nil {
		t.Errorf("%+v", s.Job)
	}
	// And with the owner's word it is done.
	if err := l.Format(t.Context(), Request{Name: "a", Disks: c[1:2], Erase: true}); err != nil {
		t.Fatal(err)
	}
	if j := l.made(t); j.Error != "" {
		t.Errorf("%+v", j)
	}
	if p := l.pool(t); p.Path == "" || p.Mirror {
		t.Errorf("%+v", p)
	}
	if err := l.Format(t.Context(), Request{Name: "A", Disks: c[:1]}); err == nil || !strings.Contains(err.Error(), "another name") {
		t.Error(err)
	}
}

// TestCanceled: stopped before it is done, the disks are empty, and the owner hears why.
func TestCanceled(t *testing.T) {
	l := newLab(t, 256<<20)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Format(ctx, Request{Name: "a", Disks: l.choose(t, 1)}); err != nil {
		t.Fatal(err)
	}
	if j := l.made(t); !strings.Contains(j.Error, "as you said") {
		t.Errorf("%+v", j)
	}
	l.update(t.Context())
	if s, _ := l.State.Get(); len(s.Pools) > 0 || len(s.Disks[0].Holds) > 0 {
		t.Errorf("%+v", s)
	}
	l.StopFormat() // nothing to stop
}

// TestExisting: file systems that were there before are listed, mounted when the owner says so, and a damaged one says so.
func TestExisting(t *testing.T) {
	for _, kind := range []string{"ext4", "xfs"} {
		t.Run(kind, func(t *testing.T) {
			program, err := find("mkfs." + kind)
			if err != nil {
				disklab.Missing(t, err.Error())
			}
			l := newLab(t, 512<<20)
			if out, err := exec.Command(program, "-q", "-L", "Old Disk", "/dev/"+l.devices[0]).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			p := l.pool(t)
			if p.Kind != kind || p.Name != "old disk" || p.Path != "" || p.Known {
				t.Errorf("%+v", p)
			}
			if err := l.Adopt(t.Context(), p.UUID); err != nil {
				t.Fatal(err)
			}
			if p = l.pool(t); p.Path != filepath.Join(l.cfg.Root, "old disk") || p.Total < 200<<20 {
				t.Errorf("%+v", p)
			}
			if err := l.Close(20 * time.Second); err != nil {
				t.Fatal(err)
			}
			f, err := os.OpenFile("/dev/"+l.devices[0], os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			_, err = f.WriteAt(make([]byte, 8<<20), 4096) // all but the superblock
			if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
				t.Fatal(err)
			}
			l.Manager = New(l.cfg, l.log)
			if p = l.pool(t); p.Path != "" || p.Health != Failed || !strings.Contains(p.Problem, "damaged") {
				t.Errorf("%+v", p)
			}
		})
	}
	l := newLab(t, 256<<20)
	if err := l.Adopt(t.Context(), "01234567-89ab-cdef-0123-456789abcdef"); err == nil {
		t.Error("adopted nothing")
	}
}

// TestStuck: a disk that does not answer is named, and the others are there.
func TestStuck(t *testing.T) {
	sys := tree(t, map[string]string{"block/sda/size": "2048\n", "block/sdb/size": "2048\n", "block/sdb/device/serial": "B\n"})
	dev := t.TempDir()
	if err := os.WriteFile(filepath.Join(dev, "sdb"), make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	m := New(Config{Sys: sys, Dev: dev, Root: t.TempDir()}, slog.New(slog.NewTextHandler(t.Output(), nil)))
	m.setStuck("sda", true) // as a read leaves it that does not return
	m.update(t.Context())
	s, _ := m.State.Get()
	if len(s.Disks) != 2 || s.Disks[0].Health != Failed || !strings.Contains(s.Disks[0].Problem, "does not answer") || s.Disks[1].Problem != "" {
		t.Errorf("%+v", s.Disks)
	}
}

// TestKnownDamaged: the list of pools cut and flipped never stops anything, and never names a folder elsewhere.
func TestKnownDamaged(t *testing.T) {
	good := `{"01234567-89ab-cdef-0123-456789abcdef": "data"}`
	texts := []string{good, `{"01234567-89ab-cdef-0123-456789abcdef": "../../etc"}`, `{"x": "data"}`, "null", "[]", ""}
	for n := range good {
		texts = append(texts, good[:n], good[:n]+string(good[n]^1)+good[n+1:])
	}
	for _, text := range texts {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, fileName), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		m := New(Config{Dir: dir}, slog.New(slog.DiscardHandler))
		for id, name := range m.known {
			if clean, err := checkName(name); err != nil || clean != name || !isUUID(id) {
				t.Errorf("%q: %q %q", text, id, name)
			}
		}
		if (text == good) != (m.known["01234567-89ab-cdef-0123-456789abcdef"] == "data") && text == good {
			t.Errorf("%q: %v", text, m.known)
		}
	}
}

// TestRun: the service mounts what it knows, and sees a disk that comes later.
func TestRun(t *testing.T) {
	l := newLab(t, 256<<20)
	c := l.choose(t, 1)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	<-l.Ready()
	if err := l.Format(ctx, Request{Name: "a", Disks: c}); err != nil {
		t.Fatal(err)
	}
	if j := l.made(t); j.Error != "" {
		t.Fatalf("%+v", j)
	}
	limit, stop := context.WithTimeout(ctx, time.Minute)
	defer stop()
	for version := uint64(0); ; {
		s, v, err := l.State.Wait(limit, version)
		if err != nil {
			t.Fatalf("%+v", s)
		}
		if version = v; len(s.Pools) == 1 && s.Pools[0].Path != "" && s.Disks[0].Pool == s.Pools[0].UUID {
			break
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
