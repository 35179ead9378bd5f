"""The wrong-language rate of answers."""

import numpy as np
import pytest

from jaxlt.data.text import lid
from jaxlt.errors import UserError
from jaxlt.inference.answers import Example
from jaxlt.inference.wrong_language import generated, open_identifier, wrong_language

LETTERS = {"aaa_Latn": "abcdefgh", "bbb_Latn": "stuvwxyz", "ccc_Latn": "ijklmnop"}


def lines(language, count, seed=0):
    rng = np.random.default_rng(seed)
    words = ["".join(rng.choice(list(LETTERS[language]), 4)) for _ in range(count * 4)]
    return [" ".join(words[i * 4 : i * 4 + 4]) for i in range(count)]


def examples(answers, count=60, kind="translation"):
    """As many examples into each language but the first, which all are translated from."""
    found = []
    for language in ("bbb_Latn", "ccc_Latn"):
        asked = lines("aaa_Latn", count)
        for inputs, target in zip(asked, lines(language, count), strict=True):
            tagged = f"<2{language}> {inputs}"
            said = target if answers == "right" else inputs
            found.append(Example(kind, language, tagged, target, said, "aaa_Latn"))
    return found


@pytest.mark.parametrize(("answers", "rate"), [("right", 0.0), ("source", 1.0)])
def test_an_identifier_made_of_the_examples(answers, rate):
    given = examples(answers)
    identifier = open_identifier(given, None, "{origin}<2{target}> ")
    assert identifier.model.languages == tuple(LETTERS)  # the source's from the inputs
    found = {j.language: j for j in wrong_language(given, identifier)}
    assert {name: j.score.value for name, j in found.items()} == {
        "bbb_Latn": rate,
        "ccc_Latn": rate,
    }
    details = found["ccc_Latn"].score.details
    assert details["found"] == ({"aaa_Latn": 60} if rate else {})
    assert details["of_references"] == 0 and "half of the references" in details["identifier"]
    assert found["bbb_Latn"].metric == "wrong_language" and found["bbb_Latn"].score.n == 60


def test_an_identifier_from_a_folder(tmp_path):
    known = ("aaa_Latn", "bbb_Latn")
    lid.train({name: lines(name, 40, seed=1) for name in known}).save(tmp_path)
    given = examples("right")
    identifier = open_identifier(given, str(tmp_path), "")
    assert [j.language for j in wrong_language(given, identifier)] == ["bbb_Latn"]
    with pytest.raises(UserError, match="holds no language identifier"):
        open_identifier(given, str(tmp_path / "none"), "")


def test_too_little_to_learn_languages_from():
    with pytest.raises(UserError, match="two languages of 20 lines or more"):
        open_identifier(examples("right", count=5), None, "")


def test_whose_answers_are_sentences():
    made = [Example(kind, "aaa_Latn", "a", "b", "c") for kind in ("tagging", "translation", "own")]
    kinds = {"tagging": "tagging", "translation": "translation", "own": "text_to_text"}
    assert [e.task for e in generated(made, kinds, asked=False)] == ["translation"]
    assert [e.task for e in generated(made, kinds, asked=True)] == ["translation", "own"]
