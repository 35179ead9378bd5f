"""Answers scored as the evaluation of SQuAD and of MLQA score them; expected values by hand."""

import pytest

from jaxlt.metrics import questions
from jaxlt.metrics.questions import answer_f1, exact_match, normalize


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The  Cat, the-hat.", "cat thehat"),
        ("A an THE", ""),
        ("anthem of a nation", "anthem of nation"),
        ("U.S.", "us"),
        ("«Été»", "«été»"),  # ASCII punctuation alone
        ("l'an 2000", "lan 2000"),
        ("\u00a0x\ty\n", "x y"),
    ],
)
def test_squads_normal_form(text, expected) -> None:
    assert normalize(text) == expected


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("en", "«The» Cat…", "cat"),
        ("eng_Latn", "The Cat", "cat"),
        ("es", "¿El gato y unos perros?", "gato y perros"),
        ("deu", "Der Hund, dem das Haus", "hund haus"),
        ("vie_Latn", "những con mèo của tôi", "con mèo tôi"),
        ("arb_Arab", "في البيت الكبير", "في بيت كبير"),
        ("hi", "वह the राम।", "वह the राम"),
        ("fr", "Le chat, la rue", "le chat la rue"),  # MLQA has no French: no articles go
        ("zh", "北京 the 2008年。", "北 京 the 2008 年"),
        ("zho_Hans", "《红楼梦》", "红 楼 梦"),
        ("cmn", "a北b", "a 北 b"),
        ("jpn_Jpan", "東京タワー 333m", "東 京 タ ワ ー 333m"),
        ("tha", "ไทย 10", "ไ ท ย 10"),
        ("my", "မြန်မာ", " ".join("မြန်မာ")),
        ("swh_Latn", "Habari, ya leo!", "habari ya leo"),
    ],
)
def test_mlqas_normal_forms(language, text, expected) -> None:
    assert normalize(text, language) == expected


def test_f1_is_that_of_squad() -> None:
    """Overlap by bags of words after normalisation, the best of the right answers."""
    cases = [
        ("the big cat", ["a cat"], 2 / 3),  # big cat : cat -> p 1/2, r 1
        ("cat cat", ["cat"], 2 / 3),
        ("dog", ["cat"], 0.0),
        ("New York City", ["New York", "York City, New"], 1.0),
        ("1,000", ["1000"], 1.0),
        ("", ["x"], 0.0),
        ("x", [""], 0.0),
        ("", [""], 1.0),
        ("the", ["a"], 1.0),
        ("in the year of 1066", ["1066", "the year 1066"], 2 * 2 / (4 + 2)),
    ]
    for ours, right, expected in cases:
        assert answer_f1([ours], [right]).total() == pytest.approx(expected), ours
    texts, references, expected = zip(*cases, strict=True)
    made = answer_f1(texts, references)
    assert made.total() == pytest.approx(sum(expected) / len(cases))
    assert made.n == len(cases)


def test_exact_match() -> None:
    made = exact_match(["The cat.", "cat", "New York"], ["cat", ["dog", "CAT!"], "York"])
    assert made.rows.tolist() == [[1, 1], [1, 1], [0, 1]]
    assert exact_match(["Der Hund"], ["Hund"]).total() == 0
    assert exact_match(["Der Hund"], ["Hund"], language="de").total() == 1


def test_f1_of_unspaced_text_is_by_character() -> None:
    assert answer_f1(["北京市"], ["北京"], language="zh").total() == pytest.approx(4 / 5)
    assert answer_f1(["北京市"], ["北京"]).total() == 0


def test_word_f1_is_symmetric() -> None:
    assert questions.word_f1("a b c", "b c d e") == questions.word_f1("b c d e", "a b c") == 4 / 7
