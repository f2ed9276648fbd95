#!/bin/bash
# A systemd of its own in fresh namespaces, that knows heldard's unit and little else. Nothing it does leaves them.
# Arguments: a folder to report into, the unit tree `heldard systemd install` wrote, the Python prefix, PYTHONPATH, and
# a folder of media. Called first outside, then as process 1 inside.
set -e
. "$(dirname "$0")/namespaces.sh"
[ "$1" = inside ] || enter "$@"
out=$2 installed=$3 prefix=$4 path=$5 media=$6
ip link set lo up
mount -t tmpfs tmpfs /mnt
mkdir -p /mnt/units/heldard.service.d /mnt/units/heldard-worker@.service.d /mnt/etc /mnt/work /mnt/out /mnt/python /mnt/media
mount --bind "$out" /mnt/out
mount --bind "$prefix" /mnt/python
mount --bind "$media" /mnt/media
bound=""
number=0
for folder in ${path//:/ }; do
  number=$((number + 1))
  mkdir "/mnt/path$number"
  mount --bind "$folder" "/mnt/path$number"
  bound="$bound:/mnt/path$number"
done
for target in sysinit basic network-online time-sync; do
  printf '[Unit]\nDescription=%s\n' $target > /mnt/units/$target.target
done
cp /lib/systemd/system/shutdown.target /mnt/units/
printf '[Unit]\nDescription=test\nWants=heldard.service\n' > /mnt/units/test.target
cp "$installed"/etc/systemd/system/*.service /mnt/units/
# The tree under test in place of an installation.
cat > /mnt/units/heldard.service.d/test.conf <<END
[Service]
ExecStart=
ExecStart=/mnt/python/bin/python3 -m heldard serve --config /etc/heldard/heldard.toml --data-dir \${STATE_DIRECTORY}
Environment=PYTHONHOME=/mnt/python PYTHONPATH=${bound#:} PYTHONDONTWRITEBYTECODE=1
Environment=HELDARD_SAMPLER__MEDIA_DIR=/mnt/media
StandardError=append:/mnt/out/daemon.log
WatchdogSec=4
END
cat > /mnt/units/heldard-worker@.service.d/test.conf <<END
[Service]
ExecStart=
ExecStart=/mnt/python/bin/python3 -m heldard worker
Environment=PYTHONHOME=/mnt/python PYTHONPATH=${bound#:} PYTHONDONTWRITEBYTECODE=1
StandardError=append:/mnt/out/worker.log
END
cat > /mnt/heldard <<END
#!/bin/sh
# The command line, with what the unit was handed.
CREDENTIALS_DIRECTORY=/run/credentials/heldard.service PYTHONHOME=/mnt/python PYTHONPATH=${bound#:} \
PYTHONDONTWRITEBYTECODE=1 exec /mnt/python/bin/python3 -m heldard "\$@"
END
chmod +x /mnt/heldard
mount -t overlay overlay -o lowerdir=/etc,upperdir=/mnt/etc,workdir=/mnt/work /etc
mount -t tmpfs tmpfs /var/lib
mount -t tmpfs tmpfs /run
cp -r "$installed/etc/heldard" /etc/
systemd-sysusers "$installed/etc/sysusers.d/heldard.conf"
systemd-tmpfiles --create "$installed/etc/tmpfiles.d/heldard.conf"
mount --bind /mnt/units /lib/systemd/system
mount -t tmpfs tmpfs /etc/systemd/system
mount -t tmpfs tmpfs /lib/systemd/system-generators
mount_cgroups /sys/fs/cgroup
mount --make-rshared / # where credentials are mounted is decided in a child of systemd's, in mounts of its own
export container=lxc
exec /lib/systemd/systemd --system --unit=test.target --log-target=console --show-status=no
