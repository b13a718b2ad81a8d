#!/bin/sh
# Install the real servers and tools that the proofs use, where this is Debian and we are root; and what is named.
# A proof whose tool is missing is skipped, and says so; nothing else needs this.
set -eu
wanted="nginx-light haproxy strace curl rsync openssh-client softhsm2 systemd util-linux faketime"
wanted="$wanted prometheus e2fsprogs xfsprogs" # promtool, and file systems to cut the power of
wanted="$wanted runit s6 podman runc conmon netavark catatonit docker.io" # who runs services
wanted="$wanted nghttp2-client" # h2load
wanted="$wanted mandoc groff man-db zsh fish" # who reads manual pages, and completes commands
wanted="$wanted uwsgi-core uwsgi-plugin-python3 puma $*" # who serves below overseer run
command -v go >/dev/null || wanted="$wanted golang-go" # 80 MB; servers of these two are compiled
command -v rustc >/dev/null || wanted="$wanted rustc"
missing=""
for package in $wanted; do
    dpkg -s "$package" >/dev/null 2>&1 || missing="$missing $package"
done
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    [ -z "$missing" ] || echo "not installed:$missing; the proofs that need them are skipped" >&2
    exit 0
fi
export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 # nothing is started by its installation
if [ -n "$missing" ]; then
    apt-get update -qq
    # shellcheck disable=SC2086 # a list of words
    apt-get install -qq -y --no-install-recommends $missing >/dev/null
fi

# A systemd that knows Type=notify-reload (253), where this machine's is older: unpacked where only the proofs
# find it (tests/systemd/manager.py), from the backports of this release of Debian.
newer=/var/cache/overseer-proofs/systemd
version=$(/lib/systemd/systemd --version 2>/dev/null | sed -n '1s/^systemd \([0-9]*\).*/\1/p')
if [ "${version:-0}" -lt 253 ] && [ ! -e "$newer" ]; then
    # shellcheck disable=SC1091 # of the machine
    . /etc/os-release
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    mkdir -p "$folder/lists/partial" "$folder/tree/usr"
    apt-get update -qq
    # shellcheck disable=SC2016 # apt's own words; the mirror is the one that this machine uses
    mirror=$(apt-get indextargets --format '$(SITE)' "Codename: $VERSION_CODENAME" 'Created-By: Packages' | head -n 1)
    echo "deb $mirror $VERSION_CODENAME-backports main" >"$folder/sources"
    apt="apt-get -qq -o Dir::Etc::sourcelist=$folder/sources -o Dir::Etc::sourceparts=- -o Dir::State::lists=$folder/lists"
    apt="$apt -o APT::Sandbox::User=root"
    if $apt update && (cd "$folder" && $apt download "systemd/$VERSION_CODENAME-backports" \
        "libsystemd-shared/$VERSION_CODENAME-backports" "libsystemd0/$VERSION_CODENAME-backports"); then
        for package in "$folder"/*.deb; do dpkg -x "$package" "$folder/tree"; done
        # Laid over a root whose /bin and /lib are links: what stands there belongs into /usr.
        for part in bin lib; do
            [ ! -d "$folder/tree/$part" ] || { mkdir -p "$folder/tree/usr/$part" && cp -a "$folder/tree/$part/." "$folder/tree/usr/$part/"; }
        done
        mkdir -p "$newer.new" && cp -a "$folder/tree/usr" "$newer.new/" && mv -T "$newer.new" "$newer"
    else
        echo "no newer systemd could be had; the proofs of Type=notify-reload are skipped" >&2
    fi
fi
