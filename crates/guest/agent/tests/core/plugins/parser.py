#!/usr/bin/env python3
"""A parser of lines: a command's name, and the result as it comes."""

import json
from vnode_agent_plugin import CommandError, parser


def parse_request(text, call):
    try:
        return "ok " + json.dumps(call(text))
    except CommandError as error:
        return "%s %s" % (error.error_class, error)


parser(parse_request)
