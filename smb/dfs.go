package smb

import (
	"strings"

	"github.com/postern-nas/postern/smb/cursor"
	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/wire"
)

// A standalone DFS namespace, [MS-DFSC] 3.3 and [MS-SMB2] 3.3.5.15.2: shares that consist of links, and the referrals that
// say where these lead.

const (
	// referralTTL is how long clients keep a referral, in seconds, as Windows has it for roots: a change in the
	// configuration arrives soon.
	referralTTL = 300
	// maxReferralPath bounds the path that is asked for, in bytes of UTF-16: what comes back repeats the beginning of it.
	maxReferralPath = 8 << 10
)

// namespaceRights are what a namespace grants at most.
const namespaceRights = dtyp.FileRead | dtyp.FileExecute

// referral answers FSCTL_DFS_GET_REFERRALS.
func (c *control) referral() ([]byte, error) {
	return c.refer(func(r *wire.ReferralRequest) error { return r.Decode(c.req.Input) })
}

// referralEx answers FSCTL_DFS_GET_REFERRALS_EX. All targets are as near as each other: the client's site makes no
// difference.
func (c *control) referralEx() ([]byte, error) {
	return c.refer(func(r *wire.ReferralRequest) error { return r.DecodeEx(c.req.Input) })
}

func (c *control) refer(decode func(*wire.ReferralRequest) error) ([]byte, error) {
	srv := c.conn.srv
	if !srv.namespaces.Load() {
		return nil, because(nt.FSDriverRequired, "no DFS") // clients ask at every UNC path
	}
	var req wire.ReferralRequest
	if err := decode(&req); err != nil {
		return nil, malformed(err)
	}
	if req.MaxLevel == 0 || cursor.UTF16Len(req.Path) > maxReferralPath {
		return nil, because(nt.InvalidParameter, "referral of level %d for %d bytes", req.MaxLevel, cursor.UTF16Len(req.Path))
	}
	resp, err := srv.resolve(req.Path, func(sh *share) bool { return c.session != nil && sh.rights(c.session.identity.Load()) != 0 })
	if err != nil {
		return nil, err
	}
	resp.Version, resp.TTL = min(req.MaxLevel, wire.MaxReferralLevel), referralTTL
	out := resp.Append(nil)
	if len(out) > int(c.req.MaxOutputResponse) {
		return nil, because(nt.BufferOverflow, "referral of %d bytes into %d", len(out), c.req.MaxOutputResponse)
	}
	return out, nil
}

// resolve finds the root or the link that path, \server\share\rest, begins with. Which server the client calls us does
// not matter, as with tree connects. What a user may not see is not there.
func (s *Server) resolve(path string, visible func(*share) bool) (*wire.ReferralResponse, error) {
	parts := strings.Split(strings.TrimPrefix(path, `\`), `\`)
	for len(parts) > 2 && parts[len(parts)-1] == "" {
		parts = parts[:len(parts)-1]
	}
	if !strings.HasPrefix(path, `\`) || len(parts) < 2 {
		return nil, because(nt.NotFound, "referral for %q: no domain here", path) // [MS-DFSC] 3.2.5.2, 3.2.5.3
	}
	sh := s.shares.find(parts[1])
	if sh == nil || sh.namespace == nil || !visible(sh) {
		return nil, because(nt.NotFound, "referral for %q: not in a namespace", path)
	}
	root := `\` + parts[0] + `\` + parts[1]
	resp := &wire.ReferralResponse{Root: true, Flags: wire.ReferralServers | wire.StorageServers, Path: root, Targets: []string{root}}
	if len(parts) > 2 {
		i := sh.namespace.link(parts[2])
		if i < 0 {
			return nil, because(nt.NotFound, "referral for %q: no such link", path)
		}
		resp = &wire.ReferralResponse{Flags: wire.StorageServers, Path: root + `\` + parts[2], Targets: sh.namespace.links[i].Targets}
	}
	resp.PathConsumed = uint16(cursor.UTF16Len(resp.Path))
	return resp, nil
}

// dfsName returns the path within the share of a CREATE whose name is server\share\path, [MS-SMB2] 3.3.5.9.
func (c *creation) dfsName() (string, error) {
	name := c.req.Name
	if c.hdr.Flags&wire.FlagDFS == 0 || c.tree.share.namespace == nil || name == "" {
		return name, nil
	}
	_, rest, _ := strings.Cut(name, `\`)
	share, path, _ := strings.Cut(rest, `\`)
	if fscc.Fold(share) != fscc.Fold(c.tree.share.Name) {
		return "", because(nt.ObjectPathNotFound, "name %q is not of this namespace", name)
	}
	return path, nil
}
