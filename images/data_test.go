package images

import (
	"errors"
	"strings"
	"testing"
)

func TestBoards(t *testing.T) {
	lock, err := Packages()
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range Boards {
		if found, ok := FindBoard(b.Name); !ok || found.Name != b.Name {
			t.Errorf("%s is not found", b.Name)
		}
		if err := b.Layout.Check(); err != nil {
			t.Errorf("%s: %v", b.Name, err)
		}
		if _, err := lock.Select(b.Packages); err != nil {
			t.Errorf("%s: %v", b.Name, err)
		}
		state := 0
		for _, p := range b.Layout.Partitions {
			if p.Name == StateName && p.Type == TypeState {
				state++
			}
		}
		if first := b.Layout.Partitions[0]; state != 1 || first.Type != TypeESP || first.Size < 3*MaxUKI {
			t.Errorf("%s: %d state partitions; the first one has %d bytes", b.Name, state, first.Size)
		}
	}
	if _, ok := FindBoard("toaster"); ok {
		t.Error("found a board that there is none of")
	}
}

func TestLayout(t *testing.T) {
	good := func() Layout {
		l := qemu.Layout
		l.Partitions = append([]Partition(nil), l.Partitions...)
		return l
	}
	l := good()
	if l.Start(0) != 1<<20 || l.Start(1) != 257<<20 || l.Size() != 514<<20 {
		t.Errorf("starts %d and %d, size %d", l.Start(0), l.Start(1), l.Size())
	}
	for name, change := range map[string]func(*Layout){
		"no room for the table": func(l *Layout) { l.First = 0 },
		"odd begin":             func(l *Layout) { l.First = 1<<20 + 512 },
		"no GUID":               func(l *Layout) { l.GUID = "x" },
		"lower case":            func(l *Layout) { l.GUID = strings.ToLower(l.GUID) },
		"no name":               func(l *Layout) { l.Partitions[0].Name = "" },
		"long name":             func(l *Layout) { l.Partitions[0].Name = strings.Repeat("x", 37) },
		"odd size":              func(l *Layout) { l.Partitions[0].Size++ },
		"no size":               func(l *Layout) { l.Partitions[0].Size = 0 },
		"no type":               func(l *Layout) { l.Partitions[0].Type = "" },
		"same GUID":             func(l *Layout) { l.Partitions[1].GUID = l.Partitions[0].GUID },
		"same name":             func(l *Layout) { l.Partitions[1].Name = l.Partitions[0].Name },
		"nothing":               func(l *Layout) { l.Partitions = nil },
	} {
		l := good()
		change(&l)
		if l.Check() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestLock(t *testing.T) {
	sum := strings.Repeat("ab", 32)
	line := "libx 1.0-1 " + sum + " 1000 pool/main/x/libx_1.0-1_arm64.deb"
	lock, err := ParseLock("# a comment\n\n" + line + "\n")
	if err != nil {
		t.Fatal(err)
	}
	p := lock["libx"]
	if p.Version != "1.0-1" || p.Size != 1000 || p.SHA256[31] != 0xab || p.Path != "pool/main/x/libx_1.0-1_arm64.deb" {
		t.Errorf("%+v", p)
	}
	if _, err := lock.Select([]string{"libx", "liby"}); !errors.Is(err, ErrLock) {
		t.Errorf("a package that is not there: %v", err)
	}
	for name, text := range map[string]string{
		"fields":   "libx 1.0",
		"hash":     strings.Replace(line, sum, sum[2:], 1),
		"not hex":  strings.Replace(line, sum, "zz"+sum[2:], 1),
		"size":     strings.Replace(line, " 1000 ", " -1 ", 1),
		"huge":     strings.Replace(line, " 1000 ", " 268435457 ", 1),
		"climbing": strings.Replace(line, "pool/", "pool/../../etc/", 1),
		"absolute": strings.Replace(line, "pool/", "/pool/", 1),
		"address":  strings.Replace(line, "pool/", "https:pool/", 1),
		"no .deb":  strings.Replace(line, ".deb", ".rpm", 1),
		"twice":    line + "\n" + line,
	} {
		if _, err := ParseLock(text); !errors.Is(err, ErrLock) || !strings.Contains(err.Error(), "line ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	var many strings.Builder
	for i := range maxLock + 1 {
		many.WriteString(strings.Replace(line, "libx ", "lib"+strings.Repeat("x", i%50)+string(rune('a'+i/50))+" ", 1) + "\n")
	}
	if _, err := ParseLock(many.String()); err == nil {
		t.Error("no bound")
	}
}

func FuzzLock(f *testing.F) {
	f.Add(lockFile)
	f.Add("a b c d e\n")
	f.Fuzz(func(t *testing.T, text string) {
		lock, err := ParseLock(text)
		if err != nil {
			return
		}
		for _, p := range lock {
			if p.Size <= 0 || strings.Contains("/"+p.Path+"/", "/../") || !strings.HasPrefix(p.Path, "pool/") {
				t.Fatalf("%+v", p)
			}
		}
	})
}
