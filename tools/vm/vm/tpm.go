package vm

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"time"
)

// Of the TPM 2.0 Library, part 2.
const (
	tagSessions     = 0x8002
	commandAlloc    = 0x0000012b // TPM2_PCR_Allocate
	handlePlatform  = 0x4000000c
	sessionPassword = 0x40000009
	algSHA1         = 0x0004
	algSHA256       = 0x000b
	algSHA384       = 0x000c
	algSHA512       = 0x000d
)

// oneBank leaves a new chip the SHA-256 registers alone. Firmware hashes what it starts once for each bank that a chip has,
// and an emulated processor takes seconds for each.
func (m *Machine) oneBank() error {
	sock := m.path("alloc.sock")
	cmd := exec.Command("swtpm", "socket", "--tpm2", "--tpmstate", "dir="+m.path("tpm"), "--server", "type=unixio,path="+sock,
		"--flags", "not-need-init,startup-clear")
	cmd.SysProcAttr = alone()
	if err := cmd.Start(); err != nil {
		return err
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	conn, err := dialSoon(sock)
	if err != nil {
		return err
	}
	defer conn.Close()
	be := binary.BigEndian
	body := be.AppendUint32(nil, handlePlatform)
	body = be.AppendUint32(body, 9) // the session: an empty password
	body = be.AppendUint32(body, sessionPassword)
	body = append(body, 0, 0, 0, 0, 0)
	body = be.AppendUint32(body, 4)
	for _, bank := range []struct {
		alg  uint16
		pcrs byte
	}{{algSHA1, 0}, {algSHA256, 0xff}, {algSHA384, 0}, {algSHA512, 0}} {
		body = append(be.AppendUint16(body, bank.alg), 3, bank.pcrs, bank.pcrs, bank.pcrs)
	}
	msg := be.AppendUint16(nil, tagSessions)
	msg = be.AppendUint32(msg, uint32(10+len(body)))
	msg = append(be.AppendUint32(msg, commandAlloc), body...)
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return err
	}
	if _, err := conn.Write(msg); err != nil {
		return err
	}
	reply := make([]byte, 10)
	if _, err := io.ReadFull(conn, reply); err != nil {
		return err
	}
	if code := be.Uint32(reply[6:]); code != 0 {
		return fmt.Errorf("swtpm: TPM2_PCR_Allocate: %#x", code)
	}
	return nil
}

func dialSoon(sock string) (net.Conn, error) {
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(sock); err != nil {
			continue
		}
		if conn, err := net.Dial("unix", sock); err == nil {
			return conn, nil
		}
	}
	return nil, fmt.Errorf("nobody listens at %s", sock)
}
