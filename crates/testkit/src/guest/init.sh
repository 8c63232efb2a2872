#!/bin/sh
# First process of the guest. pivot_root needs a root that is a mount and not the kernel's own rootfs: copy all into a
# tmpfs and go on there.
mount -t tmpfs -o size=80% tmpfs /new
for d in bin etc home lib lib64 mnt modules plan root run second sys proc dev tests tmp usr var vnode; do
    [ -e "/$d" ] && cp -a "/$d" /new/
done
exec switch_root /new /second
