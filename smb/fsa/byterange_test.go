package fsa

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/postern-nas/postern/smb/nt"
)

// parseRange reads OFFSET+LENGTH; max is 2^64-1.
func parseRange(s string) (r Range) {
	number := func(s string) uint64 {
		if s == "max" {
			return math.MaxUint64
		}
		n, err := strconv.ParseUint(s, 0, 64)
		if err != nil {
			panic(err)
		}
		return n
	}
	off, length, _ := strings.Cut(s, "+")
	return Range{number(off), number(length)}
}

func lockStep(f *File[string], w []string) string {
	var err error
	switch w[0] {
	case "lock":
		var locks []Lock
		for _, s := range w[3:] {
			locks = append(locks, Lock{parseRange(s), w[2] == "exclusive"})
		}
		err = f.Lock(w[1], locks...)
	case "unlock":
		err = f.Unlock(w[1], parseRange(w[2]))
	case "read":
		err = f.MayRead(w[1], parseRange(w[2]))
	case "write":
		err = f.MayWrite(w[1], parseRange(w[2]))
	case "locks":
		return fmt.Sprintf("locks=%d", f.Locks(w[1]))
	}
	if err != nil {
		return err.Error()
	}
	return "ok"
}

// TestOverlapSmall compares overlaps with the definition, spelled out over a small world: a range is the set of its
// bytes and of the gaps between them; an empty range is one gap.
func TestOverlapSmall(t *testing.T) {
	const world = 6
	set := func(r Range) map[int]bool { // even: bytes, odd: the gap before byte i/2+1
		m := map[int]bool{}
		if r.Length == 0 {
			m[2*int(r.Offset)-1] = true
			return m
		}
		for b := r.Offset; b <= r.last(); b++ {
			m[2*int(b)] = true
			if b < r.last() {
				m[2*int(b)+1] = true
			}
		}
		return m
	}
	for a := range uint64(world) {
		for an := range uint64(world) {
			for b := range uint64(world) {
				for bn := range uint64(world) {
					r, s := Range{a, an}, Range{b, bn}
					want := false
					for k := range set(r) {
						want = want || set(s)[k]
					}
					if an == 0 && bn == 0 {
						want = false
					}
					if got := r.overlaps(s); got != want || s.overlaps(r) != got {
						t.Fatalf("%v and %v: %t", r, s, got)
					}
				}
			}
		}
	}
}

// TestLockModel plays random steps against a model that keeps for each byte who holds it how.
func TestLockModel(t *testing.T) {
	const world, owners = 12, 3
	type lock struct {
		owner     int
		exclusive bool
		r         Range
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var f File[int]
		for o := range owners {
			if _, err := f.Open(o, Mode{Access: ReadData, Share: ShareRead}); err != nil {
				t.Fatal(err)
			}
		}
		var model []lock
		for range 100 {
			o, r := rng.IntN(owners), Range{rng.Uint64N(world), 1 + rng.Uint64N(4)}
			holds := func(by func(lock) bool) bool {
				for _, l := range model {
					for b := l.r.Offset; b <= l.r.last(); b++ {
						if b >= r.Offset && b <= r.last() && by(l) {
							return true
						}
					}
				}
				return false
			}
			var got, want error
			what := ""
			switch rng.IntN(5) {
			case 0, 1:
				exclusive := rng.IntN(2) == 0
				what = fmt.Sprintf("lock %t", exclusive)
				if holds(func(l lock) bool { return exclusive || l.exclusive && l.owner != o }) {
					want = nt.LockNotGranted
				} else {
					model = append(model, lock{o, exclusive, r})
				}
				got = f.Lock(o, Lock{r, exclusive})
			case 2:
				what, want = "unlock", nt.RangeNotLocked
				for _, exclusive := range []bool{true, false} {
					for i, l := range model {
						if want != nil && l == (lock{o, exclusive, r}) {
							model = append(model[:i:i], model[i+1:]...)
							want = nil
						}
					}
				}
				got = f.Unlock(o, r)
			case 3:
				what = "read"
				if holds(func(l lock) bool { return l.exclusive && l.owner != o }) {
					want = nt.FileLockConflict
				}
				got = f.MayRead(o, r)
			case 4:
				what = "write"
				if holds(func(l lock) bool { return !l.exclusive || l.owner != o }) {
					want = nt.FileLockConflict
				}
				got = f.MayWrite(o, r)
			}
			if got != want {
				t.Fatalf("%s %d %v: %v, want %v; held %+v", what, o, r, got, want, model)
			}
		}
	}
}

func TestLockBounds(t *testing.T) {
	var f File[int]
	for o := range 8 {
		f.Open(o, Mode{Access: ReadData, Share: ShareRead})
	}
	all := make([]Lock, MaxRanges+1)
	for i := range all {
		all[i].Range = Range{uint64(i), 1}
	}
	if err := f.Lock(0, all...); err != nt.InsufficientResources || f.Locks(0) != 0 {
		t.Fatalf("%d locks of one open: %v, %d of them held", len(all), err, f.Locks(0))
	}
	if err := f.Lock(0, all[:MaxRanges]...); err != nil {
		t.Fatal(err)
	}
	if err := f.Lock(6, all[:MaxFileRanges-MaxRanges]...); err != nil {
		t.Fatal(err)
	}
	if err := f.Lock(7, all[0]); err != nt.InsufficientResources {
		t.Fatalf("lock %d of a file: %v", MaxFileRanges+1, err)
	}
	f.Close(6)
	if err := f.Lock(7, all[0]); err != nil {
		t.Fatalf("after an open left with its locks: %v", err)
	}
}

// BenchmarkFull is what a READ pays for a file with as many locks as there may be.
func BenchmarkFull(b *testing.B) {
	var f File[*int]
	mine, theirs := new(int), new(int)
	f.Open(mine, Mode{})
	f.Open(theirs, Mode{})
	for i := range MaxFileRanges {
		o := theirs
		if i < MaxRanges {
			o = mine
		}
		if err := f.Lock(o, Lock{Range{uint64(i) * 2, 1}, true}); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		if err := f.MayRead(mine, Range{MaxFileRanges * 2, 10}); err != nil {
			b.Fatal(err)
		}
	}
}
