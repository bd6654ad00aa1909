package interop

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"testing"

	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/smbtest"
	"github.com/postern-nas/postern/smb/wire"
	"github.com/postern-nas/postern/tools/peers/peers"
	"github.com/postern-nas/postern/tools/postern"
)

// TestSambaSameDisk has smbd and Postern serve one folder: what a client sets through one, a client reads through the
// other. A disk can go from one to the other and keeps what its owner has set.
func TestSambaSameDisk(t *testing.T) {
	if *againstSMBD {
		t.Skip("needs both")
	}
	smbd := peers.Require(t).RunSMBD(t, peers.SMBDOptions{
		Users: map[string]string{alice: alicePassword}, Shares: []string{"disk"},
		Share: []string{"vfs objects = acl_xattr", "store dos attributes = yes", "map acl inherit = yes"},
	})
	srv := postern.Run(t, postern.Config{
		Shares: []postern.Share{{Name: "disk", Path: smbd.Shares["disk"].Host}},
		Users:  []postern.User{{Name: alice, Password: alicePassword}},
	})
	tgt := goTarget{share: "disk", user: alice, password: alicePassword}
	sides := map[string]*smbtest.Peer{
		"smbd": tgt.peer(t, link{"tcp", func(ctx context.Context) (net.Conn, error) {
			return postern.DialTCP(ctx, netip.Addr{}, smbd.Addr)
		}}),
		"Postern": tgt.peer(t, link{"tcp", srv.DialTCP}),
	}
	for _, kept := range keptOnDisk {
		for _, way := range [][2]string{{"smbd", "Postern"}, {"Postern", "smbd"}} {
			for _, dir := range []bool{false, true} {
				options := wire.FileNonDirectoryFile
				if dir {
					options = wire.FileDirectoryFile
				}
				t.Run(fmt.Sprintf("%s/%s to %s/directory=%v", kept.name, way[0], way[1], dir), func(t *testing.T) {
					from, to := sides[way[0]], sides[way[1]]
					from.T, to.T = t, t
					name := fmt.Sprintf("%s from %s %v", kept.name, way[0], dir)
					id := from.Open(name, everything, wire.FileCreate, options)
					kept.set(from, id)
					want := kept.get(from, id)
					from.Close(id)
					id = to.Open(name, dtyp.ReadAttributes|dtyp.ReadControl|dtyp.ReadData|dtyp.ReadEA, wire.FileOpen, options)
					if got := kept.get(to, id); got != want {
						t.Errorf("%s reads\n%s\n%s has\n%s", way[1], got, way[0], want)
					}
					to.Close(id)
				})
			}
		}
	}
}

// keptOnDisk is what both keep with a file, in one form: how a client sets it, and how it looks to one.
var keptOnDisk = []struct {
	name string
	set  func(*smbtest.Peer, wire.FileID)
	get  func(*smbtest.Peer, wire.FileID) string
}{
	{
		"DOS attributes",
		func(p *smbtest.Peer, id wire.FileID) {
			peerSet(p, id, fscc.FileBasicInformation, fscc.BasicInfo{Attributes: 0x2 | 0x4 | 0x20}) // hidden, system, archive
		},
		func(p *smbtest.Peer, id wire.FileID) string { return fmt.Sprintf("%#x", peerBasic(p, id).Attributes) },
	},
	{
		"read-only",
		func(p *smbtest.Peer, id wire.FileID) {
			peerSet(p, id, fscc.FileBasicInformation, fscc.BasicInfo{Attributes: 0x1})
		},
		func(p *smbtest.Peer, id wire.FileID) string { return fmt.Sprintf("%#x", peerBasic(p, id).Attributes) },
	},
	{
		"times",
		func(p *smbtest.Peer, id wire.FileID) {
			peerSet(p, id, fscc.FileBasicInformation, fscc.BasicInfo{Creation: 0x01C0000000000001, LastAccess: 0x01D0000000000010, LastWrite: 0x01D1234567890ABC})
		},
		func(p *smbtest.Peer, id wire.FileID) string {
			b := peerBasic(p, id)
			return fmt.Sprintf("%d %d %d", b.Creation, b.LastAccess, b.LastWrite)
		},
	},
	{
		"DACL",
		func(p *smbtest.Peer, id wire.FileID) {
			sd := &dtyp.SecurityDescriptor{Control: dtyp.DACLPresent | dtyp.DACLProtected, DACL: &dtyp.ACL{Revision: 2, ACEs: []dtyp.ACE{
				{Type: dtyp.AccessDenied, Mask: dtyp.WriteOwner, SID: dtyp.NewSID(5, 21, 7, 8, 9, 1234)},
				{Type: dtyp.AccessAllowed, Flags: dtyp.ObjectInherit | dtyp.ContainerInherit, Mask: dtyp.FileAll, SID: dtyp.Everyone},
				{Type: dtyp.AccessAllowed, Mask: dtyp.FileRead, SID: dtyp.BuiltinUsers},
			}}}
			b, err := sd.Append(nil)
			if err != nil {
				p.T.Fatal(err)
			}
			req := &wire.SetInfoRequest{FileID: id, InfoType: wire.InfoSecurity, AdditionalInfo: dtyp.DACLPart, Buffer: b}
			if s := p.Do(wire.CmdSetInfo, req, &wire.SetInfoResponse{}); s != nt.Success {
				p.T.Fatalf("setting the DACL: %v", s)
			}
		},
		func(p *smbtest.Peer, id wire.FileID) string {
			var resp wire.QueryInfoResponse
			req := &wire.QueryInfoRequest{
				FileID: id, InfoType: wire.InfoSecurity, AdditionalInfo: dtyp.DACLPart | dtyp.OwnerPart, OutputBufferLength: 4096,
			}
			if s := p.Do(wire.CmdQueryInfo, req, &resp); s != nt.Success {
				p.T.Fatalf("asking for the DACL: %v", s)
			}
			sd, err := dtyp.DecodeSecurityDescriptor(resp.Buffer)
			if err != nil || sd.DACL == nil {
				p.T.Fatalf("%v, % x", err, resp.Buffer)
			}
			return fmt.Sprintf("%v %#x %v", sd.Owner, sd.Control&(dtyp.DACLProtected|dtyp.DACLAutoInher), sd.DACL.ACEs)
		},
	},
}

func peerBasic(p *smbtest.Peer, id wire.FileID) (info fscc.BasicInfo) {
	p.T.Helper()
	var resp wire.QueryInfoResponse
	req := &wire.QueryInfoRequest{FileID: id, InfoType: wire.InfoFile, InfoClass: uint8(fscc.FileBasicInformation), OutputBufferLength: 40}
	if s := p.Do(wire.CmdQueryInfo, req, &resp); s != nt.Success || info.Decode(resp.Buffer) != nil {
		p.T.Fatalf("query: %v", s)
	}
	return info
}
