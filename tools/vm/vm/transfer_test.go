package vm

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"testing"
	"time"

	"github.com/postern-nas/postern/tools/peers/peers"
)

// How much goes through. smbclient keeps all that it has sent on a QUIC connection in a list that it walks for each packet,
// so it goes in pieces, each on a connection of its own.
const (
	pieces = 4
	piece  = 25 << 20
)

// transfer has Samba's client write 100 MiB to the machine over QUIC and read them back.
func (s served) transfer(t *testing.T, m *Machine) {
	t.Helper()
	p := peers.Require(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*boot)
	defer cancel()
	folder, err := p.NewFolder()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := folder.Remove(); err != nil {
			t.Error(err)
		}
	}()
	ca, err := os.ReadFile(s.ca(t, ctx, m.QUIC))
	if err != nil {
		t.Fatal(err)
	}
	write := func(name string, data []byte) string {
		t.Helper()
		if err := os.WriteFile(folder.Sub(name).Host, data, 0o644); err != nil {
			t.Fatal(err)
		}
		return folder.Sub(name).Inside
	}
	_, port, err := net.SplitHostPort(m.QUIC)
	if err != nil {
		t.Fatal(err)
	}
	trust := []string{
		"--option=client smb transports=quic:" + port, "--option=tls trust system cas=no", "--option=tls verify peer=ca_and_name",
		"--option=tls cafile=" + write("ca.pem", ca),
	}
	smbclient := func(command string) {
		t.Helper()
		// An emulated processor takes its time, and all of a put is under way at once.
		args := append([]string{"//localhost/disk", "-t", "600", "-Udemo%" + s.password, "-c", command}, trust...)
		if out, err := p.Command(ctx, "smbclient", args...).CombinedOutput(); err != nil {
			t.Fatalf("smbclient %q: %v\n%s", command, err, out)
		}
	}
	data := make([]byte, pieces*piece)
	rand.Read(data)
	begin := time.Now()
	for i := range pieces {
		smbclient(fmt.Sprintf("put %s large%d", write("in", data[i*piece:][:piece]), i))
	}
	written := time.Now()
	var back []byte
	for i := range pieces {
		smbclient(fmt.Sprintf("get large%d %s; del large%d", i, folder.Sub("out").Inside, i))
		got, err := os.ReadFile(folder.Sub("out").Host)
		if err != nil {
			t.Fatal(err)
		}
		back = append(back, got...)
	}
	if !bytes.Equal(back, data) {
		t.Errorf("%d bytes came back, and not the same", len(back))
	}
	t.Logf("%d MiB written in %.0f s and read in %.0f s", len(data)>>20, written.Sub(begin).Seconds(), time.Since(written).Seconds())
}
