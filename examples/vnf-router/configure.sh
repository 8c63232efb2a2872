#!/bin/sh -e
# Each link of a lab has two ends: neighbours need not elect one of them first.
{
    echo "hostname $VNF_NAME"
    for path in /sys/class/net/*; do
        name=${path##*/}
        test "$name" = lo && continue
        echo "interface $name"
        echo " ip ospf network point-to-point"
        echo " ip ospf hello-interval $VNF_PARAM_hello"
        echo " ip ospf dead-interval $((4 * VNF_PARAM_hello))"
    done
    echo "router ospf"
    echo " ospf router-id $VNF_PARAM_router_id"
    echo " network $VNF_PARAM_networks area 0"
} > /etc/frr/frr.conf
/usr/lib/frr/frrinit.sh restart
