package interop

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A suite is one of smbtorture's, with what Samba's own runs of it (source3/selftest) have beside it.
type suite struct {
	name  string
	args  []string
	share share // what its share is like; each transport has its own
	// only and but choose among its tests.
	only, but *regexp.Regexp
	// admin has an administrator sit the exam.
	admin bool
	// prepare furnishes the share's folder.
	prepare func(t *testing.T, dir string)
	// alone has it take turns with all others: it uses up what they need.
	alone bool
	// whole has the suite run at once: its tests cannot be asked for by name.
	whole bool
	// local gives the tests the share's folder.
	local bool
	// apart gives the tests a server and a network of their own, in which they may cut channels off.
	apart bool
	// file is put into the share first.
	file string
}

var secondUser = []string{"--option=torture:user2name=" + bob, "--option=torture:user2password=" + bobPassword}

// suites are all that smbtorture has for SMB2 and for the pipes on it. Not here are those that are no tests: they hold
// things open for other clients, or measure (hold-oplock, hold-sharemode, check-sharemode, timestamp_resolution).
var suites = []suite{
	{name: "smb2.connect"},
	{name: "smb2.tcon"},
	{name: "smb2.session", args: secondUser},
	{name: "smb2.session-id"},
	{name: "smb2.session-require-signing", args: []string{"--client-protection=sign"}},
	{name: "smb2.credits"},
	{name: "smb2.compound"},
	{name: "smb2.compound_async"},
	{name: "smb2.compound_find"},
	{name: "smb2.create"},
	{name: "smb2.create_no_streams", share: share{extra: "streams = false"}},
	{name: "smb2.mkdir"},
	{name: "smb2.read"},
	{name: "smb2.rw"},
	{name: "smb2.dir", share: share{extra: "short_names = true"}},
	{name: "smb2.getinfo", share: share{extra: "short_names = true"}},
	{name: "smb2.setinfo"},
	{name: "smb2.fileid"},
	{name: "smb2.sharemode"},
	{name: "smb2.deny"},
	{name: "smb2.delete-on-close-perms"},
	{name: "smb2.acls-with-sysacl"},
	{name: "smb2.acls-ignore-sysacl"},
	{name: "smb2.acls_non_canonical", share: share{extra: "keep_acl_flags = true"}},
	{name: "smb2.maximum_allowed"},
	{name: "smb2.sdread"},
	{name: "smb2.secleak"},
	{name: "smb2.openattr"},
	{name: "smb2.winattr"},
	{name: "smb2.winattr2"},
	{name: "smb2.dosmode", share: share{extra: `hide_files = [".*", "hidefile"]`}},
	{name: "smb2.async_dosmode"},
	{name: "smb2.charset"},
	{name: "smb2.name-mangling", share: share{extra: "short_names = true"}},
	{name: "smb2.timestamps"},
	{name: "smb2.lock"},
	{name: "smb2.notify", args: []string{"--client-protection=sign"}},
	{name: "smb2.notify-inotify"},
	{name: "smb2.change_notify_disabled", share: share{extra: "notify = false"}},
	{name: "smb2.oplock", apart: true, args: []string{"--client-protection=sign"}},
	{name: "smb2.kernel-oplocks", local: true},
	{name: "smb2.lease"},
	{name: "smb2.dirlease"},
	{name: "smb2.rename"},
	{name: "smb2.streams"},
	{name: "smb2.stream-inherit-perms"},
	{name: "smb2.ea", args: []string{"--option=torture:acl_xattr_name=postern.ntacl"}},
	{name: "smb2.ioctl", but: sharesBlocks},
	{name: "smb2.ioctl", only: sharesBlocks, share: share{btrfs: true}},
	{name: "smb2.ioctl-on-stream"},
	{name: "smb2.set-sparse-ioctl", args: []string{"--option=torture:filename=torture-ioctl.dat"}, file: "torture-ioctl.dat"},
	{name: "smb2.zero-data-ioctl", args: []string{
		"--option=torture:filename=torture-ioctl.dat", "--option=torture:offset=0", "--option=torture:beyond_final_zero=4096",
	}, file: "torture-ioctl.dat"},
	{name: "smb2.twrp", args: []string{
		"--option=torture:twrp_file=foo", "--option=torture:twrp_stream=bar", "--option=torture:twrp_stream_size=3",
		"--option=torture:twrp_snapshot=" + snapshotToken,
	}, share: share{kept: ".snapshots"}, prepare: snapshot},
	{name: "smb2.durable-open", args: secondUser},
	{name: "smb2.durable-open-disconnect"},
	{name: "smb2.durable-v2-open", args: secondUser},
	{name: "smb2.durable-v2-delay", args: secondUser},
	{name: "smb2.durable-v2-regressions"},
	{name: "smb2.replay", args: secondUser, apart: true, share: share{lasting: true}},
	{name: "smb2.multichannel", apart: true},
	{name: "smb2.samba3misc", local: true},
	{name: "smb2.aio_delay"},
	{name: "smb2.scan"},
	{name: "smb2.bench"},
	{name: "smb2.maxfid", alone: true, args: []string{"--option=torture:maxopenfiles=16000"}},
	{name: "rpc.srvsvc", whole: true, admin: true},
	{name: "rpc.wkssvc", whole: true, admin: true},
	{name: "rpc.lsa-getuser", whole: true},
	{name: "rpc.lsa.lookupsids", whole: true},
	{name: "rpc.lsa.lookupnames", whole: true},
	{name: "rpc.samba3.bind", whole: true},
	{name: "rpc.samba3.srvsvc", whole: true, admin: true},
	{name: "rpc.samba3.wkssvc", whole: true, admin: true},
	{name: "rpc.samba3.lsa", whole: true},
	{name: "rpc.samba3.getusername", whole: true},
	{name: "rpc.samba3.sharesec", whole: true},
	{name: "rpc.samba3.pipes_supported_interfaces", whole: true},
	{name: "rpc.samba3.smb2-reauth1"},
	{name: "rpc.samba3.smb2-reauth2"},
	{name: "rpc.samba3.smb2-pipe-name"},
	{name: "rpc.samba3.smb2-pipe-read-close"},
	{name: "rpc.samba3.smb2-pipe-read-tdis"},
	{name: "rpc.samba3.smb2-pipe-read-logoff"},
}

// sharesBlocks are tests of what few filesystems can do.
var sharesBlocks = regexp.MustCompile(`\.(dup_extents_|compress_[^n]|sparse_compressed)`)

const snapshotToken = "@GMT-2015.10.31-19.40.30"

// snapshot puts into a share how it was once, with what smb2.twrp looks for, and what it is now. A stream is kept as
// Samba keeps it: in an xattr, with a zero byte behind it.
func snapshot(t *testing.T, dir string) {
	for _, at := range []string{dir, filepath.Join(dir, ".snapshots", snapshotToken)} {
		foo, sub := filepath.Join(at, "foo"), filepath.Join(at, "subdir")
		if err := os.MkdirAll(sub, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(foo, []byte("contents"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Link(foo, filepath.Join(sub, "hardlink")); err != nil {
			t.Fatal(err)
		}
		if err := unix.Setxattr(foo, "user.DosStream.bar:$DATA", []byte("abc\x00"), 0); err != nil {
			t.Fatal(err)
		}
	}
}

// longTests take more than a minute when they are well.
var longTests = map[string]time.Duration{
	"smb2.dir.large-files": 5 * time.Minute,
	"smb2.notify.mask":     3 * time.Minute,
	"smb2.maxfid":          7 * time.Minute,
	"smb2.secleak":         4 * time.Minute,
	"smb2.lock.replay_smb3_specification_durable":   4 * time.Minute,
	"smb2.multichannel.oplocks.test3_specification": 3 * time.Minute,
	"smb2.multichannel.leases.test4":                3 * time.Minute,
}

// slowTests are worth a place among the core, but take too long for every run of the tests: they wait for what only
// time brings, such as the end of a client's patience.
var slowTests = map[string]bool{
	"smb2.lease.timeout": true, "smb2.lease.oplock": true, "smb2.lease.break": true, "smb2.oplock.batch22a": true,
	"smb2.notify.mask": true, // 11 kinds of changes, 32 filters, 200 ms each
}
