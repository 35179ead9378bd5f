"""Processes of one run find each other, or say who is missing; never hang, never abort."""

import os
import socket
import subprocess
import sys
import time

import pytest

from jaxlt.engine.hosts import distributed
from jaxlt.engine.hosts.rendezvous import meet
from jaxlt.errors import HostGone, UserError

JOIN = """
import sys
from jaxlt.engine.hosts import distributed
from jaxlt.errors import UserError
address, count, process, timeout = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
try:
    distributed.initialize(address, count, process, timeout_s=timeout)
except UserError as error:
    print(error, file=sys.stderr)
    sys.exit(2)
"""

WORK = (
    JOIN
    + """
import jax, numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
assert jax.device_count() == 4 and jax.local_device_count() == 2, jax.devices()
mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))
x = jax.make_array_from_callback((4, 3), NamedSharding(mesh, P("data")),
                                 lambda i: np.arange(12.0).reshape(4, 3)[i])
add = lambda v: jax.lax.psum(v, "data")
body = jax.shard_map(add, mesh=mesh, in_specs=P("data"), out_specs=P())
total = np.asarray(jax.jit(body)(x).addressable_data(0))
np.testing.assert_array_equal(total, [[18.0, 22.0, 26.0]])
assert distributed.process_count() == 2 and distributed.is_primary() == (process == 0)
distributed.barrier("work done")
def fail():
    raise UserError("no room")
try:
    distributed.on_primary(fail, "Writing")
except UserError as error:
    print(error)
"""
)


def start(code: str, *args: object) -> subprocess.Popen:
    env = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM", "JAX_"))}
    env |= {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, args)],
        env=env,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def free_address() -> str:
    with socket.create_server(("localhost", 0)) as server:
        return f"localhost:{server.getsockname()[1]}"


@pytest.mark.slow
def test_two_processes_form_one_mesh():
    address = free_address()
    processes = [start(WORK, address, 2, i, 60) for i in (0, 1)]
    results = [p.communicate(timeout=120) for p in processes]
    assert [p.returncode for p in processes] == [0, 0], results
    assert "no room" in results[0][0]
    assert "Writing failed on process 0" in results[1][0]


@pytest.mark.parametrize("present", [0, 1])
def test_a_host_that_does_not_come_is_named_after_the_time_out(present):
    address = free_address()
    with pytest.raises(HostGone) as told:
        meet(address, 2, present, 0.5)
    assert address in str(told.value) and "0.5 s" in str(told.value)
    assert ("process 1" if present == 0 else "did not reach process 0") in str(told.value)


@pytest.mark.slow
def test_all_who_came_hear_who_is_missing():
    address = free_address()
    processes = [start(JOIN, address, 4, i, 5) for i in (0, 2)]
    for process in processes:
        _, said = process.communicate(timeout=60)
        assert process.returncode == 2 and "Traceback" not in said and "Check failure" not in said
        assert "2 of 4 processes did not come" in said and "process 1, 3" in said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("second", "message"),
    [((3, 1), "num_processes = 3"), ((2, 0), "in use")],
)
def test_processes_that_contradict_each_other(second, message):
    address = free_address()
    processes = [start(JOIN, address, 2, 0, 4), start(JOIN, address, *second, 4)]
    said = [p.communicate(timeout=60)[1] for p in processes]
    assert any(message in text for text in said), said


@pytest.mark.slow
def test_strangers_on_the_port_are_ignored():
    address = free_address()
    host, port = address.split(":")
    process = start(JOIN, address, 2, 0, 4)
    for _ in range(200):
        try:
            with socket.create_connection((host, int(port)), timeout=1) as sock:
                sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
                assert sock.recv(10) == b""
            break
        except ConnectionRefusedError:
            time.sleep(0.05)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 2 and "process 1 " in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("localhost:1", 2, None), "not given: process_id"),
        ((None, 2, 0), "not given: coordinator_address"),
        (("localhost:1", 2, 2), "between 0 and num_processes - 1 = 1, not 2"),
        (("localhost", 2, 1), "host:port"),
    ],
)
def test_flags_that_make_no_sense(arguments, message, monkeypatch):
    for name in ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match=message):
        distributed.initialize(*arguments, timeout_s=1)


def test_too_short_a_silence():
    with pytest.raises(UserError, match="lost_after_s is at least 1 second, not 0"):
        distributed.initialize("localhost:1", 2, 1, timeout_s=1, lost_after_s=0)


def test_one_process_alone_needs_nothing():
    distributed.initialize()
    assert distributed.process_count() == 1 and distributed.is_primary()
    distributed.barrier("alone")


def test_slurm_is_recognised_from_the_environment(monkeypatch):
    step = {"JOB_ID": "7", "STEP_NODELIST": "node[03-04]", "NTASKS": "2", "PROCID": "1"}
    for name, value in (step | {"LOCALID": "0"}).items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    place = distributed._detected(timeout_s=1)
    assert place is not None
    assert place[1:] == (2, 1) and place.address.startswith("node03:")
    monkeypatch.setenv("SLURM_NTASKS", "1")
    assert distributed._detected(timeout_s=1) is None
