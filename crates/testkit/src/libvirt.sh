# To be sourced, in a mount namespace of its own, with the folder of the test in $dir and the unpacked packages in $tools:
# libvirt's daemon and `virsh` find their files where Debian installs them, and nothing they write is left.
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
mount -t tmpfs tmpfs /var/log
mount -t tmpfs tmpfs /var/cache
mkdir -p /etc/libvirt /run/lock
echo 'libvirt-qemu:x:64055:64055::/:/bin/false' >>/etc/passwd
echo 'libvirt-qemu:x:64055:' >>/etc/group
grep -q '^kvm:' /etc/group || echo 'kvm:x:64056:' >>/etc/group
cat >/etc/libvirt/qemu.conf <<'X'
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
cgroup_controllers = [ ]
namespaces = [ ]
stdio_handler = "file"
X
