"""Answers scored as the evaluation of SQuAD and of MLQA score them; expected values by hand."""

import re
import string
import unicodedata
from collections import Counter

import pytest

from jaxlt.errors import UserError
from jaxlt.metrics.questions import answer_f1, exact_match, normalize


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        (None, "l'an\u00a02000, the\tU.S.\n", "lan 2000 us"),
        ("eng_Latn", "The Cat", "cat"),
        ("arb_Arab", "في البيت الكبير", "في بيت كبير"),
        ("fr", "Le chat, la rue", "le chat la rue"),  # MLQA has no French: no articles go
        ("zho_Hans", "《红楼梦》", "红 楼 梦"),
        ("cmn", "a北b", "a 北 b"),
        ("jpn_Jpan", "東京タワー 333m", "東 京 タ ワ ー 333m"),
        ("tha", "ไทย 10", "ไ ท ย 10"),
        ("my", "မြန်မာ", " ".join("မြန်မာ")),
        ("swh_Latn", "Habari, ya leo!", "habari ya leo"),
    ],
)
def test_normal_forms_by_language(language, text, expected) -> None:
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


def squads_words(text):
    """SQuAD 1.1's tokens, written anew after its script: XQuAD and TyDiQA-GoldP run that one."""
    lowered = text.lower()
    for mark in string.punctuation:
        lowered = lowered.replace(mark, "")
    return re.split(r"\s+", re.sub(r"\b(?:a|an|the)\b", " ", lowered).strip())


def mlqas_words(text, language):
    """MLQA's tokens, written anew after its script: punctuation, articles, then segmentation."""
    kept = [
        c for c in text.lower() if c not in string.punctuation and unicodedata.category(c)[0] != "P"
    ]
    articles = {
        "en": r"\b(a|an|the)\b",
        "es": r"\b(un|una|unos|unas|el|la|los|las)\b",
        "de": r"\b(ein|eine|einen|einem|eines|einer|der|die|das|den|dem|des)\b",
        "vi": r"\b(của|là|cái|chiếc|những)\b",
        "ar": r"\sال^|ال",
    }
    bare = re.sub(articles[language], " ", "".join(kept)) if language in articles else "".join(kept)
    words, run = [], ""
    for char in f"{bare} ":
        alone = language == "zh" and "\u4e00" <= char <= "\u9fa5"
        if alone or char.isspace():
            words += [run] * bool(run) + [char] * alone
            run = ""
        else:
            run += char
    return words


def scripts_f1(mine, theirs):
    """What both scripts do with tokens: no word shared is 0, also where both sides are empty."""
    same = sum((Counter(mine) & Counter(theirs)).values())
    if not same:
        return 0.0
    precision, recall = same / len(mine), same / len(theirs)
    return 2 * precision * recall / (precision + recall)


TEXTS = {
    "en": ("The U.S. Army, in 1066", "u.s. army 1066", "the", "a", "«Été» an hour", "the 3.5%"),
    "es": ("el río Ebro", "Un río", "¿la?", "los", "Unas casas el año"),
    "de": ("der Dom zu Köln", "Dom", "des Kaisers", "die", "ein Eine"),
    "vi": ("những con mèo", "con mèo của tôi", "cái", "Hà Nội"),
    "ar": ("في البيت الكبير", "بيت كبير", "ال", "الكتاب؟"),
    "hi": ("राम।", "the राम", "राम का घर"),
    "zh": ("北京市 2008年", "北京", "《红楼梦》 the", "约 3,000 人", "。"),
}


@pytest.mark.parametrize("language", TEXTS)
def test_a_benchmark_is_scored_as_its_own_script_scores_it(language) -> None:
    pairs = [(a, b) for a in TEXTS[language] for b in TEXTS[language]]
    for ours, gold in pairs:
        for name in ("squad", "xquad", "tydi"):  # of any language
            mine, theirs = ([w for w in squads_words(t) if w] for t in (ours, gold))
            settings = {"language": language, "benchmark": name}
            assert exact_match([ours], [gold], **settings).total() == (mine == theirs)
            found = answer_f1([ours], [gold], **settings).total()
            assert found == pytest.approx(scripts_f1(mine, theirs)), (ours, gold)
        mine, theirs = (mlqas_words(text, language) for text in (ours, gold))
        settings = {"language": language, "benchmark": "mlqa"}
        made = exact_match([ours], [gold], **settings)
        assert made.total() == (mine == theirs) and made.details["normalisation"] == "mlqa"
        found = answer_f1([ours], [gold], **settings).total()
        assert found == pytest.approx(scripts_f1(mine, theirs)), (ours, gold)


def test_benchmarks_differ_where_they_should() -> None:
    chinese = {"language": "zho_Hans"}
    assert answer_f1(["北京市"], ["北京"], **chinese, benchmark="mlqa").total() == pytest.approx(
        0.8
    )
    assert answer_f1(["北京市"], ["北京"], **chinese, benchmark="xquad").total() == 0
    german = {"language": "deu_Latn"}
    assert exact_match(["der Dom"], ["Dom"], **german, benchmark="mlqa").total() == 1
    assert exact_match(["der Dom"], ["Dom"], **german, benchmark="tydi").total() == 0
    assert exact_match(["the Dom"], ["Dom"], **german, benchmark="tydi").total() == 1
    assert answer_f1(["the"], ["a"], benchmark="squad").total() == 0  # neither has a word left
    assert answer_f1(["the"], ["a"], benchmark="squad2").total() == 1
    assert answer_f1(["the"], ["a"]).details["normalisation"] == "squad2"


def test_benchmarks_that_do_not_go() -> None:
    with pytest.raises(UserError, match="Did you mean 'xquad'"):
        exact_match(["a"], ["a"], benchmark="xqad")
    with pytest.raises(UserError, match=r"MLQA.s normalisation is for .*swh_Latn"):
        exact_match(["a"], ["a"], benchmark="mlqa", language="swh_Latn")
