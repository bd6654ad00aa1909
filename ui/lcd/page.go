// Package lcd is the front panel: pages as functions of the State, drawn for dots (128x64, 128x32) and characters (16x2,
// 20x4) from the same descriptions; the keys as a state machine; and Run, which joins them with a display and buttons.
package lcd

import (
	"cmp"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/postern-nas/postern/ui"
)

// A Page is what a panel shows, whatever panel it is.
type Page struct {
	Title  string   // always in the first row, unless there is but one row beside the list
	Lines  []string // the most important first; what does not fit takes turns
	List   []string // what Enter chooses from
	Chosen int      // the place in List

	QR    string   // the text of a QR code; a panel that cannot show it shows Plain in place of Lines
	Plain []string // the same in words
}

// maxAlarms is how many alarms have pages: nobody turns more of them at a panel; the page in the browser has all.
const maxAlarms = 5

// home are the pages that Next turns, the most urgent first.
func home(s ui.State, now time.Time) (pages []Page) {
	for i, a := range s.Alarms {
		if i == maxAlarms {
			break
		}
		pages = append(pages, alarm(a, i, min(len(s.Alarms), maxAlarms)))
	}
	if s.Setup != nil {
		pages = append(pages, welcome(s))
	}
	if updatable(s) {
		pages = append(pages, Page{Title: "USB stick", Lines: []string{"Update " + s.Stick.Version, "Install? Enter,", "Update from USB"}})
	}
	pages = append(pages, status(s, now), storage(s), access(s), security(s))
	if s.Update != nil {
		pages = append(pages, update(*s.Update))
	}
	return pages
}

// welcome is what a new box shows: how to set it up.
func welcome(s ui.State) Page {
	return Page{
		Title: "Welcome",
		Lines: append([]string{"Scan, or"}, halves(s.Setup.Code)...),
		QR:    s.Setup.URL,
		Plain: []string{host(s.Setup.URL), "Code " + s.Setup.Code},
	}
}

func status(s ui.State, now time.Time) Page {
	title := s.Name
	if zone, err := time.LoadLocation(s.Zone); err == nil && s.Zone != "" { // else what the clock says is not the owner's time
		title = now.In(zone).Format("15:04 ") + title
	}
	return Page{Title: title, Lines: []string{
		address(s), disks(s),
		"in  " + speed(s.Traffic.In),
		"out " + speed(s.Traffic.Out),
	}}
}

func storage(s ui.State) Page {
	p := Page{Title: "Storage"}
	for _, sh := range s.Shares {
		line := sh.Name + " "
		switch {
		case sh.Health >= ui.Warning:
			line += health(sh.Health)
		case sh.Total > 0:
			line += ui.Size(sh.Free) + " free"
		default:
			line += health(sh.Health)
		}
		p.Lines = append(p.Lines, line)
	}
	for _, d := range s.Disks {
		line := "Disk " + d.Bay + " " + health(d.Health)
		if d.Celsius != 0 {
			line += fmt.Sprintf(" %.0f°", d.Celsius)
		}
		p.Lines = append(p.Lines, line)
	}
	if len(p.Lines) == 0 {
		p.Lines = []string{"no shares yet"}
	}
	return p
}

func access(s ui.State) Page {
	p := Page{Title: "From outside"}
	switch s.Outside.State {
	case ui.Yes:
		p.Lines = []string{"reachable"}
		p = p.with(s.Outside.Where())
		if s.Outside.Name != "" && s.Outside.Address.IsValid() {
			p = p.with(s.Outside.Address.String())
		}
		p = p.with(s.Outside.Reason)
	case ui.No:
		p.Lines = []string{"not reachable", s.Outside.Reason}
	default:
		p.Lines = []string{"not known"}
		p = p.with(s.Outside.Where())
	}
	return p.with(count(len(s.Devices), "device"), count(len(s.Users), "user"), count(s.Traffic.Sessions, "session"))
}

func security(s ui.State) Page {
	p := Page{Title: "Security"}
	switch days := s.Certificate.DaysLeft; {
	case s.Certificate.NotAfter.IsZero():
		p.Lines = append(p.Lines, "no certificate")
	case days < 0:
		p.Lines = append(p.Lines, "certificate over")
	default:
		p.Lines = append(p.Lines, "certif. "+count(days, "day"))
	}
	switch s.Keys {
	case ui.Sealed, ui.Resident:
		p.Lines = append(p.Lines, "key in the TPM")
	case ui.OnDisk:
		p.Lines = append(p.Lines, "key on disk")
	}
	return p
}

func update(u ui.Update) Page {
	p := Page{Title: "Update", Lines: []string{u.Version}}
	if u.Percent > 0 {
		return p.with(fmt.Sprintf("installing %d%%", u.Percent))
	}
	return p.with("is available")
}

func alarm(a ui.Alarm, i, of int) Page {
	title := "Attention"
	if a.Health == ui.Failed {
		title = "ALARM"
	}
	if of > 1 {
		title += fmt.Sprintf(" %d/%d", i+1, of)
	}
	return Page{Title: title, Lines: []string{a.Text}}.with(a.Advice)
}

// pairing is a device being let in.
func pairing(p ui.Pairing, chosen int) Page {
	who := []string{p.Device}
	if p.Address.IsValid() {
		who = append(who, p.Address.String())
	}
	if p.User != "" {
		who = append(who, "as "+p.User)
	}
	switch p.Phase {
	case ui.Preparing:
		return Page{Title: "Opened by", Lines: who, List: []string{"Stop"}}
	case ui.Asking:
		return Page{Title: code(p.Code), Lines: who, List: []string{"Refuse", "Accept"}, Chosen: chosen}
	case ui.Issuing:
		return Page{Title: "Letting in", Lines: who}
	case ui.Paired:
		return Page{Title: "Paired", Lines: who}
	case ui.Refused:
		return Page{Title: "Not paired", Lines: who}
	}
	return Page{
		Title: "Pair",
		Lines: []string{code(p.Code)}, List: []string{"Stop"},
		QR:    p.URL,
		Plain: []string{strings.TrimPrefix(cmp.Or(p.Page, p.URL), "https://"), code(p.Code)},
	}
}

// with adds lines that are not empty.
func (p Page) with(lines ...string) Page {
	for _, l := range lines {
		if l != "" {
			p.Lines = append(p.Lines, l)
		}
	}
	return p
}

// code puts a space into the middle of six digits, as people read them out.
func code(s string) string {
	if len(s) == 6 {
		return s[:3] + " " + s[3:]
	}
	return s
}

// halves breaks a code for the narrow room beside a QR code.
func halves(s string) []string {
	if len(s) <= 6 {
		return []string{s}
	}
	return []string{s[:len(s)/2], s[len(s)/2:]}
}

func address(s ui.State) string {
	if len(s.Addresses) == 0 {
		return "no network"
	}
	return s.Addresses[0].String()
}

// addresses are all ways to the box, those from outside first.
func addresses(s ui.State) (lines []string) {
	if s.Outside.State == ui.Yes || s.Outside.Name != "" {
		lines = Page{}.with(s.Outside.Where()).Lines
	}
	for _, a := range s.Addresses {
		lines = append(lines, a.String())
	}
	if len(s.Addresses) == 0 {
		lines = append(lines, "no network")
	}
	return lines
}

// host is what one types to open u.
func host(u string) string {
	if p, err := url.Parse(u); err == nil && p.Host != "" {
		return p.Scheme + "://" + p.Host
	}
	return u
}

// disks is how well all disks are: as well as the worst.
func disks(s ui.State) string {
	if len(s.Disks) == 0 {
		return "no disks"
	}
	worst := s.Disks[0]
	for _, d := range s.Disks[1:] {
		if d.Health > worst.Health {
			worst = d
		}
	}
	if worst.Health >= ui.Warning {
		return "Disk " + worst.Bay + " " + health(worst.Health)
	}
	return count(len(s.Disks), "disk") + " " + health(worst.Health)
}

func health(h ui.Health) string {
	switch h {
	case ui.Good:
		return "good"
	case ui.Warning:
		return "warns"
	case ui.Failed:
		return "FAILED"
	}
	return "?"
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func speed(n int64) string { return ui.Size(n) + "/s" }
