#!/bin/sh
/usr/lib/frr/frrinit.sh stop
