package smb_test

import (
	"fmt"
	"testing"

	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/wire"
)

// A list of streams that does not fit is BUFFER_OVERFLOW with as many whole entries as do, of files and directories; and
// there is no going on from there, as with Windows: who wants all asks with more room.
func TestManyStreams(t *testing.T) {
	const streams = 100
	h := newHouse(t, nil)
	p := h.logon("alice", "disk")
	for name, options := range map[string]uint32{"file": wire.FileNonDirectoryFile, "dir": wire.FileDirectoryFile} {
		id, own := p.Open(name, all, wire.FileCreate, options), 0
		if name == "file" {
			own = 1 // the one without a name
		}
		for n := range streams {
			p.Close(p.Open(fmt.Sprintf("%s:stream %03d", name, n), all, wire.FileCreate, 0))
		}
		last := 0
		for size := 32; ; size += 97 {
			s, b := query(t, p, id, wire.InfoFile, uint8(fscc.FileStreamInformation), size)
			list, err := fscc.DecodeStreams(b)
			if err != nil || len(b) > size || len(list) < last {
				t.Fatalf("%s, %d bytes: %d streams in %d bytes after %d in less, %v", name, size, len(list), len(b), last, err)
			}
			last = len(list)
			if s == nt.Success {
				break
			}
			if s != nt.BufferOverflow || last >= streams+own {
				t.Fatalf("%s, %d bytes: %v with %d streams", name, size, s, last)
			}
		}
		if last != streams+own {
			t.Errorf("%s: %d streams", name, last)
		}
		p.Close(id)
	}
}
