package lcd

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/makiuchi-d/gozxing"
	"github.com/makiuchi-d/gozxing/qrcode"

	"github.com/postern-nas/postern/board"
	"github.com/postern-nas/postern/board/boardtest"
	"github.com/postern-nas/postern/ui"
)

// attic is a box that is well.
func attic() ui.State {
	return ui.State{
		Name:      "Dachboden-Müller",
		Addresses: []netip.Addr{netip.MustParseAddr("192.168.178.20"), netip.MustParseAddr("fd00::20")},
		Outside:   ui.Reach{State: ui.Yes, Name: "attic.example.org"},
		Shares:    []ui.Share{{Name: "Fotos", Health: ui.Good, Total: 4e12, Free: 1.25e12}, {Name: "Généalogie", Health: ui.Warning}},
		Disks: []ui.Disk{
			{Bay: "1", Health: ui.Good, Celsius: 34.6}, {Bay: "2", Health: ui.Good, Celsius: 36},
		},
		Users:       []ui.User{{Name: "anna", Owner: true}},
		Devices:     []ui.Device{{ID: "a", Name: "Annas PC"}, {ID: "b", Name: "iPhone"}},
		Certificate: ui.Certificate{NotAfter: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC), DaysLeft: 40},
		Keys:        ui.Sealed,
		Traffic:     ui.Traffic{In: 1_234_567, Out: 113_000_000, Sessions: 1},
	}
}

const (
	setupURL = "https://192.168.178.20/setup#K7Q29XWM"
	pairURL  = "https://192.168.178.20/p#8D3KX7WQ"
)

func fresh() ui.State {
	s := attic()
	s.Setup = &ui.Setup{URL: setupURL, Code: "K7Q29XWM"}
	return s
}

func pairs(phase ui.Phase) ui.State {
	s := attic()
	s.Pairing = &ui.Pairing{ID: "7", Phase: phase, URL: pairURL, Code: "482913"}
	if phase != ui.Waiting {
		s.Pairing.Device, s.Pairing.Address, s.Pairing.User = "Françoises Laptop", netip.MustParseAddr("192.168.178.44"), "françoise"
	}
	return s
}

func ill() ui.State {
	s := attic()
	s.Alarms = []ui.Alarm{
		{ID: "d2", Kind: ui.AlarmDisk, Health: ui.Failed, Text: "Disk 2 is failing", Advice: "Replace it"},
		{ID: "up", Kind: ui.AlarmUpdate, Health: ui.Warning, Text: "Update rolled back"},
	}
	return s
}

// pages are all there are, by name.
var pages = []struct {
	name string
	page func() Page
}{
	{"welcome", func() Page { return welcome(fresh()) }},
	{"status", func() Page { return status(attic(), time.Time{}) }},
	{"clock", func() Page {
		s := attic()
		s.Zone = "Asia/Kathmandu" // 5:45 before UTC
		return status(s, time.Date(2026, 7, 1, 9, 20, 0, 0, time.UTC))
	}},
	{"storage", func() Page { return storage(attic()) }},
	{"access", func() Page { return access(attic()) }},
	{"security", func() Page { return security(attic()) }},
	{"update", func() Page { return update(ui.Update{Version: "1.4.2", Percent: 30}) }},
	{"stick", func() Page {
		s := attic()
		s.Stick = &ui.Stick{Version: "v1.4.2"}
		return home(s, time.Time{})[0]
	}},
	{"alarm", func() Page { return home(ill(), time.Time{})[0] }},
	{"pair", func() Page { return pairing(*pairs(ui.Waiting).Pairing, 0) }},
	{"preparing", func() Page { return pairing(*pairs(ui.Preparing).Pairing, 0) }},
	{"asking", func() Page { return pairing(*pairs(ui.Asking).Pairing, 0) }},
	{"accept", func() Page { return pairing(*pairs(ui.Asking).Pairing, 1) }},
	{"issuing", func() Page { return pairing(*pairs(ui.Issuing).Pairing, 0) }},
	{"paired", func() Page { return pairing(*pairs(ui.Paired).Pairing, 0) }},
	{"refused", func() Page { return pairing(*pairs(ui.Refused).Pairing, 0) }},
	{"menu", func() Page { return Machine{screen: onMenu, at: 3}.Page(attic(), time.Time{}) }},
	{"address", func() Page { return Machine{screen: onAddress}.Page(attic(), time.Time{}) }},
	{"confirm", func() Page { return Machine{screen: onConfirm, item: RevokeAll}.Page(attic(), time.Time{}) }},
	{"reset", func() Page { return Machine{screen: onErase}.Page(attic(), time.Time{}) }},
	{"countdown", func() Page {
		return Machine{screen: onErase, held: time.Unix(100, 0)}.Page(attic(), time.Unix(103, 0))
	}},
	{"said", func() Page {
		return Machine{screen: onSaid, said: "Failed: the disk is full"}.Page(attic(), time.Time{})
	}},
}

const scale = 4 // golden pictures are for people

func enlarged(b *board.Bitmap) *image.Gray {
	m := image.NewGray(image.Rect(0, 0, b.Width*scale, b.Height*scale))
	for y := range b.Height * scale {
		for x := range b.Width * scale {
			if b.On(x/scale, y/scale) {
				m.SetGray(x, y, color.Gray{Y: 0xff})
			}
		}
	}
	return m
}

func golden(t *testing.T, file string, got []byte) []byte {
	t.Helper()
	file = filepath.Join("testdata", file)
	if *boardtest.Update {
		if err := os.MkdirAll(filepath.Dir(file), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, got, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return want
}

func TestPictures(t *testing.T) {
	for _, height := range []int{64, 32} {
		for _, p := range pages {
			name := fmt.Sprintf("128x%d/%s.png", height, p.name)
			t.Run(name, func(t *testing.T) {
				b, _ := Draw(p.page(), 128, height, 0)
				var got bytes.Buffer
				if err := png.Encode(&got, enlarged(b)); err != nil {
					t.Fatal(err)
				}
				want, err := png.Decode(bytes.NewReader(golden(t, name, got.Bytes())))
				if err != nil {
					t.Fatal(err)
				}
				if want.Bounds() != enlarged(b).Bounds() {
					t.Fatalf("golden picture of %v", want.Bounds())
				}
				for y := range height {
					for x := range 128 {
						if v, _, _, _ := want.At(x*scale, y*scale).RGBA(); (v != 0) != b.On(x, y) {
							t.Fatalf("dot %d, %d is %v, and was %v; if that is right: -update", x, y, b.On(x, y), v != 0)
						}
					}
				}
			})
		}
	}
}

// The pages in characters: every tick until they come round, each different picture once.
func TestTexts(t *testing.T) {
	for _, size := range [][2]int{{16, 2}, {20, 4}} {
		var all strings.Builder
		has := boardtest.NewText(size[0], size[1]).Has
		for _, p := range pages {
			fmt.Fprintf(&all, "== %s\n", p.name)
			before := ""
			for tick := range 60 {
				lines, moves := Layout(p.page(), size[0], size[1], tick, false, has)
				if len(lines) != size[1] {
					t.Fatalf("%s: %d lines", p.name, len(lines))
				}
				for _, l := range lines {
					if len(l) != size[0] {
						t.Errorf("%s: line %q is not %d wide", p.name, l, size[0])
					}
				}
				if text := strings.Join(lines, "|\n|"); text != before {
					if tick > 0 && !moves {
						t.Errorf("%s: it moves and says that it does not", p.name)
					}
					fmt.Fprintf(&all, "%d\n|%s|\n", tick, text)
					before = text
				}
			}
		}
		name := fmt.Sprintf("%dx%d.txt", size[0], size[1])
		if want := golden(t, name, []byte(all.String())); all.String() != string(want) {
			t.Errorf("pages differ from testdata/%s; if that is right: -update\n%s", name, all.String())
		}
	}
}

// What a phone sees on the golden picture is the text that was put in.
func TestQR(t *testing.T) {
	for name, want := range map[string]string{"welcome": setupURL, "pair": pairURL} {
		f, err := os.Open(filepath.Join("testdata", "128x64", name+".png"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		m, err := png.Decode(f)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := read(m); err != nil || got != want {
			t.Errorf("the QR code on %s reads %q, %v; want %q", name, got, err, want)
		}
	}
}

func read(m image.Image) (string, error) {
	b, err := gozxing.NewBinaryBitmapFromImage(m)
	if err != nil {
		return "", err
	}
	r, err := qrcode.NewQRCodeReader().Decode(b, nil)
	if err != nil {
		return "", err
	}
	return r.GetText(), nil
}

// The longest text that fits is 53 bytes; a longer one, and a panel too low, show words instead.
func TestQRFits(t *testing.T) {
	for _, n := range []int{0, 6, 24, 34, 35, 45, 46, 59} {
		text := "https://" + strings.Repeat("x", n)
		b := board.NewBitmap(128, 64)
		drawn := drawQR(b, text)
		if want := len(text) <= 53; drawn != want {
			t.Errorf("%d bytes: drawn %v; want %v", len(text), drawn, want)
		}
		if !drawn {
			if got, _ := Draw(Page{QR: text}, 128, 64, 0); got.On(127, 0) {
				t.Errorf("%d bytes: a light field without a code", len(text))
			}
			continue
		}
		if got, err := read(enlarged(b)); err != nil || got != text {
			t.Errorf("%d bytes: read %q, %v", len(text), got, err)
		}
	}
	if drawQR(board.NewBitmap(128, 32), setupURL) {
		t.Error("a code of one-dot modules was drawn")
	}
	lines, _ := Layout(welcome(fresh()), 16, 2, 0, false, hasLetter)
	if !strings.HasPrefix(lines[1], "https://192.168.") {
		t.Errorf("without a QR code: %q; want the address in words", lines)
	}
}

func TestLetters(t *testing.T) {
	ascii := boardtest.NewText(16, 2)
	rom := boardtest.NewText(16, 2)
	rom.Extra = "äöüß"
	for _, c := range []struct {
		in    string
		where func(rune) bool
		want  string
	}{
		{"Übergrößenträger", ascii.Has, "Uebergroessentraeger"},
		{"Übergrößenträger", rom.Has, "Uebergrößenträger"},
		{"Übergrößenträger", hasLetter, "Übergrößenträger"},
		{"u\u0308ber e\u0301te\u0301", hasLetter, "über été"}, // as a Mac writes it
		{"u\u0308ber e\u0301te\u0301", ascii.Has, "ueber ete"},
		{"Çà et là, œuvre, naïve", ascii.Has, "Ca et la, oeuvre, naive"},
		{"„Zürich“ – 5 €…", ascii.Has, "\"Zuerich\" - 5 EUR..."},
		{"a\tb\nc\u00a0d", ascii.Has, "a b c d"},
		{"\u202egpj.exe\u0000\x1b[2J\u200b", ascii.Has, "gpj.exe[2J"},
		{"Łódź Žižek", ascii.Has, "Lodz Zizek"},
		{"写真", ascii.Has, "??"},
		{"\xff\xfe", ascii.Has, "??"},
		{"\u0308", ascii.Has, ""},
	} {
		if got := string(letters(c.in, c.where)); got != c.want {
			t.Errorf("letters(%q) = %q; want %q", c.in, got, c.want)
		}
	}
	if n := len(letters(strings.Repeat("…", 1<<20), ascii.Has)); n > maxText+3 {
		t.Errorf("a megabyte became %d letters", n)
	}
}

// All letters of German and French are in the font, and none reaches out of its cell.
func TestFont(t *testing.T) {
	same := make(map[string]rune)
	for _, r := range "aouAOUÄÖÜäöüßẞÀÂÆÇÉÈÊËÎÏÔŒÙÛŸàâæçéèêëîïôœùûÿ°«»" {
		b := board.NewBitmap(16, 16)
		for _, l := range letters(string(r), hasLetter) {
			if l == '?' {
				t.Errorf("%c cannot be shown", r)
			}
			drawLetter(b, 0, 0, l)
		}
		if bytes.Count(b.Pages, []byte{0}) == len(b.Pages) {
			t.Errorf("%c is blank", r)
		}
		if other, is := same[string(b.Pages)]; is {
			t.Errorf("%c looks like %c", r, other)
		}
		same[string(b.Pages)] = r
	}
	if hasLetter('写') || hasLetter('\n') || hasLetter(0x85) {
		t.Error("the font says it has what it has not")
	}
}

// Wandering loses no dot, on any page, and a QR code stays.
func TestWander(t *testing.T) {
	dots := func(b *board.Bitmap) (n int) {
		for y := range b.Height {
			for x := range b.Width {
				if b.On(x, y) {
					n++
				}
			}
		}
		return n
	}
	for _, p := range pages {
		page := p.page()
		b, _ := Draw(page, 128, 64, 0)
		places := make(map[string]bool)
		for minute := range 2 * wander {
			w := wandered(b, page, minute)
			places[string(w.Pages)] = true
			if dots(w) != dots(b) {
				t.Errorf("%s: %d dots at minute %d; want %d", p.name, dots(w), minute, dots(b))
			}
		}
		if want := wander; page.QR == "" && len(places) != want || page.QR != "" && len(places) != 1 {
			t.Errorf("%s: %d places", p.name, len(places))
		}
	}
}

func TestSize(t *testing.T) {
	for n, want := range map[int64]string{
		-1: "0 B", 0: "0 B", 999: "999 B", 1000: "1.0 kB", 9_949: "9.9 kB", 9_950: "10 kB", 999_499: "999 kB", 999_500: "1.0 MB",
		1<<63 - 1: "9.2 EB",
	} {
		if got := ui.Size(n); got != want {
			t.Errorf("size(%d) = %q; want %q", n, got, want)
		}
	}
}

// Whatever State comes and whatever panel there is, a page is laid out within it.
func FuzzLayout(f *testing.F) {
	f.Add("482 913", "Annas PC", "Refuse", uint8(16), uint8(2), uint16(3))
	f.Add("", "", "", uint8(20), uint8(4), uint16(0))
	f.Fuzz(func(t *testing.T, title, line, item string, columns, rows uint8, tick uint16) {
		c, r := int(columns%40)+4, int(rows%6)+2
		for _, p := range []Page{
			{Title: title, Lines: []string{line, item, line}},
			{Title: title, Lines: []string{line}, List: []string{item, line, item}, Chosen: int(tick) % 3},
			{Title: title, List: []string{item}},
		} {
			lines, _ := Layout(p, c, r, int(tick), false, hasLetter)
			if len(lines) != r {
				t.Fatalf("%d lines of %d", len(lines), r)
			}
			for _, l := range lines {
				if n := len([]rune(l)); n != c {
					t.Errorf("line %q is %d wide, not %d", l, n, c)
				}
			}
		}
	})
}

// The way from outside: its name, the port if it is another, the address, and what is wrong or special about it.
func TestAccess(t *testing.T) {
	at := netip.MustParseAddr("203.0.113.7")
	for want, o := range map[string]ui.Reach{
		"not known":                      {Port: 443},
		"not known|nas.example.net":      {Name: "nas.example.net", Port: 443},
		"reachable|203.0.113.7":          {State: ui.Yes, Address: at, Port: 443},
		"not reachable|the router is so": {State: ui.No, Name: "nas.example.net", Reason: "the router is so"},
		"reachable|nas.example.net, UDP port 8443|203.0.113.7|443 is taken": {
			State: ui.Yes, Name: "nas.example.net", Address: at, Port: 8443, Reason: "443 is taken",
		},
	} {
		s := attic()
		s.Outside = o
		if got := strings.Join(access(s).Lines, "|"); got != want+"|2 devices|1 user|1 session" {
			t.Errorf("%+v: %s", o, got)
		}
	}
}
