package page

import (
	"bytes"
	"context"
	"crypto/rand"
	"net"
	"os"
	"testing"

	"github.com/postern-nas/postern/tools/peers/peers"
)

// TestBoxBriefly is what of a box's life does not take long: the first setup formats a disk, Samba's client writes a file to it over
// QUIC, an update that is torn is refused, everything is erased, and the setup that follows offers the disk with the file still on it.
func TestBoxBriefly(t *testing.T) {
	m := newBox(t, 1)
	p := peers.Require(t)
	b := m.open()
	m.setUp(b, "Disk vdb", "It is empty, and becomes a pool.")
	note := make([]byte, 1<<20)
	rand.Read(note)
	folder := p.TempDir(t)
	if err := os.WriteFile(folder.Sub("note").Host, note, 0o644); err != nil {
		t.Fatal(err)
	}
	m.smbclient(p, b, "put "+folder.Sub("note").Inside+" note")

	b.tornUpdate(m.bundle(m.image))
	m.reset(b)
	m.setUp(b, "Pool data", "free of")
	m.smbclient(p, b, "get note "+folder.Sub("back").Inside)
	if back, err := os.ReadFile(folder.Sub("back").Host); err != nil || !bytes.Equal(back, note) {
		t.Errorf("after everything was erased the file has %d bytes that are not the same, or %v", len(back), err)
	}
	b.well()
	m.off()
}

// smbclient runs commands of Samba's client on the share of the first setup, over QUIC, with the authority that the page gives out.
func (m *box) smbclient(p *peers.Peers, b *browser, commands string) {
	t := m.t
	t.Helper()
	ca := p.TempDir(t).Sub("ca.pem")
	if err := os.WriteFile(ca.Host, []byte(b.get(`fetch("/ca.pem").then(r => r.text())`)), 0o644); err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(m.QUIC)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), boot)
	defer cancel()
	if out, err := p.Command(ctx, "smbclient", "//attic.local/files", "-I", "127.0.0.1", "-t", "120", "-U", olga+"%"+olgaPassword, "-c", commands,
		"--option=client smb transports=quic:"+port, "--option=tls trust system cas=no", "--option=tls verify peer=ca_and_name",
		"--option=tls cafile="+ca.Inside).CombinedOutput(); err != nil {
		t.Fatalf("smbclient %q: %v\n%s", commands, err, out)
	}
}

// tornUpdate uploads the first half of an update. The page shows how far it is, and then what is wrong with it.
func (b *browser) tornUpdate(bundle []byte) {
	b.t.Helper()
	b.visit("/system")
	b.heading("System")
	b.upload("#bundle", "torn.bundle", bundle[:len(bundle)/2])
	b.do("watch", evaluate(`window.shown = []; new MutationObserver(all => all.forEach(m => shown.push(m.target.value))).observe(
		document.querySelector("progress.up"), {attributeFilter: ["value"]})`))
	b.touch(`form[action="/system/update"] .main`)
	b.until(`document.querySelector("[role=alert]")`)
	b.picture("torn-update")
	if moved := b.get(`String(new Set(shown).size > 3 && shown.every((v, i) => !i || v >= shown[i-1]) && shown.at(-1) === 100)`); moved != "true" {
		b.t.Errorf("the progress of the upload was shown as %s", b.get(`JSON.stringify(shown)`))
	}
	b.t.Log(b.get(`document.querySelector("[role=alert]").innerText`))
	b.until(`!document.querySelector("#live progress")`) // nothing is on its way any more
}
