#!/usr/bin/env python3
"""An exchange over two named pipes: requests come in one, answers go out of the other."""

import sys
from vnode_agent_plugin import exchange

requests = open(sys.argv[1])
answers = open(sys.argv[2], "w")
count = 0


def get_request():
    global count
    line = requests.readline()
    if not line:
        return None
    count += 1
    return (count, line.rstrip("\n"))


def put_response(identity, text):
    answers.write("%s %s\n" % (identity, text))
    answers.flush()


exchange(get_request, put_response)
