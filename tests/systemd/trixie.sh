#!/bin/sh
# Build the root of a system whose systemd is newer than this machine's: Debian 13 (systemd 257), as root, in two
# or three minutes and 300 MB. `make newest-systemd` runs the proofs in it. What it has beside systemd is what an
# interpreter of this machine needs.
set -eu
root=/var/cache/overseer-proofs/trixie
[ ! -e "$root" ] || exit 0
command -v debootstrap >/dev/null || apt-get install -qq -y --no-install-recommends debootstrap >/dev/null
rm -rf "$root.new"
debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,libffi8 \
    trixie "$root.new" http://deb.debian.org/debian >/dev/null
mv -T "$root.new" "$root"
