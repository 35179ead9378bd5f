"""What `jaxlt plan` and `--dry_run` count is what a run really has."""

import json
import re

import jax
import numpy as np
import pytest

from jaxlt.commands.main import main
from jaxlt.engine.loop import program_of
from jaxlt.engine.resume import arrays_of
from jaxlt.engine.state import make_state
from jaxlt.modules.bottleneck import Bottleneck
from jaxlt.modules.site import plug
from jaxlt.plan.aot import plan_run
from tests.engine import jobs

BYT5_SMALL = ("--gin_file=models/byt5_small.gin", "--gin_file=runs/pretrain.gin")


def table(text: str) -> dict[str, tuple[int, int]]:
    """The groups of a printed plan: {group: (parameters, trainable)}."""
    found = re.findall(r"^(\S.*?) +([\d,]+) +([\d,]+) *$", text, re.M)
    return {name: tuple(int(n.replace(",", "")) for n in numbers) for name, *numbers in found}


def test_byt5_small_is_counted(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["plan", *BYT5_SMALL]) == 0
    text = capsys.readouterr().out
    groups = table(text)
    assert groups["all"] == (299_637_760, 299_637_760)
    assert groups["token embedder"] == (384 * 1472, 384 * 1472)
    assert sum(n for name, (n, _) in groups.items() if name != "all") == groups["all"][0]
    assert "params/token_embedder/embedding" in text and "384 x 1472" in text
    assert "mesh: replica 1 x data 8 x fsdp 1 x tensor 1" in text and "TFLOP" in text
    assert list(tmp_path.iterdir()) == []


def test_a_frozen_backbone_trains_its_modules_only(capsys, tmp_path):
    files = ("--gin_file=models/tiny.gin", "--gin_file=modules/bottleneck.gin")
    assert main(["plan", *files, "--gin_file=runs/adapt.gin"]) == 0
    groups = table(capsys.readouterr().out)
    modules = [v for name, v in groups.items() if name.startswith("modules")]
    assert groups["all"][1] == sum(n for n, _ in modules) > 0
    assert all(n == trained for n, trained in modules)
    assert groups["all"][0] - groups["all"][1] == 5_247_232


def test_dry_run_prints_the_plan_and_leaves_no_trace(
    capsys, tmp_path, texts, run_flags, monkeypatch
):
    monkeypatch.setenv("JAXLT_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    beside = sorted(texts.parent.rglob("*"))
    workdir = tmp_path / "work"
    assert main(["train", *run_flags(workdir), "--dry_run"]) == 0
    text = capsys.readouterr().out
    assert "memory on one device:" in text and "token embedder" in text
    assert "rows) and the evaluation's data could be read" in text
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]  # tokens, the run's own
    assert sorted(texts.parent.rglob("*")) == beside


@pytest.mark.parametrize(
    "mesh",
    [pytest.param({"data": 8}, marks=pytest.mark.slow), {"data": 1, "fsdp": 4, "tensor": 2}],
    ids=str,
)
def test_memory_is_what_the_arrays_take(mesh, quick_compile):
    plugs = (plug(Bottleneck, "lang", reduction_factor=4),)
    trainable = ("modules/.*", "params/decoder/.*")
    given = jobs.job(mesh=mesh, model={"plugs": plugs}, trainable=trainable)
    plan, program = plan_run(given, 8, 9, 7), program_of(given)
    state = make_state(program.layout, program.optimizer, 0)
    first = jax.devices()[0]
    held = lambda tree: sum(  # noqa: E731
        s.data.nbytes
        for a in jax.tree.leaves(tree)
        for s in a.addressable_shards
        if s.device == first
    )
    assert plan.memory["trainable parameters"] == held(arrays_of(state)["trainable"])
    assert plan.memory["frozen parameters"] == held(state.frozen)
    assert plan.memory["optimizer state"] == held(state.optimizer)
    assert sum(r.count for r in plan.rows) == sum(
        int(np.prod(a.shape)) for a in jax.tree.leaves([state.trainable, state.frozen])
    )
    assert plan.tokens == 8 * (9 + 7)


@pytest.mark.slow
def test_a_compiled_plan_agrees_with_the_compilers_count(capsys, tmp_path):
    sizes = ("T5Config.encoder_layers=1", "T5Config.decoder_layers=1", "INPUTS_LENGTH=32")
    flags = [f"--gin.{s}" for s in (*sizes, "BATCH_SIZE=8", "DTYPE=float32")]
    files = ("--gin_file=models/tiny.gin", "--gin_file=runs/pretrain.gin")
    assert main(["plan", *files, *flags, "--compile", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    found = plan["estimate"]
    assert plan["groups"]["token embedder"]["parameters"] == 384 * 256
    assert found["model_flops"] == plan["model_flops"]
    assert found["program_flops"] == pytest.approx(found["model_flops"], rel=0.15)
    assert found["memory"]["arguments"] > 0 and found["step"][0] > 0
    held = sum(v for name, v in plan["memory"].items() if "compiled" not in name)
    assert held == pytest.approx(found["memory"]["arguments"], rel=0.1)  # the batch is not in it
    peak = found["needed"] - found["memory"]["program"]
    assert sum(plan["memory"].values()) == pytest.approx(peak, rel=0.1)
