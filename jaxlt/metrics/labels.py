"""Accuracy and macro-F1 of labels: one an example, or a list of them (of words)."""

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from scipy import sparse

from jaxlt.errors import UserError
from jaxlt.metrics.statistics import Statistics, check_pairs, f1, precision_recall, ratio

Label = Hashable
Labels = Sequence[Label] | Sequence[Sequence[Label]]


def accuracy(predictions: Labels, references: Labels) -> Statistics:
    """Returns the share of labels that are right; `details["items"]` counts labels."""
    place, ours, gold = _flat(predictions, references)
    rows = np.zeros((len(references), 2))
    np.add.at(rows[:, 0], place, np.array([a == b for a, b in zip(ours, gold, strict=True)]))
    np.add.at(rows[:, 1], place, 1)
    return Statistics(rows, ratio, len(rows), {"items": len(gold)})


def macro_f1(
    predictions: Labels, references: Labels, *, labels: Sequence[Label] | None = None
) -> Statistics:
    """Returns the mean of the labels' F1.

    The mean goes over `labels`, or, as in scikit-learn, over those that occur on either side (a
    made-up label of a generating model is one of them, with F1 0: give the task's own to leave
    such out). Precision, recall, F1 and count of each label are in the details.
    """
    place, ours, gold = _flat(predictions, references)
    if labels is not None and not len(labels):
        raise UserError("Macro-F1 over no labels: give at least one, or leave `labels` out.")
    known = labels if labels is not None else sorted({*ours, *gold}, key=str)
    column = {label: 3 * i for i, label in enumerate(dict.fromkeys(known))}
    entries: list[tuple[int, int]] = []  # of each label: correct, predicted, expected
    for example, a, b in zip(place, ours, gold, strict=True):
        if a in column:
            entries.append((example, column[a] + 1))
            if a == b:
                entries.append((example, column[a]))
        if b in column:
            entries.append((example, column[b] + 2))
    at = np.array(entries, np.int64).reshape(-1, 2)
    rows = sparse.coo_array(
        (np.ones(len(at)), (at[:, 0], at[:, 1])), shape=(len(references), 3 * len(column))
    ).tocsr()
    sums = np.asarray(rows.sum(axis=0)).reshape(-1, 3)
    each = {str(label): precision_recall(*map(float, sums[i // 3])) for label, i in column.items()}
    value = _mean_f1 if labels is not None else _mean_f1_of_those_present
    return Statistics(rows, value, len(references), {"items": len(gold), "labels": each})


def _mean_f1(sums: np.ndarray) -> np.ndarray:
    return f1(sums.reshape(len(sums), -1, 3)).mean(axis=1)


def _mean_f1_of_those_present(sums: np.ndarray) -> np.ndarray:
    by_label = sums.reshape(len(sums), -1, 3)
    present = (by_label[..., 1] + by_label[..., 2] > 0).sum(axis=1)
    return f1(by_label).sum(axis=1) / np.maximum(present, 1)


def _listed(labels: Any) -> list[Label]:
    one = isinstance(labels, str | bytes | int | float | np.generic) or labels is None
    return [labels] if one else list(labels)


def _flat(predictions: Labels, references: Labels) -> tuple[np.ndarray, list[Label], list[Label]]:
    """Labels of all examples in one list: (example [M], predicted [M], expected [M])."""
    check_pairs(predictions, references)
    lengths: list[int] = []
    ours: list[Label] = []
    gold: list[Label] = []
    for place, pair in enumerate(zip(predictions, references, strict=True)):
        a, b = map(_listed, pair)
        if len(a) != len(b):
            raise UserError(
                f"Example {place} has {len(a)} predicted labels for {len(b)}: as many are expected."
            )
        lengths.append(len(b))
        ours.extend(a)
        gold.extend(b)
    if not gold:
        raise UserError("There is nothing to score: none of the examples has a label.")
    return np.repeat(np.arange(len(lengths)), lengths), ours, gold
