package page

import (
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// TestEveryPage looks every page over, at both sizes, in light and in dark: with all that folds open, and with what each shows when
// there is something to show.
func TestEveryPage(t *testing.T) {
	srv := owned(t)
	for _, s := range sizes {
		t.Run(s.name, func(t *testing.T) {
			b := open(t, srv, s)
			both := func(path, heading string) {
				t.Helper()
				b.visit(path)
				for _, scheme := range []string{"light", "dark"} {
					b.do(scheme, command(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
						// Without motion: halfway between two colours nothing stands out.
						Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"}},
					}))
					b.do("unfold", evaluate(`document.querySelectorAll("details").forEach(d => d.open = true)`))
					b.do("choose", evaluate(`document.querySelectorAll("[name=restricted][value=true], [name=mode][value=fixed]").forEach(r => r.checked = true)`))
					b.until(fmt.Sprintf(`document.querySelector("h1")?.textContent === %q`, heading))
					b.look(heading + ", " + scheme)
				}
			}
			both("/signin?back=1", "Sign in")
			both("/pair", "Pair this device")
			both("/restarting", "One moment")
			both("/off", "Shutting down")
			b.enterAs("/users")
			b.heading("Users")
			for _, p := range []struct{ path, heading string }{
				{"/status", "Overview"},
				{"/shares", "Shares"},
				{"/users", "Users"},
				{"/devices", "Devices"},
				{"/connect", "Connect"},
				{"/certificates", "Certificates"},
				{"/activity?q=owner&failed=on", "Activity"},
				{"/activity?from=yesterday", "Activity"},
				{"/logs", "Logs"},
				{"/settings", "Settings"},
				{"/system", "System"},
			} {
				both(p.path, p.heading)
			}
			b.well()
		})
	}
}

// TestActivity pages through more than fits on one page, searches it, and saves what was found.
func TestActivity(t *testing.T) {
	srv := owned(t)
	b := open(t, srv, sizes[0])
	b.enterAs("/activity")
	b.heading("Activity")
	for i := range 12 { // some events each
		if _, err := shares(t, srv, olga, olgaPassword); err != nil {
			t.Fatal(i, err)
		}
	}
	rows := func() string { return b.get(`String(document.querySelectorAll("tbody tr").length)`) }
	b.visit("/activity?event=logon")
	b.heading("Activity")
	b.look("Activity, searched")
	b.until(`[...document.querySelectorAll("tbody tr")].length >= 12 && [...document.querySelectorAll("tbody tr")].every(r => r.innerText.includes("logon"))`)
	b.visit("/activity?event=logon&user=nobody-of-that-name")
	b.until(`document.body.innerText.includes("Nothing found")`)
	b.fill(map[string]string{"#who": olga})
	b.do("another", evaluate(`document.querySelector("#event").value = "owner-signed-in"`))
	b.picture("search")
	b.click(".filter .main")
	b.until(`document.querySelectorAll("tbody tr").length === 1 && document.body.innerText.includes("owner-signed-in")`)
	if got := rows(); got != "1" {
		t.Errorf("%s rows", got)
	}
	saved := func(name string) string {
		t.Helper()
		return b.get(fmt.Sprintf(`fetch([...document.querySelectorAll("a[download]")].find(a => a.textContent.includes(%q)).href).then(r => r.text())`, name))
	}
	if got := saved("CSV"); strings.Count(got, "\n") != 2 || !strings.Contains(got, "owner-signed-in") || !strings.HasPrefix(got, "time,seq,") {
		t.Errorf("as a table:\n%s", got)
	}
	if got := saved("JSON"); strings.Count(got, "\n") != 1 || !strings.Contains(got, `"event":"owner-signed-in"`) {
		t.Errorf("as JSON:\n%s", got)
	}
	// A zone that is chosen counts at once, for what is shown.
	b.visit("/settings")
	b.heading("Settings")
	b.do("zone", chromedp.SetValue(chromedp.CSS("#set-zone"), "Asia/Kathmandu"))
	b.click("form .row .main")
	b.said("Saved.")
	if got := b.get(`document.body.dataset.zone`); got != "Asia/Kathmandu" {
		t.Errorf("the page is in %q", got)
	}
	b.visit("/activity?event=config-changed")
	b.until(`document.body.innerText.includes("zone = Asia/Kathmandu")`)
	b.well()
}
