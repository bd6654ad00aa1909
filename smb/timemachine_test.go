package smb_test

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"github.com/postern-nas/postern/smb"
	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/smbtest"
	"github.com/postern-nas/postern/smb/wire"
)

const bundlePlist = `<?xml version="1.0" encoding="UTF-8"?><plist version="1.0"><dict><key>CFBundleInfoDictionaryVersion</key>
<string>6.0</string><key>band-size</key>
	<integer>%d</integer><key>size</key><integer>999</integer></dict></plist>`

// A Mac is told of a volume as large as its quota, with what the backups take gone from it; others of the volume as it is.
func TestTimeMachineQuota(t *testing.T) {
	const band, quota = 8 << 20, 1 << 30
	h := newHouse(t, func(c *smb.Config) {
		c.Shares[0].TimeMachine, c.Shares[0].TimeMachineQuota = true, quota
	})
	mac, pc := h.logon("alice", "disk"), h.logon("alice", "disk")
	askMac(t, mac, &wire.AAPLRequest{Command: wire.AAPLServerQuery, Want: 7})
	sizes := func(p *smbtest.Peer) (total, free int64) {
		root := p.Open("", all, wire.FileOpen, 0)
		defer p.Close(root)
		s, b := query(t, p, root, wire.InfoFileSystem, uint8(fscc.FileFsFullSizeInformation), 100)
		if s != nt.Success {
			t.Fatal(s)
		}
		unit := int64(binary.LittleEndian.Uint32(b[24:])) * int64(binary.LittleEndian.Uint32(b[28:]))
		return int64(binary.LittleEndian.Uint64(b[0:])) * unit, int64(binary.LittleEndian.Uint64(b[8:])) * unit
	}
	file := func(name, contents string) {
		f := mac.Open(name, all, wire.FileCreate, 0)
		write(t, mac, f, 0, []byte(contents))
		mac.Close(f)
	}
	dir := func(name string) { mac.Close(mac.Open(name, all, wire.FileCreate, wire.FileDirectoryFile)) }
	is := func(what string, free int64) {
		t.Helper()
		if total, left := sizes(mac); total != quota || left != free {
			t.Errorf("%s: %d of %d are free; want %d of %d", what, left, total, free, quota)
		}
	}
	is("empty", quota)
	if total, _ := sizes(pc); total <= quota {
		t.Fatalf("the volume has %d bytes, so the test shows nothing", total)
	}
	dir("One.sparsebundle")
	is("a bundle without anything", quota)
	file(`One.sparsebundle\Info.plist`, fmt.Sprintf(bundlePlist, band))
	is("without bands", quota)
	dir(`One.sparsebundle\bands`)
	for n := range 5 {
		file(fmt.Sprintf(`One.sparsebundle\bands\%x`, n), "x")
	}
	is("five bands", quota-5*band)
	dir("Two.BackupBundle")
	file(`Two.BackupBundle\Info.plist`, fmt.Sprintf(bundlePlist, 2*band))
	dir(`Two.BackupBundle\bands`)
	file(`Two.BackupBundle\bands\0`, "x")
	is("two Macs", quota-7*band)
	if _, free := sizes(pc); free <= quota {
		t.Errorf("another client sees %d free", free)
	}
	dir("Three.sparsebundle")
	dir(`Three.sparsebundle\bands`)
	file(`Three.sparsebundle\bands\0`, "x")
	for _, plist := range []string{"", strings.Repeat("x", 100_000), fmt.Sprintf(bundlePlist, -5), "<key>band-size</key><integer>1x</integer>", "<key>band-size</key><integer>7"} {
		f := mac.Open(`Three.sparsebundle\Info.plist`, all, wire.FileOverwriteIf, 0)
		if plist != "" {
			write(t, mac, f, 0, []byte(plist))
		}
		mac.Close(f)
		is(fmt.Sprintf("a plist %.60q", plist), quota-7*band)
	}
	f := mac.Open(`Three.sparsebundle\Info.plist`, all, wire.FileOverwriteIf, 0)
	write(t, mac, f, 0, fmt.Appendf(nil, bundlePlist, int64(1)<<62))
	mac.Close(f)
	is("larger than all", 0)
}
