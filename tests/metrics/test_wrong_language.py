"""Answers in the wrong language, by any identification."""

import pytest

from jaxlt.errors import UserError
from jaxlt.metrics.wrong_language import wrong_language_rate


def by_first_letter(texts: list[str]) -> list[str]:
    assert all(any(map(str.isalpha, text)) for text in texts)
    return ["deu" if text.startswith("D") else "eng" for text in texts]


def test_the_rate_and_what_came_instead() -> None:
    made = wrong_language_rate(
        ["Das", "the", "Die", "it", "1984!", "", " "],
        ["deu", "deu", "eng", "eng", "eng", "eng", "eng"],
        identify=by_first_letter,
    )
    # A number is in no language; empty answers are wrong.
    assert made.n == 6
    assert made.total() == pytest.approx(4 / 6)
    assert made.details == {"found": {"": 2, "eng": 1, "deu": 1}, "empty": 2, "without_letters": 1}


def test_languages_told_already() -> None:
    made = wrong_language_rate(["deu", "eng", None], ["deu", "deu", "deu"])
    assert (made.total(), made.n) == (0.5, 2)


def test_languages_as_good() -> None:
    settings = {"accept": {"nob": ["nno", "dan"]}}
    assert wrong_language_rate(["nno", "swe"], ["nob", "nob"], **settings).total() == 0.5
    assert wrong_language_rate(["nob"], ["nno"], **settings).total() == 1


def test_nothing_to_tell() -> None:
    made = wrong_language_rate(["1", "2"], ["eng", "eng"], identify=by_first_letter)
    assert (made.total(), made.n) == (0, 0)


def test_bad_input() -> None:
    with pytest.raises(UserError, match="named 1 languages for 2 texts"):
        wrong_language_rate(["a", "b"], ["x", "x"], identify=lambda texts: ["x"])
    with pytest.raises(UserError, match="a text is expected"):
        wrong_language_rate([None], ["x"], identify=by_first_letter)
