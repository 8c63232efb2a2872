#!/bin/sh
# First process of the guest: modules, file systems, the agent on every kind of channel, and udev's part for ports.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /run/vnode /tmp /var/lib /dev/virtio-ports
# The agent is there first: every device appears later.
vnode-agent run --level debug &
for module in $(cat /modules/order); do insmod "/modules/$module"; done
ip link set lo up
# Another has the port of our own form open at first: it opens once only, and the agent meets EBUSY.
for port in /sys/class/virtio-ports/*; do
    if [ "$(cat "$port/name")" = org.vnode.agent.0 ]; then
        sh -c "exec 3<>/dev/${port##*/}; sleep 1" &
    fi
done
# busybox's poweroff tells the first process, and that is this one.
trap 'poweroff -f' USR2
while :; do
    for port in /sys/class/virtio-ports/*; do
        [ -e "$port/name" ] || continue
        name=$(cat "$port/name")
        [ -e "/dev/virtio-ports/$name" ] || ln -sf "/dev/${port##*/}" "/dev/virtio-ports/$name"
    done
    for link in /dev/virtio-ports/*; do
        [ -e "$link" ] || rm -f "$link"
    done
    sleep 0.2
done
