"""Runs that gin files name, trained as one group."""

import dataclasses
import json

import jax
import numpy as np
import pytest

import jaxlt
from jaxlt.errors import UserError
from jaxlt.inference.training import train
from jaxlt.inference.training_members import train_many
from jaxlt.metrics import result_file
from tests.inference.test_run import FILES, SMALL

CLOCK = ("time", "steps_per_second", "tokens_per_second", "seconds_left", "mfu")


def configs(texts, folder, seeds=(0, 1), **changes):
    """Small pretraining runs that differ in seed, so in data, too, in folders below one."""
    changes = {f"T5Config.{name}": value for name, value in changes.items()}
    fixed = SMALL | {"T5Config.dropout": 0.1, "INPUTS_LENGTH": 32} | changes
    fixed["T5Config.relpos_start"] = "t5"  # numbers of about 1: the tolerance is not of tens
    given = {"TEXT": texts, "TRAIN_STEPS": 4, "LEARNING_RATE": 10.0}
    return [
        jaxlt.run(FILES, fixed, WORKDIR=folder / str(seed), SEED=seed, **given).config
        for seed in seeds
    ]


def told(workdir):
    """The rows of metrics.jsonl without what depends on the clock."""
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{name: v for name, v in row.items() if name not in CLOCK} for row in rows]


def test_what_cannot_be_a_group_is_refused(texts, tmp_path):
    run, other = configs(texts, tmp_path)
    group = tmp_path / "group"
    with pytest.raises(UserError, match="Two runs of the group have the workdir"):
        train_many([run, dataclasses.replace(other, workdir=run.workdir)], group)
    with pytest.raises(UserError, match="has no workdir"):
        train_many([run, dataclasses.replace(other, workdir="")], group)
    with pytest.raises(UserError, match="at least one run"):
        train_many([], group)
    assert not list(tmp_path.iterdir())
    (wider,) = configs(texts, tmp_path, seeds=[1], mlp_dim=48)
    with pytest.raises(UserError, match=r"T5Config\.mlp_dim is 32 in 0 and 48 in 1"):
        train_many([run, wider], group)
    assert not list(tmp_path.glob("*/checkpoints"))


@pytest.mark.slow
@pytest.mark.usefixtures("quick_compile")
def test_runs_end_as_by_themselves_and_open_as_such(texts, tmp_path, monkeypatch):
    one_device = jax.devices()[:1]
    monkeypatch.setattr(jax, "devices", lambda: one_device)  # cheaper to compile for than eight
    ended = train_many(configs(texts, tmp_path / "many"), tmp_path / "many" / "group")
    assert [(one.name, one.ended) for one in ended] == [("0", "done"), ("1", "done")]
    for run, one in zip(configs(texts, tmp_path / "alone"), ended, strict=True):
        alone = train(run)
        for name, value in alone.state.trainable.items():
            np.testing.assert_allclose(one.state.trainable[name], value, atol=2e-5, err_msg=name)
        mine, wanted = (tmp_path / of / one.name for of in ("many", "alone"))
        for row, other in zip(told(mine), told(wanted), strict=True):
            assert row == pytest.approx(other, rel=1e-4)
        ours, theirs = (result_file.read(f / "results.jsonl") for f in (mine, wanted))
        assert [r.metric for r in ours] == [r.metric for r in theirs] != []
        assert jaxlt.load(str(mine)).run.train.seed == int(one.name)
    again = train_many(configs(texts, tmp_path / "many"), tmp_path / "many" / "group")
    assert [one.ended for one in again] == ["done", "done"]
