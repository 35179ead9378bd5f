"""A `gcloud` for tests: the TPU commands that the scripts use, on a cloud that is a folder.

`$FAKE_CLOUD/state.json` holds queued resources and slices, `calls` what was called; hosts are
folders in which commands of `tpu-vm ssh` really run. What is to go wrong stands in the state as
well:

    failures    [{match, times, status, error}]: calls whose words contain `match` fail that often
    states      what a new queued resource goes through, one state a look (["ACTIVE"] by default)
    dead        ["SLICE/HOST"]: hosts that ssh cannot reach
    hosts       how many hosts a slice has

A file `preempt-NAME` in the folder takes the slices of that queued resource away at the next call:
their processes are killed, their folders deleted, and it is SUSPENDED. An unknown command or flag
is an error, as with the real one; flags are those of its own --help.
"""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

CLOUD = Path(os.environ["FAKE_CLOUD"])
WIDE = {"--project", "--zone", "--quiet", "--format"}
SSH = {"--worker", "--internal-ip", "--ssh-flag", "--command"}
FLAGS = {
    "queued-resources create": {
        *("--accelerator-type", "--type", "--topology", "--runtime-version", "--node-id"),
        *("--node-count", "--node-prefix", "--spot", "--internal-ips", "--async"),
        *("--reserved", "--service-account", "--valid-until-duration"),
    },
    "queued-resources describe": set(),
    "queued-resources delete": {"--force", "--async"},
    "tpu-vm describe": set(),
    "tpu-vm ssh": SSH,
    "tpu-vm scp": {"--worker", "--internal-ip", "--scp-flag", "--recurse"},
}


class Failure(Exception):
    """An error message of gcloud and its exit status."""

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.status = status


@contextlib.contextmanager
def cloud():
    """The state, for one caller at a time; written back at the end."""
    with (CLOUD / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        path = CLOUD / "state.json"
        state = json.loads(path.read_text())
        try:
            yield state
        finally:
            path.write_text(json.dumps(state, indent=1))


def parse(words: list[str]) -> tuple[str, list[str], dict[str, str]]:
    """The command, its positional arguments, and its flags; fails on what gcloud does not know."""
    if words[:2] != ["compute", "tpus"]:
        raise Failure(f"Invalid choice: {words[:2]}", 2)
    command = " ".join(words[2:4])
    if command not in FLAGS:
        raise Failure(f"Invalid choice: '{command}'", 2)
    flags = {}
    places = []
    for word in words[4:]:
        if word.startswith("--"):
            name, _, value = word.partition("=")
            if name not in FLAGS[command] | WIDE:
                raise Failure(f"unrecognized arguments: {word}", 2)
            flags[name] = value
        else:
            places.append(word)
    if not {"--project", "--zone", "--quiet"} <= set(flags):
        raise Failure("no project, no zone, or it would have asked", 2)
    return command, places, flags


def take_away(state: dict, name: str) -> None:
    """Preempts: kills what runs on the slices, deletes hosts and slices."""
    resource = state["resources"][name]
    for node in resource["nodes"]:
        for pid in (CLOUD / "hosts" / node).glob("*/jaxlt_host/runs/*/pid"):
            with contextlib.suppress(ProcessLookupError, ValueError):
                os.killpg(int(pid.read_text()), signal.SIGKILL)
        shutil.rmtree(CLOUD / "hosts" / node, ignore_errors=True)
        state["nodes"].pop(node, None)
    resource["state"] = "SUSPENDED"


def create(state: dict, name: str, flags: dict[str, str]) -> str:
    if name in state["resources"]:
        raise Failure(f"ALREADY_EXISTS: Resource '{name}' already exists")
    if ("--node-id" in flags) == ("--node-count" in flags):
        raise Failure("Exactly one of (--node-id | --node-count) must be specified.", 2)
    if ("--accelerator-type" in flags) == ("--type" in flags and "--topology" in flags):
        raise Failure("Exactly one of --accelerator-type, (--type --topology)", 2)
    if flags.get("--type", "v4") not in ("v2", "v3", "v4"):
        raise Failure("argument --type: Invalid choice", 2)
    count = int(flags.get("--node-count", 0))
    if flags.get("--node-count") and count < 2:
        raise Failure("--node-count: Node count must be greater than 1", 2)
    prefix = flags.get("--node-prefix", name)
    nodes = [f"{prefix}-{i}" for i in range(count)] if count else [flags["--node-id"]]
    made = {"nodes": nodes, "count": count or "", "coming": list(state["states"]), "state": "NEW"}
    state["resources"][name] = made
    return ""


def advance(state: dict, resource: dict) -> None:
    """The next state of a queued resource; slices come with ACTIVE."""
    if resource["coming"]:
        resource["state"] = resource["coming"].pop(0)
    if resource["state"] == "ACTIVE":
        for node in resource["nodes"]:
            if state["nodes"].setdefault(node, "READY") == "READY":
                for host in range(state["hosts"]):
                    (CLOUD / "hosts" / node / str(host)).mkdir(parents=True, exist_ok=True)


def describe(state: dict, name: str, form: str) -> str:
    resource = state["resources"].get(name)
    if resource is None:
        raise Failure(f"NOT_FOUND: Resource '{name}' was not found")
    if form == "value(state.failedData.error.message)":
        return resource.get("message", state["message"]) + "\n"
    assert form == (
        'csv[no-heading,separator="|"](state.state,tpu.nodeSpec[].nodeId.list(separator=" "),'
        "tpu.nodeSpec[0].multisliceParams.nodeCount)"
    ), form
    advance(state, resource)
    ids = "None" if resource["count"] else " ".join(resource["nodes"])
    return f"{resource['state']}|{ids}|{resource['count']}\n"


def describe_node(state: dict, node: str, form: str) -> str:
    assert form == (
        'csv[no-heading,separator="|"](state,health,networkEndpoints.len(),networkConfigs.len())'
    ), form
    if node not in state["nodes"]:
        raise Failure(f"NOT_FOUND: Resource '{node}' was not found")
    return f"{state['nodes'][node]}||{state['hosts']}|0\n"


def delete(state: dict, name: str, flags: dict[str, str]) -> str:
    if name not in state["resources"]:
        raise Failure(f"NOT_FOUND: Resource '{name}' was not found")
    if state["resources"][name]["nodes"] and "--force" not in flags:
        raise Failure("FAILED_PRECONDITION: the queued resource has nodes")
    take_away(state, name)
    del state["resources"][name]
    return ""


def workers(state: dict, node: str, flags: dict[str, str]) -> tuple[list[Path], list[str]]:
    """Folders of the hosts that a call reaches, and the numbers of those that it does not."""
    if node not in state["nodes"]:
        raise Failure(f"NOT_FOUND: Resource '{node}' was not found")
    wanted = flags.get("--worker", "0")
    numbers = range(state["hosts"]) if wanted == "all" else [int(wanted)]
    dead = [str(i) for i in numbers if f"{node}/{i}" in state["dead"]]
    return [CLOUD / "hosts" / node / str(i) for i in numbers if str(i) not in dead], dead


def ssh(folders: list[Path], command: str) -> int:
    """Runs the command on all hosts at once; the highest exit status."""
    running = [
        subprocess.Popen(
            ["sh", "-c", command],
            cwd=folder,
            env=dict(os.environ, HOME=str(folder), FAKE_HOST=folder.name, FAKE_NODE=str(folder)),
        )
        for folder in folders
    ]
    return max((process.wait() for process in running), default=0)


def scp(folders: list[Path], sources: list[str], target: str) -> None:
    for folder in folders:
        for source in sources:
            where = folder / target.partition(":")[2]
            if Path(source).is_dir():
                shutil.copytree(source, where / Path(source).name, dirs_exist_ok=True)
            else:
                shutil.copy(source, where)


def main(words: list[str]) -> int:
    command, places, flags = parse(words)
    with cloud() as state:
        for marker in CLOUD.glob("preempt-*"):
            marker.unlink()
            take_away(state, marker.name.removeprefix("preempt-"))
        for failure in state["failures"]:
            if failure["times"] and failure["match"] in " ".join(words):
                failure["times"] -= 1
                raise Failure(failure["error"], failure.get("status", 1))
        form = flags.get("--format", "")
        simple = {
            "queued-resources create": lambda: create(state, places[0], flags),
            "queued-resources describe": lambda: describe(state, places[0], form),
            "queued-resources delete": lambda: delete(state, places[0], flags),
            "tpu-vm describe": lambda: describe_node(state, places[0], form),
        }
        if command in simple:
            sys.stdout.write(simple[command]())
            return 0
        node = places[-1].partition(":")[0]
        folders, dead = workers(state, node, flags)
    if command == "tpu-vm ssh":
        status = ssh(folders, flags["--command"])
    else:
        status = 0
        scp(folders, places[:-1], places[-1])
    for host in dead:
        print(f"##### Command execution on worker {host} failed", file=sys.stderr)
    return 255 if dead else status


if __name__ == "__main__":
    with (CLOUD / "calls").open("a") as calls:
        calls.write(json.dumps(sys.argv[1:]) + "\n")
    try:
        sys.exit(main(sys.argv[1:]))
    except Failure as failure:
        print(f"ERROR: (gcloud) {failure}", file=sys.stderr)
        sys.exit(failure.status)
