"""How often a model answers in another language than it was asked for."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from jaxlt.errors import UserError
from jaxlt.metrics.statistics import Statistics, check_pairs, ratio, texts

# Texts -> their languages, or pairs (language, probability), one a text.
Identify = Callable[[list[str]], Sequence[Any]]


def wrong_language_rate(
    predictions: Sequence[str | None],
    references: Sequence[str],
    *,
    identify: Identify | None = None,
    accept: Mapping[str, Collection[str]] | None = None,
) -> Statistics:
    """Returns the share of texts that are not in the language of their reference.

    `predictions` are texts and `identify` names their languages (`predict` of the project's
    identification does); without it they are languages already, None where there is nothing to
    tell. `accept` names for a language others that are as good ({"nob": ["nno"]}). A text with no
    letter at all, such as a year, is in no language and does not count; an empty one is wrong. The
    count n is of those that count; `details["found"]` says which languages came instead.
    """
    check_pairs(predictions, references)
    if identify is None:
        languages: list[str | None] = list(predictions)
    else:
        languages = _identified(texts(predictions), identify)
    rows = np.zeros((len(languages), 2))
    instead: Counter[str] = Counter()
    for row, language, wanted in zip(rows, languages, references, strict=True):
        if language is None:
            continue
        good = language == wanted or language in (accept or {}).get(wanted, ())
        row[:] = not good, 1
        if not good:
            instead[language] += 1
    details = {
        "found": dict(instead.most_common()),
        "empty": sum(language == "" for language in languages),
        "without_letters": sum(language is None for language in languages),
    }
    return Statistics(rows, ratio, int(rows[:, 1].sum()), details)


def _identified(predictions: list[str], identify: Identify) -> list[str | None]:
    """The language of each text; "" of an empty one, None of one without letters."""
    told = [place for place, text in enumerate(predictions) if any(map(str.isalpha, text))]
    names = identify([predictions[place] for place in told]) if told else []
    if len(names) != len(told):
        raise UserError(
            f"Language identification named {len(names)} languages for {len(told)} texts."
        )
    languages: list[str | None] = [None if text.strip() else "" for text in predictions]
    for place, name in zip(told, names, strict=True):
        languages[place] = str(name if isinstance(name, str) else name[0])
    return languages
