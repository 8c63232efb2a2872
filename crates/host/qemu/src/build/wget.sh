#!/bin/sh
# Debian's busybox crashes when its wget is given a time limit, for which it was not built: the time is kept here. The one in
# this image is called wgeT, so that its shell, which looks for its own programs first, finds this.
limit=
next=
for word; do
    shift
    if [ -n "$next" ]; then
        limit=$word
        next=
        continue
    fi
    case "$word" in
    -T | --timeout) next=1 ;;
    -T*) limit=${word#-T} ;;
    --timeout=*) limit=${word#*=} ;;
    *) set -- "$@" "$word" ;;
    esac
done
[ -z "$limit" ] || exec timeout "$limit" busybox wgeT "$@"
exec busybox wgeT "$@"
