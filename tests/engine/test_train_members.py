"""Groups with folders: members end as ordinary runs, and a group goes on where it was killed."""

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from jaxlt.engine.checkpoint.checkpoints import Checkpoints
from jaxlt.engine.checkpoint.workdir import Workdir
from jaxlt.engine.evaluator import LossEvaluator
from jaxlt.engine.fit_members import FAILED
from jaxlt.engine.resume import saved_position
from jaxlt.engine.train_members import Entry, train_many
from jaxlt.errors import UserError
from tests.engine import jobs
from tests.engine.test_fit_members import SMALL, Holdout

pytestmark = pytest.mark.usefixtures("quick_compile")

STEPS, RATES, EXPLODES = 4, (0.01, 0.03), (0.01, 1e39)
BEST = {"best_metric": "eval/nll", "best_mode": "min", "keep_best": 1}


def group_jobs(rates=RATES, steps=STEPS, **changes):
    """Jobs that differ in seed, rate and weight decay, of which the stack trains."""
    given = {"steps": steps, "eval_every": 1, "model": SMALL, "checkpoint": BEST} | changes
    return [
        jobs.job(
            seed=seed,
            schedule={"learning_rate": rate},
            optimizer={"name": "adamw", "weight_decay": 0.1 * (seed + 1)},
            trainable=("params/encoder/.*",),
            **given,
        )
        for seed, rate in enumerate(rates)
    ]


def entry(job, path, source=None, name="", **more):
    """A member in a folder of its own, with an evaluator."""
    workdir = Workdir.open(path, "", "hash")
    source = source or jobs.texts()
    return Entry(name or path.name, job, source, workdir, [LossEvaluator(Holdout())], **more)


def together(folder, given, sources=None, devices=1):
    """Trains the jobs as one group in a folder, its members in folders below."""
    sources = sources or [jobs.texts(seed=seed) for seed in range(len(given))]
    with contextlib.ExitStack() as opened:
        entries = [
            entry(job, folder / f"member{k}", sources[k], about={"task": "test"})
            for k, job in enumerate(given)
        ]
        for one in entries:
            opened.enter_context(one.workdir)
        own = opened.enter_context(Workdir.open(folder / "group", "", "hash"))
        return train_many(entries, own, devices=jax.devices()[:devices])


def close(path, alone, atol=2e-6):
    """Fails unless the folder of a member holds what that of its run alone does."""
    ours, theirs = Checkpoints(path, jobs.CheckpointConfig(**BEST)), alone.checkpoints
    assert set(ours.steps()) <= set(theirs.steps()) and ours.best() == theirs.best()
    mine, wanted = (dataclasses.asdict(saved_position(own)) for own in (ours, theirs))
    assert set(mine) == set(wanted)
    for field in wanted:
        if field in ("best", "evaluation"):
            assert mine[field] == pytest.approx(wanted[field], rel=2e-6)
        else:
            assert mine[field] == wanted[field], field
    rows = zip(jobs.told(path), jobs.told(theirs.workdir), strict=True)
    assert all(a == pytest.approx(b, rel=1e-5) for a, b in rows)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(the outcomes of a group of two, its folder)."""
    folder = tmp_path_factory.mktemp("group")
    return together(folder, group_jobs()), folder


@pytest.mark.slow
def test_members_are_saved_as_ordinary_runs(trained, tmp_path):
    outcomes, folder = trained
    assert [one.ended for one in outcomes] == ["done", "done"]
    for k, job in enumerate(group_jobs()):
        path, source = folder / f"member{k}", jobs.texts(seed=k)
        own = tmp_path / f"alone{k}"
        alone = jobs.run(job, own, source, evaluators=[LossEvaluator(Holdout())])
        close(path, alone)
        for name, value in alone.state.trainable.items():
            np.testing.assert_allclose(outcomes[k].state.trainable[name], value, atol=2e-6)
        assert (path / "results.jsonl").exists()
        # It is opened, and goes on, as a run of its own.
        longer = dataclasses.replace(job, train=dataclasses.replace(job.train, steps=STEPS + 1))
        more = jobs.run(longer, path, source, evaluators=[LossEvaluator(Holdout())])
        assert int(more.state.step) == STEPS + 1


@pytest.mark.slow
def test_a_group_goes_on_to_the_same_bits(trained, tmp_path):
    outcomes, _ = trained
    half = together(tmp_path, group_jobs(steps=2))
    assert [int(one.state.step) for one in half] == [2, 2]
    whole = together(tmp_path, group_jobs())
    for found, wanted in zip(whole, outcomes, strict=True):
        jobs.assert_identical(jobs.content(found), jobs.content(wanted))
        assert found.position == wanted.position
    again = together(tmp_path, group_jobs())  # it has ended: nothing is trained
    assert [one.ended for one in again] == ["done", "done"]
    jobs.assert_identical(jobs.content(again[1]), jobs.content(outcomes[1]))


@pytest.fixture(scope="module")
def failed(tmp_path_factory):
    """The same of a group whose second member fails."""
    folder = tmp_path_factory.mktemp("failed")
    return together(folder, group_jobs(rates=EXPLODES)), folder


def named(outcomes):
    """The member that went on; fails unless the other is named with the reason."""
    first, second = outcomes
    assert (first.ended, second.ended, second.name) == ("done", FAILED, "member1")
    assert "Stopped at step 1: the loss" in second.why
    return first


def test_a_member_that_fails_is_named_and_the_other_is_saved(failed):
    outcomes, folder = failed
    assert int(named(outcomes).state.step) == STEPS
    assert Checkpoints(folder / "member0").latest() == STEPS
    assert Checkpoints(folder / "member1").latest() is None


@pytest.mark.slow
def test_a_member_that_failed_is_read_from_the_folder_and_the_other_is_as_in_a_sound_group(
    trained, failed
):
    outcomes, folder = failed
    for found in (outcomes, together(folder, group_jobs(rates=EXPLODES))):
        jobs.assert_identical(jobs.content(named(found)), jobs.content(trained[0][0]))


def test_what_is_not_of_one_shape_is_refused_by_name(tmp_path):
    first, second = group_jobs()
    adafactor = dataclasses.replace(second.optimizer, name="adafactor")
    undecayed = dataclasses.replace(second.optimizer, weight_decay=0.0)
    deeper = dataclasses.replace(second.model, encoder_layers=2)
    longer = dataclasses.replace(second.train, steps=9)
    for changed, said in (
        ({"optimizer": adafactor}, "OptimizerConfig.name is 'adamw' in member0 and 'adafactor' in"),
        ({"optimizer": undecayed}, "OptimizerConfig.weight_decay is"),
        ({"model": deeper}, r"T5Config\.encoder_layers is 1 in member0 and 2 in member1"),
        ({"train": longer}, r"TrainConfig\.steps is 4 in member0 and 9 in member1"),
    ):
        with pytest.raises(UserError, match=said):
            together(tmp_path, [first, dataclasses.replace(second, **changed)])
    with pytest.raises(UserError, match=r"field '\w+' is \(4, .* in that of member0 and \(2, "):
        together(tmp_path, [first, second], [jobs.texts(), jobs.texts(batch_size=2)])
    assert not list(tmp_path.glob("*/checkpoints"))


def test_a_group_of_other_members_is_refused(failed):
    _, folder = failed
    with (
        Workdir.open(folder / "group", "", "hash") as own,
        pytest.raises(UserError, match="has the members member0, member1, and not other"),
    ):
        train_many([entry(group_jobs()[0], folder / "other")], own)


KILLED = """
import sys
from pathlib import Path
from tests.engine.test_train_members import group_jobs, together
together(Path(sys.argv[1]), group_jobs(steps=200, every=20, eval_every=50))
"""


@pytest.mark.slow
def test_members_lie_over_devices(trained, tmp_path):
    outcomes, _ = trained
    for one, alone in zip(together(tmp_path, group_jobs(), devices=2), outcomes, strict=True):
        for name, value in alone.state.trainable.items():
            np.testing.assert_allclose(one.state.trainable[name], value, atol=2e-6)


@pytest.mark.slow
def test_a_group_that_is_killed_goes_on_to_the_same_bits(tmp_path):
    path = tmp_path / "killed"
    same = os.environ | {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}  # as this process compiles
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(path)], env=same)
    saved = Checkpoints(path / "group")
    until = time.monotonic() + 300
    while (saved.latest() or 0) < 40 and process.poll() is None and time.monotonic() < until:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert 40 <= (saved.latest() or 0) < 200
    given = group_jobs(steps=200, every=20, eval_every=50)
    found, wanted = together(path, given), together(tmp_path / "whole", given)
    for one, other in zip(found, wanted, strict=True):
        jobs.assert_identical(jobs.content(one), jobs.content(other))
        assert one.position == other.position
        ours, theirs = (jobs.told(folder / one.name) for folder in (path, tmp_path / "whole"))
        assert ours == theirs
