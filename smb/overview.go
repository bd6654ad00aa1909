package smb

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/postern-nas/postern/smb/auth"
)

// A SessionInfo is one session, for those who look after the server.
type SessionInfo struct {
	ID        uint64
	User      string
	Client    string // address
	Transport string // "quic" or "tcp"
	Dialect   string
	Shares    []string
	Opens     int
	Since     time.Time
	Idle      time.Duration // since its last request
}

// A FileInfo is one open.
type FileInfo struct {
	ID    uint32
	User  string
	Share string
	Path  string // in the share, separated by \; or the name of a pipe
	Write bool   // it may write
	Locks int    // byte ranges
}

// Sessions returns the sessions, the oldest first.
func (s *Server) Sessions() (list []SessionInfo) {
	for _, ses := range s.valid() {
		d := ses.describe()
		info := SessionInfo{
			ID: ses.id, User: d.User, Client: d.Client, Transport: ses.terms.transport, Opens: int(d.Opens), Since: ses.since, Idle: d.Idle,
			Dialect: fmt.Sprintf("%#04x", ses.terms.dialect),
		}
		for _, t := range ses.treeList() {
			info.Shares = append(info.Shares, t.share.Name)
		}
		list = append(list, info)
	}
	return list
}

// CloseSession ends a session, with all it has open, and reports whether there was one.
func (s *Server) CloseSession(id uint64, by string) bool {
	for _, ses := range s.valid() {
		if ses.id == id {
			s.log.Info("session ended by its administrator", "session", sessionTag(id), "user", ses.user(), "by", by)
			ses.tellClosed()
			ses.end()
			return true
		}
	}
	return false
}

// Files returns what is open, by session.
func (s *Server) Files(ctx context.Context) (list []FileInfo) {
	for _, ses := range s.valid() {
		for _, o := range ses.openList() {
			d := o.describe(ctx)
			info := FileInfo{ID: d.ID, User: d.User, Write: o.access&writeAccess != 0, Locks: int(d.Locks), Share: o.tree.share.Name}
			info.Path = strings.TrimPrefix(strings.TrimPrefix(d.Path, o.tree.share.path()), `\`)
			list = append(list, info)
			o.release()
		}
	}
	return list
}

// CloseFile ends an open as CLOSE does, and reports whether there was one. What its client has not written is lost.
func (s *Server) CloseFile(ctx context.Context, id uint32, by string) bool {
	return administration{s: s, id: &auth.Identity{User: by}}.CloseFile(ctx, id)
}
