#!/bin/sh
nft list table inet edgefw >/dev/null 2>&1 || exit 0
exec nft delete table inet edgefw
