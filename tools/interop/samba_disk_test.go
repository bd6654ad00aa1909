package interop

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
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
		Share: []string{"vfs objects = acl_xattr streams_xattr", "store dos attributes = yes", "map acl inherit = yes"},
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
					kept.set(from, id, name)
					want := kept.get(from, id, name)
					from.Close(id)
					id = to.Open(name, dtyp.ReadAttributes|dtyp.ReadControl|dtyp.ReadData|dtyp.ReadEA, wire.FileOpen, options)
					if got := kept.get(to, id, name); got != want {
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
	set  func(p *smbtest.Peer, id wire.FileID, name string)
	get  func(p *smbtest.Peer, id wire.FileID, name string) string
}{
	{
		"DOS attributes",
		func(p *smbtest.Peer, id wire.FileID, _ string) {
			peerSet(p, id, fscc.FileBasicInformation, fscc.BasicInfo{Attributes: 0x2 | 0x4 | 0x20}) // hidden, system, archive
		},
		func(p *smbtest.Peer, id wire.FileID, _ string) string {
			return fmt.Sprintf("%#x", peerBasic(p, id).Attributes)
		},
	},
	{
		"read-only",
		func(p *smbtest.Peer, id wire.FileID, _ string) {
			peerSet(p, id, fscc.FileBasicInformation, fscc.BasicInfo{Attributes: 0x1})
		},
		func(p *smbtest.Peer, id wire.FileID, _ string) string {
			return fmt.Sprintf("%#x", peerBasic(p, id).Attributes)
		},
	},
	{
		"times",
		func(p *smbtest.Peer, id wire.FileID, _ string) {
			peerSet(p, id, fscc.FileBasicInformation, fscc.BasicInfo{Creation: 0x01C0000000000001, LastAccess: 0x01D0000000000010, LastWrite: 0x01D1234567890ABC})
		},
		func(p *smbtest.Peer, id wire.FileID, _ string) string {
			b := peerBasic(p, id)
			return fmt.Sprintf("%d %d %d", b.Creation, b.LastAccess, b.LastWrite)
		},
	},
	{
		"DACL",
		func(p *smbtest.Peer, id wire.FileID, _ string) {
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
		func(p *smbtest.Peer, id wire.FileID, _ string) string {
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
	{
		"streams",
		func(p *smbtest.Peer, _ wire.FileID, name string) {
			for stream, n := range keptStreams {
				id := p.Open(name+":"+stream, everything, wire.FileCreate, 0)
				if s := p.Do(wire.CmdWrite, &wire.WriteRequest{FileID: id, Data: pattern(uint64(n), n)}, nil); s != nt.Success {
					p.T.Fatalf("writing %s: %v", stream, s)
				}
				p.Close(id)
			}
		},
		func(p *smbtest.Peer, id wire.FileID, name string) string {
			out := peerStreams(p, id)
			for stream := range keptStreams {
				s := p.Open(name+":"+strings.ToUpper(stream), dtyp.ReadData, wire.FileOpen, 0)
				var resp wire.ReadResponse
				if s := p.Do(wire.CmdRead, &wire.ReadRequest{FileID: s, Length: 64 << 10}, &resp); s != nt.Success && (s != nt.EndOfFile || keptStreams[stream] > 0) {
					p.T.Fatalf("reading %s: %v", stream, s)
				}
				p.Close(s)
				out = append(out, fmt.Sprintf("%s: %x", stream, sha256.Sum256(resp.Data)))
			}
			slices.Sort(out)
			return strings.Join(out, "\n")
		},
	},
	{
		"extended attributes",
		func(p *smbtest.Peer, id wire.FileID, _ string) {
			b, whole := fscc.AppendEAs(nil, 4096, []fscc.EA{{Name: "COLOUR", Value: []byte("blue")}, {Name: "OTHER", Value: pattern(1, 300)}})
			req := &wire.SetInfoRequest{FileID: id, InfoType: wire.InfoFile, InfoClass: uint8(fscc.FileFullEaInformation), Buffer: b}
			if s := p.Do(wire.CmdSetInfo, req, &wire.SetInfoResponse{}); s != nt.Success || !whole {
				p.T.Fatalf("setting attributes: %v", s)
			}
		},
		func(p *smbtest.Peer, id wire.FileID, _ string) string {
			var resp wire.QueryInfoResponse
			req := &wire.QueryInfoRequest{FileID: id, InfoType: wire.InfoFile, InfoClass: uint8(fscc.FileFullEaInformation), OutputBufferLength: 4096}
			if s := p.Do(wire.CmdQueryInfo, req, &resp); s != nt.Success {
				p.T.Fatalf("asking for attributes: %v", s)
			}
			list, err := fscc.DecodeEAs(resp.Buffer)
			if err != nil {
				p.T.Fatal(err)
			}
			var out []string
			for _, e := range list {
				out = append(out, fmt.Sprintf("%s=%x", strings.ToUpper(e.Name), e.Value))
			}
			slices.Sort(out)
			return strings.Join(out, "\n")
		},
	},
}

// keptStreams are the streams of the row "streams" and how long they are.
var keptStreams = map[string]int{"short": 10, "long": 3000, "Zone.Identifier": 26, "empty": 0}

// peerStreams lists an object's streams and their sizes.
func peerStreams(p *smbtest.Peer, id wire.FileID) (out []string) {
	p.T.Helper()
	var resp wire.QueryInfoResponse
	req := &wire.QueryInfoRequest{FileID: id, InfoType: wire.InfoFile, InfoClass: uint8(fscc.FileStreamInformation), OutputBufferLength: 4096}
	if s := p.Do(wire.CmdQueryInfo, req, &resp); s != nt.Success {
		p.T.Fatalf("asking for streams: %v", s)
	}
	list, err := fscc.DecodeStreams(resp.Buffer)
	if err != nil {
		p.T.Fatal(err)
	}
	for _, s := range list {
		out = append(out, fmt.Sprintf("%s %d", s.Name, s.Size))
	}
	return out
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
