package config

// DefaultFile is the configuration a new box starts with, written out for its owner. It says what the built-in
// values say, plus one share.
const DefaultFile = `# Postern's configuration. Text after a # explains; every value here is the built-in one.
# Restart Postern after a change; what [access] says is also read on SIGHUP. A mistake is reported with its line and key, and
# nothing is served until it is right; what runs goes on as it was. Paths without a leading / begin at the folder this file is in.

# The form of this file. Leave it as it is: newer versions of Postern read older forms.
version = 1

# The DNS name that clients connect to. It goes into the server's certificate. Its first part, in capitals and cut
# to 15 characters, is the name in the old style (NetBIOS): POSTERN.
name = "postern.local"

# Further DNS names for the certificate. The first of all names that the Internet may know is the one that paired devices
# are told to use, at home as elsewhere: names = ["nas.example.org"]
names = []

# Let clients agree on compressed messages. A client compresses when it is told to, for example by
# "robocopy /compress", or in shares that say compress = true. False: none is compressed.
compression = true

[quic]
# Address and UDP port for SMB over QUIC. ":443" is port 443 on all addresses of this machine.
# Windows 11 before 24H2 knows no other port than 443.
listen = ":443"
# Let a client use several connections at once for one session (SMB Multichannel). Clients open them to the addresses
# that this machine has in its own network, which is of no use to those who come from elsewhere.
multichannel = false
# Let in clients that give no name, as old scanners do and some tests. They see no folder and no list of any; they can
# connect to IPC$ and ask for the server's name there.
anonymous = false

[tcp]
# Address and TCP port for SMB over TCP, for the local network only: ":445" is where clients look.
# Empty: off.
listen = ""
# Refuse clients on TCP that do not encrypt. Inside QUIC everything is encrypted.
require_encryption = false
# Refuse clients on TCP that neither sign nor encrypt. Leave it so where you do not trust everybody on the network:
# whoever can reach into a connection without signatures can take it over.
require_signing = true
# Let in clients whose logon lacks an integrity code, as that of Linux's own client does ("mount -t cifs").
linux_clients = false
# As under [quic].
multichannel = true
anonymous = false

[page]
# Address and TCP port of the page in the browser (HTTPS), by which the box is set up and looked after. "auto": ":443" on a
# box; on a computer that does other things as well "127.0.0.1:8443", which only this computer reaches. Empty: off.
listen = "auto"
# Answer the page to those from outside the local network, too. Leave it so: whoever reaches the page can try passwords.
outside = false

[limits]
# Memory for requests and replies under way, in MiB (16 to 65536). When it is spent, clients wait.
memory_mib = 128
# Connections at one time, from all clients together and from one client (one IPv4 address or IPv6 /64 network).
connections = 1024
connections_per_client = 128

[log]
# debug, info, warn or error
level = "info"
# text or json
format = "text"

[certificate]
# A certificate of your own and its private key, both as PEM files; the certificate file holds the whole chain,
# the server's own first. Empty: Postern makes its own authority and certificate, and renews the certificate.
# The key stays in your file then. "postern cert import" takes both in without leaving the key in a file, and "postern cert
# csr" makes a request for an authority of your choice, with a key that never leaves this machine.
file = ""
key = ""
# Where private keys live, with the key that users' passwords are kept under.
# "sealed": in one encrypted file that only this machine's TPM opens, when it has booted what it should have. Who takes the
# disk has nothing. It is opened once, at the start; from then on Postern has the keys in its memory, and a connection costs
# a fraction of a millisecond.
# "resident": the same, and certificates' keys are made in the TPM and never leave it: not even who breaks into Postern can
# take one along. The TPM signs at each connection, which takes it 50 to 150 ms, one after the other. The authority's key is
# sealed all the same: it has to outlive the TPM.
# "file": in files that only Postern's user may read. Who has the disk has them.
# "auto": sealed if there is a TPM, else in files until there is one.
# When a TPM is lost, cleared or finds another system, Postern serves nothing until the owner's recovery code opens the keys;
# the code is shown once, at the first start with a TPM.
key_store = "auto"

[tpm]
# The TPM's device, as "/dev/tpmrm0", or the Unix socket of one in software. Empty: none. "auto" is /dev/tpmrm0 on a box that
# runs nothing but Postern, and none elsewhere: there the TPM has other users. On a box keys are bound to what was measured
# at boot (PCR 4, 11 and 12): to systems that the image's release key has approved of, or without one, as in images that you
# build, to exactly the system that sealed them. Where the board's firmware measures nothing, that protects the disk, but not
# the box as a whole. Elsewhere keys are bound to the TPM alone.
device = "auto"

[access]
# What is changed here counts from the next SIGHUP or start on, also for connections that stand; "postern access set" and the
# page change it at once. The authorities' files are read again then, too.
# Who may begin a connection over QUIC. "paired": everybody, until the first device is paired; from then on, and for good,
# only who shows the certificate of a paired device or one that was granted access. "always": from the beginning.
# "never": everybody with a password; clients may show a certificate, and revoked ones are refused.
client_certificate = "paired"
# Let in every certificate of a trusted authority, not only paired and granted ones.
any_trusted = false
# What clients may ask the server over QUIC beside files (named pipes, in Windows' words). "paired": who shows a
# certificate may list the shares, and nothing more. "all": everything, as over TCP. "none": nothing.
named_pipes = "paired"
# Files (PEM) with authorities whose client certificates are trusted beside Postern's own.
authorities = []

# The same for one name of the server, as in the certificate. What is left out is as above.
# [[access.server]]
# name = "nas.example.org"
# client_certificate = "always"

[logon]
# How long a wrong password is left without an answer, in milliseconds (0 to 10000).
failed_delay_ms = 2000
# Who may log on with a password: "everybody", "paired" (who has shown a certificate), or "nobody".
ntlm = "everybody"

[audit]
# The log of logons, connections and changes: how large a file becomes, in MiB, and how many are kept.
file_mib = 1
files = 8
# A syslog server that gets it, too, over TLS (RFC 5425), as in "logs.example.org:6514", and the authority (a PEM file)
# that signs its certificate. Empty: none, and the authorities that this machine trusts.
syslog = ""
syslog_ca = ""

` + boxKeys + `
` + updateKeys + `# A folder that is served. Repeat the whole block for more.
[[share]]
# What clients see, up to 80 characters.
name = "disk"
# Which folder; it has to exist.
path = "disk"
# A folder in it, if only that is served: no link is followed on the way, and while it is not there the others are served
# all the same. Shares that an administrator adds over the network have it.
folder = ""
comment = ""
# Nobody may change anything.
read_only = false
# Refuse clients that do not encrypt, on TCP.
encrypt = false
# Not shown when clients list the shares. It can still be connected to by name.
hidden = false
# Leave what a user may not read out of the user's listings of folders.
hide_unreadable = false
# Files that clients have open stay theirs over a restart of Postern, however it ended: a copy goes on. Each open costs
# a write to the disk that Postern keeps its state on.
continuous = false
# Named streams, in which Windows notes for example that a file came from the Internet, and macOS its own data.
streams = true
# Previous versions, for Windows' tab of that name: a folder of folders, each the share as it was at the time in its name
# (UTC), as in 2026-01-31_12-00-00 or @GMT-2026.01.31-12.00.00; a read-only btrfs snapshot may have any name. If the
# share's folder lies deeper in each, a * stands for the name: snapshots = "/data/.snapshots/*/photos". Empty: none.
snapshots = ""
# Show files and folders of these names as hidden: [".*"] for those that begin with a dot, as on a Mac or on Linux.
hide_files = []
# Give each name that is longer than 8.3 a second, short one, for very old programs. It is made from the name and always
# the same; both open the file.
short_names = false
# Tell clients what changes in a folder that they look at. Without it they look again by themselves, now and then.
notify = true
# Let clients say whether a list of permissions is an inherited one, for programs that copy or restore permissions bit by
# bit. Windows does not.
keep_acl_flags = false
# For Linux clients that mount with the option posix: names with regard to case and with every character, modes and
# owners, by the SMB3 POSIX extensions. Other clients notice nothing.
posix = false
# Ask clients to compress what they read and write. It helps where the network is slow and the files are such as
# text, disk images or databases; pictures, films and archives are compressed already and are sent as they are.
compress = false
# Macs may keep their Time Machine backups here.
time_machine = false
# How large the share claims to be to Macs, in GiB, so that their backups leave room for other things; 0: as large as it
# is. Time Machine keeps to it by deleting its oldest backups.
time_machine_quota = 0
# Who may read, and who may read and write. With neither line every user may read and write; with either line
# those who are on no list may do nothing.
# read = ["alice"]
# write = ["bob"]

# A share can also be a folder of links to other shares, here or on other servers (DFS), so that they show as one tree.
# It has links instead of a path. A link may have several targets that hold the same; clients try them in order.
# [[share]]
# name = "all"
# [[share.link]]
# name = "photos"
# targets = ['\\nas2.example.org\photos']
`
