"""Fused attention against plain attention: values, gradients, meshes, and when which is taken."""

import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params

from jaxlt.engine.optim.optimizers import OptimizerConfig
from jaxlt.engine.partitioning import MeshConfig
from jaxlt.engine.step import build
from jaxlt.models import fused_attention, fused_attention_gpu
from jaxlt.models.bias import Bias
from jaxlt.models.encoder import model_of, target_fields
from jaxlt.models.fused_attention import fused, way_of
from jaxlt.models.fused_attention_shape import Distances, Shape
from jaxlt.models.fused_attention_tpu import attend, attend_back
from jaxlt.models.layers import make_context
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
    random_variables,
)

pytestmark = pytest.mark.usefixtures("quick_compile")


def text(rng: np.random.Generator, rows: int, length: int) -> np.ndarray:
    """[rows, length] bool: text, then padding; the last row is padding alone."""
    lengths = rng.integers(length // 2, length + 1, rows)
    lengths[-1] = 0
    return np.arange(length) < lengths[:, None]


def case(kind: str, rows: int, queries: int, keys: int, heads: int) -> Bias:
    """A Bias of each kind that the network makes."""
    rng = np.random.default_rng(0)
    values = jnp.asarray(rng.normal(size=(heads, queries + keys - 1)), jnp.float32)
    if kind == "nothing":
        return Bias()
    if kind == "cross":
        return Bias(query_valid=text(rng, rows, queries), key_valid=text(rng, rows, keys))
    valid = jnp.asarray(text(rng, rows, queries))
    if kind == "packed":
        segments = jnp.asarray(np.sort(rng.integers(1, 4, (rows, queries)))) * valid
        return Bias(Distances(values), valid, valid, segments, segments)
    table = None if kind == "absolute" else Distances(values)
    return Bias(table, valid, valid, causal=kind in ("causal", "absolute"))


def drawn(rows: int, queries: int, keys: int, heads: int, head_dim: int) -> list[jax.Array]:
    """q, k, v and a gradient to what comes out."""
    rng = np.random.default_rng(1)
    shapes = [(rows, n, heads, head_dim) for n in (queries, keys, keys, queries)]
    return [jnp.asarray(rng.normal(size=s), jnp.float32) for s in shapes]


def plain(q, k, v, bias: Bias, scale: float = 1.0) -> jax.Array:
    """The formula."""
    logits = jnp.einsum("bqhd,bkhd->bhqk", q, k) * scale
    added = bias.materialise(q.shape[1], k.shape[1])
    weights = jax.nn.softmax(logits if added is None else logits + added, axis=-1)
    return jnp.einsum("bhqk,bkhd->bqhd", weights, v)


def with_gradients(attention, bias: Bias, q, k, v, out):
    """(what comes out, gradients to q, k, v and to the biases by distance), compiled."""

    def run(q, k, v, table):
        return attention(q, k, v, bias.replace(table=table))

    def both(q, k, v, table, out):
        value, back = jax.vjp(run, q, k, v, table)
        return value, back(out)

    return jax.jit(both)(q, k, v, bias.table, out)


@pytest.mark.parametrize(
    "kind, rows, queries, keys, heads, head_dim",
    [
        ("causal", 2, 7, 7, 2, 8),
        ("packed", 2, 128, 128, 1, 16),
        pytest.param("padded", 2, 9, 9, 2, 8, marks=pytest.mark.slow),
        pytest.param("cross", 3, 5, 130, 2, 8, marks=pytest.mark.slow),
        pytest.param("absolute", 2, 8, 8, 1, 8, marks=pytest.mark.slow),
        pytest.param("nothing", 2, 3, 4, 2, 8, marks=pytest.mark.slow),
        pytest.param("padded", 4, 140, 140, 4, 64, marks=pytest.mark.slow),  # pairs of heads, tiles
        pytest.param("packed", 2, 300, 300, 3, 16, marks=pytest.mark.slow),
        pytest.param("causal", 2, 256, 256, 2, 64, marks=pytest.mark.slow),
    ],
)
def test_the_kernels_do_what_plain_attention_does(kind, rows, queries, keys, heads, head_dim):
    bias, tensors = (
        case(kind, rows, queries, keys, heads),
        drawn(rows, queries, keys, heads, head_dim),
    )
    scale = 0.5 if kind == "absolute" else 1.0
    wanted = with_gradients(lambda *a: plain(*a, scale), bias, *tensors)
    found = with_gradients(lambda *a: fused("interpreted", *a, scale), bias, *tensors)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5 * float(abs(other).max()))


def test_a_frozen_table_has_no_gradient_computed():
    bias, (q, k, v, _) = case("padded", 2, 5, 5, 2), drawn(2, 5, 5, 2, 8)

    def loss(q, table):
        return fused("interpreted", q, k, v, bias.replace(table=table)).sum()

    def results(argnums):
        """How many the backward kernel has."""
        program = jax.make_jaxpr(jax.grad(loss, argnums))(q, bias.table).jaxpr
        kernels = [e for e in equations(program) if e.primitive.name == "pallas_call"]
        return max(len(kernel.outvars) for kernel in kernels)

    assert results(0) == 3  # q, k and v
    assert results((0, 1)) == 4


def equations(jaxpr):
    """All of a program, those within others included."""
    for equation in jaxpr.eqns:
        yield equation
        for inner in jaxprs_in_params(equation.params):
            yield from equations(inner)


def of_network(config, **changes):
    """(loss and gradients of all parameters) of a network, where the targets are text."""
    batch = make_batch(rows=2, inputs=9, targets=7) | make_mlm_batch(rows=2, length=9)
    batch["row"], weights = np.arange(2, dtype=np.int32), batch[target_fields(config)[1]]
    variables, model = random_variables(config), model_of(config)
    key = jax.random.key(0) if config.dropout else None

    def loss(params):
        logits = model.apply({**variables, "params": params}, batch, make_context(batch, key))
        nll = -jax.nn.log_softmax(logits)[..., 5]
        return jnp.sum(nll * weights)

    return jax.jit(jax.value_and_grad(loss))(variables["params"])


LAYERS = {"encoder_layers": 1, "decoder_layers": 1}


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"dropout": 0.3, "decoder_layers": 0},  # the same weights are dropped
        {"remat": "dots", "relpos_per_layer": True},
        {"positions": "absolute", "logit_scale": 0.3, "scan_layers": False},
    ],
    ids=["dropout", "umt5", "absolute"],
)
def test_the_network_is_the_same(changes):
    sizes = LAYERS | changes
    found = of_network(make_config(attention="fused", **sizes))
    wanted = of_network(make_config(attention="plain", **sizes))
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-4, atol=2e-5 * float(abs(other).max()))


@pytest.mark.slow
@pytest.mark.parametrize(
    "mesh, changes",
    [
        (MeshConfig(data=2, tensor=2), {"num_heads": 2}),
        # heads that do not divide stay whole
        (MeshConfig(data=1, fsdp=2, tensor=2), {"num_heads": 3, "decoder_layers": 0}),
    ],
)
def test_a_mesh_changes_nothing(mesh, changes):
    """A step of plain descent, which is a step by the gradients themselves."""
    after = []
    for attention, where in (("plain", None), ("fused", mesh)):
        model = make_config(attention=attention, **(LAYERS | changes))
        program = build(make_spec(model, where, optimizer=OptimizerConfig("sgd")))
        state = place_state(program, random_params(model))
        batch = place_batch(program, make_batch(rows=4) | make_mlm_batch(rows=4))
        state, metrics = program.train(state, batch, hyper(1.0))
        after.append((jax.device_get(state.trainable), float(metrics["grad_norm"])))
    (wanted, norm), (found, other) = after
    assert other == pytest.approx(norm, rel=1e-4)
    for name in wanted:
        np.testing.assert_allclose(found[name], wanted[name], rtol=2e-4, atol=2e-4, err_msg=name)


# --- which is taken -------------------------------------------------------------------------------
SERVED = {"num_heads": 4, "head_dim": 64, "dtype": "bfloat16"}
PLACE = "encoder/attention"


@pytest.mark.parametrize(
    "platform, changes, lengths, wanted",
    [
        ("cpu", {}, (512, 512), "plain"),
        ("cpu", {"attention": "fused"}, (512, 512), "interpreted"),
        ("tpu", {}, (512, 512), "tpu"),
        ("tpu", {}, (1024, 1024), "tpu"),
        ("tpu", {"dtype": "float32"}, (512, 512), "tpu"),
        ("tpu", {"attention": "plain"}, (512, 512), "plain"),
        ("tpu", {"attention": "fused"}, (8192, 8192), "plain"),  # no room in a core's memory
        ("tpu", {"dtype": "float16"}, (512, 512), "plain"),
        ("tpu", {"head_dim": 8}, (512, 512), "plain"),
        ("tpu", {"plugs": (plug(Prefix, "lang"),)}, (512, 512), "plain"),
        ("gpu", {}, (512, 512), "plain"),
        ("gpu", {"attention": "fused"}, (512, 512), "gpu"),
        ("gpu", {"attention": "fused"}, (511, 511), "plain"),
        ("gpu", {"attention": "fused", "dtype": "float32"}, (512, 512), "plain"),
    ],
)
def test_which_way_is_taken(monkeypatch, platform, changes, lengths, wanted):
    monkeypatch.setattr(fused_attention, "platform", lambda: platform)
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    assert way_of(make_config(**(SERVED | changes)), PLACE, *lengths) == wanted


def test_what_only_plain_attention_does(monkeypatch):
    """Decoding with a cache, several devices without a mesh; rows of several texts on GPUs."""
    monkeypatch.setattr(fused_attention, "platform", lambda: "tpu")
    assert way_of(make_config(**SERVED), PLACE, 512, 512) == "plain"
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    assert way_of(make_config(**SERVED), PLACE, 1, 512, stepping=True) == "plain"
    assert way_of(make_config(**SERVED), PLACE, 512, 512, packed=True) == "tpu"
    elsewhere = make_config(**SERVED, plugs=(plug(Prefix, "lang", sites=("decoder/*/kv",)),))
    assert way_of(elsewhere, PLACE, 512, 512) == "tpu"
    monkeypatch.setattr(fused_attention, "platform", lambda: "gpu")
    config = make_config(attention="fused", **SERVED)
    assert way_of(config, PLACE, 512, 512, packed=True) == "plain"


def test_a_bias_by_distance_is_spelt_out_where_it_has_to_be():
    values = jnp.arange(8.0)[None]  # distances -3 to 4
    found = Bias(Distances(values)).materialise(4, 5)
    for query in range(4):
        np.testing.assert_array_equal(found[0, 0, query], np.arange(5) - query + 3)


# --- TPUs and GPUs that are not here --------------------------------------------------------------
def kernels(rows, queries, keys, heads=4, biased=True):
    """(forward and backward kernels as functions, their arguments as shapes), bf16."""
    shape = Shape(rows, queries, keys, heads, 64, "bfloat16", biased, True)
    of = jax.ShapeDtypeStruct
    q, k = (of((rows, n, heads * 64), jnp.bfloat16) for n in (queries, keys))
    bias = of((heads, queries + keys - 1), jnp.float32) if biased else None
    codes = tuple(of((rows, n), jnp.float32) for n in (queries, keys))
    ahead = lambda q, k, v, bias, codes, out: attend(shape, q, k, v, bias, codes)  # noqa: E731
    back = lambda *args: attend_back(shape, *args, learned=biased)  # noqa: E731
    return (ahead, back), (q, k, k, bias, codes, q)


@pytest.mark.parametrize("sizes", [(2, 128, 128), (1, 100, 300)])
def test_the_kernels_are_programs_for_tpus(sizes):
    functions, args = kernels(*sizes, biased=sizes[1] == sizes[2])
    for function in functions:
        lowered = jax.jit(function).trace(*args).lower(lowering_platforms=("tpu",))
        assert "tpu_custom_call" in lowered.as_text()


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="needs libtpu")
@pytest.mark.parametrize("topology", ["v4:2x2x1", "v5e:2x2", "v5p:2x2x1", "v6e:2x2"])
def test_tpus_compile_the_kernels(topology):
    from jaxlt.plan.topologies import parse_topology

    device = jax.sharding.SingleDeviceSharding(parse_topology(topology).devices()[0])
    for sizes in ((4, 512, 512), (1, 1024, 1024)):
        functions, args = kernels(*sizes)
        args = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=device), args)
        for function in functions:
            assert jax.jit(function).lower(*args).compile()


@pytest.mark.parametrize("kind", ["causal", pytest.param("cross", marks=pytest.mark.slow)])
def test_cudnn_is_asked_for_the_same(monkeypatch, kind):
    """By XLA's own implementation of what cuDNN is called with; queries of padding aside."""
    monkeypatch.setattr(fused_attention_gpu, "IMPLEMENTATION", "xla")
    sizes = (2, 6, 10) if kind == "cross" else (2, 8, 8)
    bias, (q, k, v, out) = case(kind, *sizes, 2), drawn(*sizes, 2, 8)
    shown = bias.query_valid[..., None, None]
    wanted, gradients = with_gradients(plain, bias, q, k, v, out * shown)
    found, others = with_gradients(lambda *a: fused("gpu", *a), bias, q, k, v, out * shown)
    np.testing.assert_allclose(found * shown, wanted * shown, rtol=1e-4, atol=1e-5)
    for one, other in zip(jax.tree.leaves(others), jax.tree.leaves(gradients), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_the_program_for_gpus_calls_cudnn():
    """Where no GPU is, JAX asks cuDNN for its version and finds none: so far we come."""
    bias = Bias(Distances(jnp.zeros((2, 15))), jnp.ones((2, 8), bool), jnp.ones((2, 8), bool))
    q = jnp.zeros((2, 8, 2, 64), jnp.bfloat16)
    traced = jax.jit(lambda q: fused("gpu", q, q, q, bias)).trace
    try:
        text = traced(q).lower(lowering_platforms=("cuda",)).as_text()
    except RuntimeError as error:
        assert "cuDNN" in str(error)
    else:
        assert "cudnn" in text
