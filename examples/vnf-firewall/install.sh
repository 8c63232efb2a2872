#!/bin/sh -e
# nftables must be there; where there is a network, Debian has it.
command -v nft >/dev/null || apt-get install -y --no-install-recommends nftables
