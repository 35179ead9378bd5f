"""A backbone frozen in int8: what it computes, holds, is called, and how it is saved and read."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlt.engine.checkpoint.base import CheckpointBase
from jaxlt.engine.checkpoint.checkpoints import Checkpoints
from jaxlt.engine.checkpoint.fingerprint import fingerprint
from jaxlt.engine.loop import program_of
from jaxlt.engine.partitioning import MeshConfig
from jaxlt.engine.state import make_state
from jaxlt.engine.step import build
from jaxlt.errors import UserError
from jaxlt.inference.merging import merge
from jaxlt.inference.predictor import Predictor, open_predictor
from jaxlt.models.config import BiLSTMConfig
from jaxlt.modules.bottleneck import Bottleneck
from jaxlt.modules.deltas import delta
from jaxlt.modules.fingerprints import Fingerprint
from jaxlt.modules.int8 import Int8, dense
from jaxlt.modules.layout import unstack
from jaxlt.modules.lora import LoRA
from jaxlt.modules.site import plug
from jaxlt.plan.aot import abstract_batch, compile_train, plan_run
from tests.conftest import (
    hyper,
    make_batch,
    make_config,
    make_mlm_batch,
    make_spec,
    place_batch,
    random_params,
)
from tests.engine.jobs import ArrayJob, assert_identical, content, job, run
from tests.engine.test_state import Source

pytestmark = pytest.mark.usefixtures("quick_compile")

PLUGS = (plug(Bottleneck, "mine", reduction_factor=4),)
CONFIG = make_config(plugs=PLUGS)
BASE = random_params(make_config())
MODULES = {"trainable": ("modules/.*",), "frozen_dtype": "int8"}
BATCH = make_batch()
SLOW = pytest.mark.slow


def slow(changes):
    return pytest.param(changes, marks=SLOW)


def spec(config=CONFIG, mesh=None, **changes):
    return build(make_spec(config, mesh, **(MODULES | changes)))


def started(program, flat=BASE):
    return make_state(program.layout, program.optimizer, 0, Source(flat))


def floats(state):
    """The same state with its frozen part in float32, to the bit what int8 stands for."""
    return state.replace(frozen={n: dense(v) for n, v in state.frozen.items()})


def step_of(program, state):
    """The loss and the modules after a step, on the host."""
    batch = BATCH if program.spec.model.decoder_layers else make_mlm_batch()
    new, metrics = program.train(state, place_batch(program, batch), hyper())
    return float(metrics["loss"]), {n: np.asarray(v) for n, v in unstack(new.trainable).items()}


def close(found, wanted, tolerance=1e-5):
    np.testing.assert_allclose(found[0], wanted[0], rtol=tolerance)
    assert found[1].keys() == wanted[1].keys()
    for name, value in wanted[1].items():
        bound = tolerance * max(1.0, np.abs(value).max())
        np.testing.assert_allclose(found[1][name], value, atol=bound, rtol=0, err_msg=name)


@pytest.mark.parametrize(
    "changes",
    [
        {"decoder_layers": 0},
        slow({"scan_layers": True}),
        slow({"scan_layers": False}),
        slow({"remat": "full"}),
        slow({"remat": "dots", "tie_logits": True}),
        slow({"plugs": (plug(Bottleneck, "mine", reduction_factor=4, layers=(1,)),)}),
        slow({"plugs": (plug(LoRA, "mine", rank=2),), "positions": "absolute", "bias": True}),
    ],
    ids=[
        "encoder",
        "scanned",
        "unrolled",
        "full",
        "dots, tied",
        "in two scans",
        "LoRA, absolute, biases",
    ],
)
def test_a_step_is_that_of_the_floats_it_stands_for(changes):
    config = make_config(**({"plugs": PLUGS} | changes))
    program = spec(config)
    flat = random_params(dataclasses.replace(config, plugs=()))
    state = started(program, flat)
    assert any(isinstance(v, Int8) for v in state.frozen.values())
    plain = spec(config, frozen_dtype=None)
    close(step_of(program, state), step_of(plain, floats(started(program, flat))))


def test_scanned_and_unrolled_round_alike():
    states = [
        started(spec(dataclasses.replace(CONFIG, scan_layers=scan)), flat)
        for scan, flat in ((True, BASE), (False, unstack(BASE)))
    ]
    one, two = (unstack(s.frozen) for s in states)
    for name, value in two.items():
        for a, b in zip(jax.tree.leaves(one[name]), jax.tree.leaves(value), strict=True):
            np.testing.assert_array_equal(a, b, err_msg=name)


def test_what_is_held_and_what_is_not():
    state = started(spec())
    rounded = {n for n, v in state.frozen.items() if isinstance(v, Int8)}
    assert rounded == {n for n in state.frozen if n.endswith(("/kernel", "embedder/embedding"))}
    assert all(state.frozen[n].dtype == jnp.float32 for n in state.frozen if n not in rounded)
    assert all(v.dtype == jnp.float32 for v in state.trainable.values())


@SLOW
def test_on_a_mesh_scales_follow_their_kernels():
    one, mesh = spec(), spec(mesh=MeshConfig(data=2, fsdp=2, tensor=2))
    state = started(mesh)
    for name, value in state.frozen.items():
        if isinstance(value, Int8):
            assert value.values.sharding == mesh.layout.shardings[name]
            sizes = zip(value.scale.sharding.spec, value.values.sharding.spec, strict=True)
            for axis, (own, of_values) in enumerate(sizes):
                assert own == (of_values if value.scale.shape[axis] > 1 else None), name
    close(step_of(mesh, state), step_of(one, started(one)))


def test_it_keeps_its_backbones_name():
    program = spec()
    assert fingerprint(started(program).frozen) == fingerprint(BASE)
    other = BASE | {n: v * 1.5 for n, v in BASE.items() if n.endswith("logits_dense/kernel")}
    assert fingerprint(started(program, other).frozen) == fingerprint(other) != fingerprint(BASE)
    drawn = make_state(program.layout, program.optimizer, 3)
    plain = make_state(spec(frozen_dtype=None).layout, program.optimizer, 3)
    assert fingerprint(drawn.frozen) == fingerprint(plain.frozen)


@SLOW
@pytest.mark.parametrize("scan", [True, False])
def test_with_deltas_on_top(scan):
    config = make_config(
        deltas=(delta("lang", params=(".*/mlp/.*", ".*embed.*")),), scan_layers=scan
    )
    flat = BASE if scan else unstack(BASE)
    changes = {"trainable": ("deltas/.*",)}
    program, plain = spec(config, **changes), spec(config, frozen_dtype=None, **changes)
    close(
        step_of(program, started(program, flat)),
        step_of(plain, floats(started(program, flat))),
    )


def memory_of(frozen_dtype, remat):
    """(bytes of the arguments, of the temporaries) of a compiled step of 16 scanned layers."""
    sizes = {"emb_dim": 64, "mlp_dim": 256, "encoder_layers": 16, "decoder_layers": 1}
    program = spec(make_config(plugs=PLUGS, remat=remat, **sizes), frozen_dtype=frozen_dtype)
    held = sum(
        a.size * a.dtype.itemsize
        for a in jax.tree.leaves(program.layout.abstract(program.layout.frozen))
    )
    analysis = compile_train(program, abstract_batch(program, 2, 8, 8)).memory_analysis()
    return held, analysis.argument_size_in_bytes, analysis.temp_size_in_bytes


@SLOW
@pytest.mark.parametrize("remat", ["none", "full"])
def test_it_takes_a_quarter_and_no_layers_floats_are_kept(remat):
    held, arguments, temporaries = memory_of("int8", remat)
    floats_held, floats_arguments, floats_temporaries = memory_of(None, remat)
    assert held < 0.3 * floats_held
    assert floats_arguments - arguments >= floats_held - held
    layer = 4 * (4 * 64 * 16 + 3 * 64 * 256)  # bytes of one of the 16 layers in float32
    assert temporaries < floats_temporaries + 2 * layer


def int8_job(**changes):
    given = {"trainable": ("modules/.*",), "frozen_dtype": "int8"} | changes
    return job(model={"plugs": PLUGS}, **given)


@SLOW
def test_a_killed_run_goes_on_with_the_same_bits(tmp_path):
    source = Source(BASE)
    whole = run(int8_job(), tmp_path / "whole", base=source)
    run(int8_job(steps=4), tmp_path / "parted", base=source)
    parted = run(int8_job(), tmp_path / "parted", base=source)
    assert not Checkpoints(tmp_path / "whole").has_base()  # it is imported anew
    assert whole.position.base_fingerprint == fingerprint(BASE)
    assert_identical(content(parted), content(whole))


@SLOW
def test_a_drawn_backbone_is_saved_in_int8_and_read_again(tmp_path):
    whole = run(int8_job(), tmp_path / "whole")
    run(int8_job(steps=4), tmp_path / "parted")
    assert_identical(content(run(int8_job(), tmp_path / "parted")), content(whole))
    base = CheckpointBase(tmp_path / "whole")
    expected = {n: dense(v) for n, v in whole.state.frozen.items()}
    for name, value in unstack(expected).items():
        found = base.read(name.removeprefix("params/"))
        np.testing.assert_array_equal(found, value, err_msg=name)
    name = "encoder/layers_1/mlp/wo/kernel"
    cut = (slice(3, 9), slice(2, 5))
    np.testing.assert_array_equal(base.read_slice(name, cut), base.read(name)[cut])


@SLOW
def test_another_frozen_dtype_is_told(tmp_path):
    run(int8_job(steps=2), tmp_path)
    with pytest.raises(UserError, match=r"in int8 in the checkpoint.*TrainConfig.frozen_dtype"):
        run(int8_job(frozen_dtype=None), tmp_path)


@SLOW
def test_a_model_is_opened_and_scored_as_it_was_trained(tmp_path):
    given: ArrayJob = int8_job()
    done = run(given, tmp_path, base=Source(BASE))
    predictor = open_predictor(
        given, program_of(given, jax.devices()[:1]), tmp_path, base=Source(BASE)
    )
    assert predictor.backbone().whole == fingerprint(BASE)
    batch = place_batch(done.program, BATCH)
    expected = done.program.evaluate({**done.state.frozen, **done.state.trainable}, batch)
    found = predictor.program.evaluate(predictor.params, batch)
    np.testing.assert_array_equal(found["row_nll"], expected["row_nll"])


def test_the_plan_counts_it():
    memory = {
        low: plan_run(int8_job(frozen_dtype=low), 8, 8, 8).memory["frozen parameters"]
        for low in (None, "int8")
    }
    assert memory["int8"] == sum(
        a.size * a.dtype.itemsize
        for a in jax.tree.leaves(spec(int8_job().model).layout.abstract(BASE))
    )
    assert memory["int8"] < 0.5 * memory[None]  # at these widths scales and norms count


@pytest.mark.parametrize(
    "asked, words", [("int4", "float32, bfloat16, float16, int8"), ("int", "Did you mean 'int8'")]
)
def test_unknown_dtypes(asked, words):
    with pytest.raises(UserError, match=f"TrainConfig.frozen_dtype.*{words}"):
        spec(frozen_dtype=asked)


def test_a_bilstm_is_refused():
    with pytest.raises(UserError, match="BiLSTM"):
        spec(BiLSTMConfig(word_rows=8, char_rows=8), trainable=(".*",))


@SLOW
def test_it_decodes_and_merges_as_the_floats_it_stands_for():
    config = make_config(plugs=(plug(LoRA, "mine", rank=2),), dtype="bfloat16")
    rounded, plain = spec(config), spec(config, frozen_dtype=None)
    modules = {n: jnp.asarray(v) for n, v in random_params(config).items() if n not in BASE}
    held = started(rounded).frozen | modules
    sides = [
        Predictor(rounded, held, 0, 0, (), Fingerprint("")),
        Predictor(plain, {n: dense(v) for n, v in held.items()}, 0, 0, (), Fingerprint("")),
    ]
    rows = [np.array([5, 9, 30, 1], np.int32), np.array([7, 1], np.int32)]
    found, expected = (side.decode_tokens(rows, 6) for side in sides)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)
    merged, wanted = (merge(side) for side in sides)
    assert merged.keys() == wanted.keys()
    for name, value in wanted.items():
        assert merged[name].dtype == np.float32
        np.testing.assert_array_equal(merged[name], value, err_msg=name)
