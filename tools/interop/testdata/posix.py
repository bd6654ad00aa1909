# Drives a server's POSIX extensions with Samba's client library, which smbclient asks for nothing of.
# Arguments: server, share, user, password, and options of smb.conf as name=value.
import stat
import sys

from samba import NTSTATUSError, credentials, ntstatus
from samba.dcerpc import security, smb3posix
from samba.ndr import ndr_unpack
from samba.samba3 import libsmb_samba_internal as libsmb
from samba.samba3 import param

server, share, user, password = sys.argv[1:5]
lp = param.get_context()
lp.load_default()
for option in sys.argv[5:]:
    lp.set(*option.split("=", 1))
creds = credentials.Credentials()
creds.guess(lp)
creds.set_username(user)
creds.set_password(password)


def connect(**more):
    return libsmb.Conn(server, share, lp, creds, **more)


def posix(mode):
    return [(libsmb.SMB2_CREATE_TAG_POSIX, libsmb.unix_mode_to_wire(mode).to_bytes(4, "little"))]


def make(name, mode, options=0):
    f, _, contexts = c.create_ex("\\" + name, DesiredAccess=security.SEC_FILE_ALL | security.SEC_STD_ALL, CreateOptions=options,
                                 CreateDisposition=libsmb.FILE_CREATE, CreateContexts=posix(mode))
    return f, ndr_unpack(smb3posix.smb3_posix_cc_info, contexts[0][1])


def refused(want, call, *args, **more):
    try:
        call(*args, **more)
    except NTSTATUSError as e:
        assert e.args[0] == want, (hex(want), e)
    else:
        raise AssertionError(f"{args} {more}: not refused")


c = connect(posix=True)
assert c.have_posix()
assert not connect(negotiate_contexts=[(0x100, b"0123456789012345")]).have_posix()
refused(ntstatus.NT_STATUS_INVALID_PARAMETER, connect, negotiate_contexts=[(0x100, b"01234")])
refused(ntstatus.NT_STATUS_INVALID_PARAMETER, c.create_ex, "", CreateContexts=[(libsmb.SMB2_CREATE_TAG_POSIX, b"00000")])

modes = {}
for mode in (0o600, 0o640, 0o644, 0o755, 0o777, 0o1777):
    for name, options in (("file%o" % mode, 0), ("dir%o" % mode, libsmb.FILE_DIRECTORY_FILE)):
        f, about = make(name, mode, options)
        if options == 0:
            c.write(f, buffer=b"data", offset=0)
            info = c.qfileinfo(f, libsmb.FSCC_FILE_POSIX_INFORMATION)
            assert info["size"] == 4 and stat.S_IMODE(info["perms"]) == mode, info
        c.close(f)
        assert about.posix_mode & 0o7777 == mode and about.reparse_tag == 0, (name, oct(about.posix_mode))
        modes[name] = mode
names = ["a ", "a  ", ". ", ".  ", "a.", ".a", " \\ ", ">", "<?", "case", "CASE", "a:b"]
for name in names:
    f, _ = make(name, 0o644)
    c.close(f)
refused(ntstatus.NT_STATUS_OBJECT_NAME_NOT_FOUND, c.create_ex, "\\Case", CreateDisposition=libsmb.FILE_OPEN, CreateContexts=posix(0))

found = {e["name"]: e for e in c.list("", info_level=libsmb.SMB2_FIND_POSIX_INFORMATION)}
assert set(found) == {".", ".."} | set(modes) | set(names), sorted(found)
for name, mode in modes.items():
    e = found[name]
    kind = stat.S_ISREG if name.startswith("file") else stat.S_ISDIR
    assert stat.S_IMODE(e["perms"]) == mode and kind(e["perms"]), (name, oct(e["perms"]))
    assert e["owner_sid"].startswith("S-1-5-21-") and e["ino"] != 0, e
    if name.startswith("file"):
        assert e["size"] == 4 and e["nlink"] == 1, e
above = found[".."]
assert above["owner_sid"] == above["group_sid"] == "S-1-0-0" and above["ino"] == above["dev"] == 0, above
assert c.get_posix_fs_info()["block_size"] > 0
refused(ntstatus.NT_STATUS_INVALID_INFO_CLASS, connect().get_posix_fs_info)
print("all as it should be")
