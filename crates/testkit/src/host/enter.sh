#!/bin/sh
# enter.sh DIR PID PROGRAM ARGS...: runs a program in the host of one test, in its cgroups and namespaces.
set -eu
dir=$1 pid=$2
shift 2
while read -r leaf; do echo $$ >"$leaf/cgroup.procs"; done <"$dir/leaves"
exec nsenter -t "$pid" -m -n -u -i -p -C -- "$@"
