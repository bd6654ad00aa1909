package config

import (
	"net/netip"
	"net/url"
	"time"
)

// Update is how a box comes to newer versions of itself.
type Update struct {
	Feed      string        // URL; "": none
	Every     time.Duration // how often to ask
	Automatic bool          // install, and restart
	At        string        // "15:04", UTC; "" at once
	Trial     time.Duration // how long a new version has to be healthy
	Tries     int           // how often it may start until then
}

type rawUpdate struct {
	Feed      string `toml:"feed"`
	Every     string `toml:"every"`
	Automatic bool   `toml:"automatic"`
	At        string `toml:"at"`
	Trial     string `toml:"trial"`
	Tries     int64  `toml:"tries"`
}

func builtInUpdate() rawUpdate {
	return rawUpdate{Every: "24h", At: "03:30", Trial: "2m", Tries: 3}
}

// updateKeys is the part of the default file.
const updateKeys = `[update]
# For a box that runs nothing but Postern. Where its maker says which versions there are: an https:// address, or an http://
# one in your own network. Whatever comes is signed; https hides from others which version you run. Empty: nobody is asked,
# and updates come from the page or from a USB stick.
feed = ""
# How often to ask, as "24h" or "90m".
every = "24h"
# Install what there is, and restart into it at the time below, in UTC as "15:04". Empty: at once. False: only say so.
automatic = false
at = "03:30"
# A new version is on trial until it has served itself for so long without a fault. Till then each start is counted, and
# after so many the box goes back to the version before by itself. 1 to 3.
trial = "2m"
tries = 3

`

func (c *checker) update(r rawUpdate) Update {
	u := Update{
		Feed: r.Feed, Automatic: r.Automatic, At: r.At, Tries: int(c.number("update.tries", r.Tries, 1, 3)),
		Every: c.duration("update.every", r.Every, 5*time.Second, 60*24*time.Hour),
		Trial: c.duration("update.trial", r.Trial, time.Second, 24*time.Hour),
	}
	if r.Feed != "" && !feedAddress(r.Feed) {
		c.fail("update.feed", "%q is neither an https:// address nor an http:// one in your own network", r.Feed)
	}
	if _, err := time.Parse("15:04", r.At); r.At != "" && err != nil {
		c.fail("update.at", "%q is no time of day, as in \"03:30\"", r.At)
	}
	return u
}

// feedAddress is the same that firmware/update demands of each address that a feed leads to.
func feedAddress(text string) bool {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return false
	}
	ip, err := netip.ParseAddr(u.Hostname())
	return u.Scheme == "https" || u.Scheme == "http" && err == nil && (ip.IsPrivate() || ip.IsLoopback() || ip.IsLinkLocalUnicast())
}

func (c *checker) duration(at place, text string, least, most time.Duration) time.Duration {
	d, err := time.ParseDuration(text)
	if err != nil || d < least || d > most {
		c.fail(at, "%q is no time from %v to %v, as in \"24h\"", text, least, most)
		return least
	}
	return d
}
