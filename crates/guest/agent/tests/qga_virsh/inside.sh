#!/bin/sh
# In namespaces of its own: libvirt's daemon from the unpacked packages, one domain, and virsh's commands about it.
# $1: the folder of the test; $2: the unpacked packages. Each command's output follows a line `@ WORDS`, and a line
# `= STATUS` ends it.
set -e
dir=$1
tools=$2
mount -t tmpfs tmpfs /run
. "$dir/libvirt.sh"
/usr/sbin/libvirtd > "$dir/libvirtd.log" 2>&1 &
export LIBVIRT_DEFAULT_URI=qemu:///system
tries=0
until virsh version > /dev/null 2>&1; do
    tries=$((tries + 1))
    [ $tries -lt 300 ] || { cat "$dir/libvirtd.log"; exit 1; }
    sleep 0.2
done
set +e
run() {
    echo "@ $*"
    timeout 120 virsh "$@" 2>&1
    echo "= $?"
}
run create "$dir/domain.xml"
tries=0
until virsh qemu-agent-command guest '{"execute":"guest-ping"}' > /dev/null 2>&1; do
    tries=$((tries + 1))
    [ $tries -lt 200 ] || { cat "$dir/console"; exit 1; }
    sleep 0.5
done
run qemu-agent-command guest '{"execute":"guest-ping"}'
run qemu-agent-command guest '{"execute":"guest-get-osinfo"}'
run domifaddr guest --source agent
run guestinfo guest
run guestvcpus guest
run domtime guest
run domtime guest --time 1700000000
run domhostname guest --source agent
run domfsinfo guest
run domfsfreeze guest
run qemu-agent-command guest '{"execute":"guest-fsfreeze-status"}'
run domfsthaw guest
run set-user-password guest alice secret
run set-user-sshkeys guest alice --file "$dir/keys"
run get-user-sshkeys guest alice
run set-user-sshkeys guest alice --remove --file "$dir/keys"
run qemu-agent-command guest '{"execute":"guest-exec","arguments":{"path":"grep","arg":["-c","^alice:[$]6[$]","/etc/shadow"],"capture-output":true}}'
run shutdown guest --mode agent
tries=0
while virsh domstate guest 2> /dev/null | grep -q running; do
    tries=$((tries + 1))
    [ $tries -lt 200 ] || break
    sleep 0.5
done
run list --all
