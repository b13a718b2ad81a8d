#!/bin/sh
# Install the real servers and tools that the proofs use, where this is Debian and we are root.
# A proof whose tool is missing is skipped, and says so; nothing else needs this.
set -eu
wanted="nginx-light strace curl rsync openssh-client softhsm2"
missing=""
for package in $wanted; do
    dpkg -s "$package" >/dev/null 2>&1 || missing="$missing $package"
done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "not installed:$missing; the proofs that need them are skipped" >&2
    exit 0
fi
export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 # nothing is started by its installation
apt-get update -qq
# shellcheck disable=SC2086 # a list of words
apt-get install -qq -y --no-install-recommends $missing >/dev/null
