#!/usr/bin/python3
"""Mininet's star of N hosts on one Linux bridge. usage: mininet_star.py N REPEAT; prints "up down" a line, milliseconds.

Debian's packages mininet and bridge-utils; no Open vSwitch and no controller, which would make it slower.
"""
import sys
import time

from mininet.link import Link
from mininet.log import setLogLevel
from mininet.net import Mininet
from mininet.nodelib import LinuxBridge
from mininet.topo import SingleSwitchTopo

setLogLevel("critical")
n, repeat = int(sys.argv[1]), int(sys.argv[2])
for _ in range(repeat):
    start = time.perf_counter()
    net = Mininet(topo=SingleSwitchTopo(n), switch=LinuxBridge, controller=None, link=Link, autoSetMacs=True)
    net.start()
    up = time.perf_counter()
    if "1 received" not in net.hosts[0].cmd(f"ping -c1 -W5 {net.hosts[-1].IP()}"):
        sys.exit("the last host does not answer the first")
    ready = time.perf_counter()
    net.stop()
    print(f"{1e3 * (up - start):.3f} {1e3 * (time.perf_counter() - ready):.3f}", flush=True)
