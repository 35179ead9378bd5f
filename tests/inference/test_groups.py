"""Groups of languages: which are sources, families, seen and unseen, and the means of them."""

import types

import pytest

from jaxlt.data.config import DataConfig
from jaxlt.data.synth.families import FactoryConfig, Family
from jaxlt.data.task_config import TaskConfig
from jaxlt.data.transfer import TransferConfig
from jaxlt.errors import UserError
from jaxlt.inference.groups import Groups, open_groups, section_heading, sources_of, title

VALUES = {"swh_Latn": 0.4, "eng_Latn": 0.9, "deu_Latn": 0.8, "tur_Latn": 0.3}


def run(**changes):
    return types.SimpleNamespace(data=DataConfig(**changes), init_from=None)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ()),
        ({"rates": {"eng_Latn": 1.0, "deu_Latn": 2.0}}, ("eng_Latn", "deu_Latn")),
        (
            {"rates": {"tagging.en_ewt.eng_Latn": 1.0, "tagging.en_gum.eng_Latn": 1.0}},
            ("eng_Latn",),
        ),
        (
            {
                "objective": "text_to_text",
                "tasks": (TaskConfig("tagging", "ud"), TaskConfig("denoise", "text")),
                "rates": {"tagging": 1.0, "denoise.swh_Latn": 1.0},
            },
            (),
        ),
        ({"rates": {"translation.eng_Latn:swh_Latn": 1.0}}, ("swh_Latn",)),
        (
            {"objective": "translation", "rates": {"eng_Latn-swh_Latn": 1.0}},
            ("swh_Latn",),
        ),
        (
            {"rates": {"eng_Latn": 1.0}, "transfer": TransferConfig("joint", "deu_Latn")},
            ("deu_Latn",),
        ),
        ({"transfer": TransferConfig("in_language", "deu_Latn")}, ()),
    ],
)
def test_what_is_a_source(changes, expected):
    assert sources_of(DataConfig(**changes)) == expected


def test_without_groups_there_are_sources_and_the_rest():
    groups = Groups(("eng_Latn",))
    assert groups.sections(VALUES) == [
        ("", ["eng_Latn"]),
        ("", ["deu_Latn", "swh_Latn", "tur_Latn"]),
    ]
    means = groups.means(VALUES)
    assert means["all"] == (pytest.approx(0.6), 4, tuple(sorted(VALUES)))
    rest = ("deu_Latn", "swh_Latn", "tur_Latn")
    assert means["without_source"] == (pytest.approx(0.5), 3, rest)
    assert set(Groups().means(VALUES)) == {"all"}  # nobody says what a source is
    assert Groups().means({"eng_Latn": 1.0}) == {} and Groups().sections([]) == []


def test_by_family():
    groups = open_groups(run(rates={"eng_Latn": 1.0}), VALUES, "family")
    assert [key for key, _ in groups.sections([*VALUES, "xxq_Latn"])] == [
        "",
        "family/Atlantic-Congo",
        "family/Indo-European",
        "family/Turkic",
        "family/none",
    ]
    means = groups.means(VALUES)
    families = ("family/Atlantic-Congo", "family/Indo-European", "family/Turkic")
    # The source stands apart.
    assert means["family/Indo-European"] == (0.8, 1, ("deu_Latn",))
    assert means["families"] == (pytest.approx(0.5), 3, families)
    assert title("family/Turkic") == "mean of Turkic"
    assert section_heading("family/none", 2) == "no known family (2)"
    task = TaskConfig("synthetic_tagging", factory=FactoryConfig((Family(2, copies=2),)))
    made = run(tasks=(task,), objective="text_to_text")
    groups = open_groups(made, ["qaa_Latn", "qba_Latn"], "family")
    assert groups.families["qba_Latn"] == "made family 2"


def test_by_what_a_backbone_saw():
    groups = open_groups(run(), ["deu_Latn", "gsw_Latn", "qaa_Latn"], "seen", "xlmr")
    assert groups.seen == {"deu_Latn"}
    assert groups.sections(["deu_Latn", "gsw_Latn"]) == [
        ("seen", ["deu_Latn"]),
        ("unseen", ["gsw_Latn"]),
    ]
    with pytest.raises(UserError, match=r"Did you mean 'mbert'"):
        open_groups(run(), VALUES, "seen", "mberd")
    with pytest.raises(UserError, match="give --group=seen"):
        open_groups(run(), VALUES, "family", "mt5")
    with pytest.raises(UserError, match="began from scratch: name it with --backbone"):
        open_groups(run(), VALUES, "seen")


def test_seen_by_the_run_that_it_started_from(tiny_run):
    started = types.SimpleNamespace(data=DataConfig(), init_from=str(tiny_run))
    groups = open_groups(started, ["aa_Latn", "cc_Latn"], "seen")
    assert groups.seen == {"aa_Latn", "bb_Latn"}
