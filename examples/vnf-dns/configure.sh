#!/bin/sh -e
# names: NAME=ADDRESS, separated by blanks.
for pair in $VNF_PARAM_names; do echo "${pair#*=} ${pair%%=*}"; done > hosts
cat > dnsmasq.conf <<END
no-resolv
no-hosts
bind-interfaces
listen-address=$VNF_PARAM_address
port=$VNF_PARAM_port
addn-hosts=$VNF_WORK_DIR/hosts
user=root
END
