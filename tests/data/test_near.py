"""Suggestions of languages."""

import pytest

from jaxlt.data.near import nearest_language
from jaxlt.data.sources import sources
from jaxlt.errors import UserError

KNOWN = (
    "eng_Latn",
    "swh_Latn",
    "srp_Cyrl",
    "srp_Latn",
    "tagging.en_ewt.eng_Latn",
    "made_a",
    "zho_Hant",
)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("eng", "eng_Latn"),
        ("en", "eng_Latn"),
        ("English", "eng_Latn"),
        ("sw", "swh_Latn"),
        ("swa_Latn", "swh_Latn"),
        ("sr", "srp_Cyrl"),
        ("sr-Latn", "srp_Latn"),
        ("zh-TW", "zho_Hant"),
        ("eng_Cyrl", "eng_Latn"),
        ("mad_a", "made_a"),
        ("fao", ""),
    ],
)
def test_a_language_by_any_of_its_codes(name, meant):
    assert nearest_language(name, KNOWN) == (f" Did you mean '{meant}'?" if meant else "")


def test_texts_suggest_it(tmp_path):
    (tmp_path / "eng_Latn.txt").write_text("a\n")
    with pytest.raises(UserError, match="Did you mean 'eng_Latn'"):
        sources.discover((str(tmp_path),), sources.TEXT, ("en",))
