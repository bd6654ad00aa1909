package fsa

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the transcripts in testdata")

// TestScripts runs each testdata/*.txt: lines "> command" are what happens to one file, the lines after it what the
// engine answered. Commands: open NAME access=rwxdai share=rwd [doc], close NAME, narrow NAME access=rwxdai,
// delete on|off, rename NAME, show; lock NAME shared|exclusive OFFSET+LENGTH..., unlock NAME OFFSET+LENGTH,
// read|write NAME OFFSET+LENGTH, locks NAME.
func TestScripts(t *testing.T) {
	files, _ := filepath.Glob("testdata/*.txt")
	if len(files) == 0 {
		t.Fatal("no scripts")
	}
	for _, name := range files {
		t.Run(filepath.Base(name), func(t *testing.T) {
			want, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			got := play(want)
			if *update {
				if err := os.WriteFile(name, got, 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if !bytes.Equal(got, want) {
				t.Errorf("transcript differs; got:\n%s", got)
			}
		})
	}
}

func play(script []byte) []byte {
	var out bytes.Buffer
	var f File[string]
	for sc := bufio.NewScanner(bytes.NewReader(script)); sc.Scan(); {
		line := sc.Text()
		switch {
		case strings.HasPrefix(line, "#") || line == "":
			fmt.Fprintln(&out, line)
		case strings.HasPrefix(line, "> "):
			fmt.Fprintln(&out, line)
			fmt.Fprintln(&out, step(&f, strings.Fields(line[2:])))
		}
	}
	return out.Bytes()
}

func step(f *File[string], w []string) string {
	bits := func(s string) (access uint32) {
		for _, c := range s {
			access |= map[rune]uint32{'r': ReadData, 'w': WriteData, 'a': AppendData, 'x': Execute, 'd': Delete, 'i': 0x80}[c]
		}
		return access
	}
	share := func(s string) (mask uint32) {
		for _, c := range s {
			mask |= map[rune]uint32{'r': ShareRead, 'w': ShareWrite, 'd': ShareDelete}[c]
		}
		return mask
	}
	switch w[0] {
	case "open":
		m := Mode{
			Access: bits(strings.TrimPrefix(w[2], "access=")), Share: share(strings.TrimPrefix(w[3], "share=")),
			DeleteOnClose: len(w) > 4 && w[4] == "doc",
		}
		if err := f.Open(w[1], m); err != nil {
			return err.Error()
		}
		return "ok"
	case "close":
		last, remove := f.Close(w[1])
		return fmt.Sprintf("last=%t remove=%t", last, remove)
	case "narrow":
		f.Narrow(w[1], bits(strings.TrimPrefix(w[2], "access=")))
		return "ok"
	case "delete":
		f.SetDelete(w[1] == "on")
		return "ok"
	case "rename":
		return fmt.Sprintf("may=%t", f.MayRename(w[1]))
	case "lock", "unlock", "read", "write", "locks":
		return lockStep(f, w)
	case "show":
		return fmt.Sprintf("opens=%d pending=%t", f.Len(), f.DeletePending())
	}
	return "unknown command"
}

// TestShareMatrix checks every pair of modes against the rule read the other way: a pair may stand together exactly
// when each thing either does is shared by the other. It also checks that order does not matter.
func TestShareMatrix(t *testing.T) {
	accesses := []uint32{0x80, ReadData, WriteData, AppendData, Execute, Delete, ReadData | WriteData, ReadData | Delete, WriteData | Delete}
	need := func(a uint32) (share uint32) {
		if a&(ReadData|Execute) != 0 {
			share |= ShareRead
		}
		if a&(WriteData|AppendData) != 0 {
			share |= ShareWrite
		}
		if a&Delete != 0 {
			share |= ShareDelete
		}
		return share
	}
	for _, a1 := range accesses {
		for s1 := range uint32(8) {
			for _, a2 := range accesses {
				for s2 := range uint32(8) {
					want := need(a1) == 0 || need(a2) == 0 || need(a1)&^s2 == 0 && need(a2)&^s1 == 0
					for _, swap := range []bool{false, true} {
						first, second := Mode{Access: a1, Share: s1}, Mode{Access: a2, Share: s2}
						if swap {
							first, second = second, first
						}
						var f File[int]
						if err := f.Open(1, first); err != nil {
							t.Fatal(err)
						}
						if got := f.Open(2, second) == nil; got != want {
							t.Fatalf("%#x/%d beside %#x/%d: got %t", a1, s1, a2, s2, got)
						}
					}
				}
			}
		}
	}
}
