"""Layers run by hand over shared-out weights: what the compiler's own way gives, in fewer bytes."""

import dataclasses
import types

import jax
import numpy as np
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from jaxlt.engine.config import DEFAULT_RULES, MeshConfig
from jaxlt.engine.optim.optimizers import OptimizerConfig
from jaxlt.engine.partitioning import _in_halves
from jaxlt.engine.step import build, manual_of, mesh_context
from jaxlt.errors import UserError
from jaxlt.models.init import describe
from jaxlt.models.manual import Manual, gather, halves, scatter
from jaxlt.modules.bottleneck import Bottleneck
from jaxlt.modules.ia3 import IA3
from jaxlt.modules.prefix import Prefix
from jaxlt.modules.site import plug
from tests.conftest import (
    hyper,
    make_batch,
    make_config,
    make_mlm_batch,
    make_spec,
    place_batch,
    place_state,
    random_params,
)

pytestmark = pytest.mark.usefixtures("quick_compile")

SGD = OptimizerConfig("sgd")
SCANNED = {"remat": "dots", "scan_layers": True}
ENCODER = SCANNED | {"decoder_layers": 0}  # whose layers are the decoder's but for the attention
MESHES = {
    "fsdp": MeshConfig(data=1, fsdp=4),
    "data": MeshConfig(data=2, fsdp=2),
    "replicas": MeshConfig(replica=2, data=1, fsdp=2),
}
MODULES = (
    plug(Bottleneck, "lang", key="source", routes=3, reduction_factor=4, layers=(1,)),
    plug(Prefix, "seen", length=2),
)


def step(spec, batch, flat):
    """One step: metrics, what is trained, and the compiled text."""
    program = build(spec)
    state, placed = place_state(program, flat), place_batch(program, batch)
    with mesh_context(spec.mesh, spec.rules):
        given = (state.replace(frozen={}), state.frozen, placed, program.complete(hyper(0.1)))
        compiled = program.jitted.lower(*given).compile()
        state, metrics = compiled(*given)
    trained = {n: np.asarray(v) for n, v in state.trainable.items()}
    return jax.device_get(metrics), trained, compiled.as_text()


def same(config, mesh, batch, **changes):
    """Both ways give the same step; returns the compiled text of the one by hand."""
    flat = random_params(config)
    spec = make_spec(config, mesh, **({"optimizer": SGD} | changes))
    by_hand = dataclasses.replace(spec, collectives="hand")
    assert manual_of(by_hand) is not None and manual_of(spec) is None
    metrics, params, text = step(by_hand, batch, flat)
    wanted, reference, _ = step(spec, batch, flat)
    assert float(wanted["grad_norm"]) > 0
    for name, value in wanted.items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-5, err_msg=name)
    for name, value in reference.items():
        np.testing.assert_allclose(params[name], value, rtol=1e-5, atol=2e-6, err_msg=name)
    return text


@pytest.mark.slow
@pytest.mark.parametrize("mesh", MESHES.values(), ids=MESHES)
def test_as_the_compiler_does_it(mesh):
    same(make_config(**SCANNED), mesh, make_batch(8))


@pytest.mark.slow
def test_accumulated():
    """With dropout, whose masks are those of the compiler's own way."""
    same(make_config(dropout=0.1, **ENCODER), MESHES["data"], make_mlm_batch(16), accumulate=2)


@pytest.mark.slow
def test_modules_alone():
    config = make_config(plugs=MODULES, **SCANNED)
    trainable = {"trainable": ("modules/.*",), "frozen_dtype": "bfloat16"}
    same(config, MESHES["data"], make_batch(8), **trainable)


@pytest.mark.slow
@pytest.mark.parametrize("routing", ["blocks", "ragged"])
def test_a_product_by_route_that_is_itself_split_over_rows(routing):
    """A device's rows divide by the mesh once more: they are not to be split again."""
    lang = plug(Bottleneck, "lang", key="source", routes=3, reduction_factor=4, routing=routing)
    same(make_config(plugs=(lang,), **ENCODER), MESHES["fsdp"], make_mlm_batch(16))


@pytest.mark.parametrize("size", [4, 16])
def test_stages_bring_every_part_home(size):
    """What the stages add up is what one exchange among all adds up, each device's own part."""
    rng = np.random.default_rng(0)
    held = rng.normal(size=(size, size))  # [device, part]
    for stage, groups in enumerate(halves(size)):
        new = {}
        for group in groups:
            total = sum(held[i] for i in group)
            for place, i in enumerate(group):
                width = len(total) // len(group)
                new[i] = total[place * width : (place + 1) * width]
        held = np.stack([new[i] for i in range(size)])
        assert held.shape[1] == (2 if stage == 0 else 1)
    rng = np.random.default_rng(0)
    np.testing.assert_allclose(held[:, 0], rng.normal(size=(size, size)).sum(0))


@pytest.mark.parametrize("size", [8, 30])
def test_scattered_parts(size):
    """Parts that are no whole tiles come home as they are, and gather to what they were."""
    mesh = jax.make_mesh((8,), ("fsdp",), axis_types=(AxisType.Auto,))
    manual = Manual("fsdp", ("fsdp",), {}, halves(8), halves(8))
    whole = np.random.default_rng(0).normal(size=(8, 5, 8 * size)).astype(np.float32)

    def both(x):
        part = scatter(x[0], 1, manual)
        return part, gather(part, 1, manual)[None]

    with jax.set_mesh(mesh):
        run = jax.shard_map(
            both, in_specs=P("fsdp"), out_specs=(P(None, "fsdp"), P("fsdp")), check_vma=False
        )
        part, back = jax.jit(run)(whole)
    np.testing.assert_allclose(part, whole.sum(0), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(back, np.broadcast_to(part, whole.shape))


def test_halves_of_a_torus_are_boxes():
    """The even places of `fsdp` are one half of a slice, cut along its longest side."""
    devices = [
        types.SimpleNamespace(coords=(x, y, z), slice_index=s)
        for s in range(2)
        for x in range(2)
        for y in range(4)
        for z in range(2)
    ]
    grid = np.empty((2, 1, 16, 1), object)
    grid[:, 0, :, 0] = np.array(devices, object).reshape(2, 16)
    found = _in_halves(grid)
    for place in range(2):
        line = found[place, 0, :, 0]
        assert {d.slice_index for d in line} == {place}
        assert {d.coords[1] for d in line[0::2]} == {0, 1}
        assert {d.coords[1] for d in line[1::2]} == {2, 3}
    shared = np.array(devices, object).reshape(1, 2, 16, 1)  # `fsdp` is a part of all there is
    assert _in_halves(shared) is shared


@pytest.mark.slow
def test_gradients_leave_in_parts_and_a_device_gathers_the_slots_of_its_rows_alone():
    """No gradient of a layer is reduced whole; of the seven slots that a step has cut out of
    eleven, those of four rows travel. The step is that of the compiler's own way.
    """
    lang = plug(Bottleneck, "lang", key="source", routes=11, reduction_factor=4)
    whole = plug(IA3, "whole", key="source", routes=3)  # banks that are not shared out
    config = make_config(plugs=(lang, whole), **ENCODER)
    text = same(config, MESHES["fsdp"], make_mlm_batch(16), languages=7)
    lines = [line.strip() for line in text.splitlines()]
    kernels = [n for n in describe(config) if "/layers/" in n and n.endswith("kernel")]
    assert len([line for line in lines if " reduce-scatter(" in line]) >= len(kernels)
    assert [line for line in lines if " all-to-all(" in line and "f32[1,4,4,4]" in line]
    assert not [line for line in lines if " all-gather(" in line and "f32[11," in line]
    assert not [line for line in lines if " all-gather(" in line and "f32[7," in line]


@pytest.mark.slow
@pytest.mark.parametrize("rows", [8, 16])
def test_more_slots_than_rows_of_a_device(rows):
    """With eight rows the step itself has cut the banks down to eight of the eleven slots."""
    lang = plug(Bottleneck, "lang", key="source", routes=11, reduction_factor=4)
    task = plug(Bottleneck, "task", reduction_factor=4)
    config = make_config(plugs=(lang, task), **ENCODER)
    batch = make_mlm_batch(rows) | {"language": make_batch(rows, languages=11)["language"]}
    same(config, MESHES["data"], batch, trainable=("modules/.*",))


def test_where_it_cannot_be():
    tensor = make_spec(make_config(**SCANNED), MeshConfig(data=1, fsdp=4, tensor=2))
    with pytest.raises(
        UserError, match=r"collectives = 'hand' does not go here: MeshConfig.tensor"
    ):
        manual_of(dataclasses.replace(tensor, collectives="hand"))
    unrolled = make_spec(make_config(), MESHES["fsdp"], collectives="hand")
    with pytest.raises(UserError, match="scan_layers"):
        manual_of(unrolled)
    rules = tuple(dict(DEFAULT_RULES, routes="fsdp").items())
    banks = make_spec(make_config(**SCANNED), MeshConfig(data=1, fsdp=4, rules=rules))
    with pytest.raises(UserError, match="shares layers or routes out over fsdp"):
        build(dataclasses.replace(banks, collectives="hand"))
    with pytest.raises(UserError, match="Did you mean 'hand'"):
        MeshConfig(collectives="hands")
