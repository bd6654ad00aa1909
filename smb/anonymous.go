package smb

import (
	"strings"

	"github.com/postern-nas/postern/smb/auth"
	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/rpc"
	"github.com/postern-nas/postern/smb/rpc/lsarpc"
	"github.com/postern-nas/postern/smb/rpc/srvsvc"
)

// What an anonymous session may have, where ConnInfo lets one in at all (SEC-25). Anybody can make one, and anybody who
// watches it knows its keys.

// rights are a user's in the share. Nobody has any where there are files, whatever the share itself says.
func (sh *share) rights(id *auth.Identity) dtyp.Access {
	if id.Anonymous() && !sh.pipes {
		return 0
	}
	return (*sh.judge.Load())(id)
}

// publicPipe opens a named pipe for nobody: srvsvc, which lists the shares that its user may use, and lsarpc without
// anyone's name but the world's well-known ones.
func (s *Server) publicPipe(name string, id *auth.Identity) *rpc.Pipe {
	switch {
	case strings.EqualFold(name, "srvsvc"):
		return rpc.NewPipe([]rpc.Interface{srvsvc.New(administration{s: s, id: id})})
	case strings.EqualFold(name, "lsarpc") && s.cfg.Names != nil:
		return rpc.NewPipe([]rpc.Interface{lsarpc.New(publicNames{s.cfg.Name}, id.SID)})
	}
	return nil
}

// publicNames has no accounts. The machine's name is told to whoever begins a logon; its SID, which all accounts' begin
// with, is not.
type publicNames struct{ machine string }

func (n publicNames) Machine() (string, dtyp.SID) { return n.machine, dtyp.NewSID(5, 21, 0, 0, 0) }

func (publicNames) Accounts() []lsarpc.Account { return nil }
