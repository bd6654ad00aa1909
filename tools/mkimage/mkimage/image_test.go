package mkimage

import (
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	diskfs "github.com/diskfs/go-diskfs"

	"github.com/postern-nas/postern/images"
	"github.com/postern-nas/postern/images/fdt"
	"github.com/postern-nas/postern/tools/debian"
)

var (
	wantImage = flag.Bool("image", false, "build an image and look at it: a minute or two, and 120 MB to fetch the first time")
	ofBoard   = flag.String("board", "rpi", "the `name` of the board to build for; all: each that there is")
	quick     = flag.Bool("quick", false, "compress less, and look at all but the sizes")
)

// TestImage builds images and looks at them as their owner's computer and the box would.
func TestImage(t *testing.T) {
	if !*wantImage {
		t.Skip("to build an image: make image-test")
	}
	for _, b := range wantedBoards(t) {
		t.Run(b.Name, func(t *testing.T) { testImage(t, b) })
	}
}

func wantedBoards(t *testing.T) []images.Board {
	t.Helper()
	if *ofBoard == "all" {
		return images.Boards
	}
	b, ok := images.FindBoard(*ofBoard)
	if !ok {
		t.Fatalf("no board %s", *ofBoard)
	}
	return []images.Board{b}
}

func testImage(t *testing.T, b images.Board) {
	key, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	r, err := Build(t.Context(), Options{Board: b, Out: dir, Key: key, Compress: !*quick, Bundle: !*quick, Quick: *quick}, t.Output())
	if errors.Is(err, debian.ErrNoApt) && os.Getenv("CI") != "true" {
		t.Skip("skipped: ", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if !*quick {
		t.Logf("%s: image %.1f MiB to download, kernel image %.1f MiB in a slot, update %.1f MiB, initramfs %.1f MiB, postern %.1f MiB", b.Name,
			mib(int(r.Compressed)), mib(r.UKISize), mib(int(r.BundleSize)), mib(r.Initramfs), mib(r.Postern))
		if r.UKISize > images.MaxUKI || r.BundleSize > images.MaxDownload || r.BundleSize == 0 {
			t.Errorf("a kernel image of %d bytes, an update of %d", r.UKISize, r.BundleSize)
		}
	}
	name := filepath.Join(dir, r.Image)
	t.Run("components", func(t *testing.T) { checkBill(t, r, strings.TrimSuffix(name, ".img")+".cdx.json") })
	t.Run("no shell", func(t *testing.T) { checkPrograms(t, r, b) })
	t.Run("licences", func(t *testing.T) { checkLicences(t, r) })
	t.Run("index", func(t *testing.T) { checkIndex(t, r) })
	t.Run("boot partition", func(t *testing.T) { checkBoot(t, r, name) })
	t.Run("Linux", func(t *testing.T) { checkLinux(t, r, b, name) })
	if *quick {
		t.Run("like", func(t *testing.T) { checkLike(t, r, filepath.Join(dir, "postern-"+b.Name+".json")) })
	}
}

// checkLike builds what was built once more, by what lies beside it and without its keys.
func checkLike(t *testing.T, r *Result, published string) {
	o := Options{Board: r.o.Board, Out: t.TempDir(), Quick: true}
	var said bytes.Buffer
	if again, err := Rebuild(t.Context(), o, published, &said); err != nil || again.ImageSum != r.ImageSum {
		t.Fatalf("not the same image again: %v\n%s", err, said.String())
	}
	if !strings.Contains(said.String(), "the same image as was published") {
		t.Errorf("it is not said that it is the same:\n%s", said.String())
	}
	if err := r.sameAs(Result{ImageSum: strings.Repeat("0", 64)}); !errors.Is(err, ErrNotTheSame) {
		t.Errorf("another image was published, and %v", err)
	}
	o.Debug = true
	if _, err := Rebuild(t.Context(), o, published, t.Output()); err == nil || errors.Is(err, ErrNotTheSame) {
		t.Errorf("the release is taken for the debug flavour: %v", err)
	}
}

// checkBill: every file of the initramfs, of the boot partition and beside the partitions is in the bill of materials
// once, as it is, below a component that has a version and a licence.
func checkBill(t *testing.T, r *Result, name string) {
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var bill sbom
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&bill); err != nil || bill.Format != "CycloneDX" || bill.Spec != "1.5" {
		t.Fatalf("%v, %s %s", err, bill.Format, bill.Spec)
	}
	found := map[string]string{}
	refs := map[string]bool{}
	for _, c := range bill.Components {
		if c.Version == "" && c.Name != ours || c.PURL == "" || refs[c.Ref] {
			t.Errorf("component %s: version %q, %q", c.Name, c.Version, c.PURL)
		}
		refs[c.Ref] = true
		for _, f := range c.Files {
			if found[f.Name] != "" {
				t.Errorf("%s is there twice", f.Name)
			}
			found[f.Name] = f.Hashes[0].Content
		}
	}
	want := map[string][]byte{}
	for n, c := range r.files {
		want["initramfs:/"+n] = c.data
	}
	for n, data := range r.boot {
		want["boot:"+n] = data
	}
	for _, w := range r.raw {
		want[fmt.Sprintf("disk:%d", w.at)] = w.data
	}
	for n, data := range want {
		if found[n] != fmt.Sprintf("%x", sha256.Sum256(data)) {
			t.Errorf("%s is not in the bill as it is", n)
		}
	}
	if len(found) != len(want) || len(want) < 100 {
		t.Errorf("%d files in the bill, %d in the image", len(found), len(want))
	}
	if bill.Metadata.Component.Hashes[0].Content != r.ImageSum {
		t.Error("the bill is of another image")
	}
}

// checkPrograms: what can be run is init, the board's tools, and their libraries; nothing of it is a shell, and there is
// no script.
func checkPrograms(t *testing.T, r *Result, b images.Board) {
	may := map[string]bool{"init": true}
	for _, tool := range b.Tools {
		may[toolsDir+"/"+path.Base(tool)] = true
	}
	shells := []string{"sh", "ash", "bash", "dash", "busybox", "gosh", "elvish", "rush", "bb", "ksh", "zsh", "toybox", "sshd", "python3", "perl"}
	for name, c := range r.files {
		if slices.Contains(shells, path.Base(name)) || strings.HasPrefix(name, "bin/") || strings.HasPrefix(name, "bbin/") {
			t.Errorf("a release has %s", name)
		}
		switch {
		case bytes.HasPrefix(c.data, []byte("#!")):
			t.Errorf("%s is a script", name)
		case bytes.HasPrefix(c.data, []byte("\x7fELF")):
			f, err := elf.NewFile(bytes.NewReader(c.data))
			if err != nil || f.Machine != elf.EM_AARCH64 {
				t.Fatalf("%s: %v, %v", name, err, f.Machine)
			}
			interpreted := slices.ContainsFunc(f.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP })
			library := strings.HasPrefix(name, "lib/") && strings.Contains(path.Base(name), ".so")
			if (f.Type == elf.ET_EXEC || interpreted) && !may[name] && !library {
				t.Errorf("%s is a program that nobody asked for", name)
			}
			delete(may, name)
		}
	}
	for name := range may {
		t.Errorf("%s is not there", name)
	}
}

// checkLicences: the list names each component that has a file, and its text is there.
func checkLicences(t *testing.T, r *Result) {
	list := string(r.files[licencesDir+"/index.txt"].data)
	seen := map[string]bool{}
	for name, c := range r.files {
		if !seen[c.from] && !strings.Contains("\n"+list, "\n"+c.from+" ") {
			t.Errorf("%s is from %s, whose licence is not listed", name, c.from)
		}
		seen[c.from] = true
	}
	for line := range strings.Lines(list) {
		name, _, _ := strings.Cut(line, " ")
		if f := r.files[path.Join(licencesDir, strings.ReplaceAll(name, "/", "_")+".txt")]; len(f.data) < 100 {
			t.Errorf("the licence of %s has %d bytes", name, len(f.data))
		}
	}
	for _, common := range []string{"GPL-2", "GPL-3", "LGPL-2.1"} {
		if len(r.files[licencesDir+"/common/"+common].data) < 10_000 {
			t.Errorf("the text of %s is not there", common)
		}
	}
}

// checkIndex: the index is about the modules that are there, and no others.
func checkIndex(t *testing.T, r *Result) {
	x, err := images.ParseAliasIndex(string(r.files[modulesIndex].data))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range r.Modules {
		if r.files[modulesDir+"/"+m+".ko"].data == nil || x.Depends[m] == nil {
			t.Errorf("module %s: no file, or not in the index", m)
		}
	}
	for _, data := range r.trees {
		tree, err := fdt.Read(data)
		if err != nil {
			t.Fatal(err)
		}
		if slices.Contains(fdt.Compatible(tree.RootNode), "ramoops") && !slices.Contains(r.Modules, "ramoops") {
			t.Error("a tree has memory for what is said in a panic, and the image no driver for it")
		}
	}
	if len(x.Depends) != len(r.Modules) {
		t.Errorf("%d modules in the index, %d in the image", len(x.Depends), len(r.Modules))
	}
	for line := range strings.Lines(string(r.files[modulesOrder].data)) {
		if r.files[modulesDir+"/"+strings.TrimSpace(line)].data == nil {
			t.Errorf("%s is to be loaded, and is not there", line)
		}
	}
}

// checkBoot reads the boot partition back with the library.
func checkBoot(t *testing.T, r *Result, name string) {
	d, err := diskfs.Open(name, diskfs.WithOpenMode(diskfs.ReadOnly))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	fs, err := d.GetFilesystem(1)
	if err != nil {
		t.Fatal(err)
	}
	for file, want := range r.boot {
		f, err := fs.OpenFile(strings.TrimPrefix(file, "/"), os.O_RDONLY)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		// Asked for less than a sector at a file's end the library gives the whole sector, so all is read at once.
		got := make([]byte, len(want))
		if _, err := io.ReadFull(f, got); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: not what was written (%v)", file, err)
		}
		entries, err := fs.ReadDir(path.Join(".", path.Dir(file)[1:]))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if info, err := e.Info(); e.Name() == path.Base(file) && (err != nil || info.Size() != int64(len(want))) {
				t.Errorf("%s has %d bytes, not %d (%v)", file, info.Size(), len(want), err)
			}
		}
	}
	image, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer image.Close()
	for _, w := range r.raw {
		got := make([]byte, len(w.data))
		if _, err := image.ReadAt(got, w.at); err != nil || !bytes.Equal(got, w.data) {
			t.Errorf("what should be at byte %d is not (%v)", w.at, err)
		}
	}
}

// TestBootPartition: files of sizes that are no multiples of anything, in the root and beneath, are read as they were.
func TestBootPartition(t *testing.T) {
	board, _ := images.FindBoard("rpi")
	l := board.Layout
	l.Partitions = slices.Clone(l.Partitions)
	l.Partitions[0].Size, l.Partitions[1].Size = 48<<20, 1<<20
	r := &Result{boot: map[string][]byte{
		images.BootScript: images.ScriptImage(images.UBootScript), images.SlotEnv: []byte(images.FirstSlotEnv),
		images.UBootSlotA: bytes.Repeat([]byte("kernel"), 100_003),
	}}
	name := filepath.Join(t.TempDir(), "disk")
	if err := errors.Join(writeDisk(name, l, r.boot), writeRaw(name, l, nil)); err != nil {
		t.Fatal(err)
	}
	checkBoot(t, r, name)
}

// checkLinux has Linux read the image, as root: its partitions, where they are and how large; and the boot partition's
// files, where this kernel has the filesystem. The tables' own checkers look at it wherever they are installed.
func checkLinux(t *testing.T, r *Result, b images.Board, name string) {
	tool := func(program string, args ...string) string {
		if _, err := exec.LookPath(program); err != nil {
			t.Logf("no %s here", program)
			return ""
		}
		out, err := exec.Command(program, append(args, name)...).CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%s", program, err, out)
		}
		return string(out)
	}
	if !b.Layout.MBR {
		if out := tool("sgdisk", "-v"); out != "" && !strings.Contains(out, "No problems found") {
			t.Error(out)
		}
	}
	tool("sfdisk", "--verify")
	if os.Geteuid() != 0 {
		t.Skip("as root the image is attached to a loop device too")
	}
	out, err := exec.Command("losetup", "--find", "--show", "--partscan", "--read-only", name).Output()
	if err != nil {
		t.Skipf("no loop device: %v", err)
	}
	loop := strings.TrimSpace(string(out))
	t.Cleanup(func() {
		if out, err := exec.Command("losetup", "-d", loop).CombinedOutput(); err != nil {
			t.Errorf("losetup -d: %v\n%s", err, out)
		}
	})
	sys := filepath.Join("/sys/class/block", filepath.Base(loop))
	if _, err := os.Stat(sys + "p1"); err == nil {
		t.Log("the kernel has read the table by itself")
	} else { // a kernel without tables: util-linux reads it and tells the kernel
		if out, err := exec.Command("partx", "--add", loop).CombinedOutput(); err != nil {
			t.Fatalf("partx: %v\n%s", err, out)
		}
		t.Cleanup(func() { _ = exec.Command("partx", "--delete", loop).Run() }) // before losetup -d
		t.Log("this kernel has no partition tables; partx has read it")
	}
	for i, p := range b.Layout.Partitions {
		for file, want := range map[string]int64{"start": b.Layout.Start(i) / sector, "size": p.Size / sector} {
			text, err := os.ReadFile(fmt.Sprintf("%sp%d/%s", sys, i+1, file))
			if got := strings.TrimSpace(string(text)); err != nil || got != fmt.Sprint(want) {
				t.Errorf("partition %d: %s is %s, not %d (%v)", i+1, file, got, want, err)
			}
		}
	}
	if kinds, err := os.ReadFile("/proc/filesystems"); err != nil || !strings.Contains(string(kinds), "\tvfat\n") {
		t.Log("this kernel has no vfat: the boot partition is not mounted")
		return
	}
	at := t.TempDir()
	if err := syscall.Mount(loop+"p1", at, "vfat", syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := syscall.Unmount(at, 0); err != nil {
			t.Error(err)
		}
	}()
	for file, want := range r.boot {
		if got, err := os.ReadFile(filepath.Join(at, file)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes instead of %d (%v)", file, len(got), len(want), err)
		}
	}
}

// TestImageRepro builds an image twice, as two people would: in other folders, with another umask and time zone, another
// number of processors and another date in the environment; the second with keys of his own, and of the first only with what
// is published beside the image. All that is written is the same.
func TestImageRepro(t *testing.T) {
	if !*wantImage {
		t.Skip("to build an image twice: make image-repro")
	}
	root, err := moduleRoot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(t.TempDir(), "mkimage")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, "./tools/mkimage")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var sums [2]map[string]string
	published := filepath.Join(t.TempDir(), "published.json")
	for i, as := range []struct {
		umask, in string
		env, args []string
	}{
		{"022", root, []string{"TZ=UTC", "GOMAXPROCS=2", "LC_ALL=C"}, nil},
		{
			"077", filepath.Join(root, "images"),
			[]string{"TZ=Pacific/Chatham", "GOMAXPROCS=1", "LC_ALL=tr_TR.UTF-8", "SOURCE_DATE_EPOCH=1234567890"},
			[]string{"-like", published},
		},
	} {
		out := t.TempDir()
		args := append([]string{"-c", `umask "$0"; exec "$@"`, as.umask, program, "-board", *ofBoard, "-out", out, "-compress"}, as.args...)
		cmd := exec.CommandContext(t.Context(), "sh", args...)
		cmd.Dir, cmd.Env = as.in, append(append(os.Environ(), as.env...), "XDG_CONFIG_HOME="+t.TempDir())
		cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
		if err := cmd.Run(); err != nil {
			t.Fatal(err)
		}
		if sums[i], err = sumsOf(out); err != nil || len(sums[i]) < 4 {
			t.Fatalf("%v, %v", sums[i], err)
		}
		if i == 0 {
			text, err := os.ReadFile(filepath.Join(out, "postern-"+*ofBoard+".json"))
			if err == nil {
				err = os.WriteFile(published, text, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, s := range sums[0] {
		t.Log(s[:16], name)
		if sums[1][name] != s {
			t.Errorf("%s is not the same twice: %s and %s", name, s, sums[1][name])
		}
	}
	if len(sums[0]) != len(sums[1]) {
		t.Errorf("%d files, and %d", len(sums[0]), len(sums[1]))
	}
}

func sumsOf(dir string) (map[string]string, error) {
	entries, err := os.ReadDir(dir)
	sums := map[string]string{}
	for _, e := range entries {
		f, ferr := os.Open(filepath.Join(dir, e.Name()))
		if ferr != nil {
			return nil, ferr
		}
		h := sha256.New()
		_, cerr := io.Copy(h, f)
		err = errors.Join(err, cerr, f.Close())
		sums[e.Name()] = fmt.Sprintf("%x", h.Sum(nil))
	}
	return sums, err
}
