package page

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// What somebody does who has no pointer. Each element that has the focus on the way must show that it has it.

// press strikes keys.
func (b *browser) press(keys ...string) {
	b.t.Helper()
	for _, k := range keys {
		b.do("key", chromedp.KeyEvent(k))
	}
}

// enter presses Enter and waits for the next page.
func (b *browser) enter() {
	b.t.Helper()
	b.do("mark", evaluate(`window.before = 1`))
	b.press(kb.Enter)
	b.gone()
}

func (b *browser) type_(text string) {
	b.t.Helper()
	b.do("type", chromedp.KeyEvent(text))
}

// clear empties the field that has the focus.
func (b *browser) clear() {
	b.t.Helper()
	b.do("select all", chromedp.KeyEvent("a", chromedp.KeyModifiers(chromedp.ModifierCtrl)))
	b.press(kb.Backspace)
}

// stops bounds how often Tab is pressed in search of one element.
const stops = 150

// tabTo goes on with Tab until the element has the focus.
func (b *browser) tabTo(sel string) {
	b.t.Helper()
	b.tabUntil(sel, `at === `+element(sel))
}

// tabUntil goes on with Tab until an expression of the element that has the focus, at, is true. It says of each on the way
// that does not show the focus: WCAG 2.2, 2.4.7 and 1.4.11.
func (b *browser) tabUntil(what, expression string) {
	b.t.Helper()
	script := fmt.Sprintf(`(() => {`+colours+`
		const at = document.activeElement, s = getComputedStyle(at), r = at.getBoundingClientRect();
		let wrong = '';
		if (at !== document.body) {
			if (s.outlineStyle === 'none' || parseFloat(s.outlineWidth) < 2) wrong = "has no ring";
			else if (contrast(s.outlineColor, behind(at.parentElement)) < 3) wrong = 'has a ring that does not stand out';
			else if (r.bottom <= 0 || r.right <= 0 || r.top >= innerHeight || r.left >= innerWidth) wrong = 'is out of sight';
		}
		return (%s ? 'there' : 'on') + (wrong && '|' + wrong + ': ' + at.outerHTML.slice(0, 90));
	})()`, expression)
	for range stops {
		step, wrong, _ := strings.Cut(b.get(script), "|")
		if wrong != "" {
			b.t.Errorf("what has the focus %s", wrong)
		}
		if step == "there" {
			return
		}
		b.press(kb.Tab)
	}
	b.picture("failed")
	b.t.Fatalf("%s is not reached with the Tab key; the page says\n%s", what, b.text())
}

// strike does with keys what a click does.
func (b *browser) strike(sel string) {
	b.t.Helper()
	e := element(sel)
	b.until(e + `?.checkVisibility()`)
	switch b.get(e + `.type ?? ""`) {
	case "radio": // Tab goes to one of them, the arrows to the others
		b.tabUntil(sel, fmt.Sprintf(`at.type === "radio" && at.name === %[1]s.name && at.form === %[1]s.form`, e))
		b.press(" ")
		b.arrowUntil(kb.ArrowDown, sel, e+`.checked`)
	case "checkbox":
		b.tabTo(sel)
		b.press(" ")
	default:
		b.tabTo(sel)
		b.press(kb.Enter)
	}
}

// typeInto types texts into fields, in the order in which the Tab key comes to them.
func (b *browser) typeInto(fields map[string]string) {
	b.t.Helper()
	for left := maps.Clone(fields); len(left) > 0; {
		names := slices.Sorted(maps.Keys(left))
		among := "false"
		for _, sel := range names {
			among += ` || at.matches(` + strconv.Quote(sel) + `)`
		}
		b.tabUntil(fmt.Sprint(names), among)
		for _, sel := range names {
			if b.get(`String(document.activeElement.matches(`+strconv.Quote(sel)+`))`) == "true" {
				b.clear()
				b.type_(left[sel])
				delete(left, sel)
				break
			}
		}
	}
}

// arrowTo sets a list with the arrow keys.
func (b *browser) arrowTo(sel, value string) {
	b.t.Helper()
	b.tabTo(sel)
	b.press(kb.Home)
	b.arrowUntil(kb.ArrowDown, sel, fmt.Sprintf(`%s.value === %q`, element(sel), value))
}

// arrowUntil presses an arrow key until an expression is true.
func (b *browser) arrowUntil(arrow, what, expression string) {
	b.t.Helper()
	for range stops {
		if b.get(`String(`+expression+`)`) == "true" {
			return
		}
		b.press(arrow)
	}
	b.t.Fatalf("%s is not set with the arrow keys", what)
}
