"""Facts that a model knows: P@k, with several right answers."""

import unicodedata
from collections.abc import Sequence

from jaxlt.errors import UserError
from jaxlt.metrics.statistics import Statistics, answers, check_pairs, means


def precision_at(
    predictions: Sequence[str | Sequence[str]],
    references: Sequence[str | Sequence[str]],
    *,
    k: int = 1,
    casefold: bool = True,
) -> Statistics:
    """Returns the share of questions with a right answer among the first k predictions.

    A prediction is a text, or several, the likeliest first; none at all is wrong. Texts are equal
    in Unicode's composed form with spaces run together, and, unless `casefold` is off, in any case.
    """
    if k < 1:
        raise UserError(f"P@k takes a k of at least 1, not {k}.")
    check_pairs(predictions, references)
    hits = []
    for ranked, right in zip(predictions, answers(references), strict=True):
        first = (ranked,) if isinstance(ranked, str) else tuple(ranked)[:k]
        known = {_plain(answer, casefold) for answer in right}
        hits.append(any(_plain(text, casefold) in known for text in first))
    return means(hits)


def _plain(text: str, casefold: bool) -> str:
    composed = unicodedata.normalize("NFC", " ".join(text.split()))
    return unicodedata.normalize("NFC", composed.casefold()) if casefold else composed
