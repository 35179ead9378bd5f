"""Modules alone in a folder: what is read equals what was written, and fits or says why not."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from jaxlt.errors import UserError
from jaxlt.models.init import describe
from jaxlt.modules.bottleneck import Bottleneck
from jaxlt.modules.fingerprints import Fingerprint
from jaxlt.modules.library import RECORD, find, open_module, save
from jaxlt.modules.site import owner, plug
from tests.conftest import make_config, random_params

BASE = Fingerprint("0123")
OTHER = Fingerprint("4567")


def bank(**changes):
    return plug(Bottleneck, "lang", reduction_factor=4, key="source", routes=3, **changes)


def axes_of(p):
    return {n: leaf.axes for n, leaf in describe(make_config(plugs=(p,))).items()}


def written(folder, p=None, slot=1, **more):
    p = p or bank()
    flat = random_params(make_config(plugs=(p,)))
    chosen = slot if p.routes else None
    save(folder, "lang/bb", p, flat, chosen, axes=axes_of(p), base=BASE, **more)
    return p, flat


def one_slot(p, flat, slot=1):
    mine = {n: v for n, v in flat.items() if n.startswith("modules/")}
    return {n: np.asarray(v)[:, slot] if p.routes else np.asarray(v) for n, v in mine.items()}


def shapes(values):
    return {n: v.shape for n, v in values.items()}


def test_a_slot_comes_back_under_another_name(tmp_path):
    p, flat = written(tmp_path, language="bb", metrics={"bpb": 1.5}, training="a = 1")
    saved = open_module(tmp_path, "bb", "lang")
    assert (saved.language, saved.metrics, saved.training) == ("bb", {"bpb": 1.5}, "a = 1")
    wanted = one_slot(p, flat)
    other = saved.plug_as("mine")
    renamed = {n.replace("/lang/", "/mine/"): v for n, v in wanted.items()}
    found = saved.values_for(other, shapes(renamed))
    assert found.keys() == renamed.keys()
    for name, value in renamed.items():
        np.testing.assert_array_equal(found[name], value)
    assert saved.parameters == sum(v.size for v in wanted.values())
    saved.check(other, BASE)


def test_layers_left_out_are_not_kept(tmp_path):
    p, flat = written(tmp_path, bank(leave_out=(-1,)))
    saved = open_module(tmp_path, "lang/bb")
    assert all(shape[0] == 1 for shape in saved.sizes.values())
    found = saved.values_for(p, shapes(one_slot(p, flat)))
    for name, value in one_slot(p, flat).items():
        np.testing.assert_array_equal(found[name][0], value[0])
        assert not found[name][1].any()


def test_a_list_of_what_is_there(tmp_path):
    written(tmp_path)
    flat = random_params(make_config(plugs=(bank(),)))
    save(tmp_path, "other", bank(), flat, 0, axes=axes_of(bank()), base=BASE)
    assert [saved.name for saved in find(tmp_path)] == ["lang/bb", "other"]


def test_saving_again_replaces_the_whole(tmp_path):
    written(tmp_path, slot=0)
    p, flat = written(tmp_path, slot=2)
    found = open_module(tmp_path, "lang/bb").values_for(p, shapes(one_slot(p, flat)))
    for name, value in one_slot(p, flat, 2).items():
        np.testing.assert_array_equal(found[name], value)
    assert [path.name for path in (tmp_path / "lang").iterdir()] == ["bb"]


def test_a_name_that_is_not_there(tmp_path):
    written(tmp_path)
    with pytest.raises(UserError, match=r"no module 'b' for plug 'lang'.*Did you mean 'bb'"):
        open_module(tmp_path, "b", "lang")
    with pytest.raises(UserError, match="no library"):
        find(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("other", "base", "message"),
    [
        (plug(Bottleneck, "lang", reduction_factor=8), BASE, "settings.*4.*8"),
        (plug(Bottleneck, "lang", reduction_factor=4, stacks="encoder"), BASE, "stacks"),
        (plug(Bottleneck, "lang", reduction_factor=4), OTHER, "another backbone.*0123.*4567"),
    ],
)
def test_what_does_not_fit(tmp_path, other, base, message):
    written(tmp_path)
    saved = open_module(tmp_path, "lang/bb")
    with pytest.raises(UserError, match=message):
        saved.check(other, base)


def test_another_backbone_by_force(tmp_path):
    p, _ = written(tmp_path)
    open_module(tmp_path, "lang/bb").check(p, OTHER, force=True)


def test_another_size_and_another_kind_of_backbone(tmp_path):
    p, flat = written(tmp_path)
    saved = open_module(tmp_path, "lang/bb")
    there = shapes(one_slot(p, flat))
    name = next(iter(there))
    with pytest.raises(UserError, match="another size"):
        saved.values_for(p, there | {name: (2, 99, 4)})
    with pytest.raises(UserError, match="only the module has"):
        saved.values_for(p, {n: s for n, s in there.items() if n != name})


def loaded(folder, p, base=BASE, **model):
    """What a model with that plug takes of the module, checked."""
    config = make_config(plugs=(p,), **model)
    leaves = describe(config).items()
    one = {
        n: tuple(k for k, axis in zip(leaf.shape, leaf.axes, strict=True) if axis != "routes")
        for n, leaf in leaves
        if owner(n) == p.name
    }
    saved = open_module(folder, "lang/bb")
    saved.check(p, base)
    return saved.values_for(p, one)


def test_other_layers_are_refused_by_name(tmp_path):
    written(tmp_path, bank(layers=(0,)))
    same = loaded(tmp_path, bank(leave_out=(-1,)))  # the same layers, said in another way
    assert all(v[0].any() and not v[1].any() for v in same.values())
    with pytest.raises(UserError, match=r"its layers is \[0\], the plug's is \[1\]"):
        loaded(tmp_path, bank(layers=(1,)))
    with pytest.raises(UserError, match=r"its layers is \[0\], the plug's is \[0, 1\]"):
        loaded(tmp_path, bank())


def test_parallel_plugs_are_kept_so(tmp_path):
    p, _ = written(tmp_path, bank(parallel="both"))
    saved = open_module(tmp_path, "lang/bb")
    assert saved.plug_as("lang").parallel == "both"
    saved.check(p, BASE)
    with pytest.raises(UserError, match="its parallel is both, the plug's is None"):
        saved.check(bank(), BASE)


def test_settings_count_whether_or_not_they_are_said(tmp_path):
    written(tmp_path)
    loaded(tmp_path, bank(activation="swish"))  # the method's own
    path = tmp_path / "lang/bb" / RECORD
    record = json.loads(path.read_text())
    record["plug"]["defaults"]["activation"] = "relu"  # as by another version's method
    path.write_text(json.dumps(record))
    with pytest.raises(UserError, match=r"settings is \{'activation': 'relu'\}.*'swish'"):
        loaded(tmp_path, bank())


WHOLE = Fingerprint("0123", {"encoder": "4567", "decoder": "89ab"})
ENCODER = Fingerprint("4567", {"encoder": "4567"})


def test_the_encoder_of_an_encoder_decoder_takes_its_part(tmp_path):
    p = bank()
    flat = random_params(make_config(plugs=(p,)))
    save(tmp_path, "lang/bb", p, flat, 1, axes=axes_of(p), base=WHOLE)
    wanted = {n: v for n, v in one_slot(p, flat).items() if n.startswith("modules/encoder/")}
    for other in (p, bank(stacks="encoder")):
        found = loaded(tmp_path, other, ENCODER, decoder_layers=0)
        assert found.keys() == wanted.keys()
        for name, value in wanted.items():
            np.testing.assert_array_equal(found[name], value)
    with pytest.raises(UserError, match="another backbone"):
        loaded(tmp_path, p, Fingerprint("4568", {"encoder": "4568"}), decoder_layers=0)
    with pytest.raises(UserError, match=r"its stacks is .*decoder.*, the plug's is .*encoder"):
        loaded(tmp_path, bank(stacks="encoder"), WHOLE)


def test_a_module_of_an_encoder_alone_serves_it_in_an_encoder_decoder(tmp_path):
    p = bank()
    config = make_config(plugs=(p,), decoder_layers=0)
    axes = {n: leaf.axes for n, leaf in describe(config).items()}
    save(tmp_path, "lang/bb", p, random_params(config), 1, axes=axes, base=ENCODER)
    found = loaded(tmp_path, bank(stacks="encoder"), WHOLE)
    assert found and all(name.startswith("modules/encoder/") for name in found)
    with pytest.raises(UserError, match=r"its stacks is .*encoder.*, the plug's is .*decoder"):
        loaded(tmp_path, p, WHOLE)


def test_where_a_module_comes_from_is_said(tmp_path):
    p, _ = written(tmp_path)
    saved = open_module(tmp_path, "lang/bb")
    assert saved.library == tmp_path
    assert saved.origin(BASE) == "trained on this backbone (0123)"
    assert saved.origin(OTHER) == "trained on another backbone (0123) than this one (4567)"
    flat = random_params(make_config(plugs=(p,)))
    saved = save(tmp_path, "lang/bb", p, flat, 1, axes=axes_of(p), base=WHOLE)
    said = "trained on the backbone (0123) whose encoder this is (4567)"
    assert saved.origin(ENCODER) == said
    saved = save(tmp_path, "lang/bb", p, flat, 1, axes=axes_of(p), base=ENCODER)
    assert saved.origin(WHOLE) == "trained on the encoder of this backbone (4567)"


def test_a_record_of_format_1(tmp_path):
    """The folder was written before records had fingerprints of stacks, or `parallel`."""
    old = Path(__file__).parent / "library_of_format_1"
    p = bank(layers=(0,))
    flat = one_slot(p, random_params(make_config(plugs=(p,))))
    for other in (p, bank(layers=(0,), parallel="any")):  # it does not say
        for name, value in loaded(old, other).items():
            np.testing.assert_array_equal(value[0], flat[name][0])
    for base in (Fingerprint("0123", {"encoder": "4567", "decoder": "89ab"}), BASE):
        open_module(old, "lang/bb").check(p, base)
    with pytest.raises(UserError, match="layers"):
        loaded(old, bank(layers=(1,)))
    with pytest.raises(UserError, match=r"another backbone.*save it again"):
        loaded(old, p, ENCODER, decoder_layers=0)


@pytest.mark.parametrize("text", ["", "{}", '{"format": 7}', "[]", '{"format": 1, "odd": 2}'])
def test_a_broken_record(tmp_path, text):
    written(tmp_path)
    (tmp_path / "lang/bb" / RECORD).write_text(text)
    with pytest.raises(UserError, match=RECORD):
        open_module(tmp_path, "lang/bb")


def test_a_record_imports_nothing_of_others(tmp_path):
    p, _ = written(tmp_path)
    path = tmp_path / "lang/bb" / RECORD
    record = json.loads(path.read_text()) | {"method": "antigravity:Method"}
    path.write_text(json.dumps(record))
    with pytest.raises(UserError, match="not one of jaxlt's own"):
        open_module(tmp_path, "lang/bb").check(p, BASE)


class Listed(Bottleneck):
    """A method with a setting that has no plain default."""

    extra: Sequence[str] = dataclasses.field(default_factory=list)
    gain: float = 1.0


def test_a_setting_without_a_plain_default_is_saved_where_it_is_given(tmp_path):
    p = plug(Listed, "lang", reduction_factor=4)
    written(tmp_path, p)
    open_module(tmp_path, "lang/bb").check(p, BASE)
    given = plug(Listed, "lang", reduction_factor=4, extra=["a"])
    written(tmp_path, given)
    open_module(tmp_path, "lang/bb").check(given, BASE)
    with pytest.raises(UserError, match="settings"):
        open_module(tmp_path, "lang/bb").check(p, BASE)


def test_a_default_that_the_method_no_longer_has_is_left_out(tmp_path):
    p, _ = written(tmp_path)
    path = tmp_path / "lang/bb" / RECORD
    record = json.loads(path.read_text())
    record["plug"]["defaults"]["dropped_later"] = 0.0
    path.write_text(json.dumps(record))
    saved = open_module(tmp_path, "lang/bb")
    saved.check(p, BASE)
    assert saved.plug_as("lang").settings == open_module(tmp_path, "lang/bb").plug_as("l").settings
    record["plug"]["settings"]["dropped_later"] = 1.0  # but one that was chosen counts
    path.write_text(json.dumps(record))
    with pytest.raises(UserError, match="dropped_later"):
        open_module(tmp_path, "lang/bb").check(p, BASE)
