"""Modules chosen by name: each composition equals the model whose bank holds them."""

import dataclasses

import numpy as np
import pytest

from jaxlt.errors import UserError
from jaxlt.inference.compose import compose, parse_choices, stacked_modules
from jaxlt.modules.bottleneck import Bottleneck
from jaxlt.modules.fingerprints import Fingerprint
from jaxlt.modules.fusion import Fusion
from jaxlt.modules.layout import unstack
from jaxlt.modules.library import save
from jaxlt.modules.site import plug
from tests.conftest import forward, make_batch, make_config, random_params

BASE = Fingerprint("b")
LANGUAGES = ("aa", "bb", "cc")
LANG = plug(Bottleneck, "lang", reduction_factor=4, key="source", routes=4)
TASK = plug(Bottleneck, "task", reduction_factor=8, source="residual")
BATCH = make_batch(6)


def small(**changes):
    return make_config(decoder_layers=1, **changes)


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """Three languages' modules and a task's, of one random model."""
    folder, config = tmp_path_factory.mktemp("library"), small(plugs=(LANG, TASK))
    flat = random_params(config)
    stacked, axes = stacked_modules(config, flat)
    for slot, language in enumerate(LANGUAGES):
        save(folder, f"lang/{language}", LANG, stacked, slot, axes=axes, base=BASE)
    save(folder, "task/pos", TASK, stacked, axes=axes, base=BASE)
    return folder, config, flat


def logits(config, flat, batch=BATCH):
    return forward(config, flat, batch)


def composed_logits(choices, library, start, flat, batch=BATCH):
    made = compose(start, parse_choices(choices), str(library), LANGUAGES)
    kept = {n: v for n, v in flat.items() if n.startswith("params/")}
    return made, logits(made.model, kept | made.values(BASE), batch)


def close(a, b):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("scan", [True, False])
def test_a_bank_for_all_languages(library, scan):
    folder, config, flat = library
    start = small(scan_layers=scan)
    if not scan:
        flat = unstack(flat)
        config = dataclasses.replace(config, scan_layers=False)
    made, found = composed_logits("lang=*,task=pos", folder, start, flat)
    assert [(p.name, p.routes, p.key) for p in made.model.plugs] == [
        ("lang", 3, "source"),
        ("task", 0, None),
    ]
    close(found, logits(config, flat))


def test_what_was_loaded_is_said(library):
    """Which modules, from where, and that they were trained on this backbone or on another."""
    folder, config, _ = library
    made = compose(config, parse_choices("lang=*,task=pos"), str(folder), LANGUAGES)
    trained = "trained on this backbone (b)."
    assert made.told(BASE) == [
        f"Plug 'lang' holds lang/aa, lang/bb, lang/cc of {folder}, {trained}",
        f"Plug 'task' holds task/pos of {folder}, {trained}",
    ]
    with pytest.raises(UserError, match="another backbone"):
        made.values(Fingerprint("c"))
    forced = dataclasses.replace(made, force=True)
    assert forced.values(Fingerprint("c")).keys() == made.values(BASE).keys()
    assert all("another backbone (b) than this one (c)" in s for s in forced.told(Fingerprint("c")))


def test_one_language_for_all_rows_in_the_place_of_a_bank(library):
    folder, config, flat = library
    _, found = composed_logits("task=pos,lang=bb", folder, config, flat)
    wanted = logits(config, flat, BATCH | {"language": np.full(6, 1, np.int32)})
    close(found, wanted)


@pytest.mark.slow
def test_the_average_of_two(library):
    folder, _, flat = library
    start = small()
    made, found = composed_logits("lang=aa+cc", folder, start, flat)
    assert (made.model.plugs[0].routes, made.model.plugs[0].key) == (2, "all")
    plain = logits(start, {n: v for n, v in flat.items() if n.startswith("params/")})
    assert np.abs(found - plain).max() > 1e-3
    # The same module twice, averaged, is the module itself.
    _, twice = composed_logits("lang=bb+bb", folder, start, flat)
    _, once = composed_logits("lang=bb", folder, start, flat)
    close(twice, once)


def test_leaving_a_plug_out(library):
    folder, config, flat = library
    made, found = composed_logits("lang=none,task=pos", folder, config, flat)
    assert [p.name for p in made.model.plugs] == ["task"]
    close(found, logits(small(plugs=(TASK,)), flat))


@pytest.mark.parametrize("text", ["lang", "lang=", "=sw", "lang=a+", ""])
def test_choices_that_say_nothing(text):
    with pytest.raises(UserError, match="NAME=MODULE"):
        parse_choices(text)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ("lang=dd", "no module 'dd'"),
        ("tsk=none", "Did you mean 'task'"),
        ("lang=aa,lang=bb", "chosen twice"),
        ("task=lang/aa", "does not fit plug 'task': its settings"),
    ],
)
def test_wrong_choices(library, choices, message):
    folder, config, flat = library
    with pytest.raises(UserError, match=message):
        composed_logits(choices, folder, config, flat)


def test_a_bank_too_small(library):
    folder, config, _ = library
    small = dataclasses.replace(LANG, routes=2)
    with pytest.raises(UserError, match="2 routes, and there are 3 languages"):
        compose(
            dataclasses.replace(config, plugs=(small,)),
            parse_choices("lang=*"),
            str(folder),
            LANGUAGES,
        )


def test_what_a_fusion_joins(library):
    folder, _, flat = library
    member = plug(Bottleneck, "member", reduction_factor=4)
    fused = plug(Fusion, "fused", inner=member, count=2, sites=LANG.sites)
    start = small(plugs=(fused,))
    fresh = random_params(start)
    made = compose(start, parse_choices("fused=lang/aa+lang/cc"), str(folder))
    values = made.values(BASE)
    assert made.model == start
    for name, value in values.items():
        bank = flat[name.replace("/fused/member/", "/lang/")]
        np.testing.assert_array_equal(value, np.asarray(bank)[:, [0, 2]])
    assert {n for n in fresh if "/member/" in n} == set(values)
    assert np.isfinite(logits(start, fresh | values)).all()
    stacked, axes = stacked_modules(start, fresh | values)
    save(folder, "fused", fused, stacked, axes=axes, base=BASE)
    _, found = composed_logits("fused=fused", folder, small(), fresh)
    close(found, logits(start, fresh | values))
    with pytest.raises(UserError, match="joins 2 modules"):
        compose(start, parse_choices("fused=lang/aa"), str(folder))
