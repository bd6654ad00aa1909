package page

import (
	"bytes"
	"crypto/tls"
	"image"
	"image/color"
	"image/png"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/makiuchi-d/gozxing"
	"github.com/makiuchi-d/gozxing/qrcode"
	"golang.org/x/sys/unix"

	"github.com/postern-nas/postern/board/boardtest"
	"github.com/postern-nas/postern/tools/postern"
)

// terminal opens a pseudoterminal of this size: the end of who looks and types, and the program's.
func terminal(t *testing.T, columns, rows uint16) (ours, its *os.File) {
	t.Helper()
	ours, path := boardtest.Terminal(t)
	if err := unix.IoctlSetWinsize(int(ours.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: columns, Row: rows}); err != nil {
		t.Fatal(err)
	}
	its, err := os.OpenFile(path, os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { its.Close() })
	return ours, its
}

// A screen is all that a program has written to its terminal.
type screen struct {
	mu  sync.Mutex
	all []byte
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, p...)
	return len(p), nil
}

func (s *screen) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(s.all)
}

// pictures are what was drawn of the panel: from where the cursor is kept to where it goes back.
func (s *screen) pictures() (all []string) {
	parts := strings.Split(s.text(), "\x1b7\x1b[H")
	for _, p := range parts[1:] {
		if drawn, _, whole := strings.Cut(p, "\x1b8"); whole {
			all = append(all, drawn)
		}
	}
	return all
}

// until waits until the newest picture of the panel, as an image, is what f wants.
func (s *screen) until(t *testing.T, what string, f func(image.Image) bool) image.Image {
	t.Helper()
	for end := time.Now().Add(step); time.Now().Before(end); time.Sleep(30 * time.Millisecond) {
		if all := s.pictures(); len(all) > 0 {
			if m := dots(all[len(all)-1]); m != nil && f(m) {
				return m
			}
		}
	}
	t.Fatalf("the panel does not show %s; the terminal has\n%s", what, s.text())
	return nil
}

// dots makes an image of the half blocks between the panel's frame.
func dots(picture string) image.Image {
	const scale = 4
	m := image.NewGray(image.Rect(0, 0, 128*scale, 64*scale))
	y := 0
	for line := range strings.Lines(picture) {
		row, ok := strings.CutPrefix(strings.TrimRight(line, "\r\n"), "│")
		if !ok {
			continue
		}
		row = strings.TrimSuffix(strings.NewReplacer("\x1b[2m", "", "\x1b[0m", "").Replace(row), "│")
		x := 0
		for _, r := range row {
			for half := range 2 {
				if r == '█' || r == '▀' && half == 0 || r == '▄' && half == 1 {
					for i := range scale * scale {
						m.SetGray(x*scale+i%scale, (y+half)*scale+i/scale, color.Gray{255})
					}
				}
			}
			x++
		}
		if x != 128 {
			return nil
		}
		y += 2
	}
	if y != 64 {
		return nil
	}
	return m
}

func qrOf(m image.Image) string {
	b, err := gozxing.NewBinaryBitmapFromImage(m)
	if err != nil {
		return ""
	}
	r, err := qrcode.NewQRCodeReader().Decode(b, nil)
	if err != nil {
		return ""
	}
	return r.GetText()
}

// TestPanel is `make run` in a terminal: the panel shows a QR code that a phone reads, its address answers, the log runs below the
// panel and never through it, keys turn the pages, and the terminal is as before when Postern has ended.
func TestPanel(t *testing.T) {
	binary, err := postern.Build()
	if err != nil {
		t.Fatal(err)
	}
	ours, its := terminal(t, 140, 60)
	before, err := unix.IoctlGetTermios(int(its.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	state := filepath.Join(t.TempDir(), "state")
	cmd := exec.Command(binary, "-state", state, "-demo", "-quic", "127.0.0.1:0", "-tcp", "127.0.0.1:0", "-page", "127.0.0.1:0")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = its, its, its
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	s := new(screen)
	go func() { _, _ = io.Copy(s, ours) }()

	url := ""
	m := s.until(t, "a QR code", func(m image.Image) bool { url = qrOf(m); return url != "" })
	keep(t, "panel-setup", m)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} //nolint:gosec // as a phone that goes on
	resp, err := client.Get(url)
	if err != nil {
		t.Fatalf("%s, as read from the panel: %v", url, err)
	}
	page, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK || !bytes.Contains(page, []byte("You have scanned the code")) {
		t.Errorf("%s: %d", url, resp.StatusCode)
	}

	// Much is logged while the panel draws.
	for range 30 {
		c, err := net.Dial("tcp", tcpOf(t, s.text()))
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
	if _, err := ours.WriteString("n"); err != nil {
		t.Fatal(err)
	}
	status := s.until(t, "the next page", func(m image.Image) bool { return qrOf(m) == "" })
	keep(t, "panel-status", status)
	if _, err := ours.WriteString("p"); err != nil {
		t.Fatal(err)
	}
	s.until(t, "the first page again", func(m image.Image) bool { return qrOf(m) == url })
	all := s.pictures()
	for i, p := range all {
		if strings.Contains(p, "level=") || dots(p) == nil {
			t.Errorf("picture %d of %d is torn:\n%s", i+1, len(all), p)
		}
	}
	if !strings.Contains(s.text(), "connection opened") {
		t.Error("the log is not in the terminal")
	}

	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("postern ended: %v", err)
		}
	case <-time.After(step):
		t.Fatal("postern does not end")
	}
	after, err := unix.IoctlGetTermios(int(its.Fd()), unix.TCGETS)
	if err != nil || *after != *before {
		t.Errorf("the terminal is not as before: %v", err)
	}
}

// A terminalRun is a program in a pseudoterminal.
type terminalRun struct {
	*screen
	keys *os.File
}

// inTerminal runs a command in a terminal, as whoever starts it sees it, until the test ends.
func inTerminal(t *testing.T, cmd *exec.Cmd) *terminalRun {
	t.Helper()
	ours, its := terminal(t, 140, 60)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = its, its, its
	cmd.SysProcAttr.Pdeathsig, cmd.SysProcAttr.Setsid, cmd.SysProcAttr.Setctty = syscall.SIGKILL, true, true
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // make, and what it runs
		_ = cmd.Wait()
	})
	s := new(screen)
	go func() { _, _ = io.Copy(s, ours) }()
	return &terminalRun{s, ours}
}

// shows says whether the panel shows a QR code of an address with this part now.
func (s *screen) shows(part string) bool {
	all := s.pictures()
	if len(all) == 0 {
		return false
	}
	m := dots(all[len(all)-1])
	return m != nil && strings.Contains(qrOf(m), part)
}

// strike presses keys.
func (r *terminalRun) strike(t *testing.T, keys string) {
	t.Helper()
	if _, err := r.keys.WriteString(keys); err != nil {
		t.Fatal(err)
	}
}

// tcpOf is where the log says that SMB over TCP is served.
func tcpOf(t *testing.T, text string) string {
	t.Helper()
	_, rest, ok := strings.Cut(text, "transport=tcp address=")
	if !ok {
		t.Fatalf("no address in\n%s", text)
	}
	return strings.Fields(rest)[0]
}

func keep(t *testing.T, name string, m image.Image) {
	t.Helper()
	f, err := os.Create(filepath.Join(t.ArtifactDir(), name+".png"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := png.Encode(f, m); err != nil {
		t.Fatal(err)
	}
}
