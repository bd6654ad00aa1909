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
// engine answered: breaks, one a line, then the result. Commands:
//
//	open NAME access=rwxdaimcs share=rwd [doc] [replace] [key=K]
//	grant NAME want=rhw [v2=EPOCH] [size=N]
//	ack NAME|key=K keep=rhw
//	close NAME, modified NAME, rename NAME, expire ID, handles NAME, listed key=K, beside access= share=, delete on|off, show
//	narrow NAME access=
//	lock NAME shared|exclusive OFFSET+LENGTH..., unlock NAME OFFSET+LENGTH, read|write NAME OFFSET+LENGTH, locks NAME
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

// options reads "name=value" and "name".
func options(w []string) map[string]string {
	m := make(map[string]string)
	for _, o := range w {
		name, value, _ := strings.Cut(o, "=")
		m[name] = value
	}
	return m
}

func bits(s string, of map[rune]uint32) (mask uint32) {
	for _, c := range s {
		mask |= of[c]
	}
	return mask
}

func mode(opt map[string]string) Mode {
	_, doc := opt["doc"]
	_, replace := opt["replace"]
	return Mode{
		Access: bits(opt["access"], map[rune]uint32{
			'r': ReadData, 'w': WriteData, 'a': AppendData, 'x': Execute, 'd': Delete, 'i': ReadAttributes,
			'm': WriteAttributes, 'c': ReadControl, 's': Synchronize,
		}),
		Share:         bits(opt["share"], map[rune]uint32{'r': ShareRead, 'w': ShareWrite, 'd': ShareDelete}),
		DeleteOnClose: doc, Replace: replace, Key: key(opt),
	}
}

func key(opt map[string]string) (k Key) {
	if name, ok := opt["key"]; ok && name != "-" {
		k.Leased = true
		copy(k.Lease[:], name)
	}
	return k
}

func cache(s string) Cache {
	return Cache(bits(s, map[rune]uint32{'r': uint32(Read), 'h': uint32(Handle), 'w': uint32(Write)}))
}

func (c Cache) String() string {
	s := ""
	for i, name := range "rhw" {
		if c&(1<<i) != 0 {
			s += string(name)
		}
	}
	if s == "" {
		return "none"
	}
	return s
}

func name(k Key, opens []string) string {
	if !k.Leased {
		return opens[0]
	}
	return "key=" + strings.TrimRight(string(k.Lease[:]), "\x00")
}

func tell(breaks []Break[string]) (s string) {
	for _, b := range breaks {
		s += fmt.Sprintf("break %s %v to %v", name(b.Key, b.Opens), b.From, b.To)
		if b.Ack {
			s += fmt.Sprintf(" ack id=%d", b.ID)
		}
		if b.Epoch != 0 {
			s += fmt.Sprintf(" epoch=%d", b.Epoch)
		}
		s += "\n"
	}
	return s
}

func say(breaks []Break[string], err error) string {
	switch err {
	case nil:
		return tell(breaks) + "ok"
	case ErrWait:
		return tell(breaks) + "wait"
	}
	return tell(breaks) + err.Error()
}

func step(f *File[string], w []string) string {
	opt := options(w[1:])
	switch w[0] {
	case "open":
		return say(f.Open(w[1], mode(opt)))
	case "beside":
		return say(f.Beside(mode(opt)))
	case "whole":
		return say(f.WholeBeside(mode(opt)))
	case "stream":
		return say(f.StreamBeside(mode(opt)))
	case "grant":
		want := Want{Cache: cache(opt["want"])}
		fmt.Sscan(opt["size"], &want.Size)
		if epoch, ok := opt["v2"]; ok {
			want.V2 = true
			fmt.Sscan(epoch, &want.Epoch)
		}
		g := f.Grant(w[1], want)
		s := g.Cache.String()
		if g.V2 {
			s += fmt.Sprintf(" epoch=%d", g.Epoch)
		}
		if g.Breaking {
			s += " breaking"
		}
		return s
	case "ack":
		if _, lease := opt["key"]; lease {
			return say(f.AckLease(key(opt), cache(opt["keep"])))
		}
		return say(f.AckOplock(w[1], cache(opt["keep"])))
	case "expire":
		var id uint64
		fmt.Sscan(w[1], &id)
		return fmt.Sprintf("was on=%t", f.Breaking(id) && f.Expire(id))
	case "modified":
		return say(f.Modified(w[1]), nil)
	case "handles":
		return say(f.TakeHandles(w[1]))
	case "listed":
		if k := key(opt); k.Leased {
			return say(f.Listed(&k.Lease), nil)
		}
		return say(f.Listed(nil), nil)
	case "close":
		last, remove, breaks := f.Close(w[1])
		return tell(breaks) + fmt.Sprintf("last=%t remove=%t", last, remove)
	case "narrow":
		f.Narrow(w[1], mode(opt).Access)
		return "ok"
	case "delete":
		f.SetDelete(w[1] == "on")
		return "ok"
	case "rename":
		return fmt.Sprintf("may=%t", f.MayRename(w[1]))
	case "lock", "unlock", "read", "write", "locks":
		return lockStep(f, w)
	case "show":
		s := fmt.Sprintf("opens=%d pending=%t", f.Len(), f.DeletePending())
		for _, h := range f.holders {
			s += fmt.Sprintf("\n%s holds %v", name(h.key, h.opens), h.state)
			if h.breaking {
				s += fmt.Sprintf(", asked for %v, needs %v", h.to, h.need)
			}
		}
		return s
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
						if _, err := f.Open(1, first); err != nil {
							t.Fatal(err)
						}
						if _, err := f.Open(2, second); (err == nil) != want {
							t.Fatalf("%#x/%d beside %#x/%d: got %v", a1, s1, a2, s2, err)
						}
					}
				}
			}
		}
	}
}
