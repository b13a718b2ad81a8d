#!/bin/sh
# Build the root of a system whose systemd is newer than this machine's: Debian 13 (systemd 257), as root, in two
# or three minutes and 300 MB. `make newest-systemd` runs the proofs in it. What it has beside systemd is what an
# interpreter of this machine needs.
set -eu
root=/var/cache/overseer-proofs/trixie
[ ! -e "$root" ] || exit 0
command -v debootstrap >/dev/null || apt-get install -qq -y --no-install-recommends debootstrap >/dev/null
rm -rf "$root.new"
# shellcheck disable=SC1091,SC2016 # of the machine; apt's own words: its mirror of Debian
mirror=$(. /etc/os-release && apt-get indextargets --format '$(SITE)' "Codename: $VERSION_CODENAME" 'Created-By: Packages' | head -n 1)
debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,libffi8 \
    trixie "$root.new" "$mirror" >/dev/null
mv -T "$root.new" "$root"
