#!/bin/sh -e
# One transaction: the old rules hold until the new ones do.
if test "$VNF_PARAM_ping" = true; then ping=accept; else ping=drop; fi
ports=$(echo "$VNF_PARAM_tcp_ports" | tr -s ' ,' ',')
nft -f - <<END
table inet edgefw {}
delete table inet edgefw
table inet edgefw {
    chain input {
        type filter hook input priority filter; policy accept;
        ct state established,related accept
        tcp dport { $ports } accept
        icmp type echo-request $ping
        icmpv6 type echo-request $ping
        meta l4proto { tcp, udp } drop
    }
}
END
