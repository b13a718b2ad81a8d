#!/bin/sh
# Boot a systemd of our own: `sh boot.sh NAME WORK CONSOLE BASE ABOVE BIND...`, as the first process of new
# namespaces (unshare --pid --fork --kill-child --mount --uts --ipc). Its root is BASE, this machine's or that of
# another system, seen through an overlay, so that whatever it writes is in memory and gone with it. ABOVE is a
# folder to lay over it, with another version of systemd, or nothing; CONSOLE is a terminal for what it says.
# BIND are folders of this machine that are not in BASE, and that it shall see. Its control groups are below one
# of its own, NAME: two that run at once would kill each other's services, which have the same names.
# The network is this machine's: services listen on its loopback.
set -eu
if [ "$1" != in-its-group ]; then
    mount --make-rprivate /
    mount -t cgroup2 cgroup2 "$2"
    group="$2$(sed -n 's/^0:://p' /proc/self/cgroup)/$1"
    mkdir "$group"
    echo 0 >"$group/cgroup.procs"
    umount "$2"
    shift
    exec unshare --cgroup sh "$0" in-its-group "$@"
fi
work=$2 console=$3 base=$4 above=$5
shift 5
mount -t tmpfs -o mode=0755 tmpfs "$work"
mkdir "$work/upper" "$work/work" "$work/root"
mount -t overlay -o "lowerdir=$base,upperdir=$work/upper,workdir=$work/work" overlay "$work/root"
cd "$work/root"
[ -z "$above" ] || cp -a "$above/." .
for folder in "$@"; do
    mkdir -p ".$folder"
    mount --rbind "$folder" ".$folder"
done
# Services that are not root's shall reach an interpreter that lies in root's home.
[ ! -d root ] || chmod go+x root
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
for folder in run tmp var/tmp; do mount -t tmpfs -o mode=1777 tmpfs "$folder"; done
chmod 0755 run
mount -t tmpfs -o mode=0755 tmpfs dev
mkdir dev/shm dev/pts
for node in null:1:3 zero:1:5 full:1:7 random:1:8 urandom:1:9 tty:5:0; do
    rest=${node#*:}
    mknod -m 0666 "dev/${node%%:*}" c "${rest%:*}" "${rest#*:}"
done
ln -s /proc/self/fd dev/fd
mount -t devpts -o newinstance,mode=0620,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
touch dev/console
mount --bind "$console" dev/console
# Nothing of this machine's starts there: only what a proof asks for.
for folder in etc/systemd/system etc/systemd/system.conf.d; do mkdir -p "$folder"; mount -t tmpfs tmpfs "$folder"; done
printf '[Unit]\nDescription=Nothing\nDefaultDependencies=no\n' >etc/systemd/system/nothing.target
printf '%s\n' '[Manager]' DefaultStandardOutput=null DefaultStandardError=null >etc/systemd/system.conf.d/proof.conf
pivot_root . mnt
cd /
umount -l /mnt
systemd=/lib/systemd/systemd
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin container=unshare \
    "$systemd" --system --unit=nothing.target --log-target=console --log-level=info --show-status=no
