package mkimage

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/postern-nas/postern/images"
	"github.com/postern-nas/postern/tools/debian"
)

// Dir is the cache folder: $POSTERN_IMAGES, or postern/images in the user's cache folder.
func Dir() (string, error) {
	if d := os.Getenv("POSTERN_IMAGES"); d != "" {
		return filepath.Abs(d)
	}
	d, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("no place for packages: %w; set POSTERN_IMAGES to a folder", err)
	}
	return filepath.Join(d, "postern", "images"), nil
}

// stalled is how long an archive may send nothing before the download is given up. What came is kept.
const stalled = time.Minute

// A fetcher brings packages into the cache.
type fetcher struct {
	dir    string
	mirror func(context.Context) (string, error) // the archive's root; asked only when something is missing
	client *http.Client
	log    io.Writer
}

// fetch returns the .deb's path in the cache, downloading it if need be. A file in the cache is checked as one that
// comes over the network is. What an interrupted download left is taken up again.
func (f *fetcher) fetch(ctx context.Context, p images.Package) (string, error) {
	name := filepath.Join(f.dir, path.Base(p.Path))
	if err := check(name, p); err == nil {
		return name, nil
	} else if !errors.Is(err, os.ErrNotExist) {
		fmt.Fprintf(f.log, "mkimage: %v; fetching it again\n", err)
		if err := os.Remove(name); err != nil {
			return "", err
		}
	}
	if err := os.MkdirAll(f.dir, 0o755); err != nil {
		return "", err
	}
	mirror, err := f.mirror(ctx)
	if err != nil {
		return "", err
	}
	from, err := url.Parse(strings.TrimSuffix(mirror, "/") + "/")
	if err != nil {
		return "", err
	}
	from = from.JoinPath(p.Path)
	part := name + ".part"
	for again := true; ; again = false {
		had, err := f.download(ctx, from.String(), part, p)
		if err == nil {
			err = check(part, p)
		}
		if err == nil {
			return name, os.Rename(part, name)
		}
		if errors.Is(err, errContents) {
			if err := os.Remove(part); err != nil {
				return "", err
			}
			if had && again { // it may have been what was there before, of another file
				continue
			}
		}
		return "", fmt.Errorf("%s: %w", p.Name, err)
	}
}

var errContents = errors.New("not the file that the lock names")

// check says whether the file at name is package p.
func check(name string, p images.Package) error {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	h := sha256.New()
	n, err := io.Copy(h, io.LimitReader(file, p.Size+1))
	if err != nil {
		return err
	}
	if n != p.Size || [32]byte(h.Sum(nil)) != p.SHA256 {
		return fmt.Errorf("%s is %w", filepath.Base(name), errContents)
	}
	return nil
}

// download appends to the file part what is missing of p. had says that there was something before.
func (f *fetcher) download(ctx context.Context, from, part string, p images.Package) (had bool, err error) {
	file, err := os.OpenFile(part, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	info, err := file.Stat()
	if err != nil {
		return false, err
	}
	begin := info.Size()
	if had = begin > 0; begin >= p.Size {
		return had, nil
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watch := time.AfterFunc(stalled, func() { cancel(fmt.Errorf("the archive sent nothing for %v", stalled)) })
	defer watch.Stop()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return had, err
	}
	if had {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", begin))
	}
	resp, err := f.client.Do(req)
	if err != nil {
		return had, errors.Join(err, context.Cause(ctx))
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusNotFound:
		return had, fmt.Errorf("%s: the archive has this version no more; `make refresh-lock` pins what it has now", from)
	case resp.StatusCode == http.StatusOK: // all of it, whatever we asked for
		begin = 0
		if err := file.Truncate(0); err != nil {
			return had, err
		}
	case resp.StatusCode == http.StatusPartialContent && had:
		if want := fmt.Sprintf("bytes %d-", begin); !strings.HasPrefix(resp.Header.Get("Content-Range"), want) {
			return had, fmt.Errorf("%s: asked for %s, got %q", from, want, resp.Header.Get("Content-Range"))
		}
	default:
		return had, fmt.Errorf("%s: %s", from, resp.Status)
	}
	body := &progress{r: io.LimitReader(resp.Body, p.Size-begin), done: begin, all: p.Size, name: p.Name, log: f.log, watch: watch}
	if _, err := io.Copy(file, body); err != nil {
		return had, errors.Join(err, context.Cause(ctx))
	}
	return had, nil
}

// progress tells every two seconds how far a download is.
type progress struct {
	r         io.Reader
	done, all int64
	name      string
	log       io.Writer
	told      time.Time
	watch     *time.Timer
}

func (p *progress) Read(b []byte) (int, error) {
	n, err := p.r.Read(b)
	p.watch.Reset(stalled)
	p.done += int64(n)
	if time.Since(p.told) > 2*time.Second {
		p.told = time.Now()
		fmt.Fprintf(p.log, "mkimage: %3d %% of %s (%.1f MB)\n", p.done*100/p.all, p.name, float64(p.all)/1e6)
	}
	return n, err
}

// aptProxy is the proxy of apt's configuration for a request, else the environment's.
func aptProxy(req *http.Request) (*url.URL, error) {
	switch v := debian.Proxy(req.Context(), req.URL.Scheme); v {
	case "":
	case "DIRECT":
		return nil, nil
	default:
		return url.Parse(v)
	}
	return http.ProxyFromEnvironment(req)
}

func newFetcher(dir string, log io.Writer) *fetcher {
	mirror := func(ctx context.Context) (string, error) { return debian.Mirror(ctx, debian.Update) }
	client := &http.Client{Transport: &http.Transport{Proxy: aptProxy}}
	return &fetcher{dir: filepath.Join(dir, "packages"), mirror: mirror, client: client, log: log}
}
