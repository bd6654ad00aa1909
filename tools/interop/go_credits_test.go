package interop

import (
	"bytes"
	"fmt"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/postern-nas/postern/tools/postern"
)

// TestGoSpendsAllCredits has the library spend every credit that it believes to have, on fresh connections: it does not
// count what its handshake cost, and a server that grants to the letter drops it for it.
func TestGoSpendsAllCredits(t *testing.T) {
	eachLink(t, func(t *testing.T, _ *postern.Server, tgt goTarget, l link) {
		const connections, inFlight, size = 20, 8, 1 << 20 // 8 x 16 credits are all of the library's 128
		want := pattern(7, inFlight*size)
		if err := tgt.mount(t, l).WriteFile("big.bin", want, 0o666); err != nil {
			t.Fatal(err)
		}
		for i := range connections {
			sess, share, err := tgt.logon(t.Context(), l)
			if err != nil {
				t.Fatal(err)
			}
			f, err := share.Open("big.bin")
			if err != nil {
				t.Fatal(err)
			}
			var g errgroup.Group
			for at := range inFlight {
				g.Go(func() error {
					buf := make([]byte, size)
					if _, err := f.ReadAt(buf, int64(at*size)); err != nil {
						return err
					}
					if !bytes.Equal(buf, want[at*size:][:size]) {
						return fmt.Errorf("other contents at %d", at*size)
					}
					return nil
				})
			}
			if err := g.Wait(); err != nil {
				t.Fatalf("connection %d: %v", i, err)
			}
			if err := sess.Logoff(); err != nil {
				t.Fatal(err)
			}
		}
	})
}
