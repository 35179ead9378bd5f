"""The loop of a group: each member ends as its run alone does, by itself."""

import jax
import numpy as np
import pytest

from jaxlt.engine.config import CheckpointConfig, TrainConfig
from jaxlt.engine.evaluator import LossEvaluator
from jaxlt.engine.fit import fit
from jaxlt.engine.fit_members import FAILED, fit_members
from jaxlt.engine.loop import program_of
from jaxlt.engine.members import members_of
from jaxlt.engine.optim.pace import Pace
from jaxlt.engine.state import make_state
from jaxlt.errors import UserError
from tests.engine import jobs

STEPS, RATES = 4, (0.01, 0.03)
SMALL = {"encoder_layers": 1, "decoder_layers": 0}


class Scripted:
    """An evaluator that returns the given values one after the other."""

    name = "dev"

    def __init__(self, *values):
        self.values = list(values)

    def __call__(self, program, params):
        return {"score": self.values.pop(0)}


class Holdout:
    """Two batches of rows to evaluate on."""

    num_batches = 2

    def __init__(self):
        self._source = jobs.texts(seed=5)
        self.batch_size, self.languages = self._source.batch_size, self._source.languages
        self.fingerprint, self.spec, self.rows = "", self._source.spec, self._source.rows


@pytest.fixture(scope="module")
def parts():
    """(program, its group of two, their states, hypers and batches)."""
    each = [jobs.job(steps=STEPS, model=SMALL, schedule={"learning_rate": r}) for r in RATES]
    program = program_of(each[0], jax.devices()[:1])
    states = [make_state(program.layout, program.optimizer, seed) for seed in (0, 1)]
    sources = [jobs.texts(seed=seed) for seed in (0, 1)]
    hypers = [Pace(job, program, jobs.LANGUAGES).at for job in each]
    return program, members_of(program, 2), states, hypers, sources


def close(history, alone):
    """What was seen of a member is what is seen of its run alone."""
    for mine, wanted in zip(history.steps, alone.steps, strict=True):
        assert mine.keys() == wanted.keys()
        np.testing.assert_allclose(list(mine.values()), list(wanted.values()), rtol=2e-6)


@pytest.mark.slow
def test_members_with_batches_of_their_own_end_as_alone(parts):
    program, group, states, hypers, sources = parts
    ends, histories = fit_members(
        group, states, sources, hypers, STEPS, evaluators=[[LossEvaluator(Holdout())]] * 2
    )
    for i in range(2):
        end, history = fit(
            program,
            states[i],
            sources[i],
            hypers[i],
            STEPS,
            evaluators=[LossEvaluator(Holdout())],
        )
        close(histories[i], history)
        assert histories[i].ended == "done" and int(ends[i].step) == STEPS
        assert histories[i].position.language_tokens == history.position.language_tokens
        for name, value in end.trainable.items():
            np.testing.assert_allclose(ends[i].trainable[name], value, atol=2e-6, err_msg=name)
        mine, wanted = histories[i].evaluations[-1], history.evaluations[-1]
        np.testing.assert_allclose(list(mine.values()), list(wanted.values()), rtol=2e-6)


def test_one_stops_early_and_one_fails_while_another_goes_on(parts):
    program, _, states, hypers, sources = parts
    exploding = lambda step: hypers[1](step).replace(  # noqa: E731
        learning_rate=np.float32("inf" if step == 1 else 0.01)
    )
    three = members_of(program, 3)
    ends, histories = fit_members(
        three,
        [states[0], states[1], states[0]],
        sources[0],
        [hypers[0], exploding, hypers[0]],
        STEPS,
        evaluators=[[Scripted(1.0, 2.0)], [Scripted(1.0, 1.0)], [Scripted(4.0, 3.0, 2.0, 1.0)]],
        settings=TrainConfig(STEPS, eval_every=1, patience=1),
        best=CheckpointConfig(best_metric="dev/score"),
    )
    assert [h.ended for h in histories] == ["patience", FAILED, "done"]
    assert [h.position.step for h in histories] == [2, 2, 4]
    assert "Stopped at step 2: the loss" in histories[1].notes[-1]
    assert int(ends[0].step) == 2 and int(histories[0].best.step) == 1
    _, alone = fit(program, states[0], sources[0], hypers[0], STEPS)
    close(histories[2], alone)


def test_batches_of_another_shape_are_refused(parts):
    _, group, states, hypers, sources = parts
    with pytest.raises(UserError, match="field 'encoder_input_tokens' is"):
        fit_members(group, states, [sources[0], jobs.texts(batch_size=2)], hypers, STEPS)
    with pytest.raises(UserError, match="takes one source of batches or 2, and 2 hypers"):
        fit_members(group, states, sources[0], hypers[:1], STEPS)
    with pytest.raises(UserError, match=r"TrainConfig\.cycle draws turns"):
        settings = TrainConfig(STEPS, cycle=("aa",))
        fit_members(group, states, sources[0], hypers, STEPS, settings=settings)
