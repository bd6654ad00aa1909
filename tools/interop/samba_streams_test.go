package interop

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
)

// testStreams puts, lists and gets named streams of sizes that are kept in different ways, and sets attributes.
func testStreams(t *testing.T, b *bench) {
	b.put(t, "f", []byte("main"))
	sizes := map[string]int{"Zone.Identifier": 26, "page": 5000, "large": 300_000}
	for name, n := range sizes {
		b.write(t, name, pattern(uint64(n), n))
		b.do(t, fmt.Sprintf("put %s f:%s", name, name), fmt.Sprintf("get f:%s back-%s", name, name))
		if got, err := os.ReadFile(b.local.Sub("back-" + name).Host); err != nil || !bytes.Equal(got, pattern(uint64(n), n)) {
			t.Errorf("%s: %d bytes came back as %d others (%v)", name, n, len(got), err)
		}
	}
	out := b.do(t, "allinfo f")
	for name, n := range sizes {
		if want := fmt.Sprintf("stream: [:%s:$DATA], %d bytes", name, n); !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	b.same(t, "f", []byte("main"))
	if got := b.names(t); len(got) != 1 || got[0] != "f" {
		t.Errorf("the folder has %q", got)
	}
	b.do(t, "rename f g", "get g:page back-again")
	if got, err := os.ReadFile(b.local.Sub("back-again").Host); err != nil || !bytes.Equal(got, pattern(5000, 5000)) {
		t.Errorf("after a rename: %d bytes (%v)", len(got), err)
	}
	b.refused(t, "NT_STATUS_OBJECT_NAME_NOT_FOUND", "get g:nothing")
	out = b.do(t, "setea g COLOUR blue", "geteas g")
	if !strings.Contains(out, "COLOUR") || !strings.Contains(out, "blue") {
		t.Errorf("attributes: %s", out)
	}
	b.do(t, "rm g")
	b.put(t, "g", nil)
	if out := b.do(t, "allinfo g"); strings.Contains(out, ":large:") {
		t.Errorf("a new file has an old one's streams:\n%s", out)
	}
}
