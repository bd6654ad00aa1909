package smb

import (
	"fmt"
	"testing"

	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/vfs"
)

// However many files go within a moment, a share remembers few of them: the last.
func TestTunnelBound(t *testing.T) {
	s := &share{Share: Share{ShortNames: true}}
	name := func(i int) string { return fmt.Sprintf("a long name %d.text", i) }
	for i := range maxTunnel + 10 {
		s.keep(vfs.Path{Names: []string{"dir", name(i)}})
		s.keep(vfs.Path{Names: []string{"dir", name(i)}})
		s.keep(vfs.Path{Names: []string{"dir", "short.txt"}})
	}
	s.keep(vfs.Path{})
	if len(s.tunnel.gone) != maxTunnel || len(s.tunnel.order) != maxTunnel {
		t.Errorf("%d names remembered, %d in order", len(s.tunnel.gone), len(s.tunnel.order))
	}
	for i, want := range map[int]string{9: "", 10: name(10), maxTunnel + 9: name(maxTunnel + 9)} {
		if got := s.tunnel.recall([]string{"DIR", fscc.ShortName(name(i))}); got != want {
			t.Errorf("name %d: %q", i, got)
		}
	}
}
