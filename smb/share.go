package smb

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/postern-nas/postern/smb/auth"
	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/rpc"
	"github.com/postern-nas/postern/smb/rpc/lsarpc"
	"github.com/postern-nas/postern/smb/rpc/samr"
	"github.com/postern-nas/postern/smb/rpc/srvsvc"
	"github.com/postern-nas/postern/smb/rpc/wkssvc"
	"github.com/postern-nas/postern/smb/vfs"
)

// A Share is a Volume under a name, [MS-SMB2] 3.3.1.6.
type Share struct {
	Name, Comment string
	Volume        vfs.Volume
	// Close, if not nil, is called once: when the share was removed and nothing uses Volume any more, in whatever goroutine
	// that was. A share that is not removed is never closed.
	Close func() error
	// Links make the share a DFS namespace, which has no Volume of its own: a folder of links to other shares.
	Links []Link
	// Rights says what a user may do in the share at most; 0 refuses the tree connect.
	Rights func(*auth.Identity) dtyp.Access
	// Encrypt refuses requests that are not sealed, unless the transport is Secure and the client takes it for enough.
	Encrypt bool
	// Hidden keeps the share out of listings.
	Hidden bool
	// NoStreams refuses named streams though the Volume has them.
	NoStreams bool
	// Compress has clients compress what they read and write without being asked to, where Config.Compression lets them.
	Compress bool
	// TimeMachine tells Macs that backups may be kept here.
	TimeMachine bool
	// TimeMachineQuota is how large the volume claims to be to Macs, in bytes; 0: as it is.
	TimeMachineQuota int64
	// AccessBasedEnumeration keeps what a user may not read out of the user's listings of directories.
	AccessBasedEnumeration bool
	// ContinuouslyAvailable offers opens that outlive the server's restart, if it has a HandleStore.
	ContinuouslyAvailable bool
	// HideFiles are patterns as in [MS-FSA] 2.1.4.4; what has a name like them is shown with the attribute HIDDEN.
	HideFiles []string
	// ShortNames gives names that are longer than 8.3 a short one besides.
	ShortNames bool
	// WithoutNotify refuses CHANGE_NOTIFY.
	WithoutNotify bool
	// KeepACLFlags keeps DACL_AUTO_INHERITED as a client sets it. [MS-DTYP] 2.5.3.4.1 takes it away from who does not ask
	// with DACL_AUTO_INHERIT_REQ.
	KeepACLFlags bool
	// POSIX lets clients that know the SMB3 POSIX extensions open the POSIX way here.
	POSIX bool
}

// maxShareName is what clients can show, in characters.
const maxShareName = 80

type share struct {
	Share
	pipes     bool // IPC$
	hidden    []fscc.Pattern
	tunnel    tunnel
	namespace *namespace
	comment   atomic.Pointer[string]
	judge     atomic.Pointer[func(*auth.Identity) dtyp.Access] // Rights as they are now
	gone      atomic.Bool                                      // removed: no tree connect is made any more
	uses      atomic.Int64                                     // of the Volume: by the table of shares, by each request in a tree, and by each open
}

// acquire takes a reference unless the share is closed.
func (sh *share) acquire() bool {
	for {
		n := sh.uses.Load()
		if n <= 0 {
			return false
		}
		if sh.uses.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// release gives back one reference. The last one goes after the share was removed.
func (sh *share) release(log *slog.Logger) {
	if sh.uses.Add(-1) > 0 || sh.Close == nil {
		return
	}
	if err := sh.Close(); err != nil {
		log.Warn("closing a removed share failed", "share", sh.Name, "why", err)
	}
}

// A shareTable finds a share by its name, [MS-SMB2] 3.3.1.5 ShareList. Its zero value is ready.
type shareTable struct {
	mu     sync.RWMutex
	shares map[string]*share // by folded name
}

func (t *shareTable) find(name string) *share {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.shares[fscc.Fold(name)]
}

func (t *shareTable) all() []*share {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return slices.Collect(maps.Values(t.shares))
}

// add reports whether the name was free.
func (t *shareTable) add(sh *share) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	name := fscc.Fold(sh.Name)
	if t.shares[name] != nil {
		return false
	}
	if t.shares == nil {
		t.shares = make(map[string]*share)
	}
	t.shares[name] = sh
	return true
}

func (t *shareTable) remove(sh *share) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if name := fscc.Fold(sh.Name); t.shares[name] == sh {
		delete(t.shares, name)
	}
}

// ipcShare is where named pipes live. Every user may open it: what is behind a pipe judges for itself.
var ipcShare = Share{Name: "IPC$", Comment: "Remote procedure calls", Hidden: true, Rights: func(*auth.Identity) dtyp.Access { return dtyp.FileAll }}

func (s *Server) addShare(sh Share, pipes bool) error {
	switch {
	case sh.Name == "" || len([]rune(sh.Name)) > maxShareName || strings.ContainsAny(sh.Name, "\x00\\/:*?\"<>|[]+;,="):
		return fmt.Errorf("share name %q is empty, too long, or has a character that clients cannot send", sh.Name)
	case sh.Volume != nil && sh.Links != nil:
		return errors.New("share " + sh.Name + " has a volume and links")
	case sh.Volume == nil && !pipes && sh.Links == nil:
		return errors.New("share " + sh.Name + " has no volume")
	case sh.Rights == nil:
		return errors.New("share " + sh.Name + " says nothing of rights")
	}
	mine := &share{Share: sh, pipes: pipes}
	mine.uses.Store(1)
	mine.comment.Store(&sh.Comment)
	for _, pattern := range sh.HideFiles {
		mine.hidden = append(mine.hidden, fscc.NewPattern(pattern))
	}
	if sh.Links != nil {
		n, err := newNamespace(sh.Name, sh.Links)
		if err != nil {
			return err
		}
		mine.namespace, mine.Volume = n, n
		mine.Rights = func(id *auth.Identity) dtyp.Access { return sh.Rights(id) & namespaceRights }
		s.namespaces.Store(true)
	}
	mine.judge.Store(&mine.Rights)
	if !s.shares.add(mine) {
		return fmt.Errorf("share name %q is taken", sh.Name)
	}
	if sh.POSIX {
		s.posix.Store(true)
	}
	return nil
}

// pipe opens a named pipe for a user, by name from a fixed table: a name never becomes a path (SEC-25).
func (c *conn) pipe(name string, id *auth.Identity) *rpc.Pipe {
	s := c.srv
	if id.Anonymous() {
		return s.publicPipe(name, id)
	}
	admin := administration{s, id, c}
	var offered rpc.Interface
	switch strings.ToLower(name) {
	case "srvsvc":
		offered = srvsvc.New(admin)
	case "wkssvc":
		offered = wkssvc.New(admin)
	case "lsarpc":
		if s.cfg.Names == nil {
			return nil
		}
		offered = lsarpc.New(s.cfg.Names, id.SID)
	case "samr":
		if s.cfg.Accounts == nil {
			return nil
		}
		offered = samr.New(s.cfg.Accounts)
	default:
		return nil
	}
	return rpc.NewPipe([]rpc.Interface{offered})
}
