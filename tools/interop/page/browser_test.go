// Package page drives the page in the browser as an owner would: Chromium against a running postern, from the first setup on.
// Every page that is opened is looked over: each field has a name that is read out, texts stand out from what is behind them,
// nothing is asked of any other server, and the console stays empty. Pictures are kept in $POSTERN_PICTURES.
package page

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/postern-nas/postern/tools/postern"
)

// chromium finds the browser.
func chromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("no chromium: apt install chromium")
	}
	t.Skip("no chromium: apt install chromium")
	return ""
}

// A size is that of a window, and how its owner uses it.
type size struct {
	name          string
	width, height int64
	phone, dark   bool
	keys          bool // the keyboard alone, no pointer
}

var sizes = []size{{name: "desktop", width: 1280, height: 900}, {name: "phone", width: 390, height: 844, phone: true, dark: true}}

// atSizes runs what an owner does twice: on a desk, with the keyboard alone, and on a phone. other is the size that a second
// window then has.
func atSizes(t *testing.T, f func(t *testing.T, s, other size)) {
	t.Helper()
	desk, phone := sizes[0], sizes[1]
	desk.keys = true
	t.Run(desk.name, func(t *testing.T) { f(t, desk, phone) })
	t.Run(phone.name, func(t *testing.T) { f(t, phone, desk) })
}

// A site is what a browser looks at.
type site struct {
	page string        // host and port
	ca   string        // its authority, a PEM file; "": the browser takes any certificate
	log  func() string // of the server
	step time.Duration // bounds one step
}

// A browser is one window, with what was seen of it.
type browser struct {
	site
	t    *testing.T
	ctx  context.Context
	srv  *postern.Server // nil: it is not on this machine
	size size
	dir  string // of pictures
	n    int

	mu      sync.Mutex
	wrong   []string // on the console
	foreign []string // addresses
}

// step bounds one step of a test: a machine that does much else is slow.
const step = 30 * time.Second

// open starts a browser that takes the server's certificate, and no other, for good.
func open(t *testing.T, srv *postern.Server, s size, more ...chromedp.ExecAllocatorOption) *browser {
	t.Helper()
	b := openAt(t, site{srv.Page, srv.CA, srv.Log, step}, s, more...)
	b.srv = srv
	return b
}

func openAt(t *testing.T, at site, s size, more ...chromedp.ExecAllocatorOption) *browser {
	t.Helper()
	profile := t.TempDir()
	host, _, err := net.SplitHostPort(at.page)
	if err != nil {
		t.Fatal(err)
	}
	options := append([]chromedp.ExecAllocatorOption{
		chromedp.ExecPath(chromium(t)), chromedp.UserDataDir(profile), chromedp.WindowSize(int(s.width), int(s.height)),
	}, flags("headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking", "disable-component-update",
		"disable-sync", "disable-default-apps", "disable-extensions", "disable-dev-shm-usage", "hide-scrollbars")...)
	options = append(options, chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND, EXCLUDE "+host))
	if at.ca == "" {
		options = append(options, chromedp.Flag("ignore-certificate-errors", true))
	} else {
		options = append(options, chromedp.Flag("ignore-certificate-errors-spki-list", pin(t, at.ca)))
	}
	options = append(options, more...)
	alloc, stop := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(stop)
	ctx, cancel := chromedp.NewContext(alloc)
	t.Cleanup(cancel)
	b := &browser{site: at, t: t, ctx: ctx, size: s, dir: pictures(t)}
	scheme := "light"
	if s.dark {
		scheme = "dark"
	}
	b.do("start", command(network.Enable, network.EnableParams{}), command(log.Enable, cdp.Empty{}), command(runtime.Enable, cdp.Empty{}),
		command(emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
			Width: s.width, Height: s.height, DeviceScaleFactor: 1, Mobile: s.phone,
		}),
		command(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
		}),
		// As the window that somebody works in, however many others there are: only in that one something has the focus.
		command(emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true}))
	follow(b, runtime.ConsoleAPICalled, func(e runtime.EventConsoleAPICalled) { b.wrong = append(b.wrong, fmt.Sprintf("console.%s", e.Type)) })
	follow(b, runtime.ExceptionThrown, func(e runtime.EventExceptionThrown) {
		b.wrong = append(b.wrong, fmt.Sprintf("%+v", e.ExceptionDetails))
	})
	follow(b, log.EntryAdded, func(e log.EventEntryAdded) {
		// A page that was refused (422, 403, 429) is one that this test has asked for; while the box starts again there is nobody,
		// which a page finds out that asks /alive.
		if e.Entry.Level == log.EntryLevelError && !harmless.MatchString(e.Entry.Text) && !strings.HasSuffix(e.Entry.URL, "/alive") {
			b.wrong = append(b.wrong, e.Entry.Text+" "+e.Entry.URL)
		}
	})
	follow(b, network.RequestWillBeSent, func(e network.EventRequestWillBeSent) {
		u, err := url.Parse(e.Request.URL)
		if err != nil || u.Scheme != "data" && u.Host != b.page {
			b.foreign = append(b.foreign, e.Request.URL)
		}
	})
	return b
}

type action = chromedp.Action[chromedp.Void]

// command is a command of the browser's protocol as an action.
func command[P, R any](c cdp.Command[P, R], params P) action {
	return func(ctx context.Context, t *chromedp.Target) (chromedp.Void, error) {
		_, err := cdp.Call(ctx, t, c, params)
		return chromedp.Void{}, err
	}
}

// follow calls f with each event, and b.mu held, until the browser ends.
func follow[E any](b *browser, event cdp.Event[E], f func(E)) {
	events := chromedp.Events(b.ctx, event)
	go func() {
		for e, err := range events {
			if err != nil {
				return
			}
			b.mu.Lock()
			f(e)
			b.mu.Unlock()
		}
	}()
}

func flags(names ...string) (all []chromedp.ExecAllocatorOption) {
	for _, n := range names {
		all = append(all, chromedp.Flag(n, true))
	}
	return all
}

// pin is the SHA-256 of the public key of the server's own certificate. The authority's file stands beside it.
func pin(t *testing.T, ca string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(filepath.Dir(ca), "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(c.RawSubjectPublicKeyInfo)
	return base64.StdEncoding.EncodeToString(sum[:])
}

var harmless = regexp.MustCompile(`status of (403|422|429)|net::ERR_(CONNECTION_REFUSED|CONNECTION_RESET|CONNECTION_CLOSED|EMPTY_RESPONSE|INCOMPLETE_CHUNKED_ENCODING|SOCKET_NOT_CONNECTED)`)

// resize makes the window another size.
func (b *browser) resize(width, height int64) {
	b.t.Helper()
	b.do("resize", command(emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
		Width: width, Height: height, DeviceScaleFactor: 1, Mobile: b.size.phone,
	}))
}

// do runs actions, within a time.
func (b *browser) do(what string, actions ...action) {
	b.t.Helper()
	// The context of a browser must not end with its first step.
	done := make(chan error, 1)
	ctx, cancel := context.WithCancel(b.ctx)
	defer cancel()
	if what == "start" {
		ctx = b.ctx
	}
	go func() { done <- chromedp.Do(ctx, actions...) }()
	select {
	case err := <-done:
		if err != nil {
			b.picture("failed")
			b.t.Fatalf("%s: %v\n%s", what, err, b.text())
		}
	case <-time.After(b.step):
		cancel()
		b.picture("failed")
		b.t.Fatalf("%s: took too long; the page says\n%s", what, b.text())
	}
}

// text is what the page says.
func (b *browser) text() (s string) {
	ctx, cancel := context.WithTimeout(b.ctx, 5*time.Second)
	defer cancel()
	s, _ = chromedp.Run(ctx, chromedp.Evaluate[string](`document.body.innerText`))
	return s
}

// picture keeps a picture of the whole page.
func (b *browser) picture(name string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 20*time.Second)
	defer cancel()
	png, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
	if err != nil {
		b.t.Logf("no picture of %s: %v", name, err)
		return
	}
	b.n++
	path := filepath.Join(b.dir, fmt.Sprintf("%s-%02d-%s.png", b.size.name, b.n, name))
	if err := os.WriteFile(path, png, 0o644); err != nil {
		b.t.Error(err)
	}
}

// pictures is the folder that a test's pictures are kept in: one of $POSTERN_PICTURES, if that is set.
func pictures(t *testing.T) string {
	t.Helper()
	all := os.Getenv("POSTERN_PICTURES")
	if all == "" {
		return t.ArtifactDir()
	}
	dir := filepath.Join(all, t.Name())
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// visit opens a page of the box.
func (b *browser) visit(path string) {
	b.t.Helper()
	b.do("open "+path, chromedp.Navigate("https://"+b.page+path), chromedp.WaitReady(chromedp.CSS("main")))
}

// heading waits for a page with this heading, and looks it over.
func (b *browser) heading(want string) {
	b.t.Helper()
	b.until(fmt.Sprintf(`document.querySelector("h1")?.textContent === %q && document.readyState === "complete"`, want))
	b.look(want)
}

// fill puts texts into fields.
func (b *browser) fill(fields map[string]string) {
	b.t.Helper()
	if b.size.keys {
		b.typeInto(fields)
		return
	}
	for sel, text := range fields {
		b.do("fill "+sel, evaluate(fmt.Sprintf(`document.querySelector(%q).value = ""`, sel)), chromedp.SendKeys(chromedp.CSS(sel), text))
	}
}

// choose sets a list. What begins with // is an XPath.
func (b *browser) choose(sel, value string) {
	b.t.Helper()
	if b.size.keys {
		b.arrowTo(sel, value)
		return
	}
	b.do("choose", evaluate(fmt.Sprintf(`%s.value = %q`, element(sel), value)))
}

// element is an expression for the first element of a selector. What begins with // is an XPath.
func element(sel string) string {
	if strings.HasPrefix(sel, "//") {
		return fmt.Sprintf(`document.evaluate(%q, document, null, XPathResult.FIRST_ORDERED_NODE_TYPE).singleNodeValue`, sel)
	}
	return fmt.Sprintf(`document.querySelector(%q)`, sel)
}

// click clicks and waits until another page is there. What begins with // is an XPath.
func (b *browser) click(sel string) {
	b.t.Helper()
	b.do("mark", evaluate(`window.before = 1`))
	b.touch(sel)
	b.gone()
}

// touch clicks on something that leads to no other page.
func (b *browser) touch(sel string) {
	b.t.Helper()
	switch {
	case b.size.keys:
		b.strike(sel)
	case strings.HasPrefix(sel, "//"):
		b.do("click "+sel, chromedp.Click(chromedp.Search(sel)))
	default:
		b.do("click "+sel, chromedp.Click(chromedp.CSS(sel)))
	}
}

func evaluate(script string) action { return chromedp.Evaluate[chromedp.Void](script) }

// until waits until an expression is true. The page may be another at any moment, and then it is asked anew. The browser's own way
// of waiting makes code of a text in the page, which our page forbids.
func (b *browser) until(expression string) {
	b.t.Helper()
	for end := time.Now().Add(b.step); time.Now().Before(end); time.Sleep(60 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(b.ctx, 10*time.Second)
		ok, err := chromedp.Run(ctx, chromedp.Evaluate[bool](`!!(`+expression+`)`))
		cancel()
		if err == nil && ok {
			return
		}
	}
	b.picture("failed")
	b.t.Fatalf("%s is not so; the page says\n%s\nserver:\n%s", expression, b.text(), b.log())
}

// gone waits until the page that was marked is another.
func (b *browser) gone() {
	b.t.Helper()
	b.until(`window.before === undefined && document.readyState === "complete"`)
}

// said waits for a note that says this.
func (b *browser) said(want string) {
	b.t.Helper()
	b.until(fmt.Sprintf(`[...document.querySelectorAll(".note")].some(n => n.innerText.includes(%q))`, want))
}

// look looks a page over.
func (b *browser) look(name string) {
	b.t.Helper()
	found, err := chromedp.Run(b.ctx, chromedp.Evaluate[string](overlook))
	if err != nil {
		b.t.Fatal(err)
	}
	var list []string
	if err := json.Unmarshal([]byte(found), &list); err != nil {
		b.t.Fatal(err)
	}
	for _, f := range list {
		b.t.Errorf("%s, %s: %s", name, b.size.name, f)
	}
}

// well ends a visit: nothing may have gone wrong in the browser.
func (b *browser) well() {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, w := range b.wrong {
		b.t.Errorf("on the console: %s", w)
	}
	for _, f := range b.foreign {
		b.t.Errorf("a request to somewhere else: %s", f)
	}
}

// overlook lists what is wrong with a page for people who cannot see well, or use no mouse: fields and buttons without a name,
// text that does not stand out (WCAG 2.2, 1.4.3: 4.5 to 1, large text 3 to 1), a page that is wider than its window, positive
// tabindex, no language, no title, headings that jump, two elements of one id.
const overlook = `(() => {` + colours + `
  const wrong = [];
  const seen = e => e.checkVisibility({visibilityProperty: true}) && e.getClientRects().length > 0;
  for (const e of document.querySelectorAll('input:not([type=hidden]), select, textarea')) {
    if (!e.labels?.length && !e.getAttribute('aria-label')) wrong.push('no label: ' + e.outerHTML.slice(0, 80));
    if (e.labels?.length && ![...e.labels].some(l => l.innerText.trim() || !seen(l))) wrong.push('empty label: ' + e.outerHTML.slice(0, 80));
  }
  for (const e of document.querySelectorAll('button, a')) if (seen(e) && !(e.innerText.trim() || e.getAttribute('aria-label'))) wrong.push('no name: ' + e.outerHTML.slice(0, 80));
  for (const e of document.querySelectorAll('img')) if (!e.hasAttribute('alt')) wrong.push('no alt: ' + e.outerHTML);
  for (const e of document.querySelectorAll('[tabindex]')) if (e.tabIndex > 0) wrong.push('tabindex: ' + e.outerHTML.slice(0, 80));
  const ids = new Set();
  for (const e of document.querySelectorAll('[id]')) { if (ids.has(e.id)) wrong.push('twice: #' + e.id); ids.add(e.id); }
  if (!document.documentElement.lang || !document.title) wrong.push('no language or title');
  if (document.querySelectorAll('h1').length !== 1) wrong.push('not one h1');
  if (document.documentElement.scrollWidth > innerWidth + 1) wrong.push('wider than the window: ' + document.documentElement.scrollWidth);

  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let n; n = texts.nextNode();) {
    const e = n.parentElement;
    if (!n.data.trim() || !seen(e) || e.closest('option, .skip')) continue;
    const s = getComputedStyle(e), ratio = contrast(s.color, behind(e));
    const large = parseFloat(s.fontSize) >= 24 || parseFloat(s.fontSize) >= 18.66 && s.fontWeight >= 700;
    if (ratio < (large ? 3 : 4.5)) wrong.push('contrast ' + ratio.toFixed(2) + ': ' + n.data.trim().slice(0, 40));
  }
  return JSON.stringify(wrong);
})()`

// colours has how much a colour of CSS stands out from one behind it, and what is behind an element.
const colours = `
  const lum = ([r, g, b]) => [r, g, b].map(v => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4).reduce((s, v, i) => s + v * [.2126, .7152, .0722][i], 0);
  const rgba = c => { const m = c.match(/[\d.]+/g).map(Number); return m.length < 4 ? [...m, 1] : m; };
  const over = (top, under) => [0, 1, 2].map(i => top[i] * top[3] + under[i] * (1 - top[3])).concat(1);
  const behind = e => { const up = []; for (; e; e = e.parentElement) up.unshift(rgba(getComputedStyle(e).backgroundColor)); return up.reduce((u, c) => over(c, u), [255, 255, 255, 1]); };
  const contrast = (c, bg) => { const [a, b] = [lum(over(rgba(c), bg)), lum(bg)].sort((x, y) => y - x); return (a + .05) / (b + .05); };`

// setupCode waits for the code that the server shows at its console, and returns it with its address.
func setupCode(t *testing.T, log func() string) (path, digits string) {
	t.Helper()
	for range 200 {
		all := codeLine.FindAllStringSubmatch(log(), -1)
		if len(all) > 0 {
			last := all[len(all)-1]
			u, err := url.Parse(last[2])
			if err != nil {
				t.Fatal(err)
			}
			return u.Path, last[1]
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatal("the server shows no code")
	return "", ""
}

var codeLine = regexp.MustCompile(`type this code there: (\d{4} \d{4}), or open\s+(\S+)`)
