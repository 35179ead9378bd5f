"""Every score by its name, with its count and interval; and two systems compared.

score("las", trees, gold)                            # Score(value=0.83, n=2077, low=..., ...)
score("bleu", texts, references, tokenize="zh")
compare("chrf++", ours, theirs, references).p_value
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from jaxlt.errors import UserError, nearest
from jaxlt.metrics import (
    facts,
    intervals,
    labels,
    questions,
    significance,
    spans,
    text,
    trees,
    wrong_language,
)
from jaxlt.metrics.significance import Comparison
from jaxlt.metrics.statistics import Statistics


@dataclass(frozen=True)
class Metric:
    """What makes the statistics of a score, its largest value, and whether more is better."""

    statistics: Callable[..., Statistics]
    scale: float | None = 1.0  # percents have 100, what knows no bound None
    higher_is_better: bool = True


METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        "bleu": Metric(text.bleu, scale=100),
        "chrf++": Metric(text.chrf, scale=100),
        "spbleu": Metric(text.spbleu, scale=100),
        "length_ratio": Metric(text.length_ratio, scale=None),
        "span_f1": Metric(spans.span_f1),
        "entity_f1": Metric(spans.entity_f1),
        "uas": Metric(trees.uas),
        "las": Metric(trees.las),
        "clas": Metric(trees.clas),
        "accuracy": Metric(labels.accuracy),
        "macro_f1": Metric(labels.macro_f1),
        "exact_match": Metric(questions.exact_match),
        "answer_f1": Metric(questions.answer_f1),
        "p@1": Metric(facts.precision_at),
        "wrong_language": Metric(wrong_language.wrong_language_rate, higher_is_better=False),
    }
)


@dataclass(frozen=True)
class Score:
    """A score of n examples; [low, high] is its interval, None of fewer than two examples.

    `details` is fit for JSON: signatures, counts, scores by type or label.
    """

    value: float
    n: int
    low: float | None
    high: float | None
    details: Mapping[str, Any]


def metric(name: str) -> Metric:
    """Returns the metric of that name; a UserError with the nearest if there is none."""
    if name not in METRICS:
        raise UserError(
            f"There is no metric {name!r}; there are {', '.join(METRICS)}.{nearest(name, METRICS)}"
        )
    return METRICS[name]


def statistics(
    name: str, predictions: Sequence[Any], references: Sequence[Any], **settings: Any
) -> Statistics:
    """Returns what the score is a function of, by example (see each metric for its settings)."""
    make = metric(name).statistics
    parameters = inspect.signature(make).parameters.values()
    known = {p.name: p for p in parameters if p.kind is p.KEYWORD_ONLY}
    for setting in settings:
        if setting not in known:
            raise UserError(
                f"The metric {name!r} has no setting {setting!r}; it has "
                f"{', '.join(known) or 'none'}.{nearest(setting, known)}"
            )
    missing = [
        p for p in known if known[p].default is inspect.Parameter.empty and p not in settings
    ]
    if missing:
        raise UserError(f"The metric {name!r} needs the setting {missing[0]!r}.")
    return make(predictions, references, **settings)


def summarize(
    rows: Statistics, *, resamples: int = 1000, confidence: float = 0.95, seed: int = 0
) -> Score:
    """Returns the score of statistics with its bootstrap interval (none with 0 resamples)."""
    if resamples < 0:
        raise UserError(f"The resamples of an interval are at least 0, not {resamples}.")
    low = high = None
    if resamples and rows.n > 1:
        values = intervals.draws(rows, resamples, seed)
        low, high = intervals.percentiles(values, confidence)
    return Score(rows.total(), rows.n, low, high, rows.details)


def score(
    name: str,
    predictions: Sequence[Any],
    references: Sequence[Any],
    *,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
    **settings: Any,
) -> Score:
    """Returns the score of predictions against references, one of each an example."""
    rows = statistics(name, predictions, references, **settings)
    return summarize(rows, resamples=resamples, confidence=confidence, seed=seed)


def compare(
    name: str,
    first: Sequence[Any],
    second: Sequence[Any],
    references: Sequence[Any],
    *,
    test: str = "bootstrap",
    resamples: int | None = None,
    confidence: float = 0.95,
    seed: int = 0,
    **settings: Any,
) -> Comparison:
    """Returns the paired comparison of two systems' predictions for the same examples.

    `test`: "bootstrap" (1,000 resamples unless said) or "randomization" (10,000 trials).
    """
    if test not in ("bootstrap", "randomization"):
        raise UserError(f"The tests are 'bootstrap' and 'randomization', not {test!r}.")
    if resamples is not None and resamples < 1:
        raise UserError(f"The resamples of a comparison are at least 1, not {resamples}.")
    ours, theirs = _paired(name, first, second, references, settings)
    if test == "bootstrap":
        return significance.paired_bootstrap(ours, theirs, resamples or 1000, confidence, seed)
    return significance.approximate_randomization(ours, theirs, resamples or 10_000, seed)


def _paired(
    name: str,
    first: Sequence[Any],
    second: Sequence[Any],
    references: Sequence[Any],
    settings: Mapping[str, Any],
) -> tuple[Statistics, Statistics]:
    """Statistics of both systems, whose columns mean the same: made in one go, then parted."""
    for which, predictions in (("first", first), ("second", second)):
        if len(predictions) != len(references):
            raise UserError(
                f"The {which} system has {len(predictions)} predictions for {len(references)} "
                "references: one of each an example is expected."
            )
    try:
        both = statistics(name, [*first, *second], [*references, *references], **settings)
    except UserError as error:
        for which, predictions in (("first", first), ("second", second)):
            try:
                statistics(name, predictions, references, **settings)
            except UserError as own:
                raise UserError(f"Of the {which} system: {own}") from error
        raise
    n = len(references)
    parts = (both.rows[:n], both.rows[n:])
    return Statistics(parts[0], both.value, n), Statistics(parts[1], both.value, n)
