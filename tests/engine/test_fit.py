"""The loop in memory: equal to the one with a folder, repeatable, and silent."""

import dataclasses
import os

import jax
import numpy as np
import pytest

from jaxlt.engine.config import CheckpointConfig, TrainConfig
from jaxlt.engine.fit import fit
from jaxlt.engine.loop import program_of
from jaxlt.engine.optim.pace import Pace
from jaxlt.engine.state import make_state
from jaxlt.errors import UserError
from tests.engine import jobs

STEPS = 4


class Scripted:
    """An evaluator that returns the given values one after the other."""

    name = "dev"

    def __init__(self, *values):
        self.values = list(values)

    def __call__(self, program, params):
        return {"score": self.values.pop(0)}


def begin(job):
    """(program, state at step 0, hyper by step, batches) of a small job on one device."""
    source = jobs.texts()
    program = program_of(job, jax.devices()[:1])
    state = make_state(program.layout, program.optimizer, job.train.seed)
    return program, state, Pace(job, program, source.languages).at, source


def bits(state):
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(state)]


@pytest.fixture(scope="module")
def twice():
    """Two calls from one state, which is looked at before and after."""
    program, state, hyper, source = begin(jobs.small_job(steps=STEPS))
    before = bits(state)
    found = [fit(program, state, source, hyper, STEPS) for _ in range(2)]
    assert bits(state) == before
    return found


def test_a_second_call_from_one_state_gives_the_same(twice):
    (state, history), (again, other) = twice
    assert bits(state) == bits(again) and history.steps == other.steps
    assert [step["step"] for step in history.steps] == [1, 2, 3, 4]
    assert history.ended == "done" and history.position.step == STEPS == int(state.step)
    assert sum(history.position.language_tokens.values()) > 0


def test_it_is_the_loop_that_has_a_folder(twice, tmp_path):
    result = jobs.run(jobs.small_job(steps=STEPS), tmp_path)
    assert bits(result.state) == bits(twice[0][0])
    logged = [row["loss"] for row in jobs.logged(tmp_path)]
    assert logged == [step["loss"] for step in twice[0][1].steps]


def test_it_leaves_nothing_behind_and_says_nothing(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    program, state, hyper, source = begin(jobs.small_job(steps=STEPS))
    fit(program, state, source, hyper, 2)
    assert os.listdir(tmp_path) == [] and capfd.readouterr() == ("", "")


def test_it_goes_on_from_a_position(twice):
    program, state, hyper, source = begin(jobs.small_job(steps=STEPS))
    half, history = fit(program, state, source, hyper, 2)
    whole, more = fit(program, half, source, hyper, STEPS, position=history.position)
    assert bits(whole) == bits(twice[0][0])
    assert history.steps + more.steps == twice[0][1].steps
    assert more.position.language_tokens == twice[0][1].position.language_tokens
    _, nothing = fit(program, whole, source, hyper, STEPS)
    assert nothing.steps == [] and nothing.ended == "done"


def test_patience_stops_and_the_best_state_is_kept():
    program, state, hyper, source = begin(jobs.small_job(steps=STEPS))
    last, history = fit(
        program,
        state,
        source,
        hyper,
        9,
        evaluators=[Scripted(3.0, 1.0, 2.0, 5.0)],
        settings=TrainConfig(9, eval_every=1, patience=2),
        best=CheckpointConfig(best_metric="dev/score"),
    )
    assert history.ended == "patience" and int(last.step) == 4
    assert (history.position.best_step, history.position.best) == (2, 1.0)
    assert [e["dev/score"] for e in history.evaluations] == [3.0, 1.0, 2.0, 5.0]
    two, _ = fit(program, state, source, hyper, 2)
    assert bits(history.best) == bits(two)


def test_one_hyper_serves_all_steps_and_a_bad_one_stops():
    program, state, hyper, source = begin(jobs.small_job(steps=STEPS))
    bad = dataclasses.replace(hyper(0), learning_rate=np.float32("inf"))
    with pytest.raises(UserError, match=r"Stopped at step 1: the loss .* is not finite"):
        fit(program, state, source, bad, STEPS)
