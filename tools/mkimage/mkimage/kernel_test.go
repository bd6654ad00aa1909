package mkimage

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"github.com/ulikunitz/xz"

	"github.com/postern-nas/postern/images"
)

// testModule is an ELF file with nothing but a .modinfo.
func testModule(t testing.TB, machine elf.Machine, info string) []byte {
	t.Helper()
	const names = "\x00.shstrtab\x00.modinfo\x00"
	var b bytes.Buffer
	write := func(v any) {
		if err := binary.Write(&b, binary.LittleEndian, v); err != nil {
			t.Fatal(err)
		}
	}
	head := elf.Header64{
		Type: uint16(elf.ET_REL), Machine: uint16(machine), Version: 1, Ehsize: 64, Shentsize: 64, Shnum: 3, Shstrndx: 1,
		Shoff: uint64(64 + len(names) + len(info)),
	}
	copy(head.Ident[:], "\x7fELF\x02\x01\x01")
	write(head)
	b.WriteString(names + info)
	write(elf.Section64{})
	write(elf.Section64{Name: 1, Type: uint32(elf.SHT_STRTAB), Off: 64, Size: uint64(len(names))})
	write(elf.Section64{Name: 11, Type: uint32(elf.SHT_PROGBITS), Off: uint64(64 + len(names)), Size: uint64(len(info))})
	return b.Bytes()
}

func testKernel(t testing.TB, depends map[string]string) (tree, *kernel) {
	t.Helper()
	files := tree{
		"boot/vmlinuz-6.12":                     {data: []byte("kernel")},
		"usr/lib/modules/6.12/modules.builtin":  {data: []byte("kernel/fs/ext4/ext4.ko\nkernel/drivers/virtio-pci.ko\n")},
		"usr/lib/modules/6.12/kernel/README.md": {data: []byte("x")},
	}
	for file, on := range depends {
		data := testModule(t, elf.EM_AARCH64, "license=GPL\x00depends="+on+"\x00name="+file+"\x00")
		if strings.HasSuffix(file, ".xz") {
			var b bytes.Buffer
			w, err := xz.NewWriter(&b)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write(data); err != nil {
				t.Fatal(err)
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			data = b.Bytes()
		}
		files["usr/lib/modules/6.12/kernel/"+file] = entry{data: data}
	}
	k, err := findKernel(files)
	if err != nil {
		t.Fatal(err)
	}
	if k.version != "6.12" || string(k.image) != "kernel" {
		t.Errorf("found %q, %q", k.version, k.image)
	}
	return files, k
}

func noSoft(string) []string { return nil }

func TestModules(t *testing.T) {
	files, k := testKernel(t, map[string]string{
		"tpm_tis.ko.xz": "tpm-tis-core", "tpm-tis-core.ko": "", "net_failover.ko": "failover", "failover.ko.xz": "",
		"virtio_net.ko": "net_failover,virtio-pci", "unused.ko": "", "x.ko": "y", "y.ko": "z", "z.ko": "x", "lost.ko": "gone",
	})
	got, err := k.modules(files, []string{"tpm_tis", "ext4", "virtio_net", "failover"}, noSoft)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range got {
		names = append(names, m.name)
		if !bytes.HasPrefix(m.data, []byte("\x7fELF")) {
			t.Errorf("%s is packed", m.name)
		}
	}
	if want := strings.Fields("tpm_tis_core tpm_tis failover net_failover virtio_net"); !slices.Equal(names, want) {
		t.Errorf("order %v, want %v", names, want)
	}
	for name, says := range map[string]string{
		"x": "depend on each other: x, y, z, x", "lost": "no module gone (lost)", "nothing": "no module nothing",
	} {
		if _, err := k.modules(files, []string{name}, noSoft); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", name, err, says)
		}
	}
}

func TestModulesRefuses(t *testing.T) {
	for name, data := range map[string][]byte{
		"another machine": testModule(t, elf.EM_X86_64, "depends=\x00"),
		"no module":       bytes.Replace(testModule(t, elf.EM_AARCH64, ""), []byte(".modinfo"), []byte(".comment"), 1),
		"no ELF":          []byte("text"),
	} {
		if _, err := readModinfo(data); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	files := tree{"boot/vmlinuz-1": {data: []byte("a")}, "boot/vmlinuz-2": {data: []byte("b")}}
	if _, err := findKernel(files); err == nil {
		t.Error("took one of two kernels")
	}
	if _, err := findKernel(tree{}); err == nil {
		t.Error("found a kernel in nothing")
	}
}

// TestInitramfsMissing: a tool that is not in the packages, or not all of it, is an error and not a box that fails later.
func TestInitramfsMissing(t *testing.T) {
	if _, err := rootFiles([]byte("p"), nil, images.NewAliasIndex(nil, nil, nil), tree{}, []string{"usr/sbin/mke2fs"}); err == nil || !strings.Contains(err.Error(), "usr/sbin/mke2fs") {
		t.Errorf("%v", err)
	}
	if _, err := rootFiles([]byte("p"), nil, images.NewAliasIndex(nil, nil, nil), tree{"usr/sbin/mke2fs": {data: []byte("#!/bin/sh")}}, []string{"usr/sbin/mke2fs"}); err == nil {
		t.Error("took a script for a program")
	}
}
