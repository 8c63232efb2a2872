"""Command plugins for vnode-agent in Python, in one file, with nothing beside the standard library.

A module written for the OpenStack guest agent (`import commands`, `import agentlib`) becomes a plugin by changing
its imports, and being made executable:

    #!/usr/bin/env python3
    from vnode_agent_plugin import agentlib, commands

    class Hello(commands.CommandBase):
        @commands.command_add('hello')
        def hello_cmd(self, data):
            return (0, 'hello %s' % data)

Put it into /usr/lib/vnode/agent/commands/, owned by root and writable by nobody else, with this file in Python's path
or beside it. The program needs no last line: what the agent asks for is done when the module has been loaded.
The protocol is described in docs/reference/agent-plugins.md.
"""

import atexit
import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
import types

__all__ = ["agentlib", "commands", "exchange", "parser", "CommandError"]


class CommandError(Exception):
    """Ends a command with a class the agent knows: invalid, not-found, denied, unsupported, failed."""

    def __init__(self, message, error_class="failed", code=None):
        super().__init__(message)
        self.error_class = error_class
        self.code = code


class CommandNotFoundError(Exception):
    """There is no command of this name."""

    def __init__(self, cmd):
        super().__init__("No such agent command '%s'" % cmd)
        self.cmd = cmd

    def __str__(self):
        return "No such agent command '%s'" % self.cmd


_classes = []
_instances = []
_options = {}


def _command_add(name, **options):
    """Gives a method the name clients call it by. Options: form, resource, while_frozen, on_by_default."""

    def mark(method):
        method._command_name = name
        _options[name] = options
        return method

    return mark


class CommandBase(object):
    """Classes derived from this are known to the agent by being defined."""

    def __init__(self, *args, **kwargs):
        pass

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        _classes.append(cls)

    @classmethod
    def create_instance(cls, *args, **kwargs):
        return cls(*args, **kwargs)


# Modules written for later versions name the base so.
class CommandMetaClass(type):
    """Kept for modules that name it; `CommandBase` registers classes itself."""


def _methods():
    found = {}
    if len(_instances) != len(_classes):
        _instances[:] = [cls() for cls in _classes]
    for instance in _instances:
        for attribute in dir(instance):
            method = getattr(instance, attribute)
            name = getattr(method, "_command_name", None)
            if name is not None:
                found[name] = method
    return found


def _run_command(name, data=""):
    methods = _methods()
    if name not in methods:
        raise CommandNotFoundError(name)
    return methods[name](data)


def _init(*args, **kwargs):
    _instances[:] = [cls(*args, **kwargs) for cls in _classes]
    return sys.modules[__name__].commands


class _CommandList(object):
    """Upstream gives the object that `commands.init` made to the parser."""

    def run_command(self, name, data=""):
        return _run_command(name, data)

    def command_names(self):
        return sorted(_methods())


commands = types.ModuleType("commands")
commands.CommandBase = CommandBase
commands.CommandMetaClass = CommandMetaClass
commands.CommandNotFoundError = CommandNotFoundError
commands.command_add = _command_add
commands.command = _command_add
commands.init = _init
commands.run_command = _run_command
commands.command_names = lambda: sorted(_methods())


def _get_interfaces():
    """Name, up flag and MAC address of each interface, as upstream's C module gives them."""
    result = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _index, name in socket.if_nameindex():
            request = struct.pack("256s", name.encode()[:15])
            flags = fcntl.ioctl(probe.fileno(), 0x8913, request)[16:18]
            mac = fcntl.ioctl(probe.fileno(), 0x8927, request)[18:24]
            up = bool(struct.unpack("H", flags)[0] & 1)
            result.append((name, up, ":".join("%02x" % byte for byte in mac)))
    return result


def _encrypt_password(password, salt):
    """The crypt(3) hash; Python 3.13 dropped it, so the system's own program makes it."""
    try:
        import crypt
    except ImportError:
        kind, text = salt.split("$")[1:3]
        option = {"1": "-1", "5": "-5", "6": "-6"}[kind]
        made = subprocess.run(
            ["openssl", "passwd", option, "-salt", text, "-stdin"],
            input=password.encode(), stdout=subprocess.PIPE, check=True)
        return made.stdout.decode().strip()
    return crypt.crypt(password, salt)


def _not_here(*_args, **_kwargs):
    raise CommandError("exchanges and parsers are paired in /etc/vnode/agent.toml", "unsupported")


agentlib = types.ModuleType("agentlib")
agentlib.get_version = lambda: os.environ.get("VNODE_AGENT_VERSION", "0")
agentlib.get_interfaces = _get_interfaces
agentlib.sethostname = socket.sethostname
agentlib.encrypt_password = _encrypt_password
agentlib.register = _not_here


def _describe():
    known = []
    for name in sorted(_methods()):
        options = {key.replace("_", "-"): value for key, value in _options.get(name, {}).items()}
        known.append(dict({"name": name, "form": "openstack"}, **options))
    return {"commands": known}


def _answer(name, value):
    form = _options.get(name, {}).get("form", "openstack")
    try:
        result = _run_command(name, "" if value is None else value)
    except CommandNotFoundError as error:
        return {"error": {"class": "unknown", "message": str(error)}}
    except CommandError as error:
        return {"error": {"class": error.error_class, "message": str(error), "code": error.code}}
    except Exception as error:
        return {"error": {"class": "failed", "message": str(error)}}
    if form == "openstack" and isinstance(result, (tuple, list)) and len(result) == 2:
        code, message = result
        return {"value": {"returncode": str(code), "message": str(message)}}
    return {"value": result}


def exchange(get_request, put_response):
    """Runs an exchange. `get_request()` waits for (id, text) and gives None at the end; `put_response(id, text)`."""
    import threading

    def answers():
        for line in sys.stdin:
            answer = json.loads(line)
            put_response(answer["id"], answer["response"])

    threading.Thread(target=answers, daemon=True).start()
    while True:
        request = get_request()
        if request is None:
            return
        identity, text = request
        _say({"id": str(identity), "request": text})


def parser(parse_request):
    """Runs a parser. `parse_request(text, call)` gives the response; `call(command, value)` gives a command's result
    or raises CommandError."""

    def call(command, value=None):
        _say({"call": {"command": command, "value": value}})
        answer = json.loads(sys.stdin.readline())
        if "error" in answer:
            error = answer["error"]
            raise CommandError(error["message"], error["class"], error.get("code"))
        return answer["value"]

    request = json.loads(sys.stdin.readline())
    _say({"response": parse_request(request["request"], call)})


def _say(document):
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


def main(arguments=None):
    """Does what the agent asks for. Called by itself when the module has been loaded."""
    atexit.unregister(_at_exit)
    arguments = sys.argv[1:] if arguments is None else arguments
    # What a command prints is for people; the answer alone goes to the agent.
    answers, sys.stdout = sys.stdout, sys.stderr
    if arguments == ["describe"]:
        document = _describe()
    elif len(arguments) == 2 and arguments[0] == "run":
        document = _answer(arguments[1], json.load(sys.stdin))
    else:
        sys.stderr.write("usage: %s describe | run NAME < VALUE\n" % sys.argv[0])
        return 2
    sys.stdout = answers
    _say(document)
    return 0


def _at_exit():
    if sys.argv[1:2] in (["describe"], ["run"]) and _classes:
        code = 1
        try:
            code = main()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            # The exit status of a program that is ending already is set in no other way.
            os._exit(code)


def _failed(kind, value, trace):
    atexit.unregister(_at_exit)
    sys.__excepthook__(kind, value, trace)


sys.excepthook = _failed
atexit.register(_at_exit)
