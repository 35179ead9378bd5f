"""Families of any shape, and distances that grow with what was changed."""

from dataclasses import replace
from itertools import pairwise

import pytest

from jaxlt.config import load_factory
from jaxlt.data.config import DataConfig
from jaxlt.data.mixtures import open_mixture
from jaxlt.data.rows.batches import digest
from jaxlt.data.synth.distances import distance, table
from jaxlt.data.synth.families import FactoryConfig, Family, identity_of, languages, size_of
from jaxlt.data.synth.spec import LanguageSpec
from jaxlt.data.synth.write import annotated
from jaxlt.data.task_config import TaskConfig
from jaxlt.errors import UserError
from jaxlt.identity import config_hash

SHAPE = """
FactoryConfig.families = [@plain/Family(), @other/Family()]
plain/Family.copies = 2
Family.languages = 5
Family.dialects = 1
other/Family.script = 'Geor'
"""


def test_three_families_of_five_one_in_another_script_a_dialect_of_each(tmp_path):
    path = tmp_path / "families.gin"
    path.write_text(SHAPE)
    config = load_factory([str(path)], ["FactoryConfig.seed=4"])
    families = (Family(5, copies=2, dialects=1), Family(5, script="Geor", dialects=1))
    assert config == FactoryConfig(families, seed=4)
    specs = languages(config)
    assert len(specs) == 18 and len({s.code for s in specs}) == 18
    for family in range(3):
        members = [s for s in specs if s.family == family]
        assert sum(s.parent is not None for s in members) == 1
        assert {s.script for s in members} == {"Geor" if family == 2 else "Latn"}
    assert specs == languages(config) != languages(replace(config, seed=5))


def test_a_language_is_what_it_is_whatever_else_there_is():
    few = languages(FactoryConfig((Family(2), Family(2))))
    many = languages(FactoryConfig((Family(3, dialects=1), Family(4), Family())))
    assert set(few) < set(many)
    assert [s.code for s in few] == ["qaa_Latn", "qab_Latn", "qba_Latn", "qbb_Latn"]


def test_families_and_languages_have_sizes_of_their_own(tmp_path):
    text = SHAPE.replace("languages = 5", "languages = 2") + "other/Family.sentences = [8, 40]\n"
    (tmp_path / "f.gin").write_text(text + "plain/Family.annotated = 3\n")
    config = load_factory([str(tmp_path / "f.gin")], ["FactoryConfig.sentences=20"])
    specs = languages(config)
    sizes = {s.code[:3]: size_of(config, s, "sentences") for s in specs}
    assert sizes == {
        **dict.fromkeys(("qaa", "qab", "qaz", "qba", "qbb", "qbz"), 20),
        "qca": 8,
        "qcb": 40,
        "qcz": 8,  # a dialect as its language
    }
    assert [size_of(config, s, "annotated") for s in specs] == [3] * 6 + [400] * 3
    sentences = {spoken[0].rpartition("-")[0] for spoken in annotated(specs[0], config)}
    assert sentences == {"qaa_Latn-1"}  # three of them, one text
    data = DataConfig(
        tasks=TaskConfig("synthetic_text", factory=config), cache_dir=str(tmp_path), held_out=0.0
    )
    opened = {i.name[-8:-5]: i.documents for i in open_mixture(data).info()}
    assert opened == {code: count // 4 for code, count in sizes.items()}  # sentences of a text


def test_sizes_that_nobody_gives_change_no_identity():
    config = FactoryConfig((Family(copies=2, dialects=1), Family(order="SOV")), sentences=40)
    assert digest(identity_of(config)).startswith("28961489d9d156205ecc0f54af34260d")
    assert config_hash(config) == "731bb644d39d0800"
    own = replace(config, families=(Family(sentences=5),))
    assert len(identity_of(own)[0][0]) > len(identity_of(config)[0][0])


def test_misspelt_gin_is_told(tmp_path):
    path = tmp_path / "families.gin"
    path.write_text("FactoryConfig.families = [@Family()]\nFamily.langauges = 2\n")
    with pytest.raises(UserError, match=r"line 2.*Did you mean 'languages'"):
        load_factory([str(path)])


def test_script_loans_and_mixing_are_as_described():
    shape = Family(4, others=1, borrowed=0.2, mixed=0.1, cognates=0.6, noise=0.05)
    specs = languages(FactoryConfig((shape, Family(2, script="Armn"))))
    assert [s.script for s in specs] == ["Latn"] * 3 + ["Cyrl"] + ["Armn"] * 2
    lender = specs[4].code
    assert {s.donor.code for s in specs[:4]} == {s.partner.code for s in specs[:4]} == {lender}
    assert all(s.noise == 0.05 for s in specs[:4])


@pytest.mark.parametrize(
    "make",
    [
        lambda: Family(0),
        lambda: Family(2, dialects=3),
        lambda: Family(script="Klingon"),
        lambda: FactoryConfig(()),
        lambda: FactoryConfig(facts_in_one=0.9, facts_in_all=0.2),
        lambda: FactoryConfig(sentences=-1),
        lambda: Family(2, sentences=-1),
        lambda: Family(2, annotated=(5, 6, 7)),
        lambda: languages(FactoryConfig((Family(copies=21),))),
    ],
)
def test_impossible_shapes_are_refused(make):
    with pytest.raises(UserError):
        make()


def test_relatives_are_nearer_than_strangers_and_dialects_nearest():
    specs = languages(FactoryConfig((Family(3, copies=2, dialects=1),)))
    far = {pair: d.overall for pair, d in table(specs).items()}
    by_code = {s.code: s for s in specs}
    inside = [v for (a, b), v in far.items() if by_code[a].family == by_code[b].family]
    between = [v for (a, b), v in far.items() if by_code[a].family != by_code[b].family]
    dialects = [v for (a, b), v in far.items() if by_code[b].parent == by_code[a]]
    assert len(dialects) == 2 and max(dialects) < min(set(inside) - set(dialects))
    assert max(inside) < min(between)


BASE = LanguageSpec("base_Latn", cognates=1.0, changes=0)


@pytest.mark.parametrize(
    ("field", "values", "part"),
    [
        ("cognates", (1.0, 0.7, 0.3, 0.0), "words"),
        ("changes", (0, 3, 6, 12), "words"),
        ("order", ("SVO", "SOV", "OSV", "OVS"), "order"),
        ("synthesis", (0.6, 0.8, 1.0), "morphology"),
        ("script", ("Latn", "Cyrl"), "script"),
        ("noise", (0.0, 0.1, 0.4), "spelling"),
    ],
)
def test_distance_grows_with_each_transform(field, values, part):
    specs = [replace(BASE, **{"code": "z_Latn", field: value}) for value in values]
    found = [getattr(distance(BASE, spec), part) for spec in specs]
    if field == "order":  # swapped pairs: none, one, two, three
        assert [round(9 * f) for f in found] == [0, 1, 2, 3]
    assert all(a < b for a, b in pairwise(found)), found
    whole = [distance(BASE, spec).overall for spec in specs]
    assert all(a < b for a, b in pairwise(whole))


def test_distance_is_symmetric_and_none_to_itself():
    one, two = languages(FactoryConfig((Family(2, others=1),)))
    assert distance(one, one).overall == 0
    assert distance(one, two) == distance(two, one)
