package update

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
)

type whoKey struct{}

// heard is what was told, with who was in the context.
type heard []string

func (h *heard) told(ctx context.Context, e Event) {
	text := map[Kind]string{Installed: "installed ", Refused: "refused ", RolledBack: "rolled back "}[e.Kind] + e.String()
	if who, ok := ctx.Value(whoKey{}).(string); ok {
		text += ", by " + who
	}
	if e.Itself {
		text += ", by itself"
	}
	*h = append(*h, text)
}

// want compares what was told since the last time.
func (h *heard) want(t *testing.T, want ...string) {
	t.Helper()
	if !slices.Equal(*h, want) {
		t.Errorf("told %q\nwant %q", *h, want)
	}
	*h = nil
}

// TestTell: whatever comes of an update is told once, with who did it; before anybody hears, it waits.
func TestTell(t *testing.T) {
	b := newBox(t)
	var h heard
	olga := context.WithValue(t.Context(), whoKey{}, "olga")
	b.must(b.InstallExamined(olga, bytes.NewReader(b.bundle(release(4))), release(4)))
	h.want(t)
	b.Tell(h.told)
	h.want(t, "installed v0.4 (4) from a USB stick, by olga")
	b.Tell(h.told)
	h.want(t)

	b.must(b.Install(olga, bytes.NewReader(b.bundle(release(5)))))
	h.want(t, "installed v0.5 (5), by olga")
	foreign := release(5)
	foreign.Board = "toaster"
	if err := b.Install(olga, bytes.NewReader(b.bundle(foreign))); !errors.Is(err, ErrBoard) {
		t.Error(err)
	}
	h.want(t, "refused v0.5 (5): this update is for another kind of box: for toaster, and this is qemu, by olga")
	if err := b.InstallExamined(olga, bytes.NewReader(b.bundle(release(6))), release(5)); err == nil {
		t.Error("another one than was promised")
	}
	h.want(t, "refused v0.6 (6) from a USB stick: the update is damaged: not what was signed: v0.5 (5) was promised, and v0.6 (6) came, by olga")
	if err := b.Install(olga, bytes.NewReader([]byte("a text that is none"))); err == nil {
		t.Error("a text was installed")
	}
	if len(h) != 1 {
		t.Errorf("%q", h)
	}
	h = nil
	_, end, err := b.begin(t.Context())
	b.must(err)
	if err := b.Install(olga, bytes.NewReader(nil)); !errors.Is(err, ErrBusy) {
		t.Error(err)
	}
	end()
	h.want(t, "refused an update: another update is under way, by olga")

	// A stick that was put in: nobody has asked. What is not newer may lie there for ever, and is no news.
	if _, err := b.Examine(bytes.NewReader(b.bundle(foreign))); !errors.Is(err, ErrBoard) {
		t.Error(err)
	}
	h.want(t, "refused v0.5 (5) from a USB stick: this update is for another kind of box: for toaster, and this is qemu, by itself")
	if _, err := b.Examine(bytes.NewReader(b.bundle(release(1)))); !errors.Is(err, ErrNotNewer) {
		t.Error(err)
	}
	if _, err := b.Examine(bytes.NewReader(b.bundle(release(9)))); err != nil {
		t.Error(err)
	}
	h.want(t)

	// What nobody hears is bounded.
	b.Tell(nil)
	for range 2 * maxUntold {
		_ = b.Install(olga, bytes.NewReader(nil))
	}
	b.Tell(h.told)
	if len(h) != maxUntold {
		t.Errorf("%d are told", len(h))
	}
}

// TestTellRollback: a box finds out before anybody hears, and tells once, if need be in a later boot.
func TestTellRollback(t *testing.T) {
	b := newBox(t)
	synctest.Test(t, func(t *testing.T) {
		var h heard
		b.install(5)
		for range 3 {
			b.start()
		}
		b.start()
		b.live() // and its keys cannot be opened: nobody hears
		b.start()
		b.live()
		h.want(t)
		b.Tell(h.told)
		const told = "rolled back v0.5 (5): it did not start, by itself"
		h.want(t, told)
		b.start()
		b.Tell(h.told)
		b.live()
		h.want(t)

		b.install(6) // while somebody hears
		for range 3 {
			b.start()
		}
		b.start()
		b.Tell(h.told)
		b.live()
		h.want(t, "installed v0.6 (6)", "rolled back v0.6 (6): it did not start, by itself")
	})
}
