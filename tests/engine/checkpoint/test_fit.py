"""A checkpoint that does not fit says what differs, and which binding makes it fit."""

import shutil

import jax
import jax.numpy as jnp
import pytest

from jaxlt.engine.checkpoint.checkpoints import Checkpoints
from jaxlt.engine.checkpoint.fit import explain
from jaxlt.errors import UserError
from tests.engine.checkpoints import abstract, assert_same, parameters, place, saved, state


def misfit(tmp_path, have, want):
    saved(tmp_path, have)
    with pytest.raises(UserError) as told:
        Checkpoints(tmp_path).restore(10, abstract(want))
    return str(told.value)


@pytest.mark.parametrize("scanned", [True, False])
@pytest.mark.parametrize(
    ("change", "binding", "shapes"),
    [
        ({"rows": 128}, "T5Config.vocab_rows = 64 (now 128)", ("[64, 16]", "[128, 16]")),
        ({"width": 24}, "T5Config.emb_dim = 16 (now 24)", ("[64, 16]", "[64, 24]")),
        ({"layers": 5}, "T5Config.encoder_layers = 3 (now 5)", ()),
        ({"layers": 2}, "T5Config.encoder_layers = 3 (now 2)", ()),
    ],
)
def test_another_size_names_parameter_shapes_and_binding(
    tmp_path, scanned, change, binding, shapes
):
    have = state(parameters(), scanned=scanned)
    text = misfit(tmp_path, have, state(parameters(**change), scanned=scanned))
    assert binding in text
    assert all(shape in text for shape in shapes)
    assert text.count("T5Config") == 1, text


def test_size_and_layout_may_differ_at_once(tmp_path):
    have = state(parameters(), scanned=False)
    text = misfit(tmp_path, have, state(parameters(rows=128, layers=4), scanned=True))
    assert "T5Config.vocab_rows = 64 (now 128)" in text
    assert "T5Config.encoder_layers = 3 (now 4)" in text


def test_layers_that_cannot_be_joined_name_the_layout(tmp_path):
    flat = {n: v for n, v in parameters().items() if "layers_0" not in n}
    text = misfit(tmp_path, state(flat), state(flat, scanned=True))
    assert "T5Config.scan_layers = False" in text


def test_an_optimizer_state_that_does_not_convert_names_the_layout(tmp_path):
    have, want = state(parameters()), state(parameters(), scanned=True)
    name = "params/encoder/layers/mlp/wi_0/kernel"
    want["optimizer"][1]["mu"][name] = jnp.zeros((1,), jnp.bfloat16)
    assert "mend: T5Config.scan_layers = False" in misfit(tmp_path, have, want)


@pytest.mark.parametrize("scanned", [True, False])
def test_unused_moments_of_adafactor_convert_too(tmp_path, scanned):
    def tree(devices, scanned):
        made = state(parameters(), devices, scanned)
        blank = lambda: jax.device_put(jnp.zeros((1,)), place(devices, None))  # noqa: E731
        return made | {"optimizer": {n: {"m": blank()} for n in made["trainable"]}}

    saved(tmp_path, tree(8, scanned))
    wanted = tree(4, not scanned)
    got, _ = Checkpoints(tmp_path).restore(10, abstract(wanted))
    assert_same(got, wanted)
    pointers = [a.addressable_shards[0].data.unsafe_buffer_pointer() for a in jax.tree.leaves(got)]
    assert len(set(pointers)) == len(pointers)  # each may be donated


def test_an_encoder_alone_is_not_taken_for_the_whole(tmp_path):
    both = {"params/encoder/layers_0/mlp/wo/kernel": jnp.zeros((4, 2)),
            "params/decoder/layers_0/mlp/wo/kernel": jnp.zeros((4, 2)),
            "params/decoder/relpos_bias/rel_embedding": jnp.zeros((2, 32))}  # fmt: skip
    one = {n: v for n, v in both.items() if "encoder" in n}
    text = misfit(tmp_path, {"trainable": both}, {"trainable": one})
    assert "T5Config.decoder_layers" in text and "T5Config.positions" not in text


def test_another_optimizer_is_named(tmp_path):
    have = state(parameters())
    want = {**have, "optimizer": {"v_row": have["optimizer"][1]["mu"]}}
    assert "OptimizerConfig.name" in misfit(tmp_path, have, want)


def test_other_dtype_module_and_trainable_are_named(tmp_path):
    tree = {"trainable": {"params/a/bottleneck/w": jnp.zeros(2)}}
    half = {"trainable": {"params/a/bottleneck/w": jnp.zeros(2, jnp.bfloat16)}}
    text = misfit(tmp_path, tree, half)
    assert "float32 in the checkpoint" in text and "bfloat16" in text
    name = "modules/encoder/layers/mlp_out/lang/down"
    one, two = ({"trainable": {name: jnp.zeros((3, 4, n))}} for n in (8, 6))
    shutil.rmtree(tmp_path / "checkpoints")
    assert "plug 'lang'" in misfit(tmp_path, one, two)
    shutil.rmtree(tmp_path / "checkpoints")
    assert "TrainConfig.trainable" in misfit(tmp_path, tree, {"trainable": {}})


def test_a_module_that_does_not_fit_names_its_plug():
    for name in ("mlp_out/lang/down", "mlp_out/fused/member/down", "kv/seen/network/up"):
        plug = name.split("/")[1]
        said = explain(f"trainable/modules/encoder/layers/{name}", None, (2, 16, 4))
        assert said == f"the settings, sites and routes of plug '{plug}' in T5Config.plugs"
