#!/usr/bin/env python3
"""A command module in the manner of the OpenStack guest agent; only its imports were changed."""

from vnode_agent_plugin import agentlib, commands


class SampleCommands(commands.CommandBase):

    def __init__(self, *args, **kwargs):
        self.greeting = "hello"

    @commands.command_add('hello')
    def hello_cmd(self, data):
        print("this goes to the log, not into the answer")
        return (0, "%s %s" % (self.greeting, data))

    @commands.command_add('version')
    def version_cmd(self, data):
        return (0, "sample over %s" % agentlib.get_version())

    @commands.command_add('sample_fails')
    def fails_cmd(self, data):
        raise ValueError("no such thing: %s" % data)

    @commands.command_add('sample_code')
    def code_cmd(self, data):
        return (404, "not here")

    @commands.command_add('sample-native', form="native")
    def native_cmd(self, data):
        return {"got": data, "interfaces": [name for name, _up, _mac in agentlib.get_interfaces()]}
