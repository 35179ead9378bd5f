"""Going on exactly where a run was: same bits, same lines, on any mesh; or saying why not."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from jaxlt.engine.checkpoint.base import CheckpointBase
from jaxlt.engine.checkpoint.checkpoints import Checkpoints
from jaxlt.engine.resume import Position, saved_position
from jaxlt.errors import UserError
from jaxlt.modules.bottleneck import Bottleneck
from jaxlt.modules.layout import unstack
from jaxlt.modules.site import plug
from tests.conftest import compiling, make_config, random_params
from tests.engine import jobs

pytestmark = pytest.mark.usefixtures("quick_compile")


class ArrayBase:
    """A backbone in memory."""

    def __init__(self, params, path="somewhere"):
        flat = unstack(params)
        self._flat = {n.removeprefix("params/"): np.asarray(v) for n, v in flat.items()}
        self.shapes = {n: v.shape for n, v in self._flat.items()}
        self.origin = {"path": path, "format": "arrays"}

    def read_slice(self, name, index):
        return self._flat[name][index]


# Where the random bits are to be the same again: most of what there is to compile.
DROPPING = {"dropout": 0.1}
PLUGGED = {"plugs": (plug(Bottleneck, "lang", reduction_factor=4),)}


def until(job, step):
    return dataclasses.replace(job, train=dataclasses.replace(job.train, steps=step))


def test_a_run_in_parts_has_the_bits_and_the_lines_of_a_whole_one(tmp_path):
    warm = {"warmup_steps": 2}
    given = jobs.small_job(steps=6, every=2, model=DROPPING, schedule=warm)
    whole = jobs.run(given, tmp_path / "whole")
    for step in (1, 3, 6):
        with compiling() as names:
            parts = jobs.run(until(given, step), tmp_path / "parts")
    assert names == []  # of the last part, which was begun as the one before
    jobs.assert_identical(jobs.content(parts), jobs.content(whole))
    assert saved_position(parts.checkpoints).warmup_steps == 2
    assert jobs.told(tmp_path / "parts") == jobs.told(tmp_path / "whole")
    other = jobs.run(
        dataclasses.replace(given, train=dataclasses.replace(given.train, seed=1)),
        tmp_path / "other",
    )
    assert jobs.told(tmp_path / "other") != jobs.told(tmp_path / "whole")
    assert other.position.base_fingerprint != whole.position.base_fingerprint


def test_a_crash_after_the_checkpoint_repeats_steps_without_a_trace(tmp_path):
    class Crash(Exception):
        pass

    class Failing:
        name, left = "dev", 2

        def __call__(self, program, params):
            self.left -= 1
            if self.left < 0:
                raise Crash
            return {"score": 1.0}

    given = jobs.small_job(steps=6, every=3, eval_every=2)
    with pytest.raises(Crash):  # at step 6, whose lines are there already; saved is step 3
        jobs.run(given, tmp_path / "parts", evaluators=[Failing()])
    assert Checkpoints(tmp_path / "parts").steps() == [3]
    healed = Failing()
    healed.left = 9
    parts = jobs.run(given, tmp_path / "parts", evaluators=[healed])
    healed.left = 9
    whole = jobs.run(given, tmp_path / "whole", evaluators=[healed])
    jobs.assert_identical(jobs.content(parts), jobs.content(whole))
    assert jobs.told(tmp_path / "parts") == jobs.told(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize(
    "mesh",
    [{"data": 8}, {"data": 2, "fsdp": 2, "tensor": 2}],
    ids=lambda m: "-".join(f"{k}{v}" for k, v in m.items()),
)
def test_saved_on_eight_devices_restored_on_fewer(tmp_path, mesh):
    given = jobs.small_job(steps=3, every=2, mesh=mesh)
    whole = jobs.run(given, tmp_path / "whole", jobs.texts(8), devices=8)
    expected = whole.metrics["loss"]
    jobs.run(until(given, 2), tmp_path / "saved", jobs.texts(8), devices=8)
    meshes = {1: {}, 2: {"data": 1, "fsdp": 2}, 4: {"data": 2, "tensor": 2}}
    for devices, smaller in meshes.items():
        copy = tmp_path / str(devices)
        copy.mkdir()
        (tmp_path / "saved" / "checkpoints").rename(copy / "checkpoints")
        now = jobs.small_job(steps=3, every=9, mesh=smaller)
        found = jobs.run(now, copy, jobs.texts(8), devices=devices)
        assert found.position.step == 3
        assert found.metrics["loss"] == pytest.approx(expected, rel=1e-5), devices
        (copy / "checkpoints" / "3").rename(copy / "gone")
        (copy / "checkpoints").rename(tmp_path / "saved" / "checkpoints")


@pytest.mark.slow
def test_a_run_goes_on_with_fewer_devices_and_with_more(tmp_path, capsys):
    def losses(folder):
        return np.array([row["loss"] for row in jobs.told(tmp_path / folder) if "loss" in row])

    given = jobs.small_job(steps=6, every=2)
    jobs.run(given, tmp_path / "whole", jobs.texts(8), devices=4)
    jobs.run(until(given, 2), tmp_path / "parts", jobs.texts(8), devices=4)
    capsys.readouterr()
    fewer = jobs.run(until(given, 4), tmp_path / "parts", jobs.texts(8), devices=2)
    assert "saved on 4 device(s); 2 now take its batches of 8 rows in 2 parts." in said(capsys)
    assert fewer.position.devices == 2
    assert fewer.program.spec.rows_per_device == fewer.position.rows_per_device == 2
    more = jobs.run(given, tmp_path / "parts", jobs.texts(8), devices=8)
    assert "saved on 2 device(s); 8 now take its batches of 8 rows." in said(capsys)
    assert more.position.rows_per_device == 2  # as it began
    np.testing.assert_allclose(losses("parts"), losses("whole"), rtol=1e-5)
    assert len(losses("parts")) == 6


@pytest.mark.slow
def test_rows_a_device_may_be_given_anew(tmp_path, capsys):
    given = jobs.small_job(steps=2, rows_per_device=2)
    first = jobs.run(until(given, 1), tmp_path, jobs.texts(8))
    assert first.position.rows_per_device == 2
    wider = dataclasses.replace(given.train, rows_per_device=8)
    again = jobs.run(dataclasses.replace(given, train=wider), tmp_path, jobs.texts(8))
    assert again.program.spec.rows_per_device == 8 and again.position.step == 2
    assert "saved on" not in said(capsys)  # on as many devices


def test_a_batch_that_fewer_devices_cannot_split(tmp_path):
    given = jobs.small_job(steps=2)
    with pytest.raises(UserError, match=r"divisible by 3.* a run under way .* 1 or 2 ways\."):
        jobs.run(given, tmp_path, jobs.texts(8), devices=3)
    fixed = dataclasses.replace(given, mesh=dataclasses.replace(given.mesh, data=4))
    with pytest.raises(UserError, match=r"more shards than devices.*set one to -1"):
        jobs.run(fixed, tmp_path, jobs.texts(8), devices=2)


def said(capsys):
    return " ".join(capsys.readouterr().out.split())


@pytest.fixture(scope="module")
def saved_run(tmp_path_factory):
    """A run of two steps, with which none of those below goes on."""
    folder = tmp_path_factory.mktemp("saved") / "run"
    jobs.run(jobs.small_job(steps=2), folder)
    return folder


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"emb_dim": 24}, ["is [16, 40]", "[24, 40]", "T5Config.emb_dim = 16 (now 24)"]),
        ({"vocab_rows": 48}, ["embedding' is [40, 16]", "[48, 16]", "T5Config.vocab_rows = 40"]),
        ({"encoder_layers": 2}, ["[1, ", "[2, ", "T5Config.encoder_layers = 1 (now 2)"]),
        ({"tie_logits": True}, ["mlm_head", "T5Config.tie_logits"]),
    ],
    ids=["width", "vocabulary", "layers", "head"],
)
def test_a_config_that_does_not_fit_is_explained(saved_run, changes, parts):
    with pytest.raises(UserError) as told:
        jobs.run(jobs.small_job(steps=4, model=changes), saved_run)
    text = str(told.value)
    assert "trainable/params/" in text and all(p in text for p in parts), text
    assert Checkpoints(saved_run).steps() == [2]


def test_another_optimizer_is_explained(saved_run):
    with pytest.raises(UserError, match=r"'optimizer/.*OptimizerConfig\.name"):
        jobs.run(jobs.small_job(steps=4, optimizer={"name": "adafactor"}), saved_run)


def test_other_data_another_seed_or_vocabulary_are_refused(tmp_path):
    jobs.run(jobs.small_job(steps=2), tmp_path, vocabulary="abc")
    with pytest.raises(UserError, match=r"The data of this run is not the data of"):
        jobs.run(jobs.small_job(steps=4), tmp_path, jobs.texts(seed=1))
    with pytest.raises(UserError, match=r"TrainConfig\.seed = 0, not 7"):
        jobs.run(jobs.small_job(steps=4, seed=7), tmp_path)
    with pytest.raises(UserError, match=r"vocabulary is not the one"):
        jobs.run(jobs.small_job(steps=4), tmp_path, vocabulary="abd")
    assert jobs.run(jobs.small_job(steps=4), tmp_path, vocabulary="abc").position.step == 4


def adapt(steps):
    return jobs.small_job(steps=steps, trainable=("modules/.*",), model=PLUGGED)


def test_a_frozen_backbone_is_untouched_and_not_saved_again(tmp_path):
    params = random_params(make_config(encoder_layers=1, decoder_layers=0))
    base = ArrayBase(params)
    whole = jobs.run(adapt(4), tmp_path / "whole", base=base)
    for name, value in params.items():
        assert np.asarray(whole.state.frozen[name]).tobytes() == value.tobytes(), name
    path = tmp_path / "whole" / "checkpoints" / "4" / "jaxlt.json"
    arrays = json.loads(path.read_text())["arrays"]
    assert any(n.startswith("trainable/modules/") for n in arrays)
    assert not [n for n in arrays if "params/" in n.replace("trainable/", "")[:7]]
    assert not any("token_embedder" in n for n in arrays)
    assert not (tmp_path / "whole" / "base").exists()
    jobs.run(adapt(1), tmp_path / "parts", base=base)
    parts = jobs.run(adapt(4), tmp_path / "parts", base=base)
    jobs.assert_identical(jobs.content(parts), jobs.content(whole))
    first = jobs.content(jobs.run(adapt(1), tmp_path / "one", base=base))
    moved = [
        n
        for n in first
        if "trainable" in n and not np.array_equal(first[n], jobs.content(whole)[n])
    ]
    assert moved and all("modules/" in n for n in moved)

    params["params/token_embedder/embedding"][3, 1] += 0.5
    with pytest.raises(UserError, match=r"content hash is \w+.*came from somewhere"):
        jobs.run(adapt(6), tmp_path / "parts", base=ArrayBase(params))


def test_a_frozen_backbone_that_was_drawn_is_saved_once(tmp_path):
    whole = jobs.run(adapt(4), tmp_path / "whole")
    jobs.run(adapt(1), tmp_path / "parts")
    parts = jobs.run(adapt(4), tmp_path / "parts")
    jobs.assert_identical(jobs.content(parts), jobs.content(whole))
    assert (tmp_path / "parts" / "base").is_dir()
    source = CheckpointBase(tmp_path / "parts")
    name = "encoder/encoder_norm/scale"
    np.testing.assert_array_equal(source.read(name), whole.state.frozen[f"params/{name}"])


def test_a_base_left_by_a_start_that_came_to_nothing_is_replaced(tmp_path):
    bad = dataclasses.replace(adapt(4), train=dataclasses.replace(adapt(4).train, max_loss=0.1))
    with pytest.raises(UserError, match="max_loss"):
        jobs.run(bad, tmp_path)
    assert (tmp_path / "base").is_dir()
    other = dataclasses.replace(adapt(2), train=dataclasses.replace(adapt(2).train, seed=3))
    jobs.run(other, tmp_path)
    assert jobs.run(until(other, 4), tmp_path).position.step == 4


def test_a_base_that_does_not_fit_is_explained(tmp_path):
    base = ArrayBase(random_params(make_config(encoder_layers=1, decoder_layers=0, emb_dim=24)))
    with pytest.raises(UserError, match=r"T5Config\.emb_dim = 24 \(now 16\)"):
        jobs.run(jobs.small_job(), tmp_path, base=base)


def test_best_and_patience():
    start = Position(0, 0, "", (), {}, "", "")
    for mode, values, best in (("min", (3.0, 1.0, 2.0), 1.0), ("max", (3.0, 4.0, 2.0), 4.0)):
        now = start
        for step, value in enumerate(values, 1):
            now = dataclasses.replace(now, step=step).after_evaluation({"x": value}, value, mode)
        assert (now.best, now.best_step, now.bad_evaluations) == (best, 2, 1)
        assert now.after_evaluation({}, float("nan"), mode).bad_evaluations == 2
        assert now.after_evaluation({"y": 1.0}, None, mode).best == best
    assert jax.device_count() == 8
