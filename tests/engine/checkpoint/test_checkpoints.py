"""Checkpoints: bit-exact on any mesh, complete or not there, and errors that say what to mend."""

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from etils import epath

from jaxlt.engine.checkpoint import store as checkpoint_store
from jaxlt.engine.checkpoint import tree as checkpoint_tree
from jaxlt.engine.checkpoint.base import CheckpointBase, is_checkpoint
from jaxlt.engine.checkpoint.checkpoints import CheckpointConfig, Checkpoints
from jaxlt.errors import UserError
from tests.engine.checkpoints import abstract, assert_same, parameters, place, saved, state


@pytest.mark.parametrize("devices", [8, 4, 1])
def test_restores_bit_exactly_on_another_mesh(tmp_path, devices):
    saved(tmp_path, state(parameters(), 8))
    wanted = state(parameters(), devices)
    got, meta = Checkpoints(tmp_path).restore(10, abstract(wanted))
    assert_same(got, wanted)
    assert meta == {"position": 10, "seed": 1}


@pytest.mark.parametrize("scanned", [True, False])
def test_scanned_and_unrolled_layers_convert_into_each_other(tmp_path, scanned):
    saved(tmp_path, state(parameters(), 8, scanned=scanned))
    wanted = state(parameters(), 4, scanned=not scanned)
    got, _ = Checkpoints(tmp_path).restore(10, abstract(wanted))
    assert_same(got, wanted)


def test_special_values_survive(tmp_path):
    bits = np.array([0x7FC00001, 0xFF800000, 0x80000000, 0x00000001], np.uint32).view(np.float32)
    tree = {"x": jnp.asarray(bits), "b": jnp.asarray([True, False]), "empty": jnp.zeros((0, 3))}
    got, _ = saved(tmp_path, tree).restore(10, abstract(tree))
    assert_same(got, tree)


def test_donated_arrays_are_saved_as_they_were(tmp_path):
    step = jax.jit(lambda t: jax.tree.map(lambda a: a * 2 + 1, t), donate_argnums=0)
    tree = {"w": jnp.arange(2_000_000, dtype=jnp.float32)}
    tree = step(tree)  # compiled, so that donation follows the save at once
    checkpoints = Checkpoints(tmp_path)
    for number in range(1, 4):
        wanted = np.array(tree["w"])
        shapes = abstract(tree)
        checkpoints.save(number, tree, {})
        for _ in range(3):
            tree = step(tree)
        got, _ = checkpoints.restore(number, shapes)
        np.testing.assert_array_equal(np.asarray(got["w"]), wanted)


def test_keeps_the_newest_and_the_best(tmp_path):
    config = CheckpointConfig(keep=2, keep_best=1, best_metric="loss")
    checkpoints = Checkpoints(tmp_path, config)
    tree = {"w": jnp.zeros(3)}
    losses = {1: 5.0, 2: 3.0, 3: 3.0, 4: float("nan"), 5: 4.0, 6: float("-inf"), 7: None}
    for step, loss in losses.items():
        checkpoints.save(step, tree, {}, None if loss is None else {"loss": loss})
    checkpoints.wait()
    assert checkpoints.best() == 2  # the earlier of two equals; neither NaN nor -inf
    assert checkpoints.steps() == [2, 6, 7] and checkpoints.latest() == 7
    assert Checkpoints(tmp_path, CheckpointConfig(best_metric="loss", best_mode="max")).best() == 2
    assert Checkpoints(tmp_path).best() is None
    assert not checkpoints.save(7, tree, {})


def test_a_folder_without_record_does_not_count_and_goes_at_the_next_save(tmp_path):
    tree = {"w": jnp.arange(4.0)}
    checkpoints = saved(tmp_path, tree)
    for name in ("20", "30.orbax-checkpoint-tmp"):
        shutil.copytree(tmp_path / "checkpoints/10", tmp_path / "checkpoints" / name)
    (tmp_path / "checkpoints/20/jaxlt.json").unlink()
    assert Checkpoints(tmp_path).steps() == [10]
    assert (tmp_path / "checkpoints/20").exists()  # a reader deletes nothing
    checkpoints.save(20, tree, {})
    checkpoints.wait()
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["10", "20"]


def data_file(folder):
    return max((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)


@pytest.mark.parametrize("damage", ["truncated", "altered", "missing", "record", "record cut"])
def test_damage_is_told_and_never_loaded(tmp_path, damage):
    tree = {"w": jnp.arange(50_000.0)}
    checkpoints = saved(tmp_path, tree, step=10)
    checkpoints.save(20, tree, {})
    checkpoints.wait()
    folder = tmp_path / "checkpoints/20"
    victim = folder / "jaxlt.json" if "record" in damage else data_file(folder)
    content = victim.read_bytes()
    if damage == "missing":
        victim.unlink()
    elif damage in ("truncated", "record cut"):
        victim.write_bytes(content[: len(content) // 2])
    elif damage == "record":
        victim.write_bytes(content.replace(b'"step": 20', b'"step": 21'))
    else:
        middle = len(content) // 2
        victim.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    with pytest.raises(UserError) as told:
        Checkpoints(tmp_path).restore(20, abstract(tree))
    text = str(told.value)
    assert victim.name in text and "step 10" in text and f"delete the folder '{folder}'" in text
    shutil.rmtree(folder)
    again = Checkpoints(tmp_path)
    assert again.latest() == 10
    assert_same(again.restore(10, abstract(tree))[0], tree)


@pytest.mark.parametrize("damage", ["altered", "missing"])
def test_parts_that_are_not_asked_for_are_neither_read_nor_checked(tmp_path, damage):
    tree = state(parameters())
    saved(tmp_path, tree)
    folder = tmp_path / "checkpoints/10"
    victim = data_file(folder / "optimizer")
    if damage == "missing":
        shutil.rmtree(folder / "optimizer")
    else:
        victim.write_bytes(bytes(victim.stat().st_size))
    wanted = abstract({"trainable": tree["trainable"]})
    got, _ = Checkpoints(tmp_path).restore(10, wanted, part=True)
    assert_same(got, {"trainable": tree["trainable"]})
    name = "token_embedder/embedding"
    embedding = CheckpointBase(tmp_path).read(name)
    np.testing.assert_array_equal(embedding, tree["trainable"][f"params/{name}"])
    said = "is missing" if damage == "missing" else "differs"
    with pytest.raises(UserError, match=rf"damaged: file 'optimizer/\S+' {said}") as told:
        Checkpoints(tmp_path).restore(10, abstract(tree))
    assert damage == "missing" or victim.name in str(told.value)
    victim = data_file(folder / "trainable")
    victim.write_bytes(bytes(victim.stat().st_size))
    for read in (
        lambda: Checkpoints(tmp_path).restore(10, wanted, part=True),
        lambda: CheckpointBase(tmp_path),
    ):
        with pytest.raises(UserError, match=f"file '{victim.relative_to(folder)}' differs"):
            read()


def test_format_1_whose_parts_share_their_files(tmp_path):
    tree = state(parameters()) | {"empty": jnp.zeros((0, 3))}
    named = checkpoint_tree.name_leaves(tree)
    folder = tmp_path / "checkpoints/10"
    filled = checkpoint_tree.nest({n: a for n, a in named.items() if a.size})
    ocp.PyTreeCheckpointer().save(folder, filled)
    record = {"format": 1, "step": 10, "meta": {}, "metrics": {}}
    record["arrays"] = checkpoint_tree.leaves_of(named)
    checkpoint_store._write_record(epath.Path(folder), record)
    checkpoints = Checkpoints(tmp_path)
    assert_same(checkpoints.restore(10, abstract(tree))[0], tree)
    part = {"trainable": tree["trainable"]}
    assert_same(checkpoints.restore(10, abstract(part), part=True)[0], part)
    base = CheckpointBase(tmp_path)
    for name in base.shapes:
        wanted = np.asarray(tree["trainable"][f"params/{name}"])
        np.testing.assert_array_equal(base.read(name), wanted)
    data_file(folder).write_bytes(b"")
    for read in (
        lambda: checkpoints.restore(10, abstract(tree)),
        lambda: checkpoints.restore(10, abstract(part), part=True),
        lambda: CheckpointBase(tmp_path),
    ):
        with pytest.raises(UserError, match="has 0 bytes where"):
            read()


@pytest.mark.parametrize("scanned", [True, False])
def test_a_checkpoint_is_the_base_of_another_run(tmp_path, scanned):
    flat = parameters()
    tree = state(flat, scanned=scanned)
    frozen = {"params/token_embedder/embedding": tree["trainable"].pop(
        "params/token_embedder/embedding").astype(jnp.bfloat16)}  # fmt: skip
    checkpoints = saved(tmp_path, tree)
    checkpoints.save_base(frozen, {"hash": "abc"})
    checkpoints.save_base(frozen, {"hash": "again"})  # once is enough
    for path in (tmp_path, str(tmp_path / "checkpoints/10")):
        base = CheckpointBase(path)
        assert base.origin == {"path": str(tmp_path / "checkpoints/10"), "format": "jaxlt"}
        assert base.shapes == {n.removeprefix("params/"): v.shape for n, v in flat.items()}
        for name, value in flat.items():
            got = base.read(name.removeprefix("params/"))
            wanted = value.astype(jnp.bfloat16) if "embedding" in name else value
            assert got.dtype == wanted.dtype
            np.testing.assert_array_equal(got, wanted)
        assert base.meta == {"hash": "abc", "position": 10, "seed": 1}
    assert set(CheckpointBase(tmp_path / "base").shapes) == {"token_embedder/embedding"}
    got, meta = Checkpoints(tmp_path).restore_base(abstract(frozen))
    assert_same(got, frozen)
    assert meta == {"hash": "abc"}
    assert is_checkpoint(tmp_path) and not is_checkpoint(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="neither a jaxlt workdir with a complete checkpoint nor"):
        CheckpointBase(tmp_path / "elsewhere")


def test_what_is_asked_for_wrongly(tmp_path):
    checkpoints = saved(tmp_path, {"w": jnp.zeros(2)})
    with pytest.raises(UserError, match=r"no complete checkpoint of step 11 \(10\)"):
        checkpoints.restore(11, {})
    with pytest.raises(UserError, match="has no base"):
        checkpoints.restore_base({"w": jax.ShapeDtypeStruct((2,), jnp.float32)})
    checkpoints.save_base({}, {})  # nothing is frozen
    assert checkpoints.restore_base({}) == ({}, {})
    with pytest.raises(TypeError, match="int64"):
        checkpoints.save(12, {"w": np.zeros(2, np.int64)}, {})
    with pytest.raises(TypeError, match="JSON"):
        checkpoints.save(12, {"w": jnp.zeros(2)}, {"x": object()})
    with pytest.raises(UserError, match=r"CheckpointConfig\.keep is at least 1"):
        CheckpointConfig(keep=0)
    with pytest.raises(UserError, match="'min' or 'max', not 'low'"):
        CheckpointConfig(best_mode="low")


def noise(size):
    """`size` floats, half of them in each of two parts."""
    half = jnp.asarray(np.random.default_rng(0).normal(size=size // 2), jnp.float32)
    return {"trainable": {"w": half}, "optimizer": {"w": half}}


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("mount"), reason="needs root to mount")
@pytest.mark.parametrize("foreseen", [True, False])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # tensorstore's
def test_a_full_disk_is_told_and_nothing_is_lost(tmp_path, capfd, monkeypatch, foreseen):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", disk], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("mounting a tmpfs is not permitted here")
    try:
        if not foreseen:
            monkeypatch.setattr(checkpoint_store, "free_bytes", lambda path: None)
        small, large = noise(250_000), noise(3_000_000)
        checkpoints = saved(disk, small)
        with pytest.raises(UserError) as told:
            checkpoints.save(20, large, {})
            checkpoints.wait()
        text = str(told.value)
        assert "step 20" in text and str(disk) in text and "disk is full" in text
        assert "Intact checkpoints: 10." in text and "goes on from step 10" in text
        assert ("MB free there" in text) == foreseen
        assert os.listdir(disk / "checkpoints") == ["10"]  # what it had written is gone
        checkpoints.save(30, small, {})  # and the space is there again
        checkpoints.wait()
        assert_same(checkpoints.restore(30, abstract(small))[0], small)
        assert "Traceback" not in capfd.readouterr().err
    finally:
        subprocess.run(["umount", disk], check=True)


LIMITED = """
import resource, sys, jax.numpy as jnp, numpy as np
from jaxlt.engine.checkpoint.checkpoints import Checkpoints
from jaxlt.errors import UserError
noise = lambda n: {"w": jnp.asarray(np.random.default_rng(n).normal(size=n), jnp.float32)}
checkpoints = Checkpoints(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (4_000_000, 4_000_000))
try:
    for step, size in ((1, 1000), (2, 3_000_000)):
        checkpoints.save(step, noise(size), {})
        checkpoints.wait()
except UserError as error:
    print(error)
"""


def test_a_write_that_fails_for_another_limit_is_told_too(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, tmp_path], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "step 2 could not be saved" in done.stdout and "disk is full" in done.stdout
    assert os.listdir(tmp_path / "checkpoints") == ["1"]


HOSTS = """
import sys
from jaxlt.engine.hosts import distributed
distributed.initialize(sys.argv[2], 2, int(sys.argv[3]), timeout_s=60)
import jax, numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
from jaxlt.engine.checkpoint.checkpoints import CheckpointConfig, Checkpoints
mesh = jax.make_mesh((4,), ("x",), axis_types=(AxisType.Auto,))
values = np.arange(32.0, dtype=np.float32).reshape(8, 4)
w = jax.make_array_from_callback((8, 4), NamedSharding(mesh, P("x")), lambda i: values[i])
checkpoints = Checkpoints(sys.argv[1], CheckpointConfig(keep=2))
for step in (1, 2, 3):
    checkpoints.save(step, {"w": w * step}, {"step": step})
checkpoints.wait()
assert checkpoints.steps() == [2, 3], checkpoints.steps()
turned = NamedSharding(mesh, P(None, "x"))
abstract = {"w": jax.ShapeDtypeStruct((8, 4), np.float32, sharding=turned)}
got, meta = checkpoints.restore(3, abstract)
for shard in got["w"].addressable_shards:
    np.testing.assert_array_equal(np.asarray(shard.data), 3 * values[shard.index])
"""


@pytest.mark.slow
def test_two_hosts_save_one_checkpoint(tmp_path):
    with socket.create_server(("localhost", 0)) as server:
        address = f"localhost:{server.getsockname()[1]}"
    env = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    hosts = [
        subprocess.Popen([sys.executable, "-c", HOSTS, tmp_path, address, str(i)],
                         env=env, stderr=subprocess.PIPE, text=True)
        for i in (0, 1)
    ]  # fmt: skip
    said = [h.communicate(timeout=120)[1] for h in hosts]
    assert [h.returncode for h in hosts] == [0, 0], said
    wanted = {"w": jax.ShapeDtypeStruct((8, 4), jnp.float32, sharding=place(8, "x"))}
    got, meta = Checkpoints(tmp_path).restore(3, wanted)
    np.testing.assert_array_equal(np.asarray(got["w"]), 3 * np.arange(32.0).reshape(8, 4))
    assert meta == {"step": 3}


def test_orbax_alone_can_read_a_checkpoint(tmp_path):
    tree = {"trainable": {"params/a/w": jnp.arange(3.0)}}
    folder = saved(tmp_path, tree).path(10)
    got = ocp.PyTreeCheckpointer().restore(folder / "trainable")
    np.testing.assert_array_equal(got["trainable"]["params"]["a"]["w"], [0, 1, 2])


SAVER = """
import sys, numpy as np, jax, jax.numpy as jnp
from jaxlt.engine.checkpoint.checkpoints import CheckpointConfig, Checkpoints
checkpoints = Checkpoints(sys.argv[1], CheckpointConfig(keep=2))
step = checkpoints.latest() or 0
print("ready", flush=True)
while True:
    step += 1
    rng = np.random.default_rng(step)
    tree = {str(i): jnp.asarray(rng.normal(size=(200, 300)), jnp.float32) for i in range(5)}
    checkpoints.save(step, tree, {"step": step})
"""


@pytest.mark.slow
def test_kills_at_random_moments_leave_the_newest_complete_one_readable(tmp_path):
    shapes = {str(i): jax.ShapeDtypeStruct((200, 300), jnp.float32) for i in range(5)}
    pause, before = random.Random(5), 0
    for _ in range(6):
        process = subprocess.Popen(
            [sys.executable, "-c", SAVER, tmp_path], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(pause.uniform(0.2, 1.0))
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        checkpoints = Checkpoints(tmp_path)
        step = checkpoints.latest()
        assert step is not None and step > before
        for step in checkpoints.steps():
            tree, meta = checkpoints.restore(step, shapes)
            rng = np.random.default_rng(step)
            assert meta == {"step": step}
            for i in range(5):
                wanted = rng.normal(size=(200, 300)).astype(np.float32)
                np.testing.assert_array_equal(np.asarray(tree[str(i)]), wanted)
        before = step


def test_a_kill_between_any_two_operations_of_a_save_loses_nothing(tmp_path):
    """Every prefix of what a save does to the folder is either no checkpoint or a whole one."""
    tree = {"w": jnp.arange(1000.0)}
    folder = epath.Path(saved(tmp_path, tree).path(10))
    record = checkpoint_store.read_record(folder)
    checkpoint_store.verify(folder, record)
    text = (folder / "jaxlt.json").read_text()
    for length in range(0, len(text), 97):  # the record half-written under its temporary name
        (folder / "jaxlt.json.new").write_text(text[:length])
        assert_same(Checkpoints(tmp_path).restore(10, abstract(tree))[0], tree)
        (folder / "jaxlt.json").write_text(text[:length])
        with pytest.raises(UserError, match=r"jaxlt\.json"):
            Checkpoints(tmp_path).restore(10, abstract(tree))
        (folder / "jaxlt.json").write_text(text)
    assert json.loads(text)["arrays"] == {"w": [[1000], "float32"]}
