// Package debian finds the Debian archive that this machine uses: its address and its proxy, as apt is configured. What
// is built here comes from there, and no address is written in the source.
package debian

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
)

// ErrNoArchive says that apt knows no Debian archive, also after its lists were fetched.
var ErrNoArchive = errors.New("no Debian archive in apt's configuration (apt-get indextargets)")

// ErrNoApt says that this is no Debian, and what helps.
var ErrNoApt = errors.New("packages come from the Debian archive that apt uses, and there is no apt-get here; use Debian or a" +
	" container of it (docker run debian:trixie), or install the package apt and give it an archive in /etc/apt/sources.list.d")

// Mirror asks apt which archive this machine uses, and returns its root. A fresh container has the archive configured
// but no lists, and then apt cannot tell Debian from its neighbours: update is called to fetch them, and apt asked again.
func Mirror(ctx context.Context, update func(context.Context) error) (string, error) {
	for try := 0; ; try++ {
		out, err := exec.CommandContext(ctx, "apt-get", "indextargets", "--format", "$(SITE)|$(ORIGIN)|$(LABEL)",
			"Created-By: Packages").Output()
		if errors.Is(err, exec.ErrNotFound) {
			return "", fmt.Errorf("%w: %w", ErrNoApt, err)
		}
		if err != nil {
			return "", fmt.Errorf("packages come from the Debian archive that apt uses, and apt-get indextargets fails: %w", err)
		}
		if site := choose(string(out)); site != "" {
			return site, nil
		}
		if try > 0 {
			return "", ErrNoArchive
		}
		if err := update(ctx); err != nil {
			return "", err
		}
	}
}

// Update fetches apt's lists of packages, as apt-get update.
func Update(ctx context.Context) error {
	if out, err := exec.CommandContext(ctx, "apt-get", "-q", "update").CombinedOutput(); err != nil {
		return fmt.Errorf("apt-get update (as root it may help): %w\n%s", err, out)
	}
	return nil
}

// choose picks the main Debian archive from lines "site|origin|label"; "" if there is none. The security archive and
// backports have the same origin but labels of their own.
func choose(targets string) string {
	for line := range strings.Lines(targets) {
		f := strings.Split(strings.TrimSpace(line), "|")
		if len(f) == 3 && f[0] != "" && f[1] == "Debian" && f[2] == "Debian" {
			return f[0]
		}
	}
	return ""
}

// Proxy is what apt's configuration says of requests by that scheme: an address, "DIRECT", or "" if nothing.
func Proxy(ctx context.Context, scheme string) string {
	out, err := exec.CommandContext(ctx, "apt-config", "dump", "--format", "%v%n", "Acquire::"+scheme+"::Proxy").Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}
