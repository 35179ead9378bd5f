"""Merged equals unmerged, and taking out gives back what was there."""

import dataclasses

import numpy as np
import pytest

from jaxlt.errors import UserError
from jaxlt.modules.bitfit import BitFit
from jaxlt.modules.bottleneck import Bottleneck
from jaxlt.modules.ia3 import IA3
from jaxlt.modules.layout import unstack
from jaxlt.modules.lora import LoRA
from jaxlt.modules.merge import merged
from jaxlt.modules.norm_scale import NormScale
from jaxlt.modules.site import plug
from tests.conftest import forward, make_batch, make_config, make_mlm_batch, random_params

BATCH = make_batch(6) | make_mlm_batch(6)  # for both stacks, or an encoder alone
EVERYWHERE = ("query", "key", "value", "out", "wi_0", "wi_1", "wo")
STACKS = {
    "lora": (plug(LoRA, "a", rank=3),),
    "lora_everywhere": (plug(LoRA, "a", rank=2, alpha=5.0, scaling="rsqrt", sites=EVERYWHERE),),
    "ia3": (plug(IA3, "a"),),
    "norms": (plug(NormScale, "a"),),
    "in_some_layers": (plug(LoRA, "a", leave_out=(0,)), plug(IA3, "b", layers=(0,))),
    "one_on_the_other": (plug(LoRA, "a"), plug(IA3, "b"), plug(LoRA, "c", sites="value")),
    "average": (plug(LoRA, "a", key="all", routes=3),),
}


def params_of(config):
    """Random values; those of modules are small, as learnt ones are, so that logits stay so too."""
    flat = random_params(config)
    return {n: v * 0.3 if n.startswith("modules/") else v for n, v in flat.items()}


def close(found, wanted):
    np.testing.assert_allclose(found, wanted, atol=1e-5 * np.abs(wanted).max(), rtol=0)


KINDS = ("lora_everywhere", "norms", "in_some_layers", "average")
ENCODER = {"decoder_layers": 0}
BIASED = {"bias": True, "norm": "layer"}


@pytest.mark.parametrize(
    "kind, changes",
    [("one_on_the_other", {}), *((kind, ENCODER) for kind in KINDS)]
    + [pytest.param(kind, BIASED, marks=pytest.mark.slow) for kind in KINDS[:2]],
)
def test_merged_equals_unmerged(kind, changes):
    config = make_config(plugs=STACKS[kind], **changes)
    flat = params_of(config)
    plain = dataclasses.replace(config, plugs=())
    whole = merged(flat, config.plugs)
    assert set(whole) == {n for n in flat if n.startswith("params/")}
    found = forward(plain, whole, BATCH)
    close(found, forward(config, flat, BATCH))
    unchanged = {n: v for n, v in flat.items() if n in whole}
    assert np.abs(found - forward(plain, unchanged, BATCH)).max() > 1e-3


def test_single_layers_are_merged_as_well():
    config = make_config(plugs=STACKS["lora"])
    flat = random_params(config)
    stacked, single = merged(flat, config.plugs), merged(unstack(flat), config.plugs)
    for name, value in unstack(stacked).items():
        np.testing.assert_allclose(single[name], value, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("kind", ["lora", "lora_everywhere", "ia3", "one_on_the_other"])
def test_taking_out_what_was_merged(kind):
    config = make_config(plugs=STACKS[kind])
    flat = random_params(config)
    modules = {n: v for n, v in flat.items() if n.startswith("modules/")}
    back = merged(merged(flat, config.plugs) | modules, config.plugs, inverse=True)
    for name, value in back.items():
        np.testing.assert_allclose(value, flat[name], rtol=1e-4, atol=1e-5, err_msg=name)


def test_one_language_of_a_bank():
    config = make_config(plugs=(plug(LoRA, "lang", key="source", routes=3),), **ENCODER)
    flat = random_params(config)
    plain = dataclasses.replace(config, plugs=())
    batch = BATCH | {"language": np.full(6, 2, np.int32)}
    own = merged(flat, config.plugs, slots={"lang": 2})
    close(forward(plain, own, BATCH), forward(config, flat, batch))
    with pytest.raises(UserError, match="'lang' is a bank of 3"):
        merged(flat, config.plugs)


@pytest.mark.parametrize(
    ("method", "why"),
    [(Bottleneck, "nonlinear"), (BitFit, "no biases")],
    ids=["bottleneck", "bias"],
)
def test_what_cannot_be_merged_says_why(method, why):
    config = make_config(plugs=(plug(method, "mine"),))
    with pytest.raises(UserError, match=f"'mine'.*cannot be merged.*{why}"):
        merged(random_params(config), config.plugs)


def test_plugs_in_parallel():
    config = make_config(plugs=(plug(LoRA, "a", parallel="p"), plug(IA3, "b", parallel="p")))
    with pytest.raises(UserError, match="in parallel"):
        merged(random_params(config), config.plugs)
