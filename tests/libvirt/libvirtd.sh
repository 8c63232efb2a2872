#!/bin/sh
# libvirtd.sh DIR PACKAGES: libvirt's daemon from the unpacked packages, in mount and process namespaces of its own, whose
# first process this is: it reaps what the daemon leaves. Each line on standard input starts it, when the one before has ended.
set -eu
dir=$1 tools=$2
. "$dir/libvirt.sh"
while read -r _; do
    /usr/sbin/libvirtd </dev/null || :
done
