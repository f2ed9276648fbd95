# Sourced by the scripts that run a systemd of its own: namespaces and control groups that nothing it does leaves.

# Call the script again with `inside` and its arguments, as process 1 of fresh namespaces.
enter() {
  local hierarchy=/sys/fs/cgroup
  [ -d /sys/fs/cgroup/systemd ] && hierarchy=/sys/fs/cgroup/systemd
  mkdir "$hierarchy/heldard-test-$$"
  echo $$ > "$hierarchy/heldard-test-$$/cgroup.procs"
  exec unshare --pid --fork --kill-child --mount --uts --ipc --net --cgroup --propagation private --mount-proc \
    bash "$0" inside "$@"
}

# Mount control groups at the folder as this machine has them: the first layout or the second.
mount_cgroups() {
  if [ -d /sys/fs/cgroup/systemd ]; then
    mount -t tmpfs tmpfs "$1"
    mkdir "$1/systemd" "$1/unified"
    mount -t cgroup -o none,name=systemd cgroup "$1/systemd"
    mount -t cgroup2 cgroup2 "$1/unified"
  else
    mount -t cgroup2 cgroup2 "$1"
  fi
}
