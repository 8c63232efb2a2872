"""NB-01: the unmodified OpenStack client with its Tacker plugin, without Keystone.

orchestrator.py FOLDER VERSIONS OPTION...

FOLDER is for archives; VERSIONS are those of the lifecycle's interface, `12` or `2`; OPTIONs say to `openstack` where
the server is.

Prints one line a command; ends with 1 at the first answer that is not what was expected.
"""
import io
import json
import os
import sys
import tarfile
import time
import zipfile

from openstackclient.shell import main

FOLDER, VERSIONS, SERVER = sys.argv[1], sys.argv[2], sys.argv[3:]

# Fails when it is told to, and not twice in a row: a retry is to succeed.
HEAL = b"""#!/bin/sh
flag=$VNF_WORK_DIR/healed
[ "$VNF_HEAL_CAUSE" = fail ] || exit 0
if [ -e "$flag" ]; then rm "$flag"; exit 0; fi
: > "$flag"
echo told to fail >&2
exit 1
"""


def files(version):
    """A package: the seed's layout, with what schema 2 adds."""
    def event(name, script):
        return {"event": name, "lifecycle_events": [script]}
    descriptor = {
        "schema": 2, "name": "edgefw", "version": version, "VNFprocess": "edgefwd",
        "parameters": {"greeting": {"type": "string", "default": "hello"}},
        "scaling": {"workers": {"max_steps": 2}},
        "lifecycle_event": [
            event("INSTANTIATE", "install.sh"), event("START", "start.sh"), event("TERMINATE", "stop.sh"),
            event("SCALE", "scale.sh"), event("HEAL", "heal.sh"), event("UPDATE", "update.sh"),
        ],
    }
    scripts = {f"{name}.sh": b"#!/bin/sh\n" for name in ("install", "start", "stop", "scale", "update")}
    return {"lifecycle.json": json.dumps(descriptor).encode(), "heal.sh": HEAL, **scripts}


def archives():
    for name, version in (("edgefw.zip", "1.4.0"), ("next.zip", "1.5.0")):
        with zipfile.ZipFile(os.path.join(FOLDER, name), "w") as archive:
            for path, content in files(version).items():
                entry = zipfile.ZipInfo(path)
                entry.external_attr = 0o100755 << 16
                archive.writestr(entry, content)
    with tarfile.open(os.path.join(FOLDER, "edgefw.tar.gz"), "w:gz") as archive:
        for path, content in files("1.4.0").items():
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(content), 0o755
            archive.addfile(entry, io.BytesIO(content))


def openstack(*words, fails=None, version="1"):
    """Runs one command in a fork of this process: starting the client thirty times would take a minute, and running
    it twice in one process would let the second one see the first one's settings."""
    argv = [*SERVER, "--os-tacker-api-version", version, *words]
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(writing, 1)
        os.dup2(writing, 2)
        try:
            code = main(argv)
        except SystemExit as end:
            code = end.code
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code or 0)
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as pipe:
        said = pipe.read()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print("openstack", " ".join(words), "->", code, flush=True)
    if fails is None and code:
        sys.exit(f"failed: {said}")
    if fails is not None and (not code or fails not in said):
        sys.exit(f"should have failed with {fails!r}: {code} {said}")
    return said


def shown(*words, **more):
    return json.loads(openstack(*words, "-f", "json", **more))


def until(what, wanted):
    for _ in range(600):
        found = what()
        if wanted(found):
            return found
        time.sleep(0.1)
    sys.exit(f"it stays {found}")


def package(name):
    made = shown("vnf", "package", "create", "--user-data", "site=lab")
    openstack("vnf", "package", "upload", "--path", os.path.join(FOLDER, name), made["ID"])
    return until(lambda: shown("vnf", "package", "show", made["ID"]),
                 lambda p: p["Onboarding State"] not in ("UPLOADING", "PROCESSING"))


def occurrences(version):
    return shown("vnflcm", "op", "list", version=version)


def life(version, vnfd):
    shown("vnflcm", "versions", version=version)
    made = shown("vnflcm", "create", vnfd, "--name", "edge" + version, "--description", "a test", version=version)
    name = made["ID"]
    params = os.path.join(FOLDER, "instantiate.json")
    with open(params, "w") as file:
        json.dump({"flavourId": "default", "additionalParams": {"greeting": "hi"}}, file)
    openstack("vnflcm", "instantiate", name, params, version=version)
    state = lambda: shown("vnflcm", "show", name, version=version)
    until(state, lambda i: i["Instantiation State"] == "INSTANTIATED")
    until(lambda: occurrences(version), lambda all: all[-1]["Operation State"] == "COMPLETED")
    assert name in openstack("vnflcm", "list", version=version)
    openstack("vnflcm", "instantiate", name, params, fails="INSTANTIATED already", version=version)
    openstack("vnflcm", "heal", name, "--cause", "slow", version=version)
    until(lambda: occurrences(version), lambda all: all[-1]["Operation State"] == "COMPLETED")
    # A failure of the next operation is told by the name of its cause.
    openstack("vnflcm", "heal", name, "--cause", "fail", version=version)
    failed = until(lambda: occurrences(version), lambda all: all[-1]["Operation State"] == "FAILED_TEMP")[-1]
    there = shown("vnflcm", "op", "show", failed["ID"], version=version)
    assert "told to fail" in json.dumps(there), there
    openstack("vnflcm", "op", "rollback", failed["ID"], fails="cannot be rolled back", version=version)
    openstack("vnflcm", "op", "retry", failed["ID"], version=version)
    until(lambda: shown("vnflcm", "op", "show", failed["ID"], version=version),
          lambda o: o["Operation State"] == "COMPLETED")
    openstack("vnflcm", "heal", name, "--cause", "fail", version=version)
    failed = until(lambda: occurrences(version), lambda all: all[-1]["Operation State"] == "FAILED_TEMP")[-1]
    openstack("vnflcm", "op", "fail", failed["ID"], version=version)
    scale = ("vnflcm", "scale", "--type", "SCALE_OUT", "--aspect-id", "workers", name)
    openstack(*scale, version=version)
    until(lambda: occurrences(version), lambda all: all[-1]["Operation State"] == "COMPLETED")
    return name


archives()
for archive in ("edgefw.zip", "edgefw.tar.gz"):
    one = package(archive)
    assert one["Onboarding State"] == "ONBOARDED", one
    where = one["ID"]
    got = os.path.join(FOLDER, "got")
    openstack("vnf", "package", "download", "--file", got, where)
    with open(got, "rb") as a, open(os.path.join(FOLDER, archive), "rb") as b:
        assert a.read() == b.read(), "the content comes back"
    openstack("vnf", "package", "download", "--vnfd", "--file", got, where)
    openstack("vnf", "package", "list")
    openstack("vnf", "package", "delete", where, fails="ENABLED")
    if archive == "edgefw.zip":
        openstack("vnf", "package", "update", "--operational-state", "DISABLED", where)
        openstack("vnf", "package", "delete", where)

vnfd = one["VNFD ID"]
for version in VERSIONS:
    name = life(version, vnfd)
    if version == "2":
        following = package("next.zip")
        change = os.path.join(FOLDER, "change.json")
        with open(change, "w") as file:
            json.dump({"vnfdId": following["VNFD ID"]}, file)
        openstack("vnflcm", "change-vnfpkg", name, change, version=version)
        until(lambda: shown("vnflcm", "show", name, version=version),
              lambda i: i["VNF Software Version"] == "1.5.0")
    else:
        openstack("vnflcm", "subsc", "list", version="2")
    # Terminates, waits for it, deletes.
    openstack("vnflcm", "terminate", name, "--D", version=version)
    assert name not in openstack("vnflcm", "list", version=version)
print("done")
