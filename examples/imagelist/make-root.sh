#!/bin/sh
# Makes a small root file system to try image lists with: busybox, and a file /version that says TEXT.
#
#   make-root.sh FILE.tar [TEXT]
#
# Needs a static busybox (package busybox-static).
set -eu

if [ $# -lt 1 ]; then
    sed -n '2,6s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
busybox=$(command -v busybox) || {
    echo "make-root.sh: there is no busybox; install the package busybox-static" >&2
    exit 1
}
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
chmod 755 "$root"
mkdir "$root/bin" "$root/proc" "$root/sys" "$root/dev" "$root/tmp" "$root/etc" "$root/root"
cp "$busybox" "$root/bin/busybox"
for name in sh sleep ls cat echo ps ip ping; do
    ln -s busybox "$root/bin/$name"
done
echo 'root:x:0:0:root:/root:/bin/sh' > "$root/etc/passwd"
echo "${2:-1}" > "$root/version"
tar -C "$root" --owner=0 --group=0 -cf "$1" .
echo "$1: $(cat "$root/version")"
