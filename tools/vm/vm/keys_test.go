package vm

import (
	"bytes"
	"context"
	"crypto/tls"
	"os"
	"testing"
	"time"

	smb2 "github.com/cloudsoda/go-smb2"
	"github.com/quic-go/quic-go"
)

// TestSEC54Keys: the disk with another TPM, and with its own but another system on it, does not get the keys: the box says
// so, serves nobody, and still turns off. With its TPM and its system it is the same server as before.
func TestSEC54Keys(t *testing.T) {
	needsVM(t)
	t.Parallel()
	built := image(t)
	m := machine(t, built, "")
	before := start(t, m, built)
	off(t, m)

	refused := func(trouble string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), boot)
		defer cancel()
		if err := m.Start(t.Output()); err != nil {
			t.Fatal(err)
		}
		if _, err := m.Wait(ctx, "keys are shut, and nothing is served.*trouble="+trouble); err != nil {
			t.Fatal(err)
		}
		short, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		c, err := quic.DialAddr(short, m.QUIC, &tls.Config{InsecureSkipVerify: true, ServerName: "postern.local", NextProtos: []string{"smb"}}, nil)
		if err == nil {
			_ = c.CloseWithError(0, "")
			t.Errorf("%s: it serves somebody else's certificate", trouble)
		}
		if err := m.PowerButton(ctx); err != nil {
			t.Fatal(err)
		}
	}
	swap := func(from, to string) {
		t.Helper()
		if err := os.Rename(m.path(from), m.path(to)); err != nil {
			t.Fatal(err)
		}
	}
	swap("tpm", "tpm.kept")
	if err := os.Mkdir(m.path("tpm"), 0o700); err != nil {
		t.Fatal(err)
	}
	refused("other-tpm")
	swap("tpm", "tpm.other")
	swap("tpm.kept", "tpm")

	// The os-release text is measured; nothing else looks at it.
	const ours, theirs = `NAME=Postern`, `NAME=Pastern`
	rename := func(from, to string) {
		t.Helper()
		disk, err := os.ReadFile(m.Disk)
		if err != nil {
			t.Fatal(err)
		}
		at := bytes.Index(disk, []byte(from+"\nID=postern"))
		if at < 0 {
			t.Fatalf("%q is not on the disk", from)
		}
		f, err := os.OpenFile(m.Disk, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteAt([]byte(to), int64(at)); err != nil {
			t.Fatal(err)
		}
	}
	rename(ours, theirs)
	refused("measured")
	rename(theirs, ours)

	if after := start(t, m, built); after != before {
		t.Errorf("another server: %+v, before %+v", after, before)
	} else {
		after.share(t, m, func(share *smb2.Share) { list(t, share) })
	}
	off(t, m)
}
