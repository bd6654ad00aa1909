package laptop

import (
	"bytes"
	"context"
	"image/png"
	"io"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-nas/postern/board"
)

func TestArt(t *testing.T) {
	b := board.NewBitmap(4, 8)
	for _, dot := range [][2]int{{0, 0}, {1, 0}, {1, 1}, {2, 1}, {3, 7}} {
		b.Put(dot[0], dot[1], true)
	}
	if got, want := arts[0].draw(b), []string{"▀█▄ ", "    ", "    ", "   ▄"}; !slices.Equal(got, want) {
		t.Errorf("half blocks = %q; want %q", got, want)
	}
	if got, want := arts[1].draw(b), []string{"⠙⠂", "⠀⢀"}; !slices.Equal(got, want) {
		t.Errorf("Braille = %q; want %q", got, want)
	}
}

// The panel is drawn in what fits, or not at all, and its PNG shows the same dots.
func TestPanel(t *testing.T) {
	for _, c := range []struct {
		name          string
		columns, rows int
		want          string
	}{
		{"large", 130, 50, "▀"},
		{"small", 80, 24, "⠁"},
		{"too small", 60, 24, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			p, err := NewPanel(&out, c.columns, c.rows)
			if err != nil {
				t.Fatal(err)
			}
			out.Reset()
			b := board.NewBitmap(p.Size())
			b.Put(0, 0, true)
			if err := p.Draw(b); err != nil {
				t.Fatal(err)
			}
			if c.want == "" && out.Len() > 0 || !strings.Contains(out.String(), c.want) {
				t.Errorf("terminal got %q; want %q in it", out.String(), c.want)
			}
			out.Reset()
			if err := p.Draw(b); err != nil || out.Len() > 0 {
				t.Errorf("the same picture again: %v, %d bytes; want none", err, out.Len())
			}
			for _, l := range []struct {
				to   board.Brightness
				want uint32
			}{{board.Dim, 0x8080}, {board.Off, 0}, {board.Bright, 0xffff}} {
				if err := p.Light(l.to); err != nil {
					t.Fatal(err)
				}
				w := httptest.NewRecorder()
				p.ServeHTTP(w, httptest.NewRequest("GET", "/panel.png", nil))
				m, err := png.Decode(w.Body)
				if err != nil {
					t.Fatal(err)
				}
				if got := m.Bounds().Size(); got.X != 512 || got.Y != 256 {
					t.Errorf("PNG of %v; want 512x256", got)
				}
				if got, _, _, _ := m.At(3, 3).RGBA(); got != l.want {
					t.Errorf("light %d: dot is %#x; want %#x", l.to, got, l.want)
				}
				if got, _, _, _ := m.At(4, 0).RGBA(); got != 0 {
					t.Errorf("light %d: the dot beside it is %#x; want 0", l.to, got)
				}
			}
			if err := p.Close(); err != nil {
				t.Error(err)
			}
			if err := p.Draw(board.NewBitmap(p.Size())); err != nil {
				t.Errorf("Draw after Close: %v", err)
			}
		})
	}
	p, err := NewPanel(nil, 200, 200)
	if err != nil {
		t.Fatal(err)
	}
	if p.Draw(board.NewBitmap(8, 8)) == nil {
		t.Error("a picture of another size was drawn")
	}
	w := httptest.NewRecorder()
	p.ServeHTTP(w, httptest.NewRequest("POST", "/panel.png", nil))
	if w.Code != 405 {
		t.Errorf("POST = %d; want 405", w.Code)
	}
}

type event struct {
	key    board.Key
	action board.Action
}

func TestKeyboard(t *testing.T) {
	for _, c := range []struct {
		typed string
		want  []event
	}{
		{"n", []event{{board.Next, board.Press}, {board.Next, board.Release}}},
		{"\x1b[A\r", []event{
			{board.Previous, board.Press}, {board.Previous, board.Release}, {board.Enter, board.Press}, {board.Enter, board.Release},
		}},
		{"\x1b[Z\x1b", []event{{board.Back, board.Press}, {board.Back, board.Release}}},
		{"Hx", []event{{board.Enter, board.Press}, {board.Enter, board.Hold}, {board.Enter, board.Release}}},
		{"Hn", []event{
			{board.Enter, board.Press},
			{board.Enter, board.Hold},
			{board.Enter, board.Release},
			{board.Next, board.Press},
			{board.Next, board.Release},
		}},
		{"H", []event{{board.Enter, board.Press}, {board.Enter, board.Hold}, {board.Enter, board.Release}}}, // the end releases
		{"?", nil},
	} {
		t.Run(c.typed, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, w := io.Pipe()
				k := NewKeyboard(r)
				go func() {
					for typed := []byte(c.typed); len(typed) > 0; {
						_, _, n := decode(typed)
						w.Write(typed[:n])
						typed = typed[n:]
						time.Sleep(time.Second)
					}
					w.Close()
				}()
				var got []event
				for {
					e, err := k.Next(context.Background())
					if err == io.EOF {
						break
					}
					got = append(got, event{e.Key, e.Action})
				}
				if !slices.Equal(got, c.want) {
					t.Errorf("events %v; want %v", got, c.want)
				}
			})
		})
	}
}

func FuzzDecode(f *testing.F) {
	for _, s := range []string{"n", "\x1b[A", "\x1b", "\x1b[", "H"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, typed []byte) {
		if len(typed) == 0 {
			return
		}
		if _, _, used := decode(typed); used < 1 || used > len(typed) {
			t.Errorf("decode(%q) used %d", typed, used)
		}
	})
}
