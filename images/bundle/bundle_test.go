package bundle

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"aead.dev/minisign"

	"github.com/postern-nas/postern/images"
)

type key struct {
	public  minisign.PublicKey
	private minisign.PrivateKey
}

// newKey makes a key for one test, from a seed.
func newKey(t testing.TB, seed byte) key {
	t.Helper()
	public, private, err := minisign.GenerateKey(rand.NewChaCha8([32]byte{seed}))
	if err != nil {
		t.Fatal(err)
	}
	return key{public, private}
}

func (k key) trusted() []minisign.PublicKey { return []minisign.PublicKey{k.public} }

var testRelease = Release{Board: "qemu", Number: 7, Version: "v0.7.0"}

// testImage does not compress, so that it has several chunks.
func testImage(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

func testBundle(t testing.TB, k key, image []byte, endorsed ...Endorsement) []byte {
	t.Helper()
	var out bytes.Buffer
	m := Manifest{Release: testRelease, Measured: map[string]map[int]string{"edk2": {4: "00", 11: "11"}}}
	if err := Write(&out, m, image, k.private, endorsed); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// read reads all of a bundle.
func read(r io.Reader, trusted []minisign.PublicKey) (m Manifest, image []byte, err error) {
	b, err := NewReader(r, trusted)
	if err != nil {
		return m, nil, err
	}
	var out bytes.Buffer
	err = b.WriteImage(&out, nil)
	return b.Manifest, out.Bytes(), err
}

func TestBundle(t *testing.T) {
	k := newKey(t, 1)
	for _, n := range []int{1, 1000, chunkSize, 2*chunkSize + 5000} {
		image := testImage(n)
		file := testBundle(t, k, image)
		m, got, err := read(bytes.NewReader(file), k.trusted())
		if err != nil || !bytes.Equal(got, image) || m.Release != testRelease || m.Measured["edk2"][11] != "11" {
			t.Errorf("%d bytes: %+v, %d bytes (%v)", n, m.Release, len(got), err)
		}
		if !bytes.Equal(file, testBundle(t, k, image)) {
			t.Errorf("%d bytes: not the same bundle twice", n)
		}
	}
	var progress []int64
	b, err := NewReader(bytes.NewReader(testBundle(t, k, testImage(2*chunkSize))), k.trusted())
	if err != nil {
		t.Fatal(err)
	}
	if err := b.WriteImage(io.Discard, func(n int64) { progress = append(progress, n) }); err != nil {
		t.Fatal(err)
	}
	if !slices.IsSorted(progress) || progress[len(progress)-1] != b.Manifest.Image.Stored || len(progress) != len(b.Manifest.Image.Chunks) {
		t.Errorf("progress %v of %d", progress, b.Manifest.Image.Stored)
	}
}

// TestBundleCut: cut at any length, it is truncated; nothing of it passes for whole.
func TestBundleCut(t *testing.T) {
	k := newKey(t, 1)
	file := testBundle(t, k, testImage(500))
	for n := range file {
		if _, _, err := read(bytes.NewReader(file[:n]), k.trusted()); !errors.Is(err, ErrTruncated) {
			t.Fatalf("cut at %d of %d: %v", n, len(file), err)
		}
	}
	large := testBundle(t, k, testImage(chunkSize+5000))
	for n := len(large) - 2*chunkSize; n < len(large); n += 9999 {
		if _, _, err := read(bytes.NewReader(large[:max(n, 0)]), k.trusted()); !errors.Is(err, ErrTruncated) {
			t.Fatalf("cut at %d of %d: %v", n, len(large), err)
		}
	}
	if _, _, err := read(bytes.NewReader(append(file, 0)), k.trusted()); !errors.Is(err, ErrDamaged) {
		t.Errorf("a byte more: %v", err)
	}
}

// TestBundleFlipped: no byte can be another one, but in the signature's text, which has a comment that nobody signs and
// Base64 whose last bits mean nothing; what is accepted then is the same.
func TestBundleFlipped(t *testing.T) {
	k, image := newKey(t, 1), testImage(100)
	file := testBundle(t, k, image)
	signature := bytes.Index(file, []byte("untrusted comment:"))
	stored := signature + int(binary.BigEndian.Uint32(file[28:]))
	same := 0
	for i := range file {
		for _, bit := range []byte{1 << (i % 8), 1 << ((i + 3) % 8)} {
			file[i] ^= bit
			m, got, err := read(bytes.NewReader(file), k.trusted())
			if err == nil {
				if i < signature || i >= stored || m.Release != testRelease || !bytes.Equal(got, image) {
					t.Fatalf("byte %d of %d: accepted as %+v", i, len(file), m.Release)
				}
				same++
			}
			file[i] ^= bit
		}
	}
	if same > 2*(len("untrusted comment: signature of Postern")+4) {
		t.Errorf("%d bits mean nothing", same)
	}
}

func TestBundleRefused(t *testing.T) {
	k, other := newKey(t, 1), newKey(t, 2)
	good := testBundle(t, k, testImage(100))
	poke := func(at int, b byte) []byte {
		c := bytes.Clone(good)
		c[at] = b
		return c
	}
	feed := func() []byte { // a feed with a bundle's head
		var out bytes.Buffer
		if err := WriteFeed(&out, Feed{Made: time.Unix(0, 0)}, k.private, nil); err != nil {
			t.Fatal(err)
		}
		return append([]byte(bundleMagic), out.Bytes()[len(feedMagic):]...)
	}
	for name, c := range map[string]struct {
		file    []byte
		trusted []minisign.PublicKey
		want    error
	}{
		"another's":      {good, other.trusted(), ErrSignature},
		"nobody's":       {good, nil, ErrSignature},
		"a picture":      {bytes.Repeat([]byte("\x89PNG"), 100), k.trusted(), ErrFormat},
		"a later form":   {poke(19, 2), k.trusted(), ErrNewer},
		"huge keys":      {poke(20, 1), k.trusted(), ErrFormat},
		"huge document":  {poke(25, 0xff), k.trusted(), ErrFormat},
		"huge signature": {poke(28, 0x80), k.trusted(), ErrFormat},
		"a feed":         {feed(), k.trusted(), ErrFormat},
	} {
		if _, _, err := read(bytes.NewReader(c.file), c.trusted); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

// TestManifestRefused: signed is not enough.
func TestManifestRefused(t *testing.T) {
	good := Manifest{What: whatUpdate, Release: testRelease, Image: Image{
		Size: 5, SHA256: strings.Repeat("ab", 32), Stored: chunkSize + 1, Chunks: []string{strings.Repeat("ab", 32), strings.Repeat("cd", 32)},
	}}
	if _, err := parseManifest(document(t, good)); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Manifest){
		"what":           func(m *Manifest) { m.What = whatFeed },
		"no board":       func(m *Manifest) { m.Board = "" },
		"odd board":      func(m *Manifest) { m.Board = "a\x1b[2J" },
		"long version":   func(m *Manifest) { m.Version = strings.Repeat("x", 65) },
		"no number":      func(m *Manifest) { m.Number = 0 },
		"a huge number":  func(m *Manifest) { m.Number = MaxNumber + 1 },
		"no image":       func(m *Manifest) { m.Image.Size = 0 },
		"a huge image":   func(m *Manifest) { m.Image.Size = images.MaxUKI + 1 },
		"huge stored":    func(m *Manifest) { m.Image.Stored = 1 << 40 },
		"negative":       func(m *Manifest) { m.Image.Stored = -1 },
		"few hashes":     func(m *Manifest) { m.Image.Chunks = m.Image.Chunks[:1] },
		"a short hash":   func(m *Manifest) { m.Image.Chunks = []string{"ab", "cd"} },
		"no hash":        func(m *Manifest) { m.Image.SHA256 = "" },
		"hash of an odd": func(m *Manifest) { m.Image.SHA256 = strings.Repeat("x", 64) },
	} {
		m := good
		m.Image.Chunks = slices.Clone(m.Image.Chunks)
		change(&m)
		if _, err := parseManifest(document(t, m)); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// What a later version adds does not keep this one from reading it.
	var fields map[string]any
	if err := json.Unmarshal(document(t, good), &fields); err != nil {
		t.Fatal(err)
	}
	fields["from tomorrow"] = []int{1}
	if m, err := parseManifest(document(t, fields)); err != nil || m.Release != testRelease {
		t.Errorf("%+v (%v)", m, err)
	}
}

func document(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestImageDiffers: a manifest that was signed for an image that is not what comes out.
func TestImageDiffers(t *testing.T) {
	k := newKey(t, 1)
	for name, stored := range map[string][]byte{
		"not compressed": []byte("this is no zstd frame, but its hash is right"),
		"another image":  testBundle(t, k, make([]byte, 100)),
	} {
		var out bytes.Buffer
		if err := WriteCompressed(&out, Manifest{Release: testRelease}, testImage(100), stored, k.private, nil); err != nil {
			t.Fatal(err)
		}
		if _, _, err := read(&out, k.trusted()); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	// Compressed zeros that never end: no more is written than was said.
	long := testBundle(t, k, make([]byte, 50<<20))
	b, err := NewReader(bytes.NewReader(long), k.trusted())
	if err != nil {
		t.Fatal(err)
	}
	b.Manifest.Image.Size = 1000
	var n counter
	if err := b.WriteImage(&n, nil); !errors.Is(err, ErrDamaged) || n > 1<<20 {
		t.Errorf("%d bytes written (%v)", n, err)
	}
}

type counter int64

func (c *counter) Write(p []byte) (int, error) { *c += counter(len(p)); return len(p), nil }

// TestRotation: a box that knows an old key takes what a new one signed if the old one vouches for it, over several steps
// too; and nobody can vouch for himself.
func TestRotation(t *testing.T) {
	a, b, c, stranger := newKey(t, 1), newKey(t, 2), newKey(t, 3), newKey(t, 4)
	ab, bc := Endorse(a.private, b.public), Endorse(b.private, c.public)
	image := testImage(100)
	for name, x := range map[string]struct {
		signer   key
		endorsed []Endorsement
		trusted  key
		want     error
	}{
		"one step":       {b, []Endorsement{ab}, a, nil},
		"two steps":      {c, []Endorsement{ab, bc}, a, nil},
		"the second":     {c, []Endorsement{ab, bc}, b, nil},
		"the newest":     {c, []Endorsement{ab, bc}, c, nil},
		"a gap":          {c, []Endorsement{bc}, a, ErrSignature},
		"not vouched":    {stranger, []Endorsement{ab, bc}, a, ErrSignature},
		"by himself":     {stranger, []Endorsement{Endorse(stranger.private, stranger.public)}, a, ErrSignature},
		"backwards":      {a, []Endorsement{ab}, b, ErrSignature},
		"another's word": {stranger, []Endorsement{{stranger.public.String(), ab.Signature}}, a, ErrSignature},
		"no key":         {b, []Endorsement{{"RW", ab.Signature}}, a, ErrFormat},
		"two lines":      {b, []Endorsement{{ab.Key + "\n", ab.Signature}}, a, ErrFormat},
	} {
		_, _, err := read(bytes.NewReader(testBundle(t, x.signer, image, x.endorsed...)), x.trusted.trusted())
		if !errors.Is(err, x.want) {
			t.Errorf("%s: %v, want %v", name, err, x.want)
		}
	}
	if err := Write(io.Discard, Manifest{Release: testRelease}, image, c.private, slices.Repeat([]Endorsement{ab}, maxEndorsed+1)); err == nil {
		t.Error("more keys than may be")
	}
}

func TestFeed(t *testing.T) {
	k := newKey(t, 1)
	offer := func(board string, n uint64) Offer {
		return Offer{Release{board, n, "v"}, "https://example.org/x", 5}
	}
	f := Feed{Made: time.Unix(1e9, 0).UTC(), Releases: []Offer{offer("qemu", 3), offer("rpi", 9), offer("qemu", 5), offer("qemu", 4)}}
	var out bytes.Buffer
	if err := WriteFeed(&out, f, k.private, nil); err != nil {
		t.Fatal(err)
	}
	file := out.Bytes()
	got, err := ReadFeed(bytes.NewReader(file), k.trusted())
	if err != nil || !got.Made.Equal(f.Made) || !slices.Equal(got.Releases, f.Releases) {
		t.Errorf("%+v (%v)", got, err)
	}
	if best, ok := got.Newest("qemu"); !ok || best.Number != 5 {
		t.Errorf("%+v", best)
	}
	if best, ok := got.Newest("toaster"); ok {
		t.Errorf("%+v", best)
	}
	for n := range file {
		if _, err := ReadFeed(bytes.NewReader(file[:n]), k.trusted()); !errors.Is(err, ErrTruncated) {
			t.Fatalf("cut at %d: %v", n, err)
		}
	}
	for name, o := range map[string]Offer{
		"no size": {Release{"qemu", 1, "v"}, "x", 0}, "no URL": {Release{"qemu", 1, "v"}, "", 1},
		"no number": {Release{"qemu", 0, "v"}, "x", 1}, "long URL": {Release{"qemu", 1, "v"}, strings.Repeat("x", maxURL+1), 1},
	} {
		out.Reset()
		if err := WriteFeed(&out, Feed{Releases: []Offer{o}}, k.private, nil); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadFeed(&out, k.trusted()); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestParseKeys(t *testing.T) {
	a, b := newKey(t, 1), newKey(t, 2)
	text, err := a.public.MarshalText() // two lines
	if err != nil {
		t.Fatal(err)
	}
	keys, err := ParseKeys("# ours\n\n" + string(text) + "\n" + b.public.String() + "\n")
	if err != nil || len(keys) != 2 || !keys[0].Equal(a.public) || !keys[1].Equal(b.public) {
		t.Errorf("%v (%v)", keys, err)
	}
	for name, text := range map[string]string{
		"no key": "RWQ\n", "many": strings.Repeat(a.public.String()+"\n", maxTrusted+1),
	} {
		if _, err := ParseKeys(text); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestForetold(t *testing.T) {
	m := Manifest{Measured: map[string]map[int]string{ChainUBoot: {11: "none"}, ChainUBoot + " radxa,rock-5b": {11: "rock"}}}
	for _, c := range []struct{ chain, tree, want string }{
		{ChainUBoot, "", "none"}, {ChainUBoot, "radxa,rock-5b", "rock"}, {ChainUBoot, "another", "none"}, {ChainEDK2, "radxa,rock-5b", ""},
	} {
		if got := m.Foretold(c.chain, c.tree)[11]; got != c.want {
			t.Errorf("%s, %q: %q", c.chain, c.tree, got)
		}
	}
}

func TestParseRelease(t *testing.T) {
	if r, err := ParseRelease(document(t, testRelease)); err != nil || r != testRelease {
		t.Errorf("%+v (%v)", r, err)
	}
	for _, text := range []string{"", "{}", `{"board":"x","number":-1,"version":"y"}`} {
		if _, err := ParseRelease([]byte(text)); err == nil {
			t.Errorf("%q: accepted", text)
		}
	}
}

// FuzzBundle: whatever comes, reading it ends, and what is accepted was signed.
func FuzzBundle(f *testing.F) {
	k, other := newKey(f, 1), newKey(f, 2)
	good := testBundle(f, k, testImage(300))
	f.Add(good)
	f.Add(good[:40])
	f.Add(testBundle(f, other, testImage(300), Endorse(k.private, other.public)))
	f.Add([]byte(feedMagic))
	f.Fuzz(func(t *testing.T, file []byte) {
		m, image, err := read(bytes.NewReader(file), k.trusted())
		if err == nil && (m.Release != testRelease || !bytes.Equal(image, testImage(300))) {
			t.Fatalf("accepted %+v", m.Release)
		}
		_, _ = ReadFeed(bytes.NewReader(file), k.trusted())
	})
}

// FuzzManifest: what whoever signs may get wrong.
func FuzzManifest(f *testing.F) {
	f.Add([]byte(`{"what":"postern update","board":"qemu","number":1,"version":"v","image":{"size":1,"sha256":"","stored":1,"chunks":[""]}}`))
	f.Add([]byte(`[{"key":"RW","signature":"x"}]`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if m, err := parseManifest(text); err == nil {
			if err := m.check(); err != nil || m.Image.Size > images.MaxUKI {
				t.Fatalf("%+v (%v)", m, err)
			}
		}
		if keys, err := endorsed(text, nil); err == nil && len(keys) > 0 {
			t.Fatal("nobody vouched for them")
		}
		_, _ = ParseKeys(string(text))
	})
}
