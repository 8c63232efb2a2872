#!/bin/sh
# In namespaces of its own: libvirt's daemon from the unpacked packages, one domain, and virsh's commands about it.
# $1: the folder of the test; $2: the unpacked packages. Each command's output follows a line `@ WORDS`, and a line
# `= STATUS` ends it.
set -e
dir=$1
tools=$2
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /var/log
mount -t tmpfs tmpfs /var/cache
mkdir "$dir/over"
mount -t tmpfs tmpfs "$dir/over"
over() {
    mkdir "$dir/over/$1" "$dir/over/$1/up" "$dir/over/$1/work"
    mount -t overlay -o "lowerdir=$3,upperdir=$dir/over/$1/up,workdir=$dir/over/$1/work" overlay "$2"
}
over usr /usr "$tools/usr:/usr"
for place in "$tools"/lib/*-linux-gnu; do export LD_LIBRARY_PATH="$place"; done
over etc /etc "$tools/etc:/etc"
over lib /var/lib /var/lib
mkdir -p /etc/libvirt
echo 'libvirt-qemu:x:64055:64055::/:/bin/false' >> /etc/passwd
echo 'libvirt-qemu:x:64055:' >> /etc/group
grep -q '^kvm:' /etc/group || echo 'kvm:x:64056:' >> /etc/group
cat > /etc/libvirt/qemu.conf <<'X'
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
cgroup_controllers = [ ]
namespaces = [ ]
stdio_handler = "file"
X
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
