"""The training step lowers for NVIDIA GPUs on machines that have none."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest

from jaxlt.engine.step import Hyper, abstract_state, build, mesh_context
from jaxlt.modules.bottleneck import Bottleneck
from jaxlt.modules.site import plug
from jaxlt.plan.aot import abstract_batch
from tests.conftest import make_config, make_spec


def lowered(spec):
    """The text of a step for 'cuda', as traced on a CPU."""
    program = build(spec)
    state = abstract_state(program)
    batch = abstract_batch(program, 4, 16, 8)
    hyper = Hyper(jax.ShapeDtypeStruct((), jnp.float32), jax.ShapeDtypeStruct((), jnp.uint32))
    with mesh_context(spec.mesh, spec.rules):
        traced = program.jitted.trace(
            state.replace(frozen={}), state.frozen, batch, program.complete(hyper)
        )
        return traced.lower(lowering_platforms=("cuda",)).as_text()


@pytest.mark.parametrize("frozen", [pytest.param(False, marks=pytest.mark.slow), True])
def test_it_lowers_for_cuda(frozen):
    plugs = (plug(Bottleneck, "task", reduction_factor=4),) if frozen else ()
    model = make_config(dtype="bfloat16", dropout=0.0 if frozen else 0.1, plugs=plugs)
    spec = make_spec(model, trainable=("modules/.*",) if frozen else (".*",))
    if frozen:
        spec = dataclasses.replace(spec, frozen_dtype="bfloat16")
    text = lowered(spec)
    assert "stablehlo.while" in text and "tensor<4x16x16xbf16>" in text
    assert text.count("stablehlo.dot_general") > 60
