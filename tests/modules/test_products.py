"""Every way to multiply by a bank equals the plain one, forward and backward, on any mesh."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from jaxlt.engine.config import DEFAULT_RULES, MeshConfig
from jaxlt.engine.partitioning import make_mesh
from jaxlt.engine.step import mesh_context
from jaxlt.errors import UserError
from jaxlt.modules import products
from jaxlt.modules.products import IMPLEMENTATIONS, routed_matmul

pytestmark = pytest.mark.usefixtures("quick_compile")

ROWS, LENGTH, WIDE, NARROW, SLOTS = 16, 11, 12, 5, 8
RNG = np.random.default_rng(0)
X = RNG.normal(size=(ROWS, LENGTH, WIDE)).astype(np.float32)
BANK = RNG.normal(size=(SLOTS, WIDE, NARROW)).astype(np.float32)
WEIGHT = RNG.normal(size=(ROWS, LENGTH, NARROW)).astype(np.float32)
INDICES = {
    "rows": RNG.integers(0, SLOTS, ROWS).astype(np.int32),
    "one_slot": np.full(ROWS, 5, np.int32),
    "crowded": np.array([7] * 12 + [0, 1, 2, 3], np.int32),
    "tokens": RNG.integers(0, SLOTS, (ROWS, LENGTH)).astype(np.int32),
}


def plain(index):
    """One token at a time, in numpy: output, and gradients of sum(output * WEIGHT)."""
    out, dx, dbank = np.zeros_like(WEIGHT), np.zeros_like(X), np.zeros_like(BANK)
    for b in range(ROWS):
        for t in range(LENGTH):
            slot = index[b] if index.ndim == 1 else index[b, t]
            out[b, t] = X[b, t] @ BANK[slot]
            dx[b, t] = BANK[slot] @ WEIGHT[b, t]
            dbank[slot] += np.outer(X[b, t], WEIGHT[b, t])
    return out, dx, dbank


def program(how):
    """The compiled (x, bank, index) -> output, and gradients of sum(output * WEIGHT)."""

    def loss(x, bank, index):
        out = routed_matmul(x, bank, index, how)
        return jnp.sum(out * WEIGHT), out

    return jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))


def check(how, indices=INDICES):
    """All ways to say who goes where, one program for those by row and one for those by token."""
    run = program(how)
    for name in indices:
        (_, out), grads = run(X, BANK, jnp.asarray(INDICES[name]))
        for found, wanted in zip((out, *grads), plain(INDICES[name]), strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("how", IMPLEMENTATIONS)
def test_equals_the_plain_form(how):
    check(how)


def test_which_is_taken_where_nobody_says():
    bank = jnp.asarray(BANK)
    assert products.chosen(bank, jnp.asarray(INDICES["rows"])) == "gather"
    assert products.chosen(bank, jnp.asarray(INDICES["tokens"])) == "blocks"


def test_one_slot_for_the_whole_batch():
    out = routed_matmul(jnp.asarray(X), jnp.asarray(BANK), jnp.int32(3))
    np.testing.assert_allclose(out, X @ BANK[3], rtol=1e-5, atol=1e-5)


MESHES = {
    "rows": (MeshConfig(data=8), DEFAULT_RULES),
    "owners": (MeshConfig(data=2, fsdp=4), (("routes", "fsdp"), *DEFAULT_RULES)),
    "owners_and_tensor": (
        MeshConfig(data=1, fsdp=4, tensor=2),
        (("routes", "fsdp"), *DEFAULT_RULES),
    ),
}


# 'gather' knows nothing of meshes, and a split of rows alone is nothing to 'exchange'.
QUICK = {("rows", "blocks"), ("owners", "exchange"), ("owners", "ragged")}


@pytest.mark.parametrize(
    "mesh, how",
    [
        pytest.param(mesh, how, marks=() if (mesh, how) in QUICK else pytest.mark.slow)
        for mesh in MESHES
        for how in IMPLEMENTATIONS
    ],
)
def test_on_eight_devices(mesh, how):
    config, rules = MESHES[mesh]
    rules = tuple(dict(reversed(rules)).items())  # the first rule of a name counts
    with mesh_context(make_mesh(config), rules):
        check(how)


def test_rows_go_to_the_owner_of_their_slot():
    config, rules = MESHES["owners"]
    index, mesh = jnp.asarray(INDICES["rows"]), make_mesh(config)
    with mesh_context(mesh, tuple(dict(reversed(rules)).items())):
        assert products.chosen(jnp.asarray(BANK), index) == "exchange"
        given = [
            jax.device_put(a, NamedSharding(mesh, PartitionSpec(axes)))
            for a, axes in ((X, ("data", "fsdp")), (BANK, "fsdp"))
        ]
        compiled = jax.jit(lambda x, b: routed_matmul(x, b, index)).lower(*given).compile()
    assert "all-to-all" in compiled.as_text()
    assert "all-gather" not in compiled.as_text()  # no device ever holds the bank


def test_an_unknown_implementation():
    with pytest.raises(UserError, match="Did you mean 'gather'"):
        routed_matmul(jnp.asarray(X), jnp.asarray(BANK), jnp.zeros(ROWS, jnp.int32), "gathr")
