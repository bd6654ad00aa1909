package smb

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/postern-nas/postern/smb/auth"
	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/rpc"
	"github.com/postern-nas/postern/smb/rpc/lsarpc"
	"github.com/postern-nas/postern/smb/rpc/srvsvc"
	"github.com/postern-nas/postern/smb/vfs"
)

// A Share is a Volume under a name, [MS-SMB2] 3.3.1.6.
type Share struct {
	Name, Comment string
	Volume        vfs.Volume
	// Rights says what a user may do in the share at most; 0 refuses the tree connect.
	Rights func(*auth.Identity) dtyp.Access
	// Encrypt refuses requests that are not sealed, unless the transport is Secure and the client takes it for enough.
	Encrypt bool
	// Hidden keeps the share out of listings.
	Hidden bool
	// NoStreams refuses named streams though the Volume has them.
	NoStreams bool
	// TimeMachine tells Macs that backups may be kept here.
	TimeMachine bool
	// AccessBasedEnumeration keeps what a user may not read out of the user's listings of directories.
	AccessBasedEnumeration bool
}

// maxShareName is what clients can show, in characters.
const maxShareName = 80

type share struct {
	Share
	pipes bool // IPC$
}

// ipcShare is where named pipes live. Every user may open it: what is behind a pipe judges for itself.
var ipcShare = Share{Name: "IPC$", Comment: "Remote procedure calls", Hidden: true, Rights: func(*auth.Identity) dtyp.Access { return dtyp.FileAll }}

func (s *Server) addShare(sh Share, pipes bool) error {
	switch {
	case sh.Name == "" || len([]rune(sh.Name)) > maxShareName || strings.ContainsAny(sh.Name, "\x00\\/:*?\"<>|[]+;,="):
		return fmt.Errorf("share name %q is empty, too long, or has a character that clients cannot send", sh.Name)
	case s.shares[fscc.Fold(sh.Name)] != nil:
		return fmt.Errorf("share name %q is taken", sh.Name)
	case sh.Volume == nil && !pipes:
		return errors.New("share " + sh.Name + " has no volume")
	case sh.Rights == nil:
		return errors.New("share " + sh.Name + " says nothing of rights")
	}
	s.shares[fscc.Fold(sh.Name)] = &share{Share: sh, pipes: pipes}
	return nil
}

// pipe opens a named pipe for a user, by name from a fixed table: a name never becomes a path (SEC-25).
func (s *Server) pipe(name string, id *auth.Identity) *rpc.Pipe {
	switch {
	case strings.EqualFold(name, "srvsvc"):
		return rpc.NewPipe([]rpc.Interface{srvsvc.New(shareSource{s, id})})
	case strings.EqualFold(name, "lsarpc") && s.cfg.Names != nil:
		return rpc.NewPipe([]rpc.Interface{lsarpc.New(s.cfg.Names, id.SID)})
	}
	return nil
}

// A shareSource is what srvsvc shows to one user.
type shareSource struct {
	s  *Server
	id *auth.Identity
}

func (src shareSource) Shares(context.Context) []srvsvc.Share {
	var list []srvsvc.Share
	for _, sh := range src.s.shares {
		if sh.Hidden && !sh.pipes || sh.Rights(src.id) == 0 {
			continue
		}
		e := srvsvc.Share{Name: sh.Name, Comment: sh.Comment, Type: srvsvc.TypeDisk}
		if sh.pipes {
			e.Type = srvsvc.TypeIPC | srvsvc.TypeSpecial
		}
		list = append(list, e)
	}
	slices.SortFunc(list, func(a, b srvsvc.Share) int { return strings.Compare(fscc.Fold(a.Name), fscc.Fold(b.Name)) })
	return list
}

func (src shareSource) Server(context.Context) srvsvc.Server {
	return srvsvc.Server{Name: src.s.cfg.Name, Comment: src.s.cfg.Comment}
}
