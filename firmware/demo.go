package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/postern-nas/postern/firmware/account"
	"github.com/postern-nas/postern/firmware/cert"
	"github.com/postern-nas/postern/firmware/config"
	"github.com/postern-nas/postern/firmware/state"
	"github.com/postern-nas/postern/smb/auth/ntlm"
)

// demoAddress is where a demonstration listens when the configured port is taken or needs more rights.
const demoAddress = ":8443"

const demoUser = "demo"

// demo is what a demonstration shows: a user whose password is written down, which no other user's is.
type demo struct {
	password string // "" if the owner has set another one
	state    string
}

// openDemo makes the user and, in a new share, a few files.
func openDemo(dir string, users *account.Store) (d demo, err error) {
	d.state = dir
	file := filepath.Join(dir, "demo-password")
	written, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return d, err
	}
	d.password = strings.TrimSpace(string(written))
	hash, _, unknown := users.Lookup(context.Background(), demoUser, "")
	switch {
	case errors.Is(unknown, account.ErrNoUser):
		if d.password == "" {
			d.password = account.NewPassword()
		}
		if err := state.Write(file, []byte(d.password+"\n"), 0o600); err != nil {
			return d, err
		}
		if _, err := users.Add(demoUser, d.password); err != nil {
			return d, err
		}
	case unknown != nil || ntlm.NTHash(d.password) != hash:
		d.password = ""
	}
	return d, demoFiles(filepath.Join(dir, "disk"))
}

// demoFiles fills the share if there is nothing in it.
func demoFiles(dir string) error {
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		return err
	}
	for name, text := range map[string]string{
		"Hello from Postern.txt":       "This file came to you as SMB inside QUIC.\r\nChange it, copy things here, delete what you like.\r\n",
		"Shopping/groceries.txt":       "bread\r\nmilk\r\napples\r\n",
		"Grüße aus aller Welt/你好.txt":  "Names may have any letters.\r\n",
		"Grüße aus aller Welt/Olá.txt": "So may folders.\r\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// explain prints how to get in.
func (d demo) explain(out io.Writer, cfg *config.Config, ca *cert.Authority, addr net.Addr) {
	_, port, _ := net.SplitHostPort(addr.String())
	abs := func(path string) string {
		if a, err := filepath.Abs(path); err == nil {
			return a
		}
		return path
	}
	share, folder := "disk", filepath.Join(d.state, "disk")
	if len(cfg.Shares) > 0 { // the owner may have changed it
		share, folder = cfg.Shares[0].Name, cfg.Shares[0].Path
	}
	shown, percent, argument := d.password, "%"+d.password, " -Password "+d.password
	if d.password == "" { // both clients ask for one
		shown, percent, argument = "(the one you set)", "", ""
	}
	quicPort, older := "", ""
	if port != "443" {
		quicPort = " -QuicPort " + port
		older = "Windows before 11 24H2 knows only port 443, which is taken here or needs root.\n"
	}
	fmt.Fprint(out, strings.NewReplacer(
		"NAME", cfg.Name, "SHARE", share, "FOLDER", abs(folder), "ADDRESS", lanAddress(), "PORT", port,
		"USER", demoUser, "PASSWORD", shown, "%PASS", percent, "-PASS", argument,
		"CA.PEM", abs(ca.File()), "CA.CER", abs(ca.WindowsFile()), "SHA256", ca.Fingerprint(),
		"-QUICPORT", quicPort, "OLDER", older,
	).Replace(explanation))
}

// explanation is what explain prints. Words in capitals are filled in.
const explanation = `
Postern serves \\NAME\SHARE as SMB over QUIC.

  address      ADDRESS, UDP port PORT
  share        SHARE, which is FOLDER
  user         USER
  password     PASSWORD
  authority    CA.PEM
               SHA-256 SHA256

On this machine, with smbclient of Samba 4.23 or later:

  smbclient //localhost/SHARE -U 'USER%PASS' -c ls \
    --option='client smb transports=quic:PORT' --option='tls trust system cas=no' \
    --option='tls cafile=CA.PEM' --option='tls verify peer=ca_and_name'

On Windows 11: copy CA.CER to it. In a PowerShell opened as administrator:

  (Get-FileHash ca.cer).Hash     # must be the SHA-256 above
  Import-Certificate -FilePath ca.cer -CertStoreLocation Cert:\LocalMachine\Root
  Add-Content $env:SystemRoot\System32\drivers\etc\hosts "ADDRESS NAME"

and in one opened as usual, because Explorer does not see an administrator's drives:

  New-SmbMapping -LocalPath Z: -RemotePath \\NAME\SHARE -TransportType QUIC-QUICPORT -UserName USER-PASS

OLDERCtrl-C stops.

`

// lanAddress guesses the address by which others reach this machine.
func lanAddress() string {
	best := "127.0.0.1"
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return best
	}
	for _, a := range addrs {
		n, ok := a.(*net.IPNet)
		if !ok || n.IP.IsLoopback() || !n.IP.IsGlobalUnicast() {
			continue
		}
		if n.IP.To4() != nil {
			return n.IP.String()
		}
		best = n.IP.String()
	}
	return best
}
