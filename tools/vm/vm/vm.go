// Package vm boots a disk image in QEMU's arm64 machine "virt", with EDK2 as firmware and swtpm as its TPM 2.0, and lets
// tests look at its console, reach its UDP port 443 and press its power button. It needs no root and no KVM, and
// Debian's qemu-system-arm, qemu-efi-aarch64 and swtpm.
//
//	go test ./tools/vm/vm -vm -v -count=1
package vm

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/postern-nas/postern/board"
	"github.com/postern-nas/postern/board/qemu"
)

// memory is what the smallest board that we mean has, in MiB.
const memory = 512

// firmwares are EDK2 builds of Debian that measure into a TPM, the best first: trixie's "no-secboot" does not measure, and
// its "secboot" with empty keys boots everything.
var firmwares = []string{"/usr/share/AAVMF/AAVMF_CODE.secboot.fd", "/usr/share/AAVMF/AAVMF_CODE.fd"}

const variables = "/usr/share/AAVMF/AAVMF_VARS.fd"

// A Machine is one computer: its disk, its TPM and its firmware's variables stay from one boot to the next.
type Machine struct {
	Disk  string   // raw image; the machine writes to it
	Disks []string // more of them
	QUIC  string   // address on this host that leads to the machine's UDP port 443; "" until Start chooses one
	HTTPS string   // the same for TCP port 443; "": none leads there
	UBoot string   // U-Boot's binary, to start with that instead of EDK2; "": EDK2
	Linux string   // a kernel's image, to start with that and no firmware, with Initramfs; "": the firmware looks for one
	// Initramfs is the root of what Linux starts.
	Initramfs string
	// Plain says that the disk is NVMe and the network card Intel's, as in machines that are not made of virtio.
	Plain bool
	// Stick is a raw image of a USB stick that Plug puts in; "": the machine has no USB.
	Stick string
	// Memory is in MiB; 0: what the smallest board that we mean has.
	Memory int
	// Panel says that the machine has one, to be looked at with ShowPanel.
	Panel bool
	// Counted says that the machine's clock counts instructions, 10^9 to the second, and waits as long as they take: what it
	// shows of a program's work is the same on a slow host and on a busy one.
	Counted bool
	// Resets says that the machine goes on when the guest resets it; otherwise it is off then.
	Resets bool

	dir      string // sockets have short paths, so not in a test's folder
	firmware string
	tpm      *exec.Cmd
	qemu     *exec.Cmd
	keys     io.Writer     // to the console; the end of qemu closes it
	done     chan struct{} // closed when qemu has ended
	console  console
}

// packages of Debian are where the programs are from that are not called as their package is.
var packages = map[string]string{
	"qemu-system-aarch64": "qemu-system-arm",
	"mke2fs":              "e2fsprogs", "mkfs.ext4": "e2fsprogs", "debugfs": "e2fsprogs", "dumpe2fs": "e2fsprogs",
}

// Missing says what is not on this host of what a machine needs, and of the programs that its caller needs besides, and how
// to get it; "" if nothing.
func Missing(more ...string) string {
	var missing, get []string
	need := func(what, pkg string) {
		missing = append(missing, what)
		if !slices.Contains(get, pkg) {
			get = append(get, pkg)
		}
	}
	for _, program := range append([]string{"qemu-system-aarch64", "swtpm"}, more...) {
		if _, err := exec.LookPath(sbin(program)); err != nil {
			need(program, cmp.Or(packages[program], program))
		}
	}
	if findFirmware() == "" {
		need("EDK2's "+firmwares[0], "qemu-efi-aarch64")
	}
	if len(missing) == 0 {
		return ""
	}
	return fmt.Sprintf("this host has no %s: apt-get install --no-install-recommends %s", strings.Join(missing, ", "), strings.Join(get, " "))
}

// sbin is where a program for administrators is, who have it in their path.
func sbin(name string) string {
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	return "/sbin/" + name
}

func findFirmware() string {
	for _, f := range firmwares {
		if _, err := os.Stat(f); err == nil {
			return f
		}
	}
	return ""
}

// New makes a machine around a disk image. Nothing runs yet.
func New(disk string) (*Machine, error) {
	if m := Missing(); m != "" {
		return nil, errors.New(m)
	}
	dir, err := os.MkdirTemp("", "vm")
	if err != nil {
		return nil, err
	}
	m := &Machine{Disk: disk, dir: dir, firmware: findFirmware()}
	vars, err := os.ReadFile(variables)
	if err == nil {
		err = errors.Join(os.WriteFile(m.path("variables"), vars, 0o600), os.Mkdir(m.path("tpm"), 0o700))
	}
	if err == nil {
		err = m.oneBank()
	}
	if err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

func (m *Machine) path(name string) string { return filepath.Join(m.dir, name) }

// Close ends what runs and forgets everything but the disk.
func (m *Machine) Close() error {
	if m.qemu != nil {
		m.Cut()
	}
	if m.tpm != nil {
		_ = m.tpm.Process.Kill()
		_ = m.tpm.Wait()
	}
	return os.RemoveAll(m.dir)
}

// NewTPM puts another chip in. What the one before holds is gone.
func (m *Machine) NewTPM() error {
	if err := errors.Join(os.RemoveAll(m.path("tpm")), os.Mkdir(m.path("tpm"), 0o700)); err != nil {
		return err
	}
	return m.oneBank()
}

// Start turns the machine on. Each line of its console also goes to log.
func (m *Machine) Start(log io.Writer) error {
	if m.qemu != nil {
		return errors.New("the machine is on")
	}
	if err := m.startTPM(); err != nil {
		return err
	}
	if m.QUIC == "" { // a port that nobody has now: QEMU takes no zero
		u, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		m.QUIC = u.LocalAddr().String()
		if err := u.Close(); err != nil {
			return err
		}
	}
	cmd := exec.Command("qemu-system-aarch64", m.arguments()...)
	cmd.SysProcAttr = alone()
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	keys, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		return err
	}
	m.qemu, m.keys, m.done = cmd, keys, make(chan struct{})
	m.console.begin()
	go func() {
		m.console.read(out, log)
		_ = cmd.Wait() // how it ended is in cmd.ProcessState
		m.console.end()
		close(m.done)
	}()
	return nil
}

// arguments are QEMU's.
func (m *Machine) arguments() []string {
	mib := m.Memory
	if mib == 0 {
		mib = memory
	}
	forward := ",hostfwd=udp:" + m.QUIC + "-:443"
	if m.HTTPS != "" {
		forward += ",hostfwd=tcp:" + m.HTTPS + "-:443"
	}
	disk, card := "virtio-blk-pci,drive=d0,romfile=,bootindex=1", "virtio-net-pci,netdev=n0,romfile="
	if m.Plain {
		disk, card = "nvme,serial=1,drive=d0,bootindex=1", "e1000e,netdev=n0,romfile="
	}
	args := []string{
		"-M", "virt", "-cpu", "cortex-a72", "-smp", "1", "-m", fmt.Sprint(mib), "-nodefaults", "-display", "none", "-serial", "stdio",
		"-drive", "if=none,id=d0,format=raw,cache=unsafe,file=" + m.Disk,
		"-device", disk, "-device", "virtio-rng-pci,romfile=",
		"-netdev", "user,id=n0" + forward, "-device", card,
		"-chardev", "socket,id=c0,path=" + m.path("tpm.sock"), "-tpmdev", "emulator,id=t0,chardev=c0", "-device", "tpm-tis-device,tpmdev=t0",
		"-qmp", "unix:" + m.path("qmp.sock") + ",server=on,wait=off",
	}
	switch {
	case m.Linux != "":
		args = append(args, "-kernel", m.Linux, "-initrd", m.Initramfs, "-append", "console=ttyAMA0 loglevel=4 panic=1")
	case m.UBoot != "":
		args = append(args, "-bios", m.UBoot)
	default:
		args = append(args, "-drive", "if=pflash,format=raw,unit=0,readonly=on,file="+m.firmware,
			"-drive", "if=pflash,format=raw,unit=1,file="+m.path("variables"))
	}
	for i, d := range m.Disks {
		id := fmt.Sprint("e", i)
		args = append(args, "-drive", "if=none,format=raw,cache=unsafe,id="+id+",file="+d, "-device", "virtio-blk-pci,romfile=,drive="+id+",serial="+id) // a disk without a number is never formatted
	}
	if m.Stick != "" {
		args = append(args, "-device", "qemu-xhci", "-blockdev", "driver=raw,node-name=stick,read-only=on,file.driver=file,file.filename="+m.Stick)
	}
	if m.Panel {
		args = append(args, "-chardev", "socket,id=p0,server=on,wait=off,path="+m.path("panel.sock"), "-device", "virtio-serial-pci,romfile=",
			"-device", "virtserialport,chardev=p0,name="+qemu.PortName)
	}
	if m.Counted {
		args = append(args, "-icount", "shift=0")
	}
	if !m.Resets {
		args = append(args, "-no-reboot")
	}
	return args
}

// alone is for a process that ends with us, but not at the terminal's Ctrl-C: that is for the power button.
func alone() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}

// startTPM starts the chip for one boot; swtpm ends when QEMU hangs up. Its state stays.
func (m *Machine) startTPM() error {
	if m.tpm != nil {
		_ = m.tpm.Wait()
	}
	sock := m.path("tpm.sock")
	if err := os.Remove(sock); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	m.tpm = exec.Command("swtpm", "socket", "--tpm2", "--tpmstate", "dir="+m.path("tpm"), "--ctrl", "type=unixio,path="+sock,
		"--terminate", "--flags", "startup-clear")
	m.tpm.SysProcAttr = alone()
	if err := m.tpm.Start(); err != nil {
		m.tpm = nil
		return err
	}
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if listens(sock) { // to connect would be the one connection that it serves
			return nil
		}
	}
	return errors.New("swtpm does not listen")
}

// listens says whether somebody listens at a Unix socket. Its file is there a moment before that.
func listens(sock string) bool {
	table, err := os.ReadFile("/proc/net/unix")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(table)) {
		// Num RefCount Protocol Flags Type St Inode Path; of the flags one is __SO_ACCEPTCON (Linux, net/unix/af_unix.c).
		if f := strings.Fields(line); len(f) == 8 && f[7] == sock && f[3] == "00010000" {
			return true
		}
	}
	return false
}

// Off is closed when the machine that Start turned on is off.
func (m *Machine) Off() <-chan struct{} { return m.done }

// Cut takes the power away.
func (m *Machine) Cut() {
	_ = m.qemu.Process.Kill()
	<-m.done
	m.qemu = nil
}

// ShowPanel draws the machine's panel, from now until ctx is done or the machine is off, and tells it of buttons, which may
// be nil.
func (m *Machine) ShowPanel(ctx context.Context, display board.Pixels, buttons board.Buttons) error {
	conn, err := dialSoon(m.path("panel.sock"))
	if err != nil {
		return err
	}
	return qemu.Show(ctx, conn, display, buttons)
}

// Forget has Wait look only at what comes from now on.
func (m *Machine) Forget() { m.console.forget() }

// Wait waits for a line of the console that matches, since Start or Forget, and returns the match and its groups.
func (m *Machine) Wait(ctx context.Context, pattern string) ([]string, error) {
	re, err := regexp.Compile(pattern)
	if err != nil {
		return nil, err
	}
	return m.console.wait(ctx, re)
}

// Type types on the machine's console.
func (m *Machine) Type(text string) error {
	_, err := io.WriteString(m.keys, text)
	return err
}

// Break sends a break to the console: what is typed next is for the kernel (Linux, Documentation/admin-guide/sysrq.rst).
func (m *Machine) Break() error {
	return m.tell(map[string]any{"execute": "chardev-send-break", "arguments": map[string]any{"id": "serial0"}})
}

// Plug puts the USB stick in that Stick is, and Unplug takes it out, without a word to the guest.
func (m *Machine) Plug() error {
	return m.tell(map[string]any{"execute": "device_add", "arguments": map[string]any{"driver": "usb-storage", "drive": "stick", "id": "plugged", "removable": true}})
}

func (m *Machine) Unplug() error {
	return m.tell(map[string]any{"execute": "device_del", "arguments": map[string]any{"id": "plugged"}})
}

// tell has QEMU do something, and returns when it has answered.
func (m *Machine) tell(command map[string]any) error {
	conn, err := m.monitor(command)
	if err != nil {
		return err
	}
	defer conn.Close()
	in := json.NewDecoder(conn)
	for answers := 0; answers < 2; { // to the capabilities and to the command; a greeting and events are neither
		var a struct {
			Return *struct{}
			Error  *struct{ Desc string }
		}
		if err := in.Decode(&a); err != nil {
			return fmt.Errorf("QMP: %w", err)
		}
		if a.Error != nil {
			return fmt.Errorf("QMP: %s", a.Error.Desc)
		}
		if a.Return != nil {
			answers++
		}
	}
	return nil
}

// monitor connects to QEMU's, and sends a command. What it answers comes on the connection.
func (m *Machine) monitor(command map[string]any) (net.Conn, error) {
	conn, err := net.Dial("unix", m.path("qmp.sock"))
	if err != nil {
		return nil, err
	}
	out := json.NewEncoder(conn)
	for _, c := range []map[string]any{{"execute": "qmp_capabilities"}, command} {
		if err := out.Encode(c); err != nil {
			return nil, errors.Join(fmt.Errorf("QMP %v: %w", c["execute"], err), conn.Close())
		}
	}
	return conn, nil
}

// PowerButton presses it, and waits until the machine is off.
func (m *Machine) PowerButton(ctx context.Context) error {
	conn, err := m.monitor(map[string]any{"execute": "system_powerdown"})
	if err != nil {
		return err
	}
	defer conn.Close()
	go func() { _, _ = io.Copy(io.Discard, conn) }() // answers and events
	select {
	case <-m.done:
	case <-ctx.Done():
		return fmt.Errorf("the machine is still on: %w", ctx.Err())
	}
	state := m.qemu.ProcessState
	m.qemu = nil
	if !state.Success() {
		return fmt.Errorf("QEMU ended with %v", state)
	}
	return nil
}

// A console keeps the lines of one boot.
type console struct {
	mu    sync.Mutex
	lines []string
	from  int           // Wait begins here
	more  chan struct{} // closed and made anew with each line
	off   bool
}

// maxLines bounds what one boot may say. A usual one says a hundred.
const maxLines = 100_000

func (c *console) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lines, c.from, c.more, c.off = nil, 0, make(chan struct{}), false
}

func (c *console) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.from = len(c.lines)
}

func (c *console) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.off = true
	close(c.more)
}

func (c *console) read(r io.Reader, log io.Writer) {
	for lines := bufio.NewReader(r); ; {
		line, err := lines.ReadString('\n')
		if line = strings.Trim(line, "\r\n"); line != "" {
			fmt.Fprintln(log, line)
			c.mu.Lock()
			if len(c.lines) < maxLines {
				c.lines = append(c.lines, line)
			}
			close(c.more)
			c.more = make(chan struct{})
			c.mu.Unlock()
		}
		if err != nil {
			return
		}
	}
}

// said returns the lines so far that begin with prefix.
func (c *console) said(prefix string) (lines []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, l := range c.lines {
		if strings.HasPrefix(l, prefix) {
			lines = append(lines, l)
		}
	}
	return lines
}

func (c *console) wait(ctx context.Context, re *regexp.Regexp) ([]string, error) {
	for seen := -1; ; {
		c.mu.Lock()
		if seen < 0 {
			seen = c.from
		}
		lines, more, off := c.lines[seen:], c.more, c.off
		c.mu.Unlock()
		for _, l := range lines {
			if found := re.FindStringSubmatch(l); found != nil {
				return found, nil
			}
		}
		seen += len(lines)
		if off {
			return nil, fmt.Errorf("the machine is off and never said %q", re)
		}
		select {
		case <-more:
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for %q: %w", re, ctx.Err())
		}
	}
}
