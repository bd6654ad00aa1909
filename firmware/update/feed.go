package update

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"time"

	// Authorities for HTTPS where the system has none, as on a box.
	_ "golang.org/x/crypto/x509roots/fallback"

	"github.com/postern-nas/postern/images"
	"github.com/postern-nas/postern/images/bundle"
)

const (
	maxRedirects = 5
	// askWithin bounds how long the feed may take, and silence how long a download may send nothing.
	askWithin = time.Minute
	silence   = time.Minute
	// stale is the age from which a feed is told to be old: somebody may be keeping newer ones from us.
	stale = 90 * 24 * time.Hour
)

// ErrFeed says why the feed is of no use.
var ErrFeed = errors.New("the feed of updates")

// CheckURL says whether a feed may be at an address: HTTPS, or a plain one in the owner's own network. All that comes is
// signed; HTTPS hides from others which version a box runs.
func CheckURL(text string) error {
	u, err := url.Parse(text)
	if err != nil {
		return err
	}
	return checkURL(u)
}

func checkURL(u *url.URL) error {
	switch {
	case u.Host == "":
		return fmt.Errorf("%w: %q names no host", ErrFeed, u.Redacted())
	case u.Scheme == "https":
		return nil
	case u.Scheme == "http":
		if ip, err := netip.ParseAddr(u.Hostname()); err == nil && (ip.IsPrivate() || ip.IsLoopback() || ip.IsLinkLocalUnicast()) {
			return nil
		}
		return fmt.Errorf("%w: %s has to be https, but at an address of your own network", ErrFeed, u.Redacted())
	}
	return fmt.Errorf("%w: %s is not https", ErrFeed, u.Redacted())
}

// feed asks now and then whether there is something newer, until ctx is done.
func (u *Updater) feed(ctx context.Context) error {
	if u.options().Feed == "" {
		<-ctx.Done()
		return nil
	}
	// Not all boxes that came back after a power cut at once.
	wait := rand.N(min(u.options().Every/10, 10*time.Minute) + 1)
	for {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil
		}
		if err := u.ask(ctx); err != nil && ctx.Err() == nil {
			u.log.Warn("asking for updates", "error", err)
			u.set(func(s *Status) { s.Err = err.Error() })
		}
		wait = u.options().Every + rand.N(u.options().Every/10+1)
	}
}

// ask asks the feed, and does what the owner wants done with the answer.
func (u *Updater) ask(ctx context.Context) error {
	if u.status().Phase == Ready {
		return u.restartAt(ctx)
	}
	offer, newer, err := u.Check(ctx)
	if err != nil || !newer || !u.options().Automatic || u.hasFailed(offer.Number) {
		return err
	}
	if err := u.InstallOffered(ctx); err != nil {
		return err
	}
	return u.restartAt(ctx)
}

func (u *Updater) hasFailed(number uint64) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Contains(u.record.Failed, number)
}

// restartAt restarts into what was installed, at the hour that the owner wants.
func (u *Updater) restartAt(ctx context.Context) error {
	if !u.options().Automatic {
		return nil
	}
	if u.options().At != "" {
		wait, err := untilHour(u.options().At, time.Now().UTC())
		if err != nil {
			return err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil
		}
		if u.status().Phase != Ready { // the owner took it back
			return nil
		}
	}
	return u.Restart()
}

// untilHour is how long it is until a time of day, "15:04".
func untilHour(at string, now time.Time) (time.Duration, error) {
	t, err := time.Parse("15:04", at)
	if err != nil {
		return 0, fmt.Errorf("%q is no time of day", at)
	}
	next := time.Date(now.Year(), now.Month(), now.Day(), t.Hour(), t.Minute(), 0, 0, now.Location())
	if !next.After(now) {
		next = next.AddDate(0, 0, 1)
	}
	return next.Sub(now), nil
}

// Check asks the feed. newer says whether it offers something that is newer than what runs.
func (u *Updater) Check(ctx context.Context) (offer bundle.Offer, newer bool, err error) {
	if u.options().Feed == "" {
		return offer, false, fmt.Errorf("%w: none is named under [update] in the configuration", ErrFeed)
	}
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	from, err := url.Parse(u.options().Feed)
	if err != nil {
		return offer, false, err
	}
	body, err := u.get(ctx, from)
	if err != nil {
		return offer, false, err
	}
	defer body.Close()
	f, err := bundle.ReadFeed(io.LimitReader(body, bundle.MaxFeed), u.options().Trusted)
	if err != nil {
		return offer, false, fmt.Errorf("%w: %w", ErrFeed, err)
	}
	if age := time.Since(f.Made); age > stale {
		u.log.Warn("the feed of updates is old", "days", int(age.Hours()/24))
	}
	offer, ok := f.Newest(u.options().Running.Board)
	newer = ok && offer.Number > u.options().Running.Number
	u.set(func(s *Status) {
		s.Offered = bundle.Release{}
		if newer {
			s.Offered = offer.Release
		}
	})
	if !newer {
		return offer, false, nil
	}
	at, err := from.Parse(offer.URL)
	if err != nil {
		return offer, false, fmt.Errorf("%w: %w", ErrFeed, err)
	}
	offer.URL = at.String()
	return offer, true, nil
}

// InstallOffered asks the feed and installs what it offers.
func (u *Updater) InstallOffered(ctx context.Context) error {
	offer, newer, err := u.Check(ctx)
	if err != nil {
		return err
	}
	if !newer {
		return fmt.Errorf("%w: it offers nothing newer", ErrFeed)
	}
	at, err := url.Parse(offer.URL)
	if err != nil {
		return err
	}
	if offer.Size > images.MaxUKI+bundle.MaxFeed {
		return fmt.Errorf("%w: an update of %d bytes", ErrFeed, offer.Size)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watch := time.AfterFunc(silence, func() { cancel(fmt.Errorf("%w: nothing came for %v", ErrFeed, silence)) })
	defer watch.Stop()
	body, err := u.get(ctx, at)
	if err != nil {
		return err
	}
	defer body.Close()
	return u.install(ctx, &patient{body, watch}, offer.Release, ByFeed)
}

// patient resets a timer with each piece.
type patient struct {
	io.ReadCloser
	watch *time.Timer
}

func (p *patient) Read(b []byte) (int, error) {
	n, err := p.ReadCloser.Read(b)
	p.watch.Reset(silence)
	return n, err
}

// get returns the body of a GET that was answered with 200.
func (u *Updater) get(ctx context.Context, from *url.URL) (io.ReadCloser, error) {
	if err := checkURL(from); err != nil {
		return nil, err
	}
	c := http.Client{}
	if u.options().Client != nil {
		c = *u.options().Client
	}
	c.CheckRedirect = func(req *http.Request, via []*http.Request) error {
		if len(via) > maxRedirects {
			return fmt.Errorf("more than %d redirects", maxRedirects)
		}
		return checkURL(req.URL)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from.String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "Postern")
	resp, err := c.Do(req)
	if err != nil {
		return nil, errors.Join(err, context.Cause(ctx))
	}
	if resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		return nil, fmt.Errorf("%w: %s answers %s", ErrFeed, from.Redacted(), resp.Status)
	}
	return resp.Body, nil
}
