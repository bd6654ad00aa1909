package osfs

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/vfs"
)

func mustOpen(t testing.TB, v *Volume, name string, how vfs.How) *File {
	t.Helper()
	f, _, err := v.Open(context.Background(), vfs.Path{Names: strings.Split(name, `\`)}, how)
	if err != nil {
		t.Fatalf("open %s: %v", name, err)
	}
	return f.(*File)
}

// fill makes n files, beneath the Volume rather than through it.
func fill(t testing.TB, dir string, n int) {
	t.Helper()
	for i := range n {
		f, err := os.Create(filepath.Join(dir, fmt.Sprintf("File number %d", i)))
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
}

// BenchmarkCreate makes files in one directory; Plain is what the system calls for it cost by themselves.
func BenchmarkCreate(b *testing.B) {
	b.Run("Volume", func(b *testing.B) {
		v := volume(b, b.TempDir())
		for i := 0; b.Loop(); i++ {
			mustOpen(b, v, fmt.Sprint("file", i), vfs.How{Disposition: vfs.OpenIf, Access: dtyp.FileRead | dtyp.FileWrite}).Close()
		}
		b.ReportMetric(float64(v.Stats().IndexScans), "scans")
	})
	b.Run("Plain", func(b *testing.B) {
		dir := b.TempDir()
		for i := 0; b.Loop(); i++ {
			f, err := os.OpenFile(filepath.Join(dir, fmt.Sprint("file", i)), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
			if err != nil {
				b.Fatal(err)
			}
			f.Close()
		}
	})
}

// BenchmarkLookup opens one of 100,000 files.
func BenchmarkLookup(b *testing.B) {
	const n = 100_000
	dir := b.TempDir()
	fill(b, dir, n)
	for _, c := range []struct {
		name string
		how  vfs.How
		form string
		miss bool
	}{
		{"Exact", vfs.How{Access: dtyp.FileRead}, "File number %d", false},
		{"Metadata", vfs.How{Access: dtyp.ReadAttributes}, "File number %d", false},
		{"OtherCase", vfs.How{Access: dtyp.FileRead}, "FILE NUMBER %d", false},
		{"Missing", vfs.How{Access: dtyp.FileRead}, "no file %d", true},
	} {
		b.Run(c.name, func(b *testing.B) {
			v := volume(b, dir)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				f, _, err := v.Open(context.Background(), vfs.Path{Names: []string{fmt.Sprintf(c.form, i%n)}}, c.how)
				if (err != nil) != c.miss {
					b.Fatal(err)
				}
				if err == nil {
					f.Close()
				}
			}
			b.ReportMetric(float64(v.Stats().IndexScans), "scans")
		})
	}
	b.Run("Plain", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			f, err := os.Open(filepath.Join(dir, fmt.Sprintf("File number %d", i%n)))
			if err != nil {
				b.Fatal(err)
			}
			f.Close()
		}
	})
}

// BenchmarkList lists 100,000 entries, with names only and with everything.
func BenchmarkList(b *testing.B) {
	const n = 100_000
	dir := b.TempDir()
	fill(b, dir, n)
	v := volume(b, dir)
	for _, c := range []struct {
		name string
		want vfs.Mask
	}{{"Names", 0}, {"All", vfs.WantAll}} {
		b.Run(c.name, func(b *testing.B) {
			f, _, err := v.Open(context.Background(), vfs.Path{}, vfs.How{Access: dtyp.FileRead})
			if err != nil {
				b.Fatal(err)
			}
			defer f.Close()
			for b.Loop() {
				count := 0
				if err := f.ReadDir(context.Background(), 0, nil, c.want, func(uint64, vfs.Entry) bool { count++; return true }); err != nil || count != n+2 {
					b.Fatal(count, err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/entry")
		})
	}
}

func BenchmarkIO(b *testing.B) {
	v := volume(b, b.TempDir())
	f := mustOpen(b, v, "f", vfs.How{Disposition: vfs.Create, Access: dtyp.FileRead | dtyp.FileWrite})
	defer f.Close()
	for _, size := range []int{4 << 10, 1 << 20} {
		buf := make([]byte, size)
		b.Run(fmt.Sprint("Write/", size), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(size))
			for b.Loop() {
				if _, err := f.WriteAt(buf, 4096); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprint("Read/", size), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(size))
			for b.Loop() {
				if _, err := f.ReadAt(buf, 0); err != nil && err != io.EOF {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("Attr", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := f.Attr(context.Background(), vfs.WantAll); err != nil {
				b.Fatal(err)
			}
		}
	})
}
