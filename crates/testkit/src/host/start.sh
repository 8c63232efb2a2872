#!/bin/sh
# start.sh ID DIR: makes the namespaces of one test's host and stays as its first process until standard input ends.
# Stage by stage, because a cgroup namespace is rooted where its maker stands, and a v2 group that hands controllers
# down may hold no process itself.
set -eu
id=$1 dir=$2 stage=${3:-groups}
case $stage in
groups)
    : >"$dir/groups"
    while IFS=: read -r _ names path; do
        case $names in
        '') if [ -e /sys/fs/cgroup/cgroup.controllers ]; then base=/sys/fs/cgroup; else base=/sys/fs/cgroup/unified; fi ;;
        name=*) base=/sys/fs/cgroup/${names#name=} ;;
        *) base=/sys/fs/cgroup/$names ;;
        esac
        parent=$base${path%/}
        group=$parent/vnode-test-$id
        [ -d "$parent" ] && mkdir "$group" || continue
        case $names in
        cpuset) cat "$parent/cpuset.cpus" >"$group/cpuset.cpus"; cat "$parent/cpuset.mems" >"$group/cpuset.mems" ;;
        '') [ -z "$(cat "$parent/cgroup.controllers")" ] || for c in cpu memory pids; do echo "+$c" >"$parent/cgroup.subtree_control" || :; done ;;
        esac
        echo $$ >"$group/cgroup.procs"
        echo "${names:-v2} $group" >>"$dir/groups"
    done </proc/self/cgroup
    exec unshare --cgroup sh "$0" "$id" "$dir" leave
    ;;
leave)
    while read -r names group; do
        leaf=$group
        if [ "$names" = v2 ] && [ -n "$(cat "$group/cgroup.controllers")" ]; then
            leaf=$group/host
            mkdir "$leaf"
            echo $$ >"$leaf/cgroup.procs"
            for c in cpu memory pids; do echo "+$c" >"$group/cgroup.subtree_control"; done
        fi
        echo "$leaf" >>"$dir/leaves"
    done <"$dir/groups"
    exec unshare --mount --net --uts --ipc --pid --fork --kill-child --propagation private sh "$0" "$id" "$dir" first
    ;;
first)
    mount -t proc proc /proc
    mount -t sysfs sysfs /sys
    if grep -q '^v2 ' "$dir/groups" && [ "$(wc -l <"$dir/groups")" = 1 ]; then
        mount -t cgroup2 cgroup2 /sys/fs/cgroup
    else
        mount -t tmpfs -o mode=755 cgroup /sys/fs/cgroup
        while read -r names _; do
            case $names in
            v2) mkdir /sys/fs/cgroup/unified; mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified ;;
            name=*) mkdir "/sys/fs/cgroup/${names#name=}"; mount -t cgroup -o "none,$names" cgroup "/sys/fs/cgroup/${names#name=}" ;;
            *) mkdir "/sys/fs/cgroup/$names"; mount -t cgroup -o "$names" cgroup "/sys/fs/cgroup/$names" ;;
            esac
        done <"$dir/groups"
    fi
    mount -t tmpfs -o mode=755 tmpfs /run
    echo "test-$id" >/proc/sys/kernel/hostname
    ip link set lo up
    # The children of processes that are killed become ours: ignored SIGCHLD, which exec keeps, reaps them.
    trap '' CHLD
    echo ready
    exec cat >/dev/null
    ;;
esac
