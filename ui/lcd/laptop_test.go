package lcd

import (
	"context"
	"image/png"
	"io"
	"log/slog"
	"net/http/httptest"
	"testing"
	"testing/synctest"

	"github.com/postern-nas/postern/board/laptop"
	"github.com/postern-nas/postern/ui"
)

// The panel of the laptop, as a browser sees it: a new box shows a QR code that reads as the setup's address, and keys
// struck in the terminal turn the pages.
func TestLaptop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		screen, err := laptop.NewPanel(io.Discard, 130, 50)
		if err != nil {
			t.Fatal(err)
		}
		typed, keys := io.Pipe()
		src := &source{states: make(chan ui.State, 1)}
		src.states <- fresh()
		p := &Panel{
			Display: screen, Buttons: laptop.NewKeyboard(typed), Source: src, Control: new(control), Log: slog.New(slog.DiscardHandler),
		}
		ctx, stop := context.WithCancel(t.Context())
		end := make(chan error)
		go func() { end <- p.Run(ctx) }()

		picture := func() (string, error) {
			synctest.Wait()
			w := httptest.NewRecorder()
			p.ServeHTTP(w, httptest.NewRequest("GET", "/panel.png", nil))
			m, err := png.Decode(w.Body)
			if err != nil {
				t.Fatal(err)
			}
			return read(m)
		}
		if got, err := picture(); err != nil || got != setupURL {
			t.Errorf("the QR code reads %q, %v; want %q", got, err, setupURL)
		}
		io.WriteString(keys, "n")
		if got, err := picture(); err == nil {
			t.Errorf("after a key there is still a QR code: %q", got)
		}
		io.WriteString(keys, "p")
		if got, _ := picture(); got != setupURL {
			t.Errorf("and back: %q", got)
		}
		stop()
		<-end
		keys.Close()
	})
}
