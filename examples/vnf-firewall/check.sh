#!/bin/sh
exec nft list table inet edgefw >/dev/null
