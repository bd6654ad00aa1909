package smb

import (
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/postern-nas/postern/smb/auth"
	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/wire"
)

// A tree is a TreeConnect, [MS-SMB2] 3.3.1.9. All of it is constant but stale.
type tree struct {
	id      uint32
	share   *share
	since   time.Time
	rights  dtyp.Access // MaximalAccess
	encrypt bool
	stale   atomic.Bool // the user has other rights by now: nothing more is opened through it
}

// judgeTrees finds the tree connects that were made with other rights than the session's user has now.
func (s *session) judgeTrees(id *auth.Identity) {
	s.mu.Lock()
	trees := slices.Collect(maps.Values(s.trees))
	s.mu.Unlock()
	for _, t := range trees {
		t.stale.Store(t.share.rights(id) != t.rights)
	}
}

func (s *session) tree(id uint32) *tree {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.trees[id]
}

// treeConnect is [MS-SMB2] 3.3.5.7.
func (r *request) treeConnect() (response, error) {
	var req wire.TreeConnectRequest
	if err := req.Decode(r.msg); err != nil {
		return nil, malformed(err)
	}
	c, id := r.conn, r.session.identity.Load()
	refuse := func(err error) (response, error) {
		c.log.Warn("tree connect refused", "session", sessionTag(r.session.id), "user", id.User, "path", req.Path, "why", err)
		c.audit(ShareRefused, id, req.Path, err)
		return nil, err
	}
	name, ok := shareName(req.Path)
	if !ok {
		return refuse(because(nt.BadNetworkName, "path is not \\\\server\\share"))
	}
	sh := c.srv.shares.find(name)
	if sh == nil {
		return refuse(because(nt.BadNetworkName, "no share of that name"))
	}
	rights := sh.rights(id)
	if rights == 0 {
		return refuse(because(nt.AccessDenied, "the user has no rights in the share"))
	}
	t := &tree{share: sh, since: time.Now(), rights: rights, encrypt: sh.Encrypt && !c.sealedEnough()}
	if t.encrypt && c.cipher == 0 {
		return refuse(because(nt.AccessDenied, "the share wants encryption and the client offers none"))
	}
	if err := r.session.addTree(t); err != nil {
		return refuse(err)
	}
	r.hdr.TreeID = t.id
	c.log.Info("tree connect", "session", sessionTag(r.session.id), "user", id.User, "share", sh.Name)
	c.audit(ShareConnected, id, sh.Name, nil)
	resp := &wire.TreeConnectResponse{ShareType: wire.ShareTypeDisk, MaximalAccess: rights}
	if sh.pipes {
		resp.ShareType, resp.ShareFlags = wire.ShareTypePipe, wire.ShareFlagNoCaching
	}
	if sh.AccessBasedEnumeration {
		resp.ShareFlags |= wire.ShareFlagAccessBasedDirectoryEnum
	}
	if sh.lasting(c.srv) && uint16(c.dialect.Load()) >= wire.Dialect300 {
		resp.Capabilities |= wire.ShareCapContinuousAvailability
	}
	if sh.namespace != nil {
		resp.ShareFlags |= wire.ShareFlagDFS | wire.ShareFlagDFSRoot
		resp.Capabilities |= wire.ShareCapDFS
	}
	if sh.Compress && len(c.compression.ids) > 0 {
		resp.ShareFlags |= wire.ShareFlagCompressData
	}
	if t.encrypt {
		resp.ShareFlags |= wire.ShareFlagEncryptData
	}
	return resp, nil
}

// shareName takes the share out of \\server\share. Which server the client calls us does not matter: its certificate
// or signature has proved that we are the one it means.
func shareName(path string) (string, bool) {
	rest, ok := strings.CutPrefix(path, `\\`)
	if !ok {
		return "", false
	}
	server, name, ok := strings.Cut(rest, `\`)
	return name, ok && server != "" && name != "" && !strings.Contains(name, `\`)
}

func (s *session) addTree(t *tree) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return because(nt.UserSessionDeleted, "the session ended meanwhile")
	}
	if t.share.gone.Load() {
		return because(nt.BadNetworkName, "the share was removed meanwhile")
	}
	if len(s.trees) >= maxTrees {
		return because(nt.InsufficientResources, "%d tree connects", len(s.trees))
	}
	for {
		s.nextTree++
		if s.nextTree != 0 && s.nextTree != ^uint32(0) && s.trees[s.nextTree] == nil {
			break
		}
	}
	t.id = s.nextTree
	s.trees[t.id] = t
	return nil
}

// treeDisconnect closes what is open in the tree, [MS-SMB2] 3.3.5.8.
func (r *request) treeDisconnect() (response, error) {
	var req wire.TreeDisconnectRequest
	if err := req.Decode(r.msg); err != nil {
		return nil, malformed(err)
	}
	r.session.disconnect(r.tree)
	return &wire.TreeDisconnectResponse{}, nil
}

// disconnect ends a tree connect and closes what is open in it.
func (s *session) disconnect(t *tree) {
	var opens []*open
	s.mu.Lock()
	delete(s.trees, t.id)
	for id, o := range s.opens {
		if o.at.Load().tree == t {
			opens = append(opens, o)
			delete(s.opens, id)
		}
	}
	s.mu.Unlock()
	for _, o := range opens {
		o.end()
	}
}
