package interop

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/wire"
	"github.com/postern-nas/postern/tools/postern"
)

// TestProgramSparse is a disk image as a virtual machine's: 4 GiB, nearly all of it holes. Pieces are written here and
// there, some are punched out again, and what is allocated is asked for and read, on the wire and on the disk.
func TestProgramSparse(t *testing.T) {
	needsPostern(t) // smbd's volume here may have no holes
	eachLink(t, func(t *testing.T, _ *postern.Server, tgt goTarget, l link) { programSparse(t, tgt, l) })
}

func programSparse(t *testing.T, tgt goTarget, l link) {
	const (
		size  = 4 << 30
		piece = 256 << 10
		block = 64 << 10 // what the image is thought of in; holes are made of whole ones
	)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 4))
	p := tgt.peer(t, l)
	id := p.Open("image.raw", everything, wire.FileCreate, wire.FileNonDirectoryFile)
	peerIoctl(p, id, fscc.FsctlSetSparse, nil, 0)
	peerSet(p, id, fscc.FileEndOfFileInformation, fscc.SizeInfo{Size: size})

	model := make(map[int64][]byte) // by block
	for range 64 {
		off := rng.Int64N((size-piece)/block) * block
		data := pattern(rng.Uint64(), piece)
		peerWrite(p, id, off, data)
		for i := int64(0); i < piece; i += block {
			model[off+i] = data[i : i+block]
		}
	}
	punched := 0
	for off := range model {
		if rng.IntN(3) == 0 {
			peerIoctl(p, id, fscc.FsctlSetZeroData, fscc.ZeroData{From: off, Beyond: off + block}.Append(nil), 0)
			delete(model, off)
			punched++
		}
	}
	// The ends: in the last byte and over it.
	tail := pattern(seed, block)
	peerWrite(p, id, size-block, tail)
	model[size-block] = tail
	peerIoctl(p, id, fscc.FsctlSetZeroData, fscc.ZeroData{From: size, Beyond: size + block}.Append(nil), 0)
	peerFlush(p, id)

	info := peerStandard(p, id)
	if info.EndOfFile != size || info.AllocationSize > int64(len(model)*block)+4<<20 {
		t.Errorf("%d bytes long, %d allocated for %d of data", info.EndOfFile, info.AllocationSize, len(model)*block)
	}
	check := func(p2 int64, got []byte) {
		t.Helper()
		for i := int64(0); i < int64(len(got)); i += block {
			want := model[p2+i]
			if want == nil {
				want = make([]byte, block)
			}
			if !bytes.Equal(got[i:i+block], want) {
				t.Fatalf("at %d: %s", p2+i, difference(got[i:i+block], want))
			}
		}
	}
	covered := make(map[int64]bool)
	total := int64(0)
	for from := int64(0); from < size; { // the answer may be cut off: 64 ranges at a time
		ask := fscc.Range{Offset: from, Length: size - from}
		var resp wire.IoctlResponse
		p.DoCharged(wire.CmdIoctl, 1024, &wire.IoctlRequest{
			CtlCode: uint32(fscc.FsctlQueryAllocatedRanges), FileID: id, Input: ask.Append(nil), MaxOutputResponse: 1024, Flags: wire.IoctlIsFsctl,
		}, &resp)
		ranges, err := fscc.DecodeRanges(resp.Output)
		if err != nil {
			t.Fatal(err)
		}
		if len(ranges) == 0 {
			break
		}
		for _, r := range ranges {
			if r.Offset < from || r.Length <= 0 || r.Offset+r.Length > size {
				t.Fatalf("range %+v of what is asked from %d", r, from)
			}
			total += r.Length
			first := r.Offset / block * block
			for off := first; off < r.Offset+r.Length; off += block {
				covered[off] = true
				check(off, peerRead(p, id, off, block))
			}
			from = r.Offset + r.Length
		}
	}
	for off := range model {
		if !covered[off] {
			t.Errorf("data at %d is in no allocated range", off)
		}
	}
	t.Logf("%d blocks of data, %d punched; %d KiB in ranges, %d KiB allocated", len(model), punched, total>>10, info.AllocationSize>>10)
	for range 64 { // and what is between them
		off := rng.Int64N(size/block) * block
		check(off, peerRead(p, id, off, block))
	}
	p.Close(id)

	path := filepath.Join(tgt.dir, "image.raw")
	var st syscall.Stat_t
	if err := syscall.Stat(path, &st); err != nil || st.Size != size || st.Blocks*512 != info.AllocationSize {
		t.Errorf("on disk: %v, %d bytes, %d allocated", err, st.Size, st.Blocks*512)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got := make([]byte, block)
	for off := range model {
		if _, err := f.ReadAt(got, off); err != nil {
			t.Fatal(err)
		}
		check(off, got)
	}
}
