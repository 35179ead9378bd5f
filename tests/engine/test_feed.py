"""Batches onto the devices, ahead of their use."""

import functools
import threading

import jax
import numpy as np
import pytest

from jaxlt.data.rows.batches import ArrayBatches
from jaxlt.engine.feed import Feed, read_batch
from jaxlt.engine.partitioning import MeshConfig, make_mesh
from jaxlt.errors import UserError
from jaxlt.modules.bottleneck import Bottleneck
from jaxlt.modules.routing import cycled, routes_of
from jaxlt.modules.site import plug
from tests.conftest import make_batch
from tests.engine import jobs


@pytest.fixture(scope="module")
def source():
    return ArrayBatches(make_batch(32), 8, seed=1, languages=("a", "b", "c"))


@pytest.fixture(scope="module")
def mesh():
    return make_mesh(MeshConfig(data=4, tensor=2))


def feeders():
    return [t for t in threading.enumerate() if t.name == "jaxlt-feed"]


def test_a_batch_is_the_source_s_rows_numbered(source, mesh):
    batch, languages = read_batch(source, 3, mesh)
    wanted = source.rows(3, 0, 8)
    assert set(batch) == set(wanted) | {"row"}
    for name, value in wanted.items():
        np.testing.assert_array_equal(batch[name], value, err_msg=name)
    np.testing.assert_array_equal(batch["row"], np.arange(8))
    np.testing.assert_array_equal(languages, wanted["language"])
    assert {s.data.shape[0] for s in batch["row"].addressable_shards} == {2}


def test_it_starts_anywhere_and_keeps_the_order(source, mesh):
    feed = Feed(source, mesh, 5, 9)
    found = [(step, np.asarray(batch["encoder_input_tokens"])) for step, batch, _ in feed]
    feed.close()
    assert [step for step, _ in found] == [5, 6, 7, 8]
    for step, tokens in found:
        np.testing.assert_array_equal(tokens, source.rows(step, 0, 8)["encoder_input_tokens"])
    assert feed.waited_s > 0
    assert not feeders()


def test_it_stops_early_and_leaves_no_thread(source, mesh):
    feed = Feed(source, mesh, 0, 10**9, ahead=1)
    assert next(iter(feed))[0] == 0
    feed.close()
    feed.close()
    assert not feeders()


def test_it_does_not_read_far_ahead(source, mesh):
    read = []

    class Counted(ArrayBatches):
        def rows(self, step, start, stop):
            read.append(step)
            return super().rows(step, start, stop)

    feed = Feed(Counted(make_batch(32), 8, languages=("a", "b", "c")), mesh, 0, 100, ahead=2)
    taken = [next(iter(feed))[0] for _ in range(3)]
    feed.close()
    assert taken == [0, 1, 2]
    assert max(read) <= 2 + 2 + 1  # taken, waiting in the queue, in the thread's hand


def test_an_error_while_reading_is_raised_in_the_loop(source, mesh):
    class Broken(ArrayBatches):
        def rows(self, step, start, stop):
            if step == 2:
                raise OSError("the disk is gone")
            return super().rows(step, start, stop)

    feed = Feed(Broken(make_batch(32), 8, languages=("a", "b", "c")), mesh, 0, 5)
    seen = []
    with pytest.raises(OSError, match="the disk is gone"):
        seen.extend(step for step, *_ in feed)
    feed.close()
    assert seen == [0, 1]


def test_a_source_without_languages(mesh):
    class Plain(ArrayBatches):
        def rows(self, step, start, stop):
            return {n: v for n, v in super().rows(step, start, stop).items() if n != "language"}

    batch, languages = read_batch(Plain(make_batch(8) | {"language": np.zeros(8)}, 8), 0, mesh)
    assert "language" not in batch and languages.size == 0


def test_slots_take_turns_beside_the_rows_own_languages():
    mesh, source = make_mesh(MeshConfig(), jax.devices()[:1]), jobs.data()
    turns = functools.partial(cycled, 0, slots=[2, 0], by="step")
    seen = []
    for step in range(4):
        plain, languages = read_batch(source, step, mesh)
        batch, same = read_batch(source, step, mesh, cycle=turns)
        np.testing.assert_array_equal(languages, same)
        np.testing.assert_array_equal(batch["language"], plain["language"])
        np.testing.assert_array_equal(routes_of(batch)["source"].index, batch["cycle"])
        seen.append(int(np.unique(batch["cycle"]).item()))
    assert sorted(seen[:2]) == sorted(seen[2:]) == [0, 2]


@pytest.mark.slow
def test_a_run_whose_languages_take_turns(tmp_path):
    lang = plug(Bottleneck, "lang", reduction_factor=4, key="source", routes=3)
    ends = []
    for rate in (0.0, 0.01):
        job = jobs.small_job(
            steps=1,
            model={"plugs": (lang,)},
            schedule={"learning_rate": rate},
            trainable=("modules/.*",),
            cycle=("bb",),
        )
        ends.append(jobs.content(jobs.run(job, tmp_path / str(rate))))
    trained = [n for n in ends[0] if n.startswith("['trainable']")]
    assert trained
    for name in trained:
        before, after = (np.moveaxis(end[name], 1, 0) for end in ends)  # [R, L, ...]
        np.testing.assert_array_equal(before[[0, 2]], after[[0, 2]])
    assert any(np.any(ends[0][n] != ends[1][n]) for n in trained)
    with pytest.raises(UserError, match=r"TrainConfig.cycle names 'b'.*Did you mean 'bb'"):
        jobs.run(jobs.small_job(cycle=("b",)), tmp_path / "wrong")
