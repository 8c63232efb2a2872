#!/bin/sh
# First process of the guest: modules, file systems, then the agent in the place of qemu-ga.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /run /tmp /mnt /dev/virtio-ports
for module in $(cat /modules/order); do insmod "/modules/$module"; done
hostname virsh-guest
ip link set lo up
mount -t ext2 /dev/vda /mnt
for port in /sys/class/virtio-ports/*; do
    [ "$(cat "$port/name")" = org.qemu.guest_agent.0 ] && ln -s "/dev/${port##*/}" /dev/virtio-ports/org.qemu.guest_agent.0
done
# busybox's poweroff tells the first process, and that is this one.
trap 'umount /mnt; poweroff -f' USR2
qemu-ga -v &
while :; do sleep 1; done
