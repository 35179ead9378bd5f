"""The content hash of a backbone: blind to layout, sharding and dtype, and to nothing else."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from jaxlt.engine.checkpoint.fingerprint import fingerprint, fingerprint_of, modules_of
from jaxlt.engine.partitioning import MeshConfig, make_mesh
from jaxlt.metrics.result import Module
from jaxlt.modules.bottleneck import Bottleneck
from jaxlt.modules.config import Delta
from jaxlt.modules.layout import unstack
from jaxlt.modules.site import plug
from tests.conftest import make_config, random_params

NAME = "params/encoder/layers/mlp/wo/kernel"


def tree(seed=0):
    rng = np.random.default_rng(seed)
    return {
        NAME: rng.normal(size=(3, 16, 8)).astype(np.float32),
        "params/token_embedder/embedding": rng.normal(size=(40, 16)).astype(np.float32),
        "params/encoder/encoder_norm/scale": rng.normal(size=16).astype(np.float32),
    }


@pytest.fixture(scope="module")
def known():
    return fingerprint(tree())


def test_form(known):
    assert len(known) == 32 and int(known, 16)
    assert fingerprint(tree()) == known


def test_scan_does_not_matter(known):
    assert fingerprint(unstack(tree())) == known


def test_the_leading_collection_and_the_order_do_not_matter(known):
    bare = {n.removeprefix("params/"): v for n, v in reversed(tree().items())}
    assert fingerprint(bare) == known


@pytest.mark.parametrize("scanned", [True, False])
def test_sharding_does_not_matter(known, scanned):
    mesh = make_mesh(MeshConfig(data=1, fsdp=4, tensor=2))
    specs = {
        1: PartitionSpec("fsdp"),
        2: PartitionSpec("tensor", "fsdp"),
        3: PartitionSpec(None, "fsdp", "tensor"),
    }
    flat = tree() if scanned else unstack(tree())
    placed = {n: jax.device_put(v, NamedSharding(mesh, specs[v.ndim])) for n, v in flat.items()}
    assert fingerprint(placed) == known


def test_a_bfloat16_copy_is_the_same_backbone(known):
    assert fingerprint({n: jnp.asarray(v, jnp.bfloat16) for n, v in tree().items()}) == known


def changed(name, edit):
    flat = tree()
    edit(flat[name])
    return fingerprint(flat)


def test_a_value_that_moves_visibly_changes_it(known):
    def nudge(value):
        value[1, 3, 5] *= 1.01

    assert changed(NAME, nudge) != known


def test_a_value_that_moves_below_bfloat16_does_not(known):
    flat = tree()
    flat[NAME] = np.array(jnp.asarray(flat[NAME], jnp.bfloat16).astype(jnp.float32))
    flat[NAME][1, 3, 5] *= 1 + 1e-6
    assert fingerprint(flat) == known


def test_swaps_change_it(known):
    def values(value):
        value[0, 0, [0, 1]] = value[0, 0, [1, 0]]

    def layers(value):
        value[[0, 1]] = value[[1, 0]]

    def rows(value):
        value[[3, 4]] = value[[4, 3]]

    found = {changed(NAME, values), changed(NAME, layers)}
    found.add(changed("params/token_embedder/embedding", rows))
    assert len(found | {known}) == 4


def test_names_and_shapes_count(known):
    renamed = tree()
    renamed["params/decoder/layers/mlp/wo/kernel"] = renamed.pop(NAME)
    assert fingerprint(renamed) != known
    reshaped = tree()
    reshaped[NAME] = reshaped[NAME].reshape(3, 8, 16)
    assert fingerprint(reshaped) != known


def test_an_encoder_alone_is_the_encoder_of_the_whole(known):
    encoder = tree()
    decoder = {n.replace("encoder/", "decoder/"): v for n, v in tree(1).items() if "encoder/" in n}
    whole, alone = fingerprint_of(encoder | decoder), fingerprint_of(encoder)
    assert (alone.whole, dict(alone.parts)) == (known, {"encoder": known})
    assert whole.whole == fingerprint(encoder | decoder)
    assert whole.parts["encoder"] == known and len({whole.whole, *whole.parts.values()}) == 3
    assert whole.fits(alone) and alone.fits(whole) and whole.fits(whole)
    head = {"params/mlm_head/kernel": np.ones((16, 40), np.float32)}
    assert fingerprint_of(encoder | head) == alone
    other = fingerprint_of(tree(1) | decoder)
    assert not other.fits(whole) and not other.fits(alone) and not alone.fits(other)


def test_modules_are_told_apart_by_name_and_content():
    model = make_config(plugs=(plug(Bottleneck, "lang", reduction_factor=4),))
    params = random_params(model)
    (one,) = modules_of(model, params, {"lang": "glv_Latn"})
    assert one.name == "lang=glv_Latn" and modules_of(model) == (Module("lang"),)
    (same,) = modules_of(model, {n: v + n.startswith("params/") for n, v in params.items()})
    (other,) = modules_of(model, {n: v * 2 for n, v in params.items()})
    assert same.fingerprint == one.fingerprint != other.fingerprint
    dense = dataclasses.replace(model, plugs=(), deltas=(Delta("sw", file="far/away/sw.st"),))
    assert modules_of(dense) == (Module("sw=sw.st"),)
