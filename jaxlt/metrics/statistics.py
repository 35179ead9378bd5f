"""What a score is a function of: a row of sums an example, so that any resample is a sum of rows.

A corpus-level score (BLEU, F1, LAS) is no mean over examples, but it is a function of sums over
them. Whoever has the rows can weigh examples anew without reading a text twice.
"""

from collections.abc import Callable, Mapping, Sequence, Sized
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxlt.errors import UserError

if TYPE_CHECKING:
    from scipy import sparse


@dataclass(frozen=True)
class Statistics:
    """Sufficient statistics of N examples.

    `rows` [N, K] float64, dense or sparse; `value` maps sums of rows [B, K] to scores [B];
    `n` is how many of the examples count; `details` says what else is worth knowing, fit for JSON.
    """

    rows: "np.ndarray | sparse.csr_array"
    value: Callable[[np.ndarray], np.ndarray]
    n: int
    details: Mapping[str, Any] = field(default_factory=dict)

    def total(self) -> float:
        """Returns the score of all examples together."""
        return float(self.value(np.asarray(self.rows.sum(axis=0)).reshape(1, -1))[0])


def ratio(sums: np.ndarray) -> np.ndarray:
    """Sums [B, 2] of a part and its whole -> their ratio [B]; 0 where the whole is 0."""
    return np.divide(sums[:, 0], sums[:, 1], out=np.zeros(len(sums)), where=sums[:, 1] != 0)


def f1(sums: np.ndarray) -> np.ndarray:
    """Sums [..., 3] of correct, predicted and expected -> F1 [...]; 0 where there are none."""
    both = sums[..., 1] + sums[..., 2]
    return np.divide(2 * sums[..., 0], both, out=np.zeros(both.shape), where=both != 0)


def precision_recall(correct: float, predicted: float, expected: float) -> dict[str, float]:
    """Returns precision, recall, f1 and the count of the expected; 0 where they are undefined."""
    return {
        "precision": correct / predicted if predicted else 0.0,
        "recall": correct / expected if expected else 0.0,
        "f1": 2 * correct / (predicted + expected) if predicted + expected else 0.0,
        "count": int(expected),
    }


def means(values: Sequence[float] | np.ndarray) -> Statistics:
    """Returns the statistics of a plain mean over examples; `values` is [N]."""
    column = np.asarray(values, np.float64)
    rows = np.stack([column, np.ones_like(column)], axis=1)
    return Statistics(rows, ratio, len(rows))


def check_pairs(predictions: Sized, references: Sized) -> None:
    """A UserError unless there are predictions, and as many as references."""
    for what, listed in (("predictions", predictions), ("references", references)):
        if isinstance(listed, str | bytes | Mapping):
            raise UserError(
                f"The {what} to score are a list, one entry an example, not {listed!r}."
            )
    if len(predictions) != len(references):
        raise UserError(
            f"{len(predictions)} predictions cannot be scored against {len(references)} "
            "references: one prediction and one reference an example are expected."
        )
    if not len(predictions):
        raise UserError("There is nothing to score: the list of predictions is empty.")


def answers(references: Sequence[Any]) -> list[tuple[str, ...]]:
    """References, each a text or several right ones -> tuples of texts, none of them empty."""
    checked: list[tuple[str, ...]] = []
    for place, reference in enumerate(references):
        several = (reference,) if isinstance(reference, str) else reference
        if several is None or not len(several) or not all(isinstance(s, str) for s in several):
            raise UserError(
                f"Example {place} has {reference!r} for a reference: a text, or a list of at least "
                "one right text, is expected."
            )
        checked.append(tuple(several))
    return checked


def texts(predictions: Sequence[Any]) -> list[str]:
    """Predictions -> the same, checked to be texts."""
    for place, text in enumerate(predictions):
        if not isinstance(text, str):
            raise UserError(f"Example {place} has {text!r} for a prediction: a text is expected.")
    return list(predictions)
