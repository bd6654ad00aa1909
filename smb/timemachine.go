package smb

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/vfs"
)

// Time Machine fills whatever volume it is given. It keeps to a share's quota if the volume claims to be no larger, as
// with Samba's vfs_fruit. Writes beyond are not refused: that would leave a disk image torn, and the Mac would start its
// backups anew; while a full volume it knows, and deletes its oldest.

// A backup is a disk image: a folder at the top of the share that holds Info.plist, which says how large a band is, and
// the bands as files in a folder.
var bundleSuffixes = []string{".sparsebundle", ".backupbundle"}

const (
	bundleInfo  = "Info.plist"
	bundleBands = "bands"
	// maxBundleInfo is how much of an Info.plist is looked at: they are of some 500 bytes.
	maxBundleInfo = 64 << 10
	// maxBundles bounds the backups that are counted, of one Mac each.
	maxBundles = 256
)

// usage is what the volume is said to have: total and free, in bytes.
func (q *query) usage(v vfs.Volume) (total, free int64, err error) {
	total, free, err = v.Usage(q.ctx)
	quota := q.o.tree.share.TimeMachineQuota
	if err != nil || quota == 0 || !q.conn.mac.Load() {
		return total, free, err
	}
	used, err := backups(q.ctx, v)
	if err != nil {
		return 0, 0, err
	}
	return min(total, quota), min(free, max(quota-used, 0)), nil
}

// backups is what the backups on a volume take, in bytes: every band as if it were full.
func backups(ctx context.Context, v vfs.Volume) (used int64, err error) {
	var bundles []string
	err = eachName(ctx, v, nil, func(name string) bool {
		for _, suffix := range bundleSuffixes {
			if len(name) > len(suffix) && strings.EqualFold(name[len(name)-len(suffix):], suffix) {
				bundles = append(bundles, name)
			}
		}
		return len(bundles) < maxBundles
	})
	for _, b := range bundles {
		size, bands := bandSize(ctx, v, b), int64(0)
		if size == 0 {
			continue // none yet, or none any more
		}
		countErr := eachName(ctx, v, []string{b, bundleBands}, func(string) bool {
			bands++
			return ctx.Err() == nil
		})
		if countErr != nil && !errors.Is(countErr, nt.ObjectNameNotFound) && !errors.Is(countErr, nt.ObjectPathNotFound) {
			return 0, countErr
		}
		if bands > (math.MaxInt64-used)/size {
			return math.MaxInt64, err
		}
		used += bands * size
	}
	return used, err
}

// eachName calls do for what is in a directory, until it returns false.
func eachName(ctx context.Context, v vfs.Volume, names []string, do func(string) bool) error {
	dir, _, err := v.Open(ctx, vfs.Path{Names: names}, vfs.How{Access: dtyp.ReadData, Directory: true})
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.ReadDir(ctx, 0, nil, 0, func(_ uint64, e vfs.Entry) bool { return e.Name == "." || e.Name == ".." || do(e.Name) })
}

// bandSize reads how large the bands of a backup are, 0 if that cannot be told.
func bandSize(ctx context.Context, v vfs.Volume, bundle string) int64 {
	f, _, err := v.Open(ctx, vfs.Path{Names: []string{bundle, bundleInfo}}, vfs.How{Access: dtyp.ReadData, NonDirectory: true})
	if err != nil {
		return 0
	}
	defer f.Close()
	b, err := io.ReadAll(io.NewSectionReader(f, 0, maxBundleInfo))
	if err != nil {
		return 0
	}
	return bandSizeIn(b)
}

// bandSizeIn finds it in a property list in XML: the integer that follows the key.
func bandSizeIn(plist []byte) int64 {
	_, after, _ := bytes.Cut(plist, []byte("<key>band-size</key>"))
	text, ok := bytes.CutPrefix(bytes.TrimSpace(after), []byte("<integer>"))
	digits, _, closed := bytes.Cut(text, []byte("</integer>"))
	n, err := strconv.ParseInt(string(digits), 10, 64)
	if !ok || !closed || err != nil || n < 0 {
		return 0
	}
	return n
}
