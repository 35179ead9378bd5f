"""The training loop on arrays: what it logs, evaluates, saves, skips and refuses."""

import dataclasses
import io
import math
import subprocess
import sys

import jax
import numpy as np
import pytest

from jaxlt.engine.checkpoint.checkpoints import Checkpoints
from jaxlt.engine.config import TrainConfig
from jaxlt.engine.evaluator import LossEvaluator
from jaxlt.engine.log.reporter import Reporter
from jaxlt.errors import UserError
from jaxlt.modules.bottleneck import Bottleneck
from jaxlt.modules.site import plug
from tests.engine import jobs

pytestmark = pytest.mark.usefixtures("quick_compile")


class Scripted:
    """An evaluator that returns the given values one after the other."""

    name = "dev"

    def __init__(self, values):
        self.values, self.calls = list(values), 0

    def __call__(self, program, params):
        assert all(n.startswith(("params/", "modules/")) for n in params)
        self.calls += 1
        return {"score": self.values[self.calls - 1]}


class Holdout:
    """Two batches of rows to evaluate on."""

    num_batches = 2

    def __init__(self):
        self._source = jobs.texts(seed=5)
        self.batch_size, self.languages = self._source.batch_size, self._source.languages
        self.fingerprint, self.spec, self.rows = "", self._source.spec, self._source.rows


def test_it_learns_logs_every_step_and_speaks_shortly(tmp_path):
    stream = io.StringIO()
    given = jobs.small_job(steps=30, every=100)
    reporter = Reporter(tmp_path, 30, stream=stream, tensorboard=False)
    result = jobs.run(given, tmp_path, reporter=reporter)
    rows = jobs.logged(tmp_path)
    assert [r["step"] for r in rows] == list(range(1, 31))
    assert rows[-1]["loss"] < 0.85 * rows[0]["loss"]
    assert {"nll", "accuracy", "grad_norm", "learning_rate", "skipped_steps"} <= rows[0].keys()
    assert rows[5]["tokens_per_second"] / rows[5]["steps_per_second"] == pytest.approx(4 * 9)
    assert result.ended == "done" and result.position.step == 30 == int(result.state.step)
    assert result.metrics["loss"] == rows[-1]["loss"]
    assert Checkpoints(tmp_path).steps() == [30]
    line = stream.getvalue().splitlines()[5]
    assert line.startswith("step 6/30  loss ") and "tokens/s" in line and line.endswith("left")
    assert len(line) < 80 and "skipped" not in line and "grad_norm" not in line


def test_evaluators_run_at_their_steps_and_at_the_end(tmp_path):
    mine = Scripted([3.0, 1.0, 2.0])
    given = jobs.small_job(
        steps=5, every=1, eval_every=2, checkpoint={"keep": 1, "best_metric": "dev/score"}
    )
    stream = io.StringIO()
    result = jobs.run(
        given,
        tmp_path,
        evaluators=[mine, LossEvaluator(Holdout())],
        reporter=Reporter(tmp_path, 5, stream=stream, tensorboard=False),
    )
    rows = [r for r in jobs.logged(tmp_path) if "dev/score" in r]
    assert [(r["step"], r["dev/score"]) for r in rows] == [(2, 3.0), (4, 1.0), (5, 2.0)]
    checkpoints = Checkpoints(tmp_path, given.checkpoint)
    assert checkpoints.steps() == [4, 5] and checkpoints.best() == 4
    assert (result.position.best, result.position.best_step) == (1.0, 4)
    assert result.position.bad_evaluations == 1
    languages = [k for k in rows[0] if k.startswith("eval/bpb/")]
    assert languages and all(0 < rows[0][k] < 100 for k in languages)
    assert "eval/bpb by language: " in stream.getvalue() and "eval/bytes" not in stream.getvalue()


def test_patience_stops_is_saved_and_stays_stopped(tmp_path):
    given = jobs.small_job(
        steps=50, every=50, eval_every=1, patience=2, checkpoint={"best_metric": "dev/score"}
    )
    result = jobs.run(given, tmp_path, evaluators=[Scripted([2.0, 1.0, 1.5, math.nan])])
    assert result.ended == "patience" and result.position.step == 4
    assert Checkpoints(tmp_path).steps() == [1, 2, 4]  # the best so far is saved whenever it is
    again = Scripted([])
    result = jobs.run(given, tmp_path, evaluators=[again])  # nothing is trained or evaluated anew
    assert result.ended == "patience" and result.position.step == 4 and again.calls == 0
    assert result.position.best == 1.0 and result.position.bad_evaluations == 2


def test_patience_is_counted_across_a_resumption(tmp_path):
    options = {
        "every": 1,
        "eval_every": 1,
        "patience": 3,
        "checkpoint": {"best_metric": "dev/score"},
    }
    jobs.run(jobs.small_job(steps=3, **options), tmp_path, evaluators=[Scripted([1.0, 2.0, 2.0])])
    result = jobs.run(jobs.small_job(steps=9, **options), tmp_path, evaluators=[Scripted([2.0])])
    assert (result.ended, result.position.step, result.position.best_step) == ("patience", 4, 1)


def test_a_best_metric_that_no_evaluator_gives(tmp_path):
    given = jobs.small_job(eval_every=1, checkpoint={"best_metric": "dev/bleu"})
    with pytest.raises(UserError, match=r"dev/bleu.*dev/score"):
        jobs.run(given, tmp_path, evaluators=[Scripted([1.0])])


EXPLODING = {"schedule": {"learning_rate": 1e30}}


def test_a_loss_that_is_not_finite_stops_the_run_and_is_not_saved(tmp_path):
    given = jobs.small_job(steps=3, every=1)
    jobs.run(given, tmp_path)
    before = Checkpoints(tmp_path).steps()
    bad = jobs.small_job(steps=9, every=1, **EXPLODING)
    with pytest.raises(UserError) as told:
        jobs.run(bad, tmp_path)
    text = str(told.value)
    steps = Checkpoints(tmp_path).steps()
    assert (
        "is not finite" in text and "gradient norm" in text and "Languages in the batch: " in text
    )
    assert f"'{Checkpoints(tmp_path).path(steps[-1])}'" in text
    assert f"Stopped at step {steps[-1] + 1}:" in text and steps[0] >= before[0]
    trees = jobs.run(dataclasses.replace(bad, train=TrainConfig(steps[-1])), tmp_path)
    assert all(np.isfinite(v).all() for v in jobs.content(trees).values())


def test_without_a_checkpoint_the_error_says_so(tmp_path):
    with pytest.raises(UserError, match="there is none yet"):
        jobs.run(jobs.small_job(steps=9, every=100, **EXPLODING), tmp_path)


class Poisoned:
    """The data of a test, whose loss weights are infinite at some steps."""

    def __init__(self, steps):
        self._source, self._steps = jobs.texts(), steps
        self.batch_size, self.languages = self._source.batch_size, self._source.languages
        self.fingerprint, self.spec = "poisoned", self._source.spec

    def rows(self, step, start, stop):
        rows = self._source.rows(step, start, stop)
        if step in self._steps:
            rows["encoder_loss_weights"] = np.full_like(rows["encoder_loss_weights"], np.inf)
        return rows


def test_skipping_a_step_leaves_the_state_and_tells_of_it(tmp_path):
    stream = io.StringIO()
    given = jobs.small_job(steps=5, every=1, on_nan="skip", checkpoint={"keep": 9})
    say = Reporter(tmp_path, 5, stream=stream, tensorboard=False)
    result = jobs.run(given, tmp_path, Poisoned({2}), reporter=say)
    assert result.ended == "done" and result.metrics["skipped_steps"] == 1
    assert "Skipped step 3: the loss (nan" in stream.getvalue().replace("\n", " ")
    assert "1 steps skipped" in stream.getvalue()
    states = {}
    for step in (2, 3):
        other = tmp_path / str(step)
        other.mkdir()
        (tmp_path / "checkpoints" / str(step)).rename(other / "keep")
        (other / "checkpoints").mkdir()
        (other / "keep").rename(other / "checkpoints" / str(step))
        stop = dataclasses.replace(given, train=TrainConfig(step, on_nan="skip"))
        states[step] = jobs.content(jobs.run(stop, other, Poisoned({2})))
    names = [n for n in states[2] if "extra" not in n]
    jobs.assert_identical({n: states[3][n] for n in names}, {n: states[2][n] for n in names})


@pytest.mark.slow
def test_max_loss_stops_or_skips(tmp_path):
    with pytest.raises(UserError, match=r"is above TrainConfig\.max_loss = 0\.5"):
        jobs.run(jobs.small_job(max_loss=0.5), tmp_path / "stop")
    assert Checkpoints(tmp_path / "stop").steps() == []
    given = jobs.small_job(steps=2, max_loss=0.5, on_nan="skip")
    result = jobs.run(given, tmp_path / "skip")
    assert result.metrics["skipped_steps"] == 2
    first = jobs.run(jobs.small_job(steps=1), tmp_path / "one").state
    assert int(result.state.step) == 2
    untouched = jobs.run(
        dataclasses.replace(given, train=TrainConfig(3, max_loss=0.5, on_nan="skip")),
        tmp_path / "skip",
    )
    assert untouched.metrics["skipped_steps"] == 3  # counted on
    name = "params/token_embedder/embedding"
    jobs.assert_identical(
        {"x": np.asarray(untouched.state.trainable[name])},
        {"x": np.asarray(result.state.trainable[name])},
    )
    assert not np.array_equal(first.trainable[name], result.state.trainable[name])


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_low_precision_trains_and_resumes(tmp_path, dtype):
    given = jobs.small_job(steps=20, every=10, model={"dtype": dtype})
    half = dataclasses.replace(given, train=dataclasses.replace(given.train, steps=10))
    whole = jobs.run(given, tmp_path / "whole")
    jobs.run(half, tmp_path / "parts")
    parts = jobs.run(given, tmp_path / "parts")
    rows = jobs.logged(tmp_path / "whole")
    assert rows[-1]["loss"] < 0.9 * rows[0]["loss"]
    assert ("loss_scale" in rows[0]) == (dtype == "float16")
    assert all(v.dtype == np.float32 for v in whole.state.trainable.values())
    jobs.assert_identical(jobs.content(parts), jobs.content(whole))


@pytest.mark.slow
def test_accumulation_is_the_same_step(tmp_path):
    losses = {}
    for parts in (1, 4):
        given = jobs.small_job(steps=3, accumulate=parts)
        jobs.run(given, tmp_path / str(parts))
        losses[parts] = [r["loss"] for r in jobs.logged(tmp_path / str(parts))]
    np.testing.assert_allclose(losses[4], losses[1], rtol=1e-5)


def test_a_batch_that_the_mesh_cannot_split(tmp_path):
    with pytest.raises(
        UserError, match=r"batch of 4 rows.*not divisible by 8.*size that works is 8"
    ):
        jobs.run(jobs.small_job(), tmp_path, devices=8)
    with pytest.raises(UserError, match="more shards than devices"):
        jobs.run(jobs.small_job(mesh={"data": 4, "tensor": 4}), tmp_path, devices=8)


def test_a_bank_with_fewer_slots_than_languages(tmp_path):
    plugs = (plug(Bottleneck, "lang", key="source", routes=2),)
    with pytest.raises(UserError, match=r"'lang' has 2 routes, and the data 3 languages"):
        jobs.run(jobs.small_job(model={"plugs": plugs}), tmp_path)


def test_patience_without_a_metric_to_wait_for(tmp_path):
    with pytest.raises(UserError, match=r"CheckpointConfig.best_metric, which is not set"):
        jobs.run(jobs.small_job(steps=3, eval_every=1, patience=2), tmp_path)


def test_the_data_is_read_from_where_the_run_stands(tmp_path):
    class Counting(Poisoned):
        seen: list[int] = []  # noqa: RUF012

        def rows(self, step, start, stop):
            self.seen.append(step)
            return super().rows(step, start, stop)

    jobs.run(jobs.small_job(steps=2), tmp_path, Poisoned(()))
    jobs.run(jobs.small_job(steps=4), tmp_path, Counting(()))
    assert Counting.seen == [2, 3]


def test_an_error_of_the_data_is_raised_and_what_was_being_saved_is_complete(tmp_path):
    class Broken(Poisoned):
        def rows(self, step, start, stop):
            if step == 3:
                raise OSError("the disk went away")
            return super().rows(step, start, stop)

    with pytest.raises(OSError, match="the disk went away"):
        jobs.run(jobs.small_job(steps=6, every=3), tmp_path, Broken(()))
    assert Checkpoints(tmp_path).steps() == [3]


ALONE = """
import sys

class Without:  # finds what is installed, these excepted
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] not in ("tensorflow", "seqio", "gin", "tensorflow_text", "t5"):
            return next((s for f in found if (s := f.find_spec(name, path, target))), None)

found = sys.meta_path[:]
sys.meta_path[:] = [Without()]
from pathlib import Path
from tests.engine import jobs
result = jobs.run(jobs.small_job(steps=3), Path(sys.argv[1]))
print(result.ended, result.position.step)
"""


@pytest.mark.slow
def test_it_trains_without_tensorflow_seqio_and_gin(tmp_path):
    code = [sys.executable, "-c", ALONE, str(tmp_path)]
    out = subprocess.run(code, capture_output=True, text=True, timeout=120)
    assert out.returncode == 0, out.stderr
    assert out.stdout.splitlines()[-1] == "done 3"


def test_settings_that_make_no_sense():
    for wrong in (
        {"on_nan": "ignore"},
        {"accumulate": 0},
        {"rows_per_device": 0},
        {"log_every": 0},
    ):
        with pytest.raises(UserError, match="TrainConfig"):
            TrainConfig(3, **wrong)
    assert jax.device_count() == 8  # what the tests above count on
