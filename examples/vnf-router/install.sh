#!/bin/sh -e
test -x /usr/lib/frr/frrinit.sh || apt-get install -y --no-install-recommends frr
sed -i "s/^ospfd=no/ospfd=yes/" /etc/frr/daemons
sysctl -q -w net.ipv4.ip_forward=1
