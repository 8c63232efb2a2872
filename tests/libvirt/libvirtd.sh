#!/bin/sh
# libvirtd.sh DIR PACKAGES: libvirt's daemon from the unpacked packages, in mount and process namespaces of its own, whose
# first process this is: it reaps what the daemon leaves. Each line on standard input starts it, when the one before has ended.
set -eu
dir=$1 tools=$2
. "$dir/libvirt.sh"
# The LXC driver takes no groups that are in two trees; without the second there is one.
umount /sys/fs/cgroup/unified 2>/dev/null || :
while read -r _; do
    /usr/sbin/libvirtd </dev/null || :
done
