package mkimage

import (
	"bytes"
	"debug/elf"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/u-root/u-root/pkg/cpio"

	"github.com/postern-nas/postern/images"
)

// libraryDirs are where Debian's arm64 packages have shared libraries.
var libraryDirs = []string{"usr/lib/aarch64-linux-gnu", "lib/aarch64-linux-gnu", "usr/lib", "lib"}

// where in the initramfs things go. The loader of shared libraries looks in lib and lib/aarch64-linux-gnu by itself.
const (
	modulesDir   = "lib/modules"
	modulesOrder = modulesDir + "/order" // file names in the order of loading, one a line; firmware/boot reads it
	modulesIndex = modulesDir + "/index" // which device needs which (images.AliasIndex)
	toolsDir     = "sbin"
	librariesDir = "lib/aarch64-linux-gnu"
)

// A content is a file of the initramfs, and what it is from: a package, or ours.
type content struct {
	data []byte
	from string
	link string // to where, instead of data
}

// ours is what the files are from that no package has.
const ours = "postern"

// contents are files by their path.
type contents map[string]content

// rootFiles makes the root of a box: postern as init, modules, tools with their libraries, the texts of their licences,
// and nothing else.
func rootFiles(postern []byte, modules []module, index *images.AliasIndex, t tree, tools []string) (contents, error) {
	files := contents{"init": {data: postern, from: ours}, "etc/resolv.conf": {link: images.ResolverFile, from: ours}}
	var order strings.Builder
	for _, m := range modules {
		files[modulesDir+"/"+m.name+".ko"] = content{data: m.data, from: m.from}
	}
	for _, name := range index.Order(index.Always...) {
		fmt.Fprintf(&order, "%s.ko\n", name)
	}
	files[modulesOrder] = content{data: []byte(order.String()), from: ours}
	files[modulesIndex] = content{data: []byte(index.String()), from: ours}
	for _, tool := range tools {
		e, err := t.find(tool)
		if err != nil {
			return nil, err
		}
		files[toolsDir+"/"+path.Base(tool)] = content{data: e.data, from: e.from}
		if err := addLibraries(files, t, e.data); err != nil {
			return nil, fmt.Errorf("%s: %w", tool, err)
		}
	}
	return files, nil
}

// addLibraries adds the loader and the shared libraries that an ELF file names, and theirs.
func addLibraries(files contents, t tree, program []byte) error {
	f, err := elf.NewFile(bytes.NewReader(program))
	if err != nil {
		return err
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			b := make([]byte, min(p.Filesz, 4096))
			if _, err := p.ReadAt(b, 0); err != nil {
				return err
			}
			loader := strings.TrimLeft(strings.TrimRight(string(b), "\x00"), "/")
			if files[loader], err = findLibrary(t, path.Base(loader)); err != nil {
				return err
			}
		}
	}
	needed, err := f.ImportedLibraries()
	if err != nil {
		return err
	}
	for _, name := range needed {
		to := librariesDir + "/" + name
		if strings.HasPrefix(name, "ld-linux-") {
			to = "lib/" + name
		}
		if files[to].data != nil {
			continue
		}
		if files[to], err = findLibrary(t, name); err != nil {
			return err
		}
		if err := addLibraries(files, t, files[to].data); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func findLibrary(t tree, name string) (content, error) {
	for _, dir := range libraryDirs {
		if _, ok := t[dir+"/"+name]; ok {
			e, err := t.find(dir + "/" + name)
			return content{data: e.data, from: e.from}, err
		}
	}
	return content{}, fmt.Errorf("the packages have no shared library %s", name)
}

// mountPoints are the folders that the box mounts things on.
var mountPoints = []string{"dev", "etc", "proc", "run", "srv", "state", "sys", "tmp"}

// archive packs files, their folders, the mount points and the console into a compressed cpio. Equal files give equal
// bytes.
func archive(files contents, quick bool) ([]byte, error) {
	dirs := map[string]bool{}
	for _, d := range mountPoints {
		dirs[d] = true
	}
	var names []string
	for name := range files {
		names = append(names, name)
		for d := path.Dir(name); d != "."; d = path.Dir(d) {
			dirs[d] = true
		}
	}
	for d := range dirs {
		names = append(names, d)
	}
	slices.Sort(names) // a folder comes before what is in it
	var out bytes.Buffer
	w := cpio.Newc.Writer(&out)
	for _, name := range names {
		r := cpio.Directory(name, 0o755)
		if !dirs[name] {
			r = cpio.StaticFile(name, string(files[name].data), 0o755)
			if to := files[name].link; to != "" {
				r = cpio.Symlink(name, to)
			}
		}
		if err := w.WriteRecord(cpio.MakeReproducible(r)); err != nil {
			return nil, err
		}
		if name == "dev" { // the kernel opens it for init before anything is mounted
			if err := w.WriteRecord(cpio.MakeReproducible(cpio.CharDev("dev/console", 0o600, 5, 1))); err != nil {
				return nil, err
			}
		}
	}
	if err := cpio.WriteTrailer(w); err != nil {
		return nil, err
	}
	// The kernel's decoder keeps the whole window in memory: 8 MiB is that of zstd -19.
	level := zstd.SpeedBestCompression
	if quick {
		level = zstd.SpeedFastest
	}
	z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(level), zstd.WithEncoderConcurrency(1),
		zstd.WithWindowSize(8<<20))
	if err != nil {
		return nil, err
	}
	return z.EncodeAll(out.Bytes(), nil), nil
}
