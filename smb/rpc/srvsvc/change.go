package srvsvc

import (
	"context"
	"slices"

	"github.com/postern-nas/postern/smb/cursor"
	"github.com/postern-nas/postern/smb/rpc"
)

// A change is what a client wants of a share: the fields of a SHARE_INFO structure that it sent.
type change struct {
	name, comment, path string
	kind, maxUses       uint32
	flags               uint32
	secured             bool // it came with a security descriptor
}

// layouts say for each level what a SHARE_INFO has, in order: texts n (name), c (comment), p (path), x (password or
// server, not looked at), numbers t (type), m (limit of users), f (flags), 0 (not looked at), and s, a pointer to a
// security descriptor.
var layouts = map[uint32]string{
	0: "n", 1: "ntc", 2: "ntc0m0px", 501: "ntcf", 502: "ntc0m0px0s", 503: "ntc0m0pxx0s", 1004: "c", 1005: "f", 1006: "m", 1501: "0s",
}

// readChange reads a SHARE_INFO union, [MS-SRVS] 2.2.3.6, and the pointer ParmErr behind it, which it reports. A union
// that is null, or that has no arm for its level, is a fault.
func readChange(r *rpc.Reader, level uint32) (c change, parmErr bool, err error) {
	if r.U32() != level {
		r.Fail() // the union is not of the level
	}
	layout, known := layouts[level]
	if r.Err() == nil && !known {
		return c, false, rpc.FaultInvalidTag
	}
	if !r.Pointer() {
		r.Fail()
	}
	texts := map[rune]*string{'n': &c.name, 'c': &c.comment, 'p': &c.path, 'x': new(string)}
	numbers := map[rune]*uint32{'t': &c.kind, 'm': &c.maxUses, 'f': &c.flags, '0': new(uint32)}
	follows := make([]bool, len(layout))
	for i, f := range layout {
		if n := numbers[f]; n != nil {
			*n = r.U32()
		} else {
			follows[i] = r.Pointer()
		}
	}
	for i, f := range layout {
		switch {
		case !follows[i]:
		case f == 's':
			c.secured = len(r.Counted()) > 0
		default:
			*texts[f] = r.String()
		}
	}
	if parmErr = r.Pointer(); parmErr {
		r.U32()
	}
	return c, parmErr, r.Err()
}

// answerChange writes ParmErr, which names no parameter, and passes the result on.
func answerChange(w *rpc.Writer, parmErr bool, result rpc.Win32) (rpc.Win32, error) {
	w.Pointer(parmErr)
	if parmErr {
		w.U32(0)
	}
	return result, nil
}

// maxComment is how long a comment may be, in UTF-16 code units, [MS-SRVS] 3.1.4.7.
const maxComment = 256

// noLimit is how clients say that any number of users may use a share; Samba's net says 0.
const noLimit = 0xFFFFFFFF

// wanted says whether what a change asks for besides names can be had: no limit of users, and no security descriptor,
// for who may use a share the owner's configuration says.
func (c *change) wanted(level uint32) rpc.Win32 {
	limits := slices.Contains([]uint32{2, 502, 503, 1006}, level)
	switch {
	case cursor.UTF16Len(c.comment)/2 > maxComment:
		return rpc.Win32InvalidParameter
	case c.secured, limits && c.maxUses != noLimit && c.maxUses != 0:
		return rpc.Win32NotSupported
	}
	return rpc.Win32Success
}

// shareAdd is NetrShareAdd, [MS-SRVS] 3.1.4.7.
func (s service) shareAdd(ctx context.Context, r *rpc.Reader, w *rpc.Writer) (rpc.Win32, error) {
	level := r.U32()
	c, parmErr, err := readChange(r, level)
	if err != nil {
		return 0, err
	}
	result := s.admin(ctx)
	if result == rpc.Win32Success && !slices.Contains([]uint32{2, 502, 503}, level) {
		result = rpc.Win32InvalidLevel
	}
	if result == rpc.Win32Success {
		result = validName(c.name, nameShare, 0)
	}
	if result == rpc.Win32Success && c.kind != TypeDisk {
		result = rpc.Win32InvalidParameter
	}
	if result == rpc.Win32Success {
		result = c.wanted(level)
	}
	if result == rpc.Win32Success {
		result = s.src.AddShare(ctx, c.name, c.path, c.comment)
	}
	return answerChange(w, parmErr, result)
}

// shareSetInfo is NetrShareSetInfo, [MS-SRVS] 3.1.4.11: the comment is what can be changed.
func (s service) shareSetInfo(ctx context.Context, r *rpc.Reader, w *rpc.Writer) (rpc.Win32, error) {
	name, level := r.String(), r.U32()
	c, parmErr, err := readChange(r, level)
	if err != nil {
		return 0, err
	}
	result := s.admin(ctx)
	if result == rpc.Win32Success {
		result = c.wanted(level)
	}
	if result == rpc.Win32Success {
		switch level {
		case 1, 2, 502, 503, 1004:
			result = s.src.SetShareComment(ctx, name, c.comment)
		case 1005, 1006, 1501:
			result = rpc.Win32NotSupported
		default:
			result = rpc.Win32InvalidLevel
		}
	}
	return answerChange(w, parmErr, result)
}

// shareDel is NetrShareDel, [MS-SRVS] 3.1.4.12, and NetrShareDelSticky, 3.1.4.14: a share that goes is gone after a
// restart, too.
func (s service) shareDel(ctx context.Context, r *rpc.Reader, _ *rpc.Writer) (rpc.Win32, error) {
	name := r.String()
	r.U32() // Reserved
	if r.Err() != nil {
		return 0, r.Err()
	}
	if result := s.admin(ctx); result != rpc.Win32Success {
		return result, nil
	}
	return s.src.RemoveShare(ctx, name), nil
}
