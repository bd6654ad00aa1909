# What is done inside the fresh Debian to make it a peer. Runs there as root under `sh -eu`, with MIRROR set;
# must be safe to run again after an interruption. Its text is part of the stamp: an edit makes a new cache.

export DEBIAN_FRONTEND=noninteractive LC_ALL=C

# No service starts because its package is installed: this is a folder of programs, not a machine.
printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
chmod 755 /usr/sbin/policy-rc.d
printf 'path-exclude=/usr/share/doc/*\npath-exclude=/usr/share/man/*\npath-exclude=/usr/share/locale/*\n' \
	>/etc/dpkg/dpkg.cfg.d/postern

cat >/etc/apt/sources.list <<LIST
deb $MIRROR trixie main
deb $MIRROR trixie-backports main
LIST

dpkg --configure -a
apt-get -q -o Acquire::Languages=none -o Acquire::Retries=3 update
apt-get -q -o Acquire::Retries=3 install -y --no-install-recommends -t trixie-backports \
	smbclient samba samba-testsuite python3-impacket iptables

# SMB over QUIC in the client and the tests we count on came with this version.
dpkg --compare-versions "$(dpkg-query -W -f '${Version}' samba)" ge 2:4.24.7

# The accounts of smbd's own passdb need Unix accounts beneath.
for user in alice bob carol; do
	id "$user" >/dev/null 2>&1 || useradd --no-create-home --shell /usr/sbin/nologin "$user"
done

# Names that tests and certificates use. No resolver: a peer that asks a name server is a mistake, and fails at once.
cat >/etc/hosts <<HOSTS
127.0.0.1 localhost
127.0.0.1 nas.test
127.0.0.1 other.test
::1 localhost6
HOSTS
echo 'nameserver 127.0.0.1' >/etc/resolv.conf
printf '[global]\nload printers = no\nprintcap name = /dev/null\n' >/etc/samba/smb.conf

apt-get clean
rm -rf /var/lib/apt/lists/* /var/cache/debconf/*-old
mkdir -p -m 755 /srv/peers
