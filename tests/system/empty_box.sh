#!/bin/bash
# Boots the Debian in a folder with its own systemd, in fresh namespaces. Nothing it does leaves them and the folder.
# Argument: the folder. Called first outside, then as process 1 inside.
set -e
. "$(dirname "$0")/namespaces.sh"
[ "$1" = inside ] || enter "$@"
root=$2
ip link set lo up
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,bind,ro "$root/proc/sys" # what is set there would be set for the whole machine
mount -t sysfs -o ro sysfs "$root/sys"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for device in "null 1 3" "zero 1 5" "full 1 7" "random 1 8" "urandom 1 9" "tty 5 0"; do
  set -- $device
  mknod -m 666 "$root/dev/$1" c "$2" "$3"
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount_cgroups "$root/sys/fs/cgroup"
cd "$root"
pivot_root . .
umount -l .
mount --make-rshared /
export container=lxc
exec /lib/systemd/systemd --system --log-target=console --show-status=no
