"""Sums of losses by language as Results: of each language and of all text as one; their means."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxlt.metrics.result import ALL, Interval, Result

METRICS = ("nll", "accuracy", "bpb")  # nats a token, share of tokens, bits a byte


def loss_results(totals: Mapping[str, np.ndarray], languages: Sequence[str]) -> list[Result]:
    """Returns Results of what `LossEvaluator.totals` summed up; each says its `rows` in details.

    totals: float64 [languages] by name. Languages without rows are left out; of labels, which have
    no bytes, there is no bpb.
    """
    present = [i for i in range(len(languages)) if totals["rows"][i]]
    each = [
        one
        for i in present
        for one in _results({k: v[i] for k, v in totals.items()}, target=languages[i])
    ]
    if len(present) < 2:
        return each
    members = tuple(languages[i] for i in present)
    group: dict[str, Any] = {"group": ALL, "members": members}
    whole = {k: v.sum() for k, v in totals.items()}
    return [*each, *_results(whole, aggregate="pooled", **group)]


def by_language(found: Sequence[Result], metric: str) -> dict[str, Result]:
    """Returns the Result of each language that has a value of a metric."""
    each = (one for one in found if one.metric == metric and one.aggregate == "none")
    return {one.target: one for one in each if one.value is not None}


def means(results: Sequence[Result]) -> list[Result]:
    """Returns the mean over all languages of each metric."""
    out = []
    for metric in METRICS:
        found = list(by_language(results, metric).values())
        if len(found) > 1:
            value = float(np.mean([one.value for one in found]))
            out.append(
                Result(
                    metric=metric,
                    value=value,
                    n=len(found),
                    unit="languages",
                    interval=mean_interval(value, found),
                    aggregate="macro",
                    group=ALL,
                    members=tuple(one.target for one in found),
                    higher_is_better=found[0].higher_is_better,
                    scale=found[0].scale,
                )
            )
    return out


def mean_interval(value: float, each: Sequence[Result]) -> Interval | None:
    """Returns that of a mean of values that are drawn independently; None where one has none."""
    widths = [one.interval.high - one.interval.low for one in each if one.interval]
    if len(widths) < len(each):
        return None
    half = math.hypot(*widths) / len(each) / 2
    return Interval(value - half, value + half)


def _results(sums: Mapping[str, Any], **what: Any) -> list[Result]:
    tokens, size = float(sums["row_weight"]), float(sums.get("target_bytes", 0))
    out = []
    if tokens:
        rows = {"rows": int(sums["rows"])}
        nll, right = float(sums["row_nll"] / tokens), float(sums["row_correct"] / tokens)
        common = {"n": int(tokens), "unit": "tokens", "details": rows, **what}
        out = [
            Result(metric="nll", value=nll, higher_is_better=False, **common),
            Result(metric="accuracy", value=right, higher_is_better=True, scale=1.0, **common),
        ]
    if size:
        bits = float(sums["row_nll"] / math.log(2) / size)
        common = {"n": int(size), "unit": "bytes", **what}
        half = 1.96 * bpb_error(sums)  # with 95% confidence; too few rows say none
        interval = Interval(bits - half, bits + half) if math.isfinite(half) else None
        out.append(
            Result(metric="bpb", value=bits, higher_is_better=False, interval=interval, **common)
        )
    return out


def bpb_error(sums: Mapping[str, Any]) -> float:
    """Returns the standard error of bits per byte, from sums over rows; inf for a single row.

    Rows are taken for independent draws, and the ratio of their sums for linear near its value.
    """
    rows, size = float(sums["rows"]), float(sums["target_bytes"])
    if rows < 2:
        return math.inf
    ratio = float(sums["row_nll"]) / size
    squares = float(
        sums["nll_nll"] - 2 * ratio * sums["nll_bytes"] + ratio**2 * sums["bytes_bytes"]
    )
    return math.sqrt(max(squares, 0.0) * rows / (rows - 1)) / size / math.log(2)
