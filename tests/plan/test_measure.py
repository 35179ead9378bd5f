"""A step that is run a few times takes what it takes in a run."""

import time

import jax
import numpy as np
import pytest

from jaxlt.data.rows.batches import ArrayBatches
from jaxlt.engine.loop import program_of
from jaxlt.modules.bottleneck import Bottleneck
from jaxlt.modules.site import plug
from jaxlt.plan.aot import abstract_batch, compile_train
from jaxlt.plan.measure import made_batch, measure
from tests.engine.jobs import job, run

SMALL = {
    "vocab_rows": 512,
    "emb_dim": 256,
    "mlp_dim": 512,
    "num_heads": 4,
    "head_dim": 64,
    "scan_layers": False,
}
ROUTED = plug(Bottleneck, "lang", key="source", routes=3, reduction_factor=4)


def planned(given, rows=8, inputs=128, targets=64):
    program = program_of(given, jax.devices()[:1])
    batch = abstract_batch(program, rows, inputs, targets)
    return program, compile_train(program, batch), batch


@pytest.mark.slow
def test_a_made_up_batch_has_tokens_and_slots_that_exist(quick_compile):
    given = job(model={"plugs": (ROUTED,)}, trainable=("modules/.*",))
    program, compiled, batch = planned(given, 4, 16, 8)
    made = made_batch(program, batch)
    assert {n: (a.shape, a.dtype) for n, a in made.items()} == {
        n: (a.shape, a.dtype) for n, a in batch.items()
    }
    tokens = np.asarray(made["encoder_input_tokens"])
    assert tokens.min() > 0 and tokens.max() < given.model.vocab_rows
    assert set(np.asarray(made["language"])) == {0, 1, 2}
    found = measure(program, compiled, batch, seconds=0.0)
    assert found.steps == 3 and found.seconds > 0 and found.processor_seconds > 0


def source(rows=32):
    rng = np.random.default_rng(0)
    inputs = rng.integers(3, 512, (rows, 128)).astype(np.int32)
    targets = rng.integers(3, 512, (rows, 64)).astype(np.int32)
    fields = {
        "encoder_input_tokens": inputs,
        "decoder_input_tokens": np.pad(targets[:, :-1], ((0, 0), (1, 0))),
        "decoder_target_tokens": targets,
        "decoder_loss_weights": np.ones(targets.shape, np.float32),
        "target_bytes": np.full(rows, 64, np.int32),
        "language": (np.arange(rows) % 3).astype(np.int32),
    }
    return ArrayBatches(fields, 8, languages=("aa", "bb", "cc"))


@pytest.mark.slow
@pytest.mark.parametrize("modules", [False, True])
def test_a_run_takes_what_was_measured(tmp_path, modules):
    """Within a quarter, by process time: a shared machine's clock on the wall says nothing."""
    plugs = {"plugs": (ROUTED,)} if modules else {}
    trains = {"trainable": ("modules/.*",)} if modules else {}

    def given(steps):
        return job(steps, every=1000, model=SMALL | plugs, **({"log_every": 10} | trains))

    def took(steps):
        began = time.process_time()
        run(given(steps), tmp_path / str(steps), source())
        return time.process_time() - began

    def a_step(turn):
        return (took(44 + turn) - took(5 + turn)) / 39

    plan = planned(given(4))
    took(4)
    # In turns, and the least of each: what else the machine does only adds.
    turns = [(measure(*plan).processor_seconds, a_step(turn)) for turn in range(3)]
    found, step = (min(side) for side in zip(*turns, strict=True))
    assert found == pytest.approx(step, rel=0.25)
