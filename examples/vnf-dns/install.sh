#!/bin/sh -e
test -x /usr/sbin/dnsmasq || apt-get install -y --no-install-recommends dnsmasq-base
