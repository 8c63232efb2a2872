#!/bin/sh
# Loads the modules, mounts what a machine has, runs the tests of /plan one by one and powers off.
# Results go to the virtio port: "@begin NAME", what the test printed, "@end CODE".
export PATH=/bin:/usr/bin HOME=/root TMPDIR=/tmp
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts -o ptmxmode=666 devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /tmp
mount -t tmpfs -o mode=755 tmpfs /run
for m in /modules/*; do insmod "$m" || echo "cannot load $m"; done
mount -t cgroup2 cgroup2 /sys/fs/cgroup
ip link set lo up
hostname guest
# The port's device answers ENXIO for some milliseconds, and opens once only.
n=0
until port=$(ls /dev/vport*p1 2>/dev/null) && { true 3>"$port"; } 2>/dev/null || [ $n -gt 500 ]; do n=$((n + 1)); sleep 0.01; done
exec 3>"$port"
# The root is a tmpfs, whose ids kernels before 6.3 cannot map.
export VNODE_NO_USER_NAMESPACES=true VNODE_HOST_COMMANDS=true
export VNODE_TEST_GUEST=1 VNODE_BIN_DIR=/vnode RUST_BACKTRACE=1
cut -d. -f1 /proc/uptime | sed 's/^/guest is up after s: /' >&3
while read -r limit target test <&4; do
    echo "@begin $target::$test" >&3
    echo "begin $target::$test"
    timeout -s KILL "$limit" "/tests/$target" --exact "$test" --nocapture >/tmp/out 2>&1
    code=$?
    head -c 60000 /tmp/out >&3
    echo >&3
    echo "@end $code" >&3
done 4</plan
echo "@done" >&3
exec 3>&-
sync
poweroff -f
