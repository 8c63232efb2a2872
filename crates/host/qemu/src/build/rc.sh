#!/bin/sh
# Brings the machine up, before init starts anything else.
export PATH=/bin:/usr/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /run
echo "vnode: up" >/dev/console
for module in /lib/modules/load/*.ko; do
    insmod "$module" 2>/dev/null
done
# The agent's channels.
mkdir -p /dev/virtio-ports
for port in /sys/class/virtio-ports/*; do
    [ -r "$port/name" ] && ln -sf "../${port##*/}" "/dev/virtio-ports/$(cat "$port/name")"
done
ip link set lo up
hosts=/sys/firmware/qemu_fw_cfg/by_name/opt/vnode/hosts/raw
[ -r "$hosts" ] && cat "$hosts" >/etc/hosts
lines=/sys/firmware/qemu_fw_cfg/by_name/opt/vnode/network/raw
[ -r "$lines" ] || exit 0
# First each interface gets a name that no other wants, then its own.
number=0
for device in /sys/class/net/*; do
    [ -e "$device/device" ] || continue
    ip link set "${device##*/}" name "temp$number"
    number=$((number + 1))
done
while read -r kind a b c; do
    case "$kind" in
    hostname)
        hostname "$a"
        echo "$a" >/etc/hostname
        ;;
    nameserver)
        echo "nameserver $a" >>/etc/resolv.conf
        ;;
    search)
        echo "search $a $b $c" >>/etc/resolv.conf
        ;;
    link)
        for device in /sys/class/net/temp*; do
            [ "$(cat "$device/address" 2>/dev/null)" = "$a" ] || continue
            ip link set "${device##*/}" name "$b"
            ip link set "$b" mtu "$c"
            ip link set "$b" up
        done
        ;;
    address)
        ip address add "$b" dev "$a"
        ;;
    gateway)
        ip route add default via "$b" dev "$a"
        ;;
    esac
done <"$lines"
