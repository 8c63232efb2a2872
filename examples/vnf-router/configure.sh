#!/bin/sh -e
cat > /etc/frr/frr.conf <<END
hostname $VNF_NAME
router ospf
 ospf router-id $VNF_PARAM_router_id
 network $VNF_PARAM_networks area 0
END
/usr/lib/frr/frrinit.sh restart
