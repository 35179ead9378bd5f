"""The state of a run: what trains, what comes from a base, and where it lives."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlt.engine import state as engine_state
from jaxlt.engine.config import DEFAULT_RULES, MeshConfig
from jaxlt.engine.state import base_fingerprint, make_layout, make_state, partition
from jaxlt.engine.step import build
from jaxlt.errors import UserError
from jaxlt.modules.bottleneck import Bottleneck
from jaxlt.modules.layout import unstack
from jaxlt.modules.site import plug
from tests.conftest import make_config, make_spec, random_params

NAMES = ["params/encoder/a", "params/decoder/b", "modules/encoder/c"]
SIZES = {"encoder_layers": 1, "decoder_layers": 0}
PLUGGED = make_config(**SIZES, plugs=(plug(Bottleneck, "mine", reduction_factor=4),))


@dataclasses.dataclass
class Source:
    """A base in memory that counts how often each tensor is read."""

    flat: dict
    origin: dict = dataclasses.field(
        default_factory=lambda: {"path": "some/base", "format": "test"}
    )

    def __post_init__(self):
        self.flat = {n.removeprefix("params/"): v for n, v in unstack(self.flat).items()}
        self.shapes = {n: v.shape for n, v in self.flat.items()}
        self.reads = []

    def read_slice(self, name, index):
        self.reads.append((name, tuple((i.start, i.stop) for i in index)))
        return self.flat[name][index]

    def values_read(self):
        """How many values were read, those read twice counted twice."""
        return sum(math.prod(stop - start for start, stop in index) for _, index in self.reads)


def test_partition():
    assert partition(NAMES, [".*"]) == (NAMES, [])
    assert partition(NAMES, ["modules/.*"]) == (NAMES[2:], NAMES[:2])
    assert partition(NAMES, [".*"], ["params/.*"]) == (NAMES[2:], NAMES[:2])
    assert partition(NAMES, ["params/.*", "modules/.*"], [".*/b"])[1] == ["params/decoder/b"]


@pytest.mark.parametrize(
    "trainable, frozen, words",
    [
        (["module/.*"], [], "TrainConfig.trainable: 'module/.*' matches no parameter"),
        (["encoder"], [], "regexes over whole names"),
        ([".*"], ["params/encodr/a"], "TrainConfig.frozen.*Did you mean 'params/encoder/a'"),
        (["(", ".*"], [], "no regex"),
    ],
)
def test_patterns_that_match_nothing(trainable, frozen, words):
    with pytest.raises(UserError, match=words.replace("(", r"\(")):
        partition(NAMES, trainable, frozen)


@pytest.fixture(scope="module")
def sharded():
    """The program of a plugged model over 8 devices, with its base frozen in bfloat16."""
    mesh = MeshConfig(data=2, fsdp=2, tensor=2)
    return build(make_spec(PLUGGED, mesh, trainable=("modules/.*",), frozen_dtype="bfloat16"))


def test_state_from_a_base(sharded):
    flat = random_params(make_config(**SIZES))
    source, heard = Source(flat), []
    state = make_state(
        sharded.layout, sharded.optimizer, 0, source, on_drawn=lambda names: heard.extend(names)
    )
    assert set(state.frozen) == set(flat)
    for name, value in state.frozen.items():
        assert value.dtype == jnp.bfloat16
        assert value.sharding == sharded.layout.shardings[name], name
        np.testing.assert_array_equal(value, flat[name].astype(jnp.bfloat16), err_msg=name)
    # Each value once, though rows of devices hold the same shards.
    assert {name for name, _ in source.reads} == set(source.shapes)
    assert source.values_read() == sum(v.size for v in source.flat.values())
    assert (
        set(heard) == set(state.trainable) == {n for n in sharded.layout.leaves if "modules" in n}
    )
    assert all(v.dtype == jnp.float32 for v in state.trainable.values())
    kernel = state.frozen["params/encoder/layers/mlp/wo/kernel"]
    assert {s.data.shape for s in kernel.addressable_shards} == {(1, 12, 8)}
    assert base_fingerprint(state) == base_fingerprint(
        state.replace(frozen={n: jnp.asarray(v) for n, v in flat.items()})
    )


def test_a_base_comes_in_place_of_a_local_start():
    flat = random_params(make_config())
    config = make_config(relpos_start="local", embedding_std=0.05)
    program = build(make_spec(config))
    state = make_state(program.layout, program.optimizer, 0, Source(flat))
    for name, value in state.trainable.items():
        np.testing.assert_array_equal(value, flat[name], err_msg=name)


def test_a_large_tensor_is_read_in_runs_of_rows(sharded, monkeypatch):
    flat = random_params(make_config(**SIZES))
    monkeypatch.setattr(engine_state, "PART_BYTES", 1024)
    source = Source(flat)
    state = make_state(sharded.layout, sharded.optimizer, 0, source)
    sizes = [math.prod(b - a for a, b in index) for _, index in source.reads]
    assert max(sizes) <= 1024 // 4 < max(v.size for v in source.flat.values())
    for name, value in state.frozen.items():
        assert value.sharding == sharded.layout.shardings[name], name
        np.testing.assert_array_equal(value, flat[name].astype(jnp.bfloat16), err_msg=name)


def test_optimizer_state_is_sharded_and_for_the_trainable_part_alone(sharded):
    state = make_state(sharded.layout, sharded.optimizer, 0)
    slots = state.optimizer["param_states"]
    assert set(slots) == set(state.trainable)
    for name, value in state.trainable.items():
        assert slots[name]["v"].sharding.is_equivalent_to(value.sharding, value.ndim), name


def test_draws_do_not_depend_on_the_mesh(sharded):
    one = build(make_spec(PLUGGED, trainable=("modules/.*",)))
    alone, spread = (make_state(p.layout, p.optimizer, 5) for p in (one, sharded))
    for name, value in alone.trainable.items():
        np.testing.assert_array_equal(value, spread.trainable[name], err_msg=name)
    for name, value in alone.frozen.items():
        np.testing.assert_array_equal(value.astype(jnp.bfloat16), spread.frozen[name], err_msg=name)


def refused(config, flat, encoder=False):
    """What a base that does not fit is told."""
    program = build(make_spec(config))
    with pytest.raises(UserError) as told:
        make_state(program.layout, program.optimizer, 0, Source(flat), encoder=encoder)
    return str(told.value)


def test_a_base_of_another_width_names_the_binding():
    told = refused(make_config(), random_params(make_config(mlp_dim=32)))
    assert "some/base" in told and "T5Config.mlp_dim = 32" in told and "24" in told


def test_a_base_of_another_vocabulary_names_the_binding():
    told = refused(make_config(), random_params(make_config(vocab_rows=48)))
    assert "T5Config.vocab_rows = 48" in told


def test_a_base_with_fewer_layers_names_the_parameter():
    told = refused(make_config(), random_params(make_config(encoder_layers=1)))
    assert "encoder/layers_1/" in told and "T5Config.encoder_layers" in told


def test_a_base_with_more_layers_names_the_field():
    told = refused(make_config(), random_params(make_config(decoder_layers=3)))
    assert "decoder/layers_2/" in told and "T5Config.decoder_layers" in told


def test_the_encoder_half_of_a_base():
    config = make_config(decoder_layers=0)
    program, flat = build(make_spec(config)), random_params(make_config())
    heard = []
    source = Source(flat)
    state = make_state(
        program.layout, program.optimizer, 0, source, encoder=True, on_drawn=heard.extend
    )
    assert heard == ["params/mlm_head/kernel"]
    assert not [n for n, _ in source.reads if n.startswith("decoder/")]
    name = "params/encoder/layers/attention/query/kernel"
    np.testing.assert_array_equal(state.trainable[name], flat[name])


def test_a_layout_holds_nothing():
    layout = make_layout(PLUGGED, make_spec().mesh, DEFAULT_RULES, ("modules/.*",), (), "bfloat16")
    abstract = layout.abstract(layout.leaves)
    assert all(isinstance(a, jax.ShapeDtypeStruct) for a in abstract.values())
    assert {a.dtype for n, a in abstract.items() if n in layout.frozen} == {jnp.dtype("bfloat16")}
    assert {a.dtype for n, a in abstract.items() if n in layout.trainable} == {jnp.dtype("float32")}
