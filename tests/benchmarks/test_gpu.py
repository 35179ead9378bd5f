"""The GPU benchmark without a GPU: it refuses, and all of it but the timing runs on a CPU."""

import importlib.util
import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest

from benchmarks import gpu, gpu_sides
from benchmarks.gpu_sides import Case
from jaxlt import config
from tests.conftest import REPOSITORY

SCRIPT = str(REPOSITORY / "benchmarks" / "gpu.py")
SMALL = {"inputs": 32, "targets": 16, "device": "cpu", "turns": 2, "steps": 1}
# What GPU machines need not have.
BLOCKED = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("tensorflow", "seqio", "gin", "tensorboardX", "sentencepiece"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
from benchmarks.gpu_sides import SIDES, Case
import json
small = json.loads(sys.argv[1])
cases = [Case("jaxlt", method=method, **small) for method in ("full", "bottleneck")]
print("done", json.dumps([SIDES["jaxlt"](case) for case in cases]))
"""


def environment():
    own = {"JAX_PLATFORMS": "cpu", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1", "XLA_FLAGS": ""}
    return {**os.environ, **own, "PYTHONPATH": str(REPOSITORY)}


@pytest.mark.skipif(gpu.has_gpu(), reason="there is a GPU")
def test_without_a_gpu_it_refuses_at_once():
    began = time.monotonic()
    done = subprocess.run([sys.executable, SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and time.monotonic() - began < 5
    assert "there is none here" in done.stderr and "--device=cpu" in done.stderr
    assert not done.stdout and "Traceback" not in done.stderr


def test_a_driver_without_jax_on_it_is_no_gpu(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["gpu.py"])
    monkeypatch.setattr(gpu, "has_gpu", lambda: True)
    monkeypatch.setattr(gpu, "measure", lambda case: {"peak": 1.0, "peaks": {}, "platform": "cpu"})
    assert gpu.main() == 2
    assert "jax sees a cpu" in capsys.readouterr().err


def test_the_gin_files_options_are_read_without_gin():
    run = config.load(
        ["models/tiny.gin", "runs/pretrain.gin", "platforms/gpu.gin"],
        ["TEXT='t'", "WORKDIR='w'"],
    )
    assert gpu.options_of("gpu.gin") == run.train.compiler.gpu != ()
    assert all(gpu.options_of(name) for name in ("graphs", "no_graphs"))


def test_rows_are_packed_and_nearly_full():
    case = Case("jaxlt", rows=6, inputs=512, targets=128)
    batch = gpu_sides.packed_batch(case)
    for stack, width in (("encoder", 512), ("decoder", 128)):
        segments = batch[f"{stack}_segment_ids"]
        assert segments.shape == (6, width) and segments.dtype == np.int32
        assert (segments.max(1) > 1).all() and (segments > 0).mean() > 0.8
        tokens = "encoder_input_tokens" if stack == "encoder" else "decoder_target_tokens"
        assert ((batch[tokens] > 0) == (segments > 0)).all()
    again = gpu_sides.packed_batch(case)
    assert all((again[name] == values).all() for name, values in batch.items())


def test_whole_rows_are_of_one_text():
    batch = gpu_sides.whole_batch(Case("jaxlt", batch="whole", rows=2, inputs=16, targets=8))
    assert (batch["encoder_input_tokens"] > 2).all() and (batch["decoder_loss_weights"] == 1).all()
    assert (batch["decoder_input_tokens"][:, 1:] == batch["decoder_target_tokens"][:, :-1]).all()
    assert not any("segment" in name for name in batch)


def test_what_is_measured_and_in_which_order(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--shape", "base", "xl", "--method", "full"])
    found = [(f, c.side, c.shape, c.batch, c.attention) for f, c in gpu.cases(gpu.parsed())]
    ways = [("packed", "plain"), ("whole", "plain"), ("whole", "fused")]
    assert found[:3] == [("default", "jaxlt", "base", *way) for way in ways]
    assert found[3] == ("", "hf", "base", "whole", "") and len(found) == 8
    cases = [case for _, case in gpu.cases(gpu.parsed())]
    assert {(c.inputs, c.targets, c.device) for c in cases} == {(512, 128, "gpu")}
    assert {c.shape: (c.rows, c.remat) for c in cases} == {"base": (64, "none"), "xl": (16, "full")}


def test_what_does_not_fit_is_a_row_and_is_tried_with_half(monkeypatch):
    def measured(case):
        return {"out_of_memory": True} if case.rows > 3 else {"seconds": 0.5, "flops": 8e9}

    monkeypatch.setattr(gpu, "measure", measured)
    rows = [r | {"flags": ""} for r in gpu.fitted(Case("jaxlt", rows=12))]
    assert [r["rows"] for r in rows] == [12, 6, 3]
    last = gpu.with_rates(rows[-1] | {"peak_bytes": 2**30}, 1e12, work := {})
    assert last["sequences_per_second"] == 6 and last["mfu"] == pytest.approx(0.016)
    assert last["tokens_per_second"] == 6 * 640 and work == {"tiny/full": 8e9 / 3}
    other = {**last, "side": "hf", "rows": 6}
    del other["flops"]
    other = gpu.with_rates(other, 1e12, work)
    assert other["mfu"] == pytest.approx(0.032)
    assert gpu.ratios([last, other]) == {"tiny/full": 0.5}
    assert gpu.line_of(rows[0]).endswith("out of memory")
    assert gpu.line_of(last).split()[-5:] == ["500.0", "6.0", "3,840", "1.6%", "1.0"]


def test_a_side_that_fails_is_a_row(monkeypatch):
    found = gpu.measure(Case("nothing", **SMALL))
    assert "KeyError" in found["failed"]
    assert gpu.line_of({**Case("hf").__dict__, **found, "flags": ""}).count("failed: ") == 1
    assert gpu_sides.out_of_memory("RESOURCE_EXHAUSTED: Out of memory allocating 2 bytes")
    assert not gpu_sides.out_of_memory("INVALID_ARGUMENT: no such option")


@pytest.mark.slow
def test_jaxlts_side_needs_neither_tensorflow_nor_seqio_nor_gin():
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED, json.dumps(SMALL)],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    full, bottleneck = json.loads(done.stdout.splitlines()[-1].removeprefix("done "))
    assert full["trained"] == full["parameters"] == 82_432
    assert bottleneck["trained"] == 10 * (2 * 32 * 2)  # after each sublayer
    assert full["flops"] > 1.4 * bottleneck["flops"] and full["seconds"] > 0


@pytest.mark.slow
def test_all_of_it_on_a_cpu(tmp_path):
    path = tmp_path / "gpu.json"
    flags = ["--shape=tiny", "--method=lora", "--device=cpu", "--turns=2", "--steps=1"]
    flags += ["--batch=whole", "--attention=fused", "--flags=graphs", f"--json={path}"]
    done = subprocess.run(
        [sys.executable, SCRIPT, *flags],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(path.read_text())
    row = found["rows"][0]
    assert (row["side"], row["method"], row["flags"]) == ("jaxlt", "lora", "graphs")
    assert "failed" not in row and row["mfu"] > 0 and found["peak"] > 0
    assert "TFLOP/s: jax" in done.stdout and done.stdout.count("jaxlt fused") == 1


@pytest.mark.parity
def test_the_other_side_has_the_same_parameters(monkeypatch):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from jaxlt.models.init import describe

    for method in gpu_sides.METHODS:
        case = Case("hf", method=method, **SMALL)
        leaves = describe(gpu_sides.model_of(case))
        count = sum(p.numel() for p in gpu_sides.hf_model(case).parameters())
        assert count == sum(int(np.prod(leaf.shape)) for leaf in leaves.values())
    assert gpu_sides.hf_side(case)["seconds"] > 0
